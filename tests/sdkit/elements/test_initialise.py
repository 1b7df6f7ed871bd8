"""Initial weights: a signal keeps its scale, and the layers that are not ours keep theirs."""

from typing import Any

import pytest
import torch
from torch import nn

from sdkit.elements.initialise import initialise
from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from tests.tiny import tiny_facts, tiny_plan


def test_a_signal_keeps_its_scale_through_many_layers() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(10)])
    x = torch.randn(256, 64)
    before = spread(layers(x))
    initialise(layers)
    assert before < 0.1
    assert 0.5 < spread(layers(x)) < 2.0


def spread(x: torch.Tensor) -> float:
    return x.square().mean().sqrt().item()


@pytest.mark.parametrize(("layer", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_states_of_recurrent_layers_turn_without_shrinking(layer: type[nn.RNNBase], gates: int) -> None:
    found = layer(3, 5)  # type: ignore[call-arg, arg-type]
    initialise(found)
    states = dict(found.named_parameters())["weight_hh_l0"].detach().chunk(gates)
    for state in states:
        torch.testing.assert_close(state @ state.T, torch.eye(5), atol=1e-5, rtol=0)
    assert not dict(found.named_parameters())["bias_ih_l0"].any()


def test_convolutions_of_images_keep_their_weights() -> None:
    torch.manual_seed(0)
    found = nn.Conv2d(3, 4, 3)
    before = found.weight.detach().clone()
    initialise(nn.Sequential(found, nn.ReLU()))
    assert torch.equal(found.weight, before)


def test_a_new_model_of_a_series_hears_its_data() -> None:
    element = Element("series", (4, 3), "float32")
    x = torch.randn(64, 6, 4, 3, generator=torch.Generator().manual_seed(1))
    settings: dict[str, Any] = {"encoder_widths": (32, 64, 32), "decoder_widths": (32, 64, 32), "hidden_size": 32}
    plan = tiny_plan("paper", **settings)
    facts = tiny_facts(element, feature_mean=(0.0,) * 3, feature_std=(1.0,) * 3)
    torch.manual_seed(0)
    found = {}
    for name, model in (("own", plan.build(facts)), ("of PyTorch", plan.method(plan.settings, facts))):
        codes = verbs(model).encode(x.numpy())
        decoded = torch.from_numpy(verbs(model).decode(codes))
        found[name] = spread(decoded - decoded.mean(0))
    assert found["own"] > 30 * found["of PyTorch"]
