"""Sequences in HDF5: `data` (N, T, *element) with optional labels, splits, lengths and targets.

The layout is that of MSD-Benchmark's files (`data`, `labels`, `train_indices`, `val_indices`, `test_indices`, the JSON
attribute `classes`), which can be read unchanged; ours add attributes that describe the numbers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from sdkit.runtime import kinds
from sdkit.runtime.element import Array, Element, check_steps
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError
from sdkit.runtime.storage.hdf5 import GrowingFile, LazyFile
from sdkit.runtime.storage.resume import Partial

FORMAT = "sdkit-sequences"
VERSION = 1
SPLITS = ("train", "val", "test")

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Factor:
    """One labelled factor of variation: a column of `labels`."""

    name: str
    kind: Literal["static", "dynamic"]
    values: tuple[str, ...]


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


class SequenceFile(LazyFile):
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
        if "data" not in self.handle and {"static", "dynamic"} <= set(self.handle):
            raise FileFormatError(
                f"{path} holds codes, not sequences; `sdkit decode {path} -o y.h5` makes sequences of it"
            )
        self.meta = SequenceMeta(self._element())
        self.count, self.steps = (int(n) for n in self.data.shape[:2])
        check_steps(self.count, self.steps, f"{self.path}: data set 'data'")
        self.meta = replace(
            self.meta,
            name=str(self._attribute("name") or ""),
            factors=self._factors(),
            rate=self._rate(),
            source=str(self._attribute("source") or ""),
            licence=str(self._attribute("licence") or ""),
        )
        self._lengths = self.whole_numbers("lengths", 1)
        self._check_parts()

    @property
    def data(self) -> h5py.Dataset:
        """The data set `data` (N, T, *element)."""
        return self.dataset("data", "(N, T, *element)")

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
        return int(np.prod(self.data.shape)) * int(self.data.dtype.itemsize)

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
        """Return numbers of valid elements (N,), or None when every sequence has T.

        >>> sdkit.SequenceFile("puppets.h5").lengths() is None
        True
        """
        return self._lengths

    def targets(self) -> Array | None:
        """Return targets (N, T, K), or None."""
        return np.asarray(self.handle["targets"][:]) if "targets" in self.handle else None

    def split(self, name: str) -> Indices | None:
        """Return the sorted indices of `train`, `val` or `test`, or None when the file has no such split.

        >>> len(sdkit.SequenceFile("puppets.h5").split("val"))
        6
        """
        index = self.whole_numbers(f"{name}_indices", 1)
        return None if index is None else np.sort(index)

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
            have = [s for s in SPLITS if f"{s}_indices" in self.handle]
            raise ConfigError(f"{self.path} has no split '{split}'; it has: {', '.join(have) or 'none'}, or take 'all'")
        return found

    def read(self, index: slice | Indices | Sequence[int]) -> Array:
        """Return checked sequences (B, T, *element), in the order of `index`.

        >>> sdkit.SequenceFile("puppets.h5").read(slice(0, 8)).shape
        (8, 8, 3, 64, 64)
        """
        if isinstance(index, slice):
            x = self.data[index]
        else:
            order = np.asarray(index, np.int64)
            unique, inverse = np.unique(order, return_inverse=True)
            x = self._read_sorted(unique)
            if len(unique) != len(order) or (unique != order).any():
                x = x[inverse]
        return self.element.check(x, f"{self.path}: data set 'data'")

    def _read_sorted(self, index: Indices) -> Array:
        # h5py picks scattered rows one hyperslab at a time; where the wanted rows are dense, one run is far cheaper.
        if len(index) == 0:
            return np.empty((0, *self.data.shape[1:]), self.data.dtype)
        first, last = int(index[0]), int(index[-1]) + 1
        if last - first <= 4 * len(index):
            block = np.asarray(self.data[first:last])
            return block if len(block) == len(index) else block[index - first]
        return np.asarray(self.data[index])

    def batches(self, size: int, index: Indices | None = None) -> Iterator[tuple[Indices, Array]]:
        """Yield (indices, sequences (B, T, *element)) of at most `size`, in order.

        >>> [len(rows) for rows, x in sdkit.SequenceFile("puppets.h5").batches(32)]
        [32, 32, 2]
        """
        index = self.select(None) if index is None else index
        for start in range(0, len(index), size):
            yield index[start : start + size], self.read(index[start : start + size])

    def check(self) -> None:
        """Read every value once.

        Raises:
            DataError: values that the element does not allow.

        >>> sdkit.SequenceFile("puppets.h5").check()
        """
        for start in range(0, self.count, 256):
            self.read(slice(start, start + 256))

    def _rate(self) -> float | None:
        rate = self._attribute("rate")
        if rate is not None and not isinstance(rate, int | float | np.number):
            raise FileFormatError(f"{self.path}: attribute 'rate' is {rate!r}; expected a number of elements a second")
        return None if rate is None else float(rate)

    def _texts(self, name: str) -> tuple[str, ...]:
        texts = self._json(name, ())
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise FileFormatError(f"{self.path}: attribute '{name}' is {texts!r}; expected a JSON list of texts")
        return tuple(texts)

    def _attribute(self, name: str) -> Any:
        value = self.handle.attrs.get(name)
        return value.decode() if isinstance(value, bytes) else value

    def _json(self, name: str, default: Any) -> Any:
        text = self._attribute(name)
        if text is None or text == "":
            return default
        try:
            return json.loads(text)
        except (TypeError, json.JSONDecodeError) as error:
            raise FileFormatError(f"{self.path}: attribute '{name}' is not JSON: {error}") from error

    def _element(self) -> Element:
        shape, dtype = self.data.shape, str(self.data.dtype)
        version = self._attribute("version")
        if self._attribute("format") == FORMAT and version != VERSION:
            raise FileFormatError(f"{self.path} has format version {version}; this sdkit reads version {VERSION}")
        kind = self._kind()
        if dtype not in ("uint8", "float32"):
            raise FileFormatError(f"{self.path}: data set 'data' is {dtype}; expected uint8 or float32")
        misordered = kind.misordered(shape)
        if misordered:
            raise FileFormatError(f"{self.path}: data set 'data' has shape {shape}, {misordered}")
        units, names = self._texts("units"), self._texts("feature_names")
        try:
            return Element(kind.name, tuple(map(int, shape[2:])), dtype, units, names)  # type: ignore[arg-type]
        except ConfigError as error:
            raise FileFormatError(f"{self.path}: data set 'data' has shape {shape}: {error}") from error

    def _kind(self) -> kinds.Kind:
        """Return the kind that the file names, else that of its axes."""
        shape, name = self.data.shape, self._attribute("element")
        found = kinds.find(name) if name in kinds.names() else None if name else kinds.by_axes(len(shape))
        if found is None or len(shape) != 2 + len(found.axes):
            raise FileFormatError(f"{self.path}: data set 'data' has shape {shape}; expected {kinds.layouts()}")
        return found

    def _factors(self) -> tuple[Factor, ...]:
        classes = self._json("classes", {})
        try:
            ordered = sorted(classes.items(), key=lambda item: int(item[1]["index"]))
            columns = [int(c["index"]) for _, c in ordered]
            factors = tuple(Factor(name, c["type"], _class_names(c)) for name, c in ordered)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            wanted = "{factor: {index, type, n_classes, values}}"
            raise FileFormatError(f"{self.path}: attribute 'classes' is not {wanted}: {error!r}") from error
        if columns != list(range(len(columns))):
            raise FileFormatError(
                f"{self.path}: attribute 'classes' has the indices {columns}; expected the columns 0 to L - 1 of labels"
            )
        return factors

    def _check_parts(self) -> None:
        for name, axes in (("labels", 2), ("lengths", 1), ("targets", 3)):
            if name in self.handle:
                shape = self.dataset(name, f"of {axes} axes").shape
                if len(shape) != axes or shape[0] != self.count:
                    raise FileFormatError(
                        f"{self.path}: data set '{name}' has shape {shape}; expected N = {self.count} rows"
                    )
        labels = self.labels()
        if labels is not None and labels.shape[1] < len(self.factors):
            raise FileFormatError(
                f"{self.path}: data set 'labels' has shape {labels.shape}; expected a column for each of "
                f"{len(self.factors)} factors"
            )
        lengths = self.lengths()
        if lengths is not None and (lengths.min() < 2 or lengths.max() > self.steps):
            raise FileFormatError(f"{self.path}: data set 'lengths' must lie in 2..{self.steps}")
        seen: set[int] = set()
        for name in SPLITS:
            part = self.split(name)
            if part is None or len(part) == 0:
                continue
            if part[0] < 0 or part[-1] >= self.count:
                raise FileFormatError(f"{self.path}: data set '{name}_indices' leaves 0..{self.count - 1}")
            both = seen.intersection(part.tolist())
            if both:
                raise FileFormatError(f"{self.path}: sequence {min(both)} is in '{name}_indices' and in another split")
            seen.update(part.tolist())


def _class_names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    values = entry.get("values") or {str(i): i for i in range(int(entry["n_classes"]))}
    if isinstance(values, dict):
        return tuple(str(name) for name, _ in sorted(values.items(), key=lambda item: int(item[1])))
    return tuple(map(str, values))


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
