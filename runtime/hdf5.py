"""HDF5 plumbing shared by sequence and code files: a growing writer, a lazy reader, compression by name."""

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError, first_line
from sdkit.runtime.output import replacing

CHUNK_BYTES = 1 << 20
"""A chunk holds whole sequences, about this many bytes of them (at least one)."""


def compression_options(name: str) -> dict[str, Any]:
    """Return h5py keywords for `gzip` (level 1, every reader opens it), `lz4` (needs hdf5plugin to read) or `none`.

    Raises:
        ConfigError: another name.
    """
    if name == "gzip":
        return {"compression": "gzip", "compression_opts": 1}
    if name == "lz4":
        import hdf5plugin

        return dict(hdf5plugin.LZ4())
    if name == "none":
        return {}
    raise ConfigError(f"unknown compression '{name}'; choose gzip, lz4 or none")


class LazyFile:
    """A read-only HDF5 file that every process opens for itself, on first use; pickling drops the handle."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handle: h5py.File | None = None
        self._owner = 0

    @property
    def handle(self) -> h5py.File:
        """The open file of this process.

        Raises:
            MissingFileError: no such file.
            FileFormatError: not an HDF5 file.
        """
        # A handle inherited through fork shares its file offset and locks with the parent, so it is never used.
        if self._handle is None or self._owner != os.getpid():
            self._handle, self._owner = _open(self.path), os.getpid()
        return self._handle

    def dataset(self, name: str, expected: str) -> h5py.Dataset:
        """Return a data set of the file.

        Raises:
            FileFormatError: it is absent, a group, or a link that leaves the file.
        """
        link = self.handle.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise FileFormatError(f"{self.path}: data set '{name}' is a link into another file, which is not followed")
        if link is None:
            names = ", ".join(sorted(self.handle)) or "none"
            raise FileFormatError(f"{self.path} has no data set '{name}' (expected {expected}); it holds: {names}")
        found = self.handle[name]
        if not isinstance(found, h5py.Dataset):
            raise FileFormatError(f"{self.path}: '{name}' is a group; expected the data set {expected}")
        return found

    def whole_numbers(self, name: str, axes: int) -> NDArray[np.int64] | None:
        """Return a data set of whole numbers, or None when the file has none of this name.

        Raises:
            FileFormatError: other axes, or numbers that are not whole.
        """
        if name not in self.handle:
            return None
        data = self.dataset(name, f"of whole numbers, of {axes} axes")
        if data.ndim != axes:
            raise FileFormatError(f"{self.path}: data set '{name}' has shape {data.shape}; expected {axes} axes")
        values = np.asarray(data[:])
        if values.dtype.kind not in "iuf" or (values.dtype.kind == "f" and (values != np.rint(values)).any()):
            raise FileFormatError(f"{self.path}: data set '{name}' holds {values.dtype}; expected whole numbers")
        return values.astype(np.int64)

    def close(self) -> None:
        """Close the handle of this process; the next use opens it again."""
        if self._handle is not None and self._owner == os.getpid():
            self._handle.close()
        self._handle = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(path: Path) -> h5py.File:
    import hdf5plugin  # noqa: F401  registers the LZ4 filter with HDF5

    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; `sdkit data make` makes a data set")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FileFormatError(f"{path} is not an HDF5 file ({first_line(error)})") from error


class GrowingFile:
    """An HDF5 file written batch by batch under a temporary name; it appears under its own name when complete.

    Use as a context manager. `append` grows data sets along their first axis, `put` writes one whole.

    Raises:
        OutputExistsError, MissingFileError: on entry, as `check_output`.
    """

    def __init__(self, path: str | Path, *, compression: str = "gzip", force: bool = False) -> None:
        self._options = compression_options(compression)
        self._attributes: dict[str, Any] = {}
        self._replacing = replacing(path, force=force)

    def __enter__(self) -> Self:
        # A stack, so that nothing is left either when opening or when closing fails.
        with ExitStack() as stack:
            self._file = stack.enter_context(h5py.File(stack.enter_context(self._replacing), "w"))
            self.attributes(self._attributes)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def append(self, **arrays: Array) -> None:
        """Append (B, ...) arrays to the data sets of these names, which are created on first use."""
        for name, array in arrays.items():
            if name not in self._file:
                self._create(name, array)
            data = self._file[name]
            start = data.shape[0]
            data.resize(start + len(array), axis=0)
            data[start:] = array

    def _create(self, name: str, array: Array) -> None:
        bytes_each = max(1, int(np.prod(array.shape[1:])) * array.dtype.itemsize)
        rows = max(1, min(1024, CHUNK_BYTES // bytes_each))
        self._file.create_dataset(
            name,
            shape=(0, *array.shape[1:]),
            maxshape=(None, *array.shape[1:]),
            chunks=(rows, *array.shape[1:]),
            dtype=array.dtype,
            **self._options,
        )

    def put(self, name: str, array: Array) -> None:
        """Write one small array as a data set."""
        self._file.create_dataset(name, data=array)

    def attributes(self, values: dict[str, Any]) -> None:
        """Set attributes of the file."""
        self._file.attrs.update(values)
