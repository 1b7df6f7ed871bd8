"""A new kind of element is one file; here it is made up and put where that file would be."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from sdkit.methods.dbse.config import ModelConfig
from sdkit.methods.dbse.losses import objective
from sdkit.methods.dbse.model import SplitModel
from torch import Tensor, nn

from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.storage.sequences import SequenceMeta, SequenceWriter
from sdkit.training.train import train
from tests.tiny import TINY, sequences

SPECTRUM = Element("spectrum", (6,), "float32", ("dB",))


class Encoder(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.features = config.encoder_widths[-1]
        self.layer = nn.Linear(config.element.shape[0], self.features)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x))


class Decoder(nn.Module):
    outputs = ("x", "x_std")

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layer = nn.Linear(config.static_size + config.dynamic_size, config.element.shape[0])

    def forward(self, codes: Tensor) -> tuple[Tensor, ...]:
        mean = self.layer(codes)
        return mean, torch.full_like(mean, 0.5)

    def in_units(self, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return parameters[0], parameters[1]

    def nll(self, parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
        mean, std = parameters
        return (0.5 * ((x - mean) / std).square() + torch.log(std)).sum(-1)


@pytest.fixture(autouse=True)
def _spectrum_file(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sdkit.elements.spectrum")
    vars(module).update(Encoder=Encoder, Decoder=Decoder)
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("anchor", ["first", "last"])
def test_model_and_objective(anchor: str) -> None:
    torch.manual_seed(0)
    model = SplitModel(ModelConfig(SPECTRUM, **{**TINY, "anchor": anchor}))
    output = model(torch.from_numpy(sequences(3, 5, SPECTRUM)))
    assert output.nll.shape == (3, 5)
    terms = objective(output, model.config, alpha=0.2, beta_static=0.1, beta_dynamic=0.1)
    torch.autograd.backward(terms.loss)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_verbs() -> None:
    torch.manual_seed(0)
    v = verbs(SplitModel(ModelConfig(SPECTRUM, **TINY)))
    a, b = sequences(3, 5, SPECTRUM, 1), sequences(3, 4, SPECTRUM, 2)
    codes = v.encode(a)
    assert (codes.static.shape, codes.dynamic.shape) == ((3, 5), (3, 5, 4))
    assert v.letters.features == 8
    np.testing.assert_array_equal(v.reconstruct(a), v.decode(codes))
    static_a, static_b = v.swap(a, b)
    assert (static_a.shape, static_b.shape) == ((3, 4, 6), (3, 5, 6))
    np.testing.assert_allclose(v.swap(a, a)[0], v.reconstruct(a), atol=1e-6)
    assert v.generate(2, 7, seed=1).shape == (2, 7, 6)
    assert v.resample_static(a).shape == v.resample_dynamic(a).shape == a.shape
    assert v.backend.run("decoder", {"static": codes.static, "dynamic": codes.dynamic})["x_std"].shape == a.shape


@pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")
def test_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SequenceWriter(tmp_path / "sound.h5", SequenceMeta(SPECTRUM, "sound")) as writer:
        writer.write(sequences(20, 4, SPECTRUM))
    run = train("sound.h5", epochs=1, batch_size=8, val_fraction=0.2, device="cpu", **TINY)
    assert run.config.model.element == SPECTRUM
    assert list((run.path / "swaps").iterdir())
    x = sequences(2, 3, SPECTRUM)
    assert verbs(run.load_model()).reconstruct(x).shape == x.shape


def test_an_error_inside_the_file_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'scipy'", name="scipy")

    monkeypatch.setattr("sdkit.elements.importlib.import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="scipy") as caught:
        SplitModel(ModelConfig(SPECTRUM, **TINY))
    assert not isinstance(caught.value, ConfigError)
