"""Data of one's own: converts arrays of a .npz or .npy file to a sequence file."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sdkit.data.reading import library, listed, shown
from sdkit.data.said import NOTHING, Said
from sdkit.data.stored import Rows, open_arrays
from sdkit.data.subjects import deal
from sdkit.data.tables import EXACT
from sdkit.runtime import kinds
from sdkit.runtime.element import Array, Element, check_steps
from sdkit.runtime.errors import ConfigError, DataError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SPLITS, Factor, Indices, SequenceMeta, SequenceWriter

BATCH = 256
MEMORY = 1 << 27
"""Bytes of a batch; it has one sequence at least."""
KNOWN = ("data", "labels", "lengths", "targets", *(f"{name}_indices" for name in SPLITS))
"""Names of arrays that the maker reads."""

Names = str | Sequence[str]
"""A list of names, or one text with commas between them."""


def make(
    source: str | Path,
    path: str | Path,
    *,
    kind: str | None = None,
    window: int | None = None,
    feature_names: Names = (),
    units: Names = (),
    factors: Names = (),
    dynamic_factors: Names = (),
    rate: float | None = None,
    group: str | None = None,
    seed: int = 0,
    test_fraction: float = 0.2,
    val_fraction: float = 0.1,
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Write arrays as a sequence file; conversions are reported, and nothing else is changed.

    A .npz holds `data` and, where wanted, `labels` (N, L) or (N,) of whole numbers or texts, `lengths` (N,), `targets`
    (N, T, K) or (N, T), and `train_indices`, `val_indices`, `test_indices`. A .npy is `data` alone. Sequences of
    unequal length are those of `numpy.savez(file, *sequences)`, with labels and so on by name. Without splits and
    without `group` none are written, and training holds out sequences itself.

    Args:
        source: the .npz or .npy file.
        path: the file to write.
        kind: kind of an element, one of `runtime.kinds.names()`; by default 5 axes are images, 4 windows of a series,
            and 3 spectrum frames, or vectors where features have names or units of their own.
        window: number W of steps of the windows into which a series (N, steps, F) or (N, steps) is cut. `lengths` then
            count steps; values beyond them, or beyond the last step of the last window, are NaN.
        feature_names: names of the F features.
        units: unit of all values, or one for each feature.
        factors: names of the L columns of `labels`.
        dynamic_factors: names of the dynamic factors; the others are static.
        rate: number of elements a second.
        group: factor, such as the subject, whose values are dealt to the splits, so that none is in two.
        seed: seed of the permutation that deals the groups out.
        test_fraction: share of the groups in `test`.
        val_fraction: share of the groups in `val`.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives notes on conversions.

    Raises:
        MissingFileError: the source is not there.
        FileFormatError: the source is not such a file, holds objects (never unpickled), or has no `data`.
        ConfigError: options that contradict the arrays.
        DataError: arrays whose shapes or values are not allowed.
        OutputExistsError: `path` exists and `force` is off.
    """
    source, reporter = Path(source), reporter or Quiet()
    wanted, names, each = kind and kinds.find(kind), _texts(feature_names), _texts(units)
    with open_arrays(source, KNOWN) as (data, unused):
        arrays = {name: np.asarray(array) for name, array in data.items() if name != "data"}
        lengths = _whole(arrays, "lengths", str(source))
        series = _Sequences(str(source), data["data"], wanted or None, window, lengths, bool(names) or len(each) > 1)
        element = Element(series.kind.name, series.shape[2:], series.dtype, each, names)
        _check_names(element)
        labels, named = _labels(arrays.get("labels"), _texts(factors), _texts(dynamic_factors), series)
        found = {"labels": labels, "lengths": series.lengths(), "targets": _targets(arrays.get("targets"), series)}
        others: dict[str, Array] = {key: array for key, array in found.items() if array is not None}
        parts = _splits(arrays, series)
        if group is not None:
            shares = {"seed": seed, "test_fraction": test_fraction, "val_fraction": val_fraction}
            parts = _dealt(group, labels, named, parts, series.source, shares)
        for other in unused:
            known = ", ".join(KNOWN)
            reporter.note(f"{source}: array '{shown(other)}' is not used; the names that are: {known}")
        for note in series.notes():
            reporter.note(f"{source}: {note}")
        meta = said.of(SequenceMeta(element, "", named, rate, source.name))
        with SequenceWriter(path, meta, compression=compression, force=force) as writer:
            _write(writer, series, others, reporter)
            writer.splits(parts)
    return Path(path)


def _write(writer: SequenceWriter, series: "_Sequences", others: Mapping[str, Array], reporter: Reporter) -> None:
    reporter.start("writing sequences", series.shape[0])
    try:
        for rows in series.batches():
            where = f"{series.source}: array 'data', sequences from {rows.start} on"
            x = writer.meta.element.check(series.read(rows), where)
            writer.write(x, **{key: array[rows] for key, array in others.items()})
            reporter.advance(len(x))
    finally:
        reporter.finish()


@dataclass
class _Sequences:
    """The array `data` of a file, viewed as (N, T, *element)."""

    source: str
    array: Rows
    wanted: kinds.Kind | None
    window: int | None
    steps: Indices | None
    """Numbers of valid steps (N,): elements, or steps of a series before it is cut into windows."""
    named: bool
    """Whether features have names, or units of their own."""

    def __post_init__(self) -> None:
        shape, dtype = self.array.shape, self.array.dtype
        if dtype.kind not in "iuf":
            raise DataError(f"{self.source}: array 'data' is {dtype}; expected whole or floating-point numbers")
        self.like = np.broadcast_to(np.zeros((), dtype), shape)  # as large as the array, and of one value
        self.kind = self._kind()
        self.dtype = self.kind.stored(dtype)
        check_steps(shape[0], shape[1], f"{self.source}: array 'data' {shape}")
        if self.steps is not None and (
            len(self.steps) != shape[0] or self.steps.min() < 1 or self.steps.max() > shape[1]
        ):
            raise DataError(f"{self.source}: array 'lengths' must hold {shape[0]} numbers from 1 to {shape[1]}")
        self.shape: tuple[int, ...] = (shape[0], *self._arrange(self.like[:1]).shape[1:])
        lengths = self.lengths()
        check_steps(shape[0], self.shape[1], f"{self.source}: array 'data' {shape} in windows of {self.window}")
        if lengths is not None and lengths.min() < 2:
            raise DataError(f"{self.source}: sequence {lengths.argmin()} has fewer than 2 elements")

    def _kind(self) -> kinds.Kind:
        axes, shape = len(self.array.shape), f"{self.source}: array 'data' has shape {self.array.shape}"
        if self.window is not None:
            cut = kinds.windowed()
            if self.window < 1 or self.wanted not in (None, cut) or axes not in (2, 3):
                raise ConfigError(f"{shape}; window={self.window} needs a series (N, steps, F) and 1 step at least")
            return cut
        dtype = self.array.dtype
        likely = [kind for kind in kinds.kinds() if kind.suggests(axes, dtype, named=self.named)]
        if self.wanted is None and len(likely) > 1:
            options = " or ".join(kind.option(axes) for kind in likely)
            raise ConfigError(f"{shape} and is {dtype}; say whether it holds {options}")
        found = self.wanted or next(iter(likely), None)
        if found is None or not found.accepts(axes):
            raise DataError(f"{shape}; expected {kinds.layouts()}, or (N, steps, F) with window=W")
        return found

    def lengths(self) -> Indices | None:
        """Return the numbers of valid elements (N,), or None when every sequence has T."""
        return self.steps if self.steps is None or self.window is None else -(-self.steps // self.window)

    def batches(self) -> Iterator[slice]:
        """Yield the rows of batches, in order."""
        count = max(1, min(BATCH, MEMORY // max(1, math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize)))
        for start in range(0, self.shape[0], count):
            yield slice(start, min(start + count, self.shape[0]))

    def read(self, rows: slice) -> Array:
        """Return sequences (B, T, *element) in the dtype of the element."""
        x = np.asarray(self.array[rows])
        if self.dtype == "uint8" and x.dtype != np.uint8 and (x.min() < 0 or x.max() > 255):
            raise DataError(f"{self.source}: array 'data' holds pixels from {x.min()} to {x.max()}; expected 0 to 255")
        with np.errstate(over="ignore", invalid="ignore"):  # infinite values are refused by the element's check
            x = x.astype(self.dtype)
        if self.window is not None and self.steps is not None:
            x[np.arange(x.shape[1]) >= self.steps[rows, None]] = np.nan
        return np.ascontiguousarray(self._arrange(x))

    def _arrange(self, x: Array) -> Array:
        if self.window is not None:
            return _cut(x if x.ndim == 3 else x[..., None], self.window)
        return self.kind.arranged(x)[0]

    def notes(self) -> Iterator[str]:
        """Yield notes on what is done to the array, one line each."""
        shape = self.array.shape
        if self.array.dtype != self.dtype:
            yield f"{self.array.dtype} is converted to {self.dtype}"
        if self.window is None:
            if done := self.kind.arranged(self.like)[1]:
                yield done
            if self.wanted is None and self.kind.assumption:
                yield f"{shape} are taken {self.kind.assumption}"
        if self.window is not None:
            rest = self.shape[1] * self.window - shape[1]
            filled = f", the last one filled up with {rest} steps of NaN" if rest else ""
            yield f"{shape[1]} steps are cut into {self.shape[1]} windows of {self.window}{filled}"


def _cut(x: Array, window: int) -> Array:
    """Return (B, steps, F) as (B, T, W, F), the last window padded with NaN."""
    count, steps, features = x.shape
    rest = -steps % window
    if rest:
        x = np.concatenate([x, np.full((count, rest, features), np.nan, np.float32)], axis=1)
    return x.reshape(count, (steps + rest) // window, window, features)


def _texts(names: Names) -> tuple[str, ...]:
    parts = names.split(",") if isinstance(names, str) else names
    return tuple(part.strip() for part in parts if part.strip())


def _check_names(element: Element) -> None:
    features = element.features
    if len(element.feature_names) not in (0, features):
        raise ConfigError(f"{len(element.feature_names)} feature_names; {element.describe()} has {features} features")
    if len(element.units) not in (0, 1, features):
        raise ConfigError(f"{len(element.units)} units; {element.describe()} has {features} features: give one or all")


def _whole(arrays: Mapping[str, Array], name: str, source: str) -> Indices | None:
    if name not in arrays:
        return None
    array = arrays[name]
    if array.ndim != 1 or not _is_whole(array):
        raise DataError(f"{source}: array '{name}' is {array.dtype} {array.shape}; expected (N,) whole numbers")
    return array.astype(np.int64)


def _is_whole(array: Array) -> bool:
    if array.dtype.kind == "f":
        return bool(((array == np.rint(array)) & (np.abs(array) <= EXACT)).all())
    return array.dtype.kind in "iu"


def _labels(
    array: Array | None, names: tuple[str, ...], dynamic: tuple[str, ...], series: _Sequences
) -> tuple[Indices | None, tuple[Factor, ...]]:
    """Return class indices (N, L) and their factors; classes are the occurring values, sorted."""
    where = f"{series.source}: array 'labels'"
    if array is None:
        if names or dynamic:
            raise ConfigError(f"factors are named, but {series.source} has no array 'labels'")
        return None, ()
    table = array[:, None] if array.ndim == 1 else array
    if table.ndim != 2 or len(table) != series.shape[0] or not table.size:
        raise DataError(f"{where} has shape {array.shape}; expected ({series.shape[0]}, L) or ({series.shape[0]},)")
    if table.dtype.kind != "U" and not _is_whole(table):
        raise DataError(f"{where} is {array.dtype}; expected whole numbers or texts")
    names = names or (("label",) if table.shape[1] == 1 else tuple(f"label {i + 1}" for i in range(table.shape[1])))
    if len(names) != table.shape[1] or len(set(names)) != len(names):
        raise ConfigError(f"factors are {listed(names)}; {where} needs {table.shape[1]} different names")
    unknown = [name for name in dynamic if name not in names]
    if unknown:
        raise ConfigError(f"dynamic factor '{unknown[0]}' is none of the factors {', '.join(names)}")
    if table.dtype.kind == "f":
        table = table.astype(np.int64)  # so that a class is named 1 rather than 1.0
    columns = [np.unique(column, return_inverse=True) for column in table.T]
    with library(where, "a table of whole numbers or texts"):  # stored letters may be none
        values = [tuple(str(value) for value in each) for each, _ in columns]
        "".join(text for each in values for text in each).encode()
    factors = tuple(
        Factor(name, "dynamic" if name in dynamic else "static", each) for name, each in zip(names, values, strict=True)
    )
    return np.stack([index for _, index in columns], axis=1).astype(np.int64), factors


def _targets(array: Array | None, series: _Sequences) -> Array | None:
    if array is None:
        return None
    table = array[..., None] if array.ndim == 2 else array
    if table.ndim != 3 or table.shape[:2] != series.shape[:2] or table.dtype.kind not in "iuf":
        raise DataError(
            f"{series.source}: array 'targets' is {array.dtype} {array.shape}; expected numbers "
            f"{series.shape[:2]} or {(*series.shape[:2], 'K')}"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        table = table.astype(np.float32)
    if np.isinf(table).any():
        raise DataError(f"{series.source}: array 'targets' holds infinite values; NaN stands for 'unknown'")
    return table


def _splits(arrays: Mapping[str, Array], series: _Sequences) -> dict[str, Indices]:
    parts: dict[str, Indices] = {}
    owner: dict[int, str] = {}
    for name in SPLITS:
        index = _whole(arrays, f"{name}_indices", series.source)
        if index is None:
            continue
        for sequence in index.tolist():
            if not 0 <= sequence < series.shape[0]:
                raise DataError(f"{series.source}: '{name}_indices' holds {sequence}; there are {series.shape[0]}")
            if sequence in owner:
                both = f"'{owner[sequence]}_indices' and '{name}_indices'"
                raise DataError(f"{series.source}: sequence {sequence} is named twice, in {both}")
            owner[sequence] = name
        parts[name] = index
    return parts


def _dealt(
    group: str,
    labels: Indices | None,
    factors: tuple[Factor, ...],
    parts: Mapping[str, Indices],
    source: str,
    shares: Mapping[str, Any],
) -> dict[str, Indices]:
    """Return splits of which no two share a value of the factor `group`."""
    names = [factor.name for factor in factors]
    if labels is None or group not in names:
        raise ConfigError(f"group = '{group}' is no factor of {source}; it has: {listed(names)}")
    if parts:
        raise ConfigError(
            f"{source} has {', '.join(f'{name}_indices' for name in parts)}, and group = '{group}' is given"
        )
    column = names.index(group)
    try:
        sides = deal(factors[column].values, **shares)
    except DataError as error:
        raise DataError(f"{source}: values of '{group}': {error}") from error
    of_row = np.array([sides[value] for value in factors[column].values])[labels[:, column]]
    return {name: np.flatnonzero(of_row == name) for name in SPLITS}
