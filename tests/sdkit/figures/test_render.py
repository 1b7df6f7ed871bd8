from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from sdkit.figures.base import SWAP_NAMES
from sdkit.figures.grid import GAP, MARGIN, rows_grid, swap_grid, tiles
from sdkit.figures.render import render, render_swap
from sdkit.figures.style import save
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import (
    ConfigError,
    DataError,
    FileFormatError,
    MissingExtraError,
    MissingFileError,
    OutputExistsError,
)
from sdkit.runtime.storage.sequences import SequenceMeta, SequenceWriter
from tests.sdkit.figures.parts import caption_of
from tests.tiny import IMAGE, sequences

SPECTRUM = Element("spectrum", (6,), "float32")
SERIES = Element("series", (4, 3), "float32", ("1/min", "mmHg", "points"), ("heart rate", "pressure", "GCS"))

VECTOR = Element("vector", (3,), "float32", ("m", "rad", "m/s"), ("height", "knee", "speed"))

Drawn = list[Any]


def write(
    path: Path,
    x: Array,
    element: Element = IMAGE,
    rate: float | None = None,
    lengths: list[int] | None = None,
    extra: dict[str, str] | None = None,
) -> Path:
    meta = SequenceMeta(element, "blocks", rate=rate, source="made up", extra=extra or {})
    with SequenceWriter(path, meta) as writer:
        writer.write(x, **({} if lengths is None else {"lengths": np.array(lengths)}))
        writer.splits({"train": range(min(3, len(x))), "test": range(3, len(x))})
    return path


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawn:
    """Return the figures that are saved, without their time in the rasteriser."""
    figures: Drawn = []

    def keep(figure: Any) -> Image.Image:
        figures.append(figure)
        return Image.new("RGB", (400, 400))

    monkeypatch.setattr("sdkit.figures.style.raster", keep)
    return figures


def same_above(path: Path, expected: Image.Image) -> None:
    """Check a picture but for its caption, and that there is one."""
    found = opened(path)
    height, width = expected.height, expected.width
    np.testing.assert_array_equal(found[:height, :width], np.asarray(expected))
    assert (found[height:] < 128).any()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "x.h5", sequences(10, 4))


@pytest.fixture
def swapped(tmp_path: Path) -> Path:
    """Return a swap file of five pairs of different lengths."""
    path = tmp_path / "swap.h5"
    with h5py.File(path, "w") as file:
        file["static_a_dynamic_b"] = sequences(5, 4, seed=1)
        file["static_b_dynamic_a"] = sequences(5, 3, seed=2)
    return path


def opened(path: Path) -> Array:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def gif(path: Path) -> tuple[int, int, tuple[int, int]]:
    """Return number of frames, duration of the first in milliseconds, and size."""
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "GIF"
        return getattr(picture, "n_frames", 1), picture.info["duration"], picture.size


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, range(8)),
        ({"count": 3}, range(3)),
        ({"count": 30}, range(10)),
        ({"first": 7}, range(7, 10)),
        ({"split": "test", "count": 2, "first": 1}, range(4, 6)),
        ({"split": "all", "count": 1}, range(1)),
    ],
)
def test_png_has_a_row_a_sequence(source: Path, tmp_path: Path, options: dict[str, Any], expected: range) -> None:
    path = render(source, tmp_path / "x.png", **options)
    x = sequences(10, 4)
    same_above(path, rows_grid([(f"{i}", x[i]) for i in expected], IMAGE))


def test_scale(source: Path, tmp_path: Path) -> None:
    path = render(str(source), str(tmp_path / "X.PNG"), count=2, scale=3)
    x = sequences(10, 4)
    same_above(path, rows_grid([("0", x[0]), ("1", x[1])], IMAGE, scale=3))


def test_gif_plays_all_sequences(source: Path, tmp_path: Path) -> None:
    path = render(source, tmp_path / "x.gif", count=4)
    assert gif(path) == (4, 120, (2 * 16 + GAP, 2 * 16 + GAP))
    expected = tiles(sequences(10, 4)[:4], IMAGE)
    with Image.open(path) as picture:
        for t in range(4):
            picture.seek(t)
            found = np.asarray(picture.convert("RGB")).astype(int)
            assert np.abs(found - np.asarray(expected[t])).mean() < 40  # 256 colours of the noise
            other = np.asarray(expected[(t + 1) % 4])
            assert np.abs(found - other).mean() > 60


@pytest.mark.parametrize(
    ("own", "given", "duration"), [(None, None, 120), (4.0, None, 250), (4.0, 10.0, 100), (None, 2.0, 500)]
)
def test_rate(tmp_path: Path, own: float | None, given: float | None, duration: int) -> None:
    source = write(tmp_path / "x.h5", sequences(4, 3), rate=own)
    assert gif(render(source, tmp_path / "x.gif", rate=given))[:2] == (3, duration)


def test_float_images(tmp_path: Path) -> None:
    element = Element("image", (1, 8, 8), "float32")
    x = sequences(4, 3, element)
    path = render(write(tmp_path / "x.h5", x, element), tmp_path / "x.png", count=1)
    same_above(path, rows_grid([("0", x[0])], element))


def test_swap_files_show_both_mixtures(swapped: Path, tmp_path: Path) -> None:
    path = render(swapped, tmp_path / "s.png", first=3, count=4)
    ab, ba = sequences(5, 4, seed=1), sequences(5, 3, seed=2)
    rows = [
        (f"{i}, {name}", part[i])
        for i in (3, 4)
        for name, part in (("static a, dynamic b", ab), ("static b, dynamic a", ba))
    ]
    same_above(path, rows_grid(rows, IMAGE))
    assert gif(render(swapped, tmp_path / "s.gif", count=2)) == (4, 120, (2 * 16 + GAP, 2 * 16 + GAP))


def test_render_swap_shows_what_was_swapped(swapped: Path, tmp_path: Path) -> None:
    a, b = sequences(5, 3, seed=3), sequences(6, 4, seed=4)
    files = write(tmp_path / "a.h5", a), write(tmp_path / "b.h5", b)
    path = render_swap(*files, swapped, tmp_path / "s.png", count=2)
    expected = swap_grid(a[:2], b[:2], sequences(5, 4, seed=1)[:2], sequences(5, 3, seed=2)[:2], IMAGE)
    same_above(path, expected)
    all_pairs = render_swap(*files, swapped, tmp_path / "all.png")
    assert opened(all_pairs).shape[0] > 20 * (16 + GAP) + 6 * MARGIN
    with pytest.raises(OutputExistsError):
        render_swap(*files, swapped, path)


def test_series_have_axes_of_time_and_units(tmp_path: Path, drawn: Drawn) -> None:
    x = sequences(5, 4, SERIES)
    x[0, 0, 1, 2] = np.nan
    source = write(tmp_path / "x.h5", x, SERIES, extra={"step": "1 hour"})
    assert opened(render(source, tmp_path / "x.png", count=2, split="train")).shape[0] > 300
    (figure,) = drawn
    assert len(figure.axes) == 2 * 3
    assert [axes.get_title() for axes in figure.axes[:2]] == ["sequence 0", "sequence 1"]
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == [
        "heart rate\n(1/min)",
        "pressure\n(mmHg)",
        "GCS\n(points)",
    ]
    assert figure.axes[-1].get_xlabel() == "time (h)"
    assert np.flatnonzero(np.isnan(figure.axes[4].lines[0].get_ydata())).tolist() == [1]
    text = caption_of(figure)
    assert "blocks, train split: series (4, 3) float32. made up." in text


def test_spectra_have_axes_of_time_and_frequency(tmp_path: Path, drawn: Drawn) -> None:
    source = write(tmp_path / "x.h5", sequences(5, 4, SPECTRUM), SPECTRUM, rate=100.0, extra={"bin_spacing": "40 Hz"})
    render(source, tmp_path / "x.png", count=3)
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes if axes.images] == [f"sequence {i}" for i in range(3)]
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == ("time (ms)", "frequency (kHz)")


@pytest.mark.parametrize("element", [IMAGE, SERIES, SPECTRUM, VECTOR], ids=Element.describe)
def test_sequences_are_cut_to_their_length(tmp_path: Path, drawn: Drawn, element: Element) -> None:
    x = sequences(3, 4, element)
    source = write(tmp_path / "x.h5", x, element, lengths=[2, 4, 3])
    path = render(source, tmp_path / "x.png")
    if element is IMAGE:
        cut = [(f"{i}", x[i, :n]) for i, n in enumerate((2, 4, 3))]
        same_above(path, rows_grid(cut, IMAGE))
    elif element in (SERIES, VECTOR):
        steps = [2 * element.steps, 4 * element.steps, 3 * element.steps]
        assert [len(axes.lines[0].get_xdata()) for axes in drawn[0].axes[:3]] == steps
    else:
        assert [axes.images[0].get_array().shape for axes in drawn[0].axes[:3]] == [(6, 2), (6, 4), (6, 3)]


def test_shorter_sequences_stay_at_their_last_frame(tmp_path: Path) -> None:
    x = sequences(2, 3)
    path = render(write(tmp_path / "x.h5", x, lengths=[2, 3]), tmp_path / "x.gif")
    expected = tiles(np.stack([x[0, [0, 1, 1]], x[1]]), IMAGE)
    save(expected, tmp_path / "expected.gif")
    assert path.read_bytes() == (tmp_path / "expected.gif").read_bytes()


@pytest.mark.parametrize("element", [SPECTRUM, SERIES, VECTOR], ids=Element.describe)
def test_animations_are_of_images(tmp_path: Path, element: Element) -> None:
    source = write(tmp_path / "x.h5", sequences(5, 4, element), element)
    with pytest.raises(
        DataError, match=f"animations are drawn of images, not of {element.kind}.*end the picture in .png"
    ):
        render(source, tmp_path / "x.gif")
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_only_images_are_scaled(tmp_path: Path) -> None:
    source = write(tmp_path / "x.h5", sequences(5, 4, SERIES), SERIES)
    with pytest.raises(ConfigError, match="scale = 2: only pictures of images are scaled"):
        render(source, tmp_path / "x.png", scale=2)


def test_images_of_two_channels_are_refused(tmp_path: Path) -> None:
    element = Element("image", (2, 8, 8), "uint8")
    source = write(tmp_path / "x.h5", sequences(5, 4, element), element)
    for ending in ("png", "gif"):
        with pytest.raises(DataError, match="images with 1 or 3 channels, not of image"):
            render(source, tmp_path / f"x.{ending}")


@pytest.mark.parametrize("element", [IMAGE, SERIES, SPECTRUM], ids=Element.describe)
def test_swap_files_that_say_nothing_are_judged_by_their_axes(tmp_path: Path, drawn: Drawn, element: Element) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["static_a_dynamic_b"] = file["static_b_dynamic_a"] = sequences(2, 4, element)
    opened(render(tmp_path / "s.h5", tmp_path / "s.png"))
    if element is SERIES:
        assert [axes.get_ylabel() for axes in drawn[0].axes[::4]] == ["feature 0", "feature 1", "feature 2"]
    if element is SPECTRUM:
        assert drawn[0].axes[1].get_title() == "0, static b, dynamic a"


def test_swap_files_tell_their_units_and_lengths(tmp_path: Path, drawn: Drawn) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["static_a_dynamic_b"], file["static_b_dynamic_a"] = sequences(4, 4, SERIES).reshape(2, 2, 4, 4, 3)
        file["static_b_dynamic_a_lengths"] = [2, 3]
        file.attrs.update({**SequenceMeta(SERIES, source="swapped: a = x.h5").attributes(), "step": "1 hour"})
    render(tmp_path / "s.h5", tmp_path / "s.png")
    (figure,) = drawn
    assert [len(axes.lines[0].get_xdata()) for axes in figure.axes[:4]] == [16, 8, 16, 12]
    assert figure.axes[0].get_ylabel() == "heart rate\n(1/min)"
    assert figure.axes[-1].get_xlabel() == "time (h)"
    assert caption_of(figure).endswith("s.h5: series (4, 3) float32. swapped: a = x.h5.")


def test_a_swap_file_of_vectors_names_them(tmp_path: Path, drawn: Drawn) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["static_a_dynamic_b"] = file["static_b_dynamic_a"] = sequences(2, 4, VECTOR)
        file.attrs.update(SequenceMeta(VECTOR).attributes())
    render(tmp_path / "s.h5", tmp_path / "s.png")
    assert [axes.get_ylabel() for axes in drawn[0].axes[::4]] == ["height\n(m)", "knee\n(rad)", "speed\n(m/s)"]


@pytest.mark.parametrize(
    ("shape", "attributes", "lengths", "text"),
    [
        ((2, 4, 6), {"element": "image"}, None, "shape .2, 4, 6. and holds elements of the kind 'image'; expected"),
        ((2, 4, 6), {"element": "text"}, None, "of the kind 'text'; expected"),
        ((2, 4, 6), {"units": "dB"}, None, "attribute 'units' is not JSON"),
        ((2, 4, 6), {"units": "[1]"}, None, "attribute 'units' is .1.; expected a JSON list of texts"),
        ((2, 4), {}, None, "has shape .2, 4.; expected"),
        ((3, 4, 6), {}, None, "'static_b_dynamic_a' has shape .2, 4, 6. and dtype float32; expected 3 pairs"),
        ((2, 4, 6), {}, [0, 4], "'static_a_dynamic_b': its lengths must be 2 numbers in 1..4"),
        ((2, 4, 6), {}, [4, 5], "must be 2 numbers in 1..4"),
        ((2, 4, 6), {}, [4], "must be 2 numbers in 1..4"),
    ],
)
def test_swap_files_that_contradict_themselves(
    tmp_path: Path, shape: tuple[int, ...], attributes: dict[str, str], lengths: list[int] | None, text: str
) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["static_a_dynamic_b"] = np.zeros(shape, np.float32)
        file["static_b_dynamic_a"] = np.zeros((2, 4, 6), np.float32)
        file.attrs.update(attributes)
        if lengths is not None:
            file["static_a_dynamic_b_lengths"] = lengths
    with pytest.raises(FileFormatError, match=text):
        render(tmp_path / "s.h5", tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()


def test_a_long_source_is_cut_in_captions(tmp_path: Path, drawn: Drawn) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["static_a_dynamic_b"] = file["static_b_dynamic_a"] = sequences(2, 4, VECTOR)
        file.attrs.update(SequenceMeta(VECTOR, source="word " * 20_000).attributes())
    render(tmp_path / "s.h5", tmp_path / "s.png")
    assert len(caption_of(drawn[0])) < 800
    assert caption_of(drawn[0]).endswith("word ....")


@pytest.mark.parametrize("element", [SERIES, SPECTRUM, VECTOR], ids=Element.describe)
def test_render_swap_of_other_elements(tmp_path: Path, drawn: Drawn, element: Element) -> None:
    a, b, ab, ba = (sequences(3, 4, element, seed) for seed in range(4))
    file_a, file_b = (write(tmp_path / f"{n}.h5", x, element, lengths=[4, 2, 3]) for n, x in (("a", a), ("b", b)))
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["static_a_dynamic_b"], file["static_b_dynamic_a"] = ab, ba
    render_swap(file_a, file_b, tmp_path / "s.h5", tmp_path / "s.png")
    titles = [axes.get_title() for axes in drawn[0].axes[:4]]
    assert titles == list(SWAP_NAMES)
    assert "a: blocks; b: blocks." in caption_of(drawn[0])


def test_pictures_of_series_need_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "x.h5", sequences(5, 4, SERIES), SERIES)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"elements of kind series needs matplotlib.*sdkit\[train\]"):
        render(source, tmp_path / "x.png")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"count": 0}, "count = 0"),
        ({"first": -1}, "first = -1"),
        ({"scale": 0}, "scale = 0"),
        ({"first": 10}, "no sequence number 10 to draw"),
        ({"split": "val"}, "no split 'val'; it has: train, test"),
        ({"rate": 0.0}, "rate = 0: a GIF shows more than 0"),
        ({"rate": -5.0}, "rate = -5"),
        ({"rate": 101.0}, "at most 100 frames a second"),
        ({"rate": float("nan")}, "rate = nan"),
    ],
)
def test_options_that_cannot_be(source: Path, tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        render(source, tmp_path / "x.gif", **options)
    assert not (tmp_path / "x.gif").exists()


def test_swap_files_have_pairs(swapped: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no pair number 5 to draw"):
        render(swapped, tmp_path / "x.png", first=5)


@pytest.mark.parametrize("name", ["x.jpg", "x", "x.png.h5"])
def test_endings(source: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"a picture ends in \.png or \.gif"):
        render(source, tmp_path / name)


def test_files(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    with pytest.raises(MissingFileError, match=r"none\.h5 does not exist"):
        render(tmp_path / "none.h5", target)
    (tmp_path / "text.h5").write_text("text")
    with pytest.raises(FileFormatError, match="not an HDF5 file"):
        render(tmp_path / "text.h5", target)
    with h5py.File(tmp_path / "codes.h5", "w") as file:
        file["static"], file["dynamic"] = np.zeros((2, 3), np.float32), np.zeros((2, 4, 3), np.float32)
    with pytest.raises(FileFormatError, match=r"holds codes, which have no picture; `sdkit decode"):
        render(tmp_path / "codes.h5", target)
    with pytest.raises(MissingFileError, match=r"the folder .* does not exist"):
        render(source, tmp_path / "none" / "x.png")
    target.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"x\.png exists already"):
        render(source, target)
    assert target.read_text() == "mine"
    render(source, target, force=True)
    assert opened(target).ndim == 3
