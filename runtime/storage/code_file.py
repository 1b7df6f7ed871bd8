"""Codes in HDF5: `static` (N, S) and `dynamic` (N, T, D), with labels and lengths of the sequences they come from."""

import json
from pathlib import Path

import numpy as np

from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.codes import Codes
from sdkit.runtime.errors import FileFormatError
from sdkit.runtime.storage.hdf5 import LazyFile
from sdkit.runtime.storage.sequences import Indices

FORMAT = "sdkit-codes"
VERSION = 1


class CodeFile(LazyFile):
    """Reader of a code file.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not HDF5, or without codes.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        static, dynamic = self.dataset("static", "(N, S)"), self.dataset("dynamic", "(N, T, D)")
        if static.ndim != 2 or dynamic.ndim != 3 or len(static) != len(dynamic) or len(static) == 0:
            raise FileFormatError(
                f"{self.path}: static has shape {static.shape} and dynamic {dynamic.shape}; "
                "expected (N, S) and (N, T, D), N > 0"
            )
        if static.dtype != np.float32 or dynamic.dtype != np.float32:
            raise FileFormatError(
                f"{self.path}: static is {static.dtype} and dynamic {dynamic.dtype}; expected float32"
            )
        self.count, self.steps = len(static), int(dynamic.shape[1])
        self.widths = Widths(int(static.shape[1]), int(dynamic.shape[2]))
        self.model = str(self.handle.attrs.get("model", ""))
        """SHA-256 of the weights that the codes belong to."""

    def read(self, part: slice) -> Codes:
        """Return the codes of a slice."""
        return Codes(np.asarray(self.handle["static"][part]), np.asarray(self.handle["dynamic"][part]))

    def lengths(self) -> Indices | None:
        """Return the numbers of valid steps (N,), or None."""
        return self.whole_numbers("lengths", 1)


def code_attributes(model: str, source: str, classes: str | None) -> dict[str, str | int]:
    """Return the attributes of a code file."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": model,
        "source": source,
        "classes": classes or json.dumps({}),
    }
