"""Swap scores: whether a swapped sequence shows the static factors of one source and the dynamic factors of the other.

No prior is drawn from, so that methods with priors of any kind compare. A factor by itself is right where the swap
shows it as the source of the code that should carry it; cross-leakage is the share that shows the other source's value
where the two differ; a swap is jointly right where all factors are.

Sequences of a split are paired at random, each with another one of the same length, and the two swaps of every pair are
scored. A sequence whose length no other one has gets no partner and is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdkit.evaluation.data import split_rows
from sdkit.evaluation.judge.classifier import Classifier, labels_for
from sdkit.evaluation.judge.generation import chance_levels
from sdkit.evaluation.stage import stage
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError
from sdkit.runtime.noise import Draw, generator
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.storage.swap_file import SWAPPED
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.data import equal_lengths

KINDS = ("static", "dynamic")
"""Kinds of factors."""


@dataclass(frozen=True)
class Shares:
    """Shares of the swaps in one direction that are judged to show a factor as a source does."""

    of_a: float
    """Share judged to have the label of a."""
    of_b: float
    """Share judged to have the label of b."""


@dataclass(frozen=True)
class FactorSwaps:
    """Scores of one factor in swaps."""

    kind: str
    """Kind of the factor, `static` or `dynamic`."""
    accuracy: float
    """Share judged as the source of the code that should carry it, the mean of both directions."""
    leaked: float | None
    """Cross-leakage: share judged as the other source, among swaps whose sources differ in the factor; None where none
    do. Guessing gives `chance`."""
    differing: int
    """Number of swaps whose sources differ in the factor, both directions counted."""
    chance: float
    """Accuracy of guessing, 1 / C."""
    majority: float
    """Accuracy of always answering the most frequent class of these sequences."""
    directions: dict[str, Shares]
    """Shares by direction, `static_a_dynamic_b` and `static_b_dynamic_a`."""


@dataclass(frozen=True)
class JointSwaps:
    """Scores of several factors at once."""

    accuracy: float
    """Share of swaps that are right in every one of the factors, the mean of both directions."""
    chance: float
    """Accuracy of guessing each factor by itself, the product of 1 / C."""
    unread: float
    """Accuracy where a code is not read and the other source shows instead: the share of pairs that agree in the
    factors of that code anyway, the larger of both codes' where there are factors of both."""


@dataclass(frozen=True)
class Leaks:
    """Cross-leakage over the factors of one kind."""

    share: float | None
    """Mean over factors of the share judged as the wrong source; None where the sources of no pair differ."""
    chance: float | None
    """Mean of the factors' chance levels."""


@dataclass(frozen=True)
class SwapScores:
    """Scores of swaps by a judge."""

    split: str
    pairs: int
    factors: dict[str, FactorSwaps]
    static: float | None
    """Mean accuracy of the static factors; None where there is none."""
    dynamic: float | None
    """Mean accuracy of the dynamic factors; None where there is none."""
    joint: dict[str, JointSwaps]
    """Scores of all factors at once: `static`, `dynamic` and `all`, as far as the file has such factors."""
    leaked: dict[str, Leaks]
    """Cross-leakage by kind of factor, `static` and `dynamic`."""


@dataclass(frozen=True)
class SwapTruth:
    """Mean absolute errors, in data units, of swaps against the sequences that they should be."""

    split: str
    pairs: int
    """Number of pairs whose true swap is in the split."""
    of: int
    """Number of pairs drawn."""
    swap: float
    """Error of a's static code with b's dynamic codes, decoded."""
    reconstruction: float
    """Error of the true sequence's own reconstruction: the model's error when nothing is swapped."""
    copy: float
    """Error of a unchanged: the result of doing nothing."""
    swap_by_step: tuple[float, ...]
    """Error of `swap` at each step (T,)."""
    reconstruction_by_step: tuple[float, ...]
    copy_by_step: tuple[float, ...]


@dataclass(frozen=True)
class PairedCodes:
    """Codes (posterior means) of sequences of one length, each with a partner among them."""

    rows: Indices
    """Rows (N,) of the sequences in the file."""
    codes: Codes
    partner: Indices
    """Partners (N,) as positions in `rows`; a permutation without fixed points."""


def swap_scores(
    verbs: Verbs,
    judge: Classifier,
    file: SequenceFile,
    split: str = "test",
    *,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> SwapScores:
    """Judge both swaps of every pair of a split.

    A swap takes its static factors from the sequence that gave the static code and its dynamic factors from the other.

    Raises:
        ConfigError: no such split, or labels that are not the judge's.
        DataError: a split without a pair of equal length.
    """
    labels = labels_for(judge, file)
    groups = pair_codes(verbs, file, split_rows(file, split), seed, reporter)
    rows_a = np.concatenate([group.rows for group in groups])
    rows_b = np.concatenate([group.rows[group.partner] for group in groups])
    a, b = labels[rows_a], labels[rows_b]
    judged = np.stack(_judge_swaps(verbs, judge, groups, reporter))
    static = np.array([factor.kind == "static" for factor in judge.factors])
    # What each direction should show: static factors of the source of the static code, dynamic ones of the other.
    wanted = np.stack([np.where(static, a, b), np.where(static, b, a)])
    factors = {}
    for i, factor in enumerate(judge.factors):
        differs = a[:, i] != b[:, i]
        wrong = judged[:, differs, i] == (a + b - wanted)[:, differs, i]
        shown = [Shares(float((seen == a[:, i]).mean()), float((seen == b[:, i]).mean())) for seen in judged[:, :, i]]
        factors[factor.name] = FactorSwaps(
            factor.kind,
            float((judged == wanted)[:, :, i].mean()),
            float(wrong.mean()) if wrong.size else None,
            wrong.size,
            *chance_levels(a[:, i], len(factor.values)),
            dict(zip(SWAPPED, shown, strict=True)),
        )
    means = (_mean(factors, "static"), _mean(factors, "dynamic"))
    leaked = {kind: _leaks(factors, kind) for kind in KINDS if _of(factors, kind)}
    return SwapScores(split, len(a), factors, *means, _joint(factors, judged == wanted, a == b), leaked)


def swap_truth(
    verbs: Verbs,
    file: SequenceFile,
    split: str = "test",
    *,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> tuple[SwapTruth | None, str]:
    """Compare swaps with the sequences that they should be, where the file holds those.

    The true swap of a and b is the sequence of the split with the static labels of a and the dynamic labels of b.
    This holds where labels describe all that a sequence shows, as in Sprites, where every character performs every
    motion; labels that are unique and yet incomplete (a camera, a speaker's mood) would show here as error.

    Returns:
        The comparison and an empty text, or None and the reason why there is none.

    Raises:
        ConfigError, DataError: no such split, or one without a pair of equal length.
    """
    index = split_rows(file, split)
    truth, reason = _true_swaps(file, index)
    if truth is None:
        return None, reason
    groups = pair_codes(verbs, file, index, seed, reporter)
    errors = [_Errors(file.steps) for _ in range(3)]
    pairs, of = 0, sum(len(group.rows) for group in groups)
    with stage(reporter, "comparing swaps with their truth", of) as shown:
        for group in groups:
            for part in _slices(len(group.rows), verbs.batch_size):
                here, there, true = _find(file, truth, group, part)
                if len(true):
                    steps = group.codes.dynamic.shape[1]
                    x = _shown(file, group.rows[true], steps)
                    swapped = verbs.decode(Codes(group.codes.static[here], group.codes.dynamic[there]))
                    errors[0].add(swapped, x)
                    errors[1].add(verbs.decode(group.codes[true]), x)
                    errors[2].add(_shown(file, group.rows[here], steps), x)
                pairs += len(true)
                shown.advance(part.stop - part.start)
    if pairs == 0:
        return None, f"no true swap of the pairs drawn is in the split '{split}'"
    swap, plain, copy = errors
    return SwapTruth(split, pairs, of, swap.mean, plain.mean, copy.mean, swap.by_step, plain.by_step, copy.by_step), ""


def pair_codes(
    verbs: Verbs, file: SequenceFile, index: Indices, seed: int, reporter: Reporter | None = None
) -> list[PairedCodes]:
    """Encode sequences and pair each with another one of its length; one group for each length.

    Raises:
        DataError: no two sequences of one length.
    """
    by_length: dict[int, list[tuple[Indices, Codes]]] = {}
    with stage(reporter, "encoding", len(index)) as shown:
        for rows, x in equal_lengths(file, index, verbs.batch_size):
            by_length.setdefault(x.shape[1], []).append((rows, verbs.encode(x)))
            shown.advance(len(rows))
    rng = generator(seed, Draw.PAIRS)
    groups = []
    for parts in by_length.values():
        rows = np.concatenate([part[0] for part in parts])
        if len(rows) > 1:
            groups.append(PairedCodes(rows, Codes.join([part[1] for part in parts]), partners(len(rows), rng)))
    if not groups:
        raise DataError(f"{file.path}: no two of the {len(index)} sequences have one length; swaps need pairs")
    return groups


def partners(count: int, rng: np.random.Generator) -> Indices:
    """Return partners (count,), a random cycle through all positions: each has a partner and is that of one other."""
    order = rng.permutation(count)
    partner = np.empty(count, np.int64)
    partner[order] = np.roll(order, -1)
    return partner


def _judge_swaps(
    verbs: Verbs, judge: Classifier, groups: list[PairedCodes], reporter: Reporter | None
) -> list[Indices]:
    """Return the judged classes (pairs, L) of both directions."""
    judged: tuple[list[Indices], list[Indices]] = ([], [])
    with stage(reporter, "judging swaps", sum(len(group.rows) for group in groups)) as shown:
        for group in groups:
            for part in _slices(len(group.rows), verbs.batch_size):
                a, b = group.codes[part], group.codes[group.partner[part]]
                swaps = (Codes(a.static, b.dynamic), Codes(b.static, a.dynamic))
                for swapped, classes in zip(swaps, judged, strict=True):
                    p = judge.probabilities(verbs.decode(swapped))
                    classes.append(np.stack([p[factor.name].argmax(1) for factor in judge.factors], 1))
                shown.advance(len(a))
    return [np.concatenate(classes) for classes in judged]


def _true_swaps(file: SequenceFile, index: Indices) -> tuple[dict[bytes, int] | None, str]:
    """Return the rows of a split by their labels, or None and why labels do not determine them."""
    if file.labels() is None or not file.factors:
        return None, f"{file.path} has no labels to find a swap's truth by"
    for kind in ("static", "dynamic"):
        if all(factor.kind != kind for factor in file.factors):
            return None, f"{file.path} has no {kind} factor, so labels cannot tell what a swap should show"
    labels, static = _label_table(file)
    rows = {_key(labels[row], labels[row], static): int(row) for row in index}
    if len(rows) < len(index):
        return None, f"labels do not identify a sequence: {len(index)} sequences have {len(rows)} sets of labels"
    return rows, ""


def _find(
    file: SequenceFile, truth: dict[bytes, int], group: PairedCodes, part: slice
) -> tuple[Indices, Indices, Indices]:
    """Return the positions in a group of a, b and their true swap, for those pairs of a part that have one."""
    labels, static = _label_table(file)
    place = {int(row): i for i, row in enumerate(group.rows)}
    found = []
    for a in range(part.start, part.stop):
        b = int(group.partner[a])
        row = truth.get(_key(labels[group.rows[a]], labels[group.rows[b]], static))
        if row in place:  # a sequence of another length than its sources is no true swap
            found.append((a, b, place[row]))
    here, there, true = np.array(found, np.int64).reshape(-1, 3).T
    return here, there, true


def _label_table(file: SequenceFile) -> tuple[Indices, NDArray[np.bool_]]:
    """Return the labels (N, L) and a mask (L,) of the static columns."""
    labels = file.labels()
    assert labels is not None
    return labels[:, : len(file.factors)], np.array([factor.kind == "static" for factor in file.factors])


def _key(a: Indices, b: Indices, static: NDArray[np.bool_]) -> bytes:
    return np.where(static, a, b).tobytes()


def _shown(file: SequenceFile, rows: Indices, steps: int) -> Array:
    return file.read(rows)[:, :steps].astype(np.float32)


class _Errors:
    """Mean absolute errors of sequences of at most `steps` steps, over the values that were observed."""

    def __init__(self, steps: int) -> None:
        self.sums, self.counts, self.steps = np.zeros(steps), np.zeros(steps), 0

    def add(self, found: Array, true: Array) -> None:
        """Add sequences (B, T, *element)."""
        error = np.abs(found - true).reshape(*true.shape[:2], -1)
        steps = true.shape[1]
        self.sums[:steps] += np.nansum(error, (0, 2), dtype=np.float64)
        self.counts[:steps] += (~np.isnan(error)).sum((0, 2))
        self.steps = max(self.steps, steps)

    @property
    def mean(self) -> float:
        """Return the mean over all values."""
        return float(self.sums.sum() / max(self.counts.sum(), 1))

    @property
    def by_step(self) -> tuple[float, ...]:
        """Return the means by step (T,); 0 where nothing was observed."""
        return tuple((self.sums / np.maximum(self.counts, 1))[: self.steps].tolist())


def _joint(
    factors: dict[str, FactorSwaps], right: NDArray[np.bool_], agree: NDArray[np.bool_]
) -> dict[str, JointSwaps]:
    """Return the joint scores of right (2, pairs, L), given which values (pairs, L) the sources have in common."""
    columns = {kind: [i for i, factor in enumerate(factors.values()) if factor.kind == kind] for kind in KINDS}
    chances = np.array([factor.chance for factor in factors.values()])
    found = {
        kind: JointSwaps(
            float(right[:, :, of].all(2).mean()), float(chances[of].prod()), float(agree[:, of].all(1).mean())
        )
        for kind, of in columns.items()
        if of
    }
    if len(found) == len(KINDS):
        unread = max(part.unread for part in found.values())
        found["all"] = JointSwaps(float(right.all(2).mean()), float(chances.prod()), unread)
    return found


def _leaks(factors: dict[str, FactorSwaps], kind: str) -> Leaks:
    told = [(factor.leaked, factor.chance) for factor in _of(factors, kind) if factor.leaked is not None]
    if not told:
        return Leaks(None, None)
    share, chance = np.mean(told, 0)
    return Leaks(float(share), float(chance))


def _of(factors: dict[str, FactorSwaps], kind: str) -> list[FactorSwaps]:
    return [factor for factor in factors.values() if factor.kind == kind]


def _mean(factors: dict[str, FactorSwaps], kind: str) -> float | None:
    values = [factor.accuracy for factor in _of(factors, kind)]
    return float(np.mean(values)) if values else None


def _slices(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
