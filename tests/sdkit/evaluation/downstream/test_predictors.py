"""Heads on made-up codes from which the answer can, or cannot, be told."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sdkit.evaluation.downstream.predictors import (
    BinaryPredictor,
    StaticClassifier,
    WindowRegressor,
    fit_sequence_classifier,
)
from sdkit.evaluation.downstream.splits import Floats, Split, observed_targets
from sdkit.runtime.errors import DataError

Splits = tuple[Split, Split, Split]


def split(count: int, seed: int, steps: int = 6) -> Split:
    """Return noise for codes and labels, with 3 to T valid steps and NaN beyond."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, steps + 1, count)
    dynamic = rng.standard_normal((count, steps, 2))
    dynamic[np.arange(steps) >= lengths[:, None]] = np.nan
    return Split(rng.standard_normal((count, 3)), dynamic, lengths, rng.integers(0, 2, count))


def noise(counts: tuple[int, int, int] = (300, 120, 240)) -> Splits:
    train, val, test = (split(count, seed) for seed, count in enumerate(counts))
    return train, val, test


def told_by(values: Any, splits: Splits) -> Splits:
    """Return the splits with labels 1 where values(split) are positive."""
    train, val, test = (replace(s, labels=(values(s) > 0).astype(int)) for s in splits)
    return train, val, test


def last(s: Split) -> Floats:
    assert s.lengths is not None
    return np.asarray(s.dynamic[np.arange(len(s)), s.lengths - 1, 0])


QUICK = BinaryPredictor(fixed_epochs=18, epochs=20, batch_size=15)


@pytest.mark.parametrize("values", [last, lambda s: s.static[:, 1]], ids=["last valid step", "static"])
def test_binary_labels_are_told_from_both_codes(values: Any) -> None:
    found = QUICK.run(*told_by(values, noise()))
    for scores in (found.fixed, found.selected):
        assert scores.auroc > 0.97
        assert scores.auprc > 0.97
        assert scores.probabilities.shape == (240,)
        assert ((scores.probabilities >= 0) & (scores.probabilities <= 1)).all()


def test_noise_tells_nothing() -> None:
    found = BinaryPredictor(fixed_epochs=5, epochs=10).run(*noise())
    assert found.fixed.auroc == pytest.approx(0.5, abs=0.12)
    assert found.selected.auroc == pytest.approx(0.5, abs=0.12)


def longer(splits: Splits) -> Splits:
    """Return the splits with four more steps of padding, and other values in it."""
    train, val, test = (
        replace(
            s,
            dynamic=np.pad(np.where(s.valid[..., None], s.dynamic, 1e3), ((0, 0), (0, 4), (0, 0))),
            targets=None if s.targets is None else np.pad(s.targets, ((0, 0), (0, 4), (0, 0))),
        )
        for s in splits
    )
    return train, val, test


def test_what_lies_beyond_the_end_does_not_matter() -> None:
    splits = told_by(last, noise((60, 40, 40)))
    a, b = (BinaryPredictor(2, 2).run(*s).fixed.probabilities for s in (splits, longer(splits)))
    np.testing.assert_allclose(a, b, rtol=1e-5)
    asked = with_targets(splits)
    c, d = (WindowRegressor(epochs=3).run(*s).predictions for s in (asked, longer(asked)))
    np.testing.assert_allclose(c, d[:, :6], rtol=1e-4, atol=1e-5)
    assert np.isnan(d[:, 6:]).all()


def test_the_fixed_epoch_is_that_of_a_training_that_ends_there() -> None:
    splits = told_by(last, noise((60, 40, 40)))
    long, short = (BinaryPredictor(4, epochs).run(*splits, seed=3) for epochs in (9, 4))
    assert long.fixed.epoch == short.fixed.epoch == 4
    np.testing.assert_array_equal(long.fixed.probabilities, short.fixed.probabilities)
    assert long.selected.val_auroc >= long.fixed.val_auroc


def test_epochs_are_chosen_without_the_test_labels() -> None:
    train, val, test = told_by(last, noise((60, 40, 40)))
    assert test.labels is not None
    turned = replace(test, labels=1 - test.labels)
    a, b = (BinaryPredictor(2, 5).run(train, val, t).selected for t in (test, turned))
    assert a.epoch == b.epoch
    np.testing.assert_array_equal(a.probabilities, b.probabilities)
    assert b.auroc == pytest.approx(1 - a.auroc)


def test_a_seed_decides_and_the_process_stays_as_it_was() -> None:
    splits = noise((60, 40, 40))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    a, b, c = (BinaryPredictor(2, 2).run(*splits, seed=seed).fixed.probabilities for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def with_classes(splits: Splits, classes: int) -> Splits:
    """Return the splits with classes told by the static code's first value, which lies near the class's number."""
    out = []
    for seed, s in enumerate(splits):
        labels = np.random.default_rng(seed + 10).integers(0, classes, len(s))
        static = s.static * 0.1
        static[:, 0] += labels
        out.append(replace(s, static=static, labels=labels))
    return out[0], out[1], out[2]


def test_classes_are_told_from_the_static_code() -> None:
    splits = with_classes(noise(), 3)
    head = StaticClassifier(3, hidden=16, passes=100)
    found = head.run(*splits)
    assert found.accuracy > 0.98
    assert found.val_accuracy > 0.98
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    assert (found.probabilities.argmax(1) == splits[2].labels).mean() == found.accuracy
    assert head.logistic(*splits).accuracy > 0.98


def test_the_static_classifier_does_not_see_the_dynamic_code() -> None:
    splits = told_by(lambda s: s.dynamic[:, 0, 0], noise())
    head = StaticClassifier(2, passes=20)
    assert head.run(*splits).accuracy == pytest.approx(0.5, abs=0.12)
    assert head.logistic(*splits).accuracy == pytest.approx(0.5, abs=0.12)


def test_standardised_codes_spare_the_head_their_offset() -> None:
    tiny = tuple(replace(s, static=s.static * 0.004 + 2) for s in with_classes(noise(), 3))
    plain, scaled = (StaticClassifier(3, 16, passes=60, standardise=choice).run(*tiny) for choice in (False, True))
    assert plain.accuracy < 0.6
    assert scaled.accuracy > 0.95


def test_the_pass_with_the_lowest_validation_loss_is_kept() -> None:
    train, val, test = with_classes(noise((60, 40, 40)), 3)
    rng = np.random.default_rng(0)
    found = StaticClassifier(3, hidden=32, passes=60).run(train, replace(val, labels=rng.integers(0, 3, 40)), test)
    assert found.epoch is not None
    assert found.epoch < 30  # the more is learnt, the worse random labels are told


def test_a_class_that_training_lacks_is_never_answered() -> None:
    splits = with_classes(noise((60, 40, 40)), 3)
    found = StaticClassifier(4).logistic(*splits)
    assert found.probabilities.shape == (40, 4)
    assert (found.probabilities[:, 3] == 0).all()


def test_sequences_are_classified_from_their_steps() -> None:
    found = fit_sequence_classifier(*told_by(last, noise()), classes=2, epochs=30)
    assert found.accuracy > 0.9
    assert fit_sequence_classifier(*noise(), classes=2, epochs=5).accuracy == pytest.approx(0.5, abs=0.12)


def with_targets(splits: Splits, scale: float = 1.0, offset: float = 0.0) -> Splits:
    """Return the splits with two targets a window: one from d_t, one from d_t and s."""
    out = []
    for s in splits:
        first = np.nan_to_num(s.dynamic[..., 0], nan=1e6)
        targets = np.stack([first, first + s.static[:, :1]], 2) * scale + offset
        out.append(replace(s, targets=targets))
    return out[0], out[1], out[2]


def constant_error(train: Split, test: Split) -> float:
    return float(np.nanmean(np.abs(observed_targets(test) - np.nanmedian(observed_targets(train), (0, 1)))))


def test_targets_are_told_window_by_window() -> None:
    splits = with_targets(noise((80, 20, 60)))
    found = WindowRegressor(epochs=150).run(*splits)
    assert found.pairing == "correct"
    assert found.mae < 0.3 * constant_error(splits[0], splits[2])
    assert found.predictions.shape == (60, 6, 2)
    assert (np.isfinite(found.predictions).all(2) == splits[2].valid).all()
    assert np.nanmean(np.abs(found.predictions - observed_targets(splits[2]))) == pytest.approx(found.mae)
    assert found.train_mae < 0.5
    assert found.val_mae < 0.5


def test_shuffled_pairs_teach_no_more_than_a_constant() -> None:
    splits = with_targets(noise((80, 20, 60)))
    found = WindowRegressor(epochs=100, shuffled_pairs=True).run(*splits)
    assert found.pairing == "shuffled"
    constant = constant_error(splits[0], splits[2])
    assert constant * 0.95 < found.mae < constant * 1.3
    assert found.train_mae > 0.9 * constant_error(splits[0], splits[0])


def test_scaled_targets_give_errors_in_the_targets_units() -> None:
    splits = with_targets(noise((80, 20, 60)), scale=100, offset=5000)
    found = WindowRegressor(epochs=100, scale_targets=True, standardise=True).run(*splits)
    assert found.mae < 0.4 * constant_error(splits[0], splits[2])
    assert np.nanmean(found.predictions) == pytest.approx(5000, abs=50)


def test_missing_targets_are_left_out() -> None:
    train, val, test = with_targets(noise((80, 20, 60)))
    assert train.targets is not None
    assert test.targets is not None
    train.targets[:40, ::2] = np.nan
    test.targets[:, 0] = np.nan
    found = WindowRegressor(epochs=100).run(train, val, test)
    assert found.mae < 0.5 * constant_error(train, test)
    assert np.isfinite(found.predictions[:, 0]).all()


def test_codes_and_labels_that_do_not_fit() -> None:
    train, val, test = noise((60, 40, 40))
    with pytest.raises(DataError, match=r"the test split must have labels 0 and 1, both"):
        QUICK.run(train, val, replace(test, labels=np.ones(40, int)))
    with pytest.raises(DataError, match=r"labels lie in 0\.\.3; expected 0\.\.2 for 3 classes"):
        StaticClassifier(3).run(train, val, replace(test, labels=np.arange(40) % 4))
    with pytest.raises(DataError, match="a label for each of 60 sequences is needed"):
        StaticClassifier(3).run(replace(train, labels=None), val, test)
    with pytest.raises(DataError, match="targets have shape None"):
        WindowRegressor(1).run(train, val, test)
    with pytest.raises(DataError, match=r"expected \(N, T, K\) with \(60, 6\) first"):
        WindowRegressor(1).run(replace(train, targets=np.zeros((60, 5, 1))), val, test)
    with pytest.raises(DataError, match="codes have NaN"):
        replace(train, static=np.full((60, 3), np.nan))
    with pytest.raises(DataError, match="codes have NaN"):
        replace(train, lengths=None)
    with pytest.raises(DataError, match="lengths has 59 rows beside 60 sequences"):
        replace(train, lengths=np.full(59, 3))
    with pytest.raises(DataError, match=r"lengths lie in 0\.\.0; expected 1\.\.6"):
        replace(train, lengths=np.zeros(60, int))
    with pytest.raises(DataError, match=r"expected \(N, S\) and \(N, T, D\), N > 0"):
        Split(np.zeros((3, 2)), np.zeros((3, 2)))
