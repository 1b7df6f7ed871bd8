"""Training curves."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sdkit.figures.style import BLUE, GREEN, PURPLE, SMALL_SIZE, VERMILION, caption, new_figure, save, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Term(Protocol):
    """The properties of a term of the objective that the figure needs."""

    @property
    def name(self) -> str:
        """Key of the term in a record."""

    @property
    def title(self) -> str:
        """Title of the term in the legend."""

    @property
    def kind(self) -> str:
        """Kind of the term: `likelihood`, `divergence`, or another, which is drawn where there is no likelihood."""


def draw_curves(metrics: Sequence[dict[str, Any]], terms: Sequence[Term], path: Path) -> None:
    """Draw likelihoods, divergences and active units over epochs into a PNG.

    The terms of an objective that has no likelihood, such as that of a game, are drawn in the place of likelihoods.

    Args:
        metrics: records of metrics.jsonl.
        terms: terms of the method's objective.
        path: the picture to write; an existing one is replaced.
    """
    save(curves(metrics, terms), path)


def curves(metrics: Sequence[dict[str, Any]], terms: Sequence[Term]) -> "Figure":
    """Return the figure of `draw_curves`."""
    figure = new_figure(12, 3.6)
    likelihood, divergence, units = figure.subplots(1, 3)
    epochs = [m["epoch"] for m in metrics]
    probable = any(term.kind == "likelihood" for term in terms)
    kind, colours = ("likelihood", (BLUE, VERMILION)) if probable else ("other", (BLUE, VERMILION, GREEN, PURPLE))
    panels = {kind: (likelihood, colours), "divergence": (divergence, (GREEN, PURPLE))}
    for part, style in (("train", "-"), ("val", "--")):
        if part not in metrics[-1]:
            continue
        values = [m.get(part, {}) for m in metrics]
        for kind, (axes, colours) in panels.items():
            shown = [term for term in terms if term.kind == kind and term.name in values[-1]]
            for term, colour in zip(shown, cycle(colours), strict=False):
                drawn = [v.get(term.name) for v in values]
                axes.plot(epochs, drawn, style, color=colour, label=f"{term.title}, {part}")
    for code, colour in (("static", GREEN), ("dynamic", PURPLE)):
        if f"active_{code}" in metrics[-1]:
            units.plot(epochs, [m.get(f"active_{code}") for m in metrics], color=colour, label=code)
    first = ("negative log-likelihood", "nats a sequence") if probable else ("terms of the objective", "value")
    labels = (first, ("KL divergence", "nats a sequence"), ("active units", "units"))
    for axes, (title, unit) in zip((likelihood, divergence, units), labels, strict=True):
        axes.set(title=title, xlabel="epoch", ylabel=unit)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=SMALL_SIZE)
        tidy(axes)
    drawn = [value for line in likelihood.lines for value in np.asarray(line.get_ydata(), np.float64)]
    if not any(value <= 0 for value in drawn):  # the NLL of a density, as of series, may be negative
        likelihood.set_yscale("log")
    return caption(
        figure,
        f"Terms of the objective over {len(metrics)} {'epoch' if len(metrics) == 1 else 'epochs'}, means over the "
        "sequences; solid: training, dashed: validation. An active unit is one whose mean code varies over the data.",
    )
