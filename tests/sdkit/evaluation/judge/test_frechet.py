"""Frechet distances of Gaussians that are known, and of models that decode perfectly, leak or collapse."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm

from sdkit.evaluation.base import Case
from sdkit.evaluation.data import Parts
from sdkit.evaluation.judge import scores
from sdkit.evaluation.judge.frechet import RIDGE, FrechetProtocol, frechet_distance, frechet_scores, unmeasured
from sdkit.evaluation.subject import Subject
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError
from sdkit.runtime.storage.sequences import SequenceFile
from tests.sdkit.evaluation.judge.test_swapping import pairs
from tests.sdkit.evaluation.made import Collapsed, Leaky, MadeJudge, Splitter, grid, verbs, write

ALL = np.arange(9)


def exactly(mean: list[float], std: list[float], count: int = 50) -> Array:
    """Return features (N, F) of exactly this mean and these standard deviations, uncorrelated."""
    x = np.random.default_rng(len(std)).standard_normal((count, len(std)))
    x -= x.mean(0)
    white = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return np.asarray(white * std + mean)


def test_gaussians_of_one_axis_each() -> None:
    a, b = exactly([0, 0, 0], [1, 2, 0.5]), exactly([3, 0, -4], [2, 2, 1.5], 80)
    # Along each axis (m_a - m_b)^2 + (s_a - s_b)^2.
    assert frechet_distance(a, b, ridge=0) == pytest.approx(9 + 16 + 1 + 0 + 1)
    assert frechet_distance(a, b) == pytest.approx(27, rel=1e-5)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]])) == pytest.approx(1)


def test_correlated_features_as_by_the_root_of_the_product() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((60, 5)) @ rng.normal(size=(5, 5)), rng.standard_normal((40, 5)) + 1
    first, second = (np.cov(x, rowvar=False) + RIDGE * np.eye(5) for x in (a, b))
    root = sqrtm(first @ second).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet_distance(a.astype(np.float32), b) == pytest.approx(expected, rel=1e-5)


def test_fewer_sequences_than_features() -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 6, 40))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(a, b) > 10


def test_a_perfect_splitter_is_as_near_as_real_sequences(file: SequenceFile) -> None:
    found = frechet_scores(verbs(), MadeJudge(), file, ALL)
    assert (found.sequences, found.features) == (9, 2)
    assert (found.floor, found.reconstruction) == pytest.approx((0, 0), abs=1e-6)
    # After a swap not everyone does everything; the features are the labels that should be seen.
    a, b = pairs(file)
    expected = frechet_distance(10 * np.stack([a[:, 0], b[:, 1]], 1), 10 * grid()[1])
    assert found.swap == pytest.approx(expected)
    assert expected > 0.1
    # Means of 10 and variances of 75 on either axis, against codes from N(0, I).
    made = verbs().generate(9, 4, seed=0)
    assert found.generation == pytest.approx(frechet_distance(MadeJudge().features(made), 10 * grid()[1]))
    assert found.generation is not None
    assert 250 < found.generation < 350


def test_a_collapse_is_as_far_as_one_sequence_is(file: SequenceFile) -> None:
    found = frechet_scores(verbs(Collapsed()), MadeJudge(), file, ALL)
    # Everything is (0.3, 0), so that both variances of the real sequences, 75, are missed as a whole.
    expected = 9.7**2 + 10**2 + 2 * 75
    assert (found.reconstruction, found.swap) == pytest.approx((expected, expected), rel=1e-3)
    leak = frechet_scores(verbs(Leaky()), MadeJudge(), file, ALL)
    assert leak.swap == pytest.approx(0, abs=1e-6)  # it shows the other source, which is a real sequence


def test_the_floor_is_of_as_many_training_sequences(tmp_path: Path) -> None:
    x, labels = grid()
    shifted = x.copy()
    shifted[:, :, 0] += 4
    file = write(tmp_path / "more.h5", np.concatenate([x, shifted, shifted]), np.concatenate([labels] * 3))

    class Counting(MadeJudge):
        counts: list[int] = []  # noqa: RUF012

        def features(self, x: Array) -> Any:
            self.counts.append(len(x))
            return super().features(x)

    judge = Counting()
    file.select = lambda split: ALL  # type: ignore[method-assign]
    found = frechet_scores(verbs(batch_size=64), judge, file, np.arange(9, 27))
    assert judge.counts == [9] * 5
    assert 10 < found.floor < 100
    assert frechet_scores(verbs(), judge, file, np.arange(9, 18)).floor == pytest.approx(16)


def test_a_model_without_a_verb_has_the_other_distances(file: SequenceFile) -> None:
    model = verbs()
    model.abilities = Abilities("one", {"swap": "it has one code", "generate": "it has no prior"})
    assert unmeasured(model, file) == {
        "swap": "this model cannot swap: it has one code",
        "generation": "this model cannot generate: it has no prior",
    }
    found = frechet_scores(model, MadeJudge(), file, ALL)
    assert (found.swap, found.generation) == (None, None)
    assert found.reconstruction == pytest.approx(0, abs=1e-6)


def test_a_model_without_an_encoder_is_compared_by_what_it_generates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, labels = grid()
    file = write(tmp_path / "grid.h5", x, labels)
    blind = dict.fromkeys(("encode", "reconstruct", "swap"), "it has no encoder")
    model = verbs()
    model.abilities = Abilities("dreamer", blind)
    case = Case(Subject(Path("x"), model, None, "onnx", "", 0.05, 0, ""), file, Parts(ALL, ALL, ALL))
    protocol = FrechetProtocol()
    assert protocol.unmet(case) == "judges are trained for labelled images"
    monkeypatch.setattr("sdkit.evaluation.judge.frechet.unjudgeable", lambda file: "")
    monkeypatch.setattr(scores, "find_judge", lambda *_, **__: MadeJudge())
    assert protocol.unmet(case) == ""
    found = protocol.run(case)
    assert set(found) == {"sequences", "features", "floor", "generation"}
    assert list(case.skipped) == ["Frechet distance, reconstruction", "Frechet distance, swap"]
    assert [line.figure for line in protocol.lines(found)] == ["generation"]
    model.abilities = Abilities("mute", {**blind, "generate": "it has no prior"})
    assert protocol.unmet(case) == "this model cannot reconstruct: it has no encoder"


@pytest.mark.parametrize(
    ("a", "b"), [(np.ones((1, 3)), np.ones((4, 3))), (np.ones((4, 3)), np.ones((4, 2))), (np.full((4, 3), np.nan),) * 2]
)
def test_features_that_cannot_be_compared(a: Array, b: Array) -> None:
    with pytest.raises(DataError, match="features have shapes"):
        frechet_distance(a, b)


def test_a_made_splitter_of_other_lengths(tmp_path: Path) -> None:
    x, labels = grid(5)
    lengths = np.array([5, 3, 5, 3, 5, 3, 3, 5, 5])
    for row, length in enumerate(lengths):
        x[row, length:] = 1e6  # would be seen at once
    found = frechet_scores(verbs(Splitter()), MadeJudge(), write(tmp_path / "r.h5", x, labels, lengths=lengths), ALL)
    assert (found.floor, found.reconstruction) == pytest.approx((0, 0), abs=1e-6)
