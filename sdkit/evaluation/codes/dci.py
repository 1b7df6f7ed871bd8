"""DCI (Eastwood & Williams 2018): disentanglement, completeness and informativeness of codes.

A forest predicts each factor from all code dimensions; its use of each dimension gives a matrix of importances. A
dimension is disentangled if it serves one factor, a factor complete if one dimension serves it. Static and dynamic
codes may spread a factor over several dimensions of the right kind, so the share of each factor's
importance that lies in s is given too: near 1 for static factors and near 0 for dynamic ones in a clean split.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sdkit.evaluation.base import Case, EvaluationProtocol, Line, Needs, number
from sdkit.evaluation.codes.encoded import codes_of
from sdkit.evaluation.codes.probes import pool, unusable
from sdkit.evaluation.data import label_table
from sdkit.evaluation.downstream.splits import Floats, Ints, Split
from sdkit.runtime.errors import DataError

Reader = Literal["forest", "boosting"]
TREES = 50
LIMIT = 2000
"""Number of training sequences to fit on, drawn at random where there are more: time grows with sequences times
dimensions."""


@dataclass(frozen=True)
class DCI:
    """The three scores, each between 0 and 1, and the figures behind them."""

    disentanglement: float
    """Mean over code dimensions of 1 - entropy of the factors that they serve, weighted by their importance."""
    completeness: float
    """Mean over factors of 1 - entropy of the dimensions that serve them."""
    informativeness: float
    """Mean over factors of the test accuracy."""
    importances: Floats
    """Importances (P, K) of P dimensions for K factors; columns sum to 1."""
    factors: tuple[str, ...]
    accuracy: dict[str, float]
    """Test accuracy by factor."""
    static_share: dict[str, float]
    """Share of the factor's importance that lies in s."""


def dci(
    train: Split,
    test: Split,
    train_labels: Ints,
    test_labels: Ints,
    factors: Sequence[str],
    *,
    reader: Reader = "forest",
    limit: int = LIMIT,
    seed: int = 0,
) -> DCI:
    """Return the scores of the codes [s, mean of d over time].

    Args:
        train: codes to fit on; `test`: codes to score.
        train_labels: (N, K), one column for each factor; `test_labels` likewise.
        factors: names of the columns.
        reader: forest of randomised trees, or gradient boosting, which is slow with many classes and dimensions.
        limit: number of training sequences to fit on.
        seed: seed of the reader, and of the choice of those sequences.

    Raises:
        DataError: labels that do not fit the codes, or from which nothing can be learned; one factor only.
    """
    if len(factors) < 2:
        raise DataError(f"{len(factors)} factor; disentanglement compares factors, so two are needed")
    x, x_test = (np.concatenate([s.static, pool(s, "mean")], 1) for s in (train, test))
    rows = np.random.default_rng(seed).permutation(len(x))[:limit]
    columns, accuracy = [], {}
    for k, name in enumerate(factors):
        known, asked = train_labels[:, k], test_labels[:, k]
        reason = unusable(known, asked)
        if reason:
            raise DataError(f"factor '{name}': {reason}")
        model = _reader(reader, seed).fit(x[rows], known[rows])
        with np.errstate(invalid="ignore"):  # codes that never differ give a forest nothing to split by
            columns.append(np.nan_to_num(model.feature_importances_))
        accuracy[name] = float(np.mean(model.predict(x_test) == asked))
    importances = np.stack(columns, 1)
    width = train.static.shape[1]
    return DCI(
        disentanglement(importances),
        completeness(importances),
        float(np.mean(list(accuracy.values()))),
        importances,
        tuple(factors),
        accuracy,
        {name: float(column[:width].sum()) for name, column in zip(factors, columns, strict=True)},
    )


class DCIProtocol(EvaluationProtocol):
    """The three scores over all factors that can be learned."""

    name = section = "dci"
    needs = Needs(verbs=("encode",), factors=1)

    def unmet(self, case: Case) -> str:
        """Return why there are no scores: they compare factors, so two must be learnable."""
        return super().unmet(case) or ("" if len(_usable(case)) > 1 else "fewer than two factors can be learnt")

    def run(self, case: Case) -> DCI:
        """Fit on the codes of the training split and score those of the test split."""
        coded, columns = codes_of(case), _usable(case)
        train, test = (labels[:, columns] for labels in _labels(case))
        names = [case.file.factors[i].name for i in columns]
        return dci(coded.splits[0], coded.splits[2], train, test, names, seed=case.seed)

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield the three scores."""
        for name in ("disentanglement", "completeness", "informativeness"):
            yield Line("DCI", name, number(found[name]), "1 is best")


def disentanglement(importances: Floats) -> float:
    """Return the disentanglement of importances (P, K); dimensions that serve nothing do not count."""
    weight = importances.sum(1)
    # Codes that have collapsed serve nothing at all.
    return float(((1 - _entropy(importances)) * weight).sum() / weight.sum()) if weight.any() else 0.0


def completeness(importances: Floats) -> float:
    """Return the completeness of importances (P, K), factors weighted alike."""
    return float((1 - _entropy(importances.T)).mean())


def _labels(case: Case) -> tuple[Ints, Ints]:
    """Return the labels (N, K) of the training and the test split."""
    parts, factors = case.parts, case.file.factors
    return label_table(case.file, parts.train, factors), label_table(case.file, parts.test, factors)


def _usable(case: Case) -> list[int]:
    """Return the columns of the factors that can be learned."""
    train, test = _labels(case)
    return [i for i in range(train.shape[1]) if not unusable(train[:, i], test[:, i])]


def _entropy(importances: Floats) -> Floats:
    """Return the entropy (R,) of each row (R, C), in units of its maximum log C; 1 for a row of zeros."""
    total = importances.sum(1, keepdims=True)
    p = np.where(total > 0, importances / np.where(total > 0, total, 1), 1 / importances.shape[1])
    logs = np.log(np.where(p > 0, p, 1))
    return np.asarray(-(p * logs).sum(1) / np.log(importances.shape[1]))


def _reader(reader: Reader, seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier

    if reader == "boosting":
        return GradientBoostingClassifier(n_estimators=TREES, random_state=seed)
    # Every node may split on any dimension: with the usual few, a node that lacks the informative one credits others,
    # and a perfect code scores 0.6.
    return ExtraTreesClassifier(TREES, max_features=None, min_samples_leaf=2, random_state=seed)
