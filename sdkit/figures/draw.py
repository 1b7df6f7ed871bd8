"""Drawing sequences of any kind: the figures of a kind are in the file of its name."""

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from sdkit.figures.axis_scales import UNKNOWN, Scales
from sdkit.figures.base import Figures, Look, Picture
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.extras import need

if TYPE_CHECKING:
    from PIL.Image import Image


def figures(element: Element) -> Figures:
    """Return the figures of a kind of element.

    Raises:
        ConfigError: there is no file of this kind.
    """
    name = f"sdkit.figures.{element.kind}"
    try:
        found: Figures = import_module(name).FIGURES
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigError(f"this sdkit draws no elements of kind '{element.kind}'") from error
    return found


def check_drawable(element: Element, *, scale: int = 1) -> None:
    """Check that sequences of an element can be drawn here.

    Raises:
        DataError: images of other than one or three channels.
        MissingExtraError: a figure without matplotlib.
        ConfigError: a scale for figures that are not drawn pixel by pixel.
    """
    if not element.traits.pictorial:
        need("train", "matplotlib", what=f"a picture of elements of kind {element.kind}")
        if scale != 1:
            raise ConfigError(f"scale = {scale}: only pictures of images are scaled, not of {element.describe()}")
    elif not element.drawable:
        raise DataError(f"pictures are drawn of images with 1 or 3 channels, not of {element.describe()}")


def animated(element: Element) -> bool:
    """Return whether there are animations of an element."""
    return element.drawable and figures(element).animated


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
        element: element of all sequences.
        scales: scales of the axes, if known.
        scale: pixels of the picture for each pixel of the data; images only.
        note: text for the end of the caption: data set, split, model.

    Raises:
        DataError, MissingExtraError, ConfigError: as `check_drawable`.
    """
    check_drawable(element, scale=scale)
    return figures(element).rows(rows, Look(element, scales, scale, note))


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
        element, scales, scale, note: as for `draw_rows`.

    Raises:
        DataError, MissingExtraError, ConfigError: as `check_drawable`.
    """
    check_drawable(element, scale=scale)
    look = Look(element, scales, scale, note)
    return figures(element).swap(a, b, static_a_dynamic_b, static_b_dynamic_a, look)


def draw_reconstruction(
    x: Array,
    decoded: Array,
    std: Array | None,
    element: Element,
    *,
    scales: Scales = UNKNOWN,
    note: str = "",
) -> Picture:
    """Return a captioned picture of sequences beside their decoded reconstructions.

    Args:
        x: (P, T, *element) in data units, NaN where not observed.
        decoded: (P, T, *element) means, in data units.
        std: (P, T, *element) decoded standard deviations; None where the decoder gives none.
        element, scales, note: as for `draw_rows`.

    Raises:
        DataError, MissingExtraError: as `check_drawable`.
    """
    check_drawable(element)
    return figures(element).reconstruction(x, decoded, std, Look(element, scales, 1, note))


def draw_clip(sequences: Array, element: Element, *, scale: int = 1) -> "list[Image]":
    """Return the frames of an animation in which all sequences (P, T, *element) play at once.

    Raises:
        DataError: elements that have no animation.
    """
    return figures(element).clip(sequences, Look(element, scale=scale))
