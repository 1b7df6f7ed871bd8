"""HDF5 plumbing shared by sequence and code files: a growing writer, a lazy reader, compression by name."""

import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import h5py
import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError, WriteError, first_line
from sdkit.runtime.storage.chunks import read_whole, worker_threads
from sdkit.runtime.storage.deflate import LEVEL, compress
from sdkit.runtime.storage.output import check_output, replacing
from sdkit.runtime.storage.parts import UNREADABLE, Part, Value, open_part, part_names, read_attribute, shown
from sdkit.runtime.storage.resume import Chunk, Made, Partial
from sdkit.runtime.storage.sink import Sink
from sdkit.runtime.storage.source import Source
from sdkit.runtime.storage.workers import Answer, Workers

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
"""Size in bytes of a chunk, which holds whole sequences (at least one)."""
WHOLE_LIMIT = 2**53
"""Limit of the whole numbers that floating-point numbers hold exactly."""


def compression_options(name: str) -> dict[str, Any]:
    """Return h5py keywords for `gzip` (level 1, every reader opens it), `lz4` (needs hdf5plugin to read) or `none`.

    Raises:
        ConfigError: another name.
    """
    if name == "gzip":
        return {"compression": "gzip", "compression_opts": LEVEL}
    if name == "lz4":
        import hdf5plugin

        return dict(hdf5plugin.LZ4())
    if name == "none":
        return {}
    raise ConfigError(f"unknown compression '{name}'; choose gzip, lz4 or none")


class LazyFile:
    """A read-only HDF5 file that every process opens for itself, on first use; pickling drops the handle."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._owner = 0
        self._parts: dict[str, Part] = {}
        """Data sets that were opened with this handle."""

    @property
    def handle(self) -> h5py.File:
        """The open file of this process; what it holds is reached through `part` and `attribute`, which check it.

        Raises:
            MissingFileError: no such file.
            FileFormatError: not an HDF5 file.
        """
        # A handle inherited through fork shares its file offset and locks with the parent, so it is never used.
        if self._handle is None or self._owner != os.getpid():
            self._handle, self._owner, self._parts = _open(self.path), os.getpid(), {}
        return self._handle

    @property
    def names(self) -> list[str]:
        """Names in the file.

        Raises:
            FileFormatError: one of them is not UTF-8, or they cannot be read.
        """
        return part_names(self.handle, self.path)

    def part(self, name: str, expected: str) -> Part:
        """Return a data set of the file, which its rows are read from by `runtime.storage.chunks`.

        Args:
            name: name of the data set.
            expected: its axes, for messages.

        Raises:
            FileFormatError: it is absent, a group, a link, or not plain numbers that are stored in this file.

        >>> sdkit.SequenceFile("puppets.h5").part("labels", "(N, L)").shape
        (66, 5)
        """
        handle = self.handle
        if name not in self._parts:
            self._parts[name] = open_part(handle, self.path, name, expected)
        return self._parts[name]

    def attribute(self, name: str) -> Value | None:
        """Return a text or a number among the attributes of the file, or None when it has none of this name.

        Raises:
            FileFormatError: it is neither, or text that is not UTF-8.

        >>> sdkit.SequenceFile("puppets.h5").attribute("format")
        'sdkit-sequences'
        """
        return read_attribute(self.handle, self.path, name)

    def text(self, name: str) -> str:
        """Return a text among the attributes of the file, empty when it has none of this name.

        Raises:
            FileFormatError: it is not text.

        >>> sdkit.SequenceFile("puppets.h5").text("element")
        'image'
        """
        value = self.attribute(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise FileFormatError(f"{self.path}: attribute '{name}' is {shown(value)}; expected text")
        return value

    def stated(self, *names: str) -> dict[str, Value]:
        """Return those attributes of some names that the file has.

        Raises:
            FileFormatError: as `attribute`.

        >>> sdkit.SequenceFile("puppets.h5").stated("version", "bin_spacing")
        {'version': 1}
        """
        found = {name: self.attribute(name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    def scales(self) -> dict[str, Value]:
        """Return the attributes that scale the axes of figures, those that the file has.

        >>> sorted(sdkit.SequenceFile("puppets.h5").scales())
        ['rate']
        """
        return self.stated("rate", "step", "bin_spacing")

    def json(self, name: str, default: Any) -> Any:
        """Return what an attribute holds as JSON, or a default when it is absent or empty.

        Raises:
            FileFormatError: it is not JSON.

        >>> sdkit.SequenceFile("puppets.h5").json("target_names", [])
        []
        """
        text = self.text(name)
        if not text:
            return default
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{self.path}: attribute '{name}' is not JSON: {first_line(error)}") from error

    def whole_numbers(self, name: str, axes: int) -> NDArray[np.int64] | None:
        """Return a data set of whole numbers, or None when the file has none of this name.

        Raises:
            FileFormatError: other axes, or numbers that are not whole or too large.
        """
        if name not in self.names:
            return None
        part = self.part(name, f"of whole numbers, of {axes} axes")
        if len(part.shape) != axes:
            raise FileFormatError(f"{part.where} has shape {part.shape}; expected {axes} axes")
        values = read_whole(part)
        # Compared with floating-point limits, beyond which the conversion gives other numbers without a word.
        if values.dtype.kind != "i" and len(values) and not (np.abs(values) < WHOLE_LIMIT).all():
            raise FileFormatError(f"{part.where} holds {values.max()}; expected whole numbers below 2**53")
        if values.dtype.kind == "f" and (values != np.rint(values)).any():
            raise FileFormatError(f"{part.where} holds {values.dtype}; expected whole numbers")
        return values.astype(np.int64, copy=False)

    def close(self) -> None:
        """Close the handle of this process; the next use opens it again."""
        if self._handle is not None and self._owner == os.getpid():
            self._handle.close()
        self._handle, self._parts = None, {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_parts": {}}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(path: Path) -> h5py.File:
    import hdf5plugin  # noqa: F401  registers the LZ4 filter with HDF5

    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; `sdkit data make` makes a data set")
    try:
        file = h5py.File(Source(path), "r")
        sizes = file.id.get_create_plist().get_sizes()
    except UNREADABLE as error:
        raise FileFormatError(f"{path} is not an HDF5 file ({first_line(error)})") from error
    if sizes != (8, 8):
        raise FileFormatError(f"{path} has offsets and sizes of {sizes} bytes; sdkit reads those of 8: use h5repack")
    return file


class GrowingFile:
    """An HDF5 file written batch by batch under a temporary name; it appears under its own name when complete.

    Use as a context manager. `append` grows data sets along their first axis, `put` writes one whole. Rows are gathered
    into chunks, which are compressed here, under gzip on several threads, and written to the file as they are. Memory
    holds a chunk of each data set, and a few that are being compressed.

    Args:
        path: the file to write.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        partial: the output in the making, if a later process shall be able to resume it; `force` is then its argument.

    Raises:
        OutputExistsError, MissingFileError: on entry, as `check_output`; a folder is never replaced.
        BusyError, WriteError: as `replacing`.
    """

    def __init__(
        self, path: str | Path, *, compression: str = "gzip", force: bool = False, partial: Partial | None = None
    ) -> None:
        self._options = compression_options(compression)
        self._compression = compression
        self._attributes: dict[str, Any] = {}
        self._partial = partial
        self._path, self._force = Path(path), force
        self._growing: dict[str, _Growing] = {}
        self._packing: deque[tuple[_Growing, Answer[tuple[int, bytes]]]] = deque()

    def __enter__(self) -> Self:
        # A stack, so that nothing is left either when opening or when closing fails.
        with ExitStack() as stack:
            output: AbstractContextManager[Path]
            if self._partial is None:
                check_output(self._path, force=self._force, folder=False)
                output = replacing(self._path, force=self._force)
            else:
                output = self._partial
            self._sink = stack.enter_context(Sink(stack.enter_context(output)))
            self._thread = stack.enter_context(Workers(1, "sdkit-write"))
            stack.push(self._close)
            self._call(self._open)
            self._pool = stack.enter_context(Workers(worker_threads(), "sdkit-deflate"))
            stack.push(self._complete)
            self.attributes(self._attributes)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def restore(self, step: int) -> int:
        """Take over what an interrupted run wrote; call it before the first `append`.

        Args:
            step: number of rows of a batch.

        Returns:
            Row to continue at, a multiple of `step`. Where some data sets hold more, their next rows are skipped.
        """
        if self._partial is None:
            return 0
        for entry in self._partial.earlier():
            if isinstance(entry, Made):
                self._make(entry.name, entry.shape, np.dtype(entry.dtype))
            else:
                chunk, raw = entry
                self._write(self._growing[chunk.name], chunk.mask, raw)
        self._partial.taken_over()
        start = min((growing.written for growing in self._growing.values()), default=0) // step * step
        for growing in self._growing.values():
            growing.seen = start
        return start

    def append(self, **arrays: Array) -> None:
        """Append (B, ...) arrays to the data sets of these names, which are created on first use."""
        for name, array in arrays.items():
            if name not in self._growing:
                self._make(name, array.shape[1:], array.dtype)
        for name, array in arrays.items():
            growing = self._growing[name]
            known = max(0, min(len(array), growing.written - growing.seen))
            growing.seen += len(array)
            for chunk in growing.gather(array[known:]):
                self._pack(growing, chunk)

    def put(self, name: str, array: Array) -> None:
        """Write one small array as a data set."""
        self._drain(0)  # so that the file's layout does not depend on how fast chunks are compressed
        self._call(lambda: self._file.create_dataset(name, data=array))

    def attributes(self, values: dict[str, Any]) -> None:
        """Set attributes of the file."""
        self._call(lambda: self._file.attrs.update({name: _storable(value) for name, value in values.items()}))

    def _make(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        bytes_each = max(1, int(np.prod(shape)) * dtype.itemsize)
        rows = max(1, min(1024, CHUNK_BYTES // bytes_each))
        options = {"maxshape": (None, *shape), "chunks": (rows, *shape), "dtype": dtype, **self._options}
        data = self._call(lambda: self._file.create_dataset(name, shape=(0, *shape), **options))
        self._growing[name] = _Growing(name, data, (rows, *shape), dtype)
        if self._partial is not None:
            self._partial.record(Made(name, shape, dtype.str))

    def _pack(self, growing: "_Growing", chunk: Array) -> None:
        answer = Answer[tuple[int, bytes]]()
        if self._compression == "gzip":
            answer = self._pool.submit(self._packed, chunk)
        else:
            answer.work(self._packed, (chunk,))
        self._packing.append((growing, answer))
        self._drain(2 * worker_threads())

    def _packed(self, chunk: Array) -> tuple[int, bytes]:
        if self._compression == "gzip":
            return _gzip(chunk)
        return (0, chunk.tobytes()) if self._compression == "none" else _filtered(chunk, self._options)

    def _drain(self, left: int) -> None:
        while len(self._packing) > left:
            growing, answer = self._packing.popleft()
            self._write(growing, *answer.result())

    def _write(self, growing: "_Growing", mask: int, raw: bytes) -> None:
        offset = self._add(growing, growing.shape[0], mask, raw)
        if self._partial is not None:
            self._partial.record(Chunk(growing.name, mask, offset, len(raw), zlib.crc32(raw)))

    def _add(self, growing: "_Growing", rows: int, mask: int, raw: bytes) -> int:
        """Add a chunk, of which `rows` count, and return where its bytes lie in the file."""

        def add() -> int:
            growing.data.resize(growing.written + rows, axis=0)
            place = (growing.written, *(0 for _ in growing.shape[1:]))
            growing.data.id.write_direct_chunk(place, raw, mask)
            return int(growing.data.id.get_chunk_info_by_coord(place).byte_offset)

        offset = self._call(add)
        growing.written += rows
        return offset

    def _complete(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        self._drain(0)
        for growing in self._growing.values():
            if growing.filled:
                # Not in the journal, which counts whole chunks: a resumed run computes these rows again.
                growing.chunk[growing.filled :] = 0
                self._add(growing, growing.filled, *self._packed(growing.chunk))

    def _open(self) -> None:
        self._file = h5py.File(self._sink, "w")

    def _close(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._call(self._file.close)
        else:
            with suppress(Exception):  # of a file that is given up, if it was opened at all
                self._thread.submit(lambda: self._file.close()).result()

    def _call(self, work: Callable[[], T]) -> T:
        """Return what a call of HDF5 returns, made on the file's own thread, which no signal reaches.

        Raises:
            OSError: the disk's, as the system has it; `Partial` and `replacing` name the output.
            WriteError: any other that HDF5 has.
        """
        try:
            found = self._thread.submit(work).result()
        except (RuntimeError, OSError) as error:
            self._sink.check()
            raise WriteError(f"{self._path} cannot be written: {first_line(error)}") from error
        self._sink.check()
        return found


def _storable(value: Any) -> Any:
    """Return text without what UTF-8 cannot hold, such as parts of odd file names."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class _Growing:
    """A data set that grows by whole chunks, and the rows of its next chunk."""

    def __init__(self, name: str, data: h5py.Dataset, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.name, self.data = name, data
        self.shape, self.dtype = shape, dtype
        """Shape and dtype of a chunk."""
        self.seen = 0
        """Number of rows given so far."""
        self.written = 0
        """Number of rows in the file."""
        self.filled = 0
        """Number of rows in `chunk`."""
        self.chunk = np.empty(0)

    def gather(self, rows: Array) -> Iterator[Array]:
        """Add rows; yield every chunk that is full, which then belongs to the caller."""
        while len(rows):
            if self.filled == 0:
                self.chunk = np.empty(self.shape, self.dtype)
            count = min(len(rows), len(self.chunk) - self.filled)
            self.chunk[self.filled : self.filled + count] = rows[:count]
            self.filled, rows = self.filled + count, rows[count:]
            if self.filled == len(self.chunk):
                self.filled = 0
                yield self.chunk


def _gzip(chunk: Array) -> tuple[int, bytes]:
    raw = compress(chunk.data)
    # As HDF5 does: it leaves the filter out where compression gains nothing.
    return (0, raw) if len(raw) < chunk.nbytes else (1, chunk.tobytes())


def _filtered(chunk: Array, options: dict[str, Any]) -> tuple[int, bytes]:
    # Only HDF5 has its other filters: it writes the chunk to a file in memory, from which the raw bytes are read.
    with h5py.File("chunk", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("chunk", data=chunk, chunks=chunk.shape, **options)
        mask, raw = data.id.read_direct_chunk((0,) * chunk.ndim)
        return int(mask), bytes(raw)
