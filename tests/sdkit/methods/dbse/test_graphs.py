from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods.dbse.paths import all_steps
from sdkit.methods.graphs import TorchBackend, ports
from sdkit.runtime.contract import STEP, Ports
from tests.sdkit.methods.dbse.tiny import tiny_dbse
from tests.tiny import sequences

PORTS = {
    "encoder": Ports(("x",), ("features",)),
    "static": Ports(("features",), ("static_mean", "static_std", "context")),
    "dynamic": Ports(("features", "context"), ("dynamic_mean", "dynamic_std")),
    "decoder": Ports(("static", "dynamic"), ("x",)),
    "prior": Ports(("noise",), ("dynamic", "dynamic_mean")),
    STEP: Ports(("element_features", "state"), ("static_mean", "dynamic_mean", "dynamic_std", "next_state")),
}


def test_names() -> None:
    found = {name: ports(graph) for name, graph in tiny_dbse().graphs().items()}
    assert found == PORTS
    assert list(found) == list(PORTS)


@pytest.mark.parametrize("changes", [{"variant": "release"}, {"anchor": "middle"}, {"anchor": "last"}], ids=str)
def test_models_that_cannot_run_online_have_five_graphs(changes: dict[str, Any]) -> None:
    model = tiny_dbse(**changes)
    assert list(model.graphs()) == list(PORTS)[:5]
    assert model.widths.state == 0
    assert "stream" in model.abilities.refusals


@pytest.mark.parametrize("variant", ["paper", "filter"])
def test_a_row_of_zeros_begins_a_stream_and_the_state_holds_the_anchor(variant: str) -> None:
    model = tiny_dbse(variant)
    backend, size = TorchBackend(model), model.widths.state
    features = np.random.default_rng(0).standard_normal((2, 3, 32), np.float32)
    state = np.zeros((2, size), np.float32)
    for t in range(3):
        step = backend.run(STEP, {"element_features": features[:, t : t + 1], "state": state})
        state = step["next_state"]
        assert state.shape == (2, size)
        assert (state[:, 0] == 1).all()
        np.testing.assert_array_equal(state[:, 1:33], features[:, 0])
        # The LSTM of the printed model is not fed the anchor; a filter is.
        assert (state[:, 33:] == 0).all() == (variant == "paper" and t == 0)
    half = np.where([[True], [False]], state, np.float32(0))
    step = backend.run(STEP, {"element_features": features[:, 1:2], "state": half})
    np.testing.assert_array_equal(step["next_state"][:, 1:33], [features[0, 0], features[1, 1]])


@pytest.mark.parametrize(("variant", "layers"), [("paper", 1), ("filter", 2)])
def test_the_width_of_the_state(variant: str, layers: int) -> None:
    widths = tiny_dbse(variant).widths
    assert widths.state == 1 + widths.features + 2 * layers * 6  # H = 6


@pytest.mark.parametrize("variant", ["paper", "release", "filter"])
def test_backend_returns_named_outputs_of_the_contract_shapes(variant: str) -> None:
    backend = TorchBackend(tiny_dbse(variant))
    x = sequences(3, 5)
    features = backend.run("encoder", {"x": x})
    static = backend.run("static", features)
    dynamic = backend.run("dynamic", {**features, "context": static["context"]})
    decoded = backend.run("decoder", {"static": static["static_mean"], "dynamic": dynamic["dynamic_mean"]})
    prior = backend.run("prior", {"noise": np.ones((3, 5, 4), np.float32)})
    shapes = {k: v.shape for part in (features, static, dynamic, prior, decoded) for k, v in part.items()}
    assert shapes == {
        "features": (3, 5, 32),
        "static_mean": (3, 5),
        "static_std": (3, 5),
        "context": (3, 6),
        "dynamic_mean": (3, 5, 4),
        "dynamic_std": (3, 5, 4),
        "dynamic": (3, 5, 4),
        "x": (3, 5, 3, 16, 16),
    }
    assert {v.dtype for part in (features, static, dynamic, prior, decoded) for v in part.values()} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_graphs_give_the_posterior_and_its_std(variant: str) -> None:
    model = tiny_dbse(variant)
    x = torch.from_numpy(sequences(3, 5))
    with torch.no_grad():
        static, dynamic = model.posterior(x)
        graphs = model.graphs()
        features = graphs["encoder"](x)
        static_mean, static_std, context = graphs["static"](features)
        dynamic_mean, dynamic_std = graphs["dynamic"](features, context)
    torch.testing.assert_close(static_mean, static.mean)
    torch.testing.assert_close(static_std, torch.exp(0.5 * static.log_variance))
    torch.testing.assert_close(dynamic_mean, all_steps(model.settings, dynamic.mean))
    torch.testing.assert_close(dynamic_std, all_steps(model.settings, torch.exp(0.5 * dynamic.log_variance)))
    assert (dynamic_std[:, 0] == 0).all() == (variant == "paper")


def test_widths() -> None:
    widths = tiny_dbse("release").widths
    assert (widths.static_size, widths.dynamic_size, widths.features, widths.context) == (5, 4, 32, 6)
