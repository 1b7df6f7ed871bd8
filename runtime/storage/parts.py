"""The door to HDF5: every name, data set and attribute of a file is reached through here, checked before it is read.

A file may come from anyone, and HDF5 lets a data set lie anywhere: behind soft and external links, in external storage,
in data sets of other files. It also lets a file declare sizes that it does not store, and crashes on chunks that
inflate to less than they should. So a data set is taken only if it is a hard link to numbers in this very file, in one
piece or in chunks under known filters, all of them there; and what is declared is compared with what is stored before
memory is taken for it. Chunks under filters are decoded in `runtime.storage.chunks`, never by HDF5.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from sdkit.runtime.errors import FileFormatError, SdkitError, first_line
from sdkit.runtime.storage.deflate import ERRORS

LZ4 = 32004
"""HDF5's number of the filter lz4, which hdf5plugin registers."""
FILTERS = {
    h5py.h5z.FILTER_DEFLATE: "gzip",
    h5py.h5z.FILTER_SHUFFLE: "shuffle",
    h5py.h5z.FILTER_FLETCHER32: "fletcher32",
    LZ4: "lz4",
}
"""Names of the filters that are read, by HDF5's numbers."""
MOST_RATIO = 1032
"""Largest ratio of what gzip's format inflates to and what it stores; that of lz4 is smaller."""
PIECE_BYTES = 256 << 20
"""Largest size of a chunk, and of a row, in memory: several of each are held at a time."""
TABLE_BYTES = 512 << 20
"""Largest size in memory of a data set that is read whole, such as labels, and of the row numbers of a file."""
LABEL_LENGTH = 256
"""Largest number of characters of a name or unit."""
SHOWN, LISTED = 60, 12
"""Largest number of characters of a name or value, and of names, in a message."""
TEXT_BYTES = 16 << 20
"""Largest size of an attribute."""
UNREADABLE: tuple[type[Exception], ...] = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    SystemError,
    *ERRORS,
)
"""Errors of h5py, HDF5 and the libraries of its filters on files that are damaged or made up."""

Value = str | int | float
"""Value of an attribute."""


def shown(value: object) -> str:
    """Return a name or value that a file gives as a message tells it: printable, and not long."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def shown_names(names: list[str]) -> str:
    """Return the names in a file as a message tells them: the first few of many."""
    return ", ".join([*map(shown, sorted(names)[:LISTED]), *(["..."] if len(names) > LISTED else [])]) or "none"


def label(text: str, where: str) -> str:
    """Return a text that is shown in tables and pictures, where a long one would take minutes to lay out.

    Raises:
        FileFormatError: it is longer than LABEL_LENGTH; the message begins with `where`.
    """
    if len(text) > LABEL_LENGTH:
        raise FileFormatError(f"{where} has {len(text)} characters; expected at most {LABEL_LENGTH}")
    return text


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn every error of the libraries that read HDF5 into ours.

    Args:
        what: what is read, the beginning of a message: a file and the name of its part.

    Raises:
        FileFormatError: the block failed.
    """
    try:
        yield
    except SdkitError:
        raise
    except UNREADABLE as error:
        raise FileFormatError(f"{what} cannot be read: {first_line(error)}") from error


@dataclass(frozen=True)
class Part:
    """A data set that passed the door: plain numbers, as many as declared, stored in the file itself."""

    where: str
    """File and data set, for messages."""
    data: h5py.Dataset
    """The data set; its rows are read by `runtime.storage.chunks`, which checks what it decodes."""
    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...] | None
    """Shape of a chunk; None where the numbers lie in one piece."""
    filters: tuple[int, ...]
    """HDF5's numbers of its filters, in the order in which they were applied."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Size in bytes of a row in memory."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Size in bytes in memory."""
        return len(self) * self.row_bytes

    @property
    def compression(self) -> str:
        """Names of the filters, or `none`."""
        return ", ".join(FILTERS[number] for number in self.filters) or "none"


def part_names(file: h5py.File, path: Path) -> list[str]:
    """Return the names in a file, in their order.

    Raises:
        FileFormatError: a name that is not UTF-8, or the list cannot be read.
    """
    with reading(f"{path}: its list of data sets"):
        names = list(file.id)
    try:
        return [name.decode() for name in names]
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"{path}: a data set has a name that is not UTF-8 ({shown(error.object)}); rename it"
        ) from error


def open_part(file: h5py.File, path: Path, name: str, expected: str) -> Part:
    """Return a data set of a file.

    Args:
        file: the open file.
        path: its path, for messages.
        name: name of the data set.
        expected: its axes, for messages.

    Raises:
        FileFormatError: it is absent, a group, a link, or not plain numbers that are stored in this file.
    """
    where = f"{path}: data set '{shown(name)}'"
    with reading(where):
        key, links = name.encode(), file.id.links
        if not links.exists(key):
            names = shown_names(part_names(file, path))
            raise FileFormatError(f"{path} has no data set '{name}' (expected {expected}); it holds: {names}")
        if links.get_info(key).type != h5py.h5l.TYPE_HARD:
            raise FileFormatError(f"{where} is a link {_link(links.get_info(key).type)}, which is not followed")
        if h5py.h5o.get_info(file.id, key).type != h5py.h5o.TYPE_DATASET:
            raise FileFormatError(f"{path}: '{name}' is a group; expected the data set {expected}")
        identifier = h5py.h5d.open(file.id, key)
        properties = identifier.get_create_plist()
        _check_place(properties, where)
        data = h5py.Dataset(identifier, readonly=True)
        part = Part(
            where, data, _shape(identifier, where), _dtype(data, where), data.chunks, _filters(properties, where)
        )
        _check_sizes(part, file.id.get_filesize())
        return part


def read_attribute(file: h5py.File, path: Path, name: str) -> Value | None:
    """Return a text or a number among the attributes of a file, or None when it has none of this name.

    Raises:
        FileFormatError: it is neither, or text that is not UTF-8, or cannot be read.
    """
    where = f"{path}: attribute '{name}'"
    with reading(where):
        key = name.encode()
        if not h5py.h5a.exists(file.id, key):
            return None
        identifier = h5py.h5a.open(file.id, key)
        kind, space = identifier.get_type().get_class(), identifier.get_space()
        if space.get_simple_extent_type() == h5py.h5s.NULL and kind == h5py.h5t.STRING:
            return ""
        if space.get_simple_extent_npoints() != 1 or kind not in (h5py.h5t.STRING, h5py.h5t.INTEGER, h5py.h5t.FLOAT):
            raise FileFormatError(f"{where} is not a text or a number")
        size = identifier.get_storage_size()
        if size > TEXT_BYTES:
            raise FileFormatError(f"{where} takes {size} bytes; at most {TEXT_BYTES} are read")
        value = file.attrs[name]
        value = value.reshape(-1)[0] if isinstance(value, np.ndarray) else value
        if isinstance(value, bytes | str):
            return _text(value, where)
        return float(value) if kind == h5py.h5t.FLOAT else int(value)


def _text(value: bytes | str, where: str) -> str:
    # h5py puts surrogates where text is not UTF-8.
    raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    if len(raw) > TEXT_BYTES:
        raise FileFormatError(f"{where} takes {len(raw)} bytes; at most {TEXT_BYTES} are read")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise FileFormatError(f"{where} is not UTF-8 text ({first_line(error)})") from error


def _link(kind: int) -> str:
    return "to another name" if kind == h5py.h5l.TYPE_SOFT else "into another file"


def _check_place(properties: h5py.h5p.PropDCID, where: str) -> None:
    layout = properties.get_layout()
    if layout == h5py.h5d.VIRTUAL:
        raise FileFormatError(f"{where} is virtual, made of other data sets, which are not followed; copy its numbers")
    if properties.get_external_count():
        raise FileFormatError(f"{where} is stored in another file, which is not read; copy its numbers")


def _shape(identifier: h5py.h5d.DatasetID, where: str) -> tuple[int, ...]:
    space = identifier.get_space()
    if space.get_simple_extent_type() != h5py.h5s.SIMPLE:
        raise FileFormatError(f"{where} has no axes; expected rows")
    return tuple(map(int, space.get_simple_extent_dims()))


def _dtype(data: h5py.Dataset, where: str) -> np.dtype:
    stored = data.id.get_type()
    dtype: np.dtype | None = data.dtype if stored.get_class() in (h5py.h5t.INTEGER, h5py.h5t.FLOAT) else None
    # Chunks are decoded here as numpy lays numbers out, so a format that only HDF5 can convert is refused.
    if dtype is None or dtype.kind not in "iuf" or stored != h5py.h5t.py_create(dtype):
        raise FileFormatError(
            f"{where} holds {shown(str(data.dtype))}; expected whole numbers or floating-point numbers"
        )
    return dtype


def _filters(properties: h5py.h5p.PropDCID, where: str) -> tuple[int, ...]:
    filters = tuple(int(properties.get_filter(i)[0]) for i in range(properties.get_nfilters()))
    unknown = [number for number in filters if number not in FILTERS]
    if unknown or len(set(filters)) < len(filters):
        raise FileFormatError(
            f"{where} is stored under HDF5's filters {', '.join(map(str, filters))}; sdkit reads "
            f"{', '.join(FILTERS.values())}: `h5repack -f GZIP=1 old.h5 new.h5` changes them"
        )
    return filters


def _check_sizes(part: Part, file_bytes: int) -> None:
    """Compare what a data set declares with what is stored, and with the limits of what is held at a time."""
    stored, whole = part.data.id.get_storage_size(), part.nbytes
    for what, size in (("a row", part.row_bytes), ("a chunk", math.prod(part.chunks or ()) * part.dtype.itemsize)):
        if size > PIECE_BYTES:
            raise FileFormatError(
                f"{part.where} has the shape {part.shape} and {what} of {size} bytes; at most {PIECE_BYTES} are read"
            )
    if len(part) * np.dtype(np.int64).itemsize > TABLE_BYTES:
        raise FileFormatError(f"{part.where} declares {len(part)} rows; at most {TABLE_BYTES // 8} are read")
    if whole == 0:
        return
    if part.chunks is not None:
        expected = math.prod(-(-n // chunk) for n, chunk in zip(part.shape, part.chunks, strict=True))
        found = part.data.id.get_num_chunks()
        if found != expected:
            raise FileFormatError(
                f"{part.where} declares the shape {part.shape} in {expected} chunks, but {found} are stored; "
                "the file is damaged or was not finished"
            )
    if whole > stored * (MOST_RATIO if part.filters else 1) or stored > file_bytes:
        raise FileFormatError(
            f"{part.where} declares {whole} bytes and claims {stored} of the file's {file_bytes}; the file is damaged"
        )
