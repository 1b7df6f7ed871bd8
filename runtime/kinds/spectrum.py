"""Spectrum frames: bins; NaN where a value was not observed."""

from typing import Any

import numpy as np

from sdkit.runtime.kinds.base import Array, DTypeName, Kind, Scale


class Spectrum(Kind):
    """Frames of a spectrum."""

    name = "spectrum"
    axes = ("F",)
    plural = "spectrum frames"
    spectral = True
    assumption = (
        "as spectrum frames (N, T, F); window=W cuts a series (N, steps, F), kind=vector takes vectors, as poses"
    )

    def sample(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DTypeName, scale: Scale | None = None
    ) -> Array:
        """Return random frames without gaps: a frame is measured as a whole."""
        return self.filler(rng, shape, dtype, scale)

    def suggests(self, axes: int, dtype: np.dtype[Any], *, named: bool) -> bool:
        """Return whether there is an axis of bins, which have no names."""
        return self.accepts(axes) and not named


KIND = Spectrum()
