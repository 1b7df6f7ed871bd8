"""Leakage: the accuracy with which each labelled factor is read from the static and from the dynamic codes.

A clean split gives static factors from s and not from d, dynamic factors from d and not from s. Probes are fitted on
training sequences and scored on test sequences. A probe that fails shows that a reader of its kind cannot find the
factor, not that the factor is absent; so a linear and a non-linear one are run.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sdkit.evaluation.codes.linear import logistic_regression
from sdkit.evaluation.downstream.splits import Floats, Ints, Split, Standardiser
from sdkit.runtime.errors import DataError
from sdkit.runtime.storage.sequences import Factor

Code = Literal["static", "dynamic"]
Reader = Literal["linear", "mlp"]
Pooling = Literal["moments", "mean", "last", "flat"]
READERS: tuple[Reader, ...] = ("linear", "mlp")


@dataclass(frozen=True)
class Probe:
    """Accuracy of reading a factor from a code, on the test split."""

    accuracy: float
    balanced_accuracy: float
    """Mean over the classes of the accuracy within each; `uniform` at chance, however unequal the classes are."""
    majority: float
    """Accuracy of always answering the training split's most frequent class."""
    uniform: float
    """Accuracy of a uniform guess, 1 / C, with C the number of the factor's values that occur in training."""
    gap: float
    """Difference of `accuracy` and the better of `majority` and `uniform`; about 0 where the code carries nothing."""


@dataclass(frozen=True)
class Leakage:
    """A row of the table: the same reader on the code that should hold a factor, and on the one that should not."""

    factor: str
    kind: Code
    reader: Reader
    intended: Probe
    """Probe of s for static factors, of d for dynamic ones."""
    leaked: Probe
    """Probe of d for static factors, of s for dynamic ones."""


@dataclass(frozen=True)
class LeakageTable:
    """Rows of all factors, and reasons why some have none."""

    rows: tuple[Leakage, ...]
    skipped: Mapping[str, str]
    """Reasons by factor."""


def leakage_table(
    train: Split,
    test: Split,
    train_labels: Ints,
    test_labels: Ints,
    factors: Sequence[Factor],
    *,
    pooling: Pooling = "moments",
    readers: Sequence[Reader] = READERS,
    seed: int = 0,
) -> LeakageTable:
    """Probe every factor from both codes.

    Posterior means and samples are both allowed, as long as the two splits hold the same. The means of collapsed codes
    still predict factors, since a probe rescales them; samples do not.

    Args:
        train: codes to fit on; `test`: codes to score.
        train_labels: (N, L), one column for each factor; `test_labels` likewise.
        factors: factors of the columns.
        pooling: reduction of d to one vector (`pool`).
        readers: names of readers, `linear` or `mlp`.
        seed: seed of the non-linear readers.

    Raises:
        DataError: labels that do not fit the codes, or a pooling that the lengths do not allow.
    """
    for split, labels in ((train, train_labels), (test, test_labels)):
        if labels.shape != (len(split), len(factors)):
            raise DataError(f"labels have shape {labels.shape}; expected {(len(split), len(factors))}")
    codes = {
        "static": (train.static, test.static),
        "dynamic": (pool(train, pooling), pool(test, pooling)),
    }
    rows, skipped = [], {}
    for column, factor in enumerate(factors):
        known, asked = train_labels[:, column], test_labels[:, column]
        reason = unusable(known, asked)
        if reason:
            skipped[factor.name] = reason
            continue
        for reader in readers:
            found = {name: probe(*x, known, asked, reader=reader, seed=seed) for name, x in codes.items()}
            other = "dynamic" if factor.kind == "static" else "static"
            rows.append(Leakage(factor.name, factor.kind, reader, found[factor.kind], found[other]))
    return LeakageTable(tuple(rows), skipped)


def pool(split: Split, how: Pooling = "moments") -> Floats:
    """Return the dynamic codes of each sequence as one vector, over its valid steps.

    `moments` is the mean and standard deviation over time, (N, 2 D); `mean` and `last` are (N, D); `flat` is all steps
    in order, (N, T D), which needs sequences of one length.

    Raises:
        DataError: `flat` on sequences of different lengths.
    """
    valid, d = split.valid[..., None], split.dynamic.astype(np.float64)
    if how == "flat":
        if not valid.all():
            raise DataError("sequences have different lengths; pool their dynamic codes by moments, mean or last")
        return d.reshape(len(d), -1)
    if how == "last":
        return np.asarray(d[np.arange(len(d)), valid.sum((1, 2)) - 1])
    mean = d.mean(1, where=valid)
    return np.asarray(mean) if how == "mean" else np.concatenate([mean, d.std(1, where=valid)], 1)


def probe(x: Floats, x_test: Floats, labels: Ints, asked: Ints, *, reader: Reader = "linear", seed: int = 0) -> Probe:
    """Return the accuracy of labels (N,) predicted from vectors (N, P) by a reader fitted on `x` and `labels`.

    Raises:
        DataError: labels from which nothing can be learned (`unusable`).
    """
    from sklearn.metrics import balanced_accuracy_score

    reason = unusable(labels, asked)
    if reason:
        raise DataError(f"labels cannot be probed: {reason}")
    scale = Standardiser.fit(x)
    told = _fit(scale(x), labels, reader, seed).predict(scale(x_test))
    accuracy = float(np.mean(told == asked))
    values, counts = np.unique(labels, return_counts=True)
    most, uniform = float(np.mean(asked == values[counts.argmax()])), 1 / len(values)
    with warnings.catch_warnings():
        # Answers that do not occur in the test split are errors like any other.
        warnings.filterwarnings("ignore", "y_pred contains classes not in y_true")
        balanced = float(balanced_accuracy_score(asked, told))
    return Probe(accuracy, balanced, most, uniform, accuracy - max(most, uniform))


UNSEEN = "no value of the test split occurs in the training split"
"""Reason against a probe of a factor whose test values are all new, such as speakers."""


def unusable(labels: Ints, asked: Ints) -> str:
    """Return why training labels (N,) do not allow a probe of test labels, or an empty text."""
    known = np.unique(labels)
    if len(known) < 2:
        return "the training split has one value only"
    strange = np.setdiff1d(asked, known)
    if len(strange) == len(np.unique(asked)):
        return UNSEEN
    if len(strange):
        return f"{len(strange)} of the test split's values do not occur in the training split"
    return ""


def _fit(x: Floats, labels: Ints, reader: Reader, seed: int) -> Any:
    if reader == "linear":
        return logistic_regression(x, labels, c=1.0)
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    # The tenth that is held out for early stopping must hold every class, and a class needs two members to be split.
    counts = np.unique(labels, return_counts=True)[1]
    stop = bool(counts.min() >= 2 and len(labels) >= 10 * len(counts))
    model = MLPClassifier((64,), early_stopping=stop, max_iter=200, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 passes are the budget, reached or not
        return model.fit(x, labels)
