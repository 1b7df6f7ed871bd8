"""Probes of codes that hold, or do not hold, a factor."""

from dataclasses import replace

import numpy as np
import pytest

from sdkit.evaluation.codes.probes import READERS, Reader, leakage_table, pool, probe, unusable
from sdkit.evaluation.downstream.splits import Ints, Split
from sdkit.runtime.errors import DataError
from sdkit.runtime.storage.sequences import Factor

WHO = Factor("who", "static", ("a", "b", "c"))
WHAT = Factor("what", "dynamic", ("x", "y", "z"))


def clean(count: int, seed: int, steps: int = 5) -> tuple[Split, Ints]:
    """Return codes of a clean split and (N, 2) labels: s holds who, the spread of d over time holds what."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (count, 2))
    static = np.eye(3)[labels[:, 0]] + 0.1 * rng.standard_normal((count, 3))
    dynamic = rng.standard_normal((count, steps, 2)) * (1 + 9 * labels[:, 1, None, None] ** 2)
    return Split(static, dynamic), labels


@pytest.fixture(scope="module")
def parts() -> tuple[Split, Ints, Split, Ints]:
    return *clean(600, 0), *clean(400, 1)


@pytest.mark.parametrize("reader", READERS)
def test_a_copied_label_is_told_and_noise_is_not(reader: Reader) -> None:
    rng = np.random.default_rng(0)
    labels, asked = rng.integers(0, 4, 400), rng.integers(0, 4, 400)
    copied = probe(np.eye(4)[labels], np.eye(4)[asked], labels, asked, reader=reader)
    assert (copied.accuracy, copied.balanced_accuracy, copied.uniform) == (1, 1, 0.25)
    assert copied.gap == pytest.approx(1 - max(copied.majority, 0.25))
    blind = probe(rng.standard_normal((400, 3)), rng.standard_normal((400, 3)), labels, asked, reader=reader)
    assert blind.balanced_accuracy == pytest.approx(0.25, abs=0.08)
    assert blind.gap == pytest.approx(0, abs=0.1)


def test_unequal_classes_do_not_pass_for_knowledge() -> None:
    labels = np.array([0] * 80 + [1] * 20)
    found = probe(np.zeros((100, 2)), np.zeros((100, 2)), labels, labels)
    assert (found.accuracy, found.majority, found.balanced_accuracy, found.gap) == (0.8, 0.8, 0.5, 0)


def test_only_the_second_reader_tells_what_is_not_linear() -> None:
    rng = np.random.default_rng(0)
    x, x_test = rng.choice([-1.0, 1.0], (2, 600, 2)) + 0.1 * rng.standard_normal((2, 600, 2))
    labels, asked = ((v.prod(1) > 0).astype(int) for v in (x, x_test))
    assert probe(x, x_test, labels, asked).accuracy < 0.75
    assert probe(x, x_test, labels, asked, reader="mlp").accuracy > 0.97


def test_few_sequences_are_probed_without_stopping_early() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    assert probe(np.eye(3)[labels] * 9, np.eye(3)[labels] * 9, labels, labels, reader="mlp").accuracy == 1


def test_the_table_of_a_clean_split(parts: tuple[Split, Ints, Split, Ints]) -> None:
    train, labels, test, asked = parts
    table = leakage_table(train, test, labels, asked, [WHO, WHAT])
    assert [(r.factor, r.kind, r.reader) for r in table.rows] == [
        ("who", "static", "linear"),
        ("who", "static", "mlp"),
        ("what", "dynamic", "linear"),
        ("what", "dynamic", "mlp"),
    ]
    assert not table.skipped
    for row in table.rows:
        assert row.intended.accuracy > 0.9
        assert row.leaked.gap < 0.1


def test_directions_turn_with_the_kind(parts: tuple[Split, Ints, Split, Ints]) -> None:
    train, labels, test, asked = parts
    turned = [replace(WHO, kind="dynamic"), replace(WHAT, kind="static")]
    for row in leakage_table(train, test, labels, asked, turned, readers=["linear"]).rows:
        assert row.leaked.accuracy > 0.9
        assert row.intended.gap < 0.1


def test_dynamics_that_the_mean_hides_are_found_in_moments(parts: tuple[Split, Ints, Split, Ints]) -> None:
    train, labels, test, asked = parts
    rows = [
        leakage_table(train, test, labels, asked, [WHO, WHAT], pooling=how, readers=["linear"]).rows[1].intended
        for how in ("moments", "mean")
    ]
    assert rows[0].accuracy > rows[1].accuracy + 0.2


def test_factors_that_cannot_be_probed_are_named(parts: tuple[Split, Ints, Split, Ints]) -> None:
    train, labels, test, asked = parts
    strangers = Factor("speaker", "static", ("0", "1", "2", "3", "4", "5"))
    constant = Factor("year", "static", ("2016",))
    some = Factor("some", "static", ("0", "1", "2", "3"))
    extra = np.stack([labels[:, 0], 0 * labels[:, 0], labels[:, 0]], 1)
    new = np.stack([asked[:, 0] + 3, 0 * asked[:, 0], asked[:, 0] + 1], 1)
    table = leakage_table(
        train,
        test,
        np.concatenate([extra, labels], 1),
        np.concatenate([new, asked], 1),
        [strangers, constant, some, WHO, WHAT],
        readers=["linear"],
    )
    assert [row.factor for row in table.rows] == ["who", "what"]
    assert table.skipped == {
        "speaker": "no value of the test split occurs in the training split",
        "year": "the training split has one value only",
        "some": "1 of the test split's values do not occur in the training split",
    }
    with pytest.raises(DataError, match="labels cannot be probed: the training split has one value only"):
        probe(train.static, test.static, extra[:, 1], new[:, 1])
    assert unusable(np.array([0, 1]), np.array([1])) == ""


def test_pooling_is_over_valid_steps() -> None:
    dynamic = np.array([[[1.0], [3.0], [np.nan]], [[2.0], [2.0], [8.0]]])
    split = Split(np.zeros((2, 1)), dynamic, np.array([2, 3]))
    assert pool(split, "mean").tolist() == [[2], [4]]
    assert pool(split, "last").tolist() == [[3], [8]]
    np.testing.assert_allclose(pool(split), [[2, 1], [4, np.sqrt(8)]])
    with pytest.raises(DataError, match="sequences have different lengths"):
        pool(split, "flat")
    assert pool(replace(split, dynamic=np.arange(12.0).reshape(2, 3, 2), lengths=None), "flat").tolist() == [
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10, 11],
    ]


def test_labels_that_do_not_fit(parts: tuple[Split, Ints, Split, Ints]) -> None:
    train, labels, test, asked = parts
    with pytest.raises(DataError, match=r"labels have shape \(400, 2\); expected \(400, 1\)"):
        leakage_table(train, test, labels[:, :1], asked, [WHO])
