"""Live streams: codes and reconstruction of each element as it comes, for any number of streams at once.

A stream runs the encoder on one element, the graph `dynamic_step` on its features and the stream's state, and the
decoder on the codes. Results are those of encode and reconstruct on the whole sequence, within 1e-5 of a code.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sdkit.runtime.codes import Floats
from sdkit.runtime.contract import STEP
from sdkit.runtime.element import Array, Element
from sdkit.runtime.engines.backend import Backend, chain
from sdkit.runtime.errors import ConfigError, DataError


@dataclass(frozen=True)
class Step:
    """Codes and reconstruction of one element of every stream."""

    static: Floats
    """Static codes (B, S); for `dbse` the same at every element of a stream."""
    dynamic: Floats
    """Dynamic codes of the element (B, D)."""
    x: Floats
    """Reconstruction of the element (B, *element) in data units."""


class Stream:
    """B streams that advance together, one element at a time; made by `rt.stream()`.

    Args:
        backend: runs the graphs.
        element: element of the model.
        state_size: width K of a stream's state.
        batch: number of streams B.

    Raises:
        ConfigError: batch < 1.
    """

    def __init__(self, backend: Backend, element: Element, state_size: int, batch: int = 1) -> None:
        if batch < 1:
            raise ConfigError(f"batch = {batch}; there must be at least 1 stream")
        self._backend, self._element = backend, element
        self.state: Floats = np.zeros((batch, state_size), np.float32)
        """State (B, K), one row for each stream. Zeros begin a stream; a row kept and put back later continues it."""

    def __len__(self) -> int:
        return len(self.state)

    def push(self, x: Array) -> Step:
        """Return codes and reconstruction of the next element of every stream.

        Args:
            x: (B, *element) in the data set's dtype and units.

        Raises:
            DataError: x is not one element of each stream.

        >>> stream = rt.stream(batch=8)
        >>> for t in range(3):
        ...     step = stream.push(x[:, t])
        >>> step.dynamic.shape
        (8, 4)
        """
        self._check(x)
        run = self._backend.run
        features = run("encoder", {"x": x[:, None]})["features"]
        found = run(STEP, {"element_features": features, "state": self.state})
        static, dynamic = found["static_mean"], found["dynamic_mean"]
        decoded = chain(self._backend, ("decoder",), {"static": static, "dynamic": dynamic}, ("x",))["x"]
        self.state = found["next_state"]
        return Step(static, dynamic[:, 0], decoded[:, 0])

    def reset(self, rows: Any = None) -> None:
        """Restart streams: their next element is the first of a sequence.

        Args:
            rows: indices, a slice or a mask (B,) of the streams; all when None.

        Raises:
            ConfigError: there are no such rows.

        >>> stream = rt.stream(batch=8)
        >>> step = stream.push(x[:, 0])
        >>> stream.reset([0, 3])
        >>> bool(stream.state[0].any()), bool(stream.state[1].any())
        (False, True)
        """
        state = self.state.copy()
        try:
            state[slice(None) if rows is None else rows] = 0
        except (IndexError, ValueError) as error:
            raise ConfigError(f"rows = {rows}: there are {len(self)} streams, 0 to {len(self) - 1}") from error
        self.state = state

    def _check(self, x: Array) -> None:
        element = self._element
        expected = f"({', '.join(map(str, (len(self), *element.shape)))}) {element.dtype}, an element a stream"
        if x.shape != (len(self), *element.shape) or x.dtype != np.dtype(element.dtype):
            raise DataError(f"x is {x.shape} {x.dtype}; expected {expected}")
        # A view: the check is for sequences, which have at least two elements.
        element.check(np.broadcast_to(x[:, None], (len(x), 2, *element.shape)))
