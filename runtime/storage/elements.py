"""The element that a data set of sequences holds, from its axes and dtype and the attributes of its file."""

from sdkit.runtime import kinds
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, FileFormatError
from sdkit.runtime.storage.hdf5 import LazyFile
from sdkit.runtime.storage.parts import Part, label, shown


def read_element(file: LazyFile, part: Part) -> Element:
    """Return the element of sequences (N, T, *element).

    Raises:
        FileFormatError: no kind of element has these axes, or this dtype, or the attributes say otherwise.
    """
    kind, dtype = _kind(file, part), str(part.dtype)
    if dtype not in ("uint8", "float32"):
        raise FileFormatError(f"{part.where} is {dtype}; expected uint8 or float32")
    misordered = kind.misordered(part.shape)
    if misordered:
        raise FileFormatError(f"{part.where} has shape {part.shape}, {misordered}")
    units, names = _texts(file, "units"), _texts(file, "feature_names")
    try:
        return Element(kind.name, part.shape[2:], dtype, units, names)  # type: ignore[arg-type]
    except ConfigError as error:
        raise FileFormatError(f"{part.where} has shape {part.shape}: {error}") from error


def _kind(file: LazyFile, part: Part) -> kinds.Kind:
    """Return the kind that the file names, else that of the axes."""
    name, axes = file.text("element"), len(part.shape)
    found = kinds.find(name) if name in kinds.names() else None if name else kinds.by_axes(axes)
    if found is None or axes != 2 + len(found.axes):
        named = f" and holds elements of the kind '{shown(name)}'" if name else ""
        raise FileFormatError(f"{part.where} has shape {part.shape}{named}; expected {kinds.layouts()}")
    return found


def _texts(file: LazyFile, name: str) -> tuple[str, ...]:
    texts = file.json(name, ())
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise FileFormatError(f"{file.path}: attribute '{name}' is {shown(texts)}; expected a JSON list of texts")
    return tuple(label(text, f"{file.path}: a text of attribute '{name}'") for text in texts)
