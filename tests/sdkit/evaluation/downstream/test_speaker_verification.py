"""Equal error rates that can be worked out by hand, and the averages that lead to them."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from sdkit.evaluation.downstream.speaker_verification import (
    Recordings,
    by_recording,
    cosines,
    equal_error_rate,
    mean_spectra,
    rate_intervals,
    same_speaker,
    trial_list,
    trials,
    verify,
)
from sdkit.runtime.errors import DataError

SPEAKERS = np.repeat(np.arange(24), 8)
"""TIMIT's core test set: 24 speakers, 8 recordings each."""


def spoken() -> Recordings:
    """Return recordings whose static codes tell the speaker and whose dynamic codes do not."""
    rng = np.random.default_rng(0)
    voices = rng.standard_normal((24, 16))
    static = voices[SPEAKERS] + 0.1 * rng.standard_normal((192, 16))
    return Recordings(static, rng.standard_normal((192, 16)), SPEAKERS)


def test_the_core_test_set_has_its_pairs() -> None:
    found = verify(spoken(), spoken())
    assert (found.same_pairs, found.different_pairs) == (672, 17664)
    assert "all pairs" in found.protocol
    assert found.static_eer < 0.01
    assert found.dynamic_eer == pytest.approx(0.5, abs=0.03)
    assert found.gap == found.dynamic_eer - found.static_eer
    assert found.centred_gap == found.centred_dynamic_eer - found.centred_static_eer


def test_the_trials_are_told() -> None:
    codes, speakers = np.ones((4, 2)), np.array([7, 3, 7, 3])
    found = trials(Recordings(codes, codes, speakers, np.array([12, 5, 8, 30])))
    text = "5 8 0\n5 12 0\n5 30 1\n8 12 1\n8 30 0\n12 30 0\n"
    assert trial_list(Recordings(codes, codes, speakers, np.array([12, 5, 8, 30]))) == text
    assert (found.recordings, found.speakers, found.same, found.different) == (4, 2, 2, 4)
    assert found.sha256 == hashlib.sha256(text.encode()).hexdigest()
    # The order of the recordings in memory is no part of the list, and their speakers are.
    order = [1, 0, 3, 2]
    again = Recordings(codes, codes, speakers[order], np.array([12, 5, 8, 30])[order])
    assert trials(again) == found
    assert trials(Recordings(codes, codes, speakers)).sha256 != found.sha256
    named = by_recording(codes, np.ones((4, 2, 1)), np.array([9, 4, 9, 4]), np.array([0, 1, 0, 1]))
    assert named.numbers is not None
    assert named.numbers.tolist() == [4, 9]


def test_intervals_leave_out_whole_speakers() -> None:
    rng, speakers = np.random.default_rng(0), np.repeat(np.arange(6), 4)
    static = 2 * rng.standard_normal((6, 3))[speakers] + rng.standard_normal((24, 3))
    recordings = Recordings(static, rng.standard_normal((24, 3)), speakers)
    found = rate_intervals(recordings, recordings)
    row = verify(recordings, recordings)
    assert {name: one.value for name, one in found.items()} == {name: getattr(row, name) for name in found}
    assert set(found) == {f"{p}{name}" for p in ("", "centred_") for name in ("static_eer", "dynamic_eer", "gap")}
    one = found["dynamic_eer"]
    assert (one.method, one.draws, one.level) == ("jackknife", 6, 0.95)
    without = []
    for speaker in range(6):
        kept = speaker != recordings.speakers
        static, dynamic = recordings.static[kept], recordings.dynamic[kept]
        without.append(verify(Recordings(static, dynamic, recordings.speakers[kept]), recordings).dynamic_eer)
    assert one.sd == pytest.approx(np.sqrt(5 * np.var(without)))
    assert one.low < one.value < one.high
    gap = found["gap"]
    assert gap.high - gap.low == pytest.approx(2 * 2.5706 * gap.sd, rel=1e-3)  # t of five degrees of freedom
    assert all(0 <= one.low <= one.high <= 1 for name, one in found.items() if name.endswith("eer"))


def test_speakers_without_whom_there_are_no_trials_have_no_interval() -> None:
    rng = np.random.default_rng(0)
    two = Recordings(rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), np.array([0, 0, 1, 1]))
    assert rate_intervals(two, two) == {}  # without one of them no pair is of two speakers
    lone = Recordings(rng.normal(size=(4, 2)), rng.normal(size=(4, 2)), np.array([0, 0, 1, 2]))
    assert rate_intervals(lone, lone) == {}  # without the first no pair is of one


@pytest.mark.parametrize(
    ("same", "different", "rate"),
    [
        ([0.9, 0.8], [0.5, 0.1], 0.0),
        ([0.1, 0.2], [0.5, 0.9], 1.0),
        ([0.9, 0.8, 0.7, 0.3], [0.5, 0.2, 0.1, 0.0], 0.25),
        ([0.9, 0.4], [0.6, 0.1], 0.5),
        ([0.5, 0.5, 0.5], [0.5, 0.5], 0.5),
        # At 0.5 a third of the different pairs is accepted and a quarter of the same rejected; above it none and half.
        ([0.9, 0.8, 0.5, 0.3], [0.5, 0.2, 0.1], 2 / 7),
    ],
)
def test_rates_worked_out_by_hand(same: list[float], different: list[float], rate: float) -> None:
    labels = np.array([True] * len(same) + [False] * len(different))
    assert equal_error_rate(labels, np.array(same + different))[0] == pytest.approx(rate)


def test_at_the_threshold_both_errors_are_the_rate() -> None:
    rng = np.random.default_rng(0)
    same = np.arange(18336) < 672
    scores = rng.standard_normal(18336) + 1.5 * same
    rate, threshold = equal_error_rate(same, scores)
    accepted = scores >= threshold
    false_accept, false_reject = accepted[~same].mean(), (~accepted[same]).mean()
    assert false_accept == pytest.approx(rate, abs=1 / 672)
    assert false_reject == pytest.approx(rate, abs=1 / 672)
    assert rate == pytest.approx(0.2266, abs=0.02)  # the normal distribution beyond 0.75
    noise = equal_error_rate(same, rng.standard_normal(18336))[0]
    assert noise == pytest.approx(0.5, abs=0.03)


def test_cosines_ignore_length_and_bear_zeros() -> None:
    codes = np.array([[1.0, 0.0], [5.0, 5.0], [0.0, 0.0], [-2.0, 0.0]])
    root = np.sqrt(0.5)
    np.testing.assert_allclose(cosines(codes), [root, 0, -1, 0, -root, 0], atol=1e-12)
    assert same_speaker(np.array([7, 7, 1, 7])).tolist() == [True, False, True, False, True, False]


def test_centring_undoes_a_common_offset() -> None:
    # Two voices on either side of 0 are opposite; moved along the line between them, they differ in length alone.
    across = 0.3 * np.random.default_rng(0).standard_normal(16)
    codes = np.stack([np.repeat([-1.0, 1.0], 8), across], 1)
    near = Recordings(codes, codes, np.repeat([0, 1], 8))
    far = replace(near, static=codes + np.array([50.0, 0.0]))
    found = verify(far, far)
    assert (found.dynamic_eer, found.centred_dynamic_eer) == (0, 0)
    assert found.centred_static_eer == 0
    assert found.static_eer > 0.3


def test_codes_are_averaged_over_pieces_and_steps() -> None:
    static = np.array([[1.0], [3.0], [10.0]], np.float32)
    dynamic = np.array([[[1.0], [2.0]], [[6.0], [np.nan]], [[5.0], [7.0]]], np.float32)
    found = by_recording(static, dynamic, np.array([9, 9, 4]), np.array([1, 1, 0]), np.array([2, 1, 2]))
    assert found.static.tolist() == [[10], [2]]
    assert found.dynamic.tolist() == [[6], [3]]
    assert found.speakers.tolist() == [0, 1]
    whole = by_recording(static[[0, 2]], dynamic[[0, 2]], np.array([0, 1]), np.array([0, 0]))
    assert whole.dynamic.tolist() == [[1.5], [6]]


def test_the_mean_spectrum_as_a_code() -> None:
    rng = np.random.default_rng(0)
    pieces = np.repeat(np.arange(192), 3)
    voices = rng.random((24, 30))
    x = voices[SPEAKERS[pieces]][:, None] + 0.1 * rng.standard_normal((576, 5, 30))
    found = mean_spectra(x, pieces, SPEAKERS[pieces])
    np.testing.assert_allclose(found.static, x.reshape(192, 15, 30).mean(1))
    row = verify(found, found)
    assert row.static_eer == row.dynamic_eer < 0.01
    assert row.gap == 0


def test_recordings_that_cannot_be_verified() -> None:
    one = Recordings(np.ones((3, 2)), np.ones((3, 2)), np.array([1, 1, 1]))
    with pytest.raises(DataError, match="3 pairs of recordings, 3 of one speaker"):
        verify(one, one)
    all_apart = replace(one, speakers=np.arange(3))
    with pytest.raises(DataError, match="3 pairs of recordings, 0 of one speaker"):
        verify(all_apart, one)
    with pytest.raises(DataError, match=r"are \(3, 3, 2\) recordings"):
        replace(one, speakers=np.arange(2))
    with pytest.raises(DataError, match="codes have NaN"):
        replace(one, static=np.full((3, 2), np.nan))
    with pytest.raises(DataError, match="recording 5 has pieces of two speakers"):
        by_recording(np.ones((3, 1)), np.ones((3, 2, 1)), np.array([4, 5, 5]), np.array([0, 0, 1]))
    with pytest.raises(DataError, match=r"are \(3, 3, 2, 3\) pieces"):
        by_recording(np.ones((3, 1)), np.ones((3, 2, 1)), np.array([4, 5]), np.array([0, 0, 1]))
