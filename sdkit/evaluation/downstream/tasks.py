"""Downstream tasks: what is predicted from codes, how, and how well it is predicted without a model.

A task converts the codes of a file to named figures, the same for a trained model, an untrained one and samples of the
codes, so that rows of a table compare. Baselines read the data themselves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np

from sdkit.evaluation.base import BOTH_CODES, Case, EvaluationProtocol, Line, Needs, number, refusal
from sdkit.evaluation.codes.encoded import Coded, code, raw
from sdkit.evaluation.codes.linear import class_probabilities, logistic_regression
from sdkit.evaluation.codes.probes import UNSEEN, pool, unusable
from sdkit.evaluation.data import Parts, label_column
from sdkit.evaluation.downstream import baselines
from sdkit.evaluation.downstream.bootstrap import Interval, auprc, auroc, average
from sdkit.evaluation.downstream.predictors import BinaryPredictor, StaticClassifier, WindowRegressor
from sdkit.evaluation.downstream.results import BinaryScores, ClassResult, RegressionResult
from sdkit.evaluation.downstream.speaker_verification import (
    Verification,
    by_recording,
    mean_spectra,
    rate_intervals,
    same_speaker,
    trials,
    verify,
)
from sdkit.evaluation.downstream.splits import Ints, Split, Standardiser
from sdkit.evaluation.plain import plain
from sdkit.evaluation.stage import stage
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.errors import DataError
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs

Figures = dict[str, float]
Baselines = dict[str, Figures]
"""Figures by row."""
Kind = Literal["detect", "classify", "regress", "verify"]

OF_STATIC: tuple[Kind, ...] = ("classify", "verify")
"""Kinds of tasks that read the static code alone."""
WIDE = 32
"""Hidden width of a second head, which shows the cost of the protocol's narrow one."""
POOLED = "it has no static code: the mean over time of the dynamic codes is read in its place"


@dataclass(frozen=True)
class Result:
    """Figures of one model with one seed, and intervals of the main ones over the test split."""

    figures: Figures
    intervals: Mapping[str, Interval]
    details: Mapping[str, Any] = field(default_factory=dict)
    """Results that are no figures, such as the trials of a verification."""
    notes: tuple[str, ...] = ()
    """Remarks on figures whose meaning differs from that for other models."""


class TableTask(Protocol):
    """A task that a table of models can be made of."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def metrics(self) -> Mapping[str, str]:
        """Titles of the figures by name, the main ones first."""

    def unmet(self, abilities: Abilities, steps: int) -> str:
        """Return why a model has no figures on sequences of this many steps; an empty text where it has."""

    def run(
        self, verbs: Verbs, file: SequenceFile, parts: Parts, *, seed: int = 0, device: str = "auto", reporter: Reporter
    ) -> Result:
        """Return the figures of a model; `device` is that of a judge, if the task has one."""

    def baselines(
        self,
        file: SequenceFile,
        parts: Parts,
        *,
        seed: int = 0,
        device: str = "auto",
        reporter: Reporter | None = None,
    ) -> Baselines:
        """Return the figures reached without a model."""


@dataclass(frozen=True)
class Task:
    """A factor or target to be predicted from codes.

    Args:
        name: name of the task, such as `icu_type`.
        kind: `detect` a rare event from all codes, `classify` from the static code, `regress` a target for each window
            from its codes, `verify` the speaker.
        factor: factor to predict; the targets for `regress`.
        hidden: width of the classifier's hidden layer.
        cluster: factor whose sequences are near-copies of each other, such as those of stations in one month; they are
            drawn together for the intervals. Every sequence is drawn by itself when empty.
    """

    name: str
    kind: Kind
    factor: str = ""
    hidden: int = 4
    cluster: str = ""

    @property
    def metrics(self) -> Mapping[str, str]:
        """Titles of the figures by name, the main ones first."""
        return METRICS[self.kind]

    @property
    def verbs(self) -> tuple[str, ...]:
        """Verbs that a model needs for the task to be meaningful."""
        return ("encode", BOTH_CODES) if self.kind in OF_STATIC else ("encode",)

    def unmet(self, abilities: Abilities, steps: int) -> str:
        """Return why a model has no figures; a class is also read from dynamic codes alone (`run`)."""
        return refusal(abilities, ("encode",) if self.kind == "classify" else self.verbs, steps)

    def run(
        self, verbs: Verbs, file: SequenceFile, parts: Parts, *, seed: int = 0, device: str = "auto", reporter: Reporter
    ) -> Result:
        """Encode the file, train heads on the training codes and return their figures on the test codes.

        Heads run on the CPU whatever the device. A class is read from the mean over time of the dynamic codes where the
        model has no static code.

        Raises:
            CapabilityError: the model cannot encode.
            ConfigError: no such factor.
            DataError: labels or targets from which nothing can be learned, or elements that are not the model's.
        """
        means = code(verbs, file, parts, reporter=reporter)
        sampled = code(verbs, file, parts, noise=seed, reporter=reporter)
        if self.kind == "classify" and refusal(verbs.abilities, self.verbs, file.steps):
            found = RUNNERS[self.kind](self, _pooled(means), _pooled(sampled), seed)
            return replace(found, notes=(POOLED,))
        return RUNNERS[self.kind](self, means, sampled, seed)

    def baselines(
        self,
        file: SequenceFile,
        parts: Parts,
        *,
        seed: int = 0,
        device: str = "auto",
        reporter: Reporter | None = None,
    ) -> Baselines:
        """Return the figures reached without a model; rows that do not depend on a seed have equal figures for all."""
        with stage(reporter, f"baselines of {self.name}", 1) as shown:
            found = BASELINES[self.kind](self, file, parts, seed)
            shown.advance()
        return found


METRICS: dict[Kind, dict[str, str]] = {
    "detect": {
        "auprc": "AUPRC",
        "auroc": "AUROC",
        "auprc_selected": "AUPRC, epoch chosen on validation",
        "auroc_selected": "AUROC, epoch chosen on validation",
        "auprc_sampled": "AUPRC, sampled codes",
        "auroc_sampled": "AUROC, sampled codes",
    },
    "classify": {
        "accuracy": "accuracy from s",
        "accuracy_sampled": "accuracy from sampled s",
        "accuracy_plain": "accuracy from s, not standardised",
        "accuracy_wide": f"accuracy from s, {WIDE} hidden",
        "accuracy_logistic": "accuracy from s, logistic regression",
        "accuracy_dynamic": "accuracy from mean of d, logistic regression",
    },
    "regress": {
        "mae": "MAE",
        "mae_sampled": "MAE, sampled codes",
        "mae_standard": "MAE, codes and targets standardised",
        "mae_shuffled": "MAE, training pairs shuffled (paper-compatible)",
    },
    "verify": {
        "static_eer": "EER of s",
        "dynamic_eer": "EER of d",
        "gap": "gap",
        "centred_static_eer": "EER of s, centred",
        "centred_dynamic_eer": "EER of d, centred",
        "centred_gap": "gap, centred",
    },
}


def tasks_of(file: SequenceFile, parts: Parts) -> tuple[list[Task], dict[str, str]]:
    """Return the tasks that a file's labels and targets allow, and why others are left out, by factor or `targets`.

    Static factors of series are detected (two values) or classified, speakers of spectra verified where `recording`
    keeps their recordings apart, targets of series and spectra predicted. Other factors are left to judges and probes.
    """
    tasks, skipped = [], {}
    traits, names = file.element.traits, {factor.name for factor in file.factors}
    for factor in file.factors if traits.windowed else ():
        if factor.kind != "static":
            continue
        task = Task(factor.name, "classify", factor.name, max(4, len(factor.values)))
        if len(factor.values) == 2:
            task = Task(factor.name, "detect", factor.name)
        labels = label_column(file, factor.name)
        reason = unusable(labels[parts.train], labels[parts.test])
        if not reason and task.kind == "detect":
            reason = _one_sided(labels, parts)
        if reason:
            skipped[factor.name] = reason
        else:
            tasks.append(task)
    if "targets" in file.names and traits.pictorial:
        skipped["targets"] = "targets are predicted of series and spectra"
    elif "targets" in file.names:
        tasks.append(Task("targets", "regress"))
    if not (traits.windowed or traits.pictorial) and {"speaker", "recording"} <= names:
        reason = _unverifiable(file, parts)
        if reason:
            skipped["speaker"] = reason
        else:
            tasks.append(Task("speaker", "verify", "speaker"))
    return tasks, skipped


class TasksProtocol(EvaluationProtocol):
    """The tasks that a file allows, each with its baselines."""

    name = section = "tasks"
    needs = Needs(verbs=("encode",))

    def run(self, case: Case) -> dict[str, Any]:
        """Run every task that the file and the model allow."""
        tasks, reasons = tasks_of(case.file, case.parts)
        case.skipped |= {f"task {name}": reason for name, reason in reasons.items()}
        found = {}
        for task in tasks:
            if reason := task.unmet(case.verbs.abilities, case.file.steps):
                case.skipped[f"task {task.name}"] = reason
                continue
            options: dict[str, Any] = {"seed": case.seed, "device": case.device, "reporter": case.reporter}
            result = task.run(case.verbs, case.file, case.parts, **options)
            found[task.name] = {
                "kind": task.kind,
                "figures": plain(result.figures),
                "intervals": plain(result.intervals),
                **plain(result.details),
                "notes": list(result.notes),
                "baselines": case.once_for_data(f"baselines of {task.name}", partial(_baselines, task, case, options)),
            }
            if task.kind == "verify" and case.skipped.get(probed := f"probe of {task.factor}") == UNSEEN:
                case.skipped[probed] = f"{UNSEEN}; verified in pairs instead, as task {task.name}"
        return found

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield every figure, with the simplest and the best baseline."""
        for name, task in found.items():
            for figure, title in METRICS[task["kind"]].items():
                interval = task["intervals"].get(figure)
                value = number(task["figures"][figure])
                if interval:
                    value += f" ({number(interval['low'])} to {number(interval['high'])})"
                yield Line(f"task {name}", title, value, _beside(task["baselines"], figure))
            for note in task.get("notes", ()):
                yield Line(f"task {name}", "note", note)
            if "trials" in task:
                pairs, digest = task["trials"], task["trials"]["sha256"]
                count = f"{pairs['same']} pairs of one speaker, {pairs['different']} of two"
                yield Line(f"task {name}", "trials", count, f"{pairs['rule']}; SHA-256 {digest[:16]}")


def _baselines(task: Task, case: Case, options: dict[str, Any]) -> Any:
    return plain(task.baselines(case.file, case.parts, **options))


def _beside(rows: dict[str, dict[str, float | None]], figure: str) -> str:
    """Return the first baseline, which uses nothing of a sequence, and the best of the others."""
    values = {row: value for row, figures in rows.items() if (value := figures.get(figure)) is not None}
    if not values:
        return ""
    (name, value), *others = values.items()
    text = f"{name} {value:.3f}"
    if others:
        best = (min if figure.startswith("mae") else max)(others, key=lambda item: item[1])
        text += f"; {best[0]} {best[1]:.3f}"
    return text


def _one_sided(labels: Ints, parts: Parts) -> str:
    for name, index in (("validation", parts.val), ("test", parts.test)):
        if len(np.unique(labels[index])) < 2:
            return f"the {name} split has one value only"
    return ""


def _unverifiable(file: SequenceFile, parts: Parts) -> str:
    recordings, speakers = (label_column(file, name)[parts.test] for name in ("recording", "speaker"))
    try:
        same_speaker(speakers[np.unique(recordings, return_index=True)[1]])
    except DataError as error:
        return str(error)
    return ""


def _detect(task: Task, means: Coded, sampled: Coded, seed: int) -> Result:
    read = BinaryPredictor().run(*means.asking(task.factor), seed=seed)
    # For samples only the protocol's epoch is reported, so no later one is needed.
    short = BinaryPredictor(epochs=BinaryPredictor.fixed_epochs)
    drawn = short.run(*sampled.asking(task.factor), seed=seed).fixed
    labels = means.labels(task.factor)[2]
    figures = {
        **_areas(read.fixed),
        **{f"{name}_selected": value for name, value in _areas(read.selected).items()},
        **{f"{name}_sampled": value for name, value in _areas(drawn).items()},
    }
    scores, clusters = read.fixed.probabilities, _clusters(task, means)
    areas = {"auprc": auprc, "auroc": auroc}
    return Result(figures, {name: area(labels, scores, clusters=clusters) for name, area in areas.items()})


def _classify(task: Task, means: Coded, sampled: Coded, seed: int) -> Result:
    classes = _classes(means.file, task.factor)
    asked, drawn = means.asking(task.factor), sampled.asking(task.factor)
    # Standardised codes put trained and untrained encoders on one scale, and give the narrow head a better start.
    head = StaticClassifier(classes, task.hidden, standardise=True)
    read = head.run(*asked, seed=seed)
    figures = {
        "accuracy": read.accuracy,
        "accuracy_sampled": head.run(*drawn, seed=seed).accuracy,
        "accuracy_plain": replace(head, standardise=False).run(*asked, seed=seed).accuracy,
        "accuracy_wide": replace(head, hidden=WIDE).run(*asked, seed=seed).accuracy,
        "accuracy_logistic": head.logistic(*asked).accuracy,
        "accuracy_dynamic": _from_dynamic(asked, classes),
    }
    return Result(figures, {"accuracy": _interval(read, means.labels(task.factor)[2], _clusters(task, means))})


def _pooled(coded: Coded) -> Coded:
    """Return codes with the mean over time of the dynamic ones as the static code."""
    train, val, test = (replace(split, static=pool(split, "mean")) for split in coded.splits)
    return replace(coded, splits=(train, val, test))


def _from_dynamic(asked: tuple[Split, Split, Split], classes: int) -> float:
    train, _, test = asked
    x, x_test = pool(train, "mean"), pool(test, "mean")
    scale = Standardiser.fit(x)
    model = logistic_regression(scale(x), train.asked(classes), c=1.0)
    told = class_probabilities(model, scale(x_test), classes).argmax(1)
    return float(np.mean(told == test.asked(classes)))


def _regress(task: Task, means: Coded, sampled: Coded, seed: int) -> Result:
    asked = means.with_targets()
    read = WindowRegressor().run(*asked, seed=seed)
    figures = {
        "mae": read.mae,
        "mae_sampled": WindowRegressor().run(*sampled.with_targets(), seed=seed).mae,
        "mae_standard": WindowRegressor(standardise=True, scale_targets=True).run(*asked, seed=seed).mae,
        "mae_shuffled": WindowRegressor(shuffled_pairs=True).run(*asked, seed=seed).mae,
    }
    targets = asked[2].targets
    assert targets is not None
    return Result(figures, {"mae": average(np.abs(read.predictions - targets), clusters=_clusters(task, means))})


def _verify(task: Task, means: Coded, sampled: Coded, seed: int) -> Result:
    recordings = label_column(means.file, "recording")
    speakers = means.labels(task.factor)
    found = [
        by_recording(s.static, s.dynamic, recordings[index], who, s.lengths)
        for s, index, who in zip(means.splits, means.parts, speakers, strict=True)
    ]
    test, train = found[2], found[0]
    return Result(_rates(verify(test, train)), rate_intervals(test, train), {"trials": trials(test)})


def _detect_baselines(task: Task, file: SequenceFile, parts: Parts, seed: int) -> Baselines:
    data = raw(file, parts, task.factor)
    labels = label_column(file, task.factor)[parts.test]
    return {
        "constant": {"auprc": baselines.prevalence(labels), "auroc": 0.5},
        "raw summaries, logistic regression": _areas(baselines.detect(*data)),
        "raw summaries, random forest": _areas(baselines.detect(*data, reader="forest", seed=seed)),
        "raw first window, logistic regression": _areas(baselines.detect(*data, first=True)),
        "raw steps, LSTM": _areas(baselines.lstm_detect(*data, seed=seed)),
    }


def _classify_baselines(task: Task, file: SequenceFile, parts: Parts, seed: int) -> Baselines:
    data, classes = raw(file, parts, task.factor), _classes(file, task.factor)
    labels = label_column(file, task.factor)
    forest = baselines.classify(*data, classes=classes, reader="forest", seed=seed)
    first = baselines.classify(*data, classes=classes, first=True)
    return {
        "majority": {"accuracy": baselines.majority(labels[parts.train], labels[parts.test])},
        "raw summaries, logistic regression": {"accuracy": baselines.classify(*data, classes=classes).accuracy},
        "raw summaries, random forest": {"accuracy": forest.accuracy},
        "raw first window, logistic regression": {"accuracy": first.accuracy},
        "raw steps, LSTM": {"accuracy": baselines.lstm_classify(*data, classes=classes, seed=seed).accuracy},
    }


def _regress_baselines(task: Task, file: SequenceFile, parts: Parts, seed: int) -> Baselines:
    data = raw(file, parts)
    rows: dict[str, RegressionResult] = {
        "constant (training median)": baselines.constant(*data),
        "raw window means, ridge": baselines.regress(*data),
    }
    return {name: {"mae": result.mae} for name, result in rows.items()}


def _verify_baselines(task: Task, file: SequenceFile, parts: Parts, seed: int) -> Baselines:
    recordings, speakers = label_column(file, "recording"), label_column(file, task.factor)
    lengths = file.lengths()
    x = {part: file.read(index) for part, index in (("train", parts.train), ("test", parts.test))}
    scale = Standardiser.fit(x["train"])
    found = {
        part: mean_spectra(
            scale(values), recordings[index], speakers[index], None if lengths is None else lengths[index]
        )
        for (part, values), index in zip(x.items(), (parts.train, parts.test), strict=True)
    }
    return {"mean spectrum of the recording": _rates(verify(found["test"], found["train"]))}


def _areas(scores: BinaryScores) -> Figures:
    return {"auprc": scores.auprc, "auroc": scores.auroc}


def _rates(row: Verification) -> Figures:
    return {name: float(getattr(row, name)) for name in METRICS["verify"]}


def _interval(read: ClassResult, labels: Ints, clusters: Ints | None) -> Interval:
    return average((read.probabilities.argmax(1) == labels).astype(np.float64), clusters=clusters)


def _clusters(task: Task, coded: Coded) -> Ints | None:
    """Return the cluster (N,) of each test sequence; None where sequences are drawn by themselves."""
    return coded.labels(task.cluster)[2] if task.cluster else None


def _classes(file: SequenceFile, factor: str) -> int:
    return next(len(f.values) for f in file.factors if f.name == factor)


RUNNERS: dict[Kind, Callable[[Task, Coded, Coded, int], Result]] = {
    "detect": _detect,
    "classify": _classify,
    "regress": _regress,
    "verify": _verify,
}
BASELINES: dict[Kind, Callable[[Task, SequenceFile, Parts, int], Baselines]] = {
    "detect": _detect_baselines,
    "classify": _classify_baselines,
    "regress": _regress_baselines,
    "verify": _verify_baselines,
}
