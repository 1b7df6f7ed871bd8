"""Batches hold the rows that HDF5 itself reads, whatever the layout of the data set."""

import zlib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from sdkit.runtime.element import Array
from sdkit.runtime.errors import FileFormatError
from sdkit.runtime.storage import chunks
from sdkit.runtime.storage.chunks import batches, inflatable, inflate

COUNT = 103
X = np.random.default_rng(0).normal(size=(COUNT, 3, 4)).astype(np.float32)
ROWS = np.arange(COUNT)
LAYOUTS: dict[str, dict[str, Any]] = {
    "gzip": {"compression": "gzip", "compression_opts": 1},
    "gzip 9, shuffled": {"compression": "gzip", "compression_opts": 9, "shuffle": True},
    "lz4": dict(hdf5plugin.LZ4()),
    "chunks alone": {},
    "with checksums": {"compression": "gzip", "fletcher32": True},
    "parts of rows": {"compression": "gzip", "chunks": (10, 3, 2)},
}
INFLATED_HERE = ("gzip", "gzip 9, shuffled")
INDICES = {
    "all": ROWS,
    "a run": np.arange(17, 64),
    "dense": np.sort(np.random.default_rng(1).permutation(COUNT)[:60]),
    "scattered": np.array([2, 3, 40, 41, 77, 102]),
    "twice": np.array([5, 5, 6, 8, 8, 8, 11, 60, 60]),
    "gaps that repeats make up for": np.array([0, 0, 2]),
}


def write(path: Path, x: Array = X, **options: Any) -> h5py.Dataset:
    options = {"chunks": (10, *x.shape[1:]), **options}
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=x, **options)
    return h5py.File(path)["data"]


def joined(data: h5py.Dataset, index: Array, size: int) -> Array:
    parts = [batch.copy() for batch in batches(data, index, size)]
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    return np.concatenate(parts)


@pytest.mark.parametrize("rows", INDICES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(tmp_path: Path, layout: str, rows: str) -> None:
    data, index = write(tmp_path / "x.h5", **LAYOUTS[layout]), INDICES[rows]
    assert inflatable(data) == (layout in INFLATED_HERE)
    for size in (1, 7, 10, 25, 1000):
        np.testing.assert_array_equal(joined(data, index, size), X[index])


def test_one_piece_without_chunks(tmp_path: Path) -> None:
    data = write(tmp_path / "x.h5", chunks=None)
    assert not inflatable(data)
    np.testing.assert_array_equal(joined(data, ROWS, 7), X)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, ">f4"])
def test_every_number(tmp_path: Path, dtype: Any) -> None:
    x = (100 * X).astype(dtype)
    for shuffle in (False, True):
        data = write(tmp_path / f"{shuffle}.h5", x, compression="gzip", shuffle=shuffle)
        assert inflatable(data)
        np.testing.assert_array_equal(joined(data, ROWS, 8), x)


def test_chunks_that_were_never_written_hold_fill_values(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("data", (40, 2), "i4", chunks=(10, 2), compression="gzip", fillvalue=7)
        data[20:30] = 1
        assert not inflatable(data)
        found = joined(data, np.arange(40), 15)
    assert found[:, 0].tolist() == [7] * 20 + [1] * 10 + [7] * 10


def test_chunks_that_gzip_was_left_out_of(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 50), np.uint8)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("data", x.shape, x.dtype, chunks=(10, 50), compression="gzip")
        data.id.write_direct_chunk((0, 0), x[:10].tobytes(), 1)
        data.id.write_direct_chunk((10, 0), zlib.compress(x[10:].tobytes()), 0)
        np.testing.assert_array_equal(joined(data, np.arange(20), 6), x)


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
    place = data.id.get_chunk_info_by_coord((50, 0, 0))
    data.file.close()
    text = bytearray((tmp_path / "x.h5").read_bytes())
    text[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    (tmp_path / "x.h5").write_bytes(text)
    with h5py.File(tmp_path / "x.h5") as file:
        reading = batches(file["data"], ROWS, 25)
        assert len(next(reading)) == len(next(reading)) == 25
        with pytest.raises(
            FileFormatError, match=r"x\.h5: data set 'data' cannot be read at rows 50 to 74: "
        ) as caught:
            next(reading)
    assert "\n" not in str(caught.value)


def test_inflate_refuses_another_number_of_bytes() -> None:
    for raw, mask in ((zlib.compress(b"12345"), 0), (b"12345", 1)):
        with pytest.raises(ValueError, match="a chunk holds 5 bytes instead of 8"):
            inflate(raw, mask, False, np.dtype(np.float32), (2, 1))
