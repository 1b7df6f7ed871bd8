"""The confusion matrix of a classifier (paper fig. 4)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdkit.figures.style import FAINT, INK, PAPER, SHARE, SMALL_SIZE, caption, new_figure, plain
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL = 0.55
"""Inches of a side of a cell."""
MOST_WITH_NUMBERS = 30
"""Largest number of classes whose cells hold numbers; with more they would be illegible."""


def confusion_counts(truth: Array, predicted: Array, classes: int) -> Array:
    """Return counts (K, K) of predictions by class, rows the truth, from labels (N,) and predictions (N,)."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def confusion_figure(counts: Array, names: Sequence[str], *, factor: str = "class", note: str = "") -> "Figure":
    """Return a figure of a confusion matrix: rows are the truth, cells percent of their row.

    Args:
        counts: (K, K), rows the truth, columns the predictions.
        names: names of the K classes.
        factor: name of the classes, such as `motion`.
        note: text for the end of the caption: data set, split, judge, model.

    Raises:
        DataError: counts that are not (K, K) for K names.
    """
    size = len(names)
    if counts.shape != (size, size) or size == 0:
        raise DataError(f"a confusion matrix of {size} classes is ({size}, {size}), not {counts.shape}")
    totals = counts.sum(1, keepdims=True)
    percent = np.divide(100.0 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    longest = max(map(len, names)) * 0.075
    side = max(2.6, CELL * min(size, MOST_WITH_NUMBERS))
    figure = new_figure(side + longest + 1.6, side + longest + 0.7)
    axes = figure.subplots()
    axes.set_facecolor(FAINT)
    image = axes.imshow(percent, cmap=SHARE, vmin=0, vmax=100)
    labels = [plain(name) for name in names]
    axes.set_xticks(range(size), labels, rotation=90 if longest > CELL else 0)
    axes.set_yticks(range(size), labels)
    axes.tick_params(labelsize=SMALL_SIZE, colors=INK, length=0)
    axes.set_xlabel(plain(f"predicted {factor}"), fontsize=SMALL_SIZE, color=INK)
    axes.set_ylabel(plain(f"true {factor}"), fontsize=SMALL_SIZE, color=INK)
    if size <= MOST_WITH_NUMBERS:
        for (i, j), value in np.ndenumerate(percent):
            if np.isfinite(value):
                colour = PAPER if value > 62 else INK
                axes.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=SMALL_SIZE, color=colour)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("% of the row", fontsize=SMALL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=SMALL_SIZE, colors=INK)
    right = 100 * np.trace(counts) / max(int(counts.sum()), 1)
    return caption(
        figure,
        f"Rows: true {factor}, columns: predicted, in percent of the row; N = {int(counts.sum())}, "
        f"{right:.1f} % on the diagonal." + (" Grey rows: no sequence." if (totals == 0).any() else ""),
        note,
    )
