"""What of drawing is the same for all elements; what is drawn is tested element by element."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdkit.figures.draw import animated, check_drawable, draw_clip, draw_reconstruction, draw_rows, draw_swap
from sdkit.figures.grid import rows_grid, swap_grid, tiles
from sdkit.runtime.element import Element
from sdkit.runtime.errors import DataError
from tests.sdkit.figures.parts import caption_of
from tests.tiny import IMAGE, sequences

SERIES, SPECTRUM = Element("series", (4, 3), "float32"), Element("spectrum", (6,), "float32")
VECTOR = Element("vector", (3,), "float32")


def test_images_are_pixels() -> None:
    x = sequences(4, 3)
    rows: Any = draw_rows([("a", x[0])], IMAGE, scale=2, note="Made up.")
    swap: Any = draw_swap(x[:2], x[2:], x[2:], x[:2], IMAGE, note="Made up.")
    for found, expected in (
        (rows, rows_grid([("a", x[0])], IMAGE, scale=2)),
        (swap, swap_grid(x[:2], x[2:], x[2:], x[:2], IMAGE)),
    ):
        assert isinstance(found, Image.Image)
        assert found.height > expected.height  # by the caption
        part = found.crop((0, 0, expected.width, expected.height))
        np.testing.assert_array_equal(np.asarray(part), np.asarray(expected))


@pytest.mark.parametrize("element", [SERIES, SPECTRUM, VECTOR], ids=Element.describe)
def test_other_elements_are_figures(element: Element) -> None:
    x = sequences(4, 3, element)
    rows: Any = draw_rows([("first", x[0])], element, note="Made up.")
    assert rows.axes[0].get_title() == "first"
    swap: Any = draw_swap(x[:1], x[1:2], x[2:3], x[3:], element, note="Made up.")
    assert [axes.get_title() for axes in swap.axes[:2]] == ["a", "b"]
    assert caption_of(rows).endswith("Made up.")
    assert caption_of(swap).endswith("Made up.")


def test_clips_are_of_images() -> None:
    x = sequences(2, 3)
    for found, expected in zip(draw_clip(x, IMAGE, scale=2), tiles(x, IMAGE, scale=2), strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))
    with pytest.raises(DataError, match="animations are drawn of images, not of spectrum"):
        draw_clip(sequences(2, 3, SPECTRUM), SPECTRUM)


def test_what_is_animated() -> None:
    pale = Element("image", (2, 8, 8), "uint8")
    assert [animated(element) for element in (IMAGE, pale, SERIES, SPECTRUM, VECTOR)] == [True, *[False] * 4]


def test_reconstructions_of_images_stand_below_the_data() -> None:
    x = sequences(4, 3)
    found: Any = draw_reconstruction(x[:2], x[2:], None, IMAGE, note="Made up.")
    expected = rows_grid([("data", x[0]), ("decoded", x[2]), ("data", x[1]), ("decoded", x[3])], IMAGE)
    part = found.crop((0, 0, expected.width, expected.height))
    np.testing.assert_array_equal(np.asarray(part), np.asarray(expected))


def test_what_cannot_be_drawn_is_told_before() -> None:
    for element in (IMAGE, SERIES, SPECTRUM, VECTOR):
        check_drawable(element)
    with pytest.raises(DataError, match="images with 1 or 3 channels"):
        check_drawable(Element("image", (2, 8, 8), "uint8"))
