"""The interface of a kind of element, with its defaults.

Shapes of batches are (B, T, *element), those of arrays from elsewhere (N, T, ...); methods are given shape and dtype,
since a kind knows neither.
"""

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.errors import DataError

Array = NDArray[Any]
DTypeName = Literal["uint8", "float32"]

GAPS = 0.1
"""Share of values that are missing in random sequences, where data of a kind have gaps."""


class Scale(NamedTuple):
    """Mean and standard deviation of each feature (F,), in data units."""

    mean: Array
    std: Array


class Kind:
    """A kind of element: what differs from these defaults is set, or overridden, in its file."""

    name: ClassVar[str]
    """Name of the kind, which is that of its file in every room."""
    axes: ClassVar[tuple[str, ...]]
    """Names of the axes of an element, such as (C, H, W); the last is F where values have features."""
    plural: ClassVar[str]
    """Plural of an element in messages."""
    dtypes: ClassVar[tuple[DTypeName, ...]] = ("uint8", "float32")
    """Dtypes that data may have."""
    standardised: ClassVar[bool] = True
    """Whether models work on values standardised by feature, (x - mean) / standard deviation; pixels have a scale of
    their own."""
    pictorial: ClassVar[bool] = False
    """Whether an element is a picture of pixels."""
    windowed: ClassVar[bool] = False
    """Whether an element spans several steps of time."""
    spectral: ClassVar[bool] = False
    """Whether features are the bins of a spectrum in their order, so that an element has a volume."""
    incomplete: ClassVar[bool] = True
    """Whether values may be missing, as NaN."""
    presumed: ClassVar[bool] = True
    """Whether a file with this number of axes that names no kind is read as this one; true of one kind at most."""
    assumption: ClassVar[str] = ""
    """Remark on an array that was read as this kind by default: the end of `(N, T, F) are taken ...`; empty where no
    other reading is likely."""

    @property
    def layout(self) -> str:
        """Axes of a data set and its contents, such as `(N, T, C, H, W) images`."""
        return f"({', '.join(('N', 'T', *self.axes))}) {self.plural}"

    def features(self, shape: tuple[int, ...]) -> int:
        """Return F, the number of features of an element of a shape; 0 where values have none."""
        return shape[-1] if self.axes[-1] == "F" else 0

    def drawable(self, shape: tuple[int, ...]) -> bool:
        """Return whether elements of a shape can be drawn."""
        return True

    def high(self, dtype: DTypeName) -> float:
        """Return the unit in which decoded values are compared: the range of pixels, or one standard deviation."""
        return 255.0 if dtype == "uint8" else 1.0

    def check(self, x: Array, where: str) -> None:
        """Check the values of sequences (B, T, *element) of the right shape and dtype.

        Raises:
            DataError: values that the kind does not allow; the message begins with `where`.
        """
        if x.dtype == np.float32 and np.isinf(x).any():
            raise DataError(f"{where} holds infinite values; NaN stands for 'not observed', infinity has no meaning")

    def cast(self, x: Array, dtype: DTypeName) -> Array:
        """Return decoded values (float32, data units) in the data set's dtype: uint8 is rounded and clipped."""
        return np.clip(np.rint(x), 0, 255).astype(np.uint8) if dtype == "uint8" else x.astype(np.float32, copy=False)

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeName, scale: Scale | None = None
    ) -> Array:
        """Return random sequences (B, T, *element) in data units on which graphs are proven: values with gaps.

        Args:
            rng: generator of the random numbers.
            shape: (B, T, *element).
            dtype: dtype of the data set.
            scale: mean and standard deviation of the features; 0 and 1 when None.
        """
        x = self.filler(rng, shape, dtype, scale)
        return np.where(rng.random(shape) < GAPS, np.float32(np.nan), x)

    def filler(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeName, scale: Scale | None = None
    ) -> Array:
        """Return random sequences (B, T, *element), as `sample`, that cost about what data cost to store and to run."""
        x = rng.standard_normal(shape, np.float32)
        return x if scale is None else np.asarray(scale.mean + scale.std * x)

    def accepts(self, axes: int) -> bool:
        """Return whether an array with this number of axes can be read as sequences of this kind."""
        return axes == 2 + len(self.axes)

    def suggests(self, axes: int, dtype: np.dtype[Any], *, named: bool) -> bool:
        """Return whether an array is likely to hold sequences of this kind.

        Args:
            axes: number of axes of the array.
            dtype: dtype of the array.
            named: whether its features have names, or units of their own.
        """
        return self.presumed and self.accepts(axes)

    def option(self, axes: int) -> str:
        """Return the option that makes a maker read an array as this kind, for a message."""
        return f"kind={self.name}"

    def stored(self, dtype: np.dtype[Any]) -> DTypeName:
        """Return the dtype in which numbers of a dtype are stored."""
        return "float32"

    def arranged(self, x: Array) -> tuple[Array, str]:
        """Return an array (N, T, ...) that the kind accepts as (N, T, *element), and what was changed, if anything."""
        return x, ""

    def misordered(self, shape: tuple[int, ...]) -> str:
        """Return what is wrong with the order of a data set's axes, for a message; empty where nothing is."""
        return ""
