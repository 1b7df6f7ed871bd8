"""The interface of the figures of a kind of element: its file holds them as the object `FIGURES`."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeAlias, Union

from sdkit.figures.axis_scales import UNKNOWN, Scales
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

Picture: TypeAlias = Union["Image", "Figure"]
"""Picture that `style.save` writes."""

SWAP_NAMES = ("a", "b", "static of a,\ndynamic of b", "static of b,\ndynamic of a")
"""Names of the four sequences of a swapped pair."""


class Look(NamedTuple):
    """Settings of how sequences are drawn."""

    element: Element
    """Element of all sequences."""
    scales: Scales = UNKNOWN
    """Scales of the axes, where these are known and drawn."""
    scale: int = 1
    """Pixels of the picture for each pixel of the data; for pictures of pixels only."""
    note: str = ""
    """Text for the end of the caption: data set, split, model."""


class Figures(ABC):
    """Figures of sequences of a kind of element; values are in data units, and T may differ."""

    animated: ClassVar[bool] = False
    """Whether the kind has animations."""

    @abstractmethod
    def rows(self, rows: Sequence[tuple[str, Array]], look: Look) -> Picture:
        """Return a captioned picture of named sequences, each (T, *element)."""

    @abstractmethod
    def swap(
        self,
        a: Iterable[Array],
        b: Iterable[Array],
        static_a_dynamic_b: Iterable[Array],
        static_b_dynamic_a: Iterable[Array],
        look: Look,
    ) -> Picture:
        """Return a captioned picture of swapped pairs, each (T, *element): both sequences, then both mixtures."""

    def reconstruction(self, x: Array, decoded: Array, std: Array | None, look: Look) -> Picture:
        """Return a captioned picture of sequences beside their decoded reconstructions.

        Args:
            x: (P, T, *element), NaN where not observed.
            decoded: (P, T, *element) means.
            std: (P, T, *element) decoded standard deviations; None where the decoder gives none.
            look: settings of the picture.
        """
        pairs = zip(x, decoded, strict=True)
        return self.rows([row for pair in pairs for row in zip(("data", "decoded"), pair, strict=True)], look)

    def clip(self, sequences: Array, look: Look) -> "list[Image]":
        """Return the frames of an animation in which all sequences (P, T, *element) play at once.

        Raises:
            DataError: this kind has no animations.
        """
        raise DataError(f"animations are drawn of images, not of {look.element.describe()}; end the picture in .png")
