"""What tests look for in figures."""

from typing import Any


def caption_of(figure: Any) -> str:
    """Return the caption of a figure on one line."""
    return str(figure.get_supxlabel()).replace("\n", " ")


def legend_of(figure: Any) -> tuple[str, list[str]]:
    """Return title and entries of the figure's own legend."""
    (legend,) = figure.legends
    return legend.get_title().get_text(), [text.get_text() for text in legend.get_texts()]
