"""Scores that need no labels: whether codes mean the same at every position and in every combination.

Distances between codes are Euclidean over all their values (dynamic codes: over all steps together); distances between
sequences are mean absolute differences in data units over the observed values. Relative figures are divided by the
same distance between the two sources of a swap, two random sequences of equal length, so that 0 is perfect and 1 as
far as another sequence; they are None where those do not differ, as with a collapsed code.

Every function works on at most `limit` sequences of a split, chosen at random by the seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdkit.evaluation.base import BOTH_CODES, Case, EvaluationProtocol, Line, Needs
from sdkit.evaluation.data import split_rows
from sdkit.evaluation.judge.swapping import partners
from sdkit.evaluation.stage import stage
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.noise import Draw, generator
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.data import equal_lengths

LIMIT = 512
WINDOW = 2
"""Number of steps of the sub-sequences that static codes are read from: as short as a sequence can be."""

Distances = NDArray[np.float64]


@dataclass(frozen=True)
class SwapConsistency:
    """Agreement of the codes before a swap with those of the encoded swap."""

    pairs: int
    static: float | None
    """Distance of the static code read from a swap to the one that was decoded, relative to another sequence's."""
    dynamic: float | None
    """Distance of the dynamic codes read from a swap to those that were decoded, relative to another sequence's."""
    twice: float | None
    """Distance of a sequence that was swapped, encoded and swapped back to its reconstruction, relative to another
    sequence's reconstruction."""
    twice_error: float
    """Distance of `twice` in data units."""
    self_swap: float
    """Largest absolute difference, in data units, between a sequence's swap with itself and its reconstruction."""


@dataclass(frozen=True)
class StaticStability:
    """Dependence of the static code on the position in a sequence at which it is read."""

    sequences: int
    window: int
    """Number of steps of the sub-sequences that codes are read from."""
    within: float
    """Variance of the code over starts within a sequence, summed over units."""
    between: float
    """Variance of the code between sequences beyond that, summed over units."""
    intraclass_correlation: float | None
    """Ratio between / (between + within): 1 where every start gives the same code, 0 where the code does not depend on
    its sequence (estimates may be slightly negative); None where codes never differ."""
    drift: tuple[float | None, ...]
    """Distance of the code to that of start 0, by start, relative to the distance to another sequence's."""
    error: tuple[float, ...]
    """Mean absolute error in data units, by start, of decoding the whole sequence with that static code and its own
    dynamic codes, the mean over sequences; start 0 is the reference."""


@dataclass(frozen=True)
class OrderSensitivity:
    """Dependence of the static code on the order of a sequence's steps."""

    sequences: int
    shuffled: float | None
    """Distance of the static code of a sequence whose steps are shuffled to its own, relative to another sequence's: 0
    where order says nothing, and 1 where a shuffled sequence is as far as another one. None where codes never
    differ."""
    moved: float
    """Share of the steps that the shuffles put elsewhere."""


def swap_consistency(
    verbs: Verbs,
    file: SequenceFile,
    split: str = "test",
    *,
    seed: int = 0,
    limit: int = LIMIT,
    reporter: Reporter | None = None,
) -> SwapConsistency:
    """Swap random pairs, encode the swaps, and compare their codes with those that were decoded.

    Swaps are encoded as the data set would store them: uint8 images are rounded. A second swap exchanges the codes read
    from the two swaps of a pair, s(s_a, d_b) with d(s_b, d_a), which should give a's reconstruction.

    Raises:
        ConfigError: no such split, or limit < 2.
        DataError: no two sequences of one length.
    """
    moved: dict[str, list[Distances]] = {"static": [], "dynamic": [], "twice": []}
    apart: dict[str, list[Distances]] = {"static": [], "dynamic": [], "twice": []}
    self_swap, rng = 0.0, generator(seed, Draw.PARTNERS)
    for x in some_sequences(file, split, seed, limit, "swapping and encoding again", reporter):
        if len(x) < 2:
            continue
        partner = partners(len(x), rng)
        codes, plain = verbs.encode(x), verbs.reconstruct(x)
        other = codes[partner]
        ab = _again(verbs, Codes(codes.static, other.dynamic))
        ba = _again(verbs, Codes(other.static, codes.dynamic))
        twice = verbs.decode(Codes(ab.static, ba.dynamic))
        moved["static"].append(_code_distance(ab.static, codes.static))
        apart["static"].append(_code_distance(other.static, codes.static))
        moved["dynamic"].append(_code_distance(ab.dynamic, other.dynamic))
        apart["dynamic"].append(_code_distance(codes.dynamic, other.dynamic))
        moved["twice"].append(_data_distance(twice, plain))
        apart["twice"].append(_data_distance(plain[partner], plain))
        self_swap = max(self_swap, float(np.abs(verbs.swap(x, x)[0] - plain).max()))
    if not moved["twice"]:
        raise DataError(f"{file.path}: no two sequences of split '{split}' have one length; swaps need pairs")
    far, near = ({name: np.concatenate(parts) for name, parts in side.items()} for side in (apart, moved))
    relative = {name: _ratio(float(near[name].mean()), float(far[name].mean())) for name in near}
    return SwapConsistency(len(near["twice"]), **relative, twice_error=float(near["twice"].mean()), self_swap=self_swap)


def static_stability(
    verbs: Verbs,
    file: SequenceFile,
    split: str = "test",
    *,
    window: int = WINDOW,
    seed: int = 0,
    limit: int = LIMIT,
    reporter: Reporter | None = None,
) -> StaticStability:
    """Read the static code from every sub-sequence of `window` steps and compare the codes of each sequence.

    For a model that reads its static code from one element this shows both the stability of the code over time and its
    dependence on the choice of the element. Within and between come from a one-way analysis of variance, summed
    over the units of the code. The error by start decodes each of these codes with the dynamic codes of the whole
    sequence.

    Raises:
        ConfigError: no such split, window < 2 or longer than the file's sequences, or limit < 2.
        DataError: fewer than two sequences as long as the window.
    """
    if not 2 <= window <= file.steps:
        raise ConfigError(f"window = {window}; {file.path} has sequences of {file.steps} steps, so it must lie in 2..T")
    codes: list[NDArray[np.float64]] = []
    drift: list[list[Distances]] = [[] for _ in range(file.steps - window + 1)]
    errors: list[list[Distances]] = [[] for _ in drift]
    for x in some_sequences(file, split, seed, limit, "reading the static code at other starts", reporter):
        starts = range(x.shape[1] - window + 1)
        read = [verbs.encode(np.ascontiguousarray(x[:, t : t + window])).static for t in starts]
        if not read:
            continue
        codes.extend(np.stack(read, 1).astype(np.float64))
        dynamic = verbs.encode(x).dynamic
        for t in starts:
            drift[t].append(_code_distance(read[t], read[0]))
            errors[t].append(_data_distance(verbs.decode(Codes(read[t], dynamic)), x.astype(np.float32)))
    if len(codes) < 2:
        raise DataError(f"{file.path}: split '{split}' has fewer than two sequences of {window} steps")
    first = np.stack([group[0] for group in codes])
    apart = _code_distance(first[partners(len(first), generator(seed, Draw.PARTNERS))], first).mean()
    within, between = _variances(codes)
    return StaticStability(
        sequences=len(codes),
        window=window,
        within=within,
        between=between,
        intraclass_correlation=_ratio(between, between + within),
        drift=tuple(_ratio(_mean(parts), float(apart)) for parts in drift if parts),
        error=tuple(_mean(parts) for parts in errors if parts),
    )


def order_sensitivity(
    verbs: Verbs,
    file: SequenceFile,
    split: str = "test",
    *,
    seed: int = 0,
    limit: int = LIMIT,
    reporter: Reporter | None = None,
) -> OrderSensitivity:
    """Shuffle the steps of sequences, each in an order of its own, and compare their static codes with those in order.

    A code that is pooled over steps does not depend on their order; one that is read from one element, or by a
    recurrent network, may.

    Raises:
        ConfigError: no such split, or limit < 2.
        DataError: no two sequences of one length.
    """
    near: list[Distances] = []
    far: list[Distances] = []
    moved, steps, rng = 0, 0, generator(seed, Draw.PARTNERS)
    for x in some_sequences(file, split, seed, limit, "shuffling the steps", reporter):
        if len(x) < 2:
            continue
        order = orders(len(x), x.shape[1], rng)
        static = verbs.encode(x).static
        shuffled = verbs.encode(x[np.arange(len(x))[:, None], order]).static
        near.append(_code_distance(shuffled, static))
        far.append(_code_distance(static[partners(len(x), rng)], static))
        moved += int((order != np.arange(x.shape[1])).sum())
        steps += order.size
    if not near:
        raise DataError(f"{file.path}: no two sequences of split '{split}' have one length; distances need pairs")
    return OrderSensitivity(sum(len(part) for part in near), _ratio(_mean(near), _mean(far)), moved / steps)


def orders(count: int, steps: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return an order of T steps for each of B sequences, (B, T); none of them is the one that they have."""
    order = np.argsort(rng.random((count, steps)), 1)
    unmoved = (order == np.arange(steps)).all(1)
    order[unmoved] = np.roll(order[unmoved], 1, 1)
    return order


class SwapConsistencyProtocol(EvaluationProtocol):
    """Consistency of the codes when swaps are encoded again."""

    name, section, part = "consistency of swaps", "consistency", "swaps"
    needs = Needs(verbs=(BOTH_CODES,))

    def run(self, case: Case) -> SwapConsistency:
        """Swap pairs of the test split."""
        return swap_consistency(case.verbs, case.file, seed=case.seed, reporter=case.reporter)

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield relative distances."""
        scale = "0 perfect, 1 as far as another sequence"
        for figure, value in (
            ("static code of an encoded swap", found["static"]),
            ("dynamic codes of an encoded swap", found["dynamic"]),
            ("swapped twice against reconstruction", found["twice"]),
        ):
            yield Line(self.section, figure, _relative(value), scale)


class StaticStabilityProtocol(EvaluationProtocol):
    """Stability of the static code when it is read at other starts."""

    name, section, part = "consistency of the static code", "consistency", "static"
    needs = Needs(verbs=(BOTH_CODES,))

    def run(self, case: Case) -> StaticStability:
        """Read sub-sequences of the test split."""
        return static_stability(case.verbs, case.file, seed=case.seed, reporter=case.reporter)

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield the intraclass correlation."""
        value = _relative(found["intraclass_correlation"])
        yield Line(self.section, "static code over starts (ICC)", value, "1 constant")


class OrderSensitivityProtocol(EvaluationProtocol):
    """Sensitivity of the static code to the order of the steps."""

    name, section, part = "consistency under shuffled steps", "consistency", "order"
    needs = Needs(verbs=("encode", BOTH_CODES))

    def run(self, case: Case) -> OrderSensitivity:
        """Shuffle sequences of the test split."""
        return order_sensitivity(case.verbs, case.file, seed=case.seed, reporter=case.reporter)

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield the relative distance."""
        scale = "0 free of order, 1 as far as another sequence"
        yield Line(self.section, "static code of shuffled steps", _relative(found["shuffled"]), scale)


def some_sequences(
    file: SequenceFile, split: str | None, seed: int, limit: int, what: str, reporter: Reporter | None
) -> Iterator[Array]:
    """Yield at most `limit` sequences of a split, all of one length (B, T, *element) at a time."""
    if limit < 2:
        raise ConfigError(f"limit = {limit}; two sequences are the least that can be compared")
    index = split_rows(file, split)
    if len(index) > limit:
        index = np.sort(generator(seed, Draw.SEQUENCES).choice(index, limit, replace=False))
    with stage(reporter, what, len(index)) as shown:
        for rows, x in equal_lengths(file, index, limit):
            yield x
            shown.advance(len(rows))


def _again(verbs: Verbs, codes: Codes) -> Codes:
    return verbs.encode(verbs.element.cast(verbs.decode(codes)))


def _code_distance(a: Array, b: Array) -> Distances:
    """Return Euclidean distances (B,) of codes (B, S) or (B, T, D)."""
    difference = (a.astype(np.float64) - b).reshape(len(a), -1)
    return np.asarray(np.sqrt((difference**2).sum(1)))


def _data_distance(a: Array, b: Array) -> Distances:
    """Return mean absolute differences (B,) of sequences (B, T, *element) over observed values; 0 without any."""
    difference = np.abs(a - b).reshape(len(a), -1)
    seen = (~np.isnan(difference)).sum(1)
    return np.asarray(np.nansum(difference, 1, dtype=np.float64) / np.maximum(seen, 1))


def _relative(value: float | None) -> str:
    return "none: the codes never differ" if value is None else f"{value:.3f}"


def _mean(parts: list[Distances]) -> float:
    return float(np.concatenate(parts).mean())


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _variances(codes: list[NDArray[np.float64]]) -> tuple[float, float]:
    """Return the variances within and between groups, summed over units, of codes (k_i, S) in n groups.

    One-way analysis of variance for groups of different sizes: the mean square within estimates the first, and the mean
    square between, less the first, over the effective size k_0 estimates the second.
    """
    # Relative to one of the codes, a code that never differs has variances of exactly 0.
    codes = [group - codes[0][0] for group in codes]
    sizes = np.array([len(group) for group in codes], np.float64)
    means = np.stack([group.mean(0) for group in codes])
    total, n = sizes.sum(), len(codes)
    grand = (sizes[:, None] * means).sum(0) / total
    square_between = float((sizes[:, None] * (means - grand) ** 2).sum()) / (n - 1)
    free = total - n
    squares = sum(float(((group - mean) ** 2).sum()) for group, mean in zip(codes, means, strict=True))
    within = squares / free if free > 0 else 0.0
    effective = (total - float((sizes**2).sum()) / total) / (n - 1)
    return within, (square_between - within) / effective
