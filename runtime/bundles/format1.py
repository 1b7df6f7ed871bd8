"""Manifests of format 1, which sdkit wrote while it had one method: read and converted to those of today.

Their graphs run as they are: what is called `context` today is called `static_hidden` in them, and a host feeds graphs
by the names that the manifest lists.
"""

from typing import Any

import msgspec

from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import FORMAT, FileSpec, GraphSpec, Provenance, Widths
from sdkit.runtime.contract import STEP, VERBS
from sdkit.runtime.element import Element

GRAPHS = ("encoder", "static", "dynamic", "decoder", "prior")
METHOD = "dbse"
RENAMED = {"static_hidden": "context"}
"""Names of today by the names that tensors had in format 1."""


class Letters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Widths, as format 1 has them."""

    static_size: int
    dynamic_size: int
    features: int = 0
    hidden_size: int = 0


class Manifest1(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """manifest.json of format 1, its fields in the order in which the digest was taken."""

    element: Element
    letters: Letters
    graphs: dict[str, GraphSpec]
    steps: int
    anchor: str
    anchor_dynamic: str
    causal: bool
    variant: str
    model: dict[str, Any]
    files: dict[str, FileSpec] = {}
    provenance: Provenance = Provenance()
    format: str = FORMAT
    version: int = 1
    digest: str = ""


def problem(manifest: Manifest1) -> str:
    """Return what is wrong with the graphs; empty where nothing is."""
    if not set(GRAPHS) <= set(manifest.graphs) <= {*GRAPHS, STEP}:
        return f"names the graphs {', '.join(manifest.graphs)}; expected {', '.join(GRAPHS)}, and {STEP} or none"
    if STEP in manifest.graphs and _state(manifest) < 1:
        return f"gives the graph {STEP} no input 'state' (B, K) of a fixed width K"
    return ""


def upgraded(manifest: Manifest1) -> Manifest:
    """Return the same as a manifest of today; it keeps its version and its digest."""
    letters, model = manifest.letters, dict(manifest.model)
    why_not = _why_not_online(manifest)
    return Manifest(
        element=manifest.element,
        widths=Widths(
            letters.static_size, letters.dynamic_size, letters.features, letters.hidden_size, _state(manifest)
        ),
        graphs=manifest.graphs,
        method=METHOD,
        variant=manifest.variant,
        settings={name: model[name] for name in model if name not in ("element", "feature_mean", "feature_std")},
        capabilities=tuple(verb for verb in VERBS if not (why_not and verb == "stream")),
        refusals={"stream": why_not} if why_not else {},
        steps=manifest.steps,
        feature_mean=tuple(model.get("feature_mean", ())),
        feature_std=tuple(model.get("feature_std", ())),
        files=manifest.files,
        provenance=manifest.provenance,
        version=manifest.version,
        digest=manifest.digest,
    )


def _state(manifest: Manifest1) -> int:
    inputs = manifest.graphs[STEP].inputs if STEP in manifest.graphs else ()
    sizes = [t.shape[-1] for t in inputs if t.name == "state" and t.shape]
    return sizes[0] if sizes and isinstance(sizes[0], int) else 0


def _why_not_online(manifest: Manifest1) -> str:
    if not manifest.causal:
        return "its LSTM is bidirectional, so no dynamic code is known before the last element"
    if manifest.anchor != "first":
        return f"its static code is read from the {manifest.anchor} element, which is not known when a stream begins"
    if STEP not in manifest.graphs:
        return f"its bundle was made before bundles had a graph {STEP}; export its run again"
    return ""
