"""Figures of spectra: time to the right, frequency up, level in decibels below the loudest value of the figure.

Spectra are (T, F): T frames of F bins. They are magnitudes from 0 up, or levels where their unit begins with dB or log.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sdkit.figures.axis_scales import Scales, frequency_axis, time_axis
from sdkit.figures.base import SWAP_NAMES, Figures, Look
from sdkit.figures.style import (
    FAINT,
    INK,
    INTENSITY,
    SMALL_SIZE,
    TEXT_SIZE,
    caption,
    counted,
    new_figure,
    plain,
    unit,
)
from sdkit.runtime.element import Array, Element

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MOST_SEQUENCES, MOST_PAIRS = 12, 4
ACROSS = 4
RANGE = 60.0
"""Decibels from the darkest to the brightest colour; quieter values are as dark as the darkest."""


class SpectrumFigures(Figures):
    """Figures of spectra: one panel for each sequence, all on one scale."""

    def rows(self, rows: Sequence[tuple[str, Array]], look: Look) -> "Figure":
        """Return a figure of named spectra, each (T, F), one panel for each sequence; at most MOST_SEQUENCES."""
        shown = list(rows)[:MOST_SEQUENCES]
        across = min(ACROSS, len(shown))
        down = -(-len(shown) // across)
        cells = [shown[i * across : (i + 1) * across] for i in range(down)]
        return caption(
            _panels(cells, look),
            f"{counted(len(rows), 'sequence', len(shown)).capitalize()} of spectrum frames.",
            _scale_text(look.element),
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
        """Return a figure of swapped pairs, each (T, F), a row for each: a, b and both mixtures; at most MOST_PAIRS."""
        pairs = list(zip(a, b, static_a_dynamic_b, static_b_dynamic_a, strict=True))
        shown = pairs[:MOST_PAIRS]
        cells = [list(zip(SWAP_NAMES if i == 0 else ("",) * 4, pair, strict=True)) for i, pair in enumerate(shown)]
        return caption(
            _panels(cells, look),
            f"{counted(len(pairs), 'swapped pair', len(shown)).capitalize()}, one a row: both sequences, then each "
            "static code decoded with the other's dynamic codes.",
            _scale_text(look.element),
            look.note,
        )


def decibels(x: Array, loudest: float) -> Array:
    """Return magnitudes as levels, 20 log10(x / loudest), from 0 down to -RANGE; NaN stays.

    Decoded magnitudes below 0 count as silence, and so does everything where `loudest` is 0.
    """
    if not loudest > 0:
        return np.where(np.isnan(x), np.nan, -RANGE)
    return 20 * np.log10(np.clip(x / loudest, 10 ** (-RANGE / 20), None))


def _panels(cells: Sequence[Sequence[tuple[str, Array]]], look: Look) -> "Figure":
    element, scales = look.element, look.scales
    spectra = [[x.astype(np.float64) for _, x in row] for row in cells]
    values = np.concatenate([x.reshape(-1) for row in spectra for x in row])
    values = values[np.isfinite(values)]
    if _levels(element):
        limits, bar_name = (values.min(initial=np.inf), values.max(initial=-np.inf)), unit(element)
    else:
        loudest = float(values.max(initial=0))
        spectra, limits, bar_name = [[decibels(x, loudest) for x in row] for row in spectra], (-RANGE, 0.0), "dB"
    across = len(cells[0])
    figure = new_figure(1.6 + 2.4 * across, 0.5 + 2.1 * len(cells))
    grid = figure.subplots(len(cells), across, squeeze=False, sharey=True)
    for i, row in enumerate(cells):
        below = len(cells[i + 1]) if i + 1 < len(cells) else 0
        for j, (name, _) in enumerate(row):
            image = _image(grid[i, j], spectra[i][j], limits, scales, time=j >= below, frequency=j == 0)
            grid[i, j].set_title(plain(name), fontsize=TEXT_SIZE, color=INK)
    for axes in grid[-1, len(cells[-1]) :]:
        axes.remove()
    bar = figure.colorbar(image, ax=figure.axes, pad=0.01)
    bar.set_label(plain(bar_name), fontsize=SMALL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=SMALL_SIZE, colors=INK)
    return figure


def _image(
    axes: "Axes", levels: Array, limits: tuple[float, float], scales: Scales, *, time: bool, frequency: bool
) -> "AxesImage":
    from matplotlib import colormaps

    step, time_name = time_axis(len(levels), scales.seconds, "frame")
    spacing, frequency_name = frequency_axis(scales.hertz)
    image = axes.imshow(
        levels.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=colormaps[INTENSITY].with_extremes(bad=FAINT),
        vmin=limits[0],
        vmax=limits[1],
        extent=(-0.5 * step, (len(levels) - 0.5) * step, -0.5 * spacing, (levels.shape[1] - 0.5) * spacing),
    )
    axes.tick_params(labelsize=SMALL_SIZE, colors=INK)
    if time:
        axes.set_xlabel(time_name, fontsize=SMALL_SIZE, color=INK)
    if frequency:
        axes.set_ylabel(frequency_name, fontsize=SMALL_SIZE, color=INK)
    return image


def _levels(element: Element) -> bool:
    return unit(element).lower().startswith(("db", "log"))


def _scale_text(element: Element) -> str:
    if _levels(element):
        return f"Level in {unit(element)}, one scale for all; grey: not observed."
    own = unit(element)
    of = f" (data: {own})" if own else ""
    return f"Level in dB below the largest value of the figure{of}, cut at -{RANGE:.0f} dB; grey: not observed."


FIGURES = SpectrumFigures()
