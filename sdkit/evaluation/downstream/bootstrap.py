"""Uncertainty of a figure due to the choice of the test split: percentile bootstrap over its sequences.

Sequences are drawn with replacement; the model and its training stay fixed, so these intervals do not include the
variation over seeds. Sequences that belong together, such as those of one patient, station or speaker, are near-copies
of each other, and intervals over sequences are then too narrow: with `clusters`, whole clusters are drawn.
"""

from collections.abc import Callable, Iterator

import numpy as np

from sdkit.evaluation.downstream.results import both_classes
from sdkit.evaluation.downstream.splits import Floats, Ints, Mask
from sdkit.evaluation.statistics import Interval as Interval
from sdkit.runtime.errors import ConfigError, DataError

DRAWS = 2000
CHUNK = 2**22
"""Number of counts drawn at a time, so that large test splits need little memory."""

Statistic = Callable[[Floats], Floats]
"""Function from counts (R, N), how often each sequence was drawn, to values (R,)."""


def average(
    values: Floats, *, clusters: Ints | None = None, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the interval of a mean over sequences, such as an accuracy (0 or 1 each) or an absolute error.

    Args:
        values: (N,), or (N, ...) where a sequence has several, which are drawn together; NaN where there is none.
        clusters: (N,) cluster of each sequence, drawn as a whole; every sequence is its own when None.
        draws: number of draws.
        level: share of the draws between the ends of the interval.
        seed: seed of the draws.

    Raises:
        DataError: all values are NaN.
    """
    rows = values.reshape(len(values), -1).astype(np.float64)
    total, count = np.nansum(rows, 1), np.isfinite(rows).sum(1).astype(np.float64)
    if not count.sum():
        raise DataError("there is no value to average over")
    groups = count > 0
    return _interval(lambda w: (w @ total) / (w @ count), (groups,), clusters, draws, level, seed)


def auroc(
    labels: Ints,
    scores: Floats,
    *,
    clusters: Ints | None = None,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the interval of the area under the receiver operating characteristic; ties count half.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,), higher for 1.
        clusters, draws, level, seed: as for `average`.

    Raises:
        DataError: labels of one class only.
    """
    both_classes(labels, "the split to resample")
    order, ends = _descending(scores)
    positive = labels[order] == 1

    def statistic(counts: Floats) -> Floats:
        tp, fp = _cumulative(counts[:, order], positive, ends)
        # Trapezoids over the false positives of every distinct score.
        widths, heights = np.diff(fp, axis=1, prepend=0), tp - np.diff(tp, axis=1, prepend=0) / 2
        return np.asarray((widths * heights).sum(1) / (tp[:, -1] * fp[:, -1]))

    return _interval(statistic, (labels == 1, labels == 0), clusters, draws, level, seed)


def auprc(
    labels: Ints,
    scores: Floats,
    *,
    clusters: Ints | None = None,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the interval of the average precision.

    Args:
        labels: (N,) 0 or 1.
        scores: (N,), higher for 1.
        clusters, draws, level, seed: as for `average`.

    Raises:
        DataError: labels of one class only.
    """
    both_classes(labels, "the split to resample")
    order, ends = _descending(scores)
    positive = labels[order] == 1

    def statistic(counts: Floats) -> Floats:
        tp, fp = _cumulative(counts[:, order], positive, ends)
        # Where none of the highest scores was drawn, precision is 0 / 0 and its step of recall 0.
        precision = tp / np.maximum(tp + fp, 1)
        return np.asarray((np.diff(tp, axis=1, prepend=0) * precision).sum(1) / tp[:, -1])

    return _interval(statistic, (labels == 1, labels == 0), clusters, draws, level, seed)


def _descending(scores: Floats) -> tuple[Ints, Ints]:
    """Return the order of falling scores, and the last place of each distinct score in it."""
    order = np.argsort(-scores, kind="stable")
    return order, np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))


def _cumulative(counts: Floats, positive: Mask, ends: Ints) -> tuple[Floats, Floats]:
    """Return true and false positives (R, G) at each distinct score taken as the threshold."""
    return np.cumsum(counts * positive, 1)[:, ends], np.cumsum(counts * ~positive, 1)[:, ends]


def _interval(
    statistic: Statistic, groups: tuple[Mask, ...], clusters: Ints | None, draws: int, level: float, seed: int
) -> Interval:
    if draws < 2 or not 0 < level < 1:
        raise ConfigError(f"draws = {draws}, level = {level}; expected at least 2 draws and a level between 0 and 1")
    count = len(groups[0])
    if clusters is not None and len(clusters) != count:
        raise DataError(f"{len(clusters)} clusters of {count} sequences; expected one for each")
    member = np.arange(count) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    whole = statistic(np.ones((1, count)))
    drawn = _resamples(groups, member, draws, seed)
    values = np.concatenate([statistic(counts) for counts in drawn])
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(whole[0]), float(low), float(high), float(values.std(ddof=1)), level, draws)


def _resamples(groups: tuple[Mask, ...], member: Ints, draws: int, seed: int) -> Iterator[Floats]:
    """Yield counts (R, N) whose draws of clusters `member` (N,) hold a sequence of every group; others are drawn again.

    A draw has as many clusters as there are.
    """
    rng, count, clusters = np.random.default_rng(seed), len(groups[0]), int(member.max()) + 1
    members = np.stack(groups, 1).astype(np.float64)
    while draws > 0:
        size = min(draws, max(1, CHUNK // count))
        counts = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size)[:, member].astype(np.float64)
        kept = counts[(counts @ members > 0).all(1)]
        draws -= len(kept)
        yield kept
