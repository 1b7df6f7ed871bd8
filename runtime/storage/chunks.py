"""Rows of data sets, batch by batch: whole chunks, read ahead, decoded on several threads, each of them once.

HDF5 inflates gzip chunks one after the other, under a lock of the whole process, and again for every batch that
touches them; it believes that a chunk inflates to its full size, and reads beyond the end of one that does not. Here
the raw bytes of a chunk are read from the file and decoded outside that lock, by the fastest library available
(`runtime.storage.deflate`), to exactly the bytes that a chunk has.
"""

import math
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.device import usable_processors
from sdkit.runtime.element import Array
from sdkit.runtime.errors import FileFormatError
from sdkit.runtime.storage.deflate import decompress
from sdkit.runtime.storage.filters import checked, lz4_decoded, unshuffled
from sdkit.runtime.storage.parts import LZ4, PIECE_BYTES, TABLE_BYTES, Part, reading
from sdkit.runtime.storage.pipeline import ALIVE

Indices = NDArray[np.int64]
THREADS = 4
"""Largest number of threads that inflate or deflate: beyond it the disk or the model is slower."""
WINDOW_BYTES = 32 << 20
"""Bytes of decoded chunks that are kept ready, those in use not counted."""
CHECKSUM_BYTES = 4
"""Size of the checksum that fletcher32 puts behind a chunk."""


def worker_threads() -> int:
    """Return how many threads inflate or deflate chunks."""
    return min(THREADS, usable_processors())


def batches(part: Part, index: Indices, size: int, *, alive: int | None = ALIVE) -> Iterator[Array]:
    """Yield the rows `index` of a data set, at most `size` at a time, in order.

    An array is valid until `alive` more have been requested; then its memory is used again. Memory: `alive` batches,
    and the chunks of WINDOW_BYTES, at least two, where there are filters.

    Args:
        part: (N, ...), of any layout.
        index: row numbers in ascending order; a row may occur more than once.
        size: rows of a batch.
        alive: number of arrays that the caller holds at a time; None makes each of them anew, for a caller who keeps
            them.

    Raises:
        FileFormatError: rows that cannot be read.
    """
    shape = (min(size, len(index)), *part.shape[1:])
    buffers = [np.empty(shape, part.dtype) for _ in range(alive or 0)]
    chunks = None
    with ThreadPoolExecutor(worker_threads(), thread_name_prefix="sdkit-inflate") as pool:
        try:
            for number, start in enumerate(range(0, len(index), size)):
                rows = index[start : start + size]
                batch = buffers[number % alive][: len(rows)] if alive else np.empty((len(rows), *shape[1:]), part.dtype)
                with reading(f"{part.where}, rows {rows[0]} to {rows[-1]},"):
                    if not part.filters:
                        _read(part.data, rows, batch)
                    else:
                        chunks = chunks or _Chunks(part, index, pool)
                        chunks.read(rows, batch)
                yield batch
        finally:
            if chunks is not None:
                chunks.close()


def read_rows(part: Part, index: Indices) -> Array:
    """Return rows of a data set, in the order of `index`.

    Raises:
        FileFormatError: rows that cannot be read.
    """
    unique, inverse = np.unique(index, return_inverse=True)
    for batch in batches(part, unique, max(1, len(unique)), alive=None):
        return batch if np.array_equal(unique, index) else np.asarray(batch[inverse])
    return np.empty((0, *part.shape[1:]), part.dtype)


def read_whole(part: Part) -> Array:
    """Return all rows of a small data set.

    Raises:
        FileFormatError: it takes more than TABLE_BYTES, or cannot be read.
    """
    if part.nbytes > TABLE_BYTES:
        raise FileFormatError(f"{part.where} takes {part.nbytes} bytes; at most {TABLE_BYTES} are read")
    return read_rows(part, np.arange(len(part)))


def decode(raw: bytes, mask: int, part: Part) -> Array:
    """Return a chunk of `part.chunks` from its bytes in the file.

    Args:
        raw: bytes as `read_direct_chunk` returns them.
        mask: HDF5's filter mask: bit i is set where filter i was left out for this chunk.
        part: data set of the chunk.

    Raises:
        ValueError: another number of bytes, or another checksum than the stored one.
        One of `deflate.ERRORS`: bytes that gzip did not write.
    """
    chunks, filters = part.chunks or (), part.filters
    size = math.prod(chunks) * part.dtype.itemsize
    for i in reversed(range(len(filters))):
        if mask >> i & 1:
            continue
        checksums = sum(f == h5py.h5z.FILTER_FLETCHER32 and not mask >> j & 1 for j, f in enumerate(filters[:i]))
        expected = size + CHECKSUM_BYTES * checksums
        if filters[i] == h5py.h5z.FILTER_DEFLATE:
            raw = decompress(raw, expected)
        elif filters[i] == h5py.h5z.FILTER_SHUFFLE:
            raw = unshuffled(raw, part.dtype.itemsize)
        elif filters[i] == h5py.h5z.FILTER_FLETCHER32:
            raw = checked(raw)
        elif filters[i] == LZ4:
            raw = lz4_decoded(raw, expected)
    if len(raw) != size:
        raise ValueError(f"a chunk holds {len(raw)} bytes instead of {size}")
    return np.frombuffer(raw, part.dtype).reshape(chunks)


class _Place(NamedTuple):
    """Place of one of the chunks that hold the same rows."""

    offset: tuple[int, ...]
    """First value along the axes after the first."""
    inside: tuple[slice, ...]
    """Its values that are within the data set, along these axes."""
    target: tuple[slice, ...]
    """Their place in a row."""


class _Chunks:
    """The chunks that rows of an index lie in, decoded ahead.

    A band is the chunks that hold the same rows: one where chunks are of whole rows.
    """

    def __init__(self, part: Part, index: Indices, pool: ThreadPoolExecutor) -> None:
        assert part.chunks is not None
        self._part, self._pool, self._rows = part, pool, part.chunks[0]
        self._places = list(_places(part.shape[1:], part.chunks[1:]))
        self._wanted = iter(np.unique(index // self._rows).tolist())
        self._ahead: deque[tuple[int, list[Future[Array]]]] = deque()
        band_bytes = math.prod(part.chunks) * part.dtype.itemsize * len(self._places)
        self._kept = band_bytes <= PIECE_BYTES
        """Whether a band is decoded once and kept; one that is too large is decoded chunk by chunk for each batch."""
        # The band in use, and two for each thread (one being decoded, one ready), if they are not large.
        for _ in range(1 + max(1, min(2 * worker_threads(), WINDOW_BYTES // band_bytes)) if self._kept else 0):
            self._fetch()

    def read(self, rows: Indices, batch: Array) -> None:
        done = 0
        while done < len(rows):
            number = int(rows[done]) // self._rows
            stop = int(np.searchsorted(rows, (number + 1) * self._rows))
            wanted = rows[done:stop] - number * self._rows
            run = np.s_[wanted[0] : wanted[-1] + 1] if (np.diff(wanted) == 1).all() else None
            for place, chunk in zip(self._places, self._band(number), strict=True):
                target = batch[(slice(done, stop), *place.target)]
                if run is not None:
                    target[...] = chunk[(run, *place.inside)]
                elif len(self._places) == 1:
                    np.take(chunk[(slice(None), *place.inside)], wanted, axis=0, out=target)
                else:
                    target[...] = chunk[(slice(None), *place.inside)][wanted]
            done = stop

    def close(self) -> None:
        for _, band in self._ahead:
            for future in band:
                future.cancel()

    def _band(self, number: int) -> Iterator[Array]:
        if not self._kept:
            return (decode(*self._raw(number, place), self._part) for place in self._places)
        while self._ahead[0][0] != number:
            self._ahead.popleft()
            self._fetch()
        return (future.result() for future in self._ahead[0][1])

    def _fetch(self) -> None:
        number = next(self._wanted, None)
        if number is not None:
            raws = (self._raw(number, place) for place in self._places)
            self._ahead.append((number, [self._pool.submit(decode, raw, mask, self._part) for raw, mask in raws]))

    def _raw(self, number: int, place: _Place) -> tuple[bytes, int]:
        mask, raw = self._part.data.id.read_direct_chunk((number * self._rows, *place.offset))
        return raw, mask


def _places(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Iterator[_Place]:
    for offset in product(*(range(0, n, c) for n, c in zip(shape, chunk, strict=True))):
        sizes = [min(c, n - start) for n, c, start in zip(shape, chunk, offset, strict=True)]
        inside = tuple(slice(0, size) for size in sizes)
        yield _Place(
            offset, inside, tuple(slice(start, start + size) for start, size in zip(offset, sizes, strict=True))
        )


def _read(data: h5py.Dataset, rows: Indices, batch: Array) -> None:
    first, last = int(rows[0]), int(rows[-1]) + 1
    unique, inverse = np.unique(rows, return_inverse=True)
    if last - first == len(rows) == len(unique):
        data.read_direct(batch, np.s_[first:last])
    elif last - first <= 4 * len(unique):
        # h5py picks scattered rows one hyperslab at a time; where the wanted rows are dense, one run is far cheaper.
        batch[:] = data[first:last][rows - first]
    else:
        batch[:] = data[unique][inverse]
