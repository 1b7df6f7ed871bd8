from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sdkit.figures.trials import draw_trials, trials_figure


@dataclass(frozen=True)
class Point:
    number: int
    value: float | None
    state: str = "complete"
    settings: dict[str, Any] = field(default_factory=lambda: {"alpha": 0.1, "static_size": 8})


TRIALS = [
    Point(0, 50.0, settings={"alpha": 0.1, "static_size": 8}),
    Point(1, 60.0, settings={"alpha": 0.01, "static_size": 32}),
    Point(2, 900.0, "pruned", {"alpha": 0.5, "static_size": 8}),
    Point(3, None, "failed", {"alpha": 0.2, "static_size": 16}),
    Point(4, 40.0, settings={"alpha": 0.2, "static_size": 32}),
    Point(5, 45.0, "pruned", {"alpha": 0.3, "static_size": 8}),
    Point(6, None, "interrupted", {}),
]


def figure(trials: list[Point] = TRIALS, best: Point = TRIALS[4]) -> Figure:
    return trials_figure(
        trials, best=best, objective="validation ELBO, nats", logarithmic=["alpha"], note="Data: waves $1."
    )


def points(axes: Any) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for line in axes.lines:
        pairs = zip(*(np.asarray(v, float) for v in line.get_data()), strict=True)
        found[line.get_label()] = [(float(x), float(y)) for x, y in pairs]
    return found


def test_values_over_trials_and_settings() -> None:
    over, alpha, size = figure().axes
    top = over.get_ylim()[1]
    assert 60 < top < 70  # the frame is that of the complete trials
    drawn = points(over)
    assert drawn["complete"] == [(0, 50), (1, 60), (4, 40)]
    assert drawn["pruned"] == [(2, pytest.approx(top)), (5, 45)]
    assert drawn["best so far"] == [(0, 50), (1, 50), (4, 40)]
    assert drawn["best"] == [(4, 40)]
    assert points(alpha)["complete"] == [(0.1, 50), (0.01, 60), (0.2, 40)]
    assert points(alpha)["best"] == [(0.2, 40)]
    # Of three sizes one failed alone; each keeps a place of its own.
    assert points(size)["complete"] == [(0, 50), (2, 60), (2, 40)]
    assert [label.get_text() for label in size.get_xticklabels()] == ["8", "16", "32"]
    assert [axes.get_title() for axes in (alpha, size)] == ["alpha", "static size"]
    assert (alpha.get_xscale(), size.get_xscale(), over.get_yscale()) == ("log", "linear", "linear")
    assert alpha.get_ylim() == size.get_ylim() == over.get_ylim()


def test_the_caption_counts() -> None:
    text = " ".join(figure().get_supxlabel().split())
    assert "Validation ELBO, nats, lower is better. 3 complete and 2 pruned trials" in text
    assert "Not drawn: 1 failed and 1 interrupted." in text
    assert "The best is trial 4, 40. Data: waves \\$1." in text
    alone = " ".join(figure([TRIALS[0]], TRIALS[0]).get_supxlabel().split())
    assert "Not drawn" not in alone
    assert "Pruned" not in alone


@pytest.mark.parametrize(
    ("values", "scale"), [([1.0, 5.0], "linear"), ([1.0, 50.0], "log"), ([-1.0, 50.0], "linear"), ([0.0], "linear")]
)
def test_a_wide_range_of_positive_values_is_drawn_on_a_logarithmic_scale(values: list[float], scale: str) -> None:
    trials = [Point(i, value) for i, value in enumerate(values)]
    over = figure(trials, trials[0]).axes[0]
    assert over.get_yscale() == scale
    low, high = over.get_ylim()
    assert low < min(values)
    assert max(values) < high


def test_picture(tmp_path: Path) -> None:
    path = tmp_path / "trials.png"
    path.write_text("an older one")
    draw_trials(TRIALS, path, best=TRIALS[4], objective="loss")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["trials.png"]


@pytest.mark.parametrize(
    ("values", "names"), [(("white", "pink"), ["pink", "white"]), ((True, False), ["False", "True"])]
)
def test_choices_of_words_have_a_place_each(values: tuple[Any, Any], names: list[str]) -> None:
    trials = [Point(i, 50.0 + i, settings={"kernel": value}) for i, value in enumerate(values)]
    axes = figure(trials, trials[0]).axes[1]
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert points(axes)["complete"] == [(1, 50), (0, 51)]
