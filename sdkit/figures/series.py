"""Figures of series: windows are joined to one line a feature, and faint lines part them."""

from sdkit.figures.lines import Lines


class SeriesFigures(Lines):
    """Lines over the steps of all windows."""

    codes = "Faint lines part the windows, which have a dynamic code each."


FIGURES = SeriesFigures()
