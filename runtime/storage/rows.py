"""The common part of files of sequences and of codes: one row a sequence, with labels, lengths, targets and splits.

All of it is checked when a file is opened, so that no verb starts on, or copies, what another would refuse.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, first_line
from sdkit.runtime.storage.chunks import Indices, read_whole
from sdkit.runtime.storage.hdf5 import LazyFile
from sdkit.runtime.storage.parts import label, shown

SPLITS = ("train", "val", "test")
SOURCE_INDICES = "source_indices"
"""Name of the rows, in the file that they were taken from, of the sequences of a file."""
MOST_CLASSES = 1 << 16
"""Largest number of classes of a factor that gives no names, where a file has fewer sequences."""


@dataclass(frozen=True)
class Factor:
    """One labelled factor of variation: a column of `labels`."""

    name: str
    kind: Literal["static", "dynamic"]
    values: tuple[str, ...]


class RowsFile(LazyFile):
    """Reader of a file with one row a sequence; a subclass opens its data and sets `count` and `steps`."""

    count: int
    """Number of sequences, N."""
    steps: int
    """Number of elements of a sequence as stored, T."""

    def labels(self) -> Indices | None:
        """Return class indices (N, L), or None; they are read once.

        >>> sdkit.SequenceFile("puppets.h5").labels().shape
        (66, 5)
        """
        return self._labels

    @cached_property
    def _labels(self) -> Indices | None:
        return self.whole_numbers("labels", 2)

    def lengths(self) -> Indices | None:
        """Return numbers of valid elements (N,), or None when every sequence has T; they are read once.

        >>> sdkit.SequenceFile("puppets.h5").lengths() is None
        True
        """
        return self._lengths

    @cached_property
    def _lengths(self) -> Indices | None:
        return self.whole_numbers("lengths", 1)

    def targets(self) -> Array | None:
        """Return targets (N, T, K), or None.

        Raises:
            DataError: infinite targets.
        """
        if "targets" not in self.names:
            return None
        targets = read_whole(self.part("targets", "(N, T, K)"))
        if np.isinf(targets).any():
            raise DataError(f"{self.path}: data set 'targets' holds infinite values; NaN stands for 'not known'")
        return targets

    def split(self, name: str) -> Indices | None:
        """Return the sorted indices of `train`, `val` or `test`, or None when the file has no such split.

        >>> len(sdkit.SequenceFile("puppets.h5").split("val"))
        6
        """
        index = self.whole_numbers(f"{name}_indices", 1)
        return None if index is None else np.sort(index)

    def indices(self) -> dict[str, Indices]:
        """Return every data set of row numbers, by its name: those of splits, and others that end in `_indices`.

        >>> sorted(sdkit.SequenceFile("puppets.h5").indices())
        ['test_indices', 'train_indices', 'val_indices']
        """
        names = [name for name in self.names if name.endswith("_indices")]
        found = {name: self.whole_numbers(name, 1) for name in names}
        return {name: index for name, index in found.items() if index is not None}

    def select(self, split: str | None) -> Indices:
        """Return the indices of a split, or of all sequences for None or `all`.

        Raises:
            ConfigError: the file has no such split.

        >>> len(sdkit.SequenceFile("puppets.h5").select(None))
        66
        """
        if split in (None, "all"):
            return np.arange(self.count, dtype=np.int64)
        assert split is not None
        found = self.split(split)
        if found is None:
            have = [s for s in SPLITS if f"{s}_indices" in self.names]
            raise ConfigError(f"{self.path} has no split '{split}'; it has: {', '.join(have) or 'none'}, or take 'all'")
        return found

    def rate(self) -> float | None:
        """Return the number of elements a second, or None.

        Raises:
            FileFormatError: it is not a finite number above 0.

        >>> sdkit.SequenceFile("puppets.h5").rate()
        8.0
        """
        rate = self.attribute("rate")
        if rate is not None and (isinstance(rate, str) or not 0 < rate < math.inf):
            raise FileFormatError(
                f"{self.path}: attribute 'rate' is {shown(rate)}; expected a number of elements a second"
            )
        return None if rate is None else float(rate)

    def _check_version(self, name: str, version: int) -> None:
        """Refuse a file of this format that has another version.

        Raises:
            FileFormatError: it has.
        """
        found = self.attribute("version")
        if self.attribute("format") == name and found != version:
            raise FileFormatError(f"{self.path} has format version {shown(found)}; this sdkit reads version {version}")

    def _factors(self) -> tuple[Factor, ...]:
        """Return the labelled factors that the attribute `classes` describes, in the order of the columns of `labels`.

        Raises:
            FileFormatError: it is not in MSD-Benchmark's form.
        """
        classes, where = self.json("classes", {}), f"{self.path}: attribute 'classes'"
        try:
            ordered = sorted(classes.items(), key=lambda item: int(item[1]["index"]))
            columns = [int(c["index"]) for _, c in ordered]
            factors = tuple(Factor(name, c["type"], self._class_names(name, c)) for name, c in ordered)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            if isinstance(error, FileFormatError):
                raise
            wanted = "{factor: {index, type, n_classes, values}}"
            raise FileFormatError(
                f"{where} is not {wanted}: {type(error).__name__}: {shown(first_line(error))}"
            ) from error
        if columns != list(range(len(columns))):
            raise FileFormatError(
                f"{where} has the indices {shown(columns)}; expected the columns 0 to L - 1 of labels"
            )
        for factor in factors:
            for name in (factor.name, *factor.values):
                label(name, f"{self.path}: a name in attribute 'classes'")
            if factor.kind not in ("static", "dynamic") or not factor.values:
                raise FileFormatError(
                    f"{where}: factor '{shown(factor.name)}' has the type {shown(factor.kind)} and "
                    f"{len(factor.values)} classes; expected static or dynamic, and at least one class"
                )
        return factors

    def _class_names(self, name: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
        values = entry.get("values")
        if not values:
            count, most = int(entry["n_classes"]), max(self.count, MOST_CLASSES)
            if count > most:
                raise FileFormatError(
                    f"{self.path}: attribute 'classes': factor '{shown(name)}' declares {shown(count)} classes without "
                    f"naming them; at most {most} are read"
                )
            return tuple(map(str, range(count)))
        if isinstance(values, dict):
            return tuple(str(name) for name, _ in sorted(values.items(), key=lambda item: int(item[1])))
        if not isinstance(values, list):
            raise TypeError(f"values is {shown(values)}")
        return tuple(map(str, values))

    def _check_rows(self, factors: tuple[Factor, ...]) -> None:
        """Check that the parts with one row a sequence, and the row numbers, fit the data and each other.

        Raises:
            FileFormatError: they do not.
        """
        for name, axes in (("labels", 2), ("lengths", 1), ("targets", 3)):
            if name in self.names:
                shape = self.part(name, f"of {axes} axes").shape
                if len(shape) != axes or shape[0] != self.count:
                    raise FileFormatError(
                        f"{self.path}: data set '{name}' has shape {shape}; expected N = {self.count} rows"
                        + ("" if len(shape) == axes else f" of {axes} axes")
                    )
                if name == "targets" and (shape[1] != self.steps or shape[2] < 1):
                    raise FileFormatError(
                        f"{self.path}: data set 'targets' has shape {shape}; expected K numbers for each of T = "
                        f"{self.steps} elements"
                    )
        labels = self.labels()
        if labels is not None and labels.shape[1] < len(factors):
            raise FileFormatError(
                f"{self.path}: data set 'labels' has shape {labels.shape}; expected a column for each of "
                f"{len(factors)} factors"
            )
        lengths = self.lengths()
        if lengths is not None and (lengths.min() < 2 or lengths.max() > self.steps):
            raise FileFormatError(f"{self.path}: data set 'lengths' must lie in 2..{self.steps}")
        self._check_indices()

    def _check_indices(self) -> None:
        seen: NDArray[np.int64] = np.empty(0, np.int64)
        for name, index in self.indices().items():
            where = f"{self.path}: data set '{shown(name)}'"
            if name == SOURCE_INDICES:
                if len(index) != self.count or index.min() < 0:
                    raise FileFormatError(f"{where} holds {len(index)} numbers; expected N = {self.count} from 0 on")
                continue
            if len(index) and (index.min() < 0 or index.max() >= self.count):
                raise FileFormatError(f"{where} leaves 0..{self.count - 1}")
            if name.removesuffix("_indices") in SPLITS:
                both = np.intersect1d(seen, index)
                if len(both):
                    raise FileFormatError(f"{self.path}: sequence {both[0]} is in '{name}' and in another split")
                seen = np.concatenate([seen, index])
