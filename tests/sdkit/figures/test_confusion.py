from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from sdkit.figures.confusion import MOST_WITH_NUMBERS, confusion_counts, confusion_figure
from sdkit.figures.style import raster
from sdkit.runtime.errors import DataError
from tests.sdkit.figures.parts import caption_of

NAMES = ("fear", "surprise", "anger")


def test_counts() -> None:
    counts = confusion_counts(np.array([0, 0, 0, 1, 2]), np.array([0, 1, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]


def test_rows_are_the_truth_in_percent() -> None:
    counts = np.array([[3, 1, 0], [2, 2, 0], [0, 0, 0]])
    figure: Any = confusion_figure(counts, NAMES, factor="expression", note="Judge j.")
    axes, bar = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == list(NAMES)
    assert [text.get_text() for text in axes.get_xticklabels()] == list(NAMES)
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true expression", "predicted expression")
    assert axes.yaxis_inverted()  # the first class on top
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "75", (1, 0): "25", (2, 0): "0", (0, 1): "50", (1, 1): "50", (2, 1): "0"}
    assert axes.images[0].get_clim() == (0, 100)
    assert bar.get_ylabel() == "% of the row"
    text = caption_of(figure)
    assert "N = 8, 62.5 % on the diagonal. Grey rows: no sequence. Judge j." in text


def luminance(colour: Any) -> float:
    """Return the relative luminance of a colour, as WCAG 2 defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def test_numbers_can_be_read_on_their_cells() -> None:
    for percent in (0, 30, 50, 60, 65, 80, 100):
        figure: Any = confusion_figure(np.array([[percent, 100 - percent], [0, 0]]), ("a", "b"))
        axes, image = figure.axes[0], figure.axes[0].images[0]
        number = axes.texts[0]
        lights = sorted(luminance(c) for c in (number.get_color(), image.cmap(image.norm(percent))[:3]))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 3.0, percent


@pytest.mark.parametrize("size", [1, 9, MOST_WITH_NUMBERS + 10])
def test_names_stay_inside_the_figure(size: int) -> None:
    figure: Any = confusion_figure(np.eye(size, dtype=int), [f"a motion to the left, {i}" for i in range(size)])
    picture = raster(figure)
    axes = figure.axes[0]
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        box = label.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= picture.width
        assert 0 <= box.y0 < box.y1 <= picture.height
    assert len(axes.texts) == (size * size if size <= MOST_WITH_NUMBERS else 0)


def test_counts_without_a_name() -> None:
    for counts, names in ((np.zeros((2, 3), int), NAMES), (np.zeros((0, 0), int), ())):
        with pytest.raises(DataError, match="a confusion matrix of"):
            confusion_figure(counts, names)
