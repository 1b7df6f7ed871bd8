"""The contract of a bundle: its graphs, their tensors, the verbs, and which graphs each verb runs.

This is the one list. Manifest, parity cases, Triton repositories, JSON schema, documents and the tables of the hosts in
other languages are derived from it or tested against it.

A host runs a chain of graphs over a pool of tensors. It puts into the pool what it is given (`x`, codes, `noise`),
feeds each graph by name the inputs that the manifest lists for it, and adds the graph's outputs to the pool. A mean
stands for its code (`MEANS`) until a sample replaces it. So a method that needs one more of the known tensors changes
no host.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Axis = str | int
Axes = tuple[Axis, ...]

TENSORS: Mapping[str, Axes] = MappingProxyType(
    {
        "x": ("B", "T", "*element"),
        "x_std": ("B", "T", "*element"),
        "features": ("B", "T", "G"),
        "context": ("B", "C"),
        "static_mean": ("B", "S"),
        "static_std": ("B", "S"),
        "static": ("B", "S"),
        "dynamic_mean": ("B", "T", "D"),
        "dynamic_std": ("B", "T", "D"),
        "dynamic": ("B", "T", "D"),
        "noise": ("B", "T", "D"),
        "element_features": ("B", 1, "G"),
        "state": ("B", "K"),
        "next_state": ("B", "K"),
    }
)
"""Axes of every tensor. B batch and T steps are free; *element are the axes of an element; the letters of `WIDTHS` are
fixed by the model. All are float32 but the input `x`, which has the data set's dtype."""

WIDTHS: Mapping[str, str] = MappingProxyType(
    {"S": "static_size", "D": "dynamic_size", "G": "features", "C": "context", "K": "state"}
)
"""Fields of the manifest's `widths`, by letter."""

MEANS: Mapping[str, str] = MappingProxyType({"static_mean": "static", "dynamic_mean": "dynamic"})
"""The code that each mean stands for in the pool, unless a graph or the host has put a code there."""


class Graph(NamedTuple):
    """Tensors that a graph of one name takes and returns, whatever the method."""

    about: str
    inputs: tuple[str, ...]
    """Tensors that it may take; the manifest lists those that it does take."""
    outputs: tuple[str, ...]
    """Tensors that it returns."""
    optional: tuple[str, ...] = ()
    """Tensors that it may return as well."""
    axes: Mapping[str, Axes] = MappingProxyType({})
    """Axes of its tensors that differ from `TENSORS`."""


class Ports(NamedTuple):
    """Names of what one model's graph takes and returns, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


StaticPrior = Literal["fitted", "standard"]
"""Prior that static codes are drawn from: one that was fitted to the training split where there is one, or N(0, I)."""
STEP, STATIC_PRIOR, DYNAMIC_POSTERIOR = "dynamic_step", "static_prior", "dynamic_posterior"

GRAPHS: Mapping[str, Graph] = MappingProxyType(
    {
        "encoder": Graph("data to features", ("x",), ("features",)),
        "static": Graph(
            "features to the distribution of the static code, and what the dynamic path needs of it",
            ("features",),
            ("static_mean", "static_std"),
            ("context",),
        ),
        "dynamic": Graph(
            "features to the distributions of the dynamic codes",
            ("features", "context", "static"),
            ("dynamic_mean", "dynamic_std"),
        ),
        "decoder": Graph("codes to data", ("static", "dynamic"), ("x",), ("x_std",)),
        "prior": Graph("noise to dynamic codes drawn from the prior", ("noise",), ("dynamic",), ("dynamic_mean",)),
        STATIC_PRIOR: Graph(
            "noise to static codes drawn from a prior other than N(0, I)",
            ("noise",),
            ("static",),
            axes={"noise": ("B", "S")},
        ),
        DYNAMIC_POSTERIOR: Graph(
            "noise to dynamic codes drawn from a posterior whose steps are correlated",
            ("features", "context", "static", "noise"),
            ("dynamic",),
        ),
        STEP: Graph(
            "features of one element of a live stream, and its past, to the codes of that element",
            ("element_features", "state"),
            ("static_mean", "dynamic_mean", "dynamic_std", "next_state"),
            axes={"dynamic_mean": ("B", 1, "D"), "dynamic_std": ("B", 1, "D")},
        ),
    }
)
"""Every graph that a bundle can hold, in the order of the data's way through them."""


class Verb(NamedTuple):
    """Description of a verb, and the graphs that it runs, in order."""

    about: str
    graphs: tuple[str, ...]


_ENCODE = ("encoder", "static", "dynamic")

VERBS: Mapping[str, Verb] = MappingProxyType(
    {
        "encode": Verb("sequences to codes", _ENCODE),
        "decode": Verb("codes to sequences", ("decoder",)),
        "reconstruct": Verb("sequences to codes and back", (*_ENCODE, "decoder")),
        "swap": Verb("the static code of one sequence with the dynamic codes of another", (*_ENCODE, "decoder")),
        "generate": Verb("sequences whose codes are drawn from the prior", ("prior", "decoder")),
        "resample_static": Verb("sequences with a static code drawn from the prior", (*_ENCODE, "decoder")),
        "resample_dynamic": Verb(
            "sequences with dynamic codes drawn from the prior", ("encoder", "static", "prior", "decoder")
        ),
        "stream": Verb("codes and reconstruction of each element as it comes", ("encoder", STEP, "decoder")),
    }
)
"""Every verb by name; a manifest lists those that its method has, and a reason for each of the others."""

IN_PLACE_OF: Mapping[str, str] = MappingProxyType({DYNAMIC_POSTERIOR: "mean + std * noise", STATIC_PRIOR: "N(0, I)"})
"""Graphs that no verb requires, and what a host does in their place where the bundle has none."""


def needed(verbs: Iterable[str]) -> tuple[str, ...]:
    """Return the graphs that verbs run, in the order of `GRAPHS`."""
    used = {graph for verb in verbs for graph in VERBS[verb].graphs}
    return tuple(graph for graph in GRAPHS if graph in used)


def axes(graph: str, tensor: str) -> Axes:
    """Return the axes of a tensor of a graph."""
    return GRAPHS[graph].axes.get(tensor, TENSORS[tensor])
