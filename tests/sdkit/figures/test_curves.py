from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sdkit.figures.curves import curves, draw_curves
from sdkit.methods.base import Term
from tests.sdkit.figures.parts import caption_of

TERMS = (
    Term("nll", "other steps", "likelihood"),
    Term("nll_anchor", "anchor", "likelihood"),
    Term("kl_static", "static", "divergence", "static"),
    Term("kl_dynamic", "dynamic", "divergence", "dynamic"),
    Term("contrast", "contrast", "other"),
)


def record(epoch: int, *parts: str, scale: float = 100.0) -> dict[str, Any]:
    terms = {
        "nll": scale / epoch,
        "nll_anchor": scale / 2 / epoch,
        "kl_static": 3.0 * epoch,
        "kl_dynamic": 5.0,
        "contrast": 1.0,
    }
    return {"epoch": epoch, "active_static": epoch, "active_dynamic": 2, **dict.fromkeys(parts, terms)}


def lines(axes: Any) -> dict[str, list[float]]:
    return {line.get_label(): [float(v) for v in line.get_ydata()] for line in axes.lines}


def test_picture(tmp_path: Path) -> None:
    path = tmp_path / "curves.png"
    path.write_text("an older one")
    draw_curves([record(1, "train", "val"), record(2, "train", "val")], TERMS, path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 1320
        assert picture.height > 396  # the caption comes on top of the plots' own height
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["curves.png"]


def test_all_terms_are_drawn_over_epochs() -> None:
    figure: Any = curves([record(n, "train", "val") for n in (1, 2, 4)], TERMS)
    likelihood, divergence, units = figure.axes
    for part in ("train", "val"):
        assert lines(likelihood)[f"other steps, {part}"] == [100, 50, 25]
        assert lines(likelihood)[f"anchor, {part}"] == [50, 25, 12.5]
        assert lines(divergence)[f"static, {part}"] == [3, 6, 12]
        assert lines(divergence)[f"dynamic, {part}"] == [5, 5, 5]
    assert lines(units) == {"static": [1, 2, 4], "dynamic": [2, 2, 2]}
    assert all(list(line.get_xdata()) == [1, 2, 4] for axes in figure.axes for line in axes.lines)
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats a sequence", "nats a sequence", "units"]
    assert likelihood.get_yscale() == "log"
    assert "over 3 epochs" in caption_of(figure)
    assert "dashed: validation" in caption_of(figure)


def test_one_epoch_without_validation() -> None:
    figure: Any = curves([record(1, "train")], TERMS)
    assert "over 1 epoch," in caption_of(figure)
    assert set(lines(figure.axes[0])) == {"other steps, train", "anchor, train"}


def test_terms_of_an_objective_without_a_likelihood_are_drawn_in_its_place() -> None:
    game = (Term("nll", "critic", "other"), Term("kl_dynamic", "generator", "other"))
    figure: Any = curves([record(n, "train") for n in (1, 2)], game)
    first, second, _ = figure.axes
    assert lines(first) == {"critic, train": [100, 50], "generator, train": [5, 5]}
    assert lines(second) == {}
    assert len({line.get_color() for line in first.lines}) == 2
    assert (first.get_title(), first.get_ylabel()) == ("terms of the objective", "value")


def test_negative_likelihoods_of_a_density_are_drawn_on_a_linear_scale() -> None:
    figure: Any = curves([record(n, "train", scale=-100.0) for n in (1, 2)], TERMS)
    assert figure.axes[0].get_yscale() == "linear"


def test_values_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    metrics = [record(1, "train", scale=float("nan")), record(2, "train", "val"), record(3, "train", "val")]
    draw_curves(metrics, TERMS, tmp_path / "c.png")
    assert (tmp_path / "c.png").is_file()


def test_terms_are_the_methods_own() -> None:
    terms = (Term("error", "squared error", "likelihood"), Term("gap", "gap", "divergence"), *TERMS[-1:])
    metrics = [{"epoch": n, "train": {"error": 9.0 / n, "gap": 1.0 * n, "contrast": 1.0}} for n in (1, 2)]
    figure: Any = curves(metrics, terms)
    assert [lines(axes) for axes in figure.axes] == [{"squared error, train": [9, 4.5]}, {"gap, train": [1, 2]}, {}]


def test_a_method_without_divergences_has_an_empty_panel(tmp_path: Path) -> None:
    figure: Any = curves([record(1, "train")], TERMS[:2])
    assert not figure.axes[1].lines
    draw_curves([record(1, "train")], TERMS[:2], tmp_path / "c.png")
    assert (tmp_path / "c.png").is_file()
