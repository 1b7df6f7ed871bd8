"""Figures of vectors: what is theirs; what they share with series is tested there."""

from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from sdkit.figures.axis_scales import Scales
from sdkit.figures.draw import draw_reconstruction, draw_rows, draw_swap
from sdkit.figures.lines import MOST_FEATURES, MOST_SWAP_ROWS
from sdkit.figures.style import BLUE, VERMILION, raster
from sdkit.runtime.element import Array, Element
from tests.sdkit.figures.parts import caption_of, legend_of
from tests.tiny import sequences

POSE = Element("vector", (3,), "float32", ("m", "rad", "m/s"), ("height", "knee", "speed"))
WIDE = Element("vector", (64,), "float32")


def data(line: Any) -> Array:
    return np.asarray(line.get_ydata(), np.float64)


def test_a_line_a_feature_over_steps_in_units_of_time() -> None:
    x = sequences(2, 30, POSE)
    x[0, 4, 1] = np.nan
    figure: Any = draw_rows([("walk", x[0]), ("run", x[1, :20])], POSE, scales=Scales(0.02), note="Made up.")
    assert [axes.get_title() for axes in figure.axes[:2]] == ["walk", "run"]
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["height\n(m)", "knee\n(rad)", "speed\n(m/s)"]
    for f in range(3):
        left, right = figure.axes[2 * f : 2 * f + 2]
        np.testing.assert_array_equal(data(left.lines[0]), x[0, :, f])
        np.testing.assert_array_equal(data(right.lines[0]), x[1, :20, f])
        assert not left.collections  # steps are not parted: there are no windows
    assert figure.axes[-1].get_xlabel() == "time (ms)"
    assert figure.axes[-1].get_xlim() == (-10.0, 390.0)
    assert np.flatnonzero(np.isnan(data(figure.axes[2].lines[0]))).tolist() == [4]
    text = caption_of(figure)
    assert text == (
        "2 sequences, one a column; 3 features, one a row, on one scale a row. Gaps: not observed. Each step has a "
        "dynamic code. Made up."
    )


def test_of_many_features_some_of_all_are_drawn() -> None:
    x = sequences(2, 5, WIDE)
    figure: Any = draw_rows([("a", x[0])], WIDE)
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert len(labels) == MOST_FEATURES
    assert (labels[0], labels[-1]) == ("feature 0", "feature 63")
    for label, axes in zip(labels, figure.axes, strict=True):
        np.testing.assert_array_equal(data(axes.lines[0]), x[0, :, int(label.split()[1])])
    assert "10 of 64 features, evenly spread, one a row" in caption_of(figure)
    swap: Any = draw_swap(x[:1], x[1:], x[:1], x[1:], WIDE)
    assert len(swap.axes) == 4 * MOST_SWAP_ROWS
    assert swap.axes[-4].get_ylabel() == "feature 63"
    assert "8 of 64 features, evenly spread, on one scale a row" in caption_of(swap)


def test_swaps_tell_whose_static_code_it_is() -> None:
    a, b, ab, ba = (sequences(1, steps, POSE, seed) for seed, steps in enumerate((6, 4, 4, 6)))
    figure: Any = draw_swap(a, b, ab, ba, POSE, note="Epoch 3.")
    for f in range(3):
        row = figure.axes[4 * f : 4 * f + 4]
        for x, axes, colour in zip((a, b, ab, ba), row, (BLUE, VERMILION) * 2, strict=True):
            np.testing.assert_array_equal(data(axes.lines[0]), x[0, :, f])
            assert to_hex(axes.lines[0].get_color()).upper() == colour
    assert caption_of(figure).startswith("1 swapped pair: both sequences as observed")
    assert "3 of 3 features, on one scale a row" in caption_of(figure)


def test_a_reconstruction_shows_how_sure_the_decoder_is() -> None:
    x, mean = sequences(2, 6, POSE), sequences(2, 6, POSE, 1)
    x[0, 2, 0] = np.nan
    std = np.full_like(x, 0.25)
    figure: Any = draw_reconstruction(x, mean, std, POSE, note="Model m.")
    assert [axes.get_title() for axes in figure.axes] == list(POSE.feature_names)
    assert [axes.get_ylabel() for axes in figure.axes] == list(POSE.units)
    for f, axes in enumerate(figure.axes):
        lines = {line.get_label(): data(line) for line in axes.lines}
        np.testing.assert_array_equal(lines["observed"], x[0, :, f])
        np.testing.assert_array_equal(lines["reconstructed mean"], mean[0, :, f])
        (band,) = axes.collections
        edges = band.get_paths()[0].vertices[:, 1]
        np.testing.assert_allclose([edges.min(), edges.max()], [mean[0, :, f].min() - 0.5, mean[0, :, f].max() + 0.5])
    assert legend_of(figure)[1] == ["± 2 std", "reconstructed mean", "observed"]
    assert "N = 17 observed values. Each step has a dynamic code. Model m." in caption_of(figure)
    raster(figure)
