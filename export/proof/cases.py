"""Inputs and results that prove a bundle: the same numbers through every graph and every verb."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np

from sdkit.runtime.bundles.format1 import RENAMED
from sdkit.runtime.codes import Codes
from sdkit.runtime.contract import STATIC_PRIOR, STEP
from sdkit.runtime.element import Array, Element
from sdkit.runtime.engines.backend import add
from sdkit.runtime.kinds.base import Scale as Scale
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.verbs.arrays import Verbs

Arrays = dict[str, Array]

SIZES = ((1, 2), (3, 7), (4, 2), (1, 9))
"""Sizes (B, T) of the cases: the smallest batch, the shortest sequence, and sizes unlike the traced example's."""
GOLDEN_SIZE = (2, 3)
SEED = 20

STREAM = "stream()"
STATIC_NOISE = "static_noise"
"""Name of the input `noise` of `static_prior` among the inputs of all graphs."""


class Measured(Protocol):
    """An object that has the mean and standard deviation of features: facts about data, or a manifest."""

    @property
    def feature_mean(self) -> tuple[float, ...]:
        """Means of the features (F,)."""

    @property
    def feature_std(self) -> tuple[float, ...]:
        """Standard deviations of the features (F,)."""


def scale_of(facts: Measured) -> Scale | None:
    """Return the scale of a model's features; None where there is none."""
    if not facts.feature_std:
        return None
    return Scale(*(np.asarray(values, np.float32) for values in (facts.feature_mean, facts.feature_std)))


def sample(element: Element, batch: int, steps: int, seed: int, scale: Scale | None = None) -> Array:
    """Return random sequences of an element, (B, T, *element), in data units."""
    rng = np.random.Generator(np.random.Philox(key=[seed, batch * 1000 + steps]))
    return element.traits.sample(rng, (batch, steps, *element.shape), element.dtype, scale)


def generated(reference: Verbs, batch: int, steps: int, seed: int) -> Array:
    """Return sequences (B, T, *element) that a model generates, in its data set's units and dtype.

    Unlike random values they look like the data, which graphs of lower precision need for calibration, and unlike
    the data they may be shipped with a bundle. They have no more steps than the model's prior draws.
    """
    batch, steps = within(reference, batch, steps)
    return reference.element.cast(reference.generate(batch, steps, seed=seed))


def graph_inputs(
    reference: Verbs, batch: int, steps: int, scale: Scale | None = None, *, drawn: bool = False
) -> Arrays:
    """Return inputs of every graph; inner ones are the reference's outputs, so that errors do not add up.

    Args:
        reference: model that computes the inner inputs.
        batch: number of sequences B.
        steps: number of elements T.
        scale: scale of its features.
        drawn: use sequences that the model generates instead of random values.
    """

    def data(steps: int, seed: int) -> Array:
        if drawn:
            return generated(reference, batch, steps, seed)
        return sample(reference.element, batch, steps, seed, scale)

    pool: Arrays = {"other": data(steps + 1, SEED + 1), "x": data(steps, SEED)}
    noise = standard_normal(SEED, Purpose.DYNAMIC_PRIOR, 0, (batch, steps, reference.widths.dynamic_size))
    feed: Arrays = {"noise": noise, **pool}
    ports = reference.backend.ports
    for graph in ("encoder", "static", "dynamic"):
        if graph in ports:
            add(feed, reference.backend.run(graph, {name: feed[name] for name in ports[graph].inputs}))
    if "static" not in feed:  # a model that cannot encode
        feed |= {"static": reference.draw_static(batch, SEED), "dynamic": reference.draw_dynamic(batch, steps, SEED)}
    feed |= {new: feed[old] for old, new in RENAMED.items() if old in feed}  # graphs of format 1 as the reference
    inputs = {name for graph in ports if graph != STEP for name in ports[graph].inputs}
    taken = {"static", "dynamic", *(RENAMED.get(name, name) for name in inputs)}
    pool |= {name: feed[name] for name in ("features", "context", "static", "dynamic", "noise") if name in taken}
    if STATIC_PRIOR in ports:
        pool[STATIC_NOISE] = standard_normal(SEED, Purpose.STATIC_PRIOR, 0, feed["static"].shape)
    return {**pool, **(_step_inputs(reference, feed["features"]) if STEP in ports else {})}


def _step_inputs(reference: Verbs, features: Array) -> Arrays:
    """Return inputs of `dynamic_step`: every other stream is two elements old, those between are about to begin."""
    state = np.zeros((len(features), reference.widths.state), np.float32)
    for t in range(2):
        state = reference.backend.run(STEP, {"element_features": features[:, t : t + 1], "state": state})["next_state"]
    old = np.arange(len(features)) % 2 == 0
    return {"element_features": features[:, -1:], "state": np.where(old[:, None], state, np.float32(0))}


def graph_feed(graph: str, names: Iterable[str], inputs: Mapping[str, Array]) -> Arrays:
    """Return the inputs of one graph, by name, from the inputs of all graphs."""
    named = {"noise": STATIC_NOISE} if graph == STATIC_PRIOR else RENAMED
    return {name: inputs[named.get(name, name)] for name in names}


def run_graphs(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    """Return the outputs of every graph, named `graph/output`."""
    results: Arrays = {}
    for graph, ports in verbs.backend.ports.items():
        if graph == STEP and "state" not in inputs:
            continue
        outputs = verbs.backend.run(graph, graph_feed(graph, ports.inputs, inputs))
        results |= {f"{graph}/{RENAMED.get(name, name)}": value for name, value in outputs.items()}
    return results


def run_verbs(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    """Return the results of every verb that the model has, named `verb()/part`."""
    results: Arrays = {}
    for verb in verbs.abilities.verbs:
        if verb != "stream" or "state" in inputs:
            results |= RUNNERS[verb](verbs, inputs)
    return results


def _encode(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    codes, sampled = verbs.encode(inputs["x"]), verbs.encode(inputs["x"], seed=SEED)
    return {
        "encode()/static": codes.static,
        "encode()/dynamic": codes.dynamic,
        "encode(seed)/static": sampled.static,
        "encode(seed)/dynamic": sampled.dynamic,
    }


def _swap(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    ab, ba = verbs.swap(inputs["x"], inputs["other"])
    return {"swap()/a_with_b": ab, "swap()/b_with_a": ba}


def _generate(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    batch, steps = inputs["dynamic"].shape[:2]
    return {"generate()/x": verbs.generate(batch, steps, seed=SEED)}


def run_stream(verbs: Verbs, x: Array) -> Arrays:
    """Return the results of live streams on x, (B, T, *element), pushed element by element."""
    stream = verbs.stream(len(x))
    steps = [stream.push(x[:, t]) for t in range(x.shape[1])]
    return {
        f"{STREAM}/static": steps[-1].static,
        f"{STREAM}/dynamic": np.stack([step.dynamic for step in steps], 1),
        f"{STREAM}/x": np.stack([step.x for step in steps], 1),
    }


RUNNERS: Mapping[str, Callable[[Verbs, Mapping[str, Array]], Arrays]] = {
    "encode": _encode,
    "decode": lambda verbs, inputs: {"decode()/x": verbs.decode(Codes(inputs["static"], inputs["dynamic"]))},
    "reconstruct": lambda verbs, inputs: {"reconstruct()/x": verbs.reconstruct(inputs["x"])},
    "swap": _swap,
    "generate": _generate,
    "resample_static": lambda verbs, inputs: {"resample_static()/x": verbs.resample_static(inputs["x"], seed=SEED)},
    "resample_dynamic": lambda verbs, inputs: {"resample_dynamic()/x": verbs.resample_dynamic(inputs["x"], seed=SEED)},
    "stream": lambda verbs, inputs: run_stream(verbs, inputs["x"]),
}


def run_all(verbs: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    """Return the results of every graph and every verb."""
    return {**run_graphs(verbs, inputs), **run_verbs(verbs, inputs)}


def expected_results(reference: Verbs, inputs: Mapping[str, Array]) -> Arrays:
    """Return the expected results of `run_all`: the reference's, and for streams those of the whole sequences."""
    results = run_all(reference, inputs)
    if f"{STREAM}/x" in results:
        results[f"{STREAM}/static"] = results["encode()/static"]
        results[f"{STREAM}/dynamic"] = results["encode()/dynamic"]
        results[f"{STREAM}/x"] = results["reconstruct()/x"]
    return results


def comparable(expected: Mapping[str, Array], candidate: Verbs) -> Mapping[str, Array]:
    """Return the results that a candidate can have: no streams where its bundle was made before there were any."""
    if STEP in candidate.backend.ports:
        return expected
    return {name: value for name, value in expected.items() if name.partition("/")[0] not in (STEP, STREAM)}


def golden(reference: Verbs, scale: Scale | None = None, *, drawn: bool = False) -> Arrays:
    """Return the arrays with which a bundle proves itself without PyTorch: inputs `in:NAME` and results `out:NAME`."""
    inputs = graph_inputs(reference, *within(reference, *GOLDEN_SIZE), scale, drawn=drawn)
    return {**_prefixed("in:", inputs), **_prefixed("out:", expected_results(reference, inputs))}


def within(verbs: Verbs, batch: int, steps: int) -> tuple[int, int]:
    """Return B and T of a case, with no more steps than the model's prior draws."""
    return batch, min(steps, verbs.abilities.max_steps or steps)


def split_golden(arrays: Mapping[str, Array]) -> tuple[Arrays, Arrays]:
    """Return inputs and results of golden vectors, under today's names."""
    for old, new in RENAMED.items():
        arrays = {name.replace(old, new): value for name, value in arrays.items()}
    return _stripped("in:", arrays), _stripped("out:", arrays)


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> Arrays:
    return {prefix + name: value for name, value in arrays.items()}


def _stripped(prefix: str, arrays: Mapping[str, Array]) -> Arrays:
    names: Iterable[str] = (name for name in arrays if name.startswith(prefix))
    return {name.removeprefix(prefix): arrays[name] for name in names}
