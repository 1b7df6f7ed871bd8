"""Windows of a multivariate series: steps, features; NaN where a value was not observed."""

from sdkit.runtime.kinds.base import Kind


class Series(Kind):
    """Windows of a series."""

    name = "series"
    axes = ("W", "F")
    plural = "windows of a series"
    windowed = True


KIND = Series()
