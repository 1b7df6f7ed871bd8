"""Outputs that are whole or absent: made in a folder beside the target, and named when complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sdkit.runtime.errors import MissingFileError, OutputExistsError, option
from sdkit.runtime.storage.stage import Stage, remove, writing

__all__ = ["check_output", "remove", "replacing"]

WAIT_SECONDS = 5.0
"""How long a replacement waits for another of the same output: small files are written again and again."""


def check_output(path: str | Path, *, force: bool = False, folder: bool = True) -> Path:
    """Return `path` if it may be written.

    Args:
        path: path of the output.
        force: whether the output may exist.
        folder: whether the output may be a folder; if False, a file never replaces a folder, whatever `force` is.

    Raises:
        OutputExistsError: it exists and `force` is off, or it is a folder and must not be, or a device.
        MissingFileError: its parent folder does not exist.
    """
    path = Path(path)
    if path.is_dir() and not folder:
        raise OutputExistsError(f"{path} is a folder, which no file replaces; choose another output")
    if os.path.lexists(path):
        if not force:
            raise OutputExistsError(
                f"{path} exists already; choose another output or pass {option('force')} to replace it"
            )
        if not (path.is_file() or path.is_dir() or path.is_symlink()):
            raise OutputExistsError(
                f"{path} is neither a file nor a folder, and is not replaced; choose another output"
            )
    if not path.absolute().parent.is_dir():
        raise MissingFileError(f"{path}: the folder {path.absolute().parent} does not exist; create it first")
    return path


@contextmanager
def replacing(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path; give it the name `path` on success, remove it on any failure, Ctrl-C included.

    The temporary path does not exist yet: the caller creates a file or a folder there. Without `force` the name is
    taken only if it is still free in the end.

    Raises:
        OutputExistsError, MissingFileError: as `check_output`; the former also if the output appeared meanwhile.
        BusyError: another process is writing the same output.
        WriteError: no room, no permission, a limit on the size of files.
    """
    path = check_output(path, force=force)
    stage = Stage(path)
    stage.enter(wait=WAIT_SECONDS if force else 0.0)
    try:
        stage.clear()
        made = stage.folder / "output"
        with writing(path):
            yield made
        stage.publish(made, force=force)
    finally:
        stage.leave()
