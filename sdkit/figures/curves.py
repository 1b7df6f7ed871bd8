"""Training curves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdkit.figures.style import BLUE, GREEN, PURPLE, SMALL_SIZE, VERMILION, caption, new_figure, save, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_curves(metrics: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw likelihoods, divergences and active units over epochs into a PNG.

    Args:
        metrics: records of metrics.jsonl.
        path: the picture to write; an existing one is replaced.
    """
    save(curves(metrics), path)


def curves(metrics: Sequence[dict[str, Any]]) -> "Figure":
    """Return the figure of `draw_curves`."""
    figure = new_figure(12, 3.6)
    likelihood, divergence, units = figure.subplots(1, 3)
    epochs = [m["epoch"] for m in metrics]
    for part, style in (("train", "-"), ("val", "--")):
        if part not in metrics[-1]:
            continue
        values = [m.get(part, {}) for m in metrics]
        likelihood.plot(epochs, [v.get("nll") for v in values], style, color=BLUE, label=f"other steps, {part}")
        likelihood.plot(epochs, [v.get("nll_anchor") for v in values], style, color=VERMILION, label=f"anchor, {part}")
        divergence.plot(epochs, [v.get("kl_static") for v in values], style, color=GREEN, label=f"static, {part}")
        divergence.plot(epochs, [v.get("kl_dynamic") for v in values], style, color=PURPLE, label=f"dynamic, {part}")
    units.plot(epochs, [m["active_static"] for m in metrics], color=GREEN, label="static")
    units.plot(epochs, [m["active_dynamic"] for m in metrics], color=PURPLE, label="dynamic")
    titles = ("negative log-likelihood", "KL divergence", "active units")
    for axes, title, unit in zip(
        (likelihood, divergence, units), titles, ("nats a sequence",) * 2 + ("units",), strict=True
    ):
        axes.set(title=title, xlabel="epoch", ylabel=unit)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=SMALL_SIZE)
        tidy(axes)
    drawn = [value for line in likelihood.lines for value in np.asarray(line.get_ydata(), np.float64)]
    if not any(value <= 0 for value in drawn):  # that of a density, as of series, may be negative
        likelihood.set_yscale("log")
    return caption(
        figure,
        f"Terms of the objective over {len(metrics)} {'epoch' if len(metrics) == 1 else 'epochs'}, means over the "
        "sequences; solid: training, dashed: validation. An active unit is one whose mean code varies over the data.",
    )
