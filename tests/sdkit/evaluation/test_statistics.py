"""Tests of statistics against scipy's and against what can be counted by hand."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from sdkit.evaluation import statistics
from sdkit.evaluation.statistics import holm, jackknife, mean_interval, paired, welch
from sdkit.runtime.errors import ConfigError, DataError

A = [0.81, 0.84, 0.83, 0.86, 0.79]
B = [0.78, 0.80, 0.84, 0.81, 0.80]


def test_the_mean_over_three_seeds() -> None:
    found = mean_interval([1.0, 2.0, 3.0])
    # The 97.5 % quantile of t with two degrees of freedom is 4.3027.
    assert (found.value, found.draws, found.method) == (2.0, 3, "t")
    assert found.sd == pytest.approx(1 / np.sqrt(3))
    assert (found.low, found.high) == pytest.approx((2 - 4.3027 / np.sqrt(3), 2 + 4.3027 / np.sqrt(3)), abs=1e-4)
    narrow = mean_interval(A, level=0.5)
    assert (narrow.low, narrow.high) == pytest.approx(stats.t.interval(0.5, 4, np.mean(A), stats.sem(A)))


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.array(A)
    found = jackknife(float(x.mean()), [float(np.delete(x, i).mean()) for i in range(len(x))])
    expected = mean_interval(x)
    assert (found.sd, found.low, found.high) == pytest.approx((expected.sd, expected.low, expected.high))
    assert (found.method, found.draws) == ("jackknife", 5)


def test_pairs() -> None:
    found, reference = paired(A, B), stats.ttest_rel(A, B)
    interval = reference.confidence_interval(0.95)
    assert (found.difference, found.p) == pytest.approx((0.02, reference.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.count, found.level) == (5, 0.95)
    back = paired(B, A)
    assert (back.difference, back.low, back.p) == pytest.approx((-found.difference, -found.high, found.p))


def test_sign_flips_are_counted() -> None:
    assert paired([1.0, 2.0, 3.0], [0.0, 0.0, 0.0]).p_flips == 0.25  # +++ and --- of eight
    assert paired([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], np.zeros(6)).p_flips == 2 / 64
    differences = np.subtract(A, B)
    sums = [abs(np.dot(signs, differences)) for signs in product((-1, 1), repeat=5)]
    assert paired(A, B).p_flips == pytest.approx(np.mean(np.array(sums) >= differences.sum() - 1e-9))
    # Sums that are equal on paper and not in binary count: 0.1 + 0.2 and 0.3 against 0.
    assert paired([0.1, 0.2, -0.3], [0.0, 0.0, 0.0]).p_flips == 1.0


def test_many_pairs_are_drawn_and_agree_with_t() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.35, 1, 40), rng.normal(0, 1, 40)
    found = paired(a, b)
    assert found.p_flips == pytest.approx(found.p, abs=0.01)
    assert found == paired(a, b) != paired(a, b, seed=1)


def test_chance_is_rejected_as_often_as_it_should_be() -> None:
    rng = np.random.default_rng(0)
    found = [paired(*rng.normal(size=(2, 6))) for _ in range(400)]
    assert np.mean([one.p < 0.05 for one in found]) == pytest.approx(0.05, abs=0.03)
    assert np.mean([one.p_flips is not None and one.p_flips < 0.05 for one in found]) == pytest.approx(2 / 64, abs=0.03)
    assert np.mean([one.low < 0 < one.high for one in found]) == pytest.approx(0.95, abs=0.03)


def test_without_pairs() -> None:
    b = [*B, 0.9, 0.7]
    found, reference = welch(A, b), stats.ttest_ind(A, b, equal_var=False)
    interval = reference.confidence_interval(0.95)
    assert (found.difference, found.p) == pytest.approx((np.mean(A) - np.mean(b), reference.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert (found.count, found.p_flips) == (5, None)


def test_values_that_do_not_vary_leave_no_doubt() -> None:
    same, apart = [0.5, 0.5], [0.75, 0.75]
    for compare in (paired, welch):
        equal, other = compare(same, same), compare(apart, same)
        assert (equal.difference, equal.low, equal.high, equal.p) == (0, 0, 0, 1)
        assert (other.difference, other.low, other.high, other.p) == (0.25, 0.25, 0.25, 0)


def test_holm_as_in_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([0.2]) == (0.2,)
    assert holm([]) == ()


def test_what_cannot_be_compared() -> None:
    with pytest.raises(DataError, match=r"values are \[1.0\]; a spread needs two or more"):
        mean_interval([1.0])
    with pytest.raises(DataError, match="all finite"):
        paired([1.0, float("nan")], [0.0, 1.0])
    with pytest.raises(DataError, match="2 and 3 values are no pairs; welch"):
        paired([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match=r"must lie in 0\.\.1"):
        holm([0.5, 1.5])
    with pytest.raises(ConfigError, match="level = 95"):
        mean_interval(A, level=95)
    assert statistics.EXACT >= 12  # seeds of a table are never drawn
