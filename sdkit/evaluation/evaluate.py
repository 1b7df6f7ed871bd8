"""`evaluate`: everything that a data set's labels allow, on a trained run or on an exported bundle.

What runs on codes and decoded sequences alone runs on either, through the same verbs, so that figures of a model and of
its graphs can be compared (metric parity).
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdkit.evaluation.codes import consistency
from sdkit.evaluation.codes.dci import dci
from sdkit.evaluation.codes.encoded import Parts, check_element, code, label_table, parts_of
from sdkit.evaluation.codes.leakage import leakage
from sdkit.evaluation.codes.probes import unusable
from sdkit.evaluation.downstream.tasks import tasks_of
from sdkit.evaluation.judge import generation
from sdkit.evaluation.judge.classifier import find_judge
from sdkit.evaluation.judge.scores import judged
from sdkit.evaluation.likelihood import likelihood
from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.errors import ConfigError, MissingFileError
from sdkit.runtime.locate import BUNDLE_FILE, RUN_FILE, RUNS, find_run_folder
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import check_output, replacing
from sdkit.runtime.storage.sequences import Factor, SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.runtime.version import __version__

if TYPE_CHECKING:
    from sdkit.methods.dbse.model import SplitModel

LARGE = 4096
"""Arrays of more values than this are left out of evaluation.json: they are predictions, not results."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated."""

    path: Path
    verbs: Verbs
    model: "SplitModel | None"
    """The training model; None for a bundle."""
    backend: str
    """`torch`, `onnx` or `torchscript`."""
    weights: str
    """SHA-256 of the weights."""
    val_fraction: float
    seed: int
    """Of the training: it decides which sequences were held out where the file has no validation split."""
    data: str
    """Path of the training data, where known."""

    @property
    def output(self) -> Path:
        """Folder that results go to unless another is given."""
        run = self.path if self.model is not None else self.path.resolve().parent
        return run / ("evaluation" if self.model is not None else f"evaluation-{self.backend}")


def evaluate(
    source: str | Path | None = None,
    *,
    data: str | Path | None = None,
    output: str | Path | None = None,
    backend: GraphFormat = "onnx",
    device: str = "auto",
    repeats: int = generation.REPEATS,
    seed: int = 0,
    figures: bool = True,
    force: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Evaluate a run or a bundle, write evaluation.json and figures, and return what evaluation.json holds.

    Args:
        source: a run (its best weights in PyTorch) or a bundle (its graphs); the newest run when None.
        data: a sequence file with a test split; the run's training data when None.
        output: folder for the results; `evaluation` in the run's folder when None.
        backend: of a bundle: `onnx` or `torchscript`.
        device: that a bundle's graphs and the judge run on.
        repeats: draws of codes that are sampled from the prior.
        seed: of heads, draws and pairs.
        figures: draw pictures as well.
        force: replace earlier results.
        reporter: is told how it goes.

    Raises:
        ConfigError, DataError, FileFormatError: data without a test split, or not of the model's element.
        MissingFileError: no run or bundle, or data that are gone.
        OutputExistsError: earlier results, and `force` is off.
    """
    reporter = reporter or Quiet()
    subject = open_subject(source, backend=backend, device=device)
    target = check_output(Path(output) if output is not None else subject.output, force=force)
    if target.exists() and not (target / "evaluation.json").is_file():
        raise ConfigError(f"{target} exists and holds no evaluation; it is not replaced, choose another output")
    file = SequenceFile(_data(subject, data))
    results = {"output": str(target)} | measure(
        subject, file, repeats=repeats, seed=seed, device=device, reporter=reporter
    )
    with replacing(target, force=force) as temporary:
        temporary.mkdir()
        if figures:
            from sdkit.evaluation.pictures import draw

            results["figures"] = draw(subject.verbs, file, results, temporary, seed=seed, reporter=reporter)
        text = json.dumps(results, indent=1, allow_nan=False)
        (temporary / "evaluation.json").write_text(text + "\n", "utf-8")
    return results


def open_subject(source: str | Path | None, *, backend: GraphFormat = "onnx", device: str = "auto") -> Subject:
    """Return a run or bundle, ready to run.

    Raises:
        MissingFileError: neither a run nor a bundle.
    """
    if source is not None and (Path(source) / BUNDLE_FILE).is_file():
        return _bundle(Path(source), backend, device)
    from sdkit.methods.graphs import verbs
    from sdkit.runtime.bundles.bundle import sha256
    from sdkit.training.run import Run

    try:
        run = Run(find_run_folder(source))
    except MissingFileError as error:
        if source is None:
            raise
        raise MissingFileError(
            f"{source} is neither a run nor a bundle: it holds neither {RUN_FILE} nor {BUNDLE_FILE}"
        ) from error
    model, config = run.load_model(), run.config
    weights = sha256(run.weights())
    train = config.train
    return Subject(run.path, verbs(model), model, "torch", weights, train.val_fraction, train.seed, config.data.path)


def measure(
    subject: Subject,
    file: SequenceFile,
    *,
    repeats: int = generation.REPEATS,
    seed: int = 0,
    device: str = "auto",
    judges: Path = RUNS / "judges",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Return all figures of a subject on a file's test split, as plain values by section; nothing is written.

    Sections: `codes` and `consistency` always; `likelihood` where there is the training model; `judge` for labelled
    images; `leakage`, `dci` and `tasks` where labels or targets allow. `skipped` says why others are missing.
    """
    reporter = reporter or Quiet()
    check_element(subject.verbs, file)
    parts = parts_of(file, val_fraction=subject.val_fraction, seed=subject.seed)
    results: dict[str, Any] = {
        "sdkit": __version__,
        "subject": {"path": str(subject.path), "backend": subject.backend, "weights": subject.weights},
        "data": {"path": str(file.path), "name": file.meta.name, "test": len(parts.test), "train": len(parts.train)},
        "settings": {"repeats": repeats, "seed": seed},
        "skipped": {},
    }
    skipped = results["skipped"]
    if subject.model is not None:
        results["likelihood"] = plain(likelihood(subject.model, file, parts.test, seed=seed, reporter=reporter))
    results["codes"] = plain(consistency.code_use(subject.verbs, file, seed=seed, reporter=reporter))
    results["consistency"] = {
        "swaps": plain(consistency.swap_consistency(subject.verbs, file, seed=seed, reporter=reporter)),
        "static": plain(consistency.static_stability(subject.verbs, file, seed=seed, reporter=reporter)),
    }
    if file.factors and file.element.kind == "image":
        judge = find_judge(file, folder=judges, device=device, reporter=reporter)
        scores = judged(subject.verbs, judge, file, repeats=repeats, seed=seed, reporter=reporter)
        results["judge"] = plain(scores)
    else:
        skipped["judge"] = "judges are trained for labelled images"
    if file.factors:
        results |= _probed(subject.verbs, file, parts, seed, skipped, reporter)
    tasks, reasons = tasks_of(file, parts)
    skipped |= {f"task {name}": reason for name, reason in reasons.items()}
    results["tasks"] = {}
    for task in tasks:
        found = task.run(subject.verbs, file, parts, seed=seed, reporter=reporter)
        results["tasks"][task.name] = {
            "kind": task.kind,
            "figures": plain(found.figures),
            "intervals": plain(found.intervals),
            "baselines": plain(task.baselines(file, parts, seed=seed, reporter=reporter)),
        }
    return results


def plain(value: Any) -> Any:
    """Return dataclasses, named tuples, arrays and paths as what JSON holds.

    What JSON has no word for becomes None: NaN and infinity, and arrays of more than `LARGE` values.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist()) if value.size <= LARGE else None
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _probed(
    verbs: Verbs, file: SequenceFile, parts: Parts, seed: int, skipped: dict[str, str], reporter: Reporter
) -> dict[str, Any]:
    coded = code(verbs, file, parts, reporter=reporter)
    table = leakage(coded, seed=seed)
    skipped |= {f"probe of {name}": reason for name, reason in table.skipped.items()}
    found: dict[str, Any] = {"leakage": plain(table.rows)}
    labels = [label_table(file, index, file.factors) for index in (parts.train, parts.test)]
    usable: list[tuple[int, Factor]] = [
        (i, factor) for i, factor in enumerate(file.factors) if not unusable(labels[0][:, i], labels[1][:, i])
    ]
    if len(usable) < 2:
        skipped["dci"] = "fewer than two factors can be learnt"
        return found
    columns, names = [i for i, _ in usable], [factor.name for _, factor in usable]
    scores = dci(coded.splits[0], coded.splits[2], labels[0][:, columns], labels[1][:, columns], names, seed=seed)
    return {**found, "dci": plain(scores)}


def _bundle(path: Path, backend: GraphFormat, device: str) -> Subject:
    from sdkit.runtime.runtime import Runtime

    rt = Runtime.open(path, device=device, backend=backend)
    provenance = rt.manifest.provenance
    val_fraction, seed, data = 0.05, provenance.seed, ""
    run = path.resolve().parent
    if (run / RUN_FILE).is_file():
        from sdkit.training.run import Run

        config = Run(run).config
        val_fraction, data = config.train.val_fraction, config.data.path
    return Subject(path, rt, None, backend, provenance.weights_sha256, val_fraction, seed, data)


def _data(subject: Subject, given: str | Path | None) -> Path:
    if given is not None:
        return Path(given)
    if not subject.data or not Path(subject.data).is_file():
        where = f" ({subject.data} is gone)" if subject.data else ""
        raise MissingFileError(f"the training data of {subject.path} are not known here{where}; give --data FILE.h5")
    return Path(subject.data)
