"""Data sets: each maker composes or converts one benchmark, or data of one's own, into a sequence file."""

import importlib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from sdkit.runtime.errors import ConfigError
from sdkit.runtime.progress import Reporter

MAKERS: dict[str, str | None] = {
    "puppets": None,
    "sprites": "a folder or zip of the LPC sheets (body, bottomwear, topwear, hair, shoes)",
    "physionet": "a folder with set-a/ or set-a.tar.gz, and Outcomes-a.txt",
    "air-quality": "UCI's zip, or a folder of PRSA_Data_*.csv",
    "etth1": "ETTh1.csv, or the folder that holds it",
    "timit": "the folder that holds TRAIN and TEST (LDC93S1)",
    "speech": "a folder of speaker folders with .flac or .wav recordings",
    "mug": "a folder of subjects, each with folders of expressions that hold clips (folders of frames, or videos)",
    "arrays": "a .npz with an array 'data', or a .npy",
}
"""Makers by name, one module each (its hyphens are underscores), with their sources (None: drawn by sdkit)."""

SHARED = ("compression", "force", "reporter")
"""Options of every maker."""


def make_dataset(
    name: str,
    path: str | Path,
    /,
    *,
    source: str | Path | None = None,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
    **options: Any,
) -> Path:
    """Make a data set and return the path of its sequence file.

    Args:
        name: name of the maker, one of MAKERS.
        path: the file to write.
        source: file or folder that the data set is made from, as MAKERS says; none for puppets.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress and notes on what is kept and dropped.
        **options: further options of the maker, described at its function `make`; `maker_options` lists them.

    Raises:
        ConfigError: an unknown data set, a source that is missing or not wanted, or an option out of range.
        MissingFileError, FileFormatError, DataError: a source that cannot be used.
        OutputExistsError: `path` exists and `force` is off.

    >>> sdkit.make_dataset("puppets", "few.h5", count=12).name
    'few.h5'
    """
    known = maker_options(name)
    wanted = MAKERS[name]
    if (wanted is None) != (source is None):
        raise ConfigError(
            f"data set '{name}' is drawn by sdkit and takes no source"
            if wanted is None
            else f"data set '{name}' needs a source: {wanted}"
        )
    chosen = {option: _option(name, option, value, known) for option, value in options.items()}
    sources = () if source is None else (source,)
    make = _module(name).make
    made: Path = make(*sources, path, compression=compression, force=force, reporter=reporter, **chosen)
    return made


def maker_options(name: str) -> dict[str, Any]:
    """Return the options that only this maker has, with their defaults.

    Raises:
        ConfigError: an unknown data set.
    """
    if name not in MAKERS:
        close = get_close_matches(name, MAKERS, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise ConfigError(f"unknown data set '{name}'{hint}; there are: {', '.join(MAKERS)}")
    return {option: value for option, value in _module(name).make.__kwdefaults__.items() if option not in SHARED}


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def _option(name: str, option: str, value: Any, known: Mapping[str, Any]) -> Any:
    """Return the value of an option in the type that its maker declares."""
    if option not in known:
        there = f"it has: {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"data set '{name}' has no option '{option}'; {there}")
    try:
        return msgspec.convert(value, get_type_hints(_module(name).make)[option])
    except msgspec.ValidationError as error:
        raise ConfigError(f"data set '{name}': option {option} = {value!r}: {error}") from error
