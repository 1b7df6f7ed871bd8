"""Active units: the number of dimensions of a code that carry information about the data."""

from torch import Tensor

ACTIVE_VARIANCE = 0.01
"""Variance of a unit's posterior mean over the data above which it is active (Burda et al. 2016)."""


def active_units(means: Tensor) -> int:
    """Return the number of active columns of posterior means (N, S) or (N, D)."""
    return int((means.float().var(0, unbiased=False) > ACTIVE_VARIANCE).sum())
