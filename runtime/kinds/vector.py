"""Vectors: a step is F features without a window, such as a pose, joint angles, a sample of sensors or an embedding.

Features may differ in unit and scale; a value that was not observed is NaN.
"""

from typing import Any

import numpy as np

from sdkit.runtime.kinds.base import Kind


class Vector(Kind):
    """Vectors of features."""

    name = "vector"
    axes = ("F",)
    plural = "vectors"
    dtypes = ("float32",)
    presumed = False
    assumption = "as vectors (N, T, F), since their features have names or units; kind=spectrum takes spectrum frames"

    def suggests(self, axes: int, dtype: np.dtype[Any], *, named: bool) -> bool:
        """Return whether there is an axis of features that have names or units of their own, which bins have not."""
        return self.accepts(axes) and named


KIND = Vector()
