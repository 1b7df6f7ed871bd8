"""Figures of features as lines over steps, in the units of the data, for kinds of elements with features.

A sequence is drawn as one line of T * W steps for each feature, broken where values are missing; where an element
spans several steps, faint lines separate the elements.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from sdkit.figures.axis_scales import time_axis
from sdkit.figures.base import SWAP_NAMES, Figures, Look
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

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_FEATURES, MOST_SEQUENCES, MOST_PAIRS = 10, 6, 2
MOST_SWAP_ROWS = 8
MANY_STEPS = 120
"""Number of steps above which not every value has its own dot."""
GAPS = "Gaps: not observed."


class Chosen(NamedTuple):
    """The features that are drawn, and their description in a caption."""

    features: Sequence[int]
    text: str


class Lines(Figures):
    """Figures of a kind of element whose last axis is features."""

    codes: ClassVar[str]
    """Sentence for the caption that says what each dynamic code describes."""
    spread: ClassVar[bool] = False
    """Whether features evenly spread over all are drawn where there are too many, instead of the first ones."""

    def rows(self, rows: Sequence[tuple[str, Array]], look: Look) -> "Figure":
        """Return a figure of sequences: one column for each sequence, one row for each feature, a row on one scale.

        At most MOST_SEQUENCES sequences and MOST_FEATURES features are drawn; the caption says so.
        """
        shown, chosen = list(rows)[:MOST_SEQUENCES], self._choose(look.element, MOST_FEATURES)
        columns = [(name, [(_steps(x), BLUE)]) for name, x in shown]
        figure = _panels(columns, [(_label(look.element, f), f) for f in chosen.features], look)
        return caption(
            figure,
            f"{counted(len(rows), 'sequence', len(shown)).capitalize()}, one a column;",
            f"{chosen.text}, one a row, on one scale a row.",
            f"{GAPS} {self.codes}",
            look.note,
        )

    def swap(
        self,
        a: Iterable[Array],
        b: Iterable[Array],
        static_a_dynamic_b: Iterable[Array],
        static_b_dynamic_a: Iterable[Array],
        look: Look,
    ) -> "Figure":
        """Return a figure of swapped pairs: columns for a, b and both mixtures, rows for the features of each pair.

        At most MOST_PAIRS pairs and MOST_SWAP_ROWS rows are drawn: of the features that are observed most often or,
        where features are spread, of some of all.
        """
        parts = zip(a, b, static_a_dynamic_b, static_b_dynamic_a, strict=True)
        pairs = [tuple(map(_steps, pair)) for pair in parts]
        shown = pairs[:MOST_PAIRS]
        most, total = MOST_SWAP_ROWS // len(shown), look.element.features
        observed = [x for pair in shown for x in pair[:2]]
        features = self._choose(look.element, most).features if self.spread else _most_observed(observed, most)
        drawn = f"{len(features)} of {total} features"
        drawn += ", evenly spread" if self.spread and len(features) < total else ""
        colours = (BLUE, VERMILION, BLUE, VERMILION)
        columns = [
            (name, [(pair[i], colour) for pair in shown])
            for i, (name, colour) in enumerate(zip(SWAP_NAMES, colours, strict=True))
        ]
        which = [f"pair {i + 1}\n" if len(shown) > 1 else "" for i in range(len(shown))]
        lines = [(prefix + _label(look.element, f), f) for prefix in which for f in features]
        return caption(
            _panels(columns, lines, look),
            f"{counted(len(pairs), 'swapped pair', len(shown)).capitalize()}: both sequences as observed, then each "
            "static code decoded with the other's dynamic codes; the colour tells whose static code it is.",
            f"{drawn}, on one scale a row.",
            f"{GAPS} {self.codes}",
            look.note,
        )

    def reconstruction(self, x: Array, decoded: Array, std: Array | None, look: Look) -> "Figure":
        """Return a figure of the first sequence and its reconstruction, one panel for each feature (paper fig. 13).

        Decoded standard deviations are drawn as a band of two on each side.
        """
        chosen = self._choose(look.element, MOST_FEATURES)
        count = len(chosen.features)
        across = 1 if count == 1 else 2
        down = -(-count // across)
        figure = new_figure(6.2 * across, 1.75 * down + 0.5)
        grid = figure.subplots(down, across, squeeze=False, sharex=True)
        observed, mean = _steps(x[0]), _steps(decoded[0])
        band = None if std is None else _steps(std[0])
        for i, axes in enumerate(grid.flat):
            if i >= count:
                axes.remove()
                continue
            f, lowest = chosen.features[i], i + across >= count
            _reconstructed(axes, f, observed, mean, band, look, labelled=lowest)
            axes.tick_params(labelbottom=lowest)
        handles, names = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=3, fontsize=SMALL_SIZE, frameon=False)
        how = ", with a band of two decoded standard deviations to each side." if std is not None else "."
        return caption(
            figure,
            f"One sequence, {chosen.text}: observed values and their reconstruction from mean codes{how}",
            f"N = {int(np.isfinite(x[0]).sum())} observed values.",
            self.codes,
            look.note,
        )

    def _choose(self, element: Element, most: int) -> Chosen:
        count = element.features
        if count <= most or not self.spread:
            return Chosen(range(min(count, most)), counted(count, "feature", min(count, most)))
        index = np.linspace(0, count - 1, most).round().astype(int).tolist()
        return Chosen(index, f"{most} of {count} features, evenly spread")


def _steps(x: Array) -> Array:
    """Return a sequence (T, F) or (T, W, F) as steps (T * W, F)."""
    return x.reshape(-1, x.shape[-1])


def _panels(
    columns: Sequence[tuple[str, Sequence[tuple[Array, str]]]], lines: Sequence[tuple[str, int]], look: Look
) -> "Figure":
    """Return a grid of panels.

    Args:
        columns: name, and the coloured steps (T * W, F) of its blocks of rows, with the same number of rows each.
        lines: label and feature of each row.
        look: settings of the figure.
    """
    width = min(7.0, max(2.3, 10.0 / len(columns)))
    figure = new_figure(1.3 + width * len(columns), 0.6 + 0.95 * len(lines))
    grid = figure.subplots(len(lines), len(columns), squeeze=False, sharex="col", sharey="row")
    for j, (name, blocks) in enumerate(columns):
        grid[0, j].set_title(plain(name), fontsize=TEXT_SIZE, color=INK)
        for i, (label, feature) in enumerate(lines):
            axes = grid[i, j]
            x, colour = blocks[i * len(blocks) // len(lines)]
            time = _time_axis(axes, len(x), look, labelled=i == len(lines) - 1)
            _line(axes, time, x[:, feature], colour)
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


def _reconstructed(
    axes: "Axes", feature: int, x: Array, mean: Array, std: Array | None, look: Look, *, labelled: bool
) -> None:
    """Draw the observed and decoded values of a feature; steps are (T * W, F)."""
    time = _time_axis(axes, len(x), look, labelled=labelled)
    x, mean = x[:, feature], mean[:, feature]
    if std is not None:
        band = (mean - 2 * std[:, feature], mean + 2 * std[:, feature])
        axes.fill_between(time, *band, color=VERMILION, alpha=0.25, linewidth=0, label="± 2 std")
    axes.plot(time, mean, color=VERMILION, linewidth=1.2, label="reconstructed mean")
    axes.plot(time, x, ".", color=BLUE, markersize=4.0 if len(x) <= MANY_STEPS else 1.5, label="observed")
    axes.set_title(plain(feature_name(look.element, feature)), fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel(plain(unit(look.element, feature)), fontsize=SMALL_SIZE, color=INK)
    tidy(axes)


def _time_axis(axes: "Axes", count: int, look: Look, *, labelled: bool) -> Array:
    """Mark the borders of elements that span several steps; return the positions of the steps."""
    window = look.element.steps
    step, name = time_axis(count, look.scales.seconds, "step")
    axes.set_xlim(-0.5 * step, (count - 0.5) * step)
    if window > 1:
        borders = (np.arange(window, count, window) - 0.5) * step
        axes.vlines(borders, 0, 1, transform=axes.get_xaxis_transform(), color=FAINT, linewidth=0.5, zorder=0)
    if labelled:
        axes.set_xlabel(name, fontsize=SMALL_SIZE, color=INK)
    return np.arange(count) * step


def _label(element: Element, feature: int) -> str:
    in_units = unit(element, feature)
    return feature_name(element, feature) + (f"\n({in_units})" if in_units else "")


def _line(axes: "Axes", time: Array, values: Array, colour: str) -> None:
    if not np.isfinite(values).any():
        place: Any = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, "not observed", fontsize=SMALL_SIZE, color=INK, **place)
        return
    axes.plot(time, values, "-", color=colour, linewidth=0.9)
    dots = values if len(values) <= MANY_STEPS else np.where(_alone(values), values, np.nan)
    axes.plot(time, dots, ".", color=colour, markersize=4)


def _alone(values: Array) -> Array:
    """Return which values are observed between two that are not, which a line does not show."""
    observed = np.pad(np.isfinite(values), 1)
    return np.asarray(observed[1:-1] & ~observed[:-2] & ~observed[2:])


def _most_observed(sequences: Sequence[Array], count: int) -> list[int]:
    observed = sum(np.isfinite(x).sum(0) for x in sequences)
    return sorted(np.argsort(-np.asarray(observed), kind="stable")[:count].tolist())
