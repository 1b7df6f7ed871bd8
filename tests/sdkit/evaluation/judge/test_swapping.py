from pathlib import Path

import numpy as np
import pytest

from sdkit.evaluation.judge.classifier import Floats
from sdkit.evaluation.judge.swapping import pair_codes, partners, swap_scores, swap_truth
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError
from sdkit.runtime.storage.sequences import Factor, SequenceFile
from tests.sdkit.evaluation.made import FACTORS, Leaky, MadeJudge, ZeroAnchor, grid, verbs, write

AB, BA = "static_a_dynamic_b", "static_b_dynamic_a"


def pairs(file: SequenceFile, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of both sides of all pairs."""
    labels = file.labels()
    assert labels is not None
    groups = pair_codes(verbs(), file, file.select("test"), seed)
    a = np.concatenate([labels[g.rows] for g in groups])
    return a, np.concatenate([labels[g.rows[g.partner]] for g in groups])


def test_nobody_is_his_own_partner() -> None:
    for seed, count in ((0, 2), (1, 3), (2, 50)):
        partner = partners(count, np.random.default_rng(seed))
        assert sorted(partner.tolist()) == list(range(count))
        assert (partner != np.arange(count)).all()


def test_pairs_follow_from_the_seed(file: SequenceFile) -> None:
    assert pairs(file, 1)[1].tolist() == pairs(file, 1)[1].tolist() != pairs(file, 2)[1].tolist()


def test_a_perfect_splitter(file: SequenceFile) -> None:
    scores = swap_scores(verbs(), MadeJudge(), file)
    a, b = pairs(file)
    same_who, same_what = (a == b).mean(0)
    assert (scores.pairs, scores.static, scores.dynamic) == (9, 1.0, 1.0)
    who, what = scores.factors["who"], scores.factors["what"]
    assert (who.kind, who.accuracy, who.leaked, who.chance, who.majority) == ("static", 1.0, 0.0, 1 / 3, 1 / 3)
    assert (what.kind, what.accuracy, what.leaked) == ("dynamic", 1.0, 0.0)
    assert (who.directions[AB].of_a, who.directions[AB].of_b) == pytest.approx((1.0, same_who))
    assert (who.directions[BA].of_a, who.directions[BA].of_b) == pytest.approx((same_who, 1.0))
    assert (what.directions[AB].of_a, what.directions[AB].of_b) == pytest.approx((same_what, 1.0))


def test_a_leak(file: SequenceFile) -> None:
    scores = swap_scores(verbs(Leaky()), MadeJudge(), file)
    a, b = pairs(file)
    assert scores.factors["who"].accuracy == pytest.approx((a == b).mean(0)[0])
    assert scores.factors["who"].leaked == 1.0
    assert (scores.dynamic, scores.factors["what"].leaked) == (1.0, 0.0)


def test_all_factors_at_once(file: SequenceFile) -> None:
    a, b = pairs(file)
    same_who, same_what = (a == b).mean(0)
    assert same_who != same_what
    scores = swap_scores(verbs(), MadeJudge(), file)
    assert {name: joint.accuracy for name, joint in scores.joint.items()} == {"static": 1, "dynamic": 1, "all": 1}
    assert [joint.chance for joint in scores.joint.values()] == pytest.approx([1 / 3, 1 / 3, 1 / 9])
    unread = [same_who, same_what, max(same_who, same_what)]
    assert [joint.unread for joint in scores.joint.values()] == pytest.approx(unread)
    assert list(scores.leaked) == ["static", "dynamic"]
    assert {leaks.share for leaks in scores.leaked.values()} == {0.0}
    assert {leaks.chance for leaks in scores.leaked.values()} == {1 / 3}
    leak = swap_scores(verbs(Leaky()), MadeJudge(), file)
    # Every swap shows the source of the dynamic codes, which is right in both where the sources are the same person.
    joint = {name: part.accuracy for name, part in leak.joint.items()}
    assert joint == pytest.approx({"static": same_who, "dynamic": 1.0, "all": same_who})
    assert (leak.leaked["static"].share, leak.leaked["dynamic"].share) == (1.0, 0.0)
    assert leak.factors["who"].differing == 2 * (a != b)[:, 0].sum()


class Second(MadeJudge):
    """Sees who it is in two factors, the second of which it never gets right."""

    def __init__(self) -> None:
        self.factors = (FACTORS[0], Factor("twin", "static", ("0", "1", "2", "3")), FACTORS[1])

    def probabilities(self, x: Array) -> dict[str, Floats]:
        found = super().probabilities(x)
        return {**found, "twin": np.eye(4, dtype=np.float32)[np.full(len(x), 3)]}


def test_one_wrong_factor_spoils_the_whole(tmp_path: Path) -> None:
    x, labels = grid()
    judge = Second()
    twice = np.stack([labels[:, 0], labels[:, 0], labels[:, 1]], 1)
    scores = swap_scores(verbs(), judge, write(tmp_path / "twins.h5", x, twice, factors=judge.factors))
    assert (scores.static, scores.dynamic) == (0.5, 1.0)
    assert {name: joint.accuracy for name, joint in scores.joint.items()} == {"static": 0, "dynamic": 1, "all": 0}
    assert scores.joint["static"].chance == pytest.approx(1 / 12)
    # What is neither source's value is wrong and no leak.
    assert (scores.factors["twin"].leaked, scores.leaked["static"].share) == (0.0, 0.0)
    assert scores.leaked["static"].chance == pytest.approx((1 / 3 + 1 / 4) / 2)


def test_without_dynamic_factors_there_is_no_whole(tmp_path: Path) -> None:
    x, labels = grid()
    judge = MadeJudge()
    judge.factors = FACTORS[:1]
    found = swap_scores(verbs(), judge, write(tmp_path / "who.h5", x, labels[:, :1], factors=FACTORS[:1]))
    assert list(found.joint) == list(found.leaked) == ["static"]


def test_sources_that_do_not_differ_tell_no_leak(tmp_path: Path) -> None:
    x, labels = grid()
    file = write(tmp_path / "alone.h5", x[:3], labels[:3])
    found = swap_scores(verbs(), MadeJudge(), file)
    assert (found.factors["who"].leaked, found.factors["who"].differing) == (None, 0)
    assert (found.leaked["static"].share, found.leaked["dynamic"].share) == (None, 0.0)
    assert found.joint["static"].unread == 1.0


def test_lengths_do_not_mix(tmp_path: Path) -> None:
    x, labels = grid(5)
    lengths = np.array([5, 3, 5, 3, 5, 3, 2, 5, 5])
    file = write(tmp_path / "ragged.h5", x, labels, lengths=lengths)
    for group in pair_codes(verbs(), file, file.select("test"), 0):
        assert len(set(lengths[group.rows])) == 1
    scores = swap_scores(verbs(), MadeJudge(), file)
    assert (scores.pairs, scores.static, scores.dynamic) == (8, 1.0, 1.0)  # the one of two steps has no partner
    truth, _ = swap_truth(verbs(), file)
    assert truth is not None
    assert 0 < truth.pairs < truth.of == 8
    assert truth.swap == 0.0


def test_no_pair_at_all(tmp_path: Path) -> None:
    x, labels = grid()
    file = write(tmp_path / "two.h5", x[:2], labels[:2], lengths=np.array([3, 4]))
    with pytest.raises(DataError, match="no two of the 2 sequences have one length"):
        swap_scores(verbs(), MadeJudge(), file)


def test_the_true_swap_of_a_perfect_splitter(file: SequenceFile) -> None:
    truth, reason = swap_truth(verbs(), file)
    assert reason == ""
    assert truth is not None
    assert (truth.pairs, truth.of, truth.swap, truth.reconstruction) == (9, 9, 0.0, 0.0)
    assert truth.swap_by_step == truth.reconstruction_by_step == (0.0,) * 4
    # A copy of a is wrong in one feature of four, by ten times the difference of what is done.
    a, b = pairs(file)
    expected = 10 * np.abs(a - b)[:, 1].mean() / 4
    assert truth.copy == pytest.approx(expected)
    assert truth.copy_by_step == pytest.approx((expected,) * 4)


def test_an_anchor_without_a_dynamic_code_errs_at_the_anchor(file: SequenceFile) -> None:
    truth, _ = swap_truth(verbs(ZeroAnchor()), file)
    assert truth is not None
    what = 10 * pairs(file)[1][:, 1].mean() / 4  # the feature at the anchor is 10 what, decoded as 0
    assert truth.swap_by_step == pytest.approx((what, 0, 0, 0))
    assert truth.reconstruction_by_step == pytest.approx((what, 0, 0, 0))
    assert truth.swap == pytest.approx(what / 4)


def test_the_true_swap_where_the_splitter_leaks(file: SequenceFile) -> None:
    truth, _ = swap_truth(verbs(Leaky()), file)
    a, b = pairs(file)
    assert truth is not None
    assert truth.swap == pytest.approx(10 * np.abs(a - b)[:, 0].mean() / 4)  # it gives b, which differs in who it is
    assert truth.reconstruction == 0.0


def test_values_that_were_not_observed_are_not_compared(tmp_path: Path) -> None:
    x, labels = grid()
    x[:, 1, 1] = np.nan  # the splitter decodes 0 there or copies another step's 1
    truth, _ = swap_truth(verbs(), write(tmp_path / "gaps.h5", x, labels))
    assert truth is not None
    assert truth.swap == truth.reconstruction == 0.0


def test_why_there_is_no_truth(tmp_path: Path, file: SequenceFile) -> None:
    x, labels = grid()
    truth, reason = swap_truth(verbs(), write(tmp_path / "bare.h5", x, None))
    assert truth is None
    assert "has no labels to find a swap's truth by" in reason
    twice = write(tmp_path / "twice.h5", np.concatenate([x, x]), np.concatenate([labels, labels]))
    truth, reason = swap_truth(verbs(), twice)
    assert truth is None
    assert reason == "labels do not identify a sequence: 18 sequences have 9 sets of labels"
    diagonal = labels[:, 0] == labels[:, 1]
    truth, reason = swap_truth(verbs(), write(tmp_path / "diagonal.h5", x[diagonal], labels[diagonal]))
    assert truth is None
    assert "no true swap of the pairs drawn" in reason


def test_one_kind_of_factor_is_not_enough(tmp_path: Path) -> None:
    x, labels = grid()
    file = write(tmp_path / "who.h5", x[::3], labels[::3, :1], factors=FACTORS[:1])
    truth, reason = swap_truth(verbs(), file)
    assert truth is None
    assert "has no dynamic factor" in reason
