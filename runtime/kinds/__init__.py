"""Kinds of elements: one file a kind, which holds all that numpy must know of it as the object `KIND`.

Networks and pictures of a kind are in the files of the same name in `sdkit.elements` and `sdkit.figures`. Nothing else
compares the name of a kind: where kinds differ, the object is asked.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from sdkit.runtime.errors import ConfigError
from sdkit.runtime.kinds.base import Kind as Kind


@cache
def names() -> tuple[str, ...]:
    """Return the names of all kinds."""
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.name != "base"))


@cache
def find(name: str) -> Kind:
    """Return a kind by its name.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in names():
        raise ConfigError(f"unknown kind of element '{name}'; there are: {', '.join(names())}")
    kind: Kind = import_module(f"{__name__}.{name}").KIND
    return kind


def kinds() -> tuple[Kind, ...]:
    """Return all kinds."""
    return tuple(find(name) for name in names())


def by_axes(axes: int) -> Kind | None:
    """Return the kind that a data set of so many axes is read as where its file names none."""
    return next((kind for kind in kinds() if kind.presumed and len(kind.axes) == axes - 2), None)


def windowed() -> Kind:
    """Return the kind that a long series is cut into windows of."""
    return next(kind for kind in kinds() if kind.windowed and kind.presumed)


def layouts() -> str:
    """Return the axes of data sets of every kind, for a message."""
    *others, last = (kind.layout for kind in kinds())
    return f"{', '.join(others)} or {last}"
