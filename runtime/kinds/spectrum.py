"""Spectrum frames: bins."""

from sdkit.runtime.kinds.base import Kind

KIND = Kind("spectrum", ("F",))
