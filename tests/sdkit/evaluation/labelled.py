"""Small labelled files of every kind of element, and models whose codes are known beforehand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.evaluation.downstream import predictors
from sdkit.figures import embedding
from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.element import Array, Element
from sdkit.runtime.storage.sequences import Factor, Indices, SequenceMeta, SequenceWriter
from sdkit.runtime.verbs.arrays import Verbs
from tests.sdkit.evaluation.made import PORTS
from tests.tiny import IMAGE

SERIES = Element("series", (4, 2), "float32", ("mm", "degC"), ("rain", "warmth"))
SPECTRUM = Element("spectrum", (6,), "float32", ("dB",))
STEPS = 5
COUNT = 120
"""Series: 24 in the test split and in the validation split, 72 in the training split."""
POSITIVE = 1 / 3
"""Share of the ill in every split."""

FACTORS = (
    Factor("ill", "static", ("no", "yes")),
    Factor("season", "static", ("dry", "wet", "cold")),
    Factor("ward", "static", ("old", "new")),
    Factor("trend", "dynamic", ("up", "down")),
)
"""Nobody of the training split is in the new ward, and nobody of the test split in the old one."""

SMALL: dict[str, Any] = {
    "hidden_size": 6, "prior_hidden_size": 6, "encoder_widths": [8, 8], "decoder_widths": [8, 8],
    "batch_size": 24, "swap_every": 0,
}  # fmt: skip


def fifths(count: int) -> dict[str, Indices]:
    """Return three fifths to train on, one to validate and one to test; every fifth sequence is of the same part."""
    part = np.arange(count) % 5
    return {"train": np.flatnonzero(part < 3), "val": np.flatnonzero(part == 3), "test": np.flatnonzero(part == 4)}


def series(
    path: Path,
    *,
    name: str = "waves",
    lengths: bool = False,
    labelled: bool = True,
    targets: bool = True,
    splits: Iterable[str] = ("train", "val", "test"),
) -> Path:
    """Write windows whose first step tells the labels (ill, season) and whose second the target; all else is noise.

    With `lengths`, sequences have 3, 4 or 5 windows, and the values beyond are a trap.
    """
    rng, group = np.random.default_rng(0), np.arange(COUNT) // 5
    ill, season, trend = group % 3 == 0, group // 3 % 3, group % 2
    labels = np.stack([ill, season, np.arange(COUNT) % 5 == 4, trend], 1).astype(np.int64)
    x = rng.normal(0, 1, (COUNT, STEPS, *SERIES.shape)).astype(np.float32)
    wanted = rng.uniform(0, 8, (COUNT, STEPS, 1)).astype(np.float32)
    x[:, :, 0, 0], x[:, :, 0, 1] = 6.0 * ill[:, None] - 3, 3.0 * season[:, None] - 3
    x[:, :, 1, 0] = wanted[..., 0]
    valid = np.arange(COUNT) % 3 + 3
    if lengths:
        x[np.arange(STEPS) >= valid[:, None]] = 1e6
    factors = FACTORS if labelled else ()
    with SequenceWriter(path, SequenceMeta(SERIES, name, factors), compression="none") as writer:
        writer.write(x, labels=labels if labelled else None, **({"targets": wanted} if targets else {}))
        if lengths:
            writer.put("lengths", valid)
        parts = fifths(COUNT)
        writer.splits({part: parts[part] for part in splits})
    return path


def spectra(path: Path, *, name: str = "voices", recordings: int = 2) -> Path:
    """Write two pieces each of recordings of six speakers, two a split; a speaker has a bin of their own."""
    rng = np.random.default_rng(1)
    labels = np.array([(s, recordings * s + r) for s in range(6) for r in range(recordings) for _ in range(2)])
    x = rng.normal(0, 0.1, (len(labels), 4, 6)).astype(np.float32)
    x[np.arange(len(labels)), :, labels[:, 0]] += 5
    factors = (
        Factor("speaker", "static", tuple("abcdef")),
        Factor("recording", "static", tuple(map(str, range(6 * recordings)))),
    )
    with SequenceWriter(path, SequenceMeta(SPECTRUM, name, factors, rate=50.0), compression="none") as writer:
        writer.write(x, labels=labels)
        parts = dict(zip(("train", "val", "test"), np.split(np.arange(len(labels)), 3), strict=True))
        writer.splits(parts)
    return path


def images(path: Path, *, name: str = "squares", count: int = 60) -> Path:
    """Write squares of one of three colours that go to the left or to the right."""
    group = np.arange(count) // 5
    colour, direction = group % 3, group // 3 % 2
    x = np.zeros((count, 4, *IMAGE.shape), np.uint8)
    for i, (c, d) in enumerate(zip(colour, direction, strict=True)):
        for t in range(4):
            left = 3 * (t if d else 3 - t)
            x[i, t, c, 5 : 9 + i % 3, left : left + 5] = 200 + i % 5
    factors = (
        Factor("colour", "static", ("red", "green", "blue")),
        Factor("motion", "dynamic", ("left", "right")),
    )
    with SequenceWriter(path, SequenceMeta(IMAGE, name, factors), compression="none") as writer:
        writer.write(x, labels=np.stack([colour, direction], 1))
        writer.splits(fifths(count))
    return path


class Told:
    """A backend of the series above whose codes hold the labels and the targets."""

    name, device = "told", "cpu"
    ports = PORTS
    static_row, dynamic_row = 0, 1

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if graph == "encoder":
            return {"features": inputs["x"]}
        if graph == "static":
            mean = 2 * inputs["features"][:, 0, self.static_row]
            return {"static_mean": mean, "static_std": np.full_like(mean, 0.1), "context": mean}
        mean = inputs["features"][:, :, self.dynamic_row]
        return {"dynamic_mean": mean, "dynamic_std": np.full_like(mean, 0.1)}


class Deaf(Told):
    """A backend whose codes are what says nothing."""

    static_row, dynamic_row = 2, 3


def verbs(backend: Told) -> Verbs:
    return Verbs(backend, SERIES, Widths(2, 2))


@dataclass(frozen=True)
class HastyPredictor(predictors.BinaryPredictor):
    fixed_epochs: int = 2
    epochs: int = 3


@dataclass(frozen=True)
class HastyClassifier(predictors.StaticClassifier):
    passes: int = 3


@dataclass(frozen=True)
class HastyRegressor(predictors.WindowRegressor):
    epochs: int = 2


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Let heads, baselines and maps take a moment, where a test is not about what they find."""
    from sklearn import ensemble, neural_network

    patch.setattr("sdkit.evaluation.downstream.tasks.BinaryPredictor", HastyPredictor)
    patch.setattr("sdkit.evaluation.downstream.tasks.StaticClassifier", HastyClassifier)
    patch.setattr("sdkit.evaluation.downstream.tasks.WindowRegressor", HastyRegressor)
    forest, fit = ensemble.RandomForestClassifier, predictors.fit_sequence_classifier
    reader = neural_network.MLPClassifier
    patch.setattr(predictors, "BinaryPredictor", lambda **_: HastyPredictor())
    patch.setattr(predictors, "fit_sequence_classifier", lambda *s, **options: fit(*s, **{**options, "epochs": 2}))
    patch.setattr(ensemble, "RandomForestClassifier", lambda trees, **options: forest(5, **options))
    patch.setattr(neural_network, "MLPClassifier", lambda *s, **options: reader(*s, **{**options, "max_iter": 20}))
    patch.setattr(embedding, "tsne", lambda points, seed=0: np.asarray(points[:, :2], np.float64))
    patch.setattr("sdkit.figures.style.DPI", 50)
    for name in ("draw_swaps", "draw_curves"):
        patch.setattr(f"sdkit.training.loop.{name}", lambda *_: None)


def without(found: Any, *names: str) -> Any:
    """Return nested dictionaries and lists without some keys, floats rounded to three decimals."""
    if isinstance(found, dict):
        return {key: without(value, *names) for key, value in found.items() if key not in names}
    if isinstance(found, list):
        return [without(value, *names) for value in found]
    return round(found, 3) if isinstance(found, float) else found
