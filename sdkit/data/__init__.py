"""Data sets: each maker composes or converts one benchmark into a sequence file."""

import importlib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sdkit.runtime.errors import ConfigError
from sdkit.runtime.progress import Reporter

MAKERS = {"puppets": None, "sprites": "sheets"}
"""Makers by name, a module each, and what they are made from (None: drawn by our own code)."""


def make_dataset(
    name: str,
    path: str | Path,
    *,
    source: str | Path | None = None,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
    **options: Any,
) -> Path:
    """Make a data set and return the path of its sequence file.

    Args:
        name: `puppets` or `sprites`.
        path: the file to write.
        source: the folder or zip that the data set is made from; none for puppets.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: is told how it goes.
        **options: further options of the maker: puppets take `count`, `split` and `seed`.

    Raises:
        ConfigError: an unknown data set, a source that is missing or not wanted, or an unknown option.
        MissingFileError, FileFormatError, DataError: a source that cannot be used.
        OutputExistsError: `path` exists and `force` is off.
    """
    if name not in MAKERS:
        close = get_close_matches(name, MAKERS, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise ConfigError(f"unknown data set '{name}'{hint}; there are: {', '.join(MAKERS)}")
    wanted = MAKERS[name]
    if (wanted is None) != (source is None):
        raise ConfigError(
            f"data set '{name}' is drawn by sdkit and takes no source"
            if wanted is None
            else f"data set '{name}' is made from {wanted}; give the folder or zip that holds them"
        )
    make = importlib.import_module(f"{__name__}.{name}").make
    unknown = set(options) - set(make.__kwdefaults__)
    if unknown:
        raise ConfigError(f"data set '{name}' has no option {', '.join(sorted(unknown))}")
    sources = () if source is None else (source,)
    made: Path = make(*sources, path, compression=compression, force=force, reporter=reporter, **options)
    return made
