"""Hand-made models, judges and sequences, of which every score is known beforehand.

A sequence has four features a step: (10 who, 1) says who it is, (10 what, t) what it does and when. There are three of
either, and everyone does everything.
"""

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np

from sdkit.evaluation.judge.classifier import Floats
from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.contract import Ports
from sdkit.runtime.element import Array, Element
from sdkit.runtime.storage.sequences import Factor, Indices, SequenceFile, SequenceMeta, SequenceWriter
from sdkit.runtime.verbs.arrays import Verbs

ELEMENT = Element("spectrum", (4,), "float32")
FACTORS = (Factor("who", "static", ("0", "1", "2")), Factor("what", "dynamic", ("0", "1", "2")))
STD = 0.5
"""Of every static posterior."""
PORTS = {
    "encoder": Ports(("x",), ("features",)),
    "static": Ports(("features",), ("static_mean", "static_std", "context")),
    "dynamic": Ports(("features", "context"), ("dynamic_mean", "dynamic_std")),
    "decoder": Ports(("static", "dynamic"), ("x",)),
    "prior": Ports(("noise",), ("dynamic", "dynamic_mean")),
}


class Splitter:
    """A backend that splits perfectly: the static code is the first step's who, the dynamic codes are what."""

    name, device = "made", "cpu"
    ports = PORTS
    dynamic_size = 2

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if graph == "encoder":
            return {"features": np.nan_to_num(inputs["x"])}
        if graph == "static":
            mean = self.static(inputs["features"])
            return {"static_mean": mean, "static_std": np.full_like(mean, STD), "context": mean}
        if graph == "dynamic":
            mean = self.dynamic(inputs["features"])
            return {"dynamic_mean": mean, "dynamic_std": np.ones_like(mean)}
        if graph == "decoder":
            return {"x": self.decoded(inputs["static"], inputs["dynamic"])}
        return {"dynamic": inputs["noise"], "dynamic_mean": np.full_like(inputs["noise"], 10.0)}

    def static(self, features: Array) -> Array:
        return features[:, 0, :2]

    def dynamic(self, features: Array) -> Array:
        return features[:, :, 2:]

    def decoded(self, static: Array, dynamic: Array) -> Array:
        who = np.repeat(static[:, None], dynamic.shape[1], 1)
        return np.concatenate([who, dynamic], 2).astype(np.float32)


class Leaky(Splitter):
    """All is in the dynamic codes; the static code is right and nobody reads it."""

    dynamic_size = 4

    def dynamic(self, features: Array) -> Array:
        return features

    def decoded(self, static: Array, dynamic: Array) -> Array:
        return dynamic


class Collapsed(Splitter):
    """Codes that carry nothing."""

    def static(self, features: Array) -> Array:
        return np.full_like(features[:, 0, :2], 0.3)

    def dynamic(self, features: Array) -> Array:
        return np.zeros_like(features[:, :, 2:])


class ZeroAnchor(Splitter):
    """Perfect but for the first step, which has no dynamic code."""

    def dynamic(self, features: Array) -> Array:
        what = features[:, :, 2:].copy()
        what[:, 0] = 0
        return what


class Drifting(Splitter):
    """The static code holds what is done and when."""

    def static(self, features: Array) -> Array:
        return features[:, 0, 2:]


class MadeJudge:
    """Sees who and what without fail: the nearest of 0, 10 and 20."""

    def __init__(self) -> None:
        self.factors: tuple[Factor, ...] = FACTORS

    def probabilities(self, x: Array) -> dict[str, Floats]:
        def one_hot(values: Array) -> Floats:
            nearest = np.abs(values.mean(1)[:, None] - [0, 10, 20]).argmin(1)
            return np.asarray(np.eye(3, dtype=np.float32)[nearest])

        return {"who": one_hot(x[:, :, 0]), "what": one_hot(x[:, :, 2])}

    def features(self, x: Array) -> Floats:
        """Return who and what as numbers (B, 2)."""
        return np.asarray(x.mean(1)[:, [0, 2]], np.float32)


def verbs(splitter: Splitter | None = None, batch_size: int = 4) -> Verbs:
    splitter = splitter or Splitter()
    return Verbs(splitter, ELEMENT, Widths(2, splitter.dynamic_size), batch_size=batch_size)


def grid(steps: int = 4) -> tuple[Array, Indices]:
    """Return everyone doing everything (9, T, 4), and the labels (9, 2)."""
    labels = np.array(list(product(range(3), range(3))))
    x = np.ones((9, steps, 4), np.float32)
    x[:, :, 0], x[:, :, 2] = 10 * labels[:, :1], 10 * labels[:, 1:]
    x[:, :, 3] = np.arange(steps)
    return x, labels


def write(
    path: Path,
    x: Array,
    labels: Indices | None,
    *,
    lengths: Indices | None = None,
    factors: tuple[Factor, ...] = FACTORS,
) -> SequenceFile:
    """Write sequences whose test split is all of them."""
    with SequenceWriter(
        path, SequenceMeta(ELEMENT, "made", () if labels is None else factors), compression="none"
    ) as writer:
        writer.write(x, labels=labels)
        if lengths is not None:
            writer.put("lengths", lengths)
        writer.splits({"test": range(len(x))})
    return SequenceFile(path)
