"""Results of an evaluation for a label or a target: scores of the validation and the test split."""

from dataclasses import dataclass

import numpy as np

from sdkit.evaluation.downstream.splits import Floats, Ints, Split, observed_targets
from sdkit.runtime.errors import DataError

Labelled = tuple[Ints, Floats]
"""Labels of a split and their predicted scores."""


@dataclass(frozen=True)
class BinaryScores:
    """Scores of finding the positives of a split; `val_*` on the validation split, the others on the test split."""

    auprc: float
    auroc: float
    val_auprc: float
    val_auroc: float
    probabilities: Floats
    """Probabilities (N,) of the positive class, on the test split."""
    epoch: int | None = None
    """Epoch whose weights were used; None for models without epochs."""


@dataclass(frozen=True)
class BinaryResult:
    """One training, scored at two epochs."""

    fixed: BinaryScores
    """Scores after the number of epochs that the protocol fixes."""
    selected: BinaryScores
    """Scores at the epoch with the best AUROC on the validation split."""


@dataclass(frozen=True)
class ClassResult:
    """Share of sequences whose class is predicted; `val_accuracy` on the validation split, else on the test split."""

    accuracy: float
    val_accuracy: float
    probabilities: Floats
    """Probabilities (N, C) on the test split."""
    epoch: int | None = None


@dataclass(frozen=True)
class RegressionResult:
    """Mean absolute errors over the windows of each split, in the target's units."""

    mae: float
    val_mae: float
    train_mae: float
    """Mean absolute error on the training split, near that of a constant where nothing was learned."""
    predictions: Floats
    """Predictions (N, T, K) on the test split; NaN beyond a sequence's length."""
    pairing: str
    """Pairing of inputs and targets: `correct`, or `shuffled` where the training targets were those of other inputs."""


def both_classes(labels: Ints, where: str) -> None:
    """Check that labels hold 0 and 1.

    Raises:
        DataError: they do not.
    """
    if len(labels) == 0 or not ((labels == 0) | (labels == 1)).all() or labels.min() == labels.max():
        raise DataError(f"{where} must have labels 0 and 1, both of them; without, AUPRC and AUROC are undefined")


def auroc(labels: Ints, scores: Floats) -> float:
    """Return the area under the receiver operating characteristic."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, scores))


def auprc(labels: Ints, scores: Floats) -> float:
    """Return the average precision; that of scores without information is the share of positives."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(labels, scores))


def binary_scores(val: Labelled, test: Labelled, epoch: int | None = None) -> BinaryScores:
    """Return the scores of labels (N,) and probabilities of the positive class (N,) of the two splits.

    Raises:
        DataError: labels of one class only.
    """
    both_classes(val[0], "the validation split")
    both_classes(test[0], "the test split")
    return BinaryScores(auprc(*test), auroc(*test), auprc(*val), auroc(*val), test[1], epoch)


def class_result(val: Labelled, test: Labelled, epoch: int | None = None) -> ClassResult:
    """Return the accuracies of labels (N,) and probabilities (N, C) of the two splits."""
    val_accuracy, accuracy = (float(np.mean(scores.argmax(1) == labels)) for labels, scores in (val, test))
    return ClassResult(accuracy, val_accuracy, test[1], epoch)


def mean_absolute_error(predictions: Floats, split: Split) -> float:
    """Return the mean absolute error of (N, T, K) predictions over the windows that have a target."""
    return float(np.nanmean(np.abs(predictions - observed_targets(split))))
