"""Parts, labels and targets of a sequence file, as evaluation reads them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.storage.sequences import Factor, Indices, SequenceFile
from sdkit.training.data import split_indices


class Parts(NamedTuple):
    """Indices of the three parts of a file; no sequence is in two of them."""

    train: Indices
    val: Indices
    test: Indices


def parts_of(file: SequenceFile, *, val_fraction: float = 0.05, seed: int = 0) -> Parts:
    """Return training, validation and test indices; without a validation split the share that training holds out.

    Raises:
        ConfigError: the file has no test split, or nothing is left to validate on.
    """
    test = file.split("test")
    if test is None or len(test) == 0:
        raise ConfigError(f"{file.path} has no test split, or an empty one; evaluation is on sequences held out for it")
    train, val = split_indices(file, val_fraction, seed)
    if len(val) == 0:
        raise ConfigError(
            f"{file.path} has no validation split, and val_fraction = {val_fraction} of its training split is no "
            "sequence; evaluation fits, chooses and tests on three splits"
        )
    return Parts(train, val, test)


def split_rows(file: SequenceFile, split: str | None) -> Indices:
    """Return the indices of a split.

    Raises:
        ConfigError: the file has no such split.
        DataError: the split is empty.
    """
    index = file.select(split)
    if len(index) == 0:
        raise DataError(f"{file.path}: split '{split}' is empty")
    return index


def label_column(file: SequenceFile, factor: str) -> Indices:
    """Return the labels (N,) of a factor.

    Raises:
        ConfigError: the file has no such factor.
    """
    names = [f.name for f in file.factors]
    labels = file.labels()
    if labels is None or factor not in names:
        raise ConfigError(f"{file.path} has no factor '{factor}'; it has: {', '.join(names) or 'none'}")
    return labels[:, names.index(factor)]


def label_table(file: SequenceFile, index: Indices, factors: Sequence[Factor]) -> Indices:
    """Return the labels (N, K) of some sequences and factors."""
    return np.stack([label_column(file, f.name)[index] for f in factors], 1)


def targets_of(file: SequenceFile) -> NDArray[np.float64]:
    """Return the targets (N, T, K).

    Raises:
        DataError: the file has none.
    """
    targets = file.targets()
    if targets is None:
        raise DataError(f"{file.path} has no targets (N, T, K) to predict")
    return np.asarray(targets, np.float64)
