"""Figures of series: what was observed and what was decoded, feature by feature, in the units of the data.

Series are (T, W, F): windows of W steps with F features, NaN where nothing was observed. They are drawn as one line of
T * W steps, broken where values are missing; faint lines part the windows.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sdkit.figures.axis_scales import UNKNOWN, Scales, time_axis
from sdkit.figures.grid import SWAP_NAMES
from sdkit.figures.style import (
    BLUE,
    FAINT,
    INK,
    SMALL_SIZE,
    TEXT_SIZE,
    VERMILION,
    caption,
    counted,
    feature_name,
    new_figure,
    plain,
    tidy,
    unit,
)
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_FEATURES, MOST_SEQUENCES, MOST_PAIRS = 10, 6, 2
MOST_SWAP_ROWS = 8
MANY_STEPS = 120
"""Above so many steps not every value has a dot of its own."""
GAPS = "Gaps: not observed. Faint lines part the windows, which have a dynamic code each."


def series_grid(
    rows: Sequence[tuple[str, Array]], element: Element, *, scales: Scales = UNKNOWN, note: str = ""
) -> "Figure":
    """Return a figure of series: a column a sequence, a row a feature, all of a row on one scale.

    At most MOST_SEQUENCES sequences and MOST_FEATURES features are drawn; the caption says so.

    Args:
        rows: name and series (T, W, F) of each sequence, in data units; T may differ.
        element: of all.
        scales: of the axis of time, if known.
        note: words for the end of the caption: data set, split, model.

    Raises:
        DataError: elements that are not series.
    """
    _check(element)
    shown, features = list(rows)[:MOST_SEQUENCES], range(min(element.shape[1], MOST_FEATURES))
    columns = [(name, [(x, BLUE)]) for name, x in shown]
    labels = [_label(element, f) for f in features]
    figure = _panels(columns, [(label, f) for label, f in zip(labels, features, strict=True)], element, scales)
    return caption(
        figure,
        f"{counted(len(rows), 'sequence', len(shown)).capitalize()}, one a column;",
        f"{counted(element.shape[1], 'feature', len(features))}, one a row, on one scale a row.",
        GAPS,
        note,
    )


def reconstruction_figure(
    x: Array, mean: Array, std: Array | None, element: Element, *, scales: Scales = UNKNOWN, note: str = ""
) -> "Figure":
    """Return a figure of a reconstructed series, a panel a feature (paper fig. 13).

    Args:
        x: (T, W, F) observed, in data units, NaN where not.
        mean: (T, W, F) decoded.
        std: (T, W, F) decoded standard deviations, drawn as a band of two to each side; None for no band.
        element: of all.
        scales: of the axis of time, if known.
        note: words for the end of the caption: data set, model.

    Raises:
        DataError: elements that are not series.
    """
    _check(element)
    count = min(element.shape[1], MOST_FEATURES)
    across = 1 if count == 1 else 2
    down = -(-count // across)
    figure = new_figure(6.2 * across, 1.75 * down + 0.5)
    grid = figure.subplots(down, across, squeeze=False, sharex=True)
    dot = 4.0 if x.shape[0] * x.shape[1] <= MANY_STEPS else 1.5
    for f, axes in enumerate(grid.flat):
        if f >= count:
            axes.remove()
            continue
        time = _time_axis(axes, len(x), element, scales, labelled=f + across >= count)
        if std is not None:
            low, high = mean[..., f] - 2 * std[..., f], mean[..., f] + 2 * std[..., f]
            band = (low.reshape(-1), high.reshape(-1))
            axes.fill_between(time, *band, color=VERMILION, alpha=0.25, linewidth=0, label="± 2 std")
        axes.plot(time, mean[..., f].reshape(-1), color=VERMILION, linewidth=1.2, label="reconstructed mean")
        axes.plot(time, x[..., f].reshape(-1), ".", color=BLUE, markersize=dot, label="observed")
        axes.set_title(plain(feature_name(element, f)), fontsize=TEXT_SIZE, color=INK)
        axes.set_ylabel(plain(unit(element, f)), fontsize=SMALL_SIZE, color=INK)
        tidy(axes)
        axes.tick_params(labelbottom=f + across >= count)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3, fontsize=SMALL_SIZE, frameon=False)
    error = np.abs(x - mean)
    return caption(
        figure,
        f"One sequence, {counted(element.shape[1], 'feature', count)}: observed values and their reconstruction from "
        "mean codes" + (", with a band of two decoded standard deviations to each side." if std is not None else "."),
        f"N = {int(np.isfinite(error).sum())} observed values.",
        "Faint lines part the windows, which have a dynamic code each.",
        note,
    )


def series_swap(
    a: Iterable[Array],
    b: Iterable[Array],
    static_a_dynamic_b: Iterable[Array],
    static_b_dynamic_a: Iterable[Array],
    element: Element,
    *,
    features: Sequence[int] | None = None,
    scales: Scales = UNKNOWN,
    note: str = "",
) -> "Figure":
    """Return a figure of swapped pairs: a column each for a, b and both mixtures, rows of features a pair.

    Args:
        a, b: the pairs, each (T, W, F) in data units; T may differ. At most MOST_PAIRS are drawn.
        static_a_dynamic_b, static_b_dynamic_a: the mixtures, each (T, W, F).
        element: of all four.
        features: which to draw; those most often observed when None, MOST_SWAP_ROWS rows in all.
        scales: of the axis of time, if known.
        note: words for the end of the caption: data set, model.

    Raises:
        DataError: elements that are not series.
    """
    _check(element)
    pairs = list(zip(a, b, static_a_dynamic_b, static_b_dynamic_a, strict=True))
    shown = pairs[:MOST_PAIRS]
    if features is None:
        features = _most_observed([x for pair in shown for x in pair[:2]], MOST_SWAP_ROWS // len(shown))
    colours = (BLUE, VERMILION, BLUE, VERMILION)
    columns = [
        (name, [(pair[i], colour) for pair in shown])
        for i, (name, colour) in enumerate(zip(SWAP_NAMES, colours, strict=True))
    ]
    which = [f"pair {i + 1}\n" if len(shown) > 1 else "" for i in range(len(shown))]
    lines = [(prefix + _label(element, f), f) for prefix in which for f in features]
    figure = _panels(columns, lines, element, scales)
    return caption(
        figure,
        f"{counted(len(pairs), 'swapped pair', len(shown)).capitalize()}: both sequences as observed, then each "
        "static code decoded with the other's dynamic codes; the colour tells whose static code it is.",
        f"{len(features)} of {element.shape[1]} features, on one scale a row.",
        GAPS,
        note,
    )


def _panels(
    columns: Sequence[tuple[str, Sequence[tuple[Array, str]]]],
    lines: Sequence[tuple[str, int]],
    element: Element,
    scales: Scales,
) -> "Figure":
    """Return a grid of panels.

    Args:
        columns: name, and the coloured series (T, W, F) of its blocks of rows, as many rows each.
        lines: label and feature of each row.
        element, scales: of all.
    """
    width = min(7.0, max(2.3, 10.0 / len(columns)))
    figure = new_figure(1.3 + width * len(columns), 0.6 + 0.95 * len(lines))
    grid = figure.subplots(len(lines), len(columns), squeeze=False, sharex="col", sharey="row")
    for j, (name, blocks) in enumerate(columns):
        grid[0, j].set_title(plain(name), fontsize=TEXT_SIZE, color=INK)
        for i, (label, feature) in enumerate(lines):
            axes = grid[i, j]
            x, colour = blocks[i * len(blocks) // len(lines)]
            time = _time_axis(axes, len(x), element, scales, labelled=i == len(lines) - 1)
            _line(axes, time, x[..., feature].reshape(-1), colour)
            axes.locator_params(axis="y", nbins=3)
            if j > 0 and i < len(lines) - 1:
                # These have no text outside, and measuring them would take most of the time.
                for part in (axes.xaxis, axes.yaxis, *axes.spines.values()):
                    part.set_in_layout(False)
            if j == 0:
                axes.set_ylabel(
                    plain(label), fontsize=SMALL_SIZE, color=INK, rotation=0, horizontalalignment="right", va="center"
                )
            tidy(axes)
    figure.align_ylabels(grid[:, 0])
    return figure


def _line(axes: "Axes", time: Array, values: Array, colour: str) -> None:
    if not np.isfinite(values).any():
        place: Any = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "not observed", fontsize=SMALL_SIZE, color=INK, **place)
        return
    axes.plot(time, values, "-", color=colour, linewidth=0.9)
    dots = values if len(values) <= MANY_STEPS else np.where(_alone(values), values, np.nan)
    axes.plot(time, dots, ".", color=colour, markersize=4)


def _time_axis(axes: "Axes", windows: int, element: Element, scales: Scales, *, labelled: bool) -> Array:
    """Mark the borders of the windows; return the places of the steps."""
    window = element.shape[0]
    count = windows * window
    step, name = time_axis(count, scales.seconds, "step")
    axes.set_xlim(-0.5 * step, (count - 0.5) * step)
    borders = (np.arange(1, windows) * window - 0.5) * step
    axes.vlines(borders, 0, 1, transform=axes.get_xaxis_transform(), color=FAINT, linewidth=0.5, zorder=0)
    if labelled:
        axes.set_xlabel(name, fontsize=SMALL_SIZE, color=INK)
    return np.arange(count) * step


def _alone(values: Array) -> Array:
    """Tell which values are observed between two that are not: a line does not show these."""
    observed = np.pad(np.isfinite(values), 1)
    return np.asarray(observed[1:-1] & ~observed[:-2] & ~observed[2:])


def _label(element: Element, feature: int) -> str:
    in_units = unit(element, feature)
    return feature_name(element, feature) + (f"\n({in_units})" if in_units else "")


def _most_observed(series: Sequence[Array], count: int) -> list[int]:
    observed = sum(np.isfinite(x).sum((0, 1)) for x in series)
    return sorted(np.argsort(-np.asarray(observed), kind="stable")[:count].tolist())


def _check(element: Element) -> None:
    if element.kind != "series":
        raise DataError(f"lines are drawn of series, not of {element.describe()}")
