"""Sequences in HDF5: `data` (N, T, *element) with optional labels, splits, lengths and targets.

The layout is that of MSD-Benchmark's files (`data`, `labels`, `train_indices`, `val_indices`, `test_indices`, the JSON
attribute `classes`), which can be read unchanged; ours add attributes that describe the numbers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sdkit.runtime.element import Array, Element, check_steps
from sdkit.runtime.errors import DataError, FileFormatError
from sdkit.runtime.storage.chunks import Indices as Indices
from sdkit.runtime.storage.chunks import batches, read_rows
from sdkit.runtime.storage.elements import read_element
from sdkit.runtime.storage.hdf5 import GrowingFile
from sdkit.runtime.storage.parts import Part, label
from sdkit.runtime.storage.resume import Partial
from sdkit.runtime.storage.rows import SPLITS as SPLITS
from sdkit.runtime.storage.rows import Factor as Factor
from sdkit.runtime.storage.rows import RowsFile

FORMAT = "sdkit-sequences"
VERSION = 1
CHECKED_BYTES = 32 << 20
"""Size of the sequences that a check of all values reads at a time."""


@dataclass(frozen=True)
class SequenceMeta:
    """Description of the numbers in a sequence file."""

    element: Element
    name: str = ""
    """Name of the data set, such as `sprites`; it selects the preset."""
    factors: tuple[Factor, ...] = ()
    rate: float | None = None
    """Number of elements a second."""
    source: str = ""
    licence: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)

    def attributes(self) -> dict[str, Any]:
        """Return the HDF5 attributes that hold these fields, `classes` in MSD-Benchmark's form."""
        classes = {
            f.name: {
                "index": i,
                "type": f.kind,
                "n_classes": len(f.values),
                "ignore": False,
                "values": {value: j for j, value in enumerate(f.values)},
            }
            for i, f in enumerate(self.factors)
        }
        attributes = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "element": self.element.kind,
            "units": json.dumps(self.element.units),
            "feature_names": json.dumps(self.element.feature_names),
            "classes": json.dumps(classes),
            "source": self.source,
            "licence": self.licence,
            **self.extra,
        }
        return attributes if self.rate is None else {**attributes, "rate": self.rate}


class SequenceFile(RowsFile):
    """Reader and validator of a sequence file.

    Structure is checked when it is opened; values (NaN, range) are checked batch by batch as they are read, since a
    file may be larger than memory. `check()` reads them all.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not HDF5, no `data`, or parts that contradict each other.
        DataError: no sequence, or T < 2.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        if "data" not in self.names and {"static", "dynamic"} <= set(self.names):
            raise FileFormatError(
                f"{path} holds codes, not sequences; `sdkit decode {path} -o y.h5` makes sequences of it"
            )
        self._check_version(FORMAT, VERSION)
        self.meta = SequenceMeta(read_element(self, self.data))
        self.count, self.steps = self.data.shape[:2]
        check_steps(self.count, self.steps, f"{self.path}: data set 'data'")
        self.meta = replace(
            self.meta,
            name=label(self.text("name"), f"{self.path}: attribute 'name'"),
            factors=self._factors(),
            rate=self.rate(),
            source=self.text("source"),
            licence=self.text("licence"),
        )
        self._check_rows(self.factors)

    @property
    def data(self) -> Part:
        """The data set `data` (N, T, *element)."""
        return self.part("data", "(N, T, *element)")

    @property
    def element(self) -> Element:
        """Kind, shape, dtype and units of an element."""
        return self.meta.element

    def require(self, element: Element, taker: str = "the model") -> None:
        """Raise DataError unless the file's elements have the kind, shape and dtype of the one that `taker` takes."""
        mine = self.element
        if (mine.kind, mine.shape, mine.dtype) != (element.kind, element.shape, element.dtype):
            raise DataError(f"{self.path} holds {mine.describe()}; {taker} takes {element.describe()}")

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Labelled factors, in the order of the columns of `labels`."""
        return self.meta.factors

    @property
    def nbytes(self) -> int:
        """Size of `data` in memory, uncompressed."""
        return self.data.nbytes

    def read(self, index: slice | Indices | Sequence[int]) -> Array:
        """Return checked sequences (B, T, *element), in the order of `index`.

        >>> sdkit.SequenceFile("puppets.h5").read(slice(0, 8)).shape
        (8, 8, 3, 64, 64)
        """
        rows = np.arange(*index.indices(self.count)) if isinstance(index, slice) else np.asarray(index, np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < self.count):
            raise DataError(f"{self.path} has no sequence {rows.min()} or {rows.max()}; it holds 0 to {self.count - 1}")
        return self.element.check(read_rows(self.data, rows), f"{self.path}: data set 'data'")

    def batches(self, size: int, index: Indices | None = None) -> Iterator[tuple[Indices, Array]]:
        """Yield (indices, sequences (B, T, *element)) of at most `size`, in order.

        >>> [len(rows) for rows, x in sdkit.SequenceFile("puppets.h5").batches(32)]
        [32, 32, 2]
        """
        index = self.select(None) if index is None else index
        if (np.diff(index) < 0).any():
            for start in range(0, len(index), size):
                yield index[start : start + size], self.read(index[start : start + size])
            return
        for number, x in enumerate(batches(self.data, index, size, alive=None)):
            rows = index[number * size : (number + 1) * size]
            yield rows, self.element.check(x, f"{self.path}: data set 'data'")

    def check(self) -> None:
        """Read every value once.

        Raises:
            FileFormatError: values that cannot be read.
            DataError: values that the element does not allow.

        >>> sdkit.SequenceFile("puppets.h5").check()
        """
        size = max(1, min(self.count, CHECKED_BYTES // self.data.row_bytes))
        for x in batches(self.data, self.select(None), size, alive=1):
            self.element.check(x, f"{self.path}: data set 'data'")
        self.targets()


class SequenceWriter(GrowingFile):
    """Writer of a sequence file: append batches, then splits; the file appears when the block ends without error.

    Args:
        path: the file to write.
        meta: element, factors, source, licence.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        partial: as for `GrowingFile`.

    Raises:
        OutputExistsError, MissingFileError: on entry.
        DataError: a batch whose elements are not those of `meta.element`.
    """

    def __init__(
        self,
        path: str | Path,
        meta: SequenceMeta,
        *,
        compression: str = "gzip",
        force: bool = False,
        partial: Partial | None = None,
    ) -> None:
        super().__init__(path, compression=compression, force=force, partial=partial)
        self.path, self.meta, self.count = Path(path), meta, 0
        self._attributes = meta.attributes()

    def write(self, x: Array, *, labels: Array | None = None, **others: Array) -> None:
        """Append (B, T, *element) sequences with their (B, L) labels and further (B, ...) data sets."""
        self.meta.element.check(x, f"{self.path}: a batch to write")
        if labels is not None and labels.shape != (len(x), len(self.meta.factors)):
            raise DataError(
                f"{self.path}: labels have shape {labels.shape}; expected {(len(x), len(self.meta.factors))}"
            )
        self.append(data=x, **({} if labels is None else {"labels": labels.astype(np.int64)}), **others)
        self.count += len(x)

    def splits(self, parts: Mapping[str, Iterable[int] | Indices]) -> None:
        """Write `train`, `val` and `test` indices."""
        for name, index in parts.items():
            self.put(f"{name}_indices", np.sort(np.fromiter(index, np.int64)))
