"""Figures of vectors: a line over steps for each feature, or for a selection where there are many."""

from sdkit.figures.lines import Lines


class VectorFigures(Lines):
    """Lines over steps."""

    codes = "Each step has a dynamic code."
    spread = True


FIGURES = VectorFigures()
