import numpy as np
import pytest

from sdkit.evaluation.judge.generation import ProtocolScores, dynamic_kept, static_kept
from sdkit.evaluation.judge.msd import SAMPLE, SWAP, two_factor_sample, two_factor_swap
from sdkit.evaluation.judge.swapping import swap_scores
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.storage.sequences import SequenceFile
from tests.sdkit.evaluation.judge.test_swapping import pairs
from tests.sdkit.evaluation.made import Leaky, MadeJudge, Splitter, verbs


def test_sample_of_a_perfect_splitter(file: SequenceFile) -> None:
    # What is drawn is judged as class 0, which is right as often as a guess.
    found = two_factor_sample(*tables(Splitter(), file))
    assert found.name == SAMPLE == "intervention_two_factor_sample"
    assert (found.on, found.off) == pytest.approx((0.0, 0.0))
    assert found.score.mean == pytest.approx(1.0)
    assert len(found.score.values) == 2
    assert found.accuracies == {
        "static": {"who": 1.0, "what": pytest.approx(1 / 3)},
        "dynamic": {"who": pytest.approx(1 / 3), "what": 1.0},
    }


def test_sample_of_a_leak(file: SequenceFile) -> None:
    # Static kept: who is lost (a = 1/3 where 1 is wanted). Dynamic kept: who survives (1 where 1/3 is wanted).
    found = two_factor_sample(*tables(Leaky(), file))
    assert (found.on, found.off) == pytest.approx((1 / 3, 1 / 3))
    assert found.score.mean == pytest.approx(2 / 3)


def test_swap(file: SequenceFile) -> None:
    a, b = pairs(file)
    same = np.mean(a == b, 0)
    found = two_factor_swap(swap_scores(verbs(), MadeJudge(), file))
    assert found.name == SWAP == "intervention_two_factor_swap"
    assert found.on == 0.0
    assert found.off == pytest.approx(np.abs(same - 1 / 3).mean())
    assert found.score.mean == pytest.approx(1 - found.off / 2)
    leak = two_factor_swap(swap_scores(verbs(Leaky()), MadeJudge(), file))
    assert leak.accuracies["dynamic"] == {"who": 1.0, "what": 1.0}
    assert leak.on == pytest.approx((1 - same[0]) / 2)
    assert leak.off == pytest.approx((abs(same[1] - 1 / 3) + 2 / 3) / 2)


def test_tables_that_do_not_belong_together(file: SequenceFile) -> None:
    static, dynamic = tables(Splitter(), file)
    with pytest.raises(ConfigError, match="takes the tables static_kept and dynamic_kept"):
        two_factor_sample(dynamic, static)
    with pytest.raises(ConfigError, match="with 2 and dynamic_kept with 1 repeats"):
        two_factor_sample(static, dynamic_kept(verbs(), MadeJudge(), file, repeats=1))


def tables(splitter: Splitter, file: SequenceFile) -> tuple[ProtocolScores, ProtocolScores]:
    judge = MadeJudge()
    return (
        static_kept(verbs(splitter), judge, file, repeats=2),
        dynamic_kept(verbs(splitter), judge, file, repeats=2),
    )
