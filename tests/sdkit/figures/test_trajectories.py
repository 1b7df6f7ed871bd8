from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from sdkit.figures.style import PALETTE, raster
from sdkit.figures.trajectories import MOST_PATHS, principal_paths, trajectories
from sdkit.runtime.errors import DataError
from tests.sdkit.figures.parts import caption_of, legend_of

RNG = np.random.default_rng(0)


def test_components_of_all_steps() -> None:
    flat = RNG.normal(size=(3, 5, 2)) * (3.0, 1.0)
    turned = flat @ np.linalg.qr(RNG.normal(size=(4, 4)))[0][:2] + 7.0
    paths, share = principal_paths([turned[0], turned[1, :3], turned[2]])
    assert [len(path) for path in paths] == [5, 3, 5]
    assert share.sum() == pytest.approx(1)  # a plane has no third component
    assert share[0] > share[1]
    found, given = np.concatenate(paths), np.concatenate([flat[0], flat[1, :3], flat[2]])
    here, there = (np.linalg.norm(x[:, None] - x, axis=-1) for x in (found, given))
    np.testing.assert_allclose(here, there, atol=1e-9)  # turned and moved, nothing else


def test_paths_are_coloured_by_label_and_start_at_a_ring() -> None:
    dynamic, labels = RNG.normal(size=(4, 6, 3)), np.array([0, 2, 2, 0])
    lengths = np.array([6, 4, 6, 6])
    figure: Any = trajectories(
        dynamic, labels, ("walk", "wave", "jump"), lengths=lengths, factor="motion", note="Made up."
    )
    axes = figure.axes[0]
    paths, rings = axes.lines[::2], axes.lines[1::2]
    expected, share = principal_paths([code[:n] for code, n in zip(dynamic, lengths, strict=True)])
    for i, (path, ring) in enumerate(zip(paths, rings, strict=True)):
        np.testing.assert_allclose(path.get_xydata(), expected[i])
        np.testing.assert_allclose(ring.get_xydata(), expected[i][:1])
        assert to_hex(path.get_color()).upper() == PALETTE[labels[i] // 2]
    assert legend_of(figure) == ("motion", ["walk", "jump"])
    assert axes.get_xlabel() == f"component 1 ({100 * share[0]:.0f} % of the variance)"
    assert "(width 3) of 4 sequences over at most 6 steps" in caption_of(figure)
    assert caption_of(figure).endswith("colour: motion. Made up.")


def test_many_paths_and_many_labels() -> None:
    count = 2 * MOST_PATHS
    figure: Any = trajectories(RNG.normal(size=(count, 3, 2)), np.arange(count), [f"s{i}" for i in range(count)])
    assert len(figure.axes[0].lines) == 2 * MOST_PATHS
    assert not figure.legends
    assert f"of {MOST_PATHS} of {count} sequences" in caption_of(figure)


def test_codes_that_do_not_move() -> None:
    raster(trajectories(np.zeros((3, 4, 2)), np.zeros(3, int), ("a",)))


@pytest.mark.parametrize("dynamic", [np.zeros((3, 4, 1)), np.zeros((3, 4)), np.full((3, 4, 2), np.nan)])
def test_codes_without_paths(dynamic: np.ndarray) -> None:
    with pytest.raises(DataError, match="paths are drawn of finite dynamic codes"):
        trajectories(dynamic, np.zeros(3, int), ("a",))


def test_labels_without_a_name() -> None:
    with pytest.raises(DataError, match="labels must be 3 numbers from 0 to 0"):
        trajectories(RNG.normal(size=(3, 4, 2)), np.ones(3, int), ("a",))
