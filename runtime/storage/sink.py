"""The file below HDF5, which keeps the system's errors from it.

Told of a write that failed, HDF5 fails again when its file is closed, without a reason, and at times crashes. So it is
told of none: the first error is kept for the writer, and what follows it goes nowhere.
"""

import errno
import os
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

REMEMBERED_BYTES = 1 << 16
"""Largest write that can be read back after a failure: what HDF5 writes of its own structure is smaller."""


class Sink:
    """A new file as HDF5 wants it; a context manager that closes it.

    Args:
        path: path of the file, which must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = self._opened(path)
        self._place = self._end = 0
        self._error: OSError | None = None
        self._lost: list[tuple[int, bytes]] = []

    def _opened(self, path: Path) -> FileIO:
        return path.open("x+b", buffering=0)

    def check(self) -> None:
        """Raise the error that HDF5 was not told of, if there is one."""
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        """Write all bytes at the present place."""
        view = memoryview(data).cast("B")
        start = self._place
        try:
            if self._error is None:
                self._file.seek(start)
                rest = view
                while rest:  # the system may take a part
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = error
        if self._error is not None and len(view) <= REMEMBERED_BYTES:
            self._lost.append((start, bytes(view)))
        self._place = start + len(view)
        self._end = max(self._end, self._place)
        return len(view)

    def read(self, size: int = -1) -> bytes:
        """Return bytes from the present place on."""
        data = bytearray(max(0, self._end - self._place) if size < 0 else size)
        return bytes(data[: self.readinto(data)])

    def readinto(self, data: Any) -> int:
        """Read bytes from the present place on, as many as there are and fit."""
        view = memoryview(data).cast("B")
        start, count = self._place, min(len(view), max(0, self._end - self._place))
        found = 0
        if not self._file.closed:
            self._file.seek(start)
            found = self._file.readinto(view[:count]) or 0
        view[found:count] = bytes(count - found)
        for place, lost in self._lost:
            first, last = max(start, place), min(start + count, place + len(lost))
            if first < last:
                view[first - start : last - start] = lost[first - place : last - place]
        self._place = start + count
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place, and return it."""
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        return self._place

    def tell(self) -> int:
        """Return the present place."""
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Cut the file, or make it longer."""
        self._end = self._place if size is None else size
        try:
            if self._error is None:
                self._file.truncate(self._end)
        except OSError as error:
            self._error = error
        return self._end

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A handle of HDF5 that is given up may outlive the file; it must not fail either.
        self._error = self._error or OSError(errno.EBADF, "the file is closed")
        self._file.close()
