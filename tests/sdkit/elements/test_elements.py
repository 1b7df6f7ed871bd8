"""A kind of element is one file in each room: here one is made up, put beside the others, and goes the whole way."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdkit import elements, figures
from sdkit.elements import Network, build
from sdkit.figures.draw import draw_rows
from sdkit.figures.render import render, render_swap
from sdkit.methods.graphs import verbs
from sdkit.runtime import kinds
from sdkit.runtime.bundles.manifest import schema
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import SequenceFile, SequenceMeta, SequenceWriter
from sdkit.training.train import train
from tests.export.runs import quick_export
from tests.sdkit.figures.parts import caption_of
from tests.tiny import TINY, sequences, tiny_batch, tiny_model

KIND = """
from sdkit.runtime.kinds.base import Kind

class Field(Kind):
    name, axes, plural = "field", ("X", "Y", "F"), "fields"
    dtypes, presumed = ("float32",), False

KIND = Field()
"""
NETWORKS = """
import torch
from torch import nn

from sdkit.elements.network import ElementDecoder, ElementEncoder
from sdkit.elements.standard import Standard

ENCODER_WIDTHS, DECODER_WIDTHS, CODE_SIZES = (7,), (7,), (2, 3)

class Encoder(ElementEncoder):
    def __init__(self, network):
        super().__init__()
        x, y, f = network.element.shape
        self.features, self.standard = network.encoder_widths[-1], Standard(network)
        self.layer = nn.Linear(x * y * f, self.features)

    def forward(self, x):
        return torch.tanh(self.layer(self.standard(x).flatten(2)))

class Decoder(ElementDecoder):
    outputs = ("x", "x_std")

    def __init__(self, network):
        super().__init__()
        self.shape, self.standard = network.element.shape, Standard(network)
        x, y, f = self.shape
        self.layer = nn.Linear(network.code_size, x * y * f)

    def forward(self, codes):
        return (self.layer(codes).reshape(codes.shape[0], codes.shape[1], *self.shape),)

    def in_units(self, parameters):
        x = self.standard.in_units(parameters[0])
        return x, torch.ones_like(x)

    def nll(self, parameters, x):
        return (self.standard(x) - parameters[0]).square().flatten(2).sum(2)
"""
FIGURES = """
from sdkit.figures.lines import Lines

class FieldFigures(Lines):
    codes = "Places are joined."

FIGURES = FieldFigures()
"""
FIELD = ("field", (2, 3, 4), "float32")


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Element]:
    """Return an element of a kind whose three files lie in folders of their own."""
    for package, text in ((kinds, KIND), (elements, NETWORKS), (figures, FIGURES)):
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "field.py").write_text(text)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        monkeypatch.delitem(sys.modules, f"{package.__name__}.field", raising=False)
    importlib.invalidate_caches()
    for cached in (kinds.names, kinds.find):
        cached.cache_clear()
    yield Element(*FIELD)  # type: ignore[arg-type]
    for cached in (kinds.names, kinds.find):
        cached.cache_clear()
    for package in (kinds, elements, figures):
        sys.modules.pop(f"{package.__name__}.field", None)


def test_there_is_no_such_kind_without_its_files() -> None:
    with pytest.raises(
        ConfigError, match="unknown kind of element 'field'; there are: image, series, spectrum, vector"
    ):
        Element(*FIELD)  # type: ignore[arg-type]


def test_every_kind_has_a_file_in_every_room() -> None:
    for name in kinds.names():
        for room in ("sdkit.elements", "sdkit.figures"):
            assert importlib.import_module(f"{room}.{name}")


def test_losses_and_verbs(field: Element) -> None:
    model = tiny_model(element=field, encoder_widths=(), decoder_widths=())
    losses = model(tiny_batch(sequences(3, 5, field)))
    torch.autograd.backward(losses.loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    v = verbs(model)
    a, b = sequences(3, 5, field, 1), sequences(3, 4, field, 2)
    codes = v.encode(a)
    assert v.widths.features == 7
    np.testing.assert_array_equal(v.reconstruct(a), v.decode(codes))
    static_a, static_b = v.swap(a, b)
    assert (static_a.shape, static_b.shape) == ((3, 4, *field.shape), (3, 5, *field.shape))
    np.testing.assert_allclose(v.swap(a, a)[0], v.reconstruct(a), atol=1e-6)
    assert v.generate(2, 7, seed=1).shape == (2, 7, *field.shape)
    assert v.decode_outputs(codes)["x_std"].shape == a.shape
    assert model.search(field)["static_size"] == ((2, 3),)


@pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")
def test_from_a_file_to_a_picture_of_a_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: Element) -> None:
    monkeypatch.chdir(tmp_path)
    x = sequences(20, 4, field)
    x[0, 1, 0, 0, 2] = np.nan
    with SequenceWriter("wind.h5", SequenceMeta(field, "wind")) as writer:
        writer.write(x)
    assert SequenceFile("wind.h5").element == field
    run = train("wind.h5", epochs=1, batch_size=8, val_fraction=0.2, device="cpu", **TINY)
    assert run.config.facts.element == field
    assert len(run.config.facts.feature_std) == 4
    assert list((run.path / "swaps").iterdir())
    rt = Runtime.open(quick_export(run, format="all").path, device="cpu")
    np.testing.assert_allclose(rt.reconstruct(x[1:3]), verbs(run.load_model()).reconstruct(x[1:3]), atol=1e-4)
    rt.swap_file("wind.h5", "wind.h5", "swap.h5", count=2)
    pictures = [render("wind.h5", "wind.png"), render_swap("wind.h5", "wind.h5", "swap.h5", "swap.png")]
    assert all(path.stat().st_size > 1000 for path in pictures)
    figure: Any = draw_rows([("a", x[0])], field)
    assert "Places are joined." in caption_of(figure)
    assert "field" in schema()["$defs"]["Element"]["properties"]["kind"]["enum"]


def test_a_kind_without_networks_or_pictures(field: Element, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in (elements, figures):
        monkeypatch.setattr(package, "__path__", package.__path__[:-1])
    importlib.invalidate_caches()
    with pytest.raises(ConfigError, match="this sdkit has no encoder and decoder for elements of kind 'field'"):
        build(Network(field, 3))
    with pytest.raises(ConfigError, match="this sdkit draws no elements of kind 'field'"):
        draw_rows([("a", sequences(1, 3, field)[0])], field)


def test_an_error_inside_a_file_is_not_hidden(field: Element, tmp_path: Path) -> None:
    for package in ("sdkit.elements", "sdkit.figures"):
        (tmp_path / package / "field.py").write_text("import not_there\n")
    importlib.invalidate_caches()
    for call in (lambda: build(Network(field, 3)), lambda: draw_rows([("a", sequences(1, 3, field)[0])], field)):
        with pytest.raises(ModuleNotFoundError, match="not_there") as caught:
            call()
        assert not isinstance(caught.value, ConfigError)
