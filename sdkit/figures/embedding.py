"""t-SNE maps of codes: static against dynamic codes, and static codes by label (paper figs. 2, 5, 6)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdkit.figures.style import (
    BLUE,
    INK,
    MOST_CLASSES,
    ORDERED,
    SMALL_SIZE,
    VERMILION,
    caption,
    marks,
    new_figure,
    plain,
)
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError
from sdkit.runtime.extras import need

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

PERPLEXITY = 30.0
FEWEST = 4
"""Least number of points of a map."""
DOT_AREA, SMALLEST_AREA, LARGEST_AREA = 22.0, 6.0, 160.0
"""Areas of dots in square points: where all are equal, of the smallest and of the largest value."""

Floats = NDArray[np.float64]


def tsne(points: Array, seed: int = 0) -> Floats:
    """Return a two-dimensional t-SNE map (N, 2) of points (N, K).

    The perplexity is 30, or a third of the other points where there are fewer than 90 of them.

    Raises:
        DataError: fewer than 4 points, other axes, or values that are not finite.
        MissingExtraError: scikit-learn is not installed.
    """
    need("train", "sklearn", what="a t-SNE map")
    from sklearn.manifold import TSNE

    if points.ndim != 2 or len(points) < FEWEST or not np.isfinite(points).all():
        raise DataError(f"a t-SNE map needs finite points (N, K) with N >= {FEWEST}, not an array {points.shape}")
    # A map that starts from principal components is the most reproducible; codes that do not vary have none.
    start = "pca" if min(points.shape) > 1 and float(points.std(0).max()) > 0 else "random"
    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    embedding = TSNE(2, perplexity=perplexity, init=start, random_state=seed, learning_rate="auto")
    return np.asarray(embedding.fit_transform(points.astype(np.float64)), np.float64)


def static_against_dynamic(static: Array, dynamic: Array, *, seed: int = 0, note: str = "") -> "Figure":
    """Return the joint map of static and dynamic codes (paper figs. 2 left and 6).

    As in section 5.2, the dynamic codes of a sequence are joined to one vector. It is wider than the static code, and a
    joint map needs one width, so the narrower codes are padded with zeros. Clouds that differ in the number of padded
    places are apart for that reason too, so the map alone proves no disentanglement; the caption says so.

    Args:
        static: (N, S).
        dynamic: (N, T, D).
        seed: seed of the map.
        note: text for the end of the caption: data set, split, model.

    Raises:
        DataError: different N, or as `tsne`.
    """
    if static.ndim != 2 or dynamic.ndim != 3 or len(static) != len(dynamic):
        raise DataError(f"codes are static {static.shape} and dynamic {dynamic.shape}; expected (N, S) and (N, T, D)")
    count, joined = len(static), dynamic.reshape(len(dynamic), -1)
    width = max(static.shape[1], joined.shape[1])
    points = tsne(np.concatenate([_filled(static, width), _filled(joined, width)]), seed)
    figure, axes = _map()
    for name, colour, marker, part in (
        ("static", BLUE, "o", points[:count]),
        ("dynamic", VERMILION, "^", points[count:]),
    ):
        axes.scatter(
            part[:, 0], part[:, 1], s=DOT_AREA, color=colour, marker=marker, linewidths=0, alpha=0.7, label=name
        )
    _legend(figure, *axes.get_legend_handles_labels(), title="codes")
    steps, dynamic_width = dynamic.shape[1:]
    filled = (
        " The narrower ones are filled up with zeros, which alone sets them apart."
        if static.shape[1] != joined.shape[1]
        else ""
    )
    return caption(
        figure,
        f"t-SNE of the mean codes of N = {count} sequences: static (width {static.shape[1]}) and dynamic "
        f"({steps} steps of width {dynamic_width}, joined), mapped together.{filled}",
        note,
    )


def by_label(
    codes: Array,
    labels: Array,
    names: Sequence[str],
    sizes: Array | None = None,
    *,
    factor: str = "label",
    size_name: str = "",
    what: str = "static codes",
    seed: int = 0,
    note: str = "",
) -> "Figure":
    """Return the map of codes, coloured by label (paper figs. 2 right and 5).

    Up to 12 occurring labels have a colour and marker each and are in the legend; more are coloured by their number.

    Args:
        codes: (N, S).
        labels: (N,) indices into `names`.
        names: names of the labels.
        sizes: (N,) values from 0 up that determine the area of the dots, such as rain.
        factor: name of the labels, such as `season`.
        size_name: name of the sizes, with their unit, such as `rain (mm)`.
        what: name of the codes in the caption.
        seed: seed of the map.
        note: text for the end of the caption: data set, split, model.

    Raises:
        DataError: labels without a name, sizes that are not numbers from 0 up, another N, or as `tsne`.
    """
    labels = np.asarray(labels)
    check_labels(labels, len(codes), names)
    if sizes is not None and (np.shape(sizes) != (len(codes),) or not (np.asarray(sizes) >= 0).all()):
        raise DataError(f"sizes must be {len(codes)} numbers from 0 up")
    points = tsne(codes, seed)
    figure, axes = _map()
    largest = 0.0 if sizes is None else float(np.max(sizes))
    areas = np.full(len(codes), DOT_AREA) if sizes is None else _areas(np.asarray(sizes, np.float64), largest)
    _scatter(figure, axes, points, labels, areas, names, factor)
    if sizes is not None:
        ends = [0.0, largest / 2, largest]
        handles = [_handle(INK, "o", float(_areas(np.array([value]), largest)[0])) for value in ends]
        axes.legend(
            handles,
            [f"{value:.3g}" for value in ends],
            title=plain(size_name),
            loc="upper left",
            bbox_to_anchor=(0, -0.02),
            ncols=3,
            frameon=False,
            fontsize=SMALL_SIZE,
            title_fontsize=SMALL_SIZE,
        )
    size_text = f", area: {size_name}" if sizes is not None else ""
    return caption(
        figure, f"t-SNE of the {what} (width {codes.shape[1]}) of N = {len(codes)}; colour: {factor}{size_text}.", note
    )


def check_labels(labels: Array, count: int, names: Sequence[str]) -> None:
    """Raise DataError unless there are `count` labels, each with a name."""
    if labels.shape != (count,) or labels.min(initial=0) < 0 or labels.max(initial=0) >= len(names):
        raise DataError(f"labels must be {count} numbers from 0 to {len(names) - 1}, one a point")


def _scatter(
    figure: "Figure", axes: "Axes", points: Floats, labels: Array, areas: Floats, names: Sequence[str], factor: str
) -> None:
    present = np.unique(labels)
    if len(present) > MOST_CLASSES:
        drawn = axes.scatter(points[:, 0], points[:, 1], s=areas, c=labels, cmap=ORDERED, linewidths=0, alpha=0.8)
        bar = figure.colorbar(drawn, ax=axes)
        bar.set_label(plain(f"{factor} (number)"), fontsize=SMALL_SIZE, color=INK)
        bar.ax.tick_params(labelsize=SMALL_SIZE, colors=INK)
        return
    handles = []
    for label, mark in zip(present, marks(len(present)), strict=True):
        chosen = labels == label
        x, y = points[chosen].T
        axes.scatter(x, y, s=areas[chosen], color=mark.colour, marker=mark.marker, linewidths=0, alpha=0.7)
        handles.append(_handle(mark.colour, mark.marker, DOT_AREA))
    _legend(figure, handles, [names[label] for label in present], title=factor)


def _map() -> "tuple[Figure, Axes]":
    """Return a figure with square axes without ticks: distances on a t-SNE map have no unit."""
    figure = new_figure(6.4, 4.9)
    axes = figure.subplots()
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.set_xlabel("t-SNE 1", fontsize=SMALL_SIZE, color=INK)
    axes.set_ylabel("t-SNE 2", fontsize=SMALL_SIZE, color=INK)
    return figure, axes


def _legend(figure: "Figure", handles: "Sequence[Artist]", names: Sequence[str], *, title: str) -> None:
    figure.legend(
        handles,
        [plain(name) for name in names],
        title=plain(title),
        loc="outside right upper",
        frameon=False,
        fontsize=SMALL_SIZE,
        title_fontsize=SMALL_SIZE,
    )


def _handle(colour: str, marker: str, area: float) -> "Line2D":
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="", color=colour, marker=marker, markersize=area**0.5, markeredgewidth=0)


def _areas(sizes: Floats, largest: float) -> Floats:
    return SMALLEST_AREA + (LARGEST_AREA - SMALLEST_AREA) * sizes / max(largest, np.finfo(np.float64).tiny)


def _filled(codes: Array, width: int) -> Array:
    return np.pad(codes, ((0, 0), (0, width - codes.shape[1])))
