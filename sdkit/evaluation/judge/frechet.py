"""Frechet distances between real and decoded sequences, in the features of the judge.

Two sets of sequences are compared by the Gaussians of their features, as the Frechet inception distance compares
images:

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))

The features are what the judge's heads read. A distance depends on the judge, and grows as sets shrink, since their
covariances are estimates. The floor, the distance between as many real training sequences and the real test sequences,
has both in common with the other figures of a table. Generated sequences can reach it; reconstructions and swaps are
made of the very test sequences, so that their distances can lie below.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdkit.evaluation.base import BOTH_CODES, Case, EvaluationProtocol, Line, number, refusal
from sdkit.evaluation.data import split_rows
from sdkit.evaluation.judge.classifier import Extractor
from sdkit.evaluation.judge.scores import judge_of, unjudgeable
from sdkit.evaluation.judge.swapping import PairedCodes, pair_codes
from sdkit.evaluation.stage import stage
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError
from sdkit.runtime.noise import Draw, generator
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.data import equal_lengths

RIDGE = 1e-6
"""Addition to the diagonals of both covariances, which have no full rank where sequences are fewer than features."""
NEEDED = {"reconstruction": "reconstruct", "swap": BOTH_CODES, "generation": "generate"}
"""Verb that a distance needs, by its name."""
FITTED = "fitted_generation"
"""Name of the distance of what a prior draws that was fitted after training."""

Features = NDArray[np.float64]


@dataclass(frozen=True)
class FrechetScores:
    """Frechet distances to the real test sequences; None where the model cannot produce the others."""

    sequences: int
    """Number of real test sequences."""
    features: int
    """Number of features."""
    floor: float
    """Distance of real training sequences, as many as there are test sequences where there are enough."""
    reconstruction: float | None
    """Distance of the test sequences' reconstructions (posterior means)."""
    swap: float | None
    """Distance of swaps of test sequences: the static code of each with the dynamic codes of its partner."""
    generation: float | None
    """Distance of sequences whose codes are all drawn from the method's prior."""
    fitted_generation: float | None = None
    """The same with static codes from the prior that was fitted after training; None where there is none."""


def frechet_distance(a: Array, b: Array, *, ridge: float = RIDGE) -> float:
    """Return the Frechet distance of two sets of features (N, F) and (M, F), in float64.

    Raises:
        DataError: fewer than two rows, other widths, or features that are not finite.
    """
    x, y = (np.asarray(side, np.float64) for side in (a, b))
    fits = x.ndim == y.ndim == 2 and x.shape[1] == y.shape[1] and min(len(x), len(y)) > 1
    if not fits or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError(f"features have shapes {x.shape} and {y.shape}; expected (N, F) and (M, F), two rows or more")
    added = ridge * np.eye(x.shape[1])
    first, second = (np.atleast_2d(np.cov(side, rowvar=False)) + added for side in (x, y))
    # The trace of (C_a C_b)^(1/2) is that of the symmetric R C_b R to the 1/2, where R = C_a^(1/2).
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    mean = ((x.mean(0) - y.mean(0)) ** 2).sum()
    return max(float(mean + np.trace(first) + np.trace(second) - 2 * shared), 0.0)


def frechet_scores(
    verbs: Verbs,
    judge: Extractor,
    file: SequenceFile,
    train: Indices,
    split: str = "test",
    *,
    seed: int = 0,
    real: tuple[Features, Features] | None = None,
    reporter: Reporter | None = None,
) -> FrechetScores:
    """Compare what a model decodes with the real sequences of a split.

    Args:
        verbs: the model; distances that it lacks a verb for are None.
        judge: a judge of the file's element.
        file: sequence file.
        train: indices (N,) of the training sequences.
        split: split of the file.
        seed: seed of pairs, of the choice of training sequences, and of what is generated.
        real: features of the real sequences, as `real_features` returns them, if they are known.
        reporter: receives the progress.

    Raises:
        ConfigError, DataError: no such split, or one without a pair of equal length.
    """
    index = split_rows(file, split)
    known, tested = real or real_features(judge, file, train, index, seed=seed, batch_size=verbs.batch_size)
    missing = unmeasured(verbs, file)
    found: dict[str, float | None] = dict.fromkeys(NEEDED)
    found["floor"] = frechet_distance(known, tested)
    makers = _makers(verbs, file, index, seed, reporter, missing)
    for name, clips in makers.items():
        found[name] = frechet_distance(_features(judge, clips(), len(index), name, reporter), tested)
    return FrechetScores(*tested.shape, **found)  # type: ignore[arg-type]


def real_features(
    judge: Extractor, file: SequenceFile, train: Indices, index: Indices, *, seed: int, batch_size: int
) -> tuple[Features, Features]:
    """Return features of as many training sequences as there are others, drawn at random, and of those others."""
    known = generator(seed, Draw.SEQUENCES).choice(train, min(len(train), len(index)), replace=False)
    return _real(judge, file, np.sort(known), batch_size), _real(judge, file, index, batch_size)


def unmeasured(verbs: Verbs, file: SequenceFile) -> dict[str, str]:
    """Return why a model lacks distances, by name of the distance."""
    reasons = {name: refusal(verbs.abilities, (verb,), file.steps) for name, verb in NEEDED.items()}
    return {name: reason for name, reason in reasons.items() if reason}


class FrechetProtocol(EvaluationProtocol):
    """Frechet distances of decoded sequences in the judge's features."""

    name = "Frechet distance"
    section = "frechet"

    def unmet(self, case: Case) -> str:
        """Return why nothing is compared: there is no judge, or the model produces no sequences."""
        missing = unmeasured(case.verbs, case.file)
        return unjudgeable(case.file) or (missing["reconstruction"] if len(missing) == len(NEEDED) else "")

    def run(self, case: Case) -> dict[str, Any]:
        """Compare with the real test sequences all that the model can produce."""
        missing = unmeasured(case.verbs, case.file)
        case.skipped |= {f"{self.name}, {name}": reason for name, reason in missing.items()}
        train, judge, size = case.parts.train, judge_of(case), case.verbs.batch_size
        index = split_rows(case.file, "test")
        real = case.once_for_data(
            "features of the judge",
            lambda: real_features(judge, case.file, train, index, seed=case.seed, batch_size=size),
        )
        options: dict[str, Any] = {"seed": case.seed, "reporter": case.reporter}
        found = frechet_scores(case.declared, judge, case.file, train, real=real, **options)
        if found.generation is not None and case.subject.fitted_prior and case.verbs.fitted:
            drawn = _generated(case.verbs, case.file, index, case.seed)
            distance = frechet_distance(
                _features(judge, drawn, len(index), "fitted generation", case.reporter), real[1]
            )
            found = replace(found, fitted_generation=distance)
        return {name: value for name, value in vars(found).items() if value is not None}

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield every distance beside the floor."""
        for name in (*NEEDED, FITTED):
            if name in found:
                yield Line(
                    "Frechet",
                    name.replace("_", " "),
                    number(found[name]),
                    f"real training sequences {number(found['floor'])}",
                )


def _makers(
    verbs: Verbs, file: SequenceFile, index: Indices, seed: int, reporter: Reporter | None, missing: dict[str, str]
) -> dict[str, Callable[[], Iterator[Array]]]:
    """Return what yields the sequences of each distance that a model can produce, batch by batch."""
    groups = [] if "reconstruction" in missing else pair_codes(verbs, file, index, seed, reporter)
    makers: dict[str, Callable[[], Iterator[Array]]] = {
        "reconstruction": lambda: _decoded(verbs, groups, swapped=False),
        "swap": lambda: _decoded(verbs, groups, swapped=True),
        "generation": lambda: _generated(verbs, file, index, seed),
    }
    return {name: make for name, make in makers.items() if name not in missing}


def _features(judge: Extractor, clips: Iterator[Array], count: int, name: str, reporter: Reporter | None) -> Features:
    """Return the judge's features (N, F) of clips that come batch by batch."""
    seen = []
    with stage(reporter, f"measuring the distance of the {name}", count) as shown:
        for x in clips:
            seen.append(judge.features(x))
            shown.advance(len(x))
    return np.concatenate(seen).astype(np.float64)


def _generated(verbs: Verbs, file: SequenceFile, index: Indices, seed: int) -> Iterator[Array]:
    """Yield sequences whose codes are drawn, as many and as long as those of a split."""
    first = 0
    for rows, x in equal_lengths(file, index, verbs.batch_size):
        yield verbs.generate(len(rows), x.shape[1], seed=seed, first=first)
        first += len(rows)


def _decoded(verbs: Verbs, groups: list[PairedCodes], *, swapped: bool) -> Iterator[Array]:
    for group in groups:
        for start in range(0, len(group.rows), verbs.batch_size):
            here = np.arange(start, min(start + verbs.batch_size, len(group.rows)))
            there = group.partner[here] if swapped else here
            yield verbs.decode(Codes(group.codes.static[here], group.codes.dynamic[there]))


def _real(judge: Extractor, file: SequenceFile, index: Indices, batch_size: int) -> Features:
    parts = [judge.features(x) for _, x in equal_lengths(file, index, batch_size)]
    return np.concatenate(parts).astype(np.float64)
