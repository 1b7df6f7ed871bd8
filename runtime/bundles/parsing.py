"""Reads the text of manifest.json: version, schema, verbs, graphs, tensors and digest are checked here."""

import json
import math
from typing import Any

import msgspec

from sdkit.runtime.bundles import format1
from sdkit.runtime.bundles.manifest import Manifest, digest, tensor
from sdkit.runtime.bundles.specs import FORMAT, VERSION, GraphSpec
from sdkit.runtime.contract import GRAPHS, STEP, VERBS, needed
from sdkit.runtime.errors import BundleVersionError, ManifestError, first_line

WIDEST = 2**16
"""Largest width of a code, of features or of a state."""
LARGEST_SEQUENCE = 2**27
"""Largest number of values of a sequence of the training's steps. Like the widths, far above what any model has, and
low enough that a manifest alone cannot ask for memory by the gigabyte."""


def parse(text: bytes, where: str) -> Manifest:
    """Return the manifest that a text holds; one of format 1 is converted to today's form.

    Raises:
        BundleVersionError: a version that this sdkit does not read.
        ManifestError: not JSON, unknown or missing keys or graphs, or changed since it was sealed.
    """
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{where} is not JSON: {first_line(error)}") from error
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
    manifest = format1.upgraded(found) if isinstance(found, format1.Manifest1) else found
    if problem := _problem_of_sizes(manifest):
        raise ManifestError(f"{where} {problem}; no model has that: do not use this bundle")
    return manifest


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, whose keys must differ: of two values of a key each reader would take another."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' stands there twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def _problem_of_sizes(manifest: Manifest) -> str:
    """Return which size or scale no model has; empty where all are possible."""
    widths, element = msgspec.structs.asdict(manifest.widths), manifest.element
    for name, width in widths.items():
        least = 1 if name in ("static_size", "dynamic_size") else 0
        if not least <= width <= WIDEST:
            return f"gives the width {name} = {width}; expected {least} to {WIDEST}"
    if manifest.max_steps is not None and manifest.max_steps < 1:
        return f"gives max_steps = {manifest.max_steps}; expected 1 or more"
    values = manifest.steps * max(math.prod(element.shape), *widths.values())
    if manifest.steps < 0 or values > LARGEST_SEQUENCE or math.prod(element.shape) > LARGEST_SEQUENCE:
        return f"gives sequences of {manifest.steps} steps of {element.describe()}"
    mean, std = manifest.feature_mean, manifest.feature_std
    if len(mean) != len(std) or len(std) not in (0, element.features):
        return (
            f"gives {len(mean)} feature_mean and {len(std)} feature_std; expected {element.features} of each, or none"
        )
    if not all(map(math.isfinite, (*mean, *std))) or min(std, default=1.0) <= 0:
        return "gives a feature_mean or feature_std that is not finite, or a feature_std that is not positive"
    return ""


def _problem(manifest: Manifest) -> str:
    """Return what is wrong with the capabilities, the graphs or their tensors; empty where nothing is."""
    named = [*manifest.capabilities, *manifest.refusals]
    if sorted(named) != sorted(VERBS):
        return f"names the verbs {', '.join(named)}; expected each of {', '.join(VERBS)} once"
    graphs, required = manifest.graphs, needed(manifest.capabilities)
    if not set(required) <= set(graphs) <= set(GRAPHS):
        rest = ", ".join(name for name in GRAPHS if name not in required)
        return f"names the graphs {', '.join(graphs)}; expected {', '.join(required)}, and any of {rest}"
    if not graphs:
        return "names no graph"
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
