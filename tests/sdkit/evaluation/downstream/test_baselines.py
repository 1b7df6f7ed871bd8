"""Baselines on series whose answers are known, and on real data where they are there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdkit.data import etth1, physionet
from sdkit.evaluation.downstream import baselines
from sdkit.evaluation.downstream.baselines import Series, summaries
from sdkit.evaluation.downstream.splits import Floats, Ints, Split
from sdkit.runtime.errors import DataError
from sdkit.runtime.storage.sequences import SequenceFile
from tests.real_data import real_data

NAN = np.nan


def series(count: int, seed: int, shape: Callable[[Ints], Floats]) -> Series:
    """Return noise (N, 4, 3, 2) plus shape(labels), with a fifth of the values missing and 3 to 4 windows."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    x = rng.standard_normal((count, 4, 3, 2)) + shape(labels)
    x[rng.random(x.shape) < 0.2] = NAN
    return Series(x, rng.integers(3, 5, count), labels)


def splits(shape: Callable[[Ints], Floats]) -> tuple[Series, Series, Series]:
    return series(200, 0, shape), series(80, 1, shape), series(150, 2, shape)


def level(labels: Ints) -> Floats:
    """Class 1 lies higher in the first feature."""
    return np.stack([2.0 * labels, 0 * labels], 1)[:, None, None]


def late(labels: Ints) -> Floats:
    """Class 1 lies higher after the first window."""
    return 2.0 * labels[:, None, None, None] * (np.arange(4) > 0)[:, None, None]


def course(labels: Ints) -> Floats:
    """Class 0 rises, class 1 falls, and means, deviations and extremes are alike."""
    slope = np.linspace(-3, 3, 12).reshape(4, 3, 1)
    return (1.0 - 2 * labels)[:, None, None, None] * slope


def nothing(labels: Ints) -> Floats:
    return np.zeros(1)


def test_answers_that_look_at_nothing() -> None:
    assert baselines.majority(np.array([0, 2, 2, 1]), np.array([2, 1, 2, 2])) == 0.75
    assert baselines.prevalence(np.array([0, 1, 0, 0])) == 0.25


def test_the_constant_is_the_training_median_of_each_target() -> None:
    train = Split(np.zeros((2, 0)), np.zeros((2, 3, 1)), np.array([3, 2]), targets=np.zeros((2, 3, 2)))
    assert train.targets is not None
    train.targets[..., 0] = [[1.0, 2.0, 3.0], [4.0, 100.0, 1e6]]  # the last is beyond the end: the median of five is 3
    test = replace(train, lengths=None, targets=np.stack([np.full((2, 3), 5.0), np.full((2, 3), NAN)], 2))
    found = baselines.constant(train, train, test)
    assert found.mae == 2
    assert found.train_mae == found.val_mae == (2 + 1 + 0 + 1 + 97) / 10
    assert (found.predictions == [3, 0]).all()


def test_summaries_are_over_observed_values() -> None:
    x = np.full((2, 3, 2, 2), NAN)
    x[0, :, :, 0] = [[1.0, 2.0], [NAN, 6.0], [50.0, 60.0]]
    x[0, 0, 0, 1] = -1
    x[1, :, :, 0] = [[1, 1], [1, 1], [1, 3]]
    data = Series(x, np.array([2, 3]))
    found = summaries(data).reshape(2, 6, 2)
    deviation = float(np.std([1, 2, 6]))
    np.testing.assert_allclose(found[0, :, 0], [3, deviation, 1, 6, 6, 0.25])
    np.testing.assert_allclose(found[0, :, 1], [-1, 0, -1, -1, -1, 0.75])
    np.testing.assert_allclose(found[1, :, 0], [8 / 6, float(np.std([1] * 5 + [3])), 1, 3, 3, 0])
    np.testing.assert_allclose(found[1, :, 1], [NAN, NAN, NAN, NAN, NAN, 1])
    first = summaries(data, first=True).reshape(2, 6, 2)
    np.testing.assert_allclose(first[0, :, 0], [1.5, 0.5, 1, 2, 2, 0])
    np.testing.assert_allclose(first[0, :, 1], [-1, 0, -1, -1, -1, 0.5])


@pytest.mark.parametrize("reader", ["logistic", "forest"])
def test_readers_of_summaries(reader: baselines.Reader) -> None:
    data = splits(level)
    told = baselines.classify(*data, classes=2, reader=reader)
    assert told.accuracy > 0.95
    assert told.val_accuracy > 0.9
    found = baselines.detect(*data, reader=reader)
    assert min(found.auroc, found.auprc, found.val_auroc, found.val_auprc) > 0.95
    assert ((found.probabilities > 0.5) == (told.probabilities.argmax(1) == 1)).mean() > 0.99
    if reader == "logistic":
        assert baselines.detect(*splits(nothing)).auroc == pytest.approx(0.5, abs=0.1)


def test_the_first_window_alone() -> None:
    data = splits(late)
    assert baselines.classify(*data, classes=2).accuracy > 0.95
    assert baselines.classify(*data, classes=2, first=True).accuracy == pytest.approx(0.5, abs=0.12)


def test_an_lstm_reads_the_order_of_steps() -> None:
    train, val, test = (replace(s, lengths=None) for s in splits(course))
    without_last = summaries(train).reshape(-1, 6, 2)[:, :4]  # what the order does not change
    labels = train.labels
    assert labels is not None
    assert np.abs(without_last[labels == 0].mean(0) - without_last[labels == 1].mean(0)).max() < 0.4
    assert baselines.lstm_classify(train, val, test, classes=2).accuracy > 0.95
    assert baselines.lstm_detect(train, val, test).auroc > 0.95


def test_ridge_tells_a_window_from_its_own_means() -> None:
    parts = []
    for s in splits(nothing):
        seen = np.isfinite(s.x)
        means = np.where(seen, s.x, 0).sum(2) / np.maximum(seen.sum(2), 1)
        parts.append(replace(s, targets=means @ np.array([[2.0], [-1.0]]) + 7))
    found = baselines.regress(parts[0], parts[1], parts[2], penalty=1e-6)
    assert max(found.mae, found.val_mae, found.train_mae) < 0.02  # but for windows that lack a feature altogether
    rolled = [replace(p, targets=np.roll(p.targets, 1, axis=1)) for p in parts if p.targets is not None]
    assert baselines.regress(rolled[0], rolled[1], rolled[2]).mae > 0.8
    assert (np.isfinite(found.predictions[..., 0]).sum(1) == parts[2].lengths).all()


def test_series_and_labels_that_do_not_fit() -> None:
    data = splits(level)
    with pytest.raises(DataError, match=r"shape \(3, 4, 2\); expected \(N, T, W, F\)"):
        Series(np.zeros((3, 4, 2)))
    with pytest.raises(DataError, match="labels lie in"):
        baselines.classify(*data, classes=1)
    with pytest.raises(DataError, match="the test split must have labels 0 and 1"):
        baselines.detect(data[0], data[1], replace(data[2], labels=np.zeros(150, int)))
    with pytest.raises(DataError, match="targets have shape None"):
        baselines.regress(*data)


def from_file(path: Path, column: int) -> tuple[Series, Series, Series]:
    with SequenceFile(path) as file:
        labels, lengths, targets = file.labels(), file.lengths(), file.targets()
        assert labels is not None
        parts = [
            Series(
                file.read(index),
                None if lengths is None else lengths[index],
                labels[index, column],
                None if targets is None else targets[index],
            )
            for index in map(file.select, ("train", "val", "test"))
        ]
    return parts[0], parts[1], parts[2]


def test_on_real_patients(tmp_path: Path) -> None:
    path = physionet.make(real_data("physionet2012"), tmp_path / "p.h5", compression="none")
    units = from_file(path, 1)
    assert units[0].labels is not None
    assert units[2].labels is not None
    assert baselines.majority(units[0].labels, units[2].labels) == pytest.approx(0.324, abs=0.001)
    assert baselines.classify(*units, classes=4, first=True).accuracy == pytest.approx(0.68, abs=0.02)
    assert baselines.classify(*units, classes=4).accuracy == pytest.approx(0.73, abs=0.02)
    deaths = baselines.detect(*from_file(path, 0))
    assert deaths.auroc == pytest.approx(0.834, abs=0.01)
    assert deaths.auprc == pytest.approx(0.40, abs=0.02)


def test_on_a_real_transformer(tmp_path: Path) -> None:
    data = from_file(etth1.make(real_data("etth1"), tmp_path / "e.h5", compression="none"), 0)
    constant, ridge = baselines.constant(*data), baselines.regress(*data)
    assert constant.mae == pytest.approx(12.4, abs=0.2)
    # The test summer is hotter than any training month: what is learnt in training misleads there.
    assert ridge.train_mae < constant.train_mae
    assert ridge.mae == pytest.approx(17.0, abs=0.3)
