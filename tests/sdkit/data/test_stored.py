"""Stored arrays: rows as they were written, and headers that state what the bytes cannot hold."""

import io
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.data import stored
from sdkit.data.stored import open_arrays
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError, FileFormatError

X = np.arange(7 * 3 * 2, dtype=np.float32).reshape(7, 3, 2)
KNOWN = ("data", "labels", "lengths")
FEW = 20 << 20
"""Bytes that refusing a file may take."""


def header(shape: tuple[int, ...], descr: str = "<f4", *, fortran: bool = False, version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (53 - len(text) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text


def npz(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def rows(path: Path, *, size: int = 3) -> Array:
    with open_arrays(path, KNOWN) as (arrays, _):
        data = arrays["data"]
        return np.concatenate([data[slice(i, i + size)] for i in range(0, data.shape[0], size)])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("block", [10, 1 << 20])
def test_rows_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Any, order: Any, block: int) -> None:
    monkeypatch.setattr(stored, "BLOCK", block)
    save(tmp_path / "a.npz", data=np.asarray(X, order=order), labels=np.arange(7), other=np.zeros(3))
    np.testing.assert_array_equal(rows(tmp_path / "a.npz"), X)
    with open_arrays(tmp_path / "a.npz", KNOWN) as (arrays, unused):
        assert unused == ["other"]
        np.testing.assert_array_equal(arrays["labels"], np.arange(7))
        np.testing.assert_array_equal(arrays["data"][4:6], X[4:6])  # in any order, if not as fast
        np.testing.assert_array_equal(arrays["data"][1:2], X[1:2])


def test_an_archive_larger_than_a_batch_is_never_in_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", data=np.zeros((64, 1 << 17), np.float32))  # 32 MiB of values
    with open_arrays(tmp_path / "a.npz", KNOWN) as (arrays, _):
        tracemalloc.start()
        try:
            for i in range(0, 64, 4):
                assert not arrays["data"][i : i + 4].any()
            assert tracemalloc.get_traced_memory()[1] < FEW
        finally:
            tracemalloc.stop()


def test_sequences_of_unequal_length(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X[0], X[1, :2], X[2, :1], labels=np.array([5, 6, 7]))
    with open_arrays(tmp_path / "a.npz", KNOWN) as (arrays, unused):
        assert unused == []
        np.testing.assert_array_equal(arrays["lengths"], [3, 2, 1])
        np.testing.assert_array_equal(arrays["labels"], [5, 6, 7])
        data = arrays["data"][0:3]
    np.testing.assert_array_equal(data[1], [*X[1, :2], [np.nan, np.nan]])
    np.testing.assert_array_equal(data[2, :1], X[2, :1])
    assert np.isnan(data[2, 1:]).all()


def test_sequences_that_do_not_go_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X[0], X[1, :, :1])
    with pytest.raises(DataError, match=r"arr_1\.npy is float32 \(3, 1\); expected float32 \('T', 2\), as 'arr_0'"):
        rows(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", *[X[0]] * 200, np.zeros((30_000, 2), np.float32))
    with pytest.raises(
        DataError, match="the longest sequence has 30000 steps, the mean one 152, and all are filled up"
    ):
        rows(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", X[0], lengths=np.array([3]))
    with pytest.raises(FileFormatError, match="whose lengths are their own, and 'lengths'"):
        rows(tmp_path / "c.npz")


HOSTILE: dict[str, tuple[bytes, str]] = {
    "rows": (header((1 << 40, 3, 2)) + X.tobytes(), "which its [0-9,]+ bytes cannot hold"),
    "a row": (header((1, 1 << 40, 2)) + X.tobytes(), "which its [0-9,]+ bytes cannot hold"),
    "negative": (header((-1, 3, 2)) + X.tobytes(), r"it states float32 \(-1, 3, 2\)"),
    "twice negative": (header((-7, -3, 2)) + X.tobytes(), r"it states float32 \(-7, -3, 2\)"),
    "of many digits": (header((10**4000, 3)) + X.tobytes(), "is not a .npz or .npy of numbers"),
    "objects": (header((7,), "|O") + b"cos\nsystem\n(S'true'\ntR.", "Objects are stored, which are never unpickled"),
    "an object among fields": (header((7,), "|O8") + bytes(99), "Objects are stored"),
    "unknown dtype": (header((7,), "<q99") + bytes(99), "is not a .npz or .npy of numbers"),
    "a dtype of a terabyte": (header((1, 2), "|V1099511627776") + bytes(99), "is not a .npz or .npy of numbers"),
    "deep": (b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000, "is not a .npz or .npy of numbers"),
    "a header of gigabytes": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "is not a .npz or .npy of numbers"),
    "version": (header((7, 3, 2), version=b"\x09\x00") + X.tobytes(), "is not a .npz or .npy of numbers"),
    "no header": (b"\x93NUMPY", "is not a .npz or .npy of numbers"),
    "cut": (header((7, 3, 2)) + X.tobytes()[:-1], "which its [0-9,]+ bytes cannot hold"),
}


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_header_is_not_believed(tmp_path: Path, case: str, kind: str) -> None:
    data, message = HOSTILE[case]
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data) if kind == "npy" else npz(path, {"data.npy": data})
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match=message) as caught:
            rows(path)
        assert tracemalloc.get_traced_memory()[1] < FEW
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(tmp_path))


def test_a_member_that_is_no_array(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="'data' is not an array"):
        rows(npz(tmp_path / "a.npz", {"data": b"text"}))
    with pytest.raises(FileFormatError, match=r"has no array 'data'; it holds: a\?\[2J"):
        rows(npz(tmp_path / "b.npz", {"a\x1b[2J.npy": b"text"}))


def test_what_is_read_at_once_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "WHOLE", 100)
    np.savez_compressed(tmp_path / "a.npz", data=X, labels=np.zeros(101, np.int8))
    with pytest.raises(FileFormatError, match=r"labels\.npy has 101 bytes; at most 100 are read at once"):
        rows(tmp_path / "a.npz")
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((2, 101), np.int8))
    with pytest.raises(FileFormatError, match=r"data\.npy holds rows of 101 bytes"):
        rows(npz(tmp_path / "b.npz", {"data.npy": buffer.getvalue()}))


def test_values_that_end_too_early(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, data=np.random.default_rng(0).normal(size=(500, 20)))
    data = bytearray(path.read_bytes())
    data[5000:5100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=r"a\.npz: data\.npy is not a \.npz or \.npy of numbers"):
        rows(path)
