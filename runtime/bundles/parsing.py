"""Reads the text of manifest.json: version, schema, verbs, graphs, tensors and digest are checked here."""

from typing import Any

import msgspec

from sdkit.runtime.bundles import format1
from sdkit.runtime.bundles.manifest import Manifest, digest, tensor
from sdkit.runtime.bundles.specs import FORMAT, VERSION, GraphSpec
from sdkit.runtime.contract import GRAPHS, STEP, VERBS, needed
from sdkit.runtime.errors import BundleVersionError, ManifestError


def parse(text: bytes, where: str) -> Manifest:
    """Return the manifest that a text holds; one of format 1 is converted to today's form.

    Raises:
        BundleVersionError: a version that this sdkit does not read.
        ManifestError: not JSON, unknown or missing keys or graphs, or changed since it was sealed.
    """
    try:
        header = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ManifestError(f"{where} is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ManifestError(f"{where} is not the manifest of an sdkit bundle: it has no format '{FORMAT}'")
    version = header.get("version")
    types: dict[Any, type[Manifest] | type[format1.Manifest1]] = {1: format1.Manifest1, VERSION: Manifest}
    if type(version) is not int or version not in types:
        raise BundleVersionError(f"{where} has version {version}; this sdkit reads versions 1 and {VERSION}")
    try:
        found = msgspec.json.decode(text, type=types[version])
    except (msgspec.ValidationError, ValueError) as error:
        raise ManifestError(f"{where} does not follow the manifest's schema: {error}") from error
    problem = format1.problem(found) if isinstance(found, format1.Manifest1) else _problem(found)
    if problem:
        raise ManifestError(f"{where} {problem}")
    if digest(found) != found.digest:
        raise ManifestError(
            f"{where} was changed after it was written: its digest does not fit; export the bundle again"
        )
    return format1.upgraded(found) if isinstance(found, format1.Manifest1) else found


def _problem(manifest: Manifest) -> str:
    """Return what is wrong with the capabilities, the graphs or their tensors; empty where nothing is."""
    named = [*manifest.capabilities, *manifest.refusals]
    if sorted(named) != sorted(VERBS):
        return f"names the verbs {', '.join(named)}; expected each of {', '.join(VERBS)} once"
    graphs, required = manifest.graphs, needed(manifest.capabilities)
    if not set(required) <= set(graphs) <= set(GRAPHS):
        rest = ", ".join(name for name in GRAPHS if name not in required)
        return f"names the graphs {', '.join(graphs)}; expected {', '.join(required)}, and any of {rest}"
    for name, graph in graphs.items():
        rule, widths = GRAPHS[name], manifest.widths
        taken, given = {t.name for t in graph.inputs}, {t.name for t in graph.outputs}
        if not taken <= set(rule.inputs):
            return f"gives the graph {name} the inputs {', '.join(sorted(taken))}; known are {', '.join(rule.inputs)}"
        if not set(rule.outputs) <= given <= {*rule.outputs, *rule.optional}:
            return f"gives the graph {name} the outputs {', '.join(sorted(given))}; expected {', '.join(rule.outputs)}"
        for found in (*graph.inputs, *graph.outputs):
            expected = tensor(name, found.name, manifest.element, widths)
            if found.shape != expected.shape:
                return (
                    f"gives the tensor {found.name} of graph {name} the shape {found.shape}; expected {expected.shape}"
                )
            if found.dtype != expected.dtype:
                return (
                    f"gives the tensor {found.name} of graph {name} the dtype {found.dtype}; expected {expected.dtype}"
                )
        if "context" in taken and not ("static" in graphs and _gives(graphs["static"], "context")):
            return f"gives the graph {name} the input context, which the graph static does not return"
    if STEP in graphs and manifest.widths.state < 1:
        return f"gives the graph {STEP} no input 'state' (B, K) of a fixed width K"
    return ""


def _gives(graph: GraphSpec, name: str) -> bool:
    return any(tensor.name == name for tensor in graph.outputs)
