from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.evaluation.codes.encoded import code, encode_file, raw
from sdkit.evaluation.data import Parts, label_column, label_table, parts_of, targets_of
from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from tests.export.runs import quick_export, write_run
from tests.notes import Notes
from tests.sdkit.evaluation import made
from tests.sdkit.evaluation.labelled import SERIES, STEPS, images, series, spectra
from tests.sdkit.training.files import write as write_file
from tests.tiny import sequences, tiny_model

FLOAT = Element("image", (3, 16, 16), "float32", ("level",))
WIDTHS: dict[str, Any] = {"encoder_widths": (6, 6), "decoder_widths": (6, 6)}


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> SequenceFile:
    """Return series of 3, 4 and 5 windows."""
    return SequenceFile(series(tmp_path_factory.mktemp("coding") / "waves.h5", lengths=True))


@pytest.fixture(scope="module")
def model() -> Verbs:
    """Return a model whose dynamic codes depend on all later steps, so that padding would show."""
    return verbs(tiny_model("release", element=SERIES, **WIDTHS))


def test_codes_are_in_the_order_asked_for(tmp_path: Path) -> None:
    x, labels = made.grid()
    file = made.write(tmp_path / "grid.h5", x, labels)
    index = np.array([7, 0, 8, 3])
    codes = encode_file(made.verbs(), file, index)
    np.testing.assert_array_equal(codes.static[:, 0], 10 * labels[index, 0])
    np.testing.assert_array_equal(codes.dynamic[:, :, 0], np.repeat(10 * labels[index, 1:], 4, 1))


def test_sequences_of_any_length_are_coded_as_if_alone(waves: SequenceFile, model: Verbs) -> None:
    index, lengths = np.array([11, 4, 0, 7, 3, 14]), waves.lengths()
    assert lengths is not None
    codes = encode_file(model, waves, index)
    assert codes.dynamic.shape == (6, STEPS, 4)
    for i, row in enumerate(index):
        steps = lengths[row]
        alone = model.encode(waves.read([row])[:, :steps])
        np.testing.assert_allclose(codes.static[i], alone.static[0], atol=1e-5)
        np.testing.assert_allclose(codes.dynamic[i, :steps], alone.dynamic[0], atol=1e-5)
        assert (codes.dynamic[i, steps:] == 0).all()
    assert np.abs(codes.dynamic).max() > 0.05


def test_a_seed_decides_the_samples(waves: SequenceFile, model: Verbs) -> None:
    index = np.arange(8)
    mean, sampled = encode_file(model, waves, index), encode_file(model, waves, index, noise=3)
    again = encode_file(model, waves, index[::-1].copy(), noise=3)
    np.testing.assert_array_equal(again.static[::-1], sampled.static)
    assert np.abs(sampled.static - mean.static).min() > 0
    assert np.abs(encode_file(model, waves, index, noise=4).static - sampled.static).max() > 0.1


def test_each_part_has_noise_of_its_own(waves: SequenceFile, model: Verbs) -> None:
    index = np.arange(8)
    parts = Parts(index, index, index)
    means = code(model, waves, parts).splits
    drawn = [code(model, waves, parts, noise=seed).splits for seed in (0, 1)]
    for part in means[1:]:
        np.testing.assert_array_equal(part.static, means[0].static)
    noises = [part.static - mean.static for splits in drawn for part, mean in zip(splits, means, strict=True)]
    for i, a in enumerate(noises):
        for b in noises[i + 1 :]:
            assert np.abs(a - b).max() > 0.1


def test_samples_are_the_same_on_every_back_end(tmp_path: Path, waves: SequenceFile) -> None:
    run = write_run(tmp_path / "run", tiny_model(element=SERIES, **WIDTHS))
    bundle = quick_export(run, format="all")
    parts = Parts(np.arange(0, 9), np.arange(9, 12), np.arange(12, 20))
    expected = code(verbs(run.load_model()), waves, parts, noise=5)
    backends: tuple[GraphFormat, ...] = ("onnx", "torchscript")
    for backend in backends:
        found = code(Runtime.open(bundle.path, device="cpu", backend=backend), waves, parts, noise=5)
        for a, b in zip(found.splits, expected.splits, strict=True):
            np.testing.assert_allclose(a.static, b.static, atol=1e-4)
            np.testing.assert_allclose(a.dynamic, b.dynamic, atol=1e-4)


def test_coded_parts_carry_lengths_labels_and_targets(waves: SequenceFile, model: Verbs) -> None:
    parts = parts_of(waves)
    coded = code(model, waves, parts)
    lengths, labels, targets = waves.lengths(), waves.labels(), waves.targets()
    assert lengths is not None
    assert labels is not None
    assert targets is not None
    asked, wanted = coded.asking("season"), coded.with_targets()
    for split, question, answer, index in zip(coded.splits, asked, wanted, parts, strict=True):
        assert (split.labels, split.targets) == (None, None)
        np.testing.assert_array_equal(split.lengths, lengths[index])
        np.testing.assert_array_equal(question.labels, labels[index, 1])
        np.testing.assert_array_equal(answer.targets, targets[index])
        np.testing.assert_array_equal(question.static, split.static)
    assert coded.factors == waves.factors
    np.testing.assert_array_equal(label_table(waves, parts.val, coded.factors[1:3]), labels[parts.val, 1:3])


def test_progress_is_told_by_part(waves: SequenceFile, model: Verbs) -> None:
    class Stages(Notes):
        def start(self, what: str, total: int) -> None:
            self.lines.append(f"{what} {total}")

    told = Stages()
    code(model, waves, Parts(np.arange(3), np.arange(3, 5), np.arange(5, 9)), reporter=told)
    assert told.lines == ["encoding the train split 3", "encoding the val split 2", "encoding the test split 4"]


def test_raw_series_are_what_the_file_holds(waves: SequenceFile) -> None:
    parts = parts_of(waves)
    train, _, test = raw(waves, parts, "ill")
    np.testing.assert_array_equal(train.x, waves.read(parts.train))
    np.testing.assert_array_equal(test.labels, label_column(waves, "ill")[parts.test])
    np.testing.assert_array_equal(test.targets, targets_of(waves)[parts.test])
    assert np.nanmax(test.observed) < 100  # the trap beyond the lengths is not observed
    assert raw(waves, parts)[0].labels is None


def test_raw_spectra_are_windows_of_one_step(tmp_path: Path) -> None:
    file = SequenceFile(spectra(tmp_path / "voices.h5"))
    train, _, _ = raw(file, parts_of(file), "speaker")
    np.testing.assert_array_equal(train.x[:, :, 0], file.read(parts_of(file).train))
    assert train.x.shape == (8, 4, 1, 6)
    assert (train.targets, train.lengths) == (None, None)


def _raw_images(folder: Path, model: Verbs, waves: SequenceFile) -> object:
    file = SequenceFile(images(folder / "squares.h5"))
    return raw(file, parts_of(file))


def _encode_images(folder: Path, model: Verbs, waves: SequenceFile) -> Codes:
    return encode_file(model, SequenceFile(images(folder / "squares.h5")), np.arange(3))


def _no_targets(folder: Path, model: Verbs, waves: SequenceFile) -> object:
    return targets_of(SequenceFile(series(folder / "plain.h5", targets=False)))


@pytest.mark.parametrize(
    ("error", "says", "ask"),
    [
        (DataError, "squares.h5 holds images; raw baselines are of series and spectra", _raw_images),
        (DataError, "squares.h5 holds image (3, 16, 16) uint8; the model takes series (4, 2) float32", _encode_images),
        (DataError, "plain.h5 has no targets (N, T, K) to predict", _no_targets),
        (ConfigError, "has no factor 'mood'; it has: ill, season, ward, trend", lambda *a: label_column(a[2], "mood")),
    ],
    ids=["raw images", "another element", "no targets", "no factor"],
)
def test_a_mistake_is_one_line(
    error: type[Exception],
    says: str,
    ask: Callable[[Path, Verbs, SequenceFile], object],
    tmp_path: Path,
    model: Verbs,
    waves: SequenceFile,
) -> None:
    with pytest.raises(error) as caught:
        ask(tmp_path, model, waves)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_element_differs_by_its_dtype_too(tmp_path: Path) -> None:
    x = sequences(4).astype(np.float32) / 255
    floats = SequenceFile(write_file(tmp_path / "floats.h5", x, FLOAT))
    with pytest.raises(DataError, match=r"floats\.h5 holds image \(3, 16, 16\) float32; the model takes .* uint8"):
        encode_file(verbs(tiny_model()), floats, np.arange(4))
