"""Figure of the trials of a search: the objective over trials, and over every searched setting."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sdkit.figures.style import BLUE, GREEN, INK, SMALL_SIZE, TEXT_SIZE, VERMILION, caption, new_figure, save, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_DRAWN = ("failed", "interrupted")


class TrialPoint(Protocol):
    """The properties of a trial that the figure needs."""

    @property
    def number(self) -> int:
        """Number of the trial, from 0."""

    @property
    def state(self) -> str:
        """State of the trial: `complete`, `pruned`, or another, which is not drawn."""

    @property
    def value(self) -> float | None:
        """Value of the objective; lower is better."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Values of the searched settings."""


def draw_trials(
    trials: Sequence[TrialPoint],
    path: Path,
    *,
    best: TrialPoint,
    objective: str,
    logarithmic: Collection[str] = (),
    note: str = "",
) -> None:
    """Draw the trials of a search into a PNG; an existing one is replaced.

    Args:
        trials: trials in order, at least one of them complete.
        path: path of the picture.
        best: trial to mark.
        objective: name and unit of the objective, for the axes.
        logarithmic: names of settings with a logarithmic axis; all others have one position for each value.
        note: text for the end of the caption.
    """
    save(trials_figure(trials, best=best, objective=objective, logarithmic=logarithmic, note=note), path)


def trials_figure(
    trials: Sequence[TrialPoint],
    *,
    best: TrialPoint,
    objective: str,
    logarithmic: Collection[str] = (),
    note: str = "",
) -> "Figure":
    """Return the figure of `draw_trials`."""
    from matplotlib.ticker import MaxNLocator

    names = list(best.settings)
    figure = new_figure(max(7.0, 2.3 * len(names)), 5.4)
    grid = figure.add_gridspec(2, len(names), height_ratios=(1.2, 1.0))
    over = figure.add_subplot(grid[0, :])
    _points(over, trials, [trial.number for trial in trials], best)
    numbers, values = _valued(trials, [trial.number for trial in trials], "complete")
    so_far = np.minimum.accumulate(values)
    over.step(numbers, so_far, where="post", color=GREEN, linewidth=1.2, label="best so far")
    over.set_xlabel("trial", fontsize=SMALL_SIZE, color=INK)
    over.xaxis.set_major_locator(MaxNLocator(integer=True))
    if _wide(values):
        over.set_yscale("log")
    over.set_ylim(*_frame(values))
    over.legend(fontsize=SMALL_SIZE, frameon=False, loc="upper right", ncols=4)
    for i, name in enumerate(names):
        axes = figure.add_subplot(grid[1, i], sharey=over)
        _over_setting(axes, trials, name, best, logarithmic=name in logarithmic)
        axes.tick_params(labelleft=i == 0)
    for axes in (over, figure.axes[1]):
        axes.set_ylabel(objective, fontsize=SMALL_SIZE, color=INK)
    counts = {state: sum(t.state == state for t in trials) for state in ("complete", "pruned", *NOT_DRAWN)}
    left_out = [f"{counts[state]} {state}" for state in NOT_DRAWN if counts[state]]
    return caption(
        figure,
        f"{objective[:1].upper()}{objective[1:]}, lower is better.",
        f"{counts['complete']} complete and {counts['pruned']} pruned trials over their number and "
        "over each setting that was searched.",
        "Pruned trials stand at their last value; one beyond the frame is drawn at its edge." * bool(counts["pruned"]),
        f"Not drawn: {' and '.join(left_out)}." if left_out else "",
        f"The best is trial {best.number}, {best.value:.6g}.",
        note,
    )


def _valued(trials: Sequence[TrialPoint], x: Sequence[float], state: str) -> tuple[list[float], list[float]]:
    """Return positions and values of the trials of a state."""
    found = [(a, t.value) for a, t in zip(x, trials, strict=True) if t.state == state and t.value is not None]
    return [a for a, _ in found], [value for _, value in found]


def _points(axes: "Axes", trials: Sequence[TrialPoint], x: Sequence[float], best: TrialPoint) -> None:
    """Draw complete trials as dots, pruned ones as circles and the best as a star."""
    across, values = _valued(trials, x, "complete")
    axes.plot(across, values, "o", color=BLUE, alpha=0.8, markersize=5, label="complete")
    top = _frame(values)[1]
    across, values = _valued(trials, x, "pruned")
    if across:
        at = np.minimum(values, top)
        axes.plot(
            across, at, "o", color=INK, markerfacecolor="none", alpha=0.6, markersize=5, clip_on=False, label="pruned"
        )
    position = x[[trial.number for trial in trials].index(best.number)]
    axes.plot([position], [best.value or 0.0], "*", color=VERMILION, markersize=12, label="best", zorder=3)
    axes.grid(alpha=0.3)
    tidy(axes)


def _over_setting(
    axes: "Axes", trials: Sequence[TrialPoint], name: str, best: TrialPoint, *, logarithmic: bool
) -> None:
    axes.set_title(name.replace("_", " "), fontsize=TEXT_SIZE, color=INK)
    drawn = [trial for trial in trials if name in trial.settings]
    values = [trial.settings[name] for trial in drawn]
    if logarithmic:
        axes.set_xscale("log")
        _points(axes, drawn, [float(value) for value in values], best)
        return
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    choices = sorted(set(values), key=float if numbers else str)
    _points(axes, drawn, [float(choices.index(value)) for value in values], best)
    axes.set_xticks(range(len(choices)), [f"{value:g}" if numbers else str(value) for value in choices])
    axes.set_xlim(-0.5, len(choices) - 0.5)


def _frame(values: Sequence[float]) -> tuple[float, float]:
    """Return the limits of the axis of values: those of complete trials, and a margin."""
    low, high = min(values), max(values)
    if _wide(values):
        room = (high / low) ** 0.08
        return low / room, high * room
    room = 0.08 * (high - low) or max(1e-6, 0.08 * abs(high))
    return low - room, high + room


def _wide(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > 10 * min(values)
