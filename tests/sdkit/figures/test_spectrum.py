from typing import Any

import numpy as np
import pytest

from sdkit.figures.axis_scales import Scales
from sdkit.figures.draw import draw_reconstruction, draw_rows, draw_swap
from sdkit.figures.spectrum import MOST_PAIRS, MOST_SEQUENCES, RANGE, decibels
from sdkit.figures.style import raster
from sdkit.runtime.element import Array, Element
from tests.sdkit.figures.parts import caption_of
from tests.tiny import sequences

SPECTRUM = Element("spectrum", (6,), "float32", ("magnitude",))
SCALES = Scales(0.01, 40.0)


def panels(figure: Any) -> list[Any]:
    """Return the axes of the spectra, without the colour bar."""
    return [axes for axes in figure.axes if axes.images]


def levels(axes: Any) -> Array:
    (image,) = axes.images
    return np.asarray(np.ma.filled(image.get_array().astype(float), np.nan))


def test_decibels_count_down_from_the_loudest() -> None:
    x = np.array([10.0, 1.0, 0.1, 1e-9, 0.0, -3.0, np.nan])
    found = decibels(x, 10.0)
    np.testing.assert_allclose(found, [0, -20, -40, -RANGE, -RANGE, -RANGE, np.nan], atol=1e-9)
    assert decibels(np.array([0.0, 0.0]), 0.0).tolist() == [-RANGE, -RANGE]


def test_time_runs_to_the_right_and_frequency_up_on_one_scale() -> None:
    loud, quiet = np.zeros((20, 6), np.float32), np.zeros((10, 6), np.float32)
    loud[3, 5], quiet[2, 1] = 8.0, 0.8
    figure: Any = draw_rows([("loud", loud), ("quiet", quiet)], SPECTRUM, scales=SCALES, note="Made up.")
    first, second = panels(figure)
    assert (first.get_title(), second.get_title()) == ("loud", "quiet")
    assert first.images[0].origin == "lower"
    assert levels(first).shape == (6, 20)
    assert levels(first)[5, 3] == 0  # bin up, frame to the right
    assert levels(second)[1, 2] == pytest.approx(-20)
    assert {axes.images[0].get_clim() for axes in (first, second)} == {(-RANGE, 0.0)}
    assert first.images[0].get_extent() == pytest.approx([-5, 195, -0.02, 0.22])  # ms, kHz
    assert [axes.get_xlabel() for axes in (first, second)] == ["time (ms)"] * 2
    assert [axes.get_ylabel() for axes in (first, second)] == ["frequency (kHz)", ""]
    assert figure.axes[-1].get_ylabel() == "dB"
    text = caption_of(figure)
    assert text.startswith("2 sequences of spectrum frames. Level in dB below the largest value")
    assert "data: magnitude" in text
    assert text.endswith("Made up.")


def test_frames_and_bins_are_numbered_where_scales_are_unknown() -> None:
    (axes,) = panels(draw_rows([("a", sequences(1, 5, SPECTRUM)[0])], SPECTRUM))
    assert axes.images[0].get_extent() == [-0.5, 4.5, -0.5, 5.5]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("frame", "bin")


@pytest.mark.parametrize("unit", ["dB", "log magnitude"])
def test_levels_are_drawn_as_they_are(unit: str) -> None:
    element = Element("spectrum", (6,), "float32", (unit,))
    x = 30 - 100 * sequences(1, 5, element)[0]
    figure: Any = draw_rows([("a", x)], element)
    (axes,) = panels(figure)
    np.testing.assert_allclose(levels(axes), x.T)
    assert axes.images[0].get_clim() == (x.min(), x.max())
    assert figure.axes[-1].get_ylabel() == unit
    assert f"Level in {unit}," in caption_of(figure)


def test_missing_values_are_grey() -> None:
    x = np.ones((2, 6), np.float32)
    x[1] = np.nan
    figure: Any = draw_rows([("a", x)], SPECTRUM)
    picture = np.asarray(raster(figure))
    box = panels(figure)[0].get_window_extent()
    middle = picture.shape[0] - int((box.y0 + box.y1) / 2)
    left, right = (picture[middle, int(box.x0 + share * box.width)].tolist() for share in (0.25, 0.75))
    assert right == [0xD9, 0xD9, 0xD9]
    assert left[0] > 240  # the loudest is yellow
    assert left[2] < 100


def test_nothing_but_silence() -> None:
    for value in (0.0, np.nan):
        figure: Any = draw_rows([("a", np.full((3, 6), value, np.float32))], SPECTRUM)
        raster(figure)


def test_a_last_row_that_is_not_full() -> None:
    figure: Any = draw_rows([(f"{i}", x) for i, x in enumerate(sequences(6, 3, SPECTRUM))], SPECTRUM)
    found = panels(figure)
    assert len(found) == 6
    assert len(figure.axes) == 7  # no empty panel is left
    assert [bool(axes.get_xlabel()) for axes in found] == [False, False, True, True, True, True]
    raster(figure)


def test_not_more_than_can_be_read() -> None:
    x = sequences(MOST_SEQUENCES + 2, 2, SPECTRUM)
    figure: Any = draw_rows([(f"{i}", row) for i, row in enumerate(x)], SPECTRUM)
    assert len(panels(figure)) == MOST_SEQUENCES
    assert caption_of(figure).startswith("The first 12 of 14 sequences")
    swap = draw_swap(x, x, x, x, SPECTRUM)
    assert len(panels(swap)) == 4 * MOST_PAIRS
    assert caption_of(swap).startswith("The first 4 of 14 swapped pairs")


def test_swaps_have_a_row_a_pair() -> None:
    a, b, ab, ba = (sequences(2, steps, SPECTRUM, seed) for seed, steps in enumerate((5, 3, 3, 5)))
    figure: Any = draw_swap(a, b, ab, ba, SPECTRUM, scales=SCALES)
    found = panels(figure)
    assert [axes.get_title() for axes in found[:5]] == [
        "a",
        "b",
        "static of a,\ndynamic of b",
        "static of b,\ndynamic of a",
        "",
    ]
    loudest = max(float(part.max()) for part in (a, b, ab, ba))
    for i, axes in enumerate(found):
        part = (a, b, ab, ba)[i % 4][i // 4]
        np.testing.assert_allclose(levels(axes), decibels(part.astype(np.float64), loudest).T, rtol=1e-6)


def test_reconstructions_stand_beside_the_data() -> None:
    x = sequences(2, 5, SPECTRUM)
    figure: Any = draw_reconstruction(x, 0.5 * x, None, SPECTRUM)
    found = panels(figure)
    assert [axes.get_title() for axes in found] == ["data", "decoded"] * 2
    np.testing.assert_allclose(levels(found[3]), decibels(0.5 * x[1].astype(np.float64), float(x.max())).T, rtol=1e-6)
