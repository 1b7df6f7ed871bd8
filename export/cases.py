"""Inputs and results that prove a bundle: the same numbers through every graph and every verb."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sdkit.runtime.backend import STEP
from sdkit.runtime.element import Array, Element
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.verbs import Codes, Verbs

Arrays = dict[str, Array]

SIZES = ((1, 2), (3, 7), (4, 2), (1, 9))
"""(B, T) of the cases: the smallest batch, the shortest sequence, and sizes unlike the traced example's."""
GOLDEN_SIZE = (2, 3)
SEED = 20

GRAPH_INPUTS = {
    "encoder": ("x",),
    "static": ("features",),
    "dynamic": ("features", "static_hidden"),
    "decoder": ("static", "dynamic"),
    "prior": ("noise",),
    STEP: ("element_features", "state"),
}
STREAM = "stream()"


class Scale(NamedTuple):
    """Mean and standard deviation of each feature (F,) of a series or spectrum, in data units."""

    mean: Array
    std: Array


def scale_of(model: Mapping[str, Any]) -> Scale | None:
    """Return the scale of a model's config, as a manifest holds it; None where it has none."""
    if not model.get("feature_std"):
        return None
    return Scale(*(np.asarray(model[name], np.float32) for name in ("feature_mean", "feature_std")))


def sample(element: Element, batch: int, steps: int, seed: int, scale: Scale | None = None) -> Array:
    """Return sequences of an element, (B, T, *element), in data units: chance values, images in blocks under noise."""
    rng = np.random.Generator(np.random.Philox(key=[seed, batch * 1000 + steps]))
    shape = (batch, steps, *element.shape)
    if element.kind != "image":
        x = rng.standard_normal(shape, np.float32)
        x = x if scale is None else scale.mean + scale.std * x
        return np.where(rng.random(shape) < 0.1, np.float32(np.nan), x) if element.kind == "series" else x
    block = 8
    coarse = rng.random((batch, steps, element.shape[0], -(-element.shape[1] // block), -(-element.shape[2] // block)))
    fine = coarse.repeat(block, -2).repeat(block, -1)[..., : element.shape[1], : element.shape[2]]
    pixels = np.clip(fine + 0.05 * rng.standard_normal(shape), 0, 1)
    return (pixels * 255).astype(np.uint8) if element.dtype == "uint8" else pixels.astype(np.float32)


def generated(reference: Verbs, batch: int, steps: int, seed: int) -> Array:
    """Return sequences (B, T, *element) that a model generates, in its data set's units and dtype.

    Unlike chance values they look like the data, which is what graphs of lower precision are calibrated on, and unlike
    the data they belong to nobody.
    """
    x = reference.generate(batch, steps, seed=seed)
    return np.clip(np.rint(x), 0, 255).astype(np.uint8) if reference.element.dtype == "uint8" else x


def graph_inputs(
    reference: Verbs, batch: int, steps: int, scale: Scale | None = None, *, drawn: bool = False
) -> Arrays:
    """Return inputs of every graph; inner ones are what the reference computes, so that errors do not add up.

    Args:
        reference: a model.
        batch: B.
        steps: T.
        scale: of its features.
        drawn: sequences that the model generates, instead of chance values.
    """

    def data(steps: int, seed: int) -> Array:
        if drawn:
            return generated(reference, batch, steps, seed)
        return sample(reference.element, batch, steps, seed, scale)

    x = data(steps, SEED)
    features = reference.backend.run("encoder", {"x": x})["features"]
    static = reference.backend.run("static", {"features": features})
    hidden = static["static_hidden"]
    dynamic = reference.backend.run("dynamic", {"features": features, "static_hidden": hidden})
    noise = standard_normal(SEED, Purpose.DYNAMIC_PRIOR, 0, dynamic["dynamic_mean"].shape)
    return {
        "x": x,
        "other": data(steps + 1, SEED + 1),
        "features": features,
        "static_hidden": hidden,
        "static": static["static_mean"],
        "dynamic": dynamic["dynamic_mean"],
        "noise": noise,
        **(_step_inputs(reference, features) if reference.online.state_size else {}),
    }


def _step_inputs(reference: Verbs, features: Array) -> Arrays:
    """Return inputs of `dynamic_step`: every other stream is two elements old, those between are about to begin."""
    state = np.zeros((len(features), reference.online.state_size), np.float32)
    for t in range(2):
        state = reference.backend.run(STEP, {"element_features": features[:, t : t + 1], "state": state})["next_state"]
    old = np.arange(len(features)) % 2 == 0
    return {"element_features": features[:, -1:], "state": np.where(old[:, None], state, np.float32(0))}


def run_graphs(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    """Return the outputs of every graph, named `graph/output`."""
    results: Arrays = {}
    for graph, names in GRAPH_INPUTS.items():
        if graph == STEP and not _streams(verbs, inputs):
            continue
        outputs = verbs.backend.run(graph, {name: inputs[name] for name in names})
        results |= {f"{graph}/{name}": value for name, value in outputs.items()}
    return results


def run_verbs(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    """Return the results of every verb, named `verb()/part`."""
    x, other = inputs["x"], inputs["other"]
    batch, steps = x.shape[:2]
    streamed = run_stream(verbs, x) if _streams(verbs, inputs) else {}
    codes, sampled = verbs.encode(x), verbs.encode(x, seed=SEED)
    ab, ba = verbs.swap(x, other)
    return {
        "encode()/static": codes.static,
        "encode()/dynamic": codes.dynamic,
        "encode(seed)/static": sampled.static,
        "encode(seed)/dynamic": sampled.dynamic,
        "decode()/x": verbs.decode(Codes(inputs["static"], inputs["dynamic"])),
        "reconstruct()/x": verbs.reconstruct(x),
        "swap()/a_with_b": ab,
        "swap()/b_with_a": ba,
        "generate()/x": verbs.generate(batch, steps, seed=SEED),
        "resample_static()/x": verbs.resample_static(x, seed=SEED),
        "resample_dynamic()/x": verbs.resample_dynamic(x, seed=SEED),
        **streamed,
    }


def run_stream(verbs: Verbs, x: Array) -> Arrays:
    """Return what live streams give of x, (B, T, *element), pushed element by element."""
    stream = verbs.stream(len(x))
    steps = [stream.push(x[:, t]) for t in range(x.shape[1])]
    return {
        f"{STREAM}/static": steps[-1].static,
        f"{STREAM}/dynamic": np.stack([step.dynamic for step in steps], 1),
        f"{STREAM}/x": np.stack([step.x for step in steps], 1),
    }


def run_all(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    """Return the results of every graph and every verb."""
    return {**run_graphs(verbs, inputs), **run_verbs(verbs, inputs)}


def expected_results(reference: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    """Return what `run_all` must give: the reference's results, and of streams those of the whole sequences."""
    results = run_all(reference, inputs)
    if f"{STREAM}/x" in results:
        results[f"{STREAM}/static"] = results["encode()/static"]
        results[f"{STREAM}/dynamic"] = results["encode()/dynamic"]
        results[f"{STREAM}/x"] = results["reconstruct()/x"]
    return results


def comparable(expected: Mapping[str, Array], candidate: Verbs) -> Mapping[str, Array]:
    """Return what a candidate can give: no streams where its bundle was made before there were any."""
    if candidate.online.state_size:
        return expected
    return {name: value for name, value in expected.items() if name.partition("/")[0] not in (STEP, STREAM)}


def golden(reference: Verbs, scale: Scale | None = None, *, drawn: bool = False) -> Arrays:
    """Return what a bundle keeps to prove itself without PyTorch: inputs `in:NAME` and results `out:NAME`."""
    inputs = graph_inputs(reference, *GOLDEN_SIZE, scale, drawn=drawn)
    return {**_prefixed("in:", inputs), **_prefixed("out:", expected_results(reference, inputs))}


def _streams(verbs: Verbs, inputs: Mapping[str, Array]) -> bool:
    return bool(verbs.online.state_size) and "state" in inputs


def split_golden(arrays: Mapping[str, Array]) -> tuple[Arrays, Arrays]:
    """Return inputs and results of golden vectors."""
    return _stripped("in:", arrays), _stripped("out:", arrays)


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> Arrays:
    return {prefix + name: value for name, value in arrays.items()}


def _stripped(prefix: str, arrays: Mapping[str, Array]) -> Arrays:
    names: Iterable[str] = (name for name in arrays if name.startswith(prefix))
    return {name.removeprefix(prefix): arrays[name] for name in names}
