import numpy as np
import pytest
from PIL import Image

from sdkit.figures.grid import GAP, MARGIN, NARROWEST, frames, labelled, rows_grid, strip, swap_grid, tiles, wrapped
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import DataError
from tests.tiny import IMAGE, sequences

GREY = Element("image", (1, 4, 6), "uint8")
FLOAT = Element("image", (3, 4, 6), "float32")
OTHERS = [
    Element("spectrum", (6,), "float32"),
    Element("series", (4, 3), "float32"),
    Element("vector", (3,), "float32"),
    Element("image", (2, 8, 8), "uint8"),
]


def flat(levels: Array) -> Array:
    """Return sequences (P, T, 1, 4, 6) uint8 of flat frames of these grey levels (P, T)."""
    return np.broadcast_to(levels[:, :, None, None, None], (*levels.shape, 1, 4, 6)).astype(np.uint8)


def pixels(picture: Image.Image) -> Array:
    return np.asarray(picture)


def test_frames_are_rgb_in_rows() -> None:
    x = sequences(1, 3)[0]
    found = frames(x, IMAGE)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, x.transpose(0, 2, 3, 1))


def test_grey_frames_have_three_equal_channels() -> None:
    x = sequences(1, 3, GREY)[0]
    found = frames(x, GREY)
    assert found.shape == (3, 4, 6, 3)
    for channel in range(3):
        np.testing.assert_array_equal(found[..., channel], x[:, 0])


def test_float_images_are_scaled_and_decoded_values_are_clipped() -> None:
    x = np.zeros((2, 3, 4, 6), np.float32)
    x[0, 0, 0, :5] = [0.0, 0.5, 1.0, 1.5, -0.5]
    assert frames(x, FLOAT)[0, 0, :5, 0].tolist() == [0, 128, 255, 255, 0]
    decoded = np.full((2, 1, 4, 6), 99.6, np.float32)
    decoded[0, 0, 0, :2] = [-3.0, 300.0]
    assert frames(decoded, GREY)[0, 0, :3, 0].tolist() == [0, 255, 100]


@pytest.mark.parametrize("element", OTHERS, ids=Element.describe)
def test_only_images_are_drawn(element: Element) -> None:
    x = sequences(2, 3, element)
    for draw in (
        lambda: frames(x[0], element),
        lambda: strip(x[0], element),
        lambda: tiles(x, element),
        lambda: rows_grid([("a", x[0])], element),
        lambda: swap_grid(x, x, x, x, element),
    ):
        with pytest.raises(DataError, match=r"images with 1 or 3 channels, not of " + element.kind):
            draw()


def test_strip_lays_frames_side_by_side() -> None:
    found = strip(flat(np.array([[10, 20, 30]]))[0], GREY)
    assert found.shape == (4, 18, 3)
    assert found[0, ::6, 0].tolist() == [10, 20, 30]
    assert (found == found[:1]).all()


@pytest.mark.parametrize("scale", [1, 3])
def test_labelled_rows(scale: int) -> None:
    short, long = flat(np.array([[10, 20]]))[0], flat(np.array([[30, 40, 50]]))[0]
    picture = rows_grid([("short", short), ("a longer name", long)], GREY, scale=scale)
    found = pixels(picture)
    assert picture.mode == "RGB"
    assert found.shape[0] == 2 * (4 * scale + GAP) + 2 * MARGIN
    left = found.shape[1] - MARGIN - 18 * scale  # where the longer row begins
    tops = (MARGIN, MARGIN + 4 * scale + GAP)
    for top, levels in zip(tops, ([10, 20], [30, 40, 50]), strict=True):
        row = found[top : top + 4 * scale, left : left + len(levels) * 6 * scale]
        expected = np.repeat(levels, 6 * scale)
        assert (row == expected[None, :, None]).all()
    assert (found[tops[0], left + 12 * scale :] == 255).all()  # nothing beside the shorter row
    assert (found[:MARGIN, left:] == 255).all()
    assert (found[:, :left] < 255).any()  # the labels


def test_the_gutter_holds_the_longest_label() -> None:
    row = flat(np.array([[0, 0]]))[0]
    narrow, wide = (rows_grid([("a", row), (name, row)], GREY).width for name in ("b", "b" * 30))
    assert wide > narrow + 100


def test_swap_grid_has_a_block_of_four_rows_a_pair() -> None:
    levels = np.arange(4 * 2 * 3).reshape(4, 2, 3) * 10  # (a, b, ab, ba) x pairs x steps
    a, b, ab, ba = (flat(part) for part in levels)
    picture = swap_grid(a, b, ab, ba, GREY)
    found = pixels(picture)
    assert found.shape[0] == 8 * (4 + GAP) + 3 * MARGIN
    left = found.shape[1] - MARGIN - 18
    for pair in range(2):
        for row in range(4):
            y = MARGIN + (4 * pair + row) * (4 + GAP) + pair * MARGIN
            assert found[y, left::6, 0][:3].tolist() == levels[row, pair].tolist()


def test_blocks_must_have_rows_of_every_kind() -> None:
    x = sequences(2, 3)
    with pytest.raises(ValueError, match="shorter"):
        swap_grid(x, x[:1], x, x, IMAGE)


def test_labelled_scales_by_whole_pixels() -> None:
    small = labelled([[("a", np.arange(12, dtype=np.uint8).reshape(2, 2, 3))]])
    large = labelled([[("a", np.arange(12, dtype=np.uint8).reshape(2, 2, 3))]], scale=4)
    left = small.width - MARGIN - 2
    block = pixels(large)[MARGIN : MARGIN + 8, left : left + 8]
    np.testing.assert_array_equal(block[::4, ::4], pixels(small)[MARGIN : MARGIN + 2, left : left + 2])
    np.testing.assert_array_equal(block, block[::4, ::4].repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize(("count", "columns", "size"), [(1, None, (6, 4)), (5, None, (26, 12)), (5, 5, (46, 4))])
def test_tiles_show_all_sequences_in_every_frame(count: int, columns: int | None, size: tuple[int, int]) -> None:
    levels = np.arange(count * 3).reshape(count, 3) * 9
    found = tiles(flat(levels), GREY, columns=columns)
    assert len(found) == 3
    across = columns or int(np.ceil(np.sqrt(count)))
    for t, picture in enumerate(found):
        assert picture.size == size
        array = pixels(picture)
        for i in range(count):
            y, x = i // across * (4 + GAP), i % across * (6 + GAP)
            assert (array[y : y + 4, x : x + 6] == levels[i, t]).all()
    assert tiles(flat(levels), GREY, columns=columns, scale=2)[0].size == (2 * size[0], 2 * size[1])


@pytest.mark.parametrize("scale", [1, 40])
def test_a_caption_stands_below_and_moves_nothing(scale: int) -> None:
    rows = [("a", flat(np.array([[10, 20]]))[0])]
    bare, found = (pixels(rows_grid(rows, GREY, scale=scale, caption=text)) for text in ("", "word " * 60))
    height, width = bare.shape[:2]
    np.testing.assert_array_equal(found[:height, :width], bare)
    assert found.shape[1] == max(width, NARROWEST)
    below = np.asarray((found[height:] < 128).any((0, 2)))
    assert below.any()
    assert not below[: MARGIN - 1].any()
    assert not below[-MARGIN:].any()


def test_lines_are_wrapped_by_their_length() -> None:
    assert wrapped("aa bb  cc\ndddddddd e", 5, len) == ["aa bb", "cc", "dddddddd", "e"]
    assert wrapped("", 5, len) == []
