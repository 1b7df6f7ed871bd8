"""What runs the graphs of any method, and the graphs that methods share."""

import numpy as np
import pytest
import torch

from sdkit.methods import names
from sdkit.methods.graphs import TorchBackend, join, ports, verbs
from sdkit.runtime.bundles.manifest import shape
from sdkit.runtime.codes import Codes
from sdkit.runtime.contract import GRAPHS
from tests.tiny import sequences, tiny_model


@pytest.mark.parametrize("method", names())
def test_every_graph_of_every_method_is_one_of_the_contract(method: str) -> None:
    model = tiny_model(method=method)
    graphs = model.graphs()
    assert [name for name in GRAPHS if name in graphs] == list(graphs)
    for name, graph in graphs.items():
        rule, found = GRAPHS[name], ports(graph)
        assert set(found.inputs) <= set(rule.inputs), name
        assert set(rule.outputs) <= set(found.outputs) <= {*rule.outputs, *rule.optional}, name
        for tensor in (*found.inputs, *found.outputs):
            shape(name, tensor, model.facts.element, model.widths)


def test_decoder_graph_joins_codes_and_gives_data_units() -> None:
    model = tiny_model(pixel_scale=256.0)
    static, dynamic = torch.randn(2, 5), torch.randn(2, 3, 4)
    joined = join(static, dynamic)
    assert joined.shape == (2, 3, 9)
    for t in range(3):
        torch.testing.assert_close(joined[:, t], torch.cat([static, dynamic[:, t]], -1))
    with torch.no_grad():
        (x,) = model.graphs()["decoder"](static, dynamic)
        torch.testing.assert_close(x, 256.0 * model.decode(joined)[0])


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


def test_verbs_follow_the_weights_while_a_model_learns() -> None:
    model = tiny_model()
    v = verbs(model)
    codes = Codes(np.ones((1, 5), np.float32), np.ones((1, 2, 4), np.float32))
    before = v.decode(codes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    assert np.abs(v.decode(codes) - before).max() > 1e-2


def test_verbs_know_what_the_model_cannot_do() -> None:
    model = tiny_model("release")
    assert verbs(model).abilities == model.abilities
    assert (verbs(model).widths, verbs(model).element) == (model.widths, model.facts.element)
