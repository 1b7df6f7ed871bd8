from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.evaluation.data import Parts
from sdkit.evaluation.downstream.tasks import Figures
from sdkit.evaluation.judge import scores as module
from sdkit.evaluation.judge.scores import JudgeTask, judge_scores, unjudged
from sdkit.evaluation.judge.swapping import SwapTruth
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.element import Array
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from tests.notes import Notes
from tests.sdkit.evaluation.made import Collapsed, Leaky, MadeJudge, Splitter, ZeroAnchor, grid, verbs, write

WHAT = JudgeTask("what", repeats=3)
KEPT_WHOLE = {"accuracy": 1.0, "inception_score": 3.0, "entropy_given_x": 0.0, "entropy": np.log(3)}
"""Of three classes that a judge sees without fail."""
CHANCE = pytest.approx(1 / 3)


class Judge(MadeJudge):
    """Says of itself what a trained judge says."""

    def accuracy(self, file: SequenceFile) -> dict[str, float]:
        return {"who": 1.0, "what": 1.0}

    def weights_sha256(self) -> str:
        return "5ea1"


JUDGE: Any = Judge()


@pytest.fixture(autouse=True)
def _judge(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(file: SequenceFile, *, device: str, reporter: Reporter | None = None) -> Judge:
        assert reporter is not None, "a judge takes minutes to train: somebody should be told"
        reporter.note(f"found on {device}")
        return Judge()

    monkeypatch.setattr(module, "find_judge", find)


def parts(file: SequenceFile) -> Parts:
    index = file.select("test")
    return Parts(index, index, index)


def figures(task: JudgeTask, splitter: Splitter, file: SequenceFile) -> Figures:
    return task.run(verbs(splitter), file, parts(file), reporter=Quiet()).figures


def test_a_perfect_splitter(file: SequenceFile) -> None:
    found = figures(WHAT, Splitter(), file)
    assert {name: found[name] for name in KEPT_WHOLE} == pytest.approx(KEPT_WHOLE, abs=1e-6)
    assert found["static who"] == 1.0
    assert (found["swap_static"], found["swap_dynamic"]) == (1.0, 1.0)
    assert (found["swap_error"], found["swap_first"]) == (0.0, 0.0)
    assert found["leaked"] < 0.7  # of drawn codes, which the judge takes for the nearest class, mostly the first
    assert [found[f"{name}_draws"] for name in KEPT_WHOLE] == pytest.approx([0, 0, 0, 0])


def test_a_leak_loses_who_is_swapped_in(file: SequenceFile) -> None:
    found = figures(WHAT, Leaky(), file)
    assert found["swap_static"] < 0.5  # everybody stays who they were, which some partners are too
    assert found["swap_error"] > 1


def test_a_collapse_loses_everything(file: SequenceFile) -> None:
    found = figures(WHAT, Collapsed(), file)
    assert found["accuracy"] == CHANCE
    assert found["static who"] == CHANCE
    assert found["inception_score"] == pytest.approx(1)


def test_the_error_at_the_anchor_is_that_of_step_1(file: SequenceFile) -> None:
    found = figures(WHAT, ZeroAnchor(), file)
    # What is done, 0, 10 or 20 in one of four features, is lost at the first step and nowhere else.
    assert found["swap_first"] == pytest.approx(10 / 4)
    assert found["swap_error"] == pytest.approx(10 / 4 / 4)


def test_every_figure_has_a_title_and_every_title_a_figure(file: SequenceFile) -> None:
    found = figures(WHAT, Splitter(), file)
    assert set(found) == {*WHAT.metrics, "static who"}
    assert WHAT.metrics["accuracy"] == "what, d kept (Acc)"
    assert len(set(WHAT.metrics.values())) == len(WHAT.metrics)
    once = figures(JudgeTask("what", repeats=1), Splitter(), file)
    assert set(found) - set(once) == {f"{name}_draws" for name in KEPT_WHOLE}  # one draw has no spread


def test_the_spread_over_draws_is_that_of_the_repeats(file: SequenceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    class Doubtful(Judge):
        """Is right about what is done in the first draw alone."""

        calls = 0

        def probabilities(self, x: Array) -> dict[str, Array]:
            found = super().probabilities(x)
            self.calls += 1
            return {name: p if self.calls % 2 else np.roll(p, 1, 1) for name, p in found.items()}

    monkeypatch.setattr(module, "find_judge", lambda file, **_: Doubtful())
    model = verbs(Splitter(), batch_size=9)
    found = JudgeTask("what", repeats=2).run(model, file, parts(file), reporter=Quiet()).figures
    assert found["accuracy"] == pytest.approx(0.5)
    assert found["accuracy_draws"] == pytest.approx(np.std([1, 0], ddof=1))


def test_baselines_are_the_real_sequences_and_chance(file: SequenceFile) -> None:
    told = Notes()
    found = WHAT.baselines(file, parts(file), reporter=told)
    assert list(found) == ["real sequences", "guessing"]
    assert found["real sequences"] == pytest.approx({**KEPT_WHOLE, "static who": 1.0}, abs=1e-6)
    assert found["guessing"] == {"accuracy": CHANCE, "leaked": CHANCE, "static who": CHANCE}
    assert told.lines == ["found on auto"]
    assert set(found["real sequences"]) | set(found["guessing"]) <= {*WHAT.metrics, "static who"}


def test_the_judge_runs_on_the_device_that_is_asked_for(file: SequenceFile) -> None:
    told = Notes()
    WHAT.run(verbs(), file, parts(file), device="cuda:1", reporter=told)
    WHAT.baselines(file, parts(file), device="cpu", reporter=told)
    assert told.lines == ["found on cuda:1", "found on cpu"]


@pytest.mark.parametrize(
    ("refused", "scores", "figures_left"),
    [
        (("swap", "resample_static"), {"dynamic_kept", "swaps"}, {"leaked", "static who"}),
        (("swap", "resample_dynamic"), {"static_kept", "swaps"}, {*KEPT_WHOLE, *(f"{n}_draws" for n in KEPT_WHOLE)}),
    ],
)
def test_a_model_without_a_verb_has_the_other_scores(
    file: SequenceFile, refused: tuple[str, ...], scores: set[str], figures_left: set[str]
) -> None:
    model = verbs()
    model.abilities = Abilities("one", dict.fromkeys(refused, "it has one code"))
    reasons = unjudged(model, file)
    assert set(reasons) == scores
    assert reasons["swaps"] == "this model cannot swap: it has one code"
    found = judge_scores(model, JUDGE, file, repeats=2, seed=0, reporter=Quiet())
    missing = {name for name, value in vars(found).items() if value is None}
    assert missing == {*scores, "swap_truth"}
    assert found.msd == {}
    assert set(WHAT.run(model, file, parts(file), reporter=Quiet()).figures) == figures_left


BLIND = ("encode", "reconstruct", "swap", "resample_static", "resample_dynamic")


def test_a_model_without_an_encoder_has_an_agreement_and_no_accuracy(file: SequenceFile) -> None:
    model = verbs()
    model.abilities = Abilities("one", dict.fromkeys(BLIND, "it has no encoder"))
    found = WHAT.run(model, file, parts(file), reporter=Quiet())
    assert set(found.figures) == {"agreement on what, d kept", "H(y) of draws"}
    assert found.figures["agreement on what, d kept"] == 1  # what is done is in the dynamic codes alone
    assert found.notes == (module.ENCODERLESS,)
    assert set(found.figures).isdisjoint(WHAT.metrics)
    assert WHAT.run(verbs(), file, parts(file), reporter=Quiet()).notes == ()


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ((), ""),
        (("swap", "resample_static"), ""),
        (BLIND, ""),
        ((*BLIND, "generate"), "this model cannot reconstruct: it is what it is"),
        ((*BLIND, "decode"), "this model cannot reconstruct: it is what it is"),
    ],
)
def test_a_model_that_can_be_judged_somehow_has_a_row(refused: tuple[str, ...], says: str) -> None:
    assert WHAT.unmet(Abilities("one", dict.fromkeys(refused, "it is what it is")), 4) == says


def test_a_prior_of_fewer_steps_is_not_drawn_from(file: SequenceFile) -> None:
    model = verbs()
    model.abilities = Abilities("one", {}, max_steps=3)
    assert list(unjudged(model, file)) == ["static_kept"]
    assert "draws at most 3 steps, not 4" in unjudged(model, file)["static_kept"]


def test_the_name_tells_factor_and_draws() -> None:
    assert JudgeTask("motion").name == "judge-motion-5"
    assert JudgeTask("motion", repeats=20).name != JudgeTask("motion").name


def test_all_scores_of_a_model(file: SequenceFile) -> None:
    found = judge_scores(verbs(), JUDGE, file, repeats=2, seed=0, reporter=Quiet())
    assert found.weights == "5ea1"
    assert found.accuracy_on_real == {"who": 1.0, "what": 1.0}
    for scores in (found.real, found.reconstruction):
        assert scores.factors["who"].accuracy.mean == scores.factors["what"].accuracy.mean == 1
    assert found.dynamic_kept is not None
    assert found.static_kept is not None
    assert (found.dynamic_kept.repeats, found.static_kept.repeats) == (2, 2)
    assert found.dynamic_kept.factors["what"].kept
    assert not found.dynamic_kept.factors["who"].kept
    assert isinstance(found.swap_truth, SwapTruth)
    assert found.swap_truth.swap == 0
    assert list(found.msd) == ["intervention_two_factor_swap", "intervention_two_factor_sample"]
    assert found.msd["intervention_two_factor_swap"].on == 0


def test_where_labels_do_not_tell_the_truth_there_is_no_error(tmp_path: Path) -> None:
    x, labels = grid()
    twice: Indices = np.concatenate([labels, labels])
    file = write(tmp_path / "twice.h5", np.concatenate([x, x]), twice)
    found = judge_scores(verbs(), JUDGE, file, repeats=1, seed=0, reporter=Quiet())
    assert isinstance(found.swap_truth, str)
    assert "labels do not identify a sequence" in found.swap_truth
    shown = figures(WHAT, Splitter(), file)
    assert not {"swap_error", "swap_first"} & set(shown)
