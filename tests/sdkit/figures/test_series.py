from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from sdkit.figures.axis_scales import Scales
from sdkit.figures.draw import draw_reconstruction, draw_rows, draw_swap
from sdkit.figures.lines import MOST_FEATURES, MOST_SEQUENCES
from sdkit.figures.style import BLUE, VERMILION, raster
from sdkit.runtime.element import Array, Element
from tests.sdkit.figures.parts import caption_of, legend_of
from tests.tiny import sequences

SERIES = Element("series", (4, 2), "float32", ("degC", "hPa"), ("temperature", "pressure"))
HOURLY = Scales(3600.0)


def gaps(x: Array) -> Array:
    """Return a copy of a series (T, 4, 2) whose first feature misses steps 2, 3 and 5."""
    x = x.copy()
    x.reshape(-1, x.shape[-1])[[2, 3, 5], 0] = np.nan
    return x


def grid_of(figure: Any, columns: int) -> list[list[Any]]:
    return [figure.axes[i : i + columns] for i in range(0, len(figure.axes), columns)]


def data(line: Any) -> Array:
    return np.asarray(line.get_ydata(), np.float64)


def test_a_row_a_feature_and_a_column_a_sequence() -> None:
    x = sequences(3, 5, SERIES)
    figure: Any = draw_rows(
        [(f"s{i}", row[: 5 - i]) for i, row in enumerate(x)], SERIES, scales=HOURLY, note="Made up."
    )
    grid = grid_of(figure, 3)
    assert len(grid) == 2
    assert [axes.get_title() for axes in grid[0]] == ["s0", "s1", "s2"]
    assert [row[0].get_ylabel() for row in grid] == ["temperature\n(degC)", "pressure\n(hPa)"]
    assert [axes.get_xlabel() for axes in grid[1]] == ["time (h)"] * 3
    for f, row in enumerate(grid):
        for i, axes in enumerate(row):
            np.testing.assert_array_equal(data(axes.lines[0]), x[i, : 5 - i, :, f].reshape(-1))
            assert axes.get_xlim() == (-0.5, 4 * (5 - i) - 0.5)  # hours
        assert len({axes.get_ylim() for axes in row}) == 1  # one scale a row
    text = caption_of(figure)
    assert text.startswith("3 sequences, one a column; 2 features, one a row")
    assert text.endswith("Made up.")


def test_missing_values_are_gaps_and_lonely_ones_dots() -> None:
    for windows in (5, 40):
        x = gaps(sequences(1, windows, SERIES)[0])
        figure: Any = draw_rows([("s", x)], SERIES)
        line, dots = figure.axes[0].lines
        assert np.flatnonzero(np.isnan(data(line))).tolist() == [2, 3, 5]
        shown = np.flatnonzero(np.isfinite(data(dots))).tolist()
        assert shown == ([0, 1, 4, *range(6, 20)] if windows == 5 else [4])


def test_a_feature_without_a_value() -> None:
    x = sequences(1, 5, SERIES)[0]
    x[..., 1] = np.nan
    figure: Any = draw_rows([("s", x)], SERIES)
    assert [text.get_text() for text in figure.axes[1].texts] == ["not observed"]
    assert not figure.axes[1].lines
    raster(figure)


def test_windows_are_parted() -> None:
    figure: Any = draw_rows([("s", sequences(1, 3, SERIES)[0])], SERIES)
    (borders,) = figure.axes[0].collections
    assert [segment[0, 0] for segment in borders.get_segments()] == [3.5, 7.5]


def test_steps_are_numbered_where_time_is_unknown() -> None:
    figure: Any = draw_rows([("s", sequences(1, 3, SERIES)[0])], SERIES)
    assert figure.axes[-1].get_xlabel() == "step"


def test_not_more_than_can_be_read() -> None:
    wide = Element("series", (2, MOST_FEATURES + 2), "float32")
    x = sequences(MOST_SEQUENCES + 3, 2, wide)
    figure: Any = draw_rows([(f"{i}", row) for i, row in enumerate(x)], wide)
    assert len(figure.axes) == MOST_FEATURES * MOST_SEQUENCES
    assert "first 6 of 9 sequences, one a column; the first 10 of 12 features" in caption_of(figure)


def test_panels_do_not_meet_nor_leave_the_figure() -> None:
    long = Element("series", (4, 3), "float32", ("a unit of a long name",) * 3, ("a feature of a long name",) * 3)
    figure: Any = draw_rows([(f"{i}", row) for i, row in enumerate(1e4 * sequences(3, 5, long))], long)
    picture = raster(figure)
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert all(0 < box.x0 < box.x1 <= picture.width and 0 < box.y0 < box.y1 < picture.height for box in boxes)
    assert len({(round(box.width), round(box.height)) for box in boxes}) == 1
    assert all(axes.yaxis.label.get_window_extent().x0 >= 0 for axes in figure.axes[::3])
    assert all(figure.axes[i].get_tightbbox().y1 <= figure.axes[i - 3].get_window_extent().y0 for i in (3, 6))


def test_reconstruction() -> None:
    x, mean = sequences(2, 5, SERIES)
    figure: Any = draw_reconstruction(
        gaps(x)[None], mean[None], np.full_like(x, 0.5)[None], SERIES, scales=HOURLY, note="Model m."
    )
    for f, axes in enumerate(figure.axes):
        assert axes.get_title() == SERIES.feature_names[f]
        assert axes.get_ylabel() == SERIES.units[f]
        assert axes.get_xlabel() == "time (h)"
        _, band = axes.collections
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_array_equal(data(lines["reconstructed mean"]), mean[..., f].reshape(-1))
        assert lines["observed"].get_linestyle() == "None"
        assert np.isnan(data(lines["observed"])).sum() == (3 if f == 0 else 0)
        edges = band.get_paths()[0].vertices[:, 1]
        assert edges.min() == pytest.approx(mean[..., f].min() - 1)
        assert edges.max() == pytest.approx(mean[..., f].max() + 1)
    assert legend_of(figure)[1] == ["± 2 std", "reconstructed mean", "observed"]
    assert "N = 37 observed values" in caption_of(figure)
    assert caption_of(figure).endswith("Model m.")


def test_reconstruction_of_three_features_without_std() -> None:
    element = Element("series", (4, 3), "float32")
    x, mean = sequences(2, 5, element)
    figure: Any = draw_reconstruction(x[None], mean[None], None, element)
    assert len(figure.axes) == 3
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "step", "step"]
    assert all(len(axes.collections) == 1 for axes in figure.axes)  # the borders of the windows alone
    assert legend_of(figure)[1] == ["reconstructed mean", "observed"]
    assert "standard deviations" not in caption_of(figure)
    raster(figure)
    # A panel with none below it tells its steps itself.
    assert figure.axes[1].xaxis.get_tick_params()["labelbottom"]


def test_swaps_tell_whose_static_code_it_is() -> None:
    a, b, ab, ba = (sequences(2, steps, SERIES, seed) for seed, steps in enumerate((5, 3, 3, 5)))
    figure: Any = draw_swap(a, b, ab, ba, SERIES, note="Epoch 3.")
    grid = grid_of(figure, 4)
    assert [axes.get_title() for axes in grid[0]] == [
        "a",
        "b",
        "static of a,\ndynamic of b",
        "static of b,\ndynamic of a",
    ]
    labels = [row[0].get_ylabel() for row in grid]
    names = [
        (pair, f"{name}\n({unit})") for pair in (1, 2) for name, unit in (("temperature", "degC"), ("pressure", "hPa"))
    ]
    assert labels == [f"pair {pair}\n{name}" for pair, name in names]
    for i, row in enumerate(grid):
        for x, axes, colour in zip((a, b, ab, ba), row, (BLUE, VERMILION, BLUE, VERMILION), strict=True):
            np.testing.assert_array_equal(data(axes.lines[0]), x[i // 2, ..., i % 2].reshape(-1))
            assert to_hex(axes.lines[0].get_color()).upper() == colour
    assert caption_of(figure).startswith("2 swapped pairs")
    assert caption_of(figure).endswith("Epoch 3.")


def test_swaps_show_what_was_observed_most() -> None:
    element = Element("series", (2, 9), "float32")
    a, b = sequences(2, 3, element)[:, None]
    a[0, :2, :, 4] = np.nan
    figure: Any = draw_swap(a, b, a, b, element)
    assert [row[0].get_ylabel() for row in grid_of(figure, 4)] == [f"feature {f}" for f in range(9) if f != 4]
    assert "8 of 9 features" in caption_of(figure)


def test_many_pairs() -> None:
    x = sequences(5, 3, SERIES)
    figure: Any = draw_swap(x, x, x, x, SERIES)
    assert len(figure.axes) == 2 * 2 * 4
    assert caption_of(figure).startswith("The first 2 of 5 swapped pairs")
