"""The folder in which an output is made: `.NAME.part` beside it, held by one process, and taken up after its death.

A lock that the system ends with its process, killed even, tells whether what lies there is of a living process. Where
there are no such locks, names are still taken exclusively in the end, so that nothing is overwritten.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sdkit.runtime.errors import BusyError, OutputExistsError, WriteError, option

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
RETRY_SECONDS = 0.01
NO_ROOM = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EROFS)
"""Errors that only writing raises."""
NO_REPLACE, EXCHANGE = 1, 2
"""Flags of Linux's renameat2."""
WORKING_FOLDER = -100
"""Its AT_FDCWD."""


class Lock:
    """An exclusive lock on a file, which ends with the process that holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # A file object, which closes itself and so gives the lock back when an interrupted caller forgets it.
        self._file: BinaryIO | None = None

    def take(self) -> bool:
        """Take the lock; return False if another process holds it.

        Raises:
            FileNotFoundError: its folder is not there.
        """
        while True:
            file = open(self.path, "ab", opener=_no_link)  # noqa: SIM115  kept open
            if not _locked(file.fileno()):
                file.close()
                return False
            if _same(file.fileno(), self.path):
                self._file = file
                return True
            file.close()  # whoever held it before has removed it meanwhile

    @property
    def mode(self) -> int:
        """Permissions that a new file gets here."""
        return 0o666 if self._file is None else os.fstat(self._file.fileno()).st_mode & 0o666

    def release(self, *, keep: bool = False) -> None:
        """Give the lock back, and remove its file unless `keep` is on; do nothing if it was not taken."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with file:
            if os.name == "nt":  # which removes no open file
                file.close()
            if not keep:
                self.path.unlink(missing_ok=True)


class Stage:
    """The working folder of an output.

    Args:
        path: path of the output.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.with_name(f".{path.name}.part")
        self._lock = Lock(self.folder / LOCK)

    def enter(self, *, wait: float = 0.0) -> bool:
        """Make the folder or take it up; return whether a process that died left something there.

        Args:
            wait: seconds to wait for another process.

        Raises:
            BusyError: another process holds it.
            OutputExistsError: something of its name that is no working folder of sdkit.
            WriteError: it cannot be made.
        """
        ends = time.monotonic() + wait
        with writing(self.path, every=True):
            while True:
                self._make()
                with contextlib.suppress(FileNotFoundError):  # whoever held it before has removed it meanwhile
                    if self._lock.take():
                        break
                    if time.monotonic() >= ends:
                        raise BusyError(
                            f"another process is writing {self.path}; wait for it, or choose another output"
                        )
                time.sleep(RETRY_SECONDS)
        return any(path.name != LOCK for path in self.folder.iterdir())

    def clear(self) -> None:
        """Remove all that lies there."""
        aside = self.folder / "aside"
        if os.path.lexists(aside) and not os.path.lexists(self.path):
            aside.rename(self.path)  # its process died between the two renames of `publish`
        for path in self.folder.iterdir():
            if path.name != LOCK:
                remove(path)

    def leave(self, *, keep: bool = False) -> None:
        """Give the folder back and remove it, or leave it to be taken up."""
        if keep:
            self._lock.release(keep=True)
            return
        with contextlib.suppress(OSError):  # what cannot be removed is in nobody's way
            self.clear()
        with contextlib.suppress(OSError):
            self._lock.release()
            self.folder.rmdir()  # unless another process has just taken it up

    def publish(self, made: Path, *, force: bool) -> None:
        """Give what was made the output's name, which must be free unless `force` is on.

        Raises:
            OutputExistsError: it is not free, or a file would replace a folder.
            WriteError: it cannot be had.
        """
        with writing(self.path, every=True):
            _readable(made, self._lock.mode)
            try:
                if force and not made.is_dir():
                    made.replace(self.path)
                else:
                    rename_new(made, self.path)
            except IsADirectoryError as error:
                raise OutputExistsError(f"{self.path} is a folder, which no file replaces") from error
            except FileExistsError as error:
                if not force:
                    raise OutputExistsError(
                        f"{self.path} was made by another process meanwhile and is not replaced; choose another output "
                        f"or pass {option('force')}"
                    ) from error
                self._replace_folder(made)

    def _replace_folder(self, made: Path) -> None:
        """Let a folder take the place of what bears the output's name, which is there until it does."""
        if not _rename_at_once(made, self.path, EXCHANGE):
            aside = self.folder / "aside"
            self.path.rename(aside)
            made.rename(self.path)

    def _make(self) -> None:
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir()
            return
        with contextlib.suppress(FileNotFoundError):
            if self.folder.is_dir() and not self.folder.is_symlink():
                inside = {path.name for path in self.folder.iterdir()}
                if not inside or LOCK in inside:
                    return
            if os.path.lexists(self.folder):
                raise OutputExistsError(
                    f"{self.folder} is in the way of {self.path} and not of sdkit's making; move it, or choose another "
                    "output"
                )


@contextmanager
def writing(path: Path, *, every: bool = False) -> Iterator[None]:
    """Turn the system's errors into one that names the output.

    Args:
        path: path of the output.
        every: whether all errors of the system belong to the output; else those that only writing raises.

    Raises:
        WriteError: no room, a limit on sizes, a file system that is read only; with `every`, any other reason.
    """
    try:
        yield
    except OSError as error:
        found = unwritable(path, error, every=every)
        if found is None:
            raise
        raise found from error


def unwritable(path: Path, error: BaseException | None, *, every: bool = False) -> WriteError | None:
    """Return the error that names the output if an error of the system says that it cannot be written, else None."""
    if not isinstance(error, OSError) or error.errno is None or not (every or error.errno in NO_ROOM):
        return None
    advice = {
        errno.EFBIG: "a limit on the size of files is reached (`ulimit -f`)",
        errno.EROFS: "choose another output",
        errno.EACCES: "choose another output, or ask for permission to write there",
        errno.ENAMETOOLONG: "choose a shorter name",
    }.get(
        error.errno, "make room there, or choose another output" if error.errno in NO_ROOM else "choose another output"
    )
    return WriteError(f"{path} cannot be written: {error.strerror or error}; {advice}")


def rename_new(source: Path, target: Path) -> None:
    """Give a file or folder a name of the same file system, in one step and only if it is free.

    Raises:
        FileExistsError: it is not.
    """
    if _rename_at_once(source, target, NO_REPLACE):
        return
    if sys.platform == "win32":
        source.rename(target)
    elif source.is_dir():
        target.mkdir()  # takes the name; only an empty folder is then replaced
        try:
            source.rename(target)
        except BaseException:
            with contextlib.suppress(OSError):
                target.rmdir()
            raise
    else:
        try:
            os.link(source, target)
        except FileExistsError:
            raise
        except OSError:  # no hard links here
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
            source.replace(target)


def remove(path: Path) -> None:
    """Remove a file or a folder; do nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _rename_at_once(source: Path, target: Path, flag: int) -> bool:
    """Rename by Linux's renameat2; return False where the system or the file system lacks it."""
    if sys.platform != "linux":
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(WORKING_FOLDER, os.fsencode(source), WORKING_FOLDER, os.fsencode(target), flag) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(target))


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _locked(file: int) -> bool:
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _readable(made: Path, mode: int) -> None:
    """Give files that a library made for its user alone the permissions that new files get."""
    files = (path for path in made.rglob("*") if path.is_file()) if made.is_dir() else (made,)
    for file in files:
        found = file.stat().st_mode & 0o777
        if mode & ~found:
            file.chmod(found | mode)
