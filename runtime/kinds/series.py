"""Windows of a multivariate series: steps, features."""

from sdkit.runtime.kinds.base import Kind

KIND = Kind("series", ("W", "F"), windowed=True)
