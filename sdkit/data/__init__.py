"""Data sets: each maker composes or converts one benchmark, or data of one's own, into a sequence file."""

import importlib
import inspect
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from sdkit.data.said import WORDS, Said
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.progress import Reporter

MAKERS: dict[str, str | None] = {
    "puppets": None,
    "sprites": "a folder or zip of the LPC sheets (body, bottomwear, topwear, hair, shoes)",
    "physionet": "a folder with set-a/ or set-a.tar.gz, and Outcomes-a.txt",
    "air-quality": "UCI's zip, or a folder of PRSA_Data_*.csv",
    "etth1": "ETTh1.csv, or the folder that holds it",
    "timit": "the folder that holds TRAIN and TEST (LDC93S1)",
    "speech": "a folder or zip of speaker folders with .flac or .wav recordings",
    "mug": "a folder of subjects, each with folders of expressions that hold clips (folders of frames, or videos)",
    "arrays": "a .npz with an array 'data', or a .npy",
}
"""Makers by name, one module each (its hyphens are underscores), with their sources (None: drawn by sdkit)."""

SHARED = ("said", "compression", "force", "reporter")
"""Arguments of every maker; `said` holds the options WORDS."""


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
        **options: options of every maker, `name`, `origin` and `licence`, which the file then states in place of the
            maker's own words, and those of this maker, described at its function `make`; `maker_options` lists them.

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
    said = Said(**{word: chosen.pop(word) for word in WORDS if word in chosen})
    sources = () if source is None else (source,)
    make = _module(name).make
    made: Path = make(*sources, path, said=said, compression=compression, force=force, reporter=reporter, **chosen)
    return made


def maker_options(name: str) -> dict[str, Any]:
    """Return the options of a maker with their defaults, its own before those of every maker.

    Raises:
        ConfigError: an unknown data set.
    """
    if name not in MAKERS:
        close = get_close_matches(name, MAKERS, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise ConfigError(f"unknown data set '{name}'{hint}; there are: {', '.join(MAKERS)}")
    own = {option: value for option, value in _module(name).make.__kwdefaults__.items() if option not in SHARED}
    return {**own, **dict.fromkeys(WORDS, "")}


def explain_options(name: str) -> dict[str, str]:
    """Return what each option of a maker is, by option, from the docstrings.

    Raises:
        ConfigError: an unknown data set.
    """
    known = maker_options(name)
    texts = {**_arguments(Said), **_arguments(_module(name).make)}
    return {option: texts.get(option, "") for option in known}


def _arguments(about: Any) -> dict[str, str]:
    """Return the notes on arguments in the section `Args` of a docstring."""
    text = inspect.getdoc(about) or ""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.MULTILINE)
    found = re.findall(r"^    (\w+): (.*(?:\n     .*)*)", section[1] if section else "", re.MULTILINE)
    return {argument: " ".join(note.split()) for argument, note in found}


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")


def _option(name: str, option: str, value: Any, known: Mapping[str, Any]) -> Any:
    """Return the value of an option in the type that its maker declares."""
    if option not in known:
        raise ConfigError(f"data set '{name}' has no option '{option}'; it has: {', '.join(known)}")
    about = Said if option in WORDS else _module(name).make
    try:
        return msgspec.convert(value, get_type_hints(about)[option])
    except msgspec.ValidationError as error:
        raise ConfigError(f"data set '{name}': option {option} = {value!r}: {error}") from error
