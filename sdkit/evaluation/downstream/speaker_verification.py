"""Speaker verification (paper Table 6): whether a code identifies the speaker.

Every pair of test recordings is scored by the cosine of their codes and called the same speaker above a threshold. At
the equal error rate (EER) as many different pairs are accepted as same pairs are rejected, as shares. A static code
should have a low EER, a dynamic code one near 50 %; the gap between the two is the table's third column.

Which pairs were scored is part of a result (`Trials`). Pairs of one speaker are no independent trials, so the intervals
leave out whole speakers.
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from sdkit.evaluation.downstream.splits import Floats, Ints, Mask, valid_steps
from sdkit.evaluation.statistics import Interval, jackknife
from sdkit.runtime.errors import DataError

PROTOCOL = (
    "all pairs of test recordings; static codes averaged over a recording's pieces, dynamic codes over its pieces and "
    "their steps; cosine similarity of codes as they are (primary, as published) and of codes less their mean over the "
    "training recordings (centred); threshold where false accept = false reject"
)


@dataclass(frozen=True)
class Recordings:
    """One code of each kind for each of R recordings.

    Raises:
        DataError: parts of different lengths, or codes that are not finite.
    """

    static: Floats
    """Static codes (R, S), averaged over the recording's pieces."""
    dynamic: Floats
    """Dynamic codes (R, D), averaged over the recording's pieces and their valid steps."""
    speakers: Ints
    """Speakers (R,) of the recordings."""
    numbers: Ints | None = None
    """Numbers (R,) of the recordings in their file; their positions when None."""

    def __post_init__(self) -> None:
        if not len(self.static) == len(self.dynamic) == len(self.speakers) > 0:
            parts = len(self.static), len(self.dynamic), len(self.speakers)
            raise DataError(
                f"static codes, dynamic codes and speakers are {parts} recordings; expected the same number"
            )
        if not (np.isfinite(self.static).all() and np.isfinite(self.dynamic).all()):
            raise DataError("codes have NaN or infinity; a model that gives such codes cannot be evaluated")


@dataclass(frozen=True)
class Trials:
    """The pairs that were scored, by their numbers and a digest of the list of them."""

    recordings: int
    speakers: int
    same: int
    """Number of pairs of one speaker."""
    different: int
    """Number of pairs of two speakers."""
    sha256: str
    """SHA-256 of `trial_list`: two results with one digest are of the same pairs."""
    rule: str = "all pairs of test recordings"


@dataclass(frozen=True)
class Verification:
    """A row of Table 6, as shares between 0 and 1."""

    static_eer: float
    dynamic_eer: float
    gap: float
    """Difference `dynamic_eer` - `static_eer`; higher is better."""
    centred_static_eer: float
    """Static EER with the mean of the training recordings' codes subtracted: a common offset makes cosines alike."""
    centred_dynamic_eer: float
    centred_gap: float
    same_pairs: int
    different_pairs: int
    protocol: str = PROTOCOL


def by_recording(
    static: Floats, dynamic: Floats, recordings: Ints, speakers: Ints, lengths: Ints | None = None
) -> Recordings:
    """Return one code of each kind for each recording, in the order of their numbers.

    Args:
        static: (N, S) of the pieces, posterior means.
        dynamic: (N, T, D), posterior means.
        recordings: (N,) number of the recording that a piece is from.
        speakers: (N,) speaker of the piece.
        lengths: (N,) valid steps of the piece, or None.

    Raises:
        DataError: a recording with pieces of two speakers, or parts of different lengths.
    """
    if not len(static) == len(dynamic) == len(recordings) == len(speakers):
        parts = len(static), len(dynamic), len(recordings), len(speakers)
        raise DataError(f"static and dynamic codes, recordings and speakers are {parts} pieces; expected one number")
    names, first, piece = np.unique(recordings, return_index=True, return_inverse=True)
    owner = speakers[first]
    mixed = np.flatnonzero(owner[piece] != speakers)
    if len(mixed):
        raise DataError(f"recording {recordings[mixed[0]]} has pieces of two speakers; expected one")
    valid = valid_steps(lengths, *dynamic.shape[:2])
    totals = dynamic.sum(1, dtype=np.float64, where=valid[..., None])
    pieces, steps = (np.bincount(piece, weights)[:, None] for weights in (None, valid.sum(1)))
    return Recordings(_sums(static, piece, len(names)) / pieces, _sums(totals, piece, len(names)) / steps, owner, names)


def verify(test: Recordings, train: Recordings) -> Verification:
    """Return the equal error rates of both codes on the test recordings; training recordings give the centre.

    Raises:
        DataError: no two test recordings of one speaker, or of two.
    """
    same, scores = same_speaker(test.speakers), _scores(test, train)
    rates = _rates(same, scores)
    return Verification(
        rates["static_eer"],
        rates["dynamic_eer"],
        rates["gap"],
        rates["centred_static_eer"],
        rates["centred_dynamic_eer"],
        rates["centred_gap"],
        int(same.sum()),
        int((~same).sum()),
    )


def rate_intervals(test: Recordings, train: Recordings) -> dict[str, Interval]:
    """Return the jackknife intervals of the rates and gaps of `verify`, by name: each speaker is left out in turn.

    Intervals of rates end at 0 and 1. There are none where the pairs without a speaker are of one kind only.

    Raises:
        DataError: as `verify`.
    """
    same, scores = same_speaker(test.speakers), _scores(test, train)
    whole = _rates(same, scores)
    first, second = (test.speakers[side] for side in np.triu_indices(len(test.speakers), 1))
    left_out = []
    for speaker in np.unique(test.speakers):
        kept = (first != speaker) & (second != speaker)
        if not same[kept].any() or same[kept].all():
            return {}
        left_out.append(_rates(same[kept], {name: values[kept] for name, values in scores.items()}))
    found = {name: jackknife(value, [rates[name] for rates in left_out]) for name, value in whole.items()}
    return {
        name: replace(one, low=max(one.low, 0.0), high=min(one.high, 1.0)) if name in scores else one
        for name, one in found.items()
    }


def trials(test: Recordings) -> Trials:
    """Return the pairs that `verify` scores.

    Raises:
        DataError: as `verify`.
    """
    same = same_speaker(test.speakers)
    counts = len(test.speakers), len(np.unique(test.speakers)), int(same.sum()), int((~same).sum())
    return Trials(*counts, hashlib.sha256(trial_list(test).encode()).hexdigest())


def trial_list(test: Recordings) -> str:
    """Return the pairs that `verify` scores as text: a line `A B 1` or `A B 0` for each pair of recordings.

    A and B are the recordings' numbers in their file, A < B, in ascending order; 1 marks a pair of one speaker.
    """
    numbers = np.arange(len(test.speakers)) if test.numbers is None else test.numbers
    order = np.argsort(numbers, kind="stable")
    numbers, speakers = numbers[order], test.speakers[order]
    a, b = np.triu_indices(len(numbers), 1)
    rows = zip(numbers[a].tolist(), numbers[b].tolist(), (speakers[a] == speakers[b]).tolist(), strict=True)
    return "".join(f"{one} {other} {int(match)}\n" for one, other, match in rows)


def mean_spectra(x: Floats, recordings: Ints, speakers: Ints, lengths: Ints | None = None) -> Recordings:
    """Return recordings with the mean spectrum as both codes, which shows what verification reaches without a model.

    Args:
        x: (N, T, F) spectra of the pieces, in the units that the model sees.
        recordings: (N,), speakers: (N,), lengths: (N,) or None, as for `by_recording`.

    Raises:
        DataError: a recording with pieces of two speakers, or parts of different lengths.
    """
    found = by_recording(np.zeros((len(x), 0)), x, recordings, speakers, lengths)
    return replace(found, static=found.dynamic)


def same_speaker(speakers: Ints) -> Mask:
    """Return whether each of the R (R - 1) / 2 pairs is of one speaker, (P,), in the order of `cosines`.

    Raises:
        DataError: all pairs are, or none.
    """
    a, b = np.triu_indices(len(speakers), 1)
    same = np.asarray(speakers[a] == speakers[b])
    if not same.any() or same.all():
        raise DataError(
            f"{len(same)} pairs of recordings, {int(same.sum())} of one speaker; verification needs pairs of both kinds"
        )
    return same


def cosines(codes: Floats) -> Floats:
    """Return cosine similarities (P,) of all pairs of codes (R, P'); 0 where a code is zero."""
    codes = codes.astype(np.float64)
    norms = np.linalg.norm(codes, axis=1, keepdims=True)
    unit = codes / np.where(norms > 0, norms, 1)
    return np.asarray((unit @ unit.T)[np.triu_indices(len(unit), 1)])


def equal_error_rate(same: Mask, scores: Floats) -> tuple[float, float]:
    """Return the equal error rate and its threshold.

    Between two thresholds both rates are interpolated linearly, so that they meet exactly.

    Args:
        same: (P,) whether a pair is to be accepted.
        scores: (P,), higher for pairs to be accepted.
    """
    from sklearn.metrics import roc_curve

    accepted, kept, thresholds = roc_curve(same, scores, drop_intermediate=False)
    excess = accepted - (1 - kept)  # false accept less false reject: from -1 to 1, never falling
    right = int(np.argmax(excess >= 0))
    left = right - 1
    share = -excess[left] / (excess[right] - excess[left])
    # The curve starts at an infinite threshold, where nothing is accepted; the highest score stands for it.
    low, high = thresholds[right], min(thresholds[left], scores.max())
    rate = accepted[left] + share * (accepted[right] - accepted[left])
    return float(rate), float(high + share * (low - high))


def _scores(test: Recordings, train: Recordings) -> dict[str, Floats]:
    """Return the cosines (P,) of all pairs, by the rate that they lead to."""
    return {
        "static_eer": cosines(test.static),
        "dynamic_eer": cosines(test.dynamic),
        "centred_static_eer": cosines(test.static - train.static.mean(0)),
        "centred_dynamic_eer": cosines(test.dynamic - train.dynamic.mean(0)),
    }


def _rates(same: Mask, scores: dict[str, Floats]) -> dict[str, float]:
    rates = {name: equal_error_rate(same, values)[0] for name, values in scores.items()}
    gaps = {f"{p}gap": rates[f"{p}dynamic_eer"] - rates[f"{p}static_eer"] for p in ("", "centred_")}
    return {**rates, **gaps}


def _sums(values: Floats, group: Ints, groups: int) -> Floats:
    """Return (G, P) sums of rows (N, P)."""
    out = np.zeros((groups, values.shape[1]))
    np.add.at(out, group, values)
    return out
