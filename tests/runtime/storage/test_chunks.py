"""Batches hold the rows that HDF5 itself reads, whatever the layout of the data set."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from sdkit.runtime.element import Array
from sdkit.runtime.errors import FileFormatError
from sdkit.runtime.storage import chunks
from sdkit.runtime.storage.chunks import batches, decode, read_rows, read_whole
from sdkit.runtime.storage.parts import LZ4, Part, open_part

COUNT = 103
X = np.random.default_rng(0).normal(size=(COUNT, 3, 4)).astype(np.float32)
ROWS = np.arange(COUNT)
LAYOUTS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 1},
    "gzip 9, shuffled": {"compression": "gzip", "compression_opts": 9, "shuffle": True},
    "lz4": dict(hdf5plugin.LZ4()),
    "chunks alone": {},
    "with checksums": {"compression": "gzip", "fletcher32": True},
    "chunks alone, parts of rows": {"chunks": (10, 2, 3)},
    "parts of rows": {"compression": "gzip", "chunks": (10, 3, 2)},
    "parts of rows that do not divide them": {"compression": "gzip", "shuffle": True, "chunks": (10, 2, 3)},
    "lz4, shuffled, with checksums": {**hdf5plugin.LZ4(), "shuffle": True, "fletcher32": True, "chunks": (7, 2, 3)},
}
INDICES = {
    "all": ROWS,
    "a run": np.arange(17, 64),
    "dense": np.sort(np.random.default_rng(1).permutation(COUNT)[:60]),
    "scattered": np.array([2, 3, 40, 41, 77, 102]),
    "twice": np.array([5, 5, 6, 8, 8, 8, 11, 60, 60]),
    "gaps that repeats make up for": np.array([0, 0, 2]),
}


def opened(path: Path) -> Part:
    return open_part(h5py.File(path), path, "data", "(N, ...)")


def write(path: Path, x: Array = X, **options: Any) -> Part:
    options = {"chunks": (10, *x.shape[1:]), **options}
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=x, **options)
    return opened(path)


def joined(data: Part, index: Array, size: int) -> Array:
    parts = [batch.copy() for batch in batches(data, index, size)]
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    return np.concatenate(parts)


@pytest.mark.parametrize("rows", INDICES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path: Path, layout: str, rows: str) -> None:
    data, index = write(tmp_path / "x.h5", **LAYOUTS[layout]), INDICES[rows]
    for size in (1, 7, 10, 25, 1000):
        np.testing.assert_array_equal(joined(data, index, size), X[index])


def test_one_piece_without_chunks(tmp_path: Path) -> None:
    data = write(tmp_path / "x.h5", chunks=None)
    np.testing.assert_array_equal(joined(data, ROWS, 7), X)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, ">f4"])
def test_every_number(tmp_path: Path, dtype: Any) -> None:
    x = (100 * X).astype(dtype)
    for shuffle in (False, True):
        data = write(tmp_path / f"{shuffle}.h5", x, compression="gzip", shuffle=shuffle)
        np.testing.assert_array_equal(joined(data, ROWS, 8), x)


def test_bands_too_large_to_keep_are_decoded_for_each_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "PIECE_BYTES", 100)
    data = write(tmp_path / "x.h5", **LAYOUTS["parts of rows that do not divide them"])
    for index in INDICES.values():
        np.testing.assert_array_equal(joined(data, index, 7), X[index])


def test_rows_in_any_order_and_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write(tmp_path / "x.h5", **LAYOUTS["gzip"])
    for index in ([4, 99, 3, 3], [], [7, 8]):
        np.testing.assert_array_equal(read_rows(data, np.array(index, np.int64)), X[np.array(index, np.int64)])
    np.testing.assert_array_equal(read_whole(data), X)
    monkeypatch.setattr(chunks, "TABLE_BYTES", 10)
    with pytest.raises(FileFormatError, match=r"data set 'data' takes 4944 bytes; at most 10 are read"):
        read_whole(data)


def test_arrays_that_are_kept(tmp_path: Path) -> None:
    for name in ("gzip", "chunks alone"):
        kept = list(batches(write(tmp_path / f"{name}.h5", **LAYOUTS[name]), ROWS, 10, alive=None))
        np.testing.assert_array_equal(np.concatenate(kept), X)


def test_chunks_that_gzip_was_left_out_of(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 50), np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("data", x.shape, x.dtype, chunks=(10, 50), compression="gzip")
        data.id.write_direct_chunk((0, 0), x[:10].tobytes(), 1)
        data.id.write_direct_chunk((10, 0), zlib.compress(x[10:].tobytes()), 0)
    np.testing.assert_array_equal(joined(opened(tmp_path / "x.h5"), np.arange(20), 6), x)


def test_memory_is_used_again(tmp_path: Path) -> None:
    for name in ("gzip", "lz4"):
        data = write(tmp_path / f"{name}.h5", **LAYOUTS[name])
        places = [batch.__array_interface__["data"][0] for batch in batches(data, ROWS, 10, alive=3)]
        assert len(places) == 11
        assert places[:3] * 3 + places[:2] == places
        assert len(set(places)) == 3


def test_every_chunk_is_read_once_and_few_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Counting(chunks._Chunks):
        def _fetch(self) -> None:
            before = len(self._ahead)
            super()._fetch()
            read.extend(number for number, _ in list(self._ahead)[before:])

    monkeypatch.setattr(chunks, "_Chunks", Counting)
    monkeypatch.setattr(chunks, "worker_threads", lambda: 2)
    data = write(tmp_path / "x.h5", **LAYOUTS["gzip"])
    reading = batches(data, ROWS, 7)
    next(reading)
    assert read == [0, 1, 2, 3, 4]
    assert len(list(reading)) == 14
    assert read == list(range(11))
    read.clear()
    monkeypatch.setattr(chunks, "WINDOW_BYTES", 1)
    next(batches(data, np.array([3, 55, 101]), 7))
    assert read == [0, 5, 10]


@pytest.mark.parametrize("layout", ["gzip", "lz4"])
def test_damaged_chunks(tmp_path: Path, layout: str) -> None:
    data = write(tmp_path / "x.h5", **LAYOUTS[layout])
    place = data.data.id.get_chunk_info_by_coord((50, 0, 0))
    data.data.file.close()
    text = bytearray((tmp_path / "x.h5").read_bytes())
    text[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    (tmp_path / "x.h5").write_bytes(text)
    reading = batches(opened(tmp_path / "x.h5"), ROWS, 25)
    assert len(next(reading)) == len(next(reading)) == 25
    with pytest.raises(FileFormatError, match=r"x\.h5: data set 'data', rows 50 to 74, cannot be read: ") as caught:
        next(reading)
    assert "\n" not in str(caught.value)


GZIP = h5py.h5z.FILTER_DEFLATE
BLOCK = bytes([0x50]) + b"12345"
"""Five bytes as lz4 stores them."""
SHORT = {
    "gzip, less": ((GZIP,), 0, zlib.compress(b"12345"), "inflates to 5 bytes instead of 8"),
    "gzip, more": ((GZIP,), 0, zlib.compress(bytes(1 << 20)), "inflates to more than its 8 bytes"),
    "gzip, cut": ((GZIP,), 0, zlib.compress(b"12345678")[:-2], "inflates to 8 bytes instead of 8|ends"),
    "gzip left out": ((GZIP,), 1, b"12345", "holds 5 bytes instead of 8"),
    "checksum": ((h5py.h5z.FILTER_FLETCHER32,), 0, b"12345678" + bytes(4), "another checksum"),
    "lz4, less": ((LZ4,), 0, struct.pack(">QII", 5, 5, 6) + BLOCK, "holds 5 bytes instead of 8"),
    "lz4, blocks too short": ((LZ4,), 0, struct.pack(">QII", 8, 5, 5) + BLOCK, "ends before its last block|takes"),
    "lz4, no block": ((LZ4,), 0, struct.pack(">QI", 8, 0), "instead of 8"),
    "lz4, no head": ((LZ4,), 0, b"123", "instead of 8"),
    "lz4, spoilt": ((LZ4,), 0, struct.pack(">QII", 8, 8, 6) + b"\xff" * 6, "."),
}


@pytest.mark.parametrize("case", SHORT)
def test_chunks_of_another_size_are_refused(tmp_path: Path, case: str) -> None:
    filters, mask, raw, words = SHORT[case]
    part = replace(write(tmp_path / "x.h5"), dtype=np.dtype(np.float32), chunks=(2, 1), filters=filters)
    with pytest.raises((ValueError, OSError), match=words):
        decode(raw, mask, part)
