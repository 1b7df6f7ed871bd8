"""One way to draw sequences, whatever their elements: images as pixels, series as lines, spectra as levels."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias, Union

from sdkit.figures import grid, series, spectrum
from sdkit.figures.axis_scales import UNKNOWN, Scales
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.extras import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

Picture: TypeAlias = Union["Image", "Figure"]
"""What `style.save` writes."""


def check_drawable(element: Element, *, scale: int = 1) -> None:
    """Check that sequences of an element can be drawn here.

    Raises:
        DataError: images of other than one or three channels.
        MissingExtraError: a figure of series or spectra without matplotlib.
        ConfigError: a scale for what is not drawn pixel by pixel.
    """
    if element.kind != "image":
        need("train", "matplotlib", what=f"a picture of elements of kind {element.kind}")
        if scale != 1:
            raise ConfigError(f"scale = {scale}: only pictures of images are scaled, not of {element.describe()}")
    elif not element.drawable:
        raise DataError(f"pictures are drawn of images with 1 or 3 channels, not of {element.describe()}")


def draw_rows(
    rows: Sequence[tuple[str, Array]],
    element: Element,
    *,
    scales: Scales = UNKNOWN,
    scale: int = 1,
    note: str = "",
) -> Picture:
    """Return a captioned picture of named sequences.

    Args:
        rows: name and sequence (T, *element) of each, in data units; T may differ.
        element: of all.
        scales: of the axes of series and spectra, if known.
        scale: pixels of the picture a pixel of the data; images only.
        note: words for the end of the caption: data set, split, model.

    Raises:
        DataError, MissingExtraError, ConfigError: as `check_drawable`.
    """
    check_drawable(element, scale=scale)
    if element.kind == "series":
        return series.series_grid(rows, element, scales=scales, note=note)
    if element.kind == "spectrum":
        return spectrum.spectra_grid(rows, element, scales=scales, note=note)
    text = f"{len(rows)} {'sequence' if len(rows) == 1 else 'sequences'}, one a row; time runs to the right."
    return grid.rows_grid(rows, element, scale=scale, caption=f"{text} {note}")


def draw_swap(
    a: Iterable[Array],
    b: Iterable[Array],
    static_a_dynamic_b: Iterable[Array],
    static_b_dynamic_a: Iterable[Array],
    element: Element,
    *,
    scales: Scales = UNKNOWN,
    scale: int = 1,
    note: str = "",
) -> Picture:
    """Return a captioned picture of swapped pairs: both sequences, then both mixtures.

    Args:
        a, b: the pairs, each (T, *element) in data units; T may differ.
        static_a_dynamic_b, static_b_dynamic_a: the mixtures, each (T, *element).
        element, scales, scale, note: as of `draw_rows`.

    Raises:
        DataError, MissingExtraError, ConfigError: as `check_drawable`.
    """
    check_drawable(element, scale=scale)
    parts = (a, b, static_a_dynamic_b, static_b_dynamic_a)
    if element.kind == "series":
        return series.series_swap(*parts, element, scales=scales, note=note)
    if element.kind == "spectrum":
        return spectrum.spectra_swap(*parts, element, scales=scales, note=note)
    text = (
        "Swapped pairs, four rows a pair: both sequences, then each static code decoded with the other's dynamic codes."
    )
    return grid.swap_grid(*parts, element, scale=scale, caption=f"{text} {note}")


def draw_clip(sequences: Array, element: Element, *, scale: int = 1) -> "list[Image]":
    """Return the frames of an animation in which all sequences (P, T, C, H, W) play at once.

    Raises:
        DataError: elements that are not images of one or three channels.
    """
    if element.kind != "image":
        raise DataError(f"animations are drawn of images, not of {element.describe()}; end the picture in .png")
    return grid.tiles(sequences, element, scale=scale)
