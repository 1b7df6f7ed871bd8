"""The door of the makers: sizes that lie, members that are no files, and whatever else a library stumbles over."""

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdkit.data import reading
from sdkit.data.reading import library, listed, open_zip, read_file, shown, tar_files
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError

LITTLE = 40 << 20
"""Bytes that reading a small hostile file may take."""


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()


def zipped(path: Path, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.csv", data)
    return path


def stating(path: Path, size: int) -> Path:
    """Let the zip's directory state another size of its first member."""
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    return path


def tarred(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return path


def member(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size, found.type, found.linkname = size, kind, "/etc/hostname"
    return found


def files(path: Path, most: int = 100) -> list[tuple[str, bytes]]:
    return [(name, data) for name, _, data in tar_files(path, lambda name: name.endswith(".txt"), most)]


def test_errors_of_a_library_become_one_line_and_others_stay() -> None:
    for error in (ValueError("first\nsecond"), RecursionError("deep"), OSError("no errno"), KeyError("x")):
        with pytest.raises(FileFormatError, match=r"a\.x is not a table: ") as caught, library("a.x", "a table"):
            raise error
        assert "\n" not in str(caught.value)
    for own in (ConfigError("ours"), PermissionError(13, "refused"), KeyboardInterrupt()):
        with pytest.raises(type(own)), library("a.x", "a table"):
            raise own


def test_text_of_a_file_is_shown_on_one_line() -> None:
    assert shown("a\x1b[31m\nb\0") == "a?[31m?b?"
    assert shown("x" * 500) == "x" * 80 + "..."
    assert listed(["a", "b\n"]) == "a, b?"
    assert listed([]) == "none"
    assert listed(map(str, range(99))).endswith("23, ... (99 in all)")


def test_a_file_is_read_within_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"12345")
    assert read_file(file, 5) == b"12345"
    with pytest.raises(FileFormatError, match=r"a\.csv has 5 bytes; at most 4 are read"):
        read_file(file, 4)
    with pytest.raises(MissingFileError, match="does not exist"):
        read_file(tmp_path / "none", 4)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MissingFileError, match="pipe is no plain file"):  # and does not wait for a writer
        read_file(tmp_path / "pipe", 4)


def test_a_zip_is_read_member_by_member(tmp_path: Path) -> None:
    with open_zip(zipped(tmp_path / "a.zip", b"x" * 1000)) as archive:
        assert archive.names == ["a.csv"]
        assert archive.read("a.csv", 1000) == b"x" * 1000
        with pytest.raises(FileFormatError, match=r"a\.zip: a\.csv has 1,000 bytes; at most 999 are read"):
            archive.read("a.csv", 999)


@pytest.mark.parametrize("size", [0xFFFFFFFE, 500_000_000])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_size_that_the_bytes_of_a_zip_cannot_hold(tmp_path: Path, method: int, size: int) -> None:
    path = stating(zipped(tmp_path / "a.zip", b"x" * 1000, method), size)
    refused = pytest.raises(FileFormatError, match=rf"a\.csv states {size:,} bytes; [\d,]+ stored bytes cannot hold")
    with little_memory(), open_zip(path) as archive, refused:
        archive.read("a.csv", 1 << 40)


def test_a_size_that_is_a_little_too_large(tmp_path: Path) -> None:
    path = stating(zipped(tmp_path / "a.zip", b"x" * 1000), 1001)
    with open_zip(path) as archive, pytest.raises(FileFormatError, match="is not a file that can be read to its end"):
        archive.read("a.csv", 2000)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_whose_size_nothing_bounds(tmp_path: Path, method: int) -> None:
    refused = pytest.raises(FileFormatError, match=rf"packed by method {method}; expected deflate")
    with open_zip(zipped(tmp_path / "a.zip", bytes(1 << 20), method)) as archive, refused:
        archive.read("a.csv", 1 << 30)


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.csv", b"2")
    with pytest.raises(FileFormatError, match=r"a\.zip holds 'a\.csv' twice"), open_zip(tmp_path / "a.zip"):
        pass


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_is_read_whatever_packs_it(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tarred(tmp_path / "a.tar", (member("s/1.txt", 3), b"one"), (member("s/skip", 4), b"skip"))
    path.write_bytes(pack(path.read_bytes()))
    assert files(path) == [("1.txt", b"one")]
    whole = path.read_bytes()
    path.write_bytes(whole[: 600 if pack is bytes else len(whole) // 2])
    with pytest.raises(FileFormatError, match=r"a\.tar is not a tar archive that can be read to its end"):
        files(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_members_that_are_no_files(tmp_path: Path, kind: bytes) -> None:
    path = tarred(tmp_path / "a.tar", (member("s/1.txt", 0, kind), b""))
    with pytest.raises(FileFormatError, match=r"a\.tar: s/1\.txt is a link or a special file"):
        files(path)


def test_a_size_that_a_tar_states_is_not_believed(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", (member("s/1.txt", 3), b"one"))
    data = bytearray(path.read_bytes())
    header = member("s/1.txt", 1 << 40).tobuf(tarfile.GNU_FORMAT)
    data[:512] = header
    path.write_bytes(data)
    with little_memory(), pytest.raises(FileFormatError, match=r"s/1\.txt has 1,099,511,627,776 bytes; at most 100"):
        files(path)


def test_a_tar_that_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PACKED", 1 << 20)
    path = tarred(tmp_path / "a.tar", (member("s/large", 8 << 20), bytes(8 << 20)))
    path.write_bytes(lzma.compress(path.read_bytes()))
    assert path.stat().st_size < 10_000
    with pytest.raises(FileFormatError, match=r"a\.tar, unpacked, has [\d,]+ bytes; at most 1,048,576 are read"):
        files(path)


def test_a_dictionary_of_an_xz_is_bounded(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", (member("s/1.txt", 3), b"one"))
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 20}]
    data = bytearray(lzma.compress(path.read_bytes(), filters=filters))
    place = data.index(b"\x21\x01", 12) + 2  # the dictionary's size in the block's header
    data[place] = 40  # 4 GiB
    end = 12 + 4 * data[12]
    data[end : end + 4] = struct.pack("<I", zlib.crc32(data[12:end]))
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match="Memory usage limit exceeded"):
        files(path)
