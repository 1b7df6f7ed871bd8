"""Predictions without a model: from nothing, and from the raw values of a series.

A figure on codes says little by itself. It is compared with an answer that ignores the data (the majority, a constant,
the share of positives) and plain classifiers on the raw values, all fitted on the training split.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sdkit.evaluation.codes.linear import class_probabilities, logistic_regression
from sdkit.evaluation.downstream.results import (
    BinaryScores,
    ClassResult,
    RegressionResult,
    binary_scores,
    class_result,
    mean_absolute_error,
)
from sdkit.evaluation.downstream.splits import Floats, Ints, Split, Standardiser, observed_targets, valid_steps
from sdkit.runtime.errors import DataError

Reader = Literal["logistic", "forest"]
SUMMARIES = ("mean", "std", "min", "max", "last", "missing")
"""Summaries of a feature over the observed values of a sequence; the last is the share of missing values."""


@dataclass(frozen=True)
class Series:
    """Raw windows of the N sequences of one split, with labels or targets to predict.

    Raises:
        DataError: x is not (N, T, W, F).
    """

    x: Floats
    """Values (N, T, W, F) in the data set's units; NaN where not observed. Spectra (N, T, F) have W = 1."""
    lengths: Ints | None = None
    """Numbers of valid windows (N,); None when every sequence has T."""
    labels: Ints | None = None
    """Classes (N,), or 0 and 1."""
    targets: Floats | None = None
    """Targets (N, T, K), in the target's units."""

    def __post_init__(self) -> None:
        if self.x.ndim != 4 or len(self.x) == 0:
            raise DataError(f"a series has shape {self.x.shape}; expected (N, T, W, F), N > 0")

    @property
    def observed(self) -> Floats:
        """Values (N, T, W, F) with NaN beyond every sequence's length, float64."""
        valid = valid_steps(self.lengths, *self.x.shape[:2])
        return np.where(valid[..., None, None], self.x, np.nan).astype(np.float64)


def majority(train_labels: Ints, labels: Ints) -> float:
    """Return the accuracy of always answering the training split's most frequent class."""
    values, counts = np.unique(train_labels, return_counts=True)
    return float(np.mean(labels == values[counts.argmax()]))


def prevalence(labels: Ints) -> float:
    """Return the share of positives: the AUPRC that scores without information have on average."""
    return float(np.mean(labels))


def constant(train: Split | Series, val: Split | Series, test: Split | Series) -> RegressionResult:
    """Return the errors of always answering the median of the training targets.

    Raises:
        DataError: a split without targets.
    """
    splits = [_as_split(s) for s in (train, val, test)]
    median = np.nanmedian(observed_targets(splits[0]), axis=(0, 1))
    return _regression([np.broadcast_to(median, observed_targets(s).shape) for s in splits], splits)


def summaries(series: Series, *, first: bool = False) -> Floats:
    """Return the `SUMMARIES` of every feature, (N, 6 F): all means, then all deviations, and so on.

    Summaries of a feature that was never observed are NaN. With `first`, only the first window is used.
    """
    x = series.observed[:, :1] if first else series.observed
    counted = valid_steps(series.lengths, *series.x.shape[:2])[:, : x.shape[1]].sum(1) * x.shape[2]
    x = x.reshape(len(x), -1, x.shape[3])
    seen = np.isfinite(x)
    count = seen.sum(1)
    with np.errstate(invalid="ignore"):
        mean = np.where(seen, x, 0).sum(1) / count
        std = np.sqrt((np.where(seen, x - mean[:, None], 0) ** 2).sum(1) / count)
    low, high = np.where(seen, x, np.inf).min(1), np.where(seen, x, -np.inf).max(1)
    newest = seen.shape[1] - 1 - seen[:, ::-1].argmax(1)
    last = np.take_along_axis(x, newest[:, None], 1)[:, 0]
    values = [np.where(count > 0, part, np.nan) for part in (mean, std, low, high, last)]
    return np.concatenate([*values, 1 - count / counted[:, None]], 1)


def classify(
    train: Series,
    val: Series,
    test: Series,
    *,
    classes: int,
    reader: Reader = "logistic",
    first: bool = False,
    seed: int = 0,
) -> ClassResult:
    """Return the accuracy of classes predicted from the summaries of a sequence, or of its first window.

    Raises:
        DataError: labels that are missing or outside the classes.
    """
    model, tables = _fit(train, val, test, classes, reader, first, seed)
    val_told, told = (class_probabilities(model, x, classes) for x in tables)
    return class_result((_labels(val, classes), val_told), (_labels(test, classes), told))


def detect(
    train: Series, val: Series, test: Series, *, reader: Reader = "logistic", first: bool = False, seed: int = 0
) -> BinaryScores:
    """Return the scores of positives predicted from the summaries of a sequence, or of its first window.

    Raises:
        DataError: a split without labels 0 and 1 of both kinds.
    """
    model, tables = _fit(train, val, test, 2, reader, first, seed)
    val_told, told = (class_probabilities(model, x, 2)[:, 1] for x in tables)
    return binary_scores((_labels(val, 2), val_told), (_labels(test, 2), told))


def regress(train: Series, val: Series, test: Series, *, penalty: float = 1.0) -> RegressionResult:
    """Return the errors of a ridge regression from each window's own feature means to its target.

    Raises:
        DataError: a split without targets.
    """
    from sklearn.linear_model import Ridge

    splits, means = [_as_split(s) for s in (train, val, test)], [_window_means(s) for s in (train, val, test)]
    scale, wanted = Standardiser.fit(means[0]), observed_targets(splits[0])
    known = np.isfinite(wanted).all(-1)
    model = Ridge(penalty).fit(scale(means[0])[known], wanted[known])
    shape = wanted.shape[-1]
    found = [model.predict(scale(m).reshape(-1, m.shape[-1])).reshape(*m.shape[:2], shape) for m in means]
    return _regression(found, splits)


def lstm_classify(train: Series, val: Series, test: Series, *, classes: int, seed: int = 0) -> ClassResult:
    """Return the accuracy of an LSTM trained on the raw steps, at the lowest validation loss of 40 epochs.

    Values are standardised and missing ones set to the mean; the network does not see which are missing.

    Raises:
        DataError: labels that are missing or outside the classes.
    """
    from sdkit.evaluation.downstream.predictors import fit_sequence_classifier

    return fit_sequence_classifier(*_raw_steps(train, val, test), classes=classes, epochs=40, seed=seed)


def lstm_detect(train: Series, val: Series, test: Series, *, seed: int = 0) -> BinaryScores:
    """Return the scores of an LSTM trained on the raw steps to find positives, best validation AUROC of 40 epochs.

    Values are standardised and missing ones set to the mean; the network does not see which are missing.

    Raises:
        DataError: a split without labels 0 and 1 of both kinds.
    """
    from sdkit.evaluation.downstream.predictors import BinaryPredictor

    predictor = BinaryPredictor(fixed_epochs=40, epochs=40)
    return predictor.run(*_raw_steps(train, val, test), seed=seed).selected


def _fit(
    train: Series, val: Series, test: Series, classes: int, reader: Reader, first: bool, seed: int
) -> tuple[Any, list[Floats]]:
    """Return a classifier fitted on the training split, and the tables (N, P) of the other two."""
    tables = [summaries(s, first=first) for s in (train, val, test)]
    scale = Standardiser.fit(tables[0])
    x, *others = (scale(table) for table in tables)
    labels = _labels(train, classes)
    if reader == "logistic":
        # Summaries are many and nearly redundant, hence ten times the usual penalty.
        return logistic_regression(x, labels, c=0.1), others
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(500, min_samples_leaf=3, random_state=seed).fit(x, labels), others


def _labels(series: Series, classes: int) -> Ints:
    return _as_split(series).asked(classes)


def _as_split(data: Split | Series) -> Split:
    """Return the labels and targets of a series without its values."""
    if isinstance(data, Split):
        return data
    count, steps = data.x.shape[:2]
    return Split(np.zeros((count, 0)), np.zeros((count, steps, 0)), data.lengths, data.labels, data.targets)


def _raw_steps(train: Series, *others: Series) -> list[Split]:
    """Return the series as splits whose dynamic codes are the standardised steps, (N, T W, F)."""
    scale = Standardiser.fit(train.observed)
    out = []
    for s in (train, *others):
        count, steps, width, features = s.x.shape
        values = scale(s.observed).reshape(count, steps * width, features)
        lengths = None if s.lengths is None else s.lengths * width
        out.append(Split(np.zeros((count, 0)), values, lengths, s.labels))
    return out


def _window_means(series: Series) -> Floats:
    """Return means (N, T, F) over the observed values of each window; NaN where there are none."""
    x = series.observed
    seen = np.isfinite(x)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(seen, x, 0).sum(2) / seen.sum(2))


def _regression(predictions: list[Floats], splits: list[Split]) -> RegressionResult:
    shown = [np.where(s.valid[..., None], p, np.nan) for p, s in zip(predictions, splits, strict=True)]
    train, val, test = (mean_absolute_error(p, s) for p, s in zip(shown, splits, strict=True))
    return RegressionResult(test, val, train, shown[2], "correct")
