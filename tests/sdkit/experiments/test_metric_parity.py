"""Figures of graphs and model side by side: of judges for images, of tasks for series; and data without labels."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from sdkit.evaluation.downstream import tasks
from sdkit.evaluation.downstream.predictors import BinaryPredictor
from sdkit.experiments import metric_parity
from sdkit.experiments.metric_parity import metrics_of
from sdkit.export.proof.parity import Metric
from sdkit.methods.graphs import verbs as model_verbs
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, DataError, MissingFileError
from sdkit.runtime.storage.sequences import Factor, SequenceFile
from sdkit.training.run import Run
from tests.export.runs import lively_model, write_run
from tests.sdkit.evaluation import labelled
from tests.sdkit.evaluation.labelled import Deaf, HastyClassifier, HastyRegressor, Told, verbs
from tests.sdkit.evaluation.other_methods import OneCode, model_of
from tests.tiny import IMAGE

KEPT = {
    f"judge {score} of {figure}"
    for score in ("accuracy", "agreement")
    for figure in (
        "colour, reconstruction", "motion, reconstruction", "motion, dynamic kept", "colour, static kept",
    )
}  # fmt: skip
SWAPPED = {
    "swap accuracy of colour", "swap accuracy of motion", "cross-leakage of colour", "cross-leakage of motion",
    "swap accuracy, all static factors at once", "swap accuracy, all dynamic factors at once",
    "swap accuracy, all at once", "Frechet distance, swap", "static code of shuffled steps",
}  # fmt: skip
DISTANCES = {"Frechet distance, reconstruction", "Frechet distance, generation"}


@dataclass(frozen=True)
class QuickPredictor(BinaryPredictor):
    """A predictor with time enough for codes that tell the answer plainly."""

    fixed_epochs: int = 10
    epochs: int = 10


class Brightness:
    """A judge that goes by the mean of a sequence: whatever it says depends on every pixel."""

    def __init__(self, factors: tuple[Factor, ...]) -> None:
        self.factors = factors

    def probabilities(self, x: Array) -> dict[str, Array]:
        level = x.mean((1, 2, 3, 4)) * 1e3
        return {
            f.name: np.eye(len(f.values), dtype=np.float32)[level.astype(int) % len(f.values)] for f in self.factors
        }

    def features(self, x: Array) -> Array:
        return np.asarray(x.mean((1, 3, 4)), np.float32)


def run_on(folder: Path, data: Path) -> Run:
    """Return a run that was trained on a file, to go by its config."""
    run = write_run(folder / "run", lively_model())
    config = msgspec.structs.replace(run.config, data=msgspec.structs.replace(run.config.data, path=str(data)))
    (run.path / "config.json").write_bytes(msgspec.json.encode(config))
    return run


def test_judges_compare_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SequenceFile(labelled.images(tmp_path / "squares.h5"))
    devices: list[str] = []

    def find(*_: object, device: str, **__: object) -> Brightness:
        devices.append(device)
        return Brightness(file.factors)

    monkeypatch.setattr(metric_parity, "find_judge", find)
    compare = metrics_of(run_on(tmp_path, file.path).path, device="cuda:1")
    model, other = model_verbs(lively_model()), model_verbs(lively_model(seed=1))
    same = compare(model, model)
    assert set(same) == KEPT | SWAPPED | DISTANCES
    assert all(metric.value == metric.reference for metric in same.values())
    changed = compare(other, model)
    assert {name: metric.reference for name, metric in changed.items()} == {n: m.value for n, m in same.items()}
    assert any(metric.value != metric.reference for metric in changed.values())
    assert set(devices) == {"cuda:1"}


def test_only_what_a_method_can_do_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = SequenceFile(labelled.images(tmp_path / "squares.h5"))
    monkeypatch.setattr(metric_parity, "find_judge", lambda *_, **__: Brightness(file.factors))
    compare = metrics_of(run_on(tmp_path, file.path).path)
    model = model_verbs(model_of(OneCode, IMAGE))
    lost = {f"judge {score} of motion, dynamic kept" for score in ("accuracy", "agreement")}
    assert set(compare(model, model)) == (KEPT - lost) | DISTANCES


def test_tasks_compare_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only the predictor must have learnt what the codes tell.
    monkeypatch.setattr(tasks, "BinaryPredictor", QuickPredictor)
    monkeypatch.setattr(tasks, "StaticClassifier", HastyClassifier)
    monkeypatch.setattr(tasks, "WindowRegressor", HastyRegressor)
    data = labelled.series(tmp_path / "waves.h5")
    compare = metrics_of(run_on(tmp_path, tmp_path / "gone.h5").path, data)
    found = compare(verbs(Deaf()), verbs(Told()))
    auroc = next(metric for name, metric in found.items() if "AUROC" in name and name.endswith("of ill"))
    assert isinstance(auroc, Metric)
    assert auroc.reference > 0.95 > auroc.value
    assert any(name.endswith("of targets") for name in found)
    assert found["static code of shuffled steps"].value > 0.5  # both read the first window alone


def test_data_that_say_nothing_are_refused_before_the_work(tmp_path: Path) -> None:
    run = run_on(tmp_path, tmp_path / "gone.h5")
    with pytest.raises(MissingFileError, match=r"gone\.h5 does not exist; put it back, or leave out --metrics"):
        metrics_of(run.path)
    plain = labelled.series(tmp_path / "plain.h5", labelled=False, targets=False)
    with pytest.raises(ConfigError, match=r"plain\.h5 has no labels or targets .*; leave out --metrics"):
        metrics_of(run.path, plain)
    compare = metrics_of(run.path, labelled.series(tmp_path / "waves.h5"))
    with pytest.raises(DataError):
        compare(model_verbs(lively_model()), model_verbs(lively_model()))
