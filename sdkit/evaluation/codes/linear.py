"""Logistic regression, the simplest reader of codes and of raw features."""

from typing import Any

import numpy as np

from sdkit.evaluation.downstream.splits import Floats, Ints


def logistic_regression(x: Floats, labels: Ints, *, c: float) -> Any:
    """Return a fitted multinomial logistic regression; c is the inverse strength of its L2 penalty."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=c, max_iter=5000).fit(x, labels)


def class_probabilities(model: Any, x: Floats, classes: int) -> Floats:
    """Return probabilities (N, C) of a fitted sklearn classifier, 0 for classes that it has not seen."""
    out = np.zeros((len(x), classes))
    out[:, model.classes_] = model.predict_proba(x)
    return out
