"""Speaker verification (paper Table 6): whether a code identifies the speaker.

Every pair of test recordings is scored by the cosine of their codes and called the same speaker above a threshold. At
the equal error rate (EER) as many different pairs are accepted as same pairs are rejected, as shares. A static code
should have a low EER, a dynamic code one near 50 %; the gap between the two is the table's third column.
"""

from dataclasses import dataclass, replace

import numpy as np

from sdkit.evaluation.downstream.splits import Floats, Ints, Mask, valid_steps
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

    def __post_init__(self) -> None:
        if not len(self.static) == len(self.dynamic) == len(self.speakers) > 0:
            parts = len(self.static), len(self.dynamic), len(self.speakers)
            raise DataError(
                f"static codes, dynamic codes and speakers are {parts} recordings; expected the same number"
            )
        if not (np.isfinite(self.static).all() and np.isfinite(self.dynamic).all()):
            raise DataError("codes have NaN or infinity; a model that gives such codes cannot be evaluated")


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
    return Recordings(_sums(static, piece, len(names)) / pieces, _sums(totals, piece, len(names)) / steps, owner)


def verify(test: Recordings, train: Recordings) -> Verification:
    """Return the equal error rates of both codes on the test recordings; training recordings give the centre.

    Raises:
        DataError: no two test recordings of one speaker, or of two.
    """
    same = same_speaker(test.speakers)
    static, dynamic = (_eer(same, code) for code in (test.static, test.dynamic))
    centred_static = _eer(same, test.static - train.static.mean(0))
    centred_dynamic = _eer(same, test.dynamic - train.dynamic.mean(0))
    return Verification(
        static,
        dynamic,
        dynamic - static,
        centred_static,
        centred_dynamic,
        centred_dynamic - centred_static,
        int(same.sum()),
        int((~same).sum()),
    )


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


def _eer(same: Mask, codes: Floats) -> float:
    return equal_error_rate(same, cosines(codes))[0]


def _sums(values: Floats, group: Ints, groups: int) -> Floats:
    """Return (G, P) sums of rows (N, P)."""
    out = np.zeros((groups, values.shape[1]))
    np.add.at(out, group, values)
    return out
