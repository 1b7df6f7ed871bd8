from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from sdkit.figures import embedding
from sdkit.figures.embedding import by_label, static_against_dynamic, tsne
from sdkit.figures.style import BLUE, PALETTE, VERMILION, raster
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError
from tests.sdkit.figures.parts import caption_of, legend_of

RNG = np.random.default_rng(0)


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """Replace the map by the first two columns; return the points that it is asked for."""
    asked: list[Array] = []

    def first_two(points: Array, seed: int = 0) -> Array:
        asked.append(points)
        return points[:, :2]

    monkeypatch.setattr(embedding, "tsne", first_two)
    return asked


def colour(dots: Any) -> str:
    return to_hex(dots.get_facecolor()[0]).upper()


def test_clusters_stay_together() -> None:
    centres = 20 * np.eye(3, 5)
    points = np.repeat(centres, 12, 0) + RNG.normal(size=(36, 5))
    found = tsne(points)
    assert found.shape == (36, 2)
    distance = np.linalg.norm(found[:, None] - found, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (distance.argmin(1) // 12 == np.arange(36) // 12).all()
    np.testing.assert_array_equal(tsne(points), found)  # the same seed, the same map


@pytest.mark.parametrize("shape", [(4, 3), (5, 1), (7, 2)])
def test_few_points(shape: tuple[int, int]) -> None:
    assert np.isfinite(tsne(RNG.normal(size=shape))).all()


def test_codes_that_do_not_vary() -> None:
    assert np.isfinite(tsne(np.zeros((6, 3)))).all()


@pytest.mark.parametrize("points", [np.zeros((3, 2)), np.zeros(6), np.full((6, 2), np.nan)])
def test_points_that_have_no_map(points: Array) -> None:
    with pytest.raises(DataError, match="a t-SNE map needs finite points"):
        tsne(points)


def test_static_against_dynamic(flat: list[Array]) -> None:
    static, dynamic = RNG.normal(size=(7, 3)), RNG.normal(size=(7, 4, 2))
    figure: Any = static_against_dynamic(static, dynamic, note="Model m.")
    (points,) = flat
    np.testing.assert_array_equal(points[:7], np.pad(static, ((0, 0), (0, 5))))
    np.testing.assert_array_equal(points[7:], dynamic.reshape(7, 8))
    first, second = figure.axes[0].collections
    np.testing.assert_allclose(first.get_offsets(), static[:, :2])
    np.testing.assert_allclose(second.get_offsets(), dynamic[:, 0])
    assert (colour(first), colour(second)) == (BLUE, VERMILION)
    assert legend_of(figure) == ("codes", ["static", "dynamic"])
    text = caption_of(figure)
    assert "N = 7 sequences: static (width 3) and dynamic (4 steps of width 2, joined)" in text
    assert "filled up with zeros" in text
    assert text.endswith("Model m.")


def test_codes_of_one_width_are_not_filled(flat: list[Array]) -> None:
    figure: Any = static_against_dynamic(RNG.normal(size=(7, 8)), RNG.normal(size=(7, 4, 2)))
    assert flat[0].shape == (14, 8)
    assert "zeros" not in caption_of(figure)


def test_codes_that_do_not_belong_together() -> None:
    with pytest.raises(DataError, match=r"expected \(N, S\) and \(N, T, D\)"):
        static_against_dynamic(np.zeros((7, 3)), np.zeros((6, 4, 2)))


def test_by_label(flat: list[Array]) -> None:
    codes, labels = RNG.normal(size=(9, 3)), np.array([0, 2, 2, 0, 3, 3, 3, 0, 2])
    figure: Any = by_label(codes, labels, ("spring", "summer", "autumn", "winter"), factor="season", note="Made up.")
    for label, dots, expected in zip((0, 2, 3), figure.axes[0].collections, PALETTE, strict=False):
        np.testing.assert_allclose(dots.get_offsets(), codes[labels == label, :2])
        assert colour(dots) == expected
    assert legend_of(figure) == ("season", ["spring", "autumn", "winter"])  # those that occur
    assert caption_of(figure) == "t-SNE of the static codes (width 3) of N = 9; colour: season. Made up."


def test_areas_grow_with_sizes(flat: list[Array]) -> None:
    rain = np.array([0.0, 5.0, 10.0, 0.0])
    figure: Any = by_label(RNG.normal(size=(4, 3)), np.zeros(4, int), ("dry",), rain, size_name="rain (mm)")
    (dots,) = figure.axes[0].collections
    areas = dots.get_sizes()
    assert areas[0] == areas[3] < areas[1] < areas[2]
    assert areas[1] == pytest.approx((areas[0] + areas[2]) / 2)
    legend = figure.axes[0].get_legend()
    assert legend.get_title().get_text() == "rain (mm)"
    assert [text.get_text() for text in legend.get_texts()] == ["0", "5", "10"]
    assert "area: rain (mm)" in caption_of(figure)
    raster(figure)


def test_the_legend_stands_outside(flat: list[Array]) -> None:
    figure: Any = by_label(RNG.normal(size=(12, 3)), np.arange(12), [f"month {i + 1}" for i in range(12)])
    picture = raster(figure)
    box, axes = figure.legends[0].get_window_extent(), figure.axes[0].get_window_extent()
    assert axes.x1 <= box.x0 < box.x1 <= picture.width
    marks = {(colour(dots), len(dots.get_paths()[0].vertices)) for dots in figure.axes[0].collections}
    assert len(marks) == 12


def test_more_labels_than_colours(flat: list[Array]) -> None:
    labels = np.arange(20)
    figure: Any = by_label(RNG.normal(size=(20, 3)), labels, [f"s{i}" for i in labels], factor="subject")
    (dots,) = figure.axes[0].collections
    assert dots.get_array().tolist() == labels.tolist()
    assert not figure.legends
    assert figure.axes[1].get_ylabel() == "subject (number)"


@pytest.mark.parametrize("labels", [np.zeros(5, int), np.array([0, 1, 2, 0]), np.array([0, -1, 0, 0])])
def test_labels_without_a_name(labels: Array) -> None:
    with pytest.raises(DataError, match="labels must be 4 numbers from 0 to 1"):
        by_label(np.zeros((4, 3)), labels, ("a", "b"))


@pytest.mark.parametrize("sizes", [np.zeros(5), np.array([0, 1, -1, 0]), np.array([0, np.nan, 1, 0])])
def test_sizes_that_cannot_be(sizes: Array) -> None:
    with pytest.raises(DataError, match="sizes must be 4 numbers from 0 up"):
        by_label(np.zeros((4, 3)), np.zeros(4, int), ("a",), sizes)
