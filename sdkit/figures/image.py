"""Figures of images: strips of pixels in labelled rows, and animations."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sdkit.figures import grid
from sdkit.figures.base import Figures, Look
from sdkit.runtime.element import Array

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageFigures(Figures):
    """Figures of images: one row for each sequence; time runs to the right."""

    animated = True

    def rows(self, rows: Sequence[tuple[str, Array]], look: Look) -> "Image":
        """Return a picture of named sequences, each (T, C, H, W), one row each."""
        text = f"{len(rows)} {'sequence' if len(rows) == 1 else 'sequences'}, one a row; time runs to the right."
        return grid.rows_grid(rows, look.element, scale=look.scale, caption=f"{text} {look.note}")

    def swap(
        self,
        a: Iterable[Array],
        b: Iterable[Array],
        static_a_dynamic_b: Iterable[Array],
        static_b_dynamic_a: Iterable[Array],
        look: Look,
    ) -> "Image":
        """Return a picture of swapped pairs, each (T, C, H, W), four rows for each pair."""
        text = (
            "Swapped pairs, four rows a pair: both sequences, then each static code decoded with the other's dynamic "
            "codes."
        )
        parts = (a, b, static_a_dynamic_b, static_b_dynamic_a)
        return grid.swap_grid(*parts, look.element, scale=look.scale, caption=f"{text} {look.note}")

    def clip(self, sequences: Array, look: Look) -> "list[Image]":
        """Return the frames of an animation in which all sequences (P, T, C, H, W) play at once."""
        return grid.tiles(sequences, look.element, scale=look.scale)


FIGURES = ImageFigures()
