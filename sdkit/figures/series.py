"""Figures of series: windows are joined to one line for each feature, and faint lines separate them."""

from sdkit.figures.lines import Lines


class SeriesFigures(Lines):
    """Lines over the steps of all windows."""

    codes = "Faint lines part the windows, which have a dynamic code each."


FIGURES = SeriesFigures()
