from typing import Any

import numpy as np
import pytest
import torch
from sdkit.methods.dbse.model import join

from sdkit.methods.dbse.paths import all_steps
from sdkit.methods.graphs import TorchBackend, graphs, letters, online, verbs
from sdkit.runtime.codes import Codes
from tests.tiny import sequences, tiny_model

CONTRACT = {
    "encoder": (("x",), ("features",)),
    "static": (("features",), ("static_mean", "static_std", "static_hidden")),
    "dynamic": (("features", "static_hidden"), ("dynamic_mean", "dynamic_std")),
    "decoder": (("static", "dynamic"), ("x",)),
    "prior": (("noise",), ("dynamic", "dynamic_mean")),
    "dynamic_step": (("element_features", "state"), ("static_mean", "dynamic_mean", "dynamic_std", "next_state")),
}


def test_names_are_the_contract() -> None:
    found: dict[str, Any] = {name: (graph.inputs, graph.outputs) for name, graph in graphs(tiny_model()).items()}
    assert found == CONTRACT
    assert list(found) == list(CONTRACT)


@pytest.mark.parametrize("changes", [{"variant": "release"}, {"anchor": "middle"}, {"anchor": "last"}], ids=str)
def test_models_that_cannot_run_online_have_five_graphs(changes: dict[str, Any]) -> None:
    assert list(graphs(tiny_model(**changes))) == list(CONTRACT)[:5]


@pytest.mark.parametrize("variant", ["paper", "filter"])
def test_a_row_of_zeros_begins_a_stream_and_the_state_holds_the_anchor(variant: str) -> None:
    model = tiny_model(variant)
    backend, size = TorchBackend(model), online(model).state_size
    features = np.random.default_rng(0).standard_normal((2, 3, 32), np.float32)
    state = np.zeros((2, size), np.float32)
    for t in range(3):
        step = backend.run("dynamic_step", {"element_features": features[:, t : t + 1], "state": state})
        state = step["next_state"]
        assert (state[:, 0] == 1).all()
        np.testing.assert_array_equal(state[:, 1:33], features[:, 0])
        # The LSTM of the printed model is not fed the anchor; a filter is.
        assert (state[:, 33:] == 0).all() == (variant == "paper" and t == 0)
    half = np.where([[True], [False]], state, np.float32(0))
    step = backend.run("dynamic_step", {"element_features": features[:, 1:2], "state": half})
    np.testing.assert_array_equal(step["next_state"][:, 1:33], [features[0, 0], features[1, 1]])


@pytest.mark.parametrize("variant", ["paper", "release", "filter"])
def test_backend_returns_named_outputs_of_the_contract_shapes(variant: str) -> None:
    backend = TorchBackend(tiny_model(variant))
    x = sequences(3, 5)
    features = backend.run("encoder", {"x": x})
    static = backend.run("static", features)
    dynamic = backend.run("dynamic", {**features, "static_hidden": static["static_hidden"]})
    decoded = backend.run("decoder", {"static": static["static_mean"], "dynamic": dynamic["dynamic_mean"]})
    prior = backend.run("prior", {"noise": np.ones((3, 5, 4), np.float32)})
    shapes = {k: v.shape for part in (features, static, dynamic, prior, decoded) for k, v in part.items()}
    assert shapes == {
        "features": (3, 5, 32),
        "static_mean": (3, 5),
        "static_std": (3, 5),
        "static_hidden": (3, 6),
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
    model = tiny_model(variant)
    x = torch.from_numpy(sequences(3, 5))
    with torch.no_grad():
        static, dynamic = model.posterior(x)
        g = graphs(model)
        features = g["encoder"](x)
        static_mean, static_std, hidden = g["static"](features)
        dynamic_mean, dynamic_std = g["dynamic"](features, hidden)
    torch.testing.assert_close(static_mean, static.mean)
    torch.testing.assert_close(static_std, torch.exp(0.5 * static.log_variance))
    torch.testing.assert_close(dynamic_mean, all_steps(model.config, dynamic.mean))
    torch.testing.assert_close(dynamic_std, all_steps(model.config, torch.exp(0.5 * dynamic.log_variance)))
    assert (dynamic_std[:, 0] == 0).all() == (variant == "paper")


def test_decoder_graph_joins_codes_and_gives_data_units() -> None:
    model = tiny_model(pixel_scale=256.0)
    static, dynamic = torch.randn(2, 5), torch.randn(2, 3, 4)
    joined = join(static, dynamic)
    assert joined.shape == (2, 3, 9)
    for t in range(3):
        torch.testing.assert_close(joined[:, t], torch.cat([static, dynamic[:, t]], -1))
    with torch.no_grad():
        (x,) = graphs(model)["decoder"](static, dynamic)
        torch.testing.assert_close(x, 256.0 * model.decoder(joined)[0])


def test_backend_leaves_the_model_in_its_mode() -> None:
    model = tiny_model()
    x = sequences(2, 3)
    expected = verbs(model).reconstruct(x)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    np.testing.assert_array_equal(verbs(model).reconstruct(x), expected)
    assert model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(KeyError):
        TorchBackend(model).run("encoder", {})
    assert model.training


def test_letters() -> None:
    found = letters(tiny_model())
    assert (found.static_size, found.dynamic_size, found.features, found.hidden_size) == (5, 4, 32, 6)


def test_verbs_follow_the_weights_while_a_model_learns() -> None:
    model = tiny_model()
    v = verbs(model)
    codes = Codes(np.ones((1, 5), np.float32), np.ones((1, 2, 4), np.float32))
    before = v.decode(codes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    assert np.abs(v.decode(codes) - before).max() > 1e-2
