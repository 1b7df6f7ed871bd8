"""What every method keeps, on every kind of element: one body of tests over all that `names` lists.

Exports are proven in test_contract_export.py and resumed runs in test_contract_resume.py, so that several processes
share the methods.
"""

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from sdkit import methods
from sdkit.export.proof.cases import sample
from sdkit.methods.base import Batch, Method
from sdkit.methods.graphs import ports, verbs
from sdkit.methods.listing import describe
from sdkit.runtime.contract import GRAPHS, VERBS, needed
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import CapabilityError, ConfigError
from sdkit.training.config import plan
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import tiny_batch, tiny_model

CASES = list(itertools.product(methods.names(), ELEMENTS))
every = pytest.mark.parametrize(("method", "kind"), CASES)
B, T = 4, 5


def made(method: str, kind: str, **changes: Any) -> Method:
    return tiny_model(method=method, element=ELEMENTS[kind], **changes)


def data(element: Element, batch: int = B, steps: int = T) -> Array:
    return sample(element, batch, steps, 3)


@pytest.mark.parametrize("name", methods.names())
def test_says_what_it_is(name: str) -> None:
    found = methods.find(name)
    assert found.name == name
    assert found.title
    assert found.reference
    assert len({term.name for term in found.terms}) == len(found.terms)
    assert {term.kind for term in found.terms} <= {"likelihood", "divergence", "other"}
    assert set(found.search(ELEMENTS["image"])) <= set(found.Settings.__struct_fields__)
    (about,) = describe(name)
    assert {*about["verbs"], *(verb.partition(" ")[0] for verb in about["refusals"])} == set(VERBS)


@every
def test_loss_is_finite_and_every_parameter_learns(method: str, kind: str) -> None:
    model = made(method, kind).train()
    reached: set[str] = set()
    for phase in model.phases:
        model.zero_grad()
        losses = model(tiny_batch(data(ELEMENTS[kind], 8)), phase)
        assert torch.isfinite(losses.loss)
        assert losses.loss.ndim == 0
        assert set(losses.terms) <= {term.name for term in model.terms}
        losses.loss.backward()
        reached |= {name for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {name for name, _ in model.named_parameters()}


@every
def test_graphs_are_those_of_the_contract(method: str, kind: str) -> None:
    model = made(method, kind)
    graphs = model.graphs()
    assert set(needed(model.abilities.verbs)) <= set(graphs) <= set(GRAPHS)
    for name, graph in graphs.items():
        rule = GRAPHS[name]
        names = ports(graph)
        assert set(names.inputs) <= set(rule.inputs)
        assert set(rule.outputs) <= set(names.outputs) <= {*rule.outputs, *rule.optional}


@every
def test_verbs_return_the_shapes_that_they_promise(method: str, kind: str) -> None:
    element, model = ELEMENTS[kind], made(method, kind)
    run, x = verbs(model), data(element)
    found = run.abilities.verbs
    if "encode" in found:
        codes = run.encode(x)
        assert codes.static.shape == (B, model.widths.static_size)
        assert codes.dynamic.shape == (B, T, model.widths.dynamic_size)
        assert run.decode(codes).shape == x.shape
        assert np.array_equal(run.encode(x, seed=1).static, run.encode(x, seed=1).static)
    if "swap" in found:
        for swapped in run.swap(x, x):
            np.testing.assert_allclose(swapped, run.reconstruct(x), rtol=1e-4, atol=1e-4 * element.high)
    if "generate" in found:
        assert run.generate(2, T, seed=1).shape == (2, T, *element.shape)
        assert np.array_equal(run.generate(2, T, seed=1), run.generate(2, T, seed=1))


@every
def test_refused_verbs_say_why_in_one_line(method: str, kind: str) -> None:
    run = verbs(made(method, kind))
    x = data(ELEMENTS[kind])
    calls: dict[str, Any] = {
        "encode": lambda: run.encode(x),
        "decode": lambda: run.decode(run.encode(x)),
        "reconstruct": lambda: run.reconstruct(x),
        "swap": lambda: run.swap(x, x),
        "generate": lambda: run.generate(1, T),
        "resample_static": lambda: run.resample_static(x),
        "resample_dynamic": lambda: run.resample_dynamic(x),
        "stream": lambda: run.stream(),
    }
    assert set(calls) == set(VERBS)
    for verb, reason in run.abilities.refusals.items():
        with pytest.raises(CapabilityError) as error:
            calls[verb]()
        assert str(error.value) == f"this model cannot {verb}: {reason}"
        assert "\n" not in reason


@every
def test_settings_survive_json(method: str, kind: str) -> None:
    found = plan(ELEMENTS[kind], method=method)
    text = msgspec.json.encode(found.settings)
    assert msgspec.json.decode(text, type=found.method.Settings) == found.settings
    assert found.variant in (*found.method.variants, "")
    with pytest.raises(ConfigError, match="unknown setting 'no_such'"):
        plan(ELEMENTS[kind], method=method, overrides={"no_such": 1})


@every
def test_finish_may_be_called_with_any_batches(method: str, kind: str) -> None:
    model, x = made(method, kind), torch.from_numpy(data(ELEMENTS[kind], 16))
    before = {name: value.clone() for name, value in model.named_parameters()}
    with torch.no_grad():
        model.finish([Batch(x, torch.arange(len(x)))])
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())
    run = verbs(model)
    assert np.isfinite(
        run.generate(2, T) if "reconstruct" in run.abilities.refusals else run.reconstruct(x.numpy())
    ).all()


def test_unknown_method_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown method 'dsvea' \(did you mean 'dsvae'\?\); there are: cdsvae, dbse, "
    ):
        methods.find("dsvea")
