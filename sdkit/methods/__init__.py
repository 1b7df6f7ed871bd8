"""Methods of sequential disentanglement, one module each; `find` returns one by name, also from other packages."""

from collections.abc import Iterator
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from sdkit.runtime.errors import ConfigError

if TYPE_CHECKING:
    from sdkit.methods.base import Method

DEFAULT = "dbse"
"""Name of the method that is trained by default."""
GROUP = "sdkit.methods"
SHARED = ("base", "gaussian", "graphs", "listing", "parts", "trunk")
"""Modules of this folder that are not methods."""


def names() -> list[str]:
    """Return the names of all methods: those of sdkit, then those that other packages register.

    >>> "dbse" in names()
    True
    """
    own = sorted(module.name for module in iter_modules(__path__) if module.name not in SHARED)
    return [*own, *sorted(point.name for point in _registered() if point.name not in own)]


def find(name: str) -> "type[Method]":
    """Return a method by its name.

    Raises:
        ConfigError: there is none of this name, or a package registers something else under it.

    >>> find("dbse").name
    'dbse'
    """
    from sdkit.methods.base import Method

    if name not in (known := names()):
        close = get_close_matches(name, known, n=1)
        meant = f" (did you mean '{close[0]}'?)" if close else ""
        raise ConfigError(f"unknown method '{name}'{meant}; there are: {', '.join(known)}")
    point = next((point for point in _registered() if point.name == name), None)
    own = any(module.name == name for module in iter_modules(__path__))
    found = import_module(f"{__name__}.{name}").METHOD if own or point is None else _load(point)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise ConfigError(f"the method '{name}' is no subclass of sdkit.methods.base.Method; mend the package it is in")
    return found


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the method '{point.name}' ({point.value}) cannot be imported: {error}") from error


def _registered() -> Iterator[EntryPoint]:
    yield from entry_points(group=GROUP)
