import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError, OutputExistsError
from sdkit.runtime.storage.hdf5 import CHUNK_BYTES, GrowingFile, LazyFile, compression_options


def numbers(path: Path, compression: str = "gzip") -> Path:
    with GrowingFile(path, compression=compression) as writer:
        writer.append(data=np.arange(12, dtype=np.int64).reshape(6, 2))
    return path


def read_in_a_child(file: LazyFile) -> tuple[int, bool, list[list[int]]]:
    """Return the child's id, whether a handle came with the file, and what it reads."""
    came_with = file._handle is not None
    return os.getpid(), came_with, file.handle["data"][2:4].tolist()


def test_batches_grow_a_data_set(tmp_path: Path) -> None:
    with GrowingFile(tmp_path / "x.h5") as writer:
        for start in (0, 3, 6):
            writer.append(a=np.arange(start, start + 3, dtype=np.float32)[:, None], b=np.full(3, start, np.uint8))
        writer.put("whole", np.arange(4))
        writer.attributes({"name": "x", "version": 1})
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["a"][:], np.arange(9, dtype=np.float32)[:, None])
        np.testing.assert_array_equal(file["b"][:], np.repeat([0, 3, 6], 3))
        assert (file["a"].dtype, file["b"].dtype) == (np.float32, np.uint8)
        assert file["whole"][:].tolist() == [0, 1, 2, 3]
        assert dict(file.attrs) == {"name": "x", "version": 1}


@pytest.mark.parametrize(
    ("compression", "ids"), [("gzip", [h5py.h5z.FILTER_DEFLATE]), ("lz4", [32004]), ("none", list[int]())]
)
def test_compression(tmp_path: Path, compression: str, ids: list[int]) -> None:
    path = numbers(tmp_path / "x.h5", compression)
    with LazyFile(path) as file:
        properties = file.handle["data"].id.get_create_plist()
        assert [properties.get_filter(i)[0] for i in range(properties.get_nfilters())] == ids
        assert file.handle["data"][:].tolist() == np.arange(12).reshape(6, 2).tolist()


def test_gzip_level_and_unknown_compression() -> None:
    assert compression_options("gzip")["compression_opts"] == 1
    with pytest.raises(ConfigError, match=r"unknown compression 'zip'; choose gzip, lz4 or none"):
        compression_options("zip")
    with pytest.raises(ConfigError, match="unknown compression 'zip'"):
        GrowingFile("x.h5", compression="zip")


@pytest.mark.parametrize(("width", "rows"), [(100, 1024), (1 << 18, 4), (1 << 22, 1)])
def test_chunks_hold_whole_rows(tmp_path: Path, width: int, rows: int) -> None:
    with GrowingFile(tmp_path / "x.h5") as writer:
        writer.append(data=np.zeros((1, width), np.uint8))
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"].chunks == (rows, width)
        assert rows == 1 or rows * width <= CHUNK_BYTES


def test_a_failed_file_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with GrowingFile(tmp_path / "x.h5") as writer:
            writer.append(data=np.zeros((2, 2)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_closed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close = h5py.File.close

    def full(file: h5py.File) -> None:
        close(file)
        raise OSError("no space left")

    writer = GrowingFile(tmp_path / "x.h5")
    writer.__enter__()
    writer.append(data=np.zeros((2, 2)))
    monkeypatch.setattr(h5py.File, "close", full)
    with pytest.raises(OSError, match="no space left"):
        writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_existing_output_and_missing_folder(tmp_path: Path) -> None:
    path = numbers(tmp_path / "x.h5")
    before = path.read_bytes()
    with pytest.raises(OutputExistsError), GrowingFile(path):
        pass
    assert path.read_bytes() == before
    with pytest.raises(MissingFileError, match="does not exist"), GrowingFile(tmp_path / "nowhere" / "x.h5"):
        pass
    with GrowingFile(path, force=True) as writer:
        writer.append(other=np.zeros(1))
    with LazyFile(path) as file:
        assert list(file.handle) == ["other"]


def test_handle_opens_on_first_use_once_and_again_after_close(tmp_path: Path) -> None:
    file = LazyFile(numbers(tmp_path / "x.h5"))
    assert file._handle is None
    first = file.handle
    assert file.handle is first
    file.close()
    assert not first
    assert file.handle["data"].shape == (6, 2)
    file.close()
    file.close()


def test_pickling_drops_the_handle(tmp_path: Path) -> None:
    with LazyFile(numbers(tmp_path / "x.h5")) as file:
        assert file.handle["data"].shape == (6, 2)
        other = pickle.loads(pickle.dumps(file))
        assert other._handle is None
        assert other.path == file.path
        with other:
            assert other.handle is not file.handle
            assert other.handle["data"][0].tolist() == [0, 1]


def test_an_open_file_works_in_a_spawned_process(tmp_path: Path) -> None:
    with LazyFile(numbers(tmp_path / "x.h5")) as file:
        assert file.handle["data"].shape == (6, 2)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            child, came_with, read = pool.submit(read_in_a_child, file).result(60)
        assert child != os.getpid()
        assert not came_with
        assert read == [[4, 5], [6, 7]]


FORKED = """
import os, sys
from sdkit.runtime.storage.hdf5 import LazyFile
file = LazyFile(sys.argv[1])
parents = file.handle
child = os.fork()
if child == 0:
    mine = file.handle
    right = mine is not parents and file._owner == os.getpid() and mine["data"][2:4].tolist() == [[4, 5], [6, 7]]
    file.close()
    os._exit(0 if right else 1)
_, status = os.waitpid(child, 0)
# What the child closed was its own: the parent's handle still reads.
assert file.handle is parents and parents["data"][5].tolist() == [10, 11]
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_an_open_file_works_in_a_forked_process(tmp_path: Path) -> None:
    # In a process of its own, since forking one that holds threads is a warning, and an error here.
    path = numbers(tmp_path / "x.h5", "none")
    result = subprocess.run([sys.executable, "-c", FORKED, path], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"x\.h5 does not exist; `sdkit data make`"):
        LazyFile(tmp_path / "x.h5").handle  # noqa: B018
    with pytest.raises(MissingFileError, match="does not exist"):
        LazyFile(tmp_path).handle  # noqa: B018


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not HDF5 at all", b"\x89HDF\r\n\x1a\n and then nothing"])
def test_not_hdf5(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"x\.h5 is not an HDF5 file") as caught:
        LazyFile(tmp_path / "x.h5").handle  # noqa: B018
    assert "\n" not in str(caught.value)


def test_data_sets_are_found_or_told_apart(tmp_path: Path) -> None:
    numbers(tmp_path / "other.h5")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = np.zeros(2)
        file.create_group("group")
        file["out"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "data")
    with LazyFile(tmp_path / "x.h5") as lazy:
        assert lazy.part("a", "(N,)").shape == (2,)
        with pytest.raises(FileFormatError, match=r"x\.h5 has no data set 'b' \(expected \(N,\)\); it holds: a, g"):
            lazy.part("b", "(N,)")
        with pytest.raises(FileFormatError, match=r"x\.h5: 'group' is a group; expected the data set \(N,\)"):
            lazy.part("group", "(N,)")
        with pytest.raises(FileFormatError, match=r"x\.h5: data set 'out' is a link into another file"):
            lazy.part("out", "(N,)")
