"""Changes of HDF5 files, as tests make them."""

from collections.abc import Callable
from typing import Any

import h5py

Change = Callable[[h5py.File], Any]


def put(name: str, value: Any) -> Change:
    """Return a change that puts a data set in the place of another, or where there is none."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


def attribute(name: str, value: Any) -> Change:
    """Return a change that sets an attribute of the file."""
    return lambda file: file.attrs.__setitem__(name, value)
