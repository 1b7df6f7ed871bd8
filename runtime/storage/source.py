"""The bytes of an HDF5 file as HDF5 reads them, with a look at those that it would loop on for ever."""

import os
import struct
from pathlib import Path

_HEAP = b"GCOL\x01\x00\x00\x00"
"""First bytes of a heap of texts."""
_HEAP_HEAD = 16
_OBJECT = struct.Struct("<HHIQ")
"""Head of an object in a heap: its number, 0 for free space; uses; nothing; its size."""


class Source:
    """A file that h5py reads through its driver for file-like objects; offsets and sizes must take 8 bytes each.

    Raises:
        OSError: the file cannot be opened; when it is read, it ends too early, or a heap of texts is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        self._place = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the place that is read next, and return it."""
        size = os.fstat(self._descriptor).st_size if whence == os.SEEK_END else 0
        self._place = offset + size if whence != os.SEEK_CUR else self._place + offset
        return self._place

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._place

    def read(self, size: int) -> bytes:
        """Return so many bytes from the place on; by this name h5py knows files."""
        buffer = bytearray(size)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer from the place on."""
        buffer = memoryview(buffer).cast("B")  # h5py's is a view of its own, of characters
        os.lseek(self._descriptor, self._place, os.SEEK_SET)
        done = 0
        while done < len(buffer):
            count = os.readv(self._descriptor, [buffer[done:]])
            if count == 0:
                raise OSError("the file ends too early")
            done += count
        self._place += done
        if buffer[: len(_HEAP)] == _HEAP:
            check_heap(buffer)
        return done

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def check_heap(heap: memoryview | bytes) -> None:
    """Check that a heap of texts, if all of it is there, consists of objects one after the other.

    HDF5 walks along them and never ends where free space has the size 0.

    Raises:
        OSError: it does not.
    """
    size = int.from_bytes(heap[8:_HEAP_HEAD], "little")
    place = _HEAP_HEAD
    while len(heap) >= size and place + _OBJECT.size <= size:
        number, _, _, length = _OBJECT.unpack_from(heap, place)
        taken = length if number == 0 else _OBJECT.size + length + -length % 8
        if taken < _OBJECT.size or place + taken > size:
            raise OSError("a heap of texts is damaged")
        place += taken
