"""Uncertainty of figures, and comparison of two methods over seeds.

Values are one figure for each seed of a method. Where two methods were trained with the same seeds on the same data,
`paired` compares them seed by seed; where seeds have nothing in common, `welch` does. Several comparisons of one table
need `holm`. Intervals over the test split, at fixed weights, are those of `downstream.bootstrap`.

    >>> found = paired([0.81, 0.84, 0.83, 0.86], [0.78, 0.80, 0.81, 0.81])
    >>> round(found.difference, 3), round(found.p, 3), found.p_flips, found.count
    (0.035, 0.012, 0.125, 4)
    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.errors import ConfigError, DataError

LEVEL = 0.95
EXACT = 20
"""Largest number of pairs all of whose 2^n patterns of signs are tried; for more pairs patterns are drawn."""
FLIPS = 100_000
"""Number of patterns that are drawn where there are too many to try all."""
CLOSE = 1e-12
"""Share of the sum of all absolute differences by which two sums that are equal may differ by rounding."""

Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A figure and an interval of it."""

    value: float
    low: float
    high: float
    sd: float
    """Standard deviation over the draws of a bootstrap, else standard error of the figure."""
    level: float
    """Share of the draws between `low` and `high`, else the confidence level."""
    draws: int
    """Number of draws of a bootstrap, of groups left out in turn by a jackknife, else of values."""
    method: str = "bootstrap"
    """Name of the method: `bootstrap`, `jackknife` or `t`."""


@dataclass(frozen=True)
class Comparison:
    """A difference of two methods, a less b."""

    difference: float
    """Difference of the means."""
    low: float
    """Lower end of the confidence interval of the difference."""
    high: float
    p: float
    """Two-sided p-value of the t test that the difference is 0."""
    count: int
    """Number of pairs; without pairs, number of values of the smaller side."""
    p_flips: float | None = None
    """Two-sided p-value of the sign-flip permutation test, at least 2 / 2^n for n pairs; None without pairs."""
    level: float = LEVEL


def mean_interval(values: Values, *, level: float = LEVEL) -> Interval:
    """Return the mean over seeds with its t interval.

    Raises:
        ConfigError: a level outside 0..1.
        DataError: fewer than two values, or one that is not finite.
    """
    x = _finite(values)
    error = float(x.std(ddof=1) / np.sqrt(len(x)))
    return _around(float(x.mean()), error, len(x) - 1, level, len(x), "t")


def jackknife(value: float, left_out: Values, *, level: float = LEVEL) -> Interval:
    """Return the delete-a-group jackknife interval of a figure, with t quantiles for n groups.

    Args:
        value: figure on all groups.
        left_out: figure without each group (n,), such as without each speaker.
        level: confidence level.

    Raises:
        ConfigError: a level outside 0..1.
        DataError: fewer than two groups, or a value that is not finite.
    """
    x = _finite(left_out)
    error = float(np.sqrt((len(x) - 1) * x.var()))
    return _around(value, error, len(x) - 1, level, len(x), "jackknife")


def paired(a: Values, b: Values, *, level: float = LEVEL, seed: int = 0) -> Comparison:
    """Compare two methods of which the values at one position are of one seed: paired t and sign-flip tests.

    The sign-flip test is exact up to 20 pairs; beyond, 100,000 patterns of signs are drawn. With three pairs its p is
    1 / 4 at least, with six 1 / 32, however large the difference.

    Args:
        a: (n,) values of the one method.
        b: (n,) values of the other, at the same seeds.
        level: confidence level of the interval.
        seed: seed of drawn patterns.

    Raises:
        ConfigError: a level outside 0..1.
        DataError: fewer than two pairs, different numbers of values, or one that is not finite.
    """
    x, y = _finite(a), _finite(b)
    if len(x) != len(y):
        raise DataError(f"{len(x)} and {len(y)} values are no pairs; welch compares what has no pairs")
    differences = x - y
    error = float(differences.std(ddof=1) / np.sqrt(len(x)))
    mean = float(differences.mean())
    found = _around(mean, error, len(x) - 1, level, len(x), "t")
    p = _two_sided(mean, error, len(x) - 1)
    return Comparison(mean, found.low, found.high, p, len(x), _sign_flips(differences, seed), level)


def welch(a: Values, b: Values, *, level: float = LEVEL) -> Comparison:
    """Compare two methods whose seeds have nothing in common, by Welch's t test for unequal variances.

    Raises:
        ConfigError: a level outside 0..1.
        DataError: fewer than two values on a side, or one that is not finite.
    """
    x, y = _finite(a), _finite(b)
    parts = np.array([side.var(ddof=1) / len(side) for side in (x, y)])
    error, mean = float(np.sqrt(parts.sum())), float(x.mean() - y.mean())
    below = float((parts**2 / (np.array([len(x), len(y)]) - 1)).sum())
    free = float(parts.sum() ** 2 / below) if below > 0 else len(x) + len(y) - 2
    found = _around(mean, error, free, level, min(len(x), len(y)), "t")
    return Comparison(mean, found.low, found.high, _two_sided(mean, error, free), found.draws, None, level)


def holm(p: Sequence[float]) -> tuple[float, ...]:
    """Return Holm's adjusted p-values, in the order given: those below alpha stand at a family-wise error of alpha.

    Raises:
        DataError: a value outside 0..1.
    """
    values = np.asarray(p, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError(f"p-values are {values.tolist()}; they must lie in 0..1")
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(raised, 1.0)
    return tuple(adjusted.tolist())


def _finite(values: Values) -> NDArray[np.float64]:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) < 2 or not np.isfinite(x).all():
        raise DataError(f"values are {x.tolist()}; a spread needs two or more of them, all finite")
    return x


def _around(value: float, error: float, free: float, level: float, count: int, method: str) -> Interval:
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ConfigError(f"level = {level}; it must lie between 0 and 1")
    reach = float(stdtrit(free, (1 + level) / 2)) * error
    return Interval(value, value - reach, value + reach, error, level, count, method)


def _two_sided(difference: float, error: float, free: float) -> float:
    """Return the p-value of t; values that do not vary at all leave no doubt."""
    from scipy.special import stdtr

    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stdtr(free, -abs(difference) / error))


def _sign_flips(differences: NDArray[np.float64], seed: int) -> float:
    """Return the share of patterns of signs under which the sum of n differences is as far from 0 as it is."""
    whole = abs(differences.sum()) - CLOSE * np.abs(differences).sum()
    if len(differences) > EXACT:
        rng = np.random.default_rng(seed)
        signs = 2 * rng.integers(0, 2, (FLIPS, len(differences)), np.int8) - 1
        far = int((np.abs(signs @ differences) >= whole).sum())
        return (far + 1) / (FLIPS + 1)
    sums = differences[:1]  # a pattern and its opposite are equally far, so the first sign is fixed
    for difference in differences[1:]:
        sums = np.concatenate([sums + difference, sums - difference])
    return float((np.abs(sums) >= whole).mean())
