from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sdkit.figures.grid import swap_grid
from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.data import Batches
from sdkit.training.swaps import draw_swaps
from tests.sdkit.training.files import write
from tests.tiny import IMAGE, sequences, tiny_model

SERIES = Element("series", (4, 3), "float32", ("mmHg",), ("MAP", "systole", "diastole"))
SPECTRUM = Element("spectrum", (6,), "float32")


def batches(path: Path) -> Batches:
    file = SequenceFile(path)
    return Batches(file, file.select(None), 4, resident_bytes=0, device=torch.device("cpu"), reporter=Quiet())


def test_pairs_are_spread_over_the_split(tmp_path: Path) -> None:
    x, model = sequences(15, 4), tiny_model()
    draw_swaps(model, batches(write(tmp_path / "x.h5", x)), tmp_path / "swaps", 3)
    a, b = x[[0, 2, 4, 6]], x[[8, 10, 12, 14]]
    expected = np.asarray(swap_grid(a, b, *verbs(model).swap(a, b), IMAGE))
    with Image.open(tmp_path / "swaps" / "epoch-0003.png") as picture:
        found = np.asarray(picture)
    np.testing.assert_array_equal(found[: expected.shape[0], : expected.shape[1]], expected)
    assert (found[expected.shape[0] :] < 128).any()  # the caption


@pytest.mark.parametrize("element", [SERIES, SPECTRUM], ids=Element.describe)
def test_every_kind_of_element_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, element: Element) -> None:
    saved: list[Any] = []
    monkeypatch.setattr("sdkit.training.swaps.save", lambda picture, path: saved.append((picture, path)))
    x = sequences(4, 5, element)
    if element.kind == "series":
        x[0, 0, 1, 2] = np.nan
    data = batches(write(tmp_path / "x.h5", x, element, lengths=[5, 3, 4, 5]))
    draw_swaps(tiny_model(element=element), data, tmp_path / "swaps", 7)
    ((figure, path),) = saved
    assert path == tmp_path / "swaps" / "epoch-0007.png"
    assert [axes.get_title() for axes in figure.axes[:2]] == ["a", "b"]
    drawn = figure.axes[0].images or figure.axes[0].lines
    steps = 3  # of the shortest
    if element.kind == "spectrum":
        assert drawn[0].get_array().shape == (6, steps)
    else:
        assert len(drawn[0].get_ydata()) == 4 * steps
    assert "Mean codes, epoch 7." in figure.get_supxlabel()


def test_what_has_no_picture_leaves_nothing(tmp_path: Path) -> None:
    element = Element("image", (2, 16, 16), "uint8")
    data = batches(write(tmp_path / "x.h5", sequences(4, 3, element), element))
    draw_swaps(tiny_model(element=element), data, tmp_path / "swaps", 1)
    assert not (tmp_path / "swaps").exists()


def test_a_model_that_cannot_swap_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(model, "refusals", lambda settings: {"swap": "it has no static code"})
    draw_swaps(model, batches(write(tmp_path / "x.h5", sequences(15, 4))), tmp_path / "swaps", 3)
    assert not (tmp_path / "swaps").exists()


def test_one_sequence_is_no_pair(tmp_path: Path) -> None:
    draw_swaps(tiny_model(), batches(write(tmp_path / "x.h5", sequences(1, 3))), tmp_path / "swaps", 1)
    assert not (tmp_path / "swaps").exists()
