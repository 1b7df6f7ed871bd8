"""Paths of the dynamic codes over time, on their first two principal components."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdkit.figures.embedding import check_labels
from sdkit.figures.style import MOST_CLASSES, ORDERED, SMALL_SIZE, caption, marks, new_figure, plain, tidy
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError
from sdkit.runtime.storage.sequences import Indices

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PATHS = 40
"""Largest number of paths in a figure; more are not distinguishable."""


def trajectories(
    dynamic: Array,
    labels: Array,
    names: Sequence[str],
    *,
    lengths: Indices | None = None,
    factor: str = "label",
    note: str = "",
) -> "Figure":
    """Return a figure of the paths of dynamic codes, coloured by label, the first step marked by a ring.

    The components are those of all steps of all sequences; of more than MOST_PATHS sequences evenly spaced ones are
    drawn, and the caption says so.

    Args:
        dynamic: (N, T, D) mean codes.
        labels: (N,) indices into `names`.
        names: names of the labels.
        lengths: (N,) numbers of valid steps, where sequences differ.
        factor: name of the labels, such as `motion`.
        note: text for the end of the caption: data set, split, model.

    Raises:
        DataError: codes that are not (N, T, D) with D >= 2, values that are not finite, or labels without a name.
    """
    if dynamic.ndim != 3 or dynamic.shape[2] < 2 or len(dynamic) == 0 or not np.isfinite(dynamic).all():
        raise DataError(f"paths are drawn of finite dynamic codes (N, T, D) with D >= 2, not of {dynamic.shape}")
    labels = np.asarray(labels)
    check_labels(labels, len(dynamic), names)
    steps = np.full(len(dynamic), dynamic.shape[1]) if lengths is None else lengths
    paths, explained = principal_paths([code[:n] for code, n in zip(dynamic, steps, strict=True)])
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(MOST_PATHS, len(paths))).round().astype(int))
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    _draw(figure, axes, [(paths[i], int(labels[i])) for i in chosen], np.unique(labels).tolist(), names, factor)
    for side, share in zip(("x", "y"), explained, strict=True):
        number = 1 if side == "x" else 2
        axes.set(**{f"{side}label": f"component {number} ({100 * share:.0f} % of the variance)"})
    axes.xaxis.label.set_fontsize(SMALL_SIZE)
    axes.yaxis.label.set_fontsize(SMALL_SIZE)
    tidy(axes)
    of = f"{len(chosen)} of {len(paths)} sequences" if len(chosen) < len(paths) else f"{len(paths)} sequences"
    return caption(
        figure,
        f"Paths of the mean dynamic codes (width {dynamic.shape[2]}) of {of} over at most {int(steps.max())} steps, on "
        f"the first two principal components; ring: first step, colour: {factor}.",
        note,
    )


def principal_paths(paths: Sequence[Array]) -> tuple[list[Array], Array]:
    """Return paths (T, D) on the first two principal components of all their points, and the variance these explain.

    Returns:
        The paths, each (T, 2), and the two shares of the variance, from 0 to 1.
    """
    points = np.concatenate(paths).astype(np.float64)
    points -= points.mean(0)
    _, scales, directions = np.linalg.svd(points, full_matrices=False)
    variance = np.square(scales)
    share = variance[:2] / max(float(variance.sum()), np.finfo(np.float64).tiny)
    cuts = np.cumsum([len(path) for path in paths])[:-1]
    return np.split(points @ directions[:2].T, cuts), share


def _draw(
    figure: "Figure",
    axes: "Axes",
    paths: Sequence[tuple[Array, int]],
    present: list[int],
    names: Sequence[str],
    factor: str,
) -> None:
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    few = len(present) <= MOST_CLASSES
    if few:
        looks = {label: (mark.colour, mark.marker) for label, mark in zip(present, marks(len(present)), strict=True)}
    else:
        spread = np.linspace(0, 1, len(present))
        looks = {label: (colormaps[ORDERED](at), "o") for label, at in zip(present, spread, strict=True)}
    for path, label in paths:
        colour, marker = looks[label]
        axes.plot(path[:, 0], path[:, 1], "-", marker=marker, color=colour, linewidth=0.9, markersize=2.5, alpha=0.8)
        axes.plot(path[0, 0], path[0, 1], "o", color=colour, fillstyle="none", markersize=8, zorder=3)
    if few:
        handles = [Line2D([], [], color=c, marker=m, linewidth=0.9, markersize=4) for c, m in looks.values()]
        figure.legend(
            handles,
            [plain(names[label]) for label in present],
            title=plain(factor),
            loc="outside right upper",
            frameon=False,
            fontsize=SMALL_SIZE,
            title_fontsize=SMALL_SIZE,
        )
