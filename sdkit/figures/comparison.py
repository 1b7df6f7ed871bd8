"""Figure of a comparison of methods: quality against leakage, and quality against the cost of a step."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sdkit.figures.style import FAINT, INK, SMALL_SIZE, Mark, caption, marks, new_figure, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

Place = tuple[bool, float, float]
"""Place of a name: whether left of its point, and how far across and up, in points."""
PLACES: tuple[Place, ...] = tuple(
    (left, 5.0 + 7 * ring, 4.0 + 9 * rise)
    for ring in range(3)
    for rise in (0, -1, 1, -2, 2, -3, 3, -4, 4)
    for left in (False, True)
)
"""Places at which a name is tried, in this order."""
MOST = 12
"""Number of methods that differ in colour or marker; more repeat them, and names stand beside the points."""


class Point(NamedTuple):
    """A method in the figure."""

    name: str
    quality: Sequence[float]
    """Values over seeds; more is better."""
    leak: Sequence[float]
    """Values over seeds; less is better. Empty where it has none."""
    cost: float
    """Cost of a training step, relative to the reference."""


def draw_comparison(
    points: Sequence[Point],
    path: Path,
    *,
    quality: str,
    leak: str,
    reference: str,
    guess: float | None = None,
    note: str = "",
) -> None:
    """Draw a comparison into a PNG; an existing one is replaced.

    Args:
        points: one for each method, at least one.
        path: path of the picture.
        quality: name of the quality.
        leak: name of the leakage; empty where there is none, and only cost is drawn.
        reference: name of the method with cost 1.
        guess: quality without a model, drawn as a line; None where there is none.
        note: text for the end of the caption.
    """
    save(comparison_figure(points, quality=quality, leak=leak, reference=reference, guess=guess, note=note), path)


def comparison_figure(
    points: Sequence[Point], *, quality: str, leak: str, reference: str, guess: float | None = None, note: str = ""
) -> "Figure":
    """Return the figure of `draw_comparison`."""
    leaking = [point for point in points if len(point.leak)] if leak else []
    figure = new_figure(11.0 if leaking else 6.5, 5.2)
    panels = figure.subplots(1, 2 if leaking else 1, squeeze=False)[0]
    look = dict(zip((point.name for point in points), _looks(len(points)), strict=True))
    if leaking:
        leaks = [(p.name, p.leak, p.quality) for p in leaking]
        _scatter(panels[0], leaks, look)
        panels[0].set_xlabel(f"{leak} (less is better)", fontsize=SMALL_SIZE, color=INK)
    priced = [(p.name, (p.cost,), p.quality) for p in points]
    _scatter(panels[-1], priced, look)
    panels[-1].set_xlabel(f"cost of a training step, {reference} = 1", fontsize=SMALL_SIZE, color=INK)
    panels[-1].set_xscale("log")
    ticks = [tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16) if _within(tick, [p.cost for p in points])]
    panels[-1].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panels[-1].minorticks_off()
    for axes in panels:
        axes.set_ylabel(f"{quality} (more is better)", fontsize=SMALL_SIZE, color=INK)
        if guess is not None:
            axes.axhline(guess, color=FAINT, linestyle="--", zorder=0)
    lone = [point.name for point in points if leak and not len(point.leak)]
    caption(
        figure,
        f"{quality[:1].upper()}{quality[1:]} against {leak} and against the cost of a step." if leaking else "",
        "The dashed line is the value without a model." if guess is not None else "",
        f"Without a value of {leak}: {', '.join(lone)}." if lone else "",
        note,
    )
    figure.draw_without_rendering()  # lays the axes out, which names need
    if leaking:
        _name(panels[0], leaks, look)
    _name(panels[-1], priced, look)
    return figure


def _looks(count: int) -> list[Mark]:
    known = marks(min(count, MOST))
    return [known[i % len(known)] for i in range(count)]


def _within(tick: float, costs: Sequence[float]) -> bool:
    return 0.7 * min(costs) <= tick <= 1.4 * max(costs)


def _scatter(
    axes: "Axes", points: Sequence[tuple[str, Sequence[float], Sequence[float]]], look: dict[str, Mark]
) -> None:
    """Draw methods as their means over seeds, with bars from the least to the greatest value, and their names."""
    for name, across, up in points:
        x, y = float(np.mean(across)), float(np.mean(up))
        spans = [[[mean - min(values)], [max(values) - mean]] for mean, values in ((x, across), (y, up))]
        colour, marker = look[name]
        axes.errorbar(x, y, xerr=spans[0], yerr=spans[1], fmt=marker, color=colour, markersize=6, elinewidth=1)
    axes.grid(alpha=0.3)
    axes.margins(0.12)
    tidy(axes)


def _name(axes: "Axes", points: Sequence[tuple[str, Sequence[float], Sequence[float]]], look: dict[str, Mark]) -> None:
    """Write the name of each method beside its point, clear of the other points and names where there is room.

    The axes must have their final size and limits.
    """
    from matplotlib.transforms import Bbox

    places = [(float(np.mean(across)), float(np.mean(up))) for _, across, up in points]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in axes.transData.transform(places)]
    for (name, _, _), place in zip(points, places, strict=True):
        text = axes.annotate(name, place, textcoords="offset points", xytext=(0, 0), fontsize=SMALL_SIZE)
        text.set_color(look[name][0])
        text.set_in_layout(False)
        hidden = {chosen: _hidden(axes, _put(text, chosen), taken) for chosen in PLACES}
        taken.append(_put(text, min(PLACES, key=hidden.__getitem__)))


def _put(text: "Annotation", chosen: Place) -> "Bbox":
    """Move a name to a place, and return what it covers."""
    left, across, up = chosen
    text.set_horizontalalignment("right" if left else "left")
    text.set_position((-across if left else across, up))
    return text.get_window_extent()


def _hidden(axes: "Axes", box: "Bbox", taken: "Sequence[Bbox]") -> int:
    """Return how much a name is in the way: the points and names that it covers, and the frame if it leaves it."""
    beyond = box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1
    return int(beyond) + sum(int(box.overlaps(other)) for other in taken)
