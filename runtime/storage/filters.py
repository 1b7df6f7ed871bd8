"""The filters of HDF5 beside gzip, undone: shuffle and fletcher32 with numpy, lz4 by hdf5plugin on checked bytes."""

import struct
from threading import get_ident, local
from typing import Any

import h5py
import numpy as np

_HEADER = struct.Struct(">QI")
"""Head of a chunk under lz4: size of the chunk, and of each of the blocks that it is compressed in."""
_BLOCK = struct.Struct(">I")
"""Head of a block: its compressed size."""
_MODULUS = 65535
_of_thread = local()


def unshuffled(raw: bytes, size: int) -> bytes:
    """Return bytes that shuffle sorted: the first bytes of all values came first, then the second bytes, and so on.

    Args:
        raw: bytes of values, and perhaps fewer than `size` behind them, which shuffle leaves where they are.
        size: bytes of a value.
    """
    count = len(raw) // size
    planes = np.frombuffer(raw, np.uint8, count * size).reshape(size, count)
    return np.ascontiguousarray(planes.T).tobytes() + raw[count * size :]


def checked(raw: bytes) -> bytes:
    """Return the bytes before the checksum that fletcher32 put behind them.

    Raises:
        ValueError: their checksum is another one.
    """
    content, stored = raw[:-4], int.from_bytes(raw[-4:], "little")
    words = np.frombuffer(content + bytes(len(content) % 2), ">u2").astype(np.uint64)
    # The second sum counts the first word as often as there are words, the last one once. Weights are reduced, so
    # that products stay below 2**32 and their sum below 2**64.
    weights = np.arange(len(words), 0, -1, dtype=np.uint64) % _MODULUS
    sums = int(words.sum()) % _MODULUS, int((words * weights).sum()) % _MODULUS
    if sums != ((stored & 0xFFFF) % _MODULUS, (stored >> 16) % _MODULUS):
        raise ValueError("a chunk has another checksum than the stored one")
    return content


def lz4_decoded(raw: bytes, size: int) -> bytes:
    """Return the `size` bytes of a chunk under lz4.

    Raises:
        ValueError: its head declares another size, or its blocks do not fill it.
        OSError: lz4 cannot decode it.
    """
    declared, block = _HEADER.unpack_from(raw) if len(raw) >= _HEADER.size else (0, 0)
    if declared != size or block == 0:
        raise ValueError(f"a chunk holds {declared} bytes instead of {size}")
    place = _HEADER.size
    for start in range(0, size, block):
        if place + _BLOCK.size > len(raw):
            raise ValueError("a chunk ends before its last block")
        (stored,) = _BLOCK.unpack_from(raw, place)
        if not 0 < stored <= min(block, size - start):
            raise ValueError(f"a block of a chunk takes {stored} bytes for {min(block, size - start)}")
        place += _BLOCK.size + stored
    if place != len(raw):
        raise ValueError(f"a chunk takes {len(raw)} bytes; its blocks take {place}")
    return _by_plugin(raw, size)


def _by_plugin(raw: bytes, size: int) -> bytes:
    # Only HDF5 has the filter: the chunk is put into a file in memory, one for each thread and size, and read from it.
    data = _scratch(size)
    data.id.write_direct_chunk((0,), raw, 0)
    out = np.empty(size, np.uint8)
    data.read_direct(out)
    return out.tobytes()


def _scratch(size: int) -> Any:
    if getattr(_of_thread, "size", None) != size:
        import hdf5plugin

        name = f"lz4 {get_ident()} {size}"  # the name distinguishes files in memory
        _of_thread.size = _of_thread.file = _of_thread.data = None
        file = h5py.File(name, "w", driver="core", backing_store=False)
        data = file.create_dataset("chunk", (size,), np.uint8, chunks=(size,), **hdf5plugin.LZ4())
        _of_thread.size, _of_thread.file, _of_thread.data = size, file, data
    return _of_thread.data
