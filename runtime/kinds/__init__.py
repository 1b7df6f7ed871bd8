"""Kinds of elements: one file a kind, which holds all that numpy must know of it as the object `KIND`."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from sdkit.runtime.errors import ConfigError
from sdkit.runtime.kinds.base import Kind


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
