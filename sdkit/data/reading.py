"""The door through which makers read: files, zips and tars, each within a limit, and the errors of their libraries.

What a file says of its size is compared with what is stored, and with a limit, before anything is allocated. Archives
are read in memory: nothing is unpacked, so no name in an archive can reach the disk.
"""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from sdkit.runtime.errors import FileFormatError, MissingFileError, SdkitError, first_line

TABLE = 16 << 20
"""Most bytes of a table; the largest of the published ones has 3 million."""
PICTURE = 16 << 20
"""Most bytes of a picture."""
PIXELS = 1 << 24
"""Most pixels of a picture."""
PACKED = 256 << 20
"""Most bytes of a zip inside of another, and of a tar when it is unpacked."""
DEFLATE = 1040
"""Bytes that deflate can make of one: 258 of a code of two bits, and a little for the blocks' heads."""
XZ_MEMORY = 128 << 20
"""Most bytes of the dictionary of an xz; its highest level takes 65 MiB."""
BLOCK = 1 << 16
ZIP = "a zip that can be read to its end"
SHOWN, LISTED = 80, 24


@contextmanager
def library(what: str, expected: str) -> Iterator[None]:
    """Turn whatever a library raises on bytes that it cannot read into one line.

    Which errors a parser has for bad bytes is documented nowhere, so all are turned. The block shall therefore hold
    calls of the library and nothing else. Errors of the system, such as a refused permission, stay what they are.

    Args:
        what: name of what is read, for the message.
        expected: what it should be, to complete the message `... is not`.

    Raises:
        FileFormatError: the library raised an error.
    """
    try:
        yield
    except SdkitError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in (None, EINVAL):
            raise
        reason = getattr(error, "error_string", "") or first_line(error)
        raise FileFormatError(f"{what} is not {expected}: {shown(str(reason), 3 * SHOWN)}") from error


def shown(text: str, most: int = SHOWN) -> str:
    """Return text of a file for a message: on one line, without control characters, cut to a length."""
    start = "".join(letter if letter.isprintable() else "?" for letter in text[:most])
    return start if len(text) <= most else f"{start}..."


def listed(texts: Iterable[str]) -> str:
    """Return texts of a file for a message, separated by commas; of many the first ones."""
    every = list(texts)
    rest = f", ... ({len(every)} in all)" if len(every) > LISTED else ""
    return (", ".join(map(shown, every[:LISTED])) + rest) or "none"


def read_file(path: Path, most: int) -> bytes:
    """Return the bytes of a plain file.

    Raises:
        MissingFileError: no such file, or a folder, pipe or device.
        FileFormatError: more than `most` bytes.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} {'is no plain file' if path.exists() else 'does not exist'}")
    _within(path.stat().st_size, most, str(path))
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    _within(len(data), most, str(path))
    return data


class Zip:
    """A zip whose members are read one by one, each within a limit.

    Args:
        stream: the zip.
        place: its name in messages.
        size: its number of bytes.
        expected: description of it, for messages.

    Raises:
        FileFormatError: not a zip, or two members of one name.
    """

    def __init__(self, stream: BinaryIO, place: str, size: int, expected: str = ZIP) -> None:
        self.place, self._size = place, size
        with library(place, expected):
            self._archive = zipfile.ZipFile(stream)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in self._archive.infolist():
            if member.filename in self._members:
                raise FileFormatError(f"{place} holds '{shown(member.filename)}' twice")
            self._members[member.filename] = member

    @property
    def names(self) -> list[str]:
        """Names of the members, in the order of the archive."""
        return list(self._members)

    def where(self, name: str) -> str:
        """Return the name of a member in messages."""
        return f"{self.place}: {shown(name)}"

    def size(self, name: str) -> int:
        """Return the number of bytes of a member, as far as the stored ones can hold them.

        Raises:
            FileFormatError: packed otherwise than by deflate, or larger than its bytes in the archive can be.
        """
        member = self._members[name]
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileFormatError(f"{self.where(name)} is packed by method {member.compress_type}; expected deflate")
        packed = member.compress_type == zipfile.ZIP_DEFLATED
        stored = min(member.compress_size, self._size) * (DEFLATE if packed else 1)
        if member.file_size > stored:
            raise FileFormatError(
                f"{self.where(name)} states {member.file_size:,} bytes; {member.compress_size:,} stored bytes cannot "
                "hold them"
            )
        return member.file_size

    def read(self, name: str, most: int) -> bytes:
        """Return the bytes of a member.

        Raises:
            FileFormatError: damaged, encrypted, or more than `most` bytes.
        """
        size = self.size(name)
        _within(size, most, self.where(name))
        with library(self.where(name), "a file that can be read to its end"), self.open(name) as stream:
            data = stream.read(size)
            if len(data) < size:
                raise EOFError(f"{len(data)} of {size} bytes")
        return data

    def open(self, name: str) -> IO[bytes]:
        """Return a stream of a member's bytes, to be read inside of `library`."""
        return self._archive.open(self._members[name])


@contextmanager
def open_zip(path: Path, expected: str = ZIP) -> Iterator[Zip]:
    """Open a zip.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not a zip.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist")
    with path.open("rb") as stream:
        yield Zip(stream, str(path), path.stat().st_size, expected)


def tar_files(path: Path, wanted: Callable[[str], bool], most: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield name, name in messages and bytes of the wanted files of a tar, plain or packed by gzip, bzip2 or xz.

    Args:
        path: the archive.
        wanted: whether a file of this name, without its folders, is wanted.
        most: most bytes of a file.

    Raises:
        FileFormatError: not a tar that can be read to its end, a wanted member that is no plain file or too large.
    """
    expected = "a tar archive that can be read to its end"
    with path.open("rb") as stream:
        with library(str(path), expected):
            unpacked: Any = _Unpacked(stream, str(path))
            archive = tarfile.open(fileobj=unpacked, mode="r|")  # noqa: SIM115  read as a stream
        while True:
            with library(str(path), expected):
                member = archive.next()
            if member is None:
                return
            archive.members.clear()  # type: ignore[attr-defined]  # kept for a second reading, which there is not
            name = PurePosixPath(member.name).name
            if not wanted(name):
                continue
            place = f"{path}: {shown(member.name)}"
            if not member.isreg() or member.issparse():
                raise FileFormatError(f"{place} is a link or a special file; expected a plain file")
            _within(member.size, most, place)
            with library(str(path), expected):
                data = _content(archive, member)
            yield name, place, data


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    data = b"" if stream is None else stream.read()
    if len(data) < member.size:
        raise EOFError(f"'{shown(member.name)}' has {len(data)} of {member.size} bytes")
    return data


def _within(size: int, most: int, place: str) -> None:
    if size > most:
        raise FileFormatError(f"{place} has {size:,} bytes; at most {most:,} are read: it is not what is expected here")


class _Unpacked:
    """The bytes of a stream that may be packed, read forwards and up to a limit."""

    def __init__(self, stream: BinaryIO, place: str) -> None:
        start = stream.read(6)
        stream.seek(0)
        self._place, self._count = place, 0
        self._stream: IO[bytes] | gzip.GzipFile | bz2.BZ2File | _Xz = stream
        if start.startswith(b"\x1f\x8b"):
            self._stream = gzip.GzipFile(fileobj=stream)
        elif start.startswith(b"BZh"):
            self._stream = bz2.BZ2File(stream)
        elif start == b"\xfd7zXZ\x00":
            self._stream = _Xz(stream)

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = self._stream.read(size)
        self._count += len(data)
        _within(self._count, PACKED, f"{self._place}, unpacked,")
        return data


class _Xz:
    """The bytes of an xz, whose dictionary may not be larger than `XZ_MEMORY`; lzma.open has no limit."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._rest = stream, b""
        self._packer = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end."""
        while True:
            if self._packer.eof:  # another xz may follow, after zeros that fill up a block
                rest = (self._packer.unused_data + self._stream.read(BLOCK)).lstrip(b"\0")
                if not rest:
                    return b""
                self._packer, self._rest = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), rest
            elif self._packer.needs_input:
                self._rest = self._rest or self._stream.read(BLOCK)
                if not self._rest:
                    raise EOFError("the compressed data end too early")
            data = self._packer.decompress(self._rest, size)
            self._rest = b""
            if data:
                return data
