"""Outputs that are whole or absent: written under a temporary name beside the target, then renamed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdkit.runtime.errors import MissingFileError, OutputExistsError


def check_output(path: str | Path, *, force: bool = False, folder: bool = True) -> Path:
    """Return `path` if it may be written.

    Args:
        path: path of the output.
        force: whether the output may exist.
        folder: whether the output may be a folder; if False, a file never replaces a folder, whatever `force` is.

    Raises:
        OutputExistsError: it exists and `force` is off, or it is a folder and must not be.
        MissingFileError: its parent folder does not exist.
    """
    path = Path(path)
    if path.is_dir() and not folder:
        raise OutputExistsError(f"{path} is a folder, which no file replaces; choose another output")
    if path.exists() and not force:
        raise OutputExistsError(
            f"{path} exists already; choose another output or pass --force (force=True) to replace it"
        )
    if not path.absolute().parent.is_dir():
        raise MissingFileError(f"{path}: the folder {path.absolute().parent} does not exist; create it first")
    return path


@contextmanager
def replacing(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it on success, remove it on any failure, Ctrl-C included.

    The temporary path does not exist yet: the caller creates a file or a folder there.

    Raises:
        OutputExistsError, MissingFileError: as `check_output`.
    """
    path = check_output(path, force=force)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            remove(path)  # a rename cannot replace a folder that is not empty
        temporary.replace(path)
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Remove a file or a folder; do nothing if it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
