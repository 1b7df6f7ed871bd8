"""Active units: how many dimensions of a code say anything about the data."""

from torch import Tensor

ACTIVE_VARIANCE = 0.01
"""A unit is active when its posterior mean varies over the data by more than this (Burda et al. 2016)."""


def active_units(means: Tensor) -> int:
    """Return how many of the columns of posterior means (N, S) or (N, D) are active."""
    return int((means.float().var(0, unbiased=False) > ACTIVE_VARIANCE).sum())
