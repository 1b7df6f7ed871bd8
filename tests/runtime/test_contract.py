"""The contract is whole: what it names exists, and every verb's chain of graphs can be fed."""

import pytest

from sdkit.export.proof.cases import RUNNERS
from sdkit.runtime import contract
from sdkit.runtime.bundles.manifest import shape
from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.contract import (
    DYNAMIC_POSTERIOR,
    GRAPHS,
    IN_PLACE_OF,
    MEANS,
    STATIC_PRIOR,
    STEP,
    TENSORS,
    VERBS,
    WIDTHS,
    needed,
)
from sdkit.runtime.element import Element
from sdkit.runtime.engines.backend import add
from sdkit.runtime.verbs.arrays import Verbs

GIVEN = {
    "encode": {"x"},
    "decode": {"static", "dynamic"},
    "reconstruct": {"x"},
    "swap": {"x"},
    "generate": {"static", "noise"},
    "resample_static": {"x"},
    "resample_dynamic": {"x", "noise"},
    # The host keeps the state, and hands the features of an element on under their other name.
    "stream": {"x", "state", "element_features"},
}
"""What a host puts into the pool before the first graph of a verb runs."""
ELEMENT = Element("series", (6, 2), "float32")
SIZES = Widths(5, 4, 8, 6, 41)


def run(pool: dict[str, object], graphs: tuple[str, ...]) -> None:
    """Run a chain on names alone, where each graph takes all that it may and returns no more than it must."""
    for name in graphs:
        missing = set(GRAPHS[name].inputs) - set(pool) - {"context"}
        assert not missing, f"{name} cannot be fed {missing}"
        add(pool, dict.fromkeys(GRAPHS[name].outputs))


def test_there_is_a_chain_for_every_verb_and_a_start_for_every_chain() -> None:
    assert set(GIVEN) == set(VERBS) == set(RUNNERS)
    for verb, rule in VERBS.items():
        assert rule.about
        assert rule.graphs
        assert set(rule.graphs) <= set(GRAPHS), verb
        assert callable(getattr(Verbs, verb))


@pytest.mark.parametrize("verb", VERBS)
def test_every_graph_of_a_verb_is_fed_from_the_pool(verb: str) -> None:
    pool: dict[str, object] = dict.fromkeys(GIVEN[verb])
    run(pool, VERBS[verb].graphs)
    assert {"encode": "dynamic", "stream": "next_state"}.get(verb, "x") in pool


def test_the_context_is_in_the_pool_before_a_graph_takes_it() -> None:
    """It is the one input that no graph needs to return, so a manifest that lists it lists its source too."""
    takes = {name for name, graph in GRAPHS.items() if "context" in graph.inputs}
    gives = {name for name, graph in GRAPHS.items() if "context" in (*graph.outputs, *graph.optional)}
    assert takes == {"dynamic", DYNAMIC_POSTERIOR}
    assert gives == {"static"}
    for verb in VERBS.values():
        for name in takes & set(verb.graphs):
            assert verb.graphs.index("static") < verb.graphs.index(name)


@pytest.mark.parametrize("name", IN_PLACE_OF)
def test_graphs_that_no_verb_needs_are_fed_where_a_host_runs_them(name: str) -> None:
    pool: dict[str, object] = {"x": None, "noise": None}
    if name == DYNAMIC_POSTERIOR:
        run(pool, ("encoder", "static"))
    run(pool, (name,))
    assert set(GRAPHS[name].outputs) <= {"static", "dynamic"}


def test_graphs_that_no_verb_needs_have_something_in_their_place() -> None:
    assert set(IN_PLACE_OF) == set(GRAPHS) - set(needed(VERBS))
    assert all(IN_PLACE_OF.values())


def test_needed() -> None:
    assert needed([]) == ()
    assert needed(["decode"]) == ("decoder",)
    assert needed(["generate", "encode"]) == ("encoder", "static", "dynamic", "decoder", "prior")
    assert needed(VERBS) == ("encoder", "static", "dynamic", "decoder", "prior", STEP)


@pytest.mark.parametrize("name", GRAPHS)
def test_tensors_of_a_graph_are_known(name: str) -> None:
    graph = GRAPHS[name]
    assert graph.about
    tensors = (*graph.inputs, *graph.outputs, *graph.optional)
    assert set(tensors) <= set(TENSORS)
    assert set(graph.axes) <= set(tensors)
    assert len(set(graph.outputs) | set(graph.optional)) == len(graph.outputs) + len(graph.optional)
    for tensor in tensors:
        assert contract.axes(name, tensor)[0] == "B"


def test_axes_are_known() -> None:
    every = [*TENSORS.values(), *(axes for graph in GRAPHS.values() for axes in graph.axes.values())]
    assert {axis for axes in every for axis in axes} == {"B", "T", 1, "*element", *WIDTHS}
    assert set(WIDTHS.values()) == set(Widths.__struct_fields__)


def test_every_tensor_is_of_some_graph() -> None:
    used = {t for graph in GRAPHS.values() for t in (*graph.inputs, *graph.outputs, *graph.optional)}
    assert used == set(TENSORS)


def test_a_mean_has_the_axes_of_its_code() -> None:
    for mean, code in MEANS.items():
        assert TENSORS[mean] == TENSORS[code]


def test_the_step_of_a_stream_gives_one_element_of_what_whole_sequences_give() -> None:
    step = GRAPHS[STEP]
    for tensor in ("dynamic_mean", "dynamic_std"):
        assert [1 if axis == "T" else axis for axis in TENSORS[tensor]] == list(contract.axes(STEP, tensor))
    assert contract.axes(STEP, "state") == contract.axes(STEP, "next_state")
    assert {"static_mean", "dynamic_mean"} <= set(step.outputs)


def test_shapes() -> None:
    assert shape("encoder", "x", ELEMENT, SIZES) == ("B", "T", 6, 2)
    assert shape("static", "context", ELEMENT, SIZES) == ("B", 6)
    assert shape("prior", "noise", ELEMENT, SIZES) == ("B", "T", 4)
    assert shape(STATIC_PRIOR, "noise", ELEMENT, SIZES) == ("B", 5)
    assert shape(STEP, "element_features", ELEMENT, SIZES) == ("B", 1, 8)
    assert shape(STEP, "dynamic_mean", ELEMENT, SIZES) == ("B", 1, 4)
    assert shape(STEP, "next_state", ELEMENT, SIZES) == ("B", 41)


def test_a_code_that_is_there_is_not_replaced_by_a_mean() -> None:
    pool: dict[str, object] = {"static": "drawn"}
    add(pool, {"static_mean": "mean", "dynamic_mean": "means"})
    assert pool == {"static": "drawn", "static_mean": "mean", "dynamic_mean": "means", "dynamic": "means"}


def test_the_contract_cannot_be_changed() -> None:
    for mapping in (TENSORS, WIDTHS, MEANS, GRAPHS, VERBS, IN_PLACE_OF):
        with pytest.raises(TypeError, match="does not support item"):
            mapping["x"] = None  # type: ignore[index]
