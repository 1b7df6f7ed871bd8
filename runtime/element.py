"""Elements of sequences: images, windows of a series, ... (`*element` in docstrings)."""

import msgspec
import numpy as np

from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.kinds import find
from sdkit.runtime.kinds.base import Array as Array
from sdkit.runtime.kinds.base import DTypeName as DTypeName
from sdkit.runtime.kinds.base import Kind


class Element(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kind, shape, dtype and units of an element; the same object describes a file, a model and a bundle.

    Raises:
        ConfigError: a kind that there is not, or a shape or dtype that its elements do not have.
    """

    kind: str
    """Name of the kind, one of `runtime.kinds.names()`."""
    shape: tuple[int, ...]
    dtype: DTypeName
    units: tuple[str, ...] = ()
    """Unit of all values, or one unit for each feature."""
    feature_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        traits = self.traits
        if len(self.shape) != len(traits.axes) or min(self.shape) < 1:
            raise ConfigError(
                f"an element of kind {self.kind} has the axes ({', '.join(traits.axes)}), not the shape {self.shape}"
            )
        if self.dtype not in traits.dtypes:
            raise ConfigError(f"an element of kind {self.kind} is {' or '.join(traits.dtypes)}, not {self.dtype}")

    @property
    def traits(self) -> Kind:
        """The kind of element as an object."""
        return find(self.kind)

    @property
    def high(self) -> float:
        """Unit in which decoded values are compared: 255 for uint8; the range, or one standard deviation, else."""
        return self.traits.high(self.dtype)

    @property
    def features(self) -> int:
        """Number F of features; 0 where values have none, as pixels."""
        return self.traits.features(self.shape)

    @property
    def steps(self) -> int:
        """Number of time steps that an element spans: W of a window, else 1."""
        return self.shape[0] if self.traits.windowed else 1

    @property
    def drawable(self) -> bool:
        """Whether sequences of such elements can be drawn: images of one or three channels, and every other kind."""
        return self.traits.drawable(self.shape)

    def describe(self) -> str:
        """Return text such as `image (3, 64, 64) uint8`."""
        return f"{self.kind} {self.shape} {self.dtype}"

    def check(self, x: Array, where: str = "x") -> Array:
        """Return `x` if it is a batch of sequences of this element.

        Args:
            x: (B, T, *element) in the data set's own dtype and units.
            where: name of `x` in messages: a file and data set, or an argument.

        Raises:
            DataError: wrong number of axes, element shape, dtype or values; B = 0; T < 2.
        """
        expected = f"(B, T, {', '.join(map(str, self.shape))}) {self.dtype}"
        if x.ndim != 2 + len(self.shape) or x.shape[2:] != self.shape:
            raise DataError(f"{where} has shape {x.shape}; expected {expected}")
        if x.dtype != np.dtype(self.dtype):
            raise DataError(f"{where} is {x.dtype}; expected {expected}: convert it first, nothing is cast silently")
        check_steps(x.shape[0], x.shape[1], where)
        self.traits.check(x, where)
        return x

    def cast(self, x: Array) -> Array:
        """Return decoded values (float32, data units) in the data set's own dtype and range."""
        return self.traits.cast(x, self.dtype)


def check_steps(count: int, steps: int, where: str) -> None:
    """Raise DataError unless there is a sequence and it has at least two elements."""
    if count < 1:
        raise DataError(f"{where} is empty: it holds no sequence")
    if steps < 2:
        raise DataError(
            f"{where} has T = {steps}; a sequence needs at least 2 elements: one is the anchor of the static code"
        )
