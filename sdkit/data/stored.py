"""Arrays of .npy and .npz files, read a batch of rows at a time; sizes are checked before anything is allocated."""

from collections.abc import Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from math import prod
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from sdkit.data.reading import Zip, library, listed, open_zip, shown
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError, FileFormatError, MissingFileError

NPY = b"\x93NUMPY"
"""First bytes of a .npy."""
EXPECTED = "a .npz or .npy of numbers"
HEADER = 12_000
"""Most bytes of a header; numpy parses no longer ones."""
WHOLE = 1 << 30
"""Most bytes of an array, or of a sequence, that is read at once."""
BLOCK = 1 << 26
"""Bytes of a read from an archive."""
SPREAD = 50
"""How many times as large sequences of unequal length may become when all are filled up to the longest."""


class Rows(Protocol):
    """An array whose rows are read from the first to the last."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    def __getitem__(self, rows: slice, /) -> Array: ...


@dataclass(frozen=True)
class Header:
    """Shape, dtype and order of a stored array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    begin: int
    """Number of bytes before the first value."""

    @property
    def nbytes(self) -> int:
        """Number of bytes of the values."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass
class Member:
    """An array of a .npz."""

    archive: Zip
    name: str
    header: Header
    _stream: IO[bytes] | None = None
    _next: int = 0
    """Row at which the stream stands."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.header.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the values."""
        return self.header.dtype

    def read(self) -> Array:
        """Return all values.

        Raises:
            FileFormatError: damaged, or larger than is read at once.
        """
        where, header = self.archive.where(self.name), self.header
        if header.nbytes > WHOLE:
            raise FileFormatError(f"{where} has {header.nbytes:,} bytes; at most {WHOLE:,} are read at once")
        with library(where, EXPECTED), self.archive.open(self.name) as stream:
            _exactly(stream, header.begin)
            flat = np.frombuffer(_exactly(stream, header.nbytes), header.dtype)
            return flat.reshape(header.shape, order="F" if header.fortran else "C")

    def __getitem__(self, rows: slice) -> Array:
        """Return the next rows."""
        if self.header.fortran:  # rows are scattered
            return self.read()[rows]
        start, stop, _ = rows.indices(self.shape[0])
        each = prod(self.shape[1:]) * self.dtype.itemsize
        with library(self.archive.where(self.name), EXPECTED):
            if self._stream is None or start != self._next:
                self._stream, self._next = self.archive.open(self.name), start
                _skip(self._stream, self.header.begin + start * each)
            raw = _exactly(self._stream, (stop - start) * each)
            self._next = stop
            return np.frombuffer(raw, self.dtype).reshape(stop - start, *self.shape[1:])


@dataclass
class Unequal:
    """Arrays of unequal length, each a sequence, filled up to the longest: with NaN, whole numbers with zeros."""

    members: Sequence[Member]
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[Any] = field(init=False)
    lengths: Array = field(init=False)
    """Number of steps of each sequence."""

    def __post_init__(self) -> None:
        first = self.members[0]
        for member in self.members:
            if not member.shape or member.shape[1:] != first.shape[1:] or member.dtype != first.dtype:
                raise DataError(
                    f"{member.archive.where(member.name)} is {member.dtype} {member.shape}; expected "
                    f"{first.dtype} {('T', *first.shape[1:])}, as '{first.name.removesuffix('.npy')}'"
                )
        self.lengths = np.array([member.shape[0] for member in self.members])
        longest, mean = int(self.lengths.max()), float(self.lengths.mean())
        if longest > SPREAD * max(mean, 1):
            raise DataError(
                f"{first.archive.place}: the longest sequence has {longest} steps, the mean one {mean:.0f}, and all "
                "are filled up to the longest; cut it first"
            )
        self.shape, self.dtype = (len(self.members), longest, *first.shape[1:]), first.dtype

    def __getitem__(self, rows: slice) -> Array:
        """Return sequences filled up to the longest."""
        members = self.members[rows]
        out = np.full((len(members), *self.shape[1:]), np.nan if self.dtype.kind == "f" else 0, self.dtype)
        for row, member in zip(out, members, strict=True):
            row[: member.shape[0]] = member.read()
        return out


@contextmanager
def open_arrays(source: Path, known: Container[str]) -> Iterator[tuple[dict[str, Rows], list[str]]]:
    """Open a .npy or .npz; yield its arrays by name, and the names of those that are not known.

    Of a .npz without `data`, the arrays arr_0, arr_1, ... that `numpy.savez(file, *sequences)` writes are the
    sequences, and `lengths` are theirs. All arrays but `data` are read at once.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not such a file, damaged, objects (never unpickled), or no `data`.
    """
    if not source.is_file():
        raise MissingFileError(f"{source} does not exist; expected a .npz with an array 'data', or a .npy")
    with source.open("rb") as stream:
        if stream.read(len(NPY)) == NPY:
            stream.seek(0)
            yield {"data": _mapped(source, stream)}, []
            return
    with ExitStack() as stack:
        archive = stack.enter_context(open_zip(source, EXPECTED))
        names = {name.removesuffix(".npy"): name for name in archive.names}
        numbered = [names[f"arr_{i}"] for i in range(len(names)) if f"arr_{i}" in names]
        wanted = {name: file for name, file in names.items() if name in known}
        unused = [name for name in names if name not in known]
        arrays: dict[str, Rows] = {
            name: member if name == "data" else member.read()
            for name, file in wanted.items()
            for member in [_member(archive, file)]
        }
        if "data" not in names and names.get("arr_0"):
            if "lengths" in names:
                raise FileFormatError(f"{source} holds arr_0, arr_1, ..., whose lengths are their own, and 'lengths'")
            arrays["data"] = many = Unequal([_member(archive, file) for file in numbered])
            if len(set(many.lengths.tolist())) > 1:
                arrays["lengths"] = many.lengths
            unused = [name for name in unused if names[name] not in numbered]
        if "data" not in arrays:
            raise FileFormatError(f"{source} has no array 'data'; it holds: {listed(names)}")
        yield arrays, unused


def _mapped(source: Path, stream: IO[bytes]) -> Array:
    """Return a .npy, mapped, since it may be larger than memory."""
    with library(str(source), EXPECTED):
        header = _header(stream)
    _check(header, source.stat().st_size, str(source))
    with library(str(source), EXPECTED):
        mapped: Array = np.load(source, mmap_mode="r", allow_pickle=False)
        return mapped


def _member(archive: Zip, name: str) -> Member:
    size = archive.size(name)
    with library(archive.place, EXPECTED), archive.open(name) as stream:
        if stream.read(len(NPY)) != NPY:
            raise FileFormatError(f"{archive.place}: '{name}' is not an array")
    with library(archive.place, EXPECTED), archive.open(name) as stream:
        header = _header(stream)
    _check(header, size, archive.where(name))
    return Member(archive, name, header)


def _header(stream: IO[bytes]) -> Header:
    start = BytesIO(stream.read(HEADER))  # numpy would take as many bytes as the header says
    version = np.lib.format.read_magic(start)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:  # 3.0 is for names of fields that are no ASCII
        raise ValueError(f"version {version[0]}.{version[1]} of the format holds no plain array")
    shape, fortran, dtype = readers[version](start)
    if dtype.hasobject:
        raise ValueError("Objects are stored, which are never unpickled")
    return Header(tuple(int(n) for n in shape), dtype, fortran and len(shape) > 1, start.tell())


def _check(header: Header, size: int, where: str) -> None:
    if min(header.shape, default=1) < 0 or header.begin + header.nbytes > size:
        stated = shown(f"{header.dtype} {header.shape}")
        raise FileFormatError(f"{where} is not {EXPECTED}: it states {stated}, which its {size:,} bytes cannot hold")
    each = header.nbytes // max(1, header.shape[0]) if header.shape else 0
    if each > WHOLE:
        raise FileFormatError(f"{where} holds rows of {each:,} bytes; at most {WHOLE:,} are read at once")


def _exactly(stream: IO[bytes], size: int) -> bytearray:
    """Return the next bytes of a stream, which grow as they are read."""
    data = bytearray()
    while len(data) < size:
        part = stream.read(min(BLOCK, size - len(data)))
        if not part:
            raise EOFError(f"{size - len(data):,} bytes are missing at the end")
        data += part
    return data


def _skip(stream: IO[bytes], size: int) -> None:
    while size:
        size -= len(_exactly(stream, min(BLOCK, size)))
