from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from sdkit.figures.grid import GAP, MARGIN, rows_grid, swap_grid, tiles
from sdkit.figures.render import render, render_swap
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, MissingFileError, OutputExistsError
from sdkit.runtime.sequences import SequenceMeta, SequenceWriter
from tests.tiny import IMAGE, sequences

SPECTRUM = Element("spectrum", (6,), "float32")
SERIES = Element("series", (4, 3), "float32")


def write(path: Path, x: Array, element: Element = IMAGE, rate: float | None = None) -> Path:
    with SequenceWriter(path, SequenceMeta(element, rate=rate)) as writer:
        writer.write(x)
        writer.splits({"train": range(3), "test": range(3, len(x))})
    return path


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
    np.testing.assert_array_equal(opened(path), np.asarray(rows_grid([(f"{i}", x[i]) for i in expected], IMAGE)))


def test_scale(source: Path, tmp_path: Path) -> None:
    path = render(str(source), str(tmp_path / "X.PNG"), count=2, scale=3)
    assert opened(path).shape[0] == 2 * (3 * 16 + GAP) + 2 * MARGIN


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
    np.testing.assert_array_equal(opened(path), np.asarray(rows_grid([("0", x[0])], element)))


def test_swap_files_show_both_mixtures(swapped: Path, tmp_path: Path) -> None:
    path = render(swapped, tmp_path / "s.png", first=3, count=4)
    ab, ba = sequences(5, 4, seed=1), sequences(5, 3, seed=2)
    rows = [
        (f"{i}, {name}", part[i, :3])
        for i in (3, 4)
        for name, part in (("static a, dynamic b", ab), ("static b, dynamic a", ba))
    ]
    np.testing.assert_array_equal(opened(path), np.asarray(rows_grid(rows, IMAGE)))
    assert gif(render(swapped, tmp_path / "s.gif", count=2)) == (3, 120, (2 * 16 + GAP, 2 * 16 + GAP))


def test_render_swap_shows_what_was_swapped(swapped: Path, tmp_path: Path) -> None:
    a, b = sequences(5, 3, seed=3), sequences(6, 4, seed=4)
    files = write(tmp_path / "a.h5", a), write(tmp_path / "b.h5", b)
    path = render_swap(*files, swapped, tmp_path / "s.png", count=2)
    expected = swap_grid(a[:2], b[:2], sequences(5, 4, seed=1)[:2], sequences(5, 3, seed=2)[:2], IMAGE)
    np.testing.assert_array_equal(opened(path), np.asarray(expected))
    all_pairs = render_swap(*files, swapped, tmp_path / "all.png")
    assert opened(all_pairs).shape[0] == 20 * (16 + GAP) + 6 * MARGIN
    with pytest.raises(OutputExistsError):
        render_swap(*files, swapped, path)


@pytest.mark.parametrize("ending", ["png", "gif"])
@pytest.mark.parametrize("element", [SPECTRUM, SERIES], ids=["spectrum", "series"])
def test_other_elements_are_refused(tmp_path: Path, element: Element, ending: str) -> None:
    source = write(tmp_path / "x.h5", sequences(5, 4, element), element)
    with pytest.raises(DataError, match=f"images with 1 or 3 channels, not of {element.kind}"):
        render(source, tmp_path / f"x.{ending}")
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["static_a_dynamic_b"] = file["static_b_dynamic_a"] = sequences(5, 4, element)
    with pytest.raises(DataError, match=r"pictures are drawn of images"):
        render(tmp_path / "s.h5", tmp_path / f"x.{ending}")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.h5", "x.h5"]


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
