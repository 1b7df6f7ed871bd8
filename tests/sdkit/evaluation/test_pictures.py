from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdkit.evaluation import pictures
from sdkit.evaluation.pictures import draw
from sdkit.figures import embedding
from sdkit.methods.base import Method
from sdkit.methods.graphs import verbs
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array, Element
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile, SequenceMeta, SequenceWriter
from tests.sdkit.evaluation.labelled import SERIES, SPECTRUM, hurry, images, series, spectra
from tests.sdkit.training.files import write as write_file
from tests.tiny import sequences, tiny_model

WIDTHS: dict[str, Any] = {"encoder_widths": (6, 6), "decoder_widths": (6, 6)}
DECODED = ["reconstruction.png", "swap.png", "generated.png"]
Drawn = Callable[[SequenceFile, Method], list[str]]


def results(**judged: dict[str, Any]) -> dict[str, Any]:
    """Return what `measure` says of a judge, by factor."""
    found: dict[str, Any] = {"subject": {"path": "runs/tiny"}}
    return {**found, "judge": {"dynamic_kept": {"factors": judged}}} if judged else found


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Return a function that composes pictures, which takes a tenth of drawing them, and returns their names."""
    hurry(monkeypatch)
    monkeypatch.setattr(pictures, "save", lambda *_, **__: None)
    return lambda file, model: draw(verbs(model), file, results(), tmp_path, seed=0, reporter=Quiet())


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Return a function that draws and checks that what is named is there, and nothing else, and shows something."""
    hurry(monkeypatch)

    def make(file: SequenceFile, model: Method, found: dict[str, Any] | None = None) -> list[str]:
        folder = tmp_path / "drawn"
        folder.mkdir()
        names = draw(verbs(model), file, found or results(), folder, seed=0, reporter=Quiet())
        assert sorted(names) == sorted(path.name for path in folder.iterdir())
        for name in names:
            with Image.open(folder / name) as picture:
                colours = picture.convert("RGB").getcolors(2**24)
                assert picture.format == name.rpartition(".")[2].upper()
                assert min(picture.size) >= 32, name
                assert colours is not None
                assert len(colours) > 10, f"{name} is empty"
        return names

    return make


def test_images(tmp_path: Path, drawn: Drawn) -> None:
    file = SequenceFile(images(tmp_path / "squares.h5"))
    judged = {
        "colour": {"kept": False, "confusion": [[1, 0, 0]] * 3},
        "motion": {"kept": True, "confusion": [[5, 1], [2, 4]]},
    }
    names = drawn(file, tiny_model(), results(**judged))  # type: ignore[call-arg]
    assert names == [
        "codes.png", "codes-colour.png", "codes-motion.png", "paths.png", *DECODED, "generated.gif",
        "confusion-motion.png",
    ]  # fmt: skip


def test_series_of_several_lengths_with_seasons_and_rain(tmp_path: Path, drawn: Drawn) -> None:
    file = SequenceFile(series(tmp_path / "waves.h5", lengths=True))
    names = drawn(file, tiny_model(element=SERIES, **WIDTHS))
    factors = [f"codes-{name}.png" for name in ("ill", "season", "ward", "trend")]
    assert names == ["codes.png", *factors, "days-season.png", "paths.png", *DECODED]


def test_series_without_targets_have_no_map_of_days(tmp_path: Path, named: Drawn) -> None:
    file = SequenceFile(series(tmp_path / "waves.h5", targets=False))
    assert "days-season.png" not in named(file, tiny_model(element=SERIES, **WIDTHS))


def test_spectra(tmp_path: Path, drawn: Drawn) -> None:
    file = SequenceFile(spectra(tmp_path / "voices.h5"))
    names = drawn(file, tiny_model(element=SPECTRUM, **WIDTHS))
    assert names == ["codes.png", "codes-speaker.png", "codes-recording.png", "paths.png", *DECODED]


def test_no_labels(tmp_path: Path, drawn: Drawn) -> None:
    file = SequenceFile(write_file(tmp_path / "plain.h5", sequences(12), splits={"test": range(12)}))
    assert drawn(file, tiny_model()) == ["codes.png", "paths.png", *DECODED, "generated.gif"]


def test_no_labels_of_series(tmp_path: Path, named: Drawn) -> None:
    file = SequenceFile(series(tmp_path / "waves.h5", labelled=False))
    assert named(file, tiny_model(element=SERIES, **WIDTHS)) == ["codes.png", "paths.png", *DECODED]


def test_two_sequences_have_no_map(tmp_path: Path, named: Drawn) -> None:
    file = SequenceFile(write_file(tmp_path / "two.h5", sequences(6), splits={"train": range(4), "test": (4, 5)}))
    assert named(file, tiny_model()) == ["paths.png", *DECODED, "generated.gif"]


def test_one_sequence_is_not_swapped_and_one_unit_has_no_path(tmp_path: Path, named: Drawn) -> None:
    file = SequenceFile(write_file(tmp_path / "one.h5", sequences(6), splits={"train": range(5), "test": (5,)}))
    assert named(file, tiny_model(dynamic_size=1)) == ["reconstruction.png", "generated.png", "generated.gif"]


def test_images_of_two_channels_are_not_named(tmp_path: Path, named: Drawn) -> None:
    element = Element("image", (2, 16, 16), "uint8")
    file = SequenceFile(write_file(tmp_path / "a.h5", sequences(6, 3, element), element, splits={"test": range(4)}))
    assert named(file, tiny_model(element=element)) == ["codes.png", "paths.png"]


def test_a_factor_may_be_called_anything(tmp_path: Path, named: Drawn) -> None:
    factor = SequenceFile(images(tmp_path / "a.h5")).factors[0]
    odd = type(factor)("hue / tint", factor.kind, factor.values)
    with SequenceWriter(tmp_path / "odd.h5", SequenceMeta(tiny_model().facts.element, "", (odd,))) as writer:
        writer.write(sequences(6), labels=np.arange(6).reshape(-1, 1) % 3)
        writer.splits({"test": range(6)})
    assert "codes-hue-tint.png" in named(SequenceFile(tmp_path / "odd.h5"), tiny_model())


def test_the_commonest_length_is_decoded(tmp_path: Path) -> None:
    lengths = [2, 4, 4, 3, 4, 4]
    file = SequenceFile(write_file(tmp_path / "a.h5", sequences(6, 4), lengths=lengths, splits={"test": range(6)}))
    x = pictures._alike(file, file.select("test"), 3)
    np.testing.assert_array_equal(x, file.read([1, 2, 4]))
    assert pictures._alike(file, np.array([0, 3]), 8).shape[:2] == (1, 2)


@pytest.mark.parametrize("anchor", ["first", "middle", "last"])
def test_a_day_on_the_map_has_its_own_code_and_rain(
    tmp_path: Path, anchor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(pictures, "by_label", lambda *given, **_: shown.extend(given))
    file = SequenceFile(series(tmp_path / "waves.h5", lengths=True))
    model = verbs(tiny_model(element=SERIES, anchor=anchor, **WIDTHS))
    index = file.select("test")[:6]
    pictures._days(model, file, index, 0, "")
    codes, seasons, names, rain = shown
    lengths, targets, labels = file.lengths(), file.targets(), file.labels()
    assert lengths is not None
    assert targets is not None
    assert labels is not None
    days = sorted((int(row), t) for row in index for t in range(lengths[row]))
    assert len(codes) == len(days) == len(rain)
    expected = {float(targets[row, t, 0]): (row, t) for row, t in days}
    assert set(rain.tolist()) == set(expected)
    for code, season, amount in zip(codes, seasons, rain, strict=True):
        row, t = expected[float(amount)]
        assert season == labels[row, 1]
        x = file.read([row])[:, : lengths[row]]
        alone = model.encode(np.repeat(x[:, t : t + 1], 3, 1))
        np.testing.assert_allclose(code, alone.static[0], atol=1e-5)
    assert names == ("dry", "wet", "cold")


def test_rain_that_is_no_rain_is_drawn_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    file = SequenceFile(series(tmp_path / "waves.h5"))
    targets = -np.ones((file.count, file.steps, 1))
    targets[:, 0] = np.nan
    monkeypatch.setattr(file, "targets", lambda: targets)
    assert pictures._days(verbs(tiny_model(element=SERIES, **WIDTHS)), file, file.select("test"), 0, "")


def test_large_splits_are_drawn_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "POINTS", 5)
    monkeypatch.setattr(pictures, "_decoded", lambda *_: iter(()))
    points: list[Array] = []

    def tsne(x: Array, seed: int = 0) -> Array:
        points.append(x)
        return np.asarray(x[:, :2], np.float64)

    hurry(monkeypatch)
    monkeypatch.setattr(embedding, "tsne", tsne)
    file = SequenceFile(images(tmp_path / "squares.h5"))
    draw(verbs(tiny_model()), file, results(), tmp_path, seed=0, reporter=Quiet())
    assert [len(x) for x in points] == [10, 5, 5]  # static and dynamic codes, then a map a factor


def test_dynamic_codes_are_averaged_over_the_steps_that_there_are() -> None:
    dynamic = np.array([[[1.0], [3.0], [50.0]], [[1.0], [3.0], [5.0]]], np.float32)
    mean, what = pictures._means(Codes(np.zeros((2, 1), np.float32), dynamic), np.array([2, 3]))
    np.testing.assert_array_equal(mean, [[2.0], [3.0]])
    assert what == "dynamic codes, averaged over steps"
    np.testing.assert_array_equal(pictures._means(Codes(mean, dynamic), None)[0], [[18.0], [3.0]])


def test_vectors(tmp_path: Path, drawn: Drawn) -> None:
    element = Element("vector", (5,), "float32", ("m", "m", "rad", "rad", "N"))
    x = sequences(12, 4, element)
    x[:, 1, 2] = np.nan
    file = SequenceFile(write_file(tmp_path / "poses.h5", x, element, splits={"test": range(12)}))
    assert drawn(file, tiny_model(element=element, **WIDTHS)) == ["codes.png", "paths.png", *DECODED]


def test_a_model_that_cannot_encode_draws_what_it_generates(tmp_path: Path, named: Drawn) -> None:
    file = SequenceFile(write_file(tmp_path / "plain.h5", sequences(12), splits={"test": range(12)}))
    model = tiny_model()
    refused = dict.fromkeys(("encode", "reconstruct", "swap", "resample_static", "resample_dynamic", "stream"), "why")
    model.refusals = lambda settings: refused  # type: ignore[method-assign]
    assert named(file, model) == ["generated.png", "generated.gif"]


def test_a_model_whose_codes_do_not_swap_draws_no_swap(tmp_path: Path, named: Drawn) -> None:
    file = SequenceFile(write_file(tmp_path / "plain.h5", sequences(12), splits={"test": range(12)}))
    model = tiny_model()
    model.refusals = lambda settings: {"swap": "why"}  # type: ignore[method-assign]
    assert "swap.png" not in named(file, model)


def test_no_more_steps_are_generated_than_the_prior_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SequenceFile(write_file(tmp_path / "plain.h5", sequences(6, 5), splits={"test": range(6)}))
    v = verbs(tiny_model())
    v.abilities = v.abilities._replace(max_steps=3)
    shown: list[Any] = []
    monkeypatch.setattr(pictures, "draw_clip", lambda made, *_, **__: shown.append(made.shape[:2]))
    list(pictures._decoded(v, file, np.arange(6), 0, ""))
    assert shown == [(pictures.ROWS, 3)]


@pytest.mark.parametrize("std", [True, False])
def test_series_and_vectors_are_drawn_with_what_the_decoder_is_sure_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, std: bool
) -> None:
    file, shown = SequenceFile(series(tmp_path / "waves.h5")), []
    monkeypatch.setattr(pictures, "draw_reconstruction", lambda *given, **_: shown.append(given))
    v = verbs(tiny_model(element=SERIES, **WIDTHS))
    whole = v.decode_outputs
    monkeypatch.setattr(v, "decode_outputs", lambda codes: {n: y for n, y in whole(codes).items() if std or n == "x"})
    list(pictures._decoded(v, file, file.select("test"), 0, ""))
    ((x, decoded, found, element),) = shown
    expected = v.decode_outputs(v.encode(x))
    np.testing.assert_array_equal(decoded, expected["x"])
    assert element == SERIES
    assert (found is not None) == std
    assert not std or (found == expected["x_std"]).all()
