"""Metric parity: whether an evaluation gives the same figures for lower-precision graphs as for the float32 model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sdkit.evaluation.base import JUDGES
from sdkit.evaluation.data import Parts, parts_of
from sdkit.evaluation.downstream.tasks import tasks_of
from sdkit.evaluation.judge import generation
from sdkit.evaluation.judge.scores import unjudged
from sdkit.evaluation.judge.training import find_judge
from sdkit.export.proof.parity import Metric
from sdkit.runtime.errors import ConfigError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.run import find_run


def metrics_of(
    run: str | Path | None = None,
    data: str | Path | None = None,
    *,
    judges: Path = JUDGES,
    repeats: int = 1,
    seed: int = 0,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> Callable[[Verbs, Verbs], dict[str, Metric]]:
    """Return the argument `metrics` of `export_bundle`, after checking that a run's data have labels for an evaluation.

    Args:
        run: run whose training data are taken; the newest when None.
        data: another labelled file with a test split; the run's training data when None.
        judges: folder of judges; one is trained where none fits.
        repeats: number of draws of the sampled codes.
        seed: seed of draws and heads.
        device: device on which the judge runs.
        reporter: receives the progress.

    Raises:
        MissingFileError: no run, or data that are missing.
        ConfigError: data without labels or targets that an evaluation could use.
    """
    config = find_run(run).config
    path = Path(data) if data is not None else Path(config.data.path)
    if not path.is_file():
        raise MissingFileError(
            f"metrics need labelled sequences, but {path} does not exist; put it back, or leave out --metrics"
        )
    file = SequenceFile(path)
    parts = parts_of(file, val_fraction=config.train.val_fraction, seed=config.train.seed)
    if not _judged(file) and not tasks_of(file, parts)[0]:
        raise ConfigError(f"{path} has no labels or targets that an evaluation could compare; leave out --metrics")
    figures = partial(
        _figures,
        file=file,
        parts=parts,
        repeats=repeats,
        seed=seed,
        judges=judges,
        device=device,
        reporter=reporter or Quiet(),
    )

    def compare(candidate: Verbs, reference: Verbs) -> dict[str, Metric]:
        file.require(reference.element)
        found, wanted = figures(candidate), figures(reference)
        return {name: Metric(value, wanted[name]) for name, value in found.items() if name in wanted}

    return compare


def _judged(file: SequenceFile) -> bool:
    return bool(file.factors) and file.element.traits.pictorial


def _figures(
    verbs: Verbs,
    *,
    file: SequenceFile,
    parts: Parts,
    repeats: int,
    seed: int,
    judges: Path,
    device: str,
    reporter: Reporter,
) -> dict[str, float]:
    """Return the figures of the test split: accuracies of the judge on kept factors, and those of every task."""
    found: dict[str, float] = {}
    if _judged(file):
        judge = find_judge(file, folder=judges, device=device, reporter=reporter)
        missing = unjudged(verbs, file)
        draws: dict[str, Any] = {"repeats": repeats, "seed": seed, "reporter": reporter}
        resampled = {"dynamic_kept": generation.dynamic_kept, "static_kept": generation.static_kept}
        for scores in (
            generation.reconstruction(verbs, judge, file, reporter=reporter),
            *(make(verbs, judge, file, **draws) for name, make in resampled.items() if name not in missing),
        ):
            kept = {name: factor for name, factor in scores.factors.items() if factor.kept}
            title = scores.protocol.replace("_", " ")
            found |= {f"judge accuracy of {name}, {title}": factor.accuracy.mean for name, factor in kept.items()}
    for task in tasks_of(file, parts)[0]:
        figures = task.run(verbs, file, parts, seed=seed, device=device, reporter=reporter).figures
        found |= {f"{task.metrics.get(name, name)} of {task.name}": value for name, value in figures.items()}
    return found
