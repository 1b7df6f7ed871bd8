"""Swapped sequences in HDF5: two data sets (N, T, *element), one for each mixture, and lengths where they differ."""

from pathlib import Path

import numpy as np

from sdkit.runtime.element import Array, check_steps
from sdkit.runtime.errors import FileFormatError
from sdkit.runtime.storage.chunks import read_rows
from sdkit.runtime.storage.elements import read_element
from sdkit.runtime.storage.hdf5 import LazyFile

FORMAT = "sdkit-swap"
SWAPPED = ("static_a_dynamic_b", "static_b_dynamic_a")
"""Names of the two data sets of a swap file."""
SWAPPED_LENGTHS = tuple(f"{name}_lengths" for name in SWAPPED)
"""Names of the numbers of their valid elements, where the sequences that gave the dynamic codes have lengths."""


class SwapFile(LazyFile):
    """Reader and validator of a swap file; its values are checked as they are read.

    Raises:
        MissingFileError: no such file.
        FileFormatError: not HDF5, without mixtures, or parts that contradict each other.
        DataError: no pair, or T < 2.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        parts = [self.part(name, "(N, T, *element)") for name in SWAPPED]
        self.count = len(parts[0])
        self.element = read_element(self, parts[0])
        self._lengths = tuple(self.whole_numbers(name, 1) for name in SWAPPED_LENGTHS)
        for part, lengths in zip(parts, self._lengths, strict=True):
            if (len(part), part.shape[2:], part.dtype) != (self.count, self.element.shape, parts[0].dtype):
                raise FileFormatError(
                    f"{part.where} has shape {part.shape} and dtype {part.dtype}; expected {self.count} pairs of "
                    f"{self.element.describe()}, as in '{SWAPPED[0]}'"
                )
            check_steps(len(part), part.shape[1], part.where)
            if lengths is not None and (
                len(lengths) != self.count or lengths.min() < 1 or lengths.max() > part.shape[1]
            ):
                raise FileFormatError(f"{part.where}: its lengths must be {self.count} numbers in 1..{part.shape[1]}")

    def read(self, rows: slice) -> tuple[list[Array], list[Array]]:
        """Return both mixtures of some pairs, each (T, *element) of its own length.

        Raises:
            FileFormatError: they cannot be read.
            DataError: values that the element does not allow.
        """
        index = np.arange(*rows.indices(self.count))
        mixtures = []
        for name, lengths in zip(SWAPPED, self._lengths, strict=True):
            part = self.part(name, "(N, T, *element)")
            x = read_rows(part, index)
            if len(index):
                self.element.check(x, part.where)
            steps = [x.shape[1]] * len(index) if lengths is None else lengths[index]
            mixtures.append([row[:length] for row, length in zip(x, steps, strict=True)])
        return mixtures[0], mixtures[1]
