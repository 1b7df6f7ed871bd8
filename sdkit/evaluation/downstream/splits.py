"""Inputs of an evaluation task: the codes of a split, and what is to be predicted from them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.errors import DataError

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Split:
    """Codes of the N sequences of one split, and what is to be predicted from them.

    Raises:
        DataError: parts of different lengths, or codes that are not finite.
    """

    static: Floats
    """Static codes (N, S); S may be 0."""
    dynamic: Floats
    """Dynamic codes (N, T, D)."""
    lengths: Ints | None = None
    """Numbers of valid steps (N,); None when every sequence has T."""
    labels: Ints | None = None
    """Classes (N,), or 0 and 1."""
    targets: Floats | None = None
    """Targets (N, T, K), in the target's units; NaN where there is none."""

    def __post_init__(self) -> None:
        if self.static.ndim != 2 or self.dynamic.ndim != 3 or len(self.dynamic) == 0:
            raise DataError(
                f"codes have shapes {self.static.shape} and {self.dynamic.shape}; expected (N, S) and (N, T, D), N > 0"
            )
        parts = {"static": self.static, "lengths": self.lengths, "labels": self.labels, "targets": self.targets}
        for name, part in parts.items():
            if part is not None and len(part) != len(self.dynamic):
                raise DataError(f"{name} has {len(part)} rows beside {len(self.dynamic)} sequences of dynamic codes")
        if not (np.isfinite(self.static).all() and np.isfinite(self.dynamic[self.valid]).all()):
            raise DataError("codes have NaN or infinity; a model that gives such codes cannot be evaluated")

    def __len__(self) -> int:
        return len(self.dynamic)

    @property
    def valid(self) -> Mask:
        """Mask (N, T), true at the steps that a sequence has."""
        return valid_steps(self.lengths, *self.dynamic.shape[:2])

    def asked(self, classes: int) -> Ints:
        """Return the labels (N,).

        Raises:
            DataError: there are none, or one outside 0..classes - 1.
        """
        if self.labels is None or self.labels.shape != (len(self),):
            raise DataError(f"a label for each of {len(self)} sequences is needed, shape ({len(self)},)")
        if self.labels.min() < 0 or self.labels.max() >= classes:
            found = f"{self.labels.min()}..{self.labels.max()}"
            raise DataError(f"labels lie in {found}; expected 0..{classes - 1} for {classes} classes")
        return self.labels


@dataclass(frozen=True)
class Standardiser:
    """Mean and standard deviation of each column over observed values; constant columns keep their scale."""

    mean: Floats
    std: Floats

    @staticmethod
    def fit(x: Floats) -> "Standardiser":
        """Return the scale of (..., P) values; NaN is not observed."""
        rows = x.reshape(-1, x.shape[-1]).astype(np.float64)
        seen = np.isfinite(rows)
        count = np.maximum(seen.sum(0), 1)
        mean = np.where(seen, rows, 0).sum(0) / count
        std = np.sqrt((np.where(seen, rows - mean, 0) ** 2).sum(0) / count)
        # A constant column still has rounding noise, which must not be enlarged to unit size.
        return Standardiser(mean, np.where(std > 1e-9 * np.abs(mean), std, 1.0))

    def __call__(self, x: Floats) -> Floats:
        """Return x in standard units, float64, with 0 (the mean) where x is NaN."""
        return np.nan_to_num((x - self.mean) / self.std)


def valid_steps(lengths: Ints | None, count: int, steps: int) -> Mask:
    """Return a mask (N, T), true at the steps that a sequence has.

    Raises:
        DataError: lengths outside 1..T.
    """
    if lengths is None:
        return np.ones((count, steps), bool)
    if lengths.min() < 1 or lengths.max() > steps:
        raise DataError(f"lengths lie in {lengths.min()}..{lengths.max()}; expected 1..{steps}")
    return np.asarray(np.arange(steps) < lengths[:, None])


def observed_targets(split: Split) -> Floats:
    """Return the targets (N, T, K) with NaN beyond every sequence's length.

    Raises:
        DataError: the split has none.
    """
    if split.targets is None or split.targets.ndim != 3 or split.targets.shape[:2] != split.dynamic.shape[:2]:
        shape = None if split.targets is None else split.targets.shape
        raise DataError(f"targets have shape {shape}; expected (N, T, K) with {split.dynamic.shape[:2]} first")
    return np.where(split.valid[..., None], split.targets, np.nan)
