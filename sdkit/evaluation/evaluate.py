"""`evaluate`: all measurements that a method and a data set's labels allow, on a trained run or on a bundle.

Measurements on codes and decoded sequences run on either, through the same verbs, so that figures of a model and of
its graphs can be compared (metric parity).
"""

import json
from pathlib import Path
from typing import Any

from sdkit.evaluation.base import JUDGES, REPEATS, Case, refusal
from sdkit.evaluation.data import parts_of
from sdkit.evaluation.plain import plain
from sdkit.evaluation.protocols import PROTOCOLS
from sdkit.evaluation.subject import Subject, open_subject
from sdkit.runtime.bundles.specs import GraphFormat
from sdkit.runtime.errors import ConfigError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import check_output, replacing
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.version import __version__


def evaluate(
    source: str | Path | None = None,
    *,
    data: str | Path | None = None,
    output: str | Path | None = None,
    backend: GraphFormat = "onnx",
    device: str = "auto",
    repeats: int = REPEATS,
    seed: int = 0,
    figures: bool = True,
    force: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Evaluate a run or a bundle, write evaluation.json and figures, and return the content of evaluation.json.

    Args:
        source: a run (its best weights in PyTorch) or a bundle (its graphs); the newest run when None.
        data: a sequence file with a test split; the run's training data when None.
        output: folder for the results; `evaluation` in the run's folder when None.
        backend: engine of a bundle: `onnx` or `torchscript`.
        device: device on which a bundle's graphs and the judge run.
        repeats: number of draws of codes from the prior.
        seed: seed of heads, draws and pairs.
        figures: draw pictures as well.
        force: replace earlier results.
        reporter: receives the progress.

    Raises:
        ConfigError, DataError, FileFormatError: data without a test split, or whose elements are not the model's.
        MissingFileError: no run or bundle, or data that are missing.
        OutputExistsError: earlier results exist, and `force` is off.

    >>> found = sdkit.evaluate("runs/puppets", data="puppets.h5", repeats=1, figures=False)
    >>> found["codes"]["static_size"], sorted(found["skipped"])
    (5, [])
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
        reasons = [refusal(subject.verbs.abilities, (verb,), file.steps) for verb in ("encode", "generate")]
        if figures and not all(reasons):
            from sdkit.evaluation.pictures import draw

            results["figures"] = draw(subject.verbs, file, results, temporary, seed=seed, reporter=reporter)
        elif figures:
            results["skipped"]["figures"] = reasons[0]
        text = json.dumps(results, indent=1, allow_nan=False)
        (temporary / "evaluation.json").write_text(text + "\n", "utf-8")
    return results


def measure(
    subject: Subject,
    file: SequenceFile,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    device: str = "auto",
    judges: Path = JUDGES,
    of_data: dict[str, Any] | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Return all figures of a subject on a file's test split, as plain values by section; nothing is written.

    Every protocol whose needs are met fills a section, or a part of one; `skipped` says why others are missing. What
    depends on the file alone is taken from `of_data`, or put there for the next model on the same file.

    Raises:
        ConfigError, DataError: data without a test split, or whose elements are not the model's.
    """
    file.require(subject.verbs.element)
    parts = parts_of(file, val_fraction=subject.val_fraction, seed=subject.seed)
    shared = {} if of_data is None else of_data
    case = Case(subject, file, parts, repeats, seed, device, judges, reporter or Quiet(), of_data=shared)
    results: dict[str, Any] = {
        "sdkit": __version__,
        "subject": {"path": str(subject.path), "backend": subject.backend, "weights": subject.weights},
        "data": {"path": str(file.path), "name": file.meta.name, "test": len(parts.test), "train": len(parts.train)},
        "settings": {"repeats": repeats, "seed": seed},
        "skipped": case.skipped,
    }
    for protocol in PROTOCOLS:
        if reason := protocol.unmet(case):
            case.skipped[protocol.name] = reason
        else:
            protocol.put(results, plain(protocol.run(case)))
    return results


def _data(subject: Subject, given: str | Path | None) -> Path:
    if given is not None:
        return Path(given)
    if not subject.data or not Path(subject.data).is_file():
        where = f" ({subject.data} is gone)" if subject.data else ""
        raise MissingFileError(f"the training data of {subject.path} are not known here{where}; give --data FILE.h5")
    return Path(subject.data)
