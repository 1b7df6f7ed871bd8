"""Rows of HDF5 data sets, batch by batch: whole chunks, read ahead, inflated on several threads, each of them once.

HDF5 inflates gzip chunks one after the other, under a lock of the whole process, and again for every batch that
touches them. Here the raw bytes of a chunk are read from the file and inflated outside that lock, by the
fastest library available (`runtime.storage.deflate`).
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import h5py
import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.device import usable_processors
from sdkit.runtime.element import Array
from sdkit.runtime.errors import FileFormatError
from sdkit.runtime.storage.deflate import ERRORS, decompress
from sdkit.runtime.storage.pipeline import ALIVE

Indices = NDArray[np.int64]
THREADS = 4
"""Largest number of threads that inflate or deflate: beyond it the disk or the model is slower."""
UNREADABLE: tuple[type[Exception], ...] = (OSError, ValueError, *ERRORS)
WINDOW_BYTES = 32 << 20
"""Bytes of inflated chunks that are kept ready, the one in use not counted."""


def worker_threads() -> int:
    """Return how many threads inflate or deflate chunks."""
    return min(THREADS, usable_processors())


def batches(data: h5py.Dataset, index: Indices, size: int, *, alive: int = ALIVE) -> Iterator[Array]:
    """Yield the rows `index` of a data set, at most `size` at a time, in order.

    An array is valid until `alive` more have been requested; then its memory is used again. Memory: `alive` batches,
    and the chunks of WINDOW_BYTES, at least two, where they are inflated here.

    Args:
        data: (N, ...), of any layout. Chunks of whole rows under gzip, with or without shuffle, are inflated here;
            all else is read by HDF5.
        index: row numbers in ascending order; a row may occur more than once.
        size: rows of a batch.
        alive: number of arrays that the caller holds at a time.

    Raises:
        FileFormatError: rows that cannot be read.
    """
    shape = (min(size, len(index)), *data.shape[1:])
    buffers = [np.empty(shape, data.dtype) for _ in range(alive)]
    rows, chunks = index[:size], None
    with ThreadPoolExecutor(worker_threads(), thread_name_prefix="sdkit-inflate") as pool:
        try:
            chunks = _Chunks(data, index, pool) if inflatable(data) else None
            for number, start in enumerate(range(0, len(index), size)):
                rows = index[start : start + size]
                batch = buffers[number % alive][: len(rows)]
                _read(data, rows, batch) if chunks is None else chunks.read(rows, batch)
                yield batch
        except UNREADABLE as error:
            where = f"{data.file.filename}: data set '{data.name.lstrip('/')}'"
            raise FileFormatError(f"{where} cannot be read at rows {rows[0]} to {rows[-1]}: {error}") from error
        finally:
            if chunks is not None:
                chunks.close()


def inflatable(data: h5py.Dataset) -> bool:
    """Return whether the chunks of a data set are whole rows, all there, under gzip or shuffle and gzip alone."""
    if data.chunks is None or data.chunks[1:] != data.shape[1:] or len(data) == 0:
        return False
    properties = data.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if filters not in ([h5py.h5z.FILTER_DEFLATE], [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]):
        return False
    # A chunk that was never written stands for fill values and has no place in the file.
    return bool(data.id.get_num_chunks() == -(-len(data) // data.chunks[0]))


def inflate(raw: bytes, mask: int, shuffled: bool, dtype: np.dtype, shape: tuple[int, ...]) -> Array:
    """Return a chunk of `shape` from its bytes in the file.

    Args:
        raw: bytes as `read_direct_chunk` returns them.
        mask: HDF5's filter mask: bit i is set where filter i was left out for this chunk.
        shuffled: whether shuffle stands before gzip in the data set's filters.
        dtype: dtype of the data set.
        shape: shape of a chunk.

    Raises:
        One of `deflate.ERRORS`: bytes that gzip did not write.
        ValueError: another number of bytes.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    if not mask >> int(shuffled) & 1:
        raw = decompress(raw, size)
    if len(raw) != size:
        raise ValueError(f"a chunk holds {len(raw)} bytes instead of {size}")
    if shuffled and not mask & 1:
        # Shuffle puts the first bytes of all values first, then the second bytes, and so on.
        planes = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, -1)
        return np.ascontiguousarray(planes.T).view(dtype).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape)


class _Chunks:
    """The chunks that rows of an index lie in, inflated ahead."""

    def __init__(self, data: h5py.Dataset, index: Indices, pool: ThreadPoolExecutor) -> None:
        self._data, self._pool, self._shape = data, pool, data.chunks
        self._rows = data.chunks[0]
        self._shuffled = bool(data.shuffle)
        self._wanted = iter(np.unique(index // self._rows).tolist())
        self._ahead: deque[tuple[int, Future[Array]]] = deque()
        chunk_bytes = int(np.prod(self._shape)) * data.dtype.itemsize
        # The chunk in use, and two for each thread (one being inflated, one ready), if they are not large.
        for _ in range(1 + max(1, min(2 * worker_threads(), WINDOW_BYTES // chunk_bytes))):
            self._fetch()

    def read(self, rows: Indices, batch: Array) -> None:
        done = 0
        while done < len(rows):
            number = int(rows[done]) // self._rows
            stop = int(np.searchsorted(rows, (number + 1) * self._rows))
            inside = rows[done:stop] - number * self._rows
            chunk = self._chunk(number)
            if (np.diff(inside) == 1).all():
                batch[done:stop] = chunk[inside[0] : inside[-1] + 1]
            else:
                np.take(chunk, inside, axis=0, out=batch[done:stop])
            done = stop

    def close(self) -> None:
        for _, future in self._ahead:
            future.cancel()

    def _chunk(self, number: int) -> Array:
        while self._ahead[0][0] != number:
            self._ahead.popleft()
            self._fetch()
        return self._ahead[0][1].result()

    def _fetch(self) -> None:
        number = next(self._wanted, None)
        if number is not None:
            offset = (number * self._rows, *(0 for _ in self._shape[1:]))
            mask, raw = self._data.id.read_direct_chunk(offset)
            future = self._pool.submit(inflate, raw, mask, self._shuffled, self._data.dtype, self._shape)
            self._ahead.append((number, future))


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
