import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from sdkit.evaluation.judge.classifier import Floats
from sdkit.evaluation.judge.generation import (
    Agreement,
    ProtocolScores,
    Spread,
    agreement,
    dynamic_kept,
    generation_scores,
    real,
    reconstruction,
    static_kept,
)
from sdkit.methods import graphs
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.contract import STATIC_PRIOR, Ports
from sdkit.runtime.element import Array
from sdkit.runtime.errors import CapabilityError, ConfigError, DataError
from sdkit.runtime.storage.sequences import Factor, SequenceFile, SequenceMeta, SequenceWriter
from tests.sdkit.evaluation.made import FACTORS, PORTS, Leaky, MadeJudge, Splitter, grid, verbs, write
from tests.tiny import IMAGE, sequences, tiny_model


def accuracies(scores: ProtocolScores) -> dict[str, float]:
    return {name: factor.accuracy.mean for name, factor in scores.factors.items()}


def test_scores_of_a_perfect_judgement() -> None:
    labels = np.array([0, 1, 2, 3] * 5)
    scores = generation_scores(np.eye(4)[labels], labels)
    assert scores.accuracy == 1.0
    assert scores.inception_score == pytest.approx(4.0)
    assert scores.entropy_given_x == pytest.approx(0.0, abs=1e-12)
    assert scores.entropy == pytest.approx(np.log(4))
    assert scores.balanced_count == 5
    assert scores.confusion == ((5, 0, 0, 0), (0, 5, 0, 0), (0, 0, 5, 0), (0, 0, 0, 5))


def test_scores_of_a_judge_that_knows_nothing() -> None:
    scores = generation_scores(np.full((6, 3), 1 / 3), np.array([0, 1, 2, 0, 1, 2]))
    assert scores.inception_score == pytest.approx(1.0)
    assert scores.entropy_given_x == scores.entropy == pytest.approx(np.log(3))


def test_scores_of_one_class_only() -> None:
    scores = generation_scores(np.eye(3)[[1, 1, 1, 1]], np.array([0, 1, 1, 2]))
    assert scores.accuracy == 0.5
    assert scores.inception_score == pytest.approx(1.0)
    assert scores.entropy == pytest.approx(0.0, abs=1e-12)
    assert scores.confusion == ((0, 1, 0), (0, 2, 0), (0, 1, 0))


def test_log_of_the_inception_score_is_the_difference_of_entropies() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(5, 0.3), 50)
    labels = np.repeat(np.arange(5), 10)
    scores = generation_scores(p, labels)
    # The definition: the mean divergence of p(y|x) from p(y).
    divergence = (p * (np.log(p + 1e-16) - np.log(p.mean(0)))).sum(1).mean()
    assert np.log(scores.inception_score) == pytest.approx(divergence, abs=1e-9)
    assert np.log(scores.inception_score) == pytest.approx(scores.entropy - scores.entropy_given_x)


def test_classes_are_balanced_by_their_first_sequences() -> None:
    labels = np.array([0, 0, 1, 0, 0, 1, 0])
    p = np.array([[1, 0], [1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5], [0, 1], [0.5, 0.5]])
    scores = generation_scores(p, labels)
    assert scores.balanced_count == 2
    assert scores.entropy_given_x == pytest.approx(0.0, abs=1e-12)  # the unsure ones come third and later
    assert scores.inception_score == pytest.approx(2.0)
    # A class that does not occur does not empty the others.
    assert generation_scores(np.eye(3)[labels], labels).balanced_count == 2


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((3, 2), [0, 1], r"shape \(3, 2\) and labels \(2,\)"),
        ((0, 2), [], "N > 0"),
        ((2, 2), [0, 2], r"labels lie in 0\.\.2; probabilities are of classes 0\.\.1"),
    ],
)
def test_arrays_that_do_not_fit(shape: tuple[int, int], labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        generation_scores(np.ones(shape), np.array(labels, np.int64))


def test_spread() -> None:
    assert Spread.of([1.0, 2.0, 3.0]) == Spread(2.0, 1.0, (1.0, 2.0, 3.0))
    assert Spread.of([2.0]) == Spread(2.0, None, (2.0,))


def test_real_and_reconstructed(file: SequenceFile) -> None:
    for scores in (real(MadeJudge(), file), reconstruction(verbs(), MadeJudge(), file)):
        assert accuracies(scores) == {"who": 1.0, "what": 1.0}
        assert (scores.count, scores.repeats) == (9, 1)
        assert all(factor.kept for factor in scores.factors.values())
        assert scores.factors["what"].inception_score.mean == pytest.approx(3.0)


def test_a_perfect_splitter(file: SequenceFile) -> None:
    # Codes drawn from N(0, 1) are nearest to class 0, which is a third of the truth.
    kept = dynamic_kept(verbs(), MadeJudge(), file, repeats=3)
    assert accuracies(kept) == {"who": pytest.approx(1 / 3), "what": 1.0}
    assert {name: factor.kept for name, factor in kept.factors.items()} == {"who": False, "what": True}
    assert kept.factors["what"].inception_score.values == pytest.approx((3.0,) * 3)
    assert kept.factors["what"].inception_score.std == pytest.approx(0.0)
    assert kept.factors["who"].confusion == ((9, 0, 0), (9, 0, 0), (9, 0, 0))
    assert kept.factors["who"].chance == kept.factors["who"].majority == pytest.approx(1 / 3)
    kept = static_kept(verbs(), MadeJudge(), file, repeats=2)
    assert accuracies(kept) == {"who": 1.0, "what": pytest.approx(1 / 3)}
    assert {name: factor.kept for name, factor in kept.factors.items()} == {"who": True, "what": False}


class Confused(MadeJudge):
    """Takes everything for the next class: always wrong, and always of one mind."""

    def probabilities(self, x: Array) -> dict[str, Floats]:
        return {name: np.roll(p, 1, 1) for name, p in super().probabilities(x).items()}


def test_a_judge_that_is_wrong_may_still_agree_with_itself(file: SequenceFile) -> None:
    kept = dynamic_kept(verbs(), Confused(), file, repeats=2)
    assert accuracies(kept)["what"] == 0.0
    assert kept.factors["what"].agreement.values == (1.0, 1.0)
    # Who is drawn is always taken for one class, which is what the judge says of a third of the real sequences.
    assert kept.factors["who"].agreement.mean == pytest.approx(1 / 3)
    assert static_kept(verbs(), Confused(), file).factors["who"].agreement.mean == 1.0
    assert real(Confused(), file).factors["who"].agreement.mean == 1.0
    assert reconstruction(verbs(Leaky()), Confused(), file).factors["what"].agreement.mean == 1.0


def test_a_leak_shows_in_the_factor_that_should_be_lost(file: SequenceFile) -> None:
    assert accuracies(dynamic_kept(verbs(Leaky()), MadeJudge(), file)) == {"who": 1.0, "what": 1.0}
    assert accuracies(static_kept(verbs(Leaky()), MadeJudge(), file)) == {
        "who": pytest.approx(1 / 3),
        "what": pytest.approx(1 / 3),
    }


def test_the_priors_means_can_be_decoded(file: SequenceFile) -> None:
    scores = static_kept(verbs(), MadeJudge(), file, decode_means=True)
    assert scores.factors["what"].confusion == ((0, 15, 0), (0, 15, 0), (0, 15, 0))  # its means are 10


class WithPriors(Splitter):
    """Draws static codes of who = 20, and has no means of its dynamic prior."""

    ports = PORTS | {STATIC_PRIOR: Ports(("noise",), ("static",)), "prior": Ports(("noise",), ("dynamic",))}

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        if graph == STATIC_PRIOR:
            return {"static": np.full_like(inputs["noise"], 20.0)}
        found = super().run(graph, inputs)
        return {name: found[name] for name in self.ports[graph].outputs}


def test_static_codes_are_drawn_from_the_models_own_prior(file: SequenceFile) -> None:
    kept = dynamic_kept(verbs(WithPriors()), MadeJudge(), file, repeats=2)
    assert kept.factors["who"].confusion == ((0, 0, 6), (0, 0, 6), (0, 0, 6))
    assert accuracies(kept)["what"] == 1.0
    assert kept.drawn_from == "static_prior"
    assert static_kept(verbs(WithPriors()), MadeJudge(), file).drawn_from == "prior"


def test_the_prior_that_was_drawn_from_is_told(file: SequenceFile) -> None:
    assert dynamic_kept(verbs(), MadeJudge(), file).drawn_from == "N(0, I)"
    assert static_kept(verbs(), MadeJudge(), file, decode_means=True).drawn_from == "prior, means"
    assert reconstruction(verbs(), MadeJudge(), file).drawn_from is None


def test_a_prior_without_means_decodes_samples_alone(file: SequenceFile) -> None:
    assert accuracies(static_kept(verbs(WithPriors()), MadeJudge(), file))["who"] == 1.0
    with pytest.raises(ConfigError, match="the prior of this model returns no means; decode its samples"):
        static_kept(verbs(WithPriors()), MadeJudge(), file, decode_means=True)


def test_a_model_without_the_verb_is_refused(file: SequenceFile) -> None:
    model = verbs()
    model.abilities = Abilities("one", {"resample_static": "it has no static code"}, max_steps=3)
    with pytest.raises(CapabilityError, match="cannot resample_static: it has no static code"):
        dynamic_kept(model, MadeJudge(), file)
    for decode_means in (False, True):
        with pytest.raises(ConfigError, match="draws at most 3 steps, not 4"):
            static_kept(model, MadeJudge(), file, decode_means=decode_means)


class Drawn(Splitter):
    """Decodes drawn codes as one of three deeds, by the sign of the first of the dynamic or of the static code."""

    by = "dynamic"

    def decoded(self, static: Array, dynamic: Array) -> Array:
        code = static if self.by == "static" else dynamic[:, 0]
        what = np.repeat(np.where(code[:, :1] > 0, 10.0, 0.0)[:, None], dynamic.shape[1], 1)
        return np.concatenate([what] * 4, 2).astype(np.float32)


class DrawnByStatic(Drawn):
    by = "static"


class DrawnAlike(Splitter):
    """Decodes whatever is drawn as one deed."""

    def decoded(self, static: Array, dynamic: Array) -> Array:
        return np.zeros((*dynamic.shape[:2], 4), np.float32)


@pytest.mark.parametrize("batch_size", [7, 500])
def test_generated_pairs_agree_on_what_dynamic_codes_alone_decide(batch_size: int) -> None:
    def found(splitter: Splitter) -> Agreement:
        return agreement(verbs(splitter, batch_size), MadeJudge(), "what", count=400, steps=4, repeats=3)

    kept, lost, same = found(Drawn()), found(DrawnByStatic()), found(DrawnAlike())
    assert list(kept.agreement.values) == [1, 1, 1]
    assert kept.entropy.mean == pytest.approx(np.log(2), abs=0.01)
    assert lost.agreement.mean == pytest.approx(0.5, abs=0.05)  # two independent coins
    assert len(set(lost.agreement.values)) == 3  # each repeat has draws of its own
    assert same.agreement.mean == 1
    assert same.entropy.mean == pytest.approx(0, abs=1e-6)  # which shows that agreement says nothing here


def test_generated_pairs_of_a_model_that_cannot_generate() -> None:
    model = verbs()
    model.abilities = Abilities("one", {"generate": "it is shy"})
    with pytest.raises(CapabilityError, match="cannot generate: it is shy"):
        agreement(model, MadeJudge(), "what", count=4, steps=4)
    model.abilities = Abilities("one", {}, max_steps=3)
    with pytest.raises(ConfigError, match="draws at most 3 steps, not 4"):
        agreement(model, MadeJudge(), "what", count=4, steps=4)


class Recording(Splitter):
    """Keeps what it decodes."""

    def __init__(self) -> None:
        self.clips: list[Array] = []

    def decoded(self, static: Array, dynamic: Array) -> Array:
        self.clips.append(super().decoded(static, dynamic))
        return self.clips[-1]


@pytest.mark.parametrize("batch_size", [2, 9])
def test_codes_are_drawn_as_the_verbs_draw_them(file: SequenceFile, batch_size: int) -> None:
    x, _ = grid()
    splitter = Recording()
    dynamic_kept(verbs(splitter, batch_size), MadeJudge(), file, repeats=2, seed=5)
    np.testing.assert_array_equal(np.concatenate(splitter.clips[1::2]), verbs().resample_static(x, seed=6))
    splitter = Recording()
    static_kept(verbs(splitter, batch_size), MadeJudge(), file, repeats=2, seed=5)
    np.testing.assert_array_equal(np.concatenate(splitter.clips[1::2]), verbs().resample_dynamic(x, seed=6))


def test_the_training_model(tmp_path: Path) -> None:
    factors = (Factor("light", "static", ("a", "b")),)
    with SequenceWriter(tmp_path / "x.h5", SequenceMeta(IMAGE, "x", factors)) as writer:
        writer.write(sequences(6, 4), labels=np.array([[0], [1]] * 3))
        writer.splits({"test": range(6)})

    class Light:
        def __init__(self) -> None:
            self.factors = factors

        def probabilities(self, x: Array) -> dict[str, Floats]:
            light = (x.mean((1, 2, 3, 4)) / 255).astype(np.float32)
            return {"light": np.stack([1 - light, light], 1)}

    model = graphs.verbs(tiny_model())
    with SequenceFile(tmp_path / "x.h5") as file:
        first, second = (static_kept(model, Light(), file, repeats=2, seed=s) for s in (0, 0))
        other = static_kept(model, Light(), file, repeats=2, seed=7)
    assert first == second != other
    assert json.loads(json.dumps(asdict(first)))["factors"]["light"]["kept"] is True


def test_sequences_of_different_lengths(tmp_path: Path) -> None:
    x, labels = grid(5)
    lengths = np.array([5, 3, 5, 2, 5, 3, 2, 2, 5])
    for row, length in enumerate(lengths):
        x[row, length:] = 1e6  # would be seen at once
    file = write(tmp_path / "ragged.h5", x, labels, lengths=lengths)
    assert accuracies(reconstruction(verbs(), MadeJudge(), file)) == {"who": 1.0, "what": 1.0}
    assert accuracies(dynamic_kept(verbs(), MadeJudge(), file))["what"] == 1.0


def test_what_cannot_be_judged(tmp_path: Path, file: SequenceFile) -> None:
    with pytest.raises(ConfigError, match="repeats = 0"):
        dynamic_kept(verbs(), MadeJudge(), file, repeats=0)
    with pytest.raises(ConfigError, match="has no split 'val'"):
        real(MadeJudge(), file, "val")
    x, _ = grid()
    with pytest.raises(ConfigError, match="has no labelled factors"):
        real(MadeJudge(), write(tmp_path / "bare.h5", x, None))
    judge = MadeJudge()
    judge.factors = FACTORS[::-1]
    with pytest.raises(ConfigError, match=r"trained for the factors \['what', 'who'\]"):
        real(judge, file)
