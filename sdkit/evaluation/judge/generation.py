"""Generation scores: a judge's answers on decoded sequences of which one code is kept and the other is drawn.

The protocols are the paper's (section 5, with the conventions of its published code where the text is silent), with
one exception: codes drawn from the dynamic prior are samples, decoded unchanged, while the published code rolls the
prior by samples and decodes its means (`decode_means=True`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sdkit.evaluation.base import REPEATS
from sdkit.evaluation.data import split_rows
from sdkit.evaluation.judge.classifier import Classifier, labels_for
from sdkit.evaluation.stage import stage
from sdkit.runtime.codes import Codes
from sdkit.runtime.contract import STATIC_PRIOR
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.verbs.arrays import BATCH_SIZE, Verbs
from sdkit.training.data import equal_lengths

Floats = NDArray[np.float32]
EPSILON = 1e-16
"""Addition to probabilities before their logarithm is taken."""

STANDARD = "N(0, I)"
"""Prior of the static code of a model that has no graph for one."""

Kept = Literal["static", "dynamic", "all"]
Variants = Callable[[Array, int], Iterator[Array]]
"""Function that takes sequences (B, T, *element) and the number of the first, and yields those to judge, once for each
repeat."""


@dataclass(frozen=True)
class GenerationScores:
    """Scores of a judge's probabilities against the true labels."""

    accuracy: float
    """Share of sequences whose most probable class is the true one."""
    inception_score: float
    """Inception score exp(E_x KL[p(y|x) || p(y)]), from 1 to C; high is good."""
    entropy_given_x: float
    """Entropy H(y|x) in nats, from 0 to ln C: the judge's uncertainty about a sequence; low is good."""
    entropy: float
    """Entropy H(y) in nats, from 0 to ln C: the variety of the sequences; high is good."""
    balanced_count: int
    """Number of sequences of each class from which IS, H(y|x) and H(y) are computed."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts (C, C); rows are true classes, columns judged ones."""


@dataclass(frozen=True)
class Spread:
    """A figure over repeats that differ in their noise."""

    mean: float
    std: float | None
    """Unbiased standard deviation; None where there is one repeat."""
    values: tuple[float, ...]

    @staticmethod
    def of(values: list[float]) -> "Spread":
        """Return mean and standard deviation of one value for each repeat."""
        std = float(np.std(values, ddof=1)) if len(values) > 1 else None
        return Spread(float(np.mean(values)), std, tuple(values))


@dataclass(frozen=True)
class FactorScores:
    """One factor's scores in a protocol."""

    kind: str
    """Kind of the factor, `static` or `dynamic`."""
    kept: bool
    """Whether the kept code should carry the factor; if not, an accuracy at chance is wanted."""
    chance: float
    """Accuracy of guessing, 1 / C."""
    majority: float
    """Accuracy of always answering the most frequent class of these sequences."""
    accuracy: Spread
    """Share of sequences judged to show their own label."""
    agreement: Spread
    """Share of sequences on which the judge says what it says of the real sequence, right or wrong; S3VAE's Acc."""
    inception_score: Spread
    entropy_given_x: Spread
    entropy: Spread
    balanced_count: int
    confusion: tuple[tuple[int, ...], ...]
    """Counts (C, C) of all repeats together; rows are true classes."""


@dataclass(frozen=True)
class Agreement:
    """A judge's agreement with itself on pairs of generated sequences."""

    agreement: Spread
    """Share of pairs whose most probable class is the same."""
    entropy: Spread
    """Entropy H(y) in nats of the second sequences: the variety without which agreement says nothing."""


@dataclass(frozen=True)
class ProtocolScores:
    """A protocol's scores on one split."""

    protocol: str
    """Name of the protocol: `real`, `reconstruction`, `dynamic_kept` or `static_kept`."""
    split: str
    count: int
    """Number of sequences in each repeat."""
    repeats: int
    factors: dict[str, FactorScores]
    drawn_from: str | None = None
    """Source of the code that was not kept: `N(0, I)`, or the graph of the model that drew it, `static_prior` or
    `prior` (`prior, means` where its means were decoded); None where nothing was drawn."""


def generation_scores(probabilities: Array, labels: Array) -> GenerationScores:
    """Score a judge's probabilities (N, C) of generated sequences against the classes (N,) that they should show.

    Accuracy and confusion are of all N. For IS, H(y|x) and H(y) the classes are balanced: the first n sequences of each
    true class, where n is the size of the smallest class that occurs. Natural logarithms; log IS = H(y) - H(y|x).

    Raises:
        DataError: arrays that do not fit each other, or none.
    """
    if probabilities.ndim != 2 or len(probabilities) == 0 or labels.shape != probabilities.shape[:1]:
        raise DataError(
            f"probabilities have shape {probabilities.shape} and labels {labels.shape}; expected (N, C) and (N,), N > 0"
        )
    classes = probabilities.shape[1]
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(f"labels lie in {labels.min()}..{labels.max()}; probabilities are of classes 0..{classes - 1}")
    judged = probabilities.argmax(1)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, judged), 1)
    counts = confusion.sum(1)
    n = int(counts[counts > 0].min())
    balanced = np.concatenate([np.flatnonzero(labels == c)[:n] for c in np.flatnonzero(counts)])
    p = probabilities[balanced].astype(np.float64)
    marginal = p.mean(0)
    entropy_given_x = -float((p * np.log(p + EPSILON)).sum(1).mean())
    entropy = -float((marginal * np.log(marginal + EPSILON)).sum())
    return GenerationScores(
        accuracy=float((judged == labels).mean()),
        inception_score=float(np.exp(entropy - entropy_given_x)),
        entropy_given_x=entropy_given_x,
        entropy=entropy,
        balanced_count=n,
        confusion=_rows(confusion),
    )


def real(
    judge: Classifier, file: SequenceFile, split: str = "test", *, reporter: Reporter | None = None
) -> ProtocolScores:
    """Score the real sequences: the upper bound of all scores of this judge.

    Raises:
        ConfigError, DataError: no such split, or labels that are not the judge's.
    """
    return _score("real", "all", lambda x, first: iter([x]), judge, file, split, BATCH_SIZE, reporter)


def reconstruction(
    verbs: Verbs, judge: Classifier, file: SequenceFile, split: str = "test", *, reporter: Reporter | None = None
) -> ProtocolScores:
    """Score decode(encode(x)), which both codes together determine.

    Raises:
        ConfigError, DataError: as `real`.
    """

    def variants(x: Array, first: int) -> Iterator[Array]:
        yield verbs.reconstruct(x)

    return _score("reconstruction", "all", variants, judge, file, split, verbs.batch_size, reporter)


def dynamic_kept(
    verbs: Verbs,
    judge: Classifier,
    file: SequenceFile,
    split: str = "test",
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> ProtocolScores:
    """Score sequences that keep their dynamic codes (posterior means), with a static code drawn from its prior.

    Dynamic factors should survive; a static factor judged above chance has leaked into the dynamic codes. Repeat r
    draws with seed + r, as `Verbs.resample_static` does.

    Raises:
        CapabilityError: the model cannot resample its static code.
        ConfigError: repeats < 1; otherwise as `real`.
        DataError: as `real`.
    """
    verbs.abilities.require("resample_static")
    seeds = _seeds(seed, repeats)

    def variants(x: Array, first: int) -> Iterator[Array]:
        codes = verbs.encode(x)
        for number in seeds:
            yield verbs.decode(Codes(verbs.draw_static(len(x), number, first), codes.dynamic))

    scores = _score("dynamic_kept", "dynamic", variants, judge, file, split, verbs.batch_size, reporter)
    return replace(scores, drawn_from=STATIC_PRIOR if verbs.fitted else STANDARD)


def static_kept(
    verbs: Verbs,
    judge: Classifier,
    file: SequenceFile,
    split: str = "test",
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    decode_means: bool = False,
    reporter: Reporter | None = None,
) -> ProtocolScores:
    """Score sequences that keep their static code (posterior mean), with dynamic codes drawn from the prior.

    Static factors should survive; a dynamic factor judged above chance has leaked into the static code. Repeat r draws
    with seed + r, as `Verbs.resample_dynamic` does.

    Args:
        verbs: the model.
        judge: judge of the file's factors.
        file: labelled sequences.
        split: split of the file.
        repeats: number of draws of the dynamic codes.
        seed: seed of the first repeat.
        decode_means: roll the prior by its samples but decode the means of its steps, as the published code does.
        reporter: receives the progress.

    Raises:
        CapabilityError: the model cannot resample its dynamic codes.
        ConfigError: repeats < 1, means of a prior that has none, or more steps than it draws; otherwise as `real`.
        DataError: as `real`.
    """
    verbs.abilities.require("resample_dynamic")
    seeds, draw = _seeds(seed, repeats), _prior_means if decode_means else Verbs.draw_dynamic

    def variants(x: Array, first: int) -> Iterator[Array]:
        static = verbs.encode(x).static
        for number in seeds:
            yield verbs.decode(Codes(static, draw(verbs, len(x), x.shape[1], number, first)))

    scores = _score("static_kept", "static", variants, judge, file, split, verbs.batch_size, reporter)
    return replace(scores, drawn_from="prior, means" if decode_means else "prior")


def agreement(
    verbs: Verbs,
    judge: Classifier,
    factor: str,
    *,
    count: int,
    steps: int,
    repeats: int = REPEATS,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> Agreement:
    """Judge pairs of generated sequences that have the same dynamic codes and two draws of the static code.

    It needs no encoder and no labels, and is no accuracy: nothing says that the class is the right one. Repeat r draws
    with seed + r, as `Verbs.generate` does; the second static codes are those of the `count` sequences that follow.

    Args:
        verbs: the model.
        judge: judge of the factor.
        factor: factor that the dynamic codes should carry.
        count: number of pairs of a repeat.
        steps: number of elements of a sequence.
        repeats: number of repeats.
        seed: seed of the first repeat.
        reporter: receives the progress.

    Raises:
        CapabilityError: the model cannot generate, or decode codes.
        ConfigError: repeats < 1, or more steps than the prior draws.
    """
    verbs.abilities.require("generate")
    seeds = _seeds(seed, repeats)
    agreed, entropies = [], []
    with stage(reporter, "judging generated pairs", repeats * count) as shown:
        for number in seeds:
            judged = []
            for first in range(0, count, verbs.batch_size):
                size = min(verbs.batch_size, count - first)
                dynamic = verbs.draw_dynamic(size, steps, number, first)
                statics = (verbs.draw_static(size, number, start) for start in (first, count + first))
                pair = [judge.probabilities(verbs.decode(Codes(s, dynamic)))[factor] for s in statics]
                judged.append(np.stack(pair))
                shown.advance(size)
            one, two = np.concatenate(judged, 1).astype(np.float64)
            agreed.append(float((one.argmax(1) == two.argmax(1)).mean()))
            marginal = two.mean(0)
            entropies.append(-float((marginal * np.log(marginal + EPSILON)).sum()))
    return Agreement(Spread.of(agreed), Spread.of(entropies))


def _prior_means(verbs: Verbs, count: int, steps: int, seed: int, first: int) -> Floats:
    """Return the means (B, T, D) of the steps of a prior that is rolled by its samples."""
    verbs.abilities.require_steps(steps)
    if "dynamic_mean" not in verbs.backend.ports["prior"].outputs:
        raise ConfigError("the prior of this model returns no means; decode its samples")
    noise = standard_normal(seed, Purpose.DYNAMIC_PRIOR, first, (count, steps, verbs.widths.dynamic_size))
    return verbs.backend.run("prior", {"noise": noise})["dynamic_mean"]


def chance_levels(labels: Indices, classes: int) -> tuple[float, float]:
    """Return the accuracies of guessing among `classes` and of always answering the commonest of the labels (N,)."""
    return 1.0 / classes, float(np.bincount(labels).max() / len(labels))


def _score(
    protocol: str,
    kept: Kept,
    variants: Variants,
    judge: Classifier,
    file: SequenceFile,
    split: str,
    batch_size: int,
    reporter: Reporter | None,
) -> ProtocolScores:
    labels, index = labels_for(judge, file), split_rows(file, split)
    order: list[Indices] = []
    judged: list[list[dict[str, Floats]]] = []
    seen: list[dict[str, Floats]] = []
    first = 0
    with stage(reporter, f"judging {protocol.replace('_', ' ')}", len(index)) as shown:
        for rows, x in equal_lengths(file, index, batch_size):
            seen.append(judge.probabilities(x))
            judged.append([judge.probabilities(variant) for variant in variants(x, first)])
            order.append(rows)
            first += len(rows)
            shown.advance(len(rows))
    truth = labels[np.concatenate(order)]
    factors = {}
    for column, factor in enumerate(judge.factors):
        repeats = [np.concatenate([batch[factor.name] for batch in part]) for part in zip(*judged, strict=True)]
        told = np.concatenate([batch[factor.name] for batch in seen]).argmax(1)
        agreement = Spread.of([float((p.argmax(1) == told).mean()) for p in repeats])
        scores = [generation_scores(p, truth[:, column]) for p in repeats]
        kept_here = kept in ("all", factor.kind)
        factors[factor.name] = _summary(factor.kind, kept_here, scores, agreement, truth[:, column])
    return ProtocolScores(protocol, split, len(index), len(judged[0]), factors)


def _summary(kind: str, kept: bool, scores: list[GenerationScores], agreement: Spread, labels: Indices) -> FactorScores:
    confusion = np.sum([s.confusion for s in scores], 0)
    chance, majority = chance_levels(labels, len(confusion))
    return FactorScores(
        kind=kind,
        kept=kept,
        chance=chance,
        majority=majority,
        accuracy=Spread.of([s.accuracy for s in scores]),
        agreement=agreement,
        inception_score=Spread.of([s.inception_score for s in scores]),
        entropy_given_x=Spread.of([s.entropy_given_x for s in scores]),
        entropy=Spread.of([s.entropy for s in scores]),
        balanced_count=scores[0].balanced_count,
        confusion=_rows(confusion),
    )


def _rows(confusion: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(n) for n in row) for row in confusion)


def _seeds(seed: int, repeats: int) -> range:
    if repeats < 1:
        raise ConfigError(f"repeats = {repeats}; it must be at least 1")
    return range(seed, seed + repeats)
