from pathlib import Path

import numpy as np
import pytest

from sdkit.evaluation.codes.consistency import order_sensitivity, orders, static_stability, swap_consistency
from sdkit.methods import graphs
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.storage.sequences import SequenceFile
from tests.sdkit.evaluation.made import Collapsed, Drifting, Leaky, Splitter, grid, verbs, write
from tests.sdkit.training.files import write as write_images
from tests.tiny import sequences, tiny_model


def test_swaps_of_a_perfect_splitter(file: SequenceFile) -> None:
    found = swap_consistency(verbs(), file)
    assert found.pairs == 9
    assert (found.static, found.dynamic, found.twice, found.twice_error, found.self_swap) == (0, 0, 0, 0, 0)


def test_swaps_of_a_leak_give_the_other_static_code(file: SequenceFile) -> None:
    found = swap_consistency(verbs(Leaky()), file)
    assert (found.static, found.dynamic, found.twice) == (1.0, 0.0, 0.0)


def test_swaps_of_a_collapsed_splitter_compare_with_nothing(file: SequenceFile) -> None:
    found = swap_consistency(verbs(Collapsed()), file)
    assert (found.static, found.dynamic, found.twice, found.twice_error) == (None, None, None, 0.0)


class Halving(Splitter):
    """Decodes who at half its size, so that each encoding halves it."""

    def decoded(self, static: Array, dynamic: Array) -> Array:
        return super().decoded(static / 2, dynamic)


def test_swapping_twice_encodes_twice(file: SequenceFile) -> None:
    found = swap_consistency(verbs(Halving()), file)
    # The static code (10 who, 1) comes back as half of it, and is decoded as a quarter instead of a half.
    who = 10 * np.repeat(np.arange(3), 3)
    assert found.twice_error == pytest.approx((who / 4 + 0.25).mean() / 4)
    assert found.dynamic == 0.0
    assert found.static is not None
    assert found.static > 0.1


class Unsteady(Splitter):
    """Decodes something else each time."""

    count = 0

    def decoded(self, static: Array, dynamic: Array) -> Array:
        self.count += 1
        return super().decoded(static, dynamic) + np.float32(self.count)


def test_a_swap_with_itself_that_is_no_reconstruction(file: SequenceFile) -> None:
    assert swap_consistency(verbs(Unsteady(), batch_size=9), file).self_swap == 4.0  # decoded fifth, not first


def test_stability_of_a_perfect_splitter(file: SequenceFile) -> None:
    found = static_stability(verbs(), file)
    assert (found.sequences, found.window) == (9, 2)
    assert (found.within, found.intraclass_correlation) == (0.0, 1.0)
    assert found.between == pytest.approx(np.var([0, 10, 20] * 3, ddof=1))
    assert found.drift == (0.0, 0.0, 0.0)
    assert found.error == (0.0, 0.0, 0.0)


def test_stability_of_a_code_that_drifts(file: SequenceFile) -> None:
    found = static_stability(verbs(Drifting()), file)
    # The code is (10 what, t): starts 0, 1, 2 have a variance of 1, and sequences differ in what they do.
    between = np.var([0, 10, 20] * 3, ddof=1) - 1 / 3
    assert found.within == pytest.approx(1.0)
    assert found.between == pytest.approx(between)
    assert found.intraclass_correlation == pytest.approx(between / (between + 1))
    assert found.drift[0] == 0.0
    assert found.drift[2] == pytest.approx(2 * found.drift[1])  # type: ignore[operator]
    # Decoded in the place of (10 who, 1), and right in the other two features.
    who, what = np.divmod(np.arange(9), 3)
    far = 10 * np.abs(who - what).mean()
    assert found.error == pytest.approx([(far + abs(t - 1)) / 4 for t in range(3)])


def test_a_code_of_time_alone_says_nothing_of_its_sequence(tmp_path: Path) -> None:
    x, labels = grid()
    found = static_stability(verbs(Drifting()), write(tmp_path / "one.h5", x[::3], labels[::3]))
    assert (found.within, found.between) == pytest.approx((1.0, -1 / 3))
    assert found.intraclass_correlation == pytest.approx(-0.5)
    assert found.drift == (None, None, None)  # at the first start no two sequences differ


def test_stability_of_a_collapsed_splitter(file: SequenceFile) -> None:
    found = static_stability(verbs(Collapsed()), file)
    assert (found.within, found.between, found.intraclass_correlation) == (0.0, 0.0, None)
    assert found.drift == (None, None, None)


def test_stability_of_different_lengths(tmp_path: Path) -> None:
    x, labels = grid(6)
    lengths = np.array([6, 6, 6, 4, 4, 4, 2, 2, 2])
    file = write(tmp_path / "ragged.h5", x, labels, lengths=lengths)
    found = static_stability(verbs(), file)
    assert (found.sequences, found.intraclass_correlation) == (9, 1.0)
    assert len(found.drift) == len(found.error) == 5
    longer = static_stability(verbs(Drifting()), file, window=4)
    assert (longer.sequences, len(longer.error)) == (6, 3)
    assert longer.within == pytest.approx(1.0)  # three starts of three sequences, one of the other three


def test_values_that_were_not_observed(tmp_path: Path) -> None:
    x, labels = grid()
    x[:, 2, 2:] = np.nan
    file = write(tmp_path / "gaps.h5", x, labels)
    found = static_stability(verbs(), file)
    assert found.error == (0.0, 0.0, 0.0)
    assert swap_consistency(verbs(), file).self_swap == 0.0


def test_a_trained_model_swaps_with_itself(tmp_path: Path) -> None:
    with SequenceFile(write_images(tmp_path / "x.h5", sequences(5, 4), splits={"test": range(5)})) as file:
        model = graphs.verbs(tiny_model())
        assert swap_consistency(model, file).self_swap == 0.0
        assert static_stability(model, file).drift[0] == 0.0


def test_at_most_so_many(file: SequenceFile) -> None:
    assert swap_consistency(verbs(), file, limit=4).pairs == 4
    few = [static_stability(verbs(), file, limit=2, seed=s).between for s in (0, 0, 1)]
    assert few[0] == few[1] != few[2]


def test_what_cannot_be_measured(tmp_path: Path, file: SequenceFile) -> None:
    with pytest.raises(ConfigError, match="limit = 1"):
        swap_consistency(verbs(), file, limit=1)
    for window in (1, 5):
        with pytest.raises(ConfigError, match=f"window = {window}; .* has sequences of 4 steps"):
            static_stability(verbs(), file, window=window)
    x, labels = grid()
    short = write(tmp_path / "short.h5", x[:3], labels[:3], lengths=np.array([2, 3, 4]))
    with pytest.raises(DataError, match="no two sequences"):
        swap_consistency(verbs(), short)
    with pytest.raises(DataError, match="fewer than two sequences of 4 steps"):
        static_stability(verbs(), short, window=4)


class Pooled(Splitter):
    """The static code is the mean over steps, whatever their order."""

    def static(self, features: Array) -> Array:
        return np.asarray(features[:, :, 2:].mean(1), np.float32)


def test_a_code_that_is_the_same_in_any_order(file: SequenceFile) -> None:
    for splitter in (Splitter(), Pooled()):
        found = order_sensitivity(verbs(splitter), file)
        assert found.sequences == 9
        assert found.shuffled == pytest.approx(0, abs=1e-6)
        assert 0.5 < found.moved <= 1


class Late(Splitter):
    """The static code is when the first step is, and nothing else."""

    def static(self, features: Array) -> Array:
        return np.stack([features[:, 0, 3], np.zeros(len(features), np.float32)], 1)


def test_a_code_that_reads_the_order(file: SequenceFile, tmp_path: Path) -> None:
    found = order_sensitivity(verbs(Late()), file)
    assert found.shuffled is None  # every sequence starts at time 0, so that only shuffling changes the code
    x, labels = grid(2)
    x[:, :, 3] += 10 * labels[:, 1:]
    pairs = order_sensitivity(verbs(Late()), write(tmp_path / "two.h5", x, labels))
    # Two steps are always exchanged, so that the code moves by 1; others start at 0, 10 or 20.
    assert pairs.moved == 1.0
    assert pairs.shuffled is not None
    assert 1 / 20 < pairs.shuffled < 1 / 5
    assert pairs == order_sensitivity(verbs(Late(), batch_size=2), write(tmp_path / "again.h5", x, labels))


def test_shuffled_sequences_of_other_lengths(tmp_path: Path) -> None:
    x, labels = grid(5)
    lengths = np.array([5, 3, 5, 3, 5, 3, 2, 5, 5])
    for row, length in enumerate(lengths):
        x[row, length:] = 1e6  # would be seen at once
    found = order_sensitivity(verbs(), write(tmp_path / "ragged.h5", x, labels, lengths=lengths))
    assert (found.sequences, found.shuffled) == (8, 0.0)  # the one of two steps has no other of its length
    with pytest.raises(DataError, match="no two sequences of split 'test' have one length; distances need pairs"):
        order_sensitivity(verbs(), write(tmp_path / "no.h5", x[:2], labels[:2], lengths=lengths[:2]))


def test_no_order_is_the_one_there_was() -> None:
    for steps in (2, 3, 8):
        found = orders(200, steps, np.random.default_rng(0))
        assert (np.sort(found, 1) == np.arange(steps)).all()
        assert (found != np.arange(steps)).any(1).all()
