from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from sdkit.figures.curves import draw_curves


def record(epoch: int, *parts: str, scale: float = 100.0) -> dict[str, Any]:
    terms = {"nll": scale / epoch, "nll_anchor": scale / 2 / epoch, "kl_static": 3.0 * epoch, "kl_dynamic": 5.0}
    return {"epoch": epoch, "active_static": epoch, "active_dynamic": 2, **dict.fromkeys(parts, terms)}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[matplotlib.figure.Figure]:
    """Return the figures that are drawn."""
    made: list[matplotlib.figure.Figure] = []
    init = matplotlib.figure.Figure.__init__

    def keep(figure: matplotlib.figure.Figure, *args: Any, **kwargs: Any) -> None:
        init(figure, *args, **kwargs)
        made.append(figure)

    monkeypatch.setattr(matplotlib.figure.Figure, "__init__", keep)
    return made


def lines(axes: Any) -> dict[str, list[float]]:
    return {line.get_label(): [float(v) for v in line.get_ydata()] for line in axes.lines}


def test_picture(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    path.write_text("an older one")
    draw_curves([record(1, "train", "val"), record(2, "train", "val")], path)
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (1320, 396))
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_all_terms_are_drawn_over_epochs(tmp_path: Path, figures: list[Any]) -> None:
    draw_curves([record(n, "train", "val") for n in (1, 2, 4)], tmp_path / "c.png")
    likelihood, divergence, units = figures[0].axes
    for part in ("train", "val"):
        assert lines(likelihood)[f"other steps, {part}"] == [100, 50, 25]
        assert lines(likelihood)[f"anchor, {part}"] == [50, 25, 12.5]
        assert lines(divergence)[f"static, {part}"] == [3, 6, 12]
        assert lines(divergence)[f"dynamic, {part}"] == [5, 5, 5]
    assert lines(units) == {"static": [1, 2, 4], "dynamic": [2, 2, 2]}
    assert all(list(line.get_xdata()) == [1, 2, 4] for axes in figures[0].axes for line in axes.lines)
    assert [axes.get_ylabel() for axes in figures[0].axes] == ["nats a sequence", "nats a sequence", "units"]
    assert likelihood.get_yscale() == "log"


def test_one_epoch_without_validation(tmp_path: Path, figures: list[Any]) -> None:
    draw_curves([record(1, "train")], tmp_path / "c.png")
    assert set(lines(figures[0].axes[0])) == {"other steps, train", "anchor, train"}


def test_negative_likelihoods_of_a_density_are_drawn_on_a_linear_scale(tmp_path: Path, figures: list[Any]) -> None:
    draw_curves([record(n, "train", scale=-100.0) for n in (1, 2)], tmp_path / "c.png")
    assert figures[0].axes[0].get_yscale() == "linear"


def test_values_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    metrics = [record(1, "train", scale=float("nan")), record(2, "train", "val"), record(3, "train", "val")]
    draw_curves(metrics, tmp_path / "c.png")
    assert (tmp_path / "c.png").is_file()
