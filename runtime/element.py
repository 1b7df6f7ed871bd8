"""What one element of a sequence is: an image, a window of a series, or a spectrum frame (`*element` in docstrings)."""

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.kinds import find
from sdkit.runtime.kinds.base import Kind

Array = NDArray[Any]
KindName = Literal["image", "series", "spectrum"]
DTypeName = Literal["uint8", "float32"]

LAYOUTS: dict[str, tuple[str, ...]] = {"image": ("C", "H", "W"), "series": ("W", "F"), "spectrum": ("F",)}
"""Axes of an element by kind: channels, height, width; steps of a window, features; bins."""


class Element(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kind, shape, dtype and units of an element; the same object describes a file, a model and a bundle."""

    kind: KindName
    shape: tuple[int, ...]
    dtype: DTypeName
    units: tuple[str, ...] = ()
    """One unit for all values, or one a feature."""
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        axes = LAYOUTS[self.kind]
        if len(self.shape) != len(axes) or min(self.shape) < 1:
            raise ConfigError(
                f"an element of kind {self.kind} has the axes ({', '.join(axes)}), not the shape {self.shape}"
            )

    @property
    def traits(self) -> Kind:
        """The kind of element as an object."""
        return find(self.kind)

    @property
    def high(self) -> float:
        """Largest value of an image in its own units: 255 for uint8, 1 for float32."""
        return 255.0 if self.dtype == "uint8" else 1.0

    @property
    def drawable(self) -> bool:
        """Whether an element is a picture: an image of one or three channels."""
        return self.kind == "image" and self.shape[0] in (1, 3)

    def describe(self) -> str:
        """Return text such as `image (3, 64, 64) uint8`."""
        return f"{self.kind} {self.shape} {self.dtype}"

    def check(self, x: Array, where: str = "x") -> Array:
        """Return `x` if it is a batch of sequences of this element.

        Args:
            x: (B, T, *element) in the data set's own dtype and units.
            where: what the message calls it: a file and data set, or an argument.

        Raises:
            DataError: wrong number of axes, element shape, dtype or values; B = 0; T < 2.
        """
        expected = f"(B, T, {', '.join(map(str, self.shape))}) {self.dtype}"
        if x.ndim != 2 + len(self.shape) or x.shape[2:] != self.shape:
            raise DataError(f"{where} has shape {x.shape}; expected {expected}")
        if x.dtype != np.dtype(self.dtype):
            raise DataError(f"{where} is {x.dtype}; expected {expected}: convert it first, nothing is cast silently")
        check_steps(x.shape[0], x.shape[1], where)
        if x.dtype == np.float32 and self.kind == "image":
            self._check_float_image(x, where)
        elif x.dtype == np.float32 and np.isinf(x).any():
            raise DataError(f"{where} holds infinite values; NaN stands for 'not observed', infinity has no meaning")
        return x

    def _check_float_image(self, x: Array, where: str) -> None:
        if not np.isfinite(x).all():
            first = np.argwhere(~np.isfinite(x))[0].tolist()
            raise DataError(f"{where} holds NaN or infinite pixels, the first at {first}; images must be complete")
        low, high = float(x.min()), float(x.max())
        if low < 0.0 or high > 1.0:
            raise DataError(
                f"{where} holds pixels from {low:g} to {high:g}; float32 images lie in [0, 1], or store uint8"
            )

    def cast(self, x: Array) -> Array:
        """Return decoded values (float32, data units) in the data set's own dtype: uint8 is rounded and clipped."""
        if self.dtype == "uint8":
            return np.clip(np.rint(x), 0, 255).astype(np.uint8)
        return np.clip(x, 0.0, 1.0).astype(np.float32) if self.kind == "image" else x.astype(np.float32, copy=False)


def check_steps(count: int, steps: int, where: str) -> None:
    """Raise DataError unless there is a sequence and it has at least two elements."""
    if count < 1:
        raise DataError(f"{where} is empty: it holds no sequence")
    if steps < 2:
        raise DataError(
            f"{where} has T = {steps}; a sequence needs at least 2 elements: one is the anchor of the static code"
        )
