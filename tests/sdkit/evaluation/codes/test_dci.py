"""DCI of codes whose scores are known."""

import numpy as np
import pytest

from sdkit.evaluation.codes.dci import DCI, Reader, completeness, dci, disentanglement
from sdkit.evaluation.downstream.splits import Floats, Ints, Split
from sdkit.runtime.errors import DataError

NAMES = ["skin", "hair", "motion"]


def labels(count: int, seed: int) -> Ints:
    return np.random.default_rng(seed).integers(0, 4, (count, 3))


def measure(static: Floats, dynamic: Floats, reader: Reader = "forest", limit: int = 2000) -> DCI:
    """Return the scores of codes that are linear in the labels: (3, S) and (3, D), plus dimensions of noise."""
    splits = []
    for seed, count in enumerate((300, 200)):
        rng, known = np.random.default_rng(seed + 5), labels(count, seed)
        s = np.concatenate([known @ static, rng.standard_normal((count, 2))], 1)
        d = np.repeat((known @ dynamic)[:, None], 3, 1)
        d += [[1.0], [-1.0], [0.0]]  # gone from the mean over time
        splits.append((Split(s, d), known))
    (train, known), (test, asked) = splits
    return dci(train, test, known, asked, NAMES, reader=reader, limit=limit)


@pytest.mark.parametrize("reader", ["forest", "boosting"])
def test_a_permutation_is_perfect(reader: Reader) -> None:
    found = measure(np.array([[0.0, 2], [-1, 0], [0, 0]]), np.array([[0.0], [0], [3]]), reader)
    assert min(found.disentanglement, found.completeness, found.informativeness) > 0.97
    assert found.importances.shape == (5, 3)
    assert found.importances.argmax(0).tolist() == [1, 0, 4]
    np.testing.assert_allclose(found.importances.sum(0), 1)
    assert found.static_share["skin"] > 0.98
    assert found.static_share["motion"] < 0.02
    assert list(found.accuracy.values()) == [1, 1, 1]
    assert found.factors == ("skin", "hair", "motion")


def test_a_mixture_is_neither_disentangled_nor_complete() -> None:
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    found = measure(rotation[:, :2], rotation[:, 2:])
    assert found.disentanglement < 0.5
    assert found.completeness < 0.6
    assert found.informativeness > 0.7


def test_codes_that_hold_nothing() -> None:
    known, asked = labels(80, 0), labels(60, 1)
    train, test = (Split(np.ones((n, 2)), np.zeros((n, 3, 2))) for n in (80, 60))
    found = dci(train, test, known, asked, NAMES)
    assert (found.disentanglement, found.completeness) == (0, 0)
    assert found.informativeness < 0.4
    assert found.static_share == dict.fromkeys(NAMES, 0.0)


def test_scores_of_matrices() -> None:
    assert disentanglement(np.eye(3)) == completeness(np.eye(3)) == 1
    assert disentanglement(np.ones((4, 3))) == pytest.approx(0)
    assert completeness(np.ones((4, 3))) == pytest.approx(0)
    # Two dimensions serve one factor each, the first factor being spread over two: disentangled, not complete.
    spread = np.array([[0.5, 0], [0.5, 0], [0, 1], [0, 0]])
    assert disentanglement(spread) == 1
    assert completeness(spread) == pytest.approx((0.5 + 1) / 2)
    # One dimension serves both factors: complete, not disentangled.
    shared = np.array([[1.0, 1], [0, 0]])
    assert disentanglement(shared) == pytest.approx(0)
    assert completeness(shared) == 1
    # A dimension counts as much as it is used: 1 - H(0.75, 0.25) of the first, which has four fifths of the use.
    uneven = np.array([[3.0, 1], [0, 1]])
    entropy = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    assert disentanglement(uneven) == pytest.approx(0.8 * (1 - entropy) + 0.2)


def test_many_sequences_are_thinned_out() -> None:
    axes = np.array([[1.0, 2], [-1, 1], [0, 1]]), np.array([[0.0], [1], [3]])
    a, b, whole = measure(*axes, limit=60), measure(*axes, limit=60), measure(*axes)
    np.testing.assert_array_equal(a.importances, b.importances)
    assert (a.importances != whole.importances).any()


def test_labels_that_do_not_fit() -> None:
    split = Split(np.ones((6, 2)), np.ones((6, 3, 2)))
    known = labels(6, 0)
    with pytest.raises(DataError, match="1 factor; disentanglement compares factors"):
        dci(split, split, known[:, :1], known[:, :1], ["skin"])
    with pytest.raises(DataError, match="factor 'hair': the training split has one value only"):
        dci(split, split, known * np.array([1, 0, 1]), known, NAMES)
