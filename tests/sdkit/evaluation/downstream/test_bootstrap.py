"""Intervals of figures whose spread is known."""

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from sdkit.evaluation.downstream import bootstrap
from sdkit.runtime.errors import ConfigError, DataError


def test_a_share_spreads_as_a_binomial_does() -> None:
    right = np.arange(400) < 320
    found = bootstrap.average(right.astype(float), draws=5000)
    expected = np.sqrt(0.8 * 0.2 / 400)
    assert found.value == 0.8
    assert found.sd == pytest.approx(expected, rel=0.05)
    assert found.low == pytest.approx(0.8 - 1.96 * expected, abs=0.004)
    assert found.high == pytest.approx(0.8 + 1.96 * expected, abs=0.004)
    narrow = bootstrap.average(right.astype(float), level=0.5)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.674 * expected, abs=0.006)


def test_values_of_one_sequence_are_drawn_together() -> None:
    one = np.random.default_rng(0).standard_normal(100)
    many = np.repeat(one[:, None], 7, 1)
    many[:, 3] = np.nan
    a, b = bootstrap.average(one), bootstrap.average(many)
    assert (b.value, b.low, b.high, b.sd) == pytest.approx((a.value, a.low, a.high, a.sd))


def test_a_mean_is_over_all_values_there_are() -> None:
    errors = np.array([[1.0, np.nan, np.nan], [2.0, 3.0, 4.0], [np.nan, np.nan, np.nan]])
    found = bootstrap.average(errors)
    assert found.value == 2.5
    assert (found.low, found.high) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("interval", "reference"),
    [(bootstrap.auroc, roc_auc_score), (bootstrap.auprc, average_precision_score)],
)
def test_areas_are_sklearns_on_every_resample(interval: object, reference: object) -> None:
    assert callable(interval)
    assert callable(reference)
    rng = np.random.default_rng(1)
    labels = (rng.random(60) < 0.2).astype(int)
    scores = np.round(rng.standard_normal(60) + labels, 1)  # with ties
    found = interval(labels, scores, draws=100, seed=4)
    assert found.value == pytest.approx(reference(labels, scores))
    (counts,) = bootstrap._resamples((labels == 1, labels == 0), np.arange(60), 100, 4)
    rows = [np.repeat(np.arange(60), c.astype(int)) for c in counts]
    values = [reference(labels[r], scores[r]) for r in rows]
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_copies_in_a_cluster_are_worth_one_sequence() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random(40) < 0.4).astype(int)
    scores = rng.standard_normal(40) + labels
    many, who = np.repeat(scores, 12), np.repeat(np.arange(40), 12) * 7
    of_one, of_all = bootstrap.average(scores), bootstrap.average(many, clusters=who)
    assert (of_all.value, of_all.low, of_all.high, of_all.sd) == pytest.approx(
        (of_one.value, of_one.low, of_one.high, of_one.sd)
    )
    # As sequences of their own, twelve copies narrow the interval by the root of twelve.
    assert bootstrap.average(many).sd == pytest.approx(of_one.sd / np.sqrt(12), rel=0.1)
    for area in (bootstrap.auroc, bootstrap.auprc):
        of_one, of_all = area(labels, scores), area(np.repeat(labels, 12), many, clusters=who)
        assert (of_all.value, of_all.low, of_all.high) == pytest.approx((of_one.value, of_one.low, of_one.high))


def test_perfect_scores_do_not_vary() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    for interval in (bootstrap.auroc, bootstrap.auprc):
        found = interval(labels, labels * 2.0)
        assert (found.value, found.low, found.high, found.sd) == (1, 1, 1, 0)


def test_draws_of_one_class_are_drawn_again() -> None:
    labels = np.zeros(20, int)
    labels[3] = 1  # a third of all draws lack it
    counts = np.concatenate(list(bootstrap._resamples((labels == 1, labels == 0), np.arange(20), 2000, 0)))
    assert counts.shape == (2000, 20)
    assert (counts.sum(1) == 20).all()
    assert (counts[:, 3] > 0).all()
    found = bootstrap.auprc(labels, np.arange(20.0))
    assert found.draws == 2000
    assert np.isfinite([found.low, found.high, found.sd]).all()


def test_chunks_are_one_sequence_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = np.arange(50) % 2, np.random.default_rng(0).random(50)
    whole = bootstrap.auroc(labels, scores, draws=300)
    monkeypatch.setattr(bootstrap, "CHUNK", 50 * 17)
    assert bootstrap.auroc(labels, scores, draws=300) == whole
    assert bootstrap.auroc(labels, scores, draws=300, seed=1) != whole


def test_two_thousand_draws_are_quick() -> None:
    rng = np.random.default_rng(0)
    start = time.process_time()
    bootstrap.auprc(np.arange(380) % 9 == 0, rng.random(380))
    assert time.process_time() - start < 2


def test_what_cannot_be_resampled() -> None:
    with pytest.raises(DataError, match="the split to resample must have labels 0 and 1"):
        bootstrap.auroc(np.ones(5, int), np.ones(5))
    with pytest.raises(DataError, match="there is no value to average over"):
        bootstrap.average(np.full((3, 2), np.nan))
    with pytest.raises(ConfigError, match=r"level = 95; expected"):
        bootstrap.average(np.ones(3), level=95)
    with pytest.raises(DataError, match="2 clusters of 3 sequences"):
        bootstrap.average(np.ones(3), clusters=np.arange(2))
    with pytest.raises(ConfigError, match="draws = 1"):
        bootstrap.average(np.ones(3), draws=1)
