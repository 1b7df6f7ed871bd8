"""Metric parity: whether an evaluation gives the same figures for lower-precision graphs as for the float32 model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sdkit.evaluation.base import BOTH_CODES, JUDGES, refusal
from sdkit.evaluation.codes.consistency import order_sensitivity
from sdkit.evaluation.data import Parts, parts_of
from sdkit.evaluation.downstream.tasks import tasks_of
from sdkit.evaluation.judge import frechet, generation
from sdkit.evaluation.judge.classifier import Judge
from sdkit.evaluation.judge.frechet import frechet_scores
from sdkit.evaluation.judge.scores import TOGETHER, unjudged
from sdkit.evaluation.judge.swapping import swap_scores
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
    """Return the figures of the test split: of the judge, of the order of steps, and of every task."""
    found: dict[str, float] = {}
    if _judged(file):
        judge = find_judge(file, folder=judges, device=device, reporter=reporter)
        found |= _kept(verbs, judge, file, repeats, seed, reporter)
        found |= _swapped(verbs, judge, file, seed, reporter)
        distances = frechet_scores(verbs, judge, file, parts.train, seed=seed, reporter=reporter)
        found |= _numbers({f"Frechet distance, {name}": getattr(distances, name) for name in frechet.NEEDED})
    if not refusal(verbs.abilities, ("encode", BOTH_CODES), file.steps):
        order = order_sensitivity(verbs, file, seed=seed, reporter=reporter)
        found |= _numbers({"static code of shuffled steps": order.shuffled})
    for task in tasks_of(file, parts)[0]:
        figures = task.run(verbs, file, parts, seed=seed, device=device, reporter=reporter).figures
        found |= {f"{task.metrics.get(name, name)} of {task.name}": value for name, value in figures.items()}
    return found


def _kept(
    verbs: Verbs, judge: Judge, file: SequenceFile, repeats: int, seed: int, reporter: Reporter
) -> dict[str, float]:
    """Return the judge's accuracy and agreement on factors whose code is kept."""
    missing, found = unjudged(verbs, file), {}
    draws: dict[str, Any] = {"repeats": repeats, "seed": seed, "reporter": reporter}
    resampled = {"dynamic_kept": generation.dynamic_kept, "static_kept": generation.static_kept}
    for scores in (
        generation.reconstruction(verbs, judge, file, reporter=reporter),
        *(make(verbs, judge, file, **draws) for name, make in resampled.items() if name not in missing),
    ):
        title = scores.protocol.replace("_", " ")
        for name, factor in scores.factors.items():
            if factor.kept:
                found[f"judge accuracy of {name}, {title}"] = factor.accuracy.mean
                found[f"judge agreement of {name}, {title}"] = factor.agreement.mean
    return found


def _swapped(verbs: Verbs, judge: Judge, file: SequenceFile, seed: int, reporter: Reporter) -> dict[str, float]:
    """Return the judge's scores of swaps, by factor and of all at once."""
    if "swaps" in unjudged(verbs, file):
        return {}
    swaps = swap_scores(verbs, judge, file, seed=seed, reporter=reporter)
    found: dict[str, float | None] = {f"swap accuracy, {TOGETHER[n]}": one.accuracy for n, one in swaps.joint.items()}
    for name, factor in swaps.factors.items():
        found |= {f"swap accuracy of {name}": factor.accuracy, f"cross-leakage of {name}": factor.leaked}
    return _numbers(found)


def _numbers(figures: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}
