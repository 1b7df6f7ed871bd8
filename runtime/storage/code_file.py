"""Codes in HDF5: `static` (N, S) and `dynamic` (N, T, D), with labels and lengths of the sequences they come from."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import DataError, FileFormatError
from sdkit.runtime.storage.chunks import Indices, batches, read_rows
from sdkit.runtime.storage.rows import RowsFile

FORMAT = "sdkit-codes"
VERSION = 1
STATIC, DYNAMIC = ("static", "(N, S)"), ("dynamic", "(N, T, D)")
"""The data sets of codes, and their axes for messages."""


class CodeFile(RowsFile):
    """Reader and validator of a code file; its values are checked as they are read.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not HDF5, without codes, or parts that contradict each other.
        DataError: sequences instead of codes.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        if "data" in self.names and "static" not in self.names:
            raise DataError(f"{path} holds sequences, not codes; first `sdkit encode {path} -o codes.h5`")
        self._check_version(FORMAT, VERSION)
        static, dynamic = self.part(*STATIC), self.part(*DYNAMIC)
        if len(static.shape) != 2 or len(dynamic.shape) != 3 or len(static) != len(dynamic) or len(static) == 0:
            raise FileFormatError(
                f"{self.path}: static has shape {static.shape} and dynamic {dynamic.shape}; "
                "expected (N, S) and (N, T, D), N > 0"
            )
        if dynamic.shape[1] < 2:
            raise FileFormatError(f"{self.path}: dynamic has shape {dynamic.shape}; expected T >= 2 steps")
        if static.dtype != np.float32 or dynamic.dtype != np.float32:
            raise FileFormatError(
                f"{self.path}: static is {static.dtype} and dynamic {dynamic.dtype}; expected float32"
            )
        self.count, self.steps = len(static), dynamic.shape[1]
        self.widths = Widths(static.shape[1], dynamic.shape[2])
        self.model = self.text("model")
        """SHA-256 of the weights that the codes belong to."""
        self._check_rows(self._factors())

    def read(self, part: slice) -> Codes:
        """Return the codes of a slice.

        Raises:
            FileFormatError: they cannot be read.
            DataError: NaN or infinite codes.
        """
        rows = np.arange(*part.indices(self.count))
        static, dynamic = (
            self._finite(name, read_rows(self.part(name, axes), rows)) for name, axes in (STATIC, DYNAMIC)
        )
        return Codes(static, dynamic)

    def batches(self, index: Indices, size: int, *, alive: int) -> Iterator[tuple[Array, Array]]:
        """Yield the static and dynamic codes of an index, as `runtime.storage.chunks.batches`.

        Raises:
            FileFormatError: codes that cannot be read.
            DataError: NaN or infinite codes.
        """
        readers = (batches(self.part(name, axes), index, size, alive=alive) for name, axes in (STATIC, DYNAMIC))
        for static, dynamic in zip(*readers, strict=True):
            yield self._finite("static", static), self._finite("dynamic", dynamic)

    def _finite(self, name: str, values: Array) -> Array:
        if not np.isfinite(values).all():
            raise DataError(f"{self.path}: data set '{name}' holds NaN or infinite codes; encode the sequences again")
        return values


def code_attributes(model: str, source: str, classes: str) -> dict[str, str | int]:
    """Return the attributes of a code file; `classes` is that of the sequences, empty where they have none."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": model,
        "source": source,
        "classes": classes or json.dumps({}),
    }
