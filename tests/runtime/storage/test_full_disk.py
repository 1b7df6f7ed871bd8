"""A disk that is full at any point: one error that says why, nothing left, and no HDF5 that crashes."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sdkit.runtime.errors import WriteError
from sdkit.runtime.storage import hdf5
from sdkit.runtime.storage.hdf5 import GrowingFile
from sdkit.runtime.storage.resume import Partial
from sdkit.runtime.storage.sink import REMEMBERED_BYTES, Sink
from tests.runtime.plain import call, plain_verbs, write_plain

resource = pytest.importorskip("resource", reason="this system has no limits on the size of files")


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def fill(writer: GrowingFile) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.append(data=rng.integers(0, 255, (50, 400), np.uint8), few=rng.normal(size=(50, 3)).astype(np.float32))
    writer.put("numbers", np.arange(2000))


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return the size of what `fill` writes, whole."""
    monkeypatch.setattr(hdf5, "CHUNK_BYTES", 8000)
    with GrowingFile(tmp_path / "whole.h5", compression="none") as writer:
        fill(writer)
    size = (tmp_path / "whole.h5").stat().st_size
    (tmp_path / "whole.h5").unlink()
    return size


@pytest.mark.parametrize("resumable", [False, True])
@pytest.mark.parametrize("compression", ["none", "gzip", "lz4"])
def test_a_limit_at_every_point(tmp_path: Path, whole: int, compression: str, resumable: bool) -> None:
    out = tmp_path / "out.h5"
    for size in (
        0,
        1,
        100,
        800,
        2047,
        2048,
        9000,
        whole // 3,
        whole // 2,
        whole * 9 // 10,
        whole - 20000,
        whole - 8000,
    ):
        partial = Partial(out, {"of": size}) if resumable else None
        writer = GrowingFile(out, compression=compression, partial=partial)
        with (
            limited(size),
            pytest.raises(WriteError, match=r"out\.h5 cannot be written: File too large; a limit"),
            writer,
        ):
            fill(writer)
        assert list(tmp_path.iterdir()) == []


class FullFile:
    """A file on a disk that takes so many bytes, and no more."""

    def __init__(self, path: Path, room: int) -> None:
        self._file, self._room = path.open("x+b", buffering=0), room

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def write(self, data: memoryview) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._file.write(data[: self._room]) or 0
        self._room -= written
        return written


@pytest.mark.parametrize("room", [0, 5000, 100_000])
def test_a_full_disk(tmp_path: Path, whole: int, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(Sink, "_opened", lambda self, path: FullFile(path, room))
    writer = GrowingFile(tmp_path / "out.h5")
    with pytest.raises(WriteError, match=r"out\.h5 cannot be written: No space left on device; make room"), writer:
        fill(writer)
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_when_the_disk_is_full_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CHUNK_BYTES", 4096)
    write_plain(tmp_path / "a.h5")
    call(plain_verbs(), "reconstruct", tmp_path).rename(tmp_path / "whole.h5")
    with limited(30_000), pytest.raises(WriteError, match="what is done is kept, and resume=True continues it"):
        call(plain_verbs(), "reconstruct", tmp_path, resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.h5.part", "a.h5", "whole.h5"]
    call(plain_verbs(), "reconstruct", tmp_path, resume=True)
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "out.h5", "whole.h5"]


def test_a_sink_is_a_file(tmp_path: Path) -> None:
    with Sink(tmp_path / "file") as sink:
        assert sink.write(b"abcdef") == 6
        assert (sink.seek(1), sink.read(2), sink.tell(), sink.read()) == (1, b"bc", 3, b"def")
        assert (sink.seek(-2, os.SEEK_END), sink.seek(1, os.SEEK_CUR), sink.read()) == (4, 5, b"f")
        assert sink.truncate(3) == 3
        assert sink.seek(0, os.SEEK_END) == 3
        sink.flush()
        sink.check()
    assert (tmp_path / "file").read_bytes() == b"abc"


def test_a_sink_tells_of_no_failure(tmp_path: Path) -> None:
    with limited(4), Sink(tmp_path / "file") as sink:
        assert sink.write(b"abcdef") == 6
        sink.seek(100)
        assert sink.write(bytes(REMEMBERED_BYTES + 1)) == REMEMBERED_BYTES + 1
        sink.seek(2)
        assert sink.write(b"XY") == 2
        assert (sink.seek(0), sink.read(8)) == (0, b"abXYef\0\0")
        assert sink.seek(0, os.SEEK_END) == 101 + REMEMBERED_BYTES
        with pytest.raises(OSError, match="File too large"):
            sink.check()
    assert sink.write(b"after it is closed") == 18
    assert (sink.seek(4), sink.read(2)) == (4, b"ef")
    assert (tmp_path / "file").read_bytes() == b"abcd"
