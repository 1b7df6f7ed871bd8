"""Entries of a comparison, and its folder: what was tuned, what was measured, and what must not change meanwhile.

Everything that a comparison needs to go on lies in its folder as small JSON files, one for each search and each row.
Models lie in run folders and may be removed: a finished row does not need its model again.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from sdkit import methods
from sdkit.experiments.comparison.columns import Figure
from sdkit.methods.base import Method
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError, FileFormatError
from sdkit.runtime.storage.output import replacing
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.config import Plan, plan
from sdkit.training.train import default_preset

T = TypeVar("T")
ALL = "all"
FIGURES_VERSION = 1
"""Version of the figures of a row; rows of another version are measured again."""


class Entry(NamedTuple):
    """A method, and perhaps one of its variants."""

    method: str
    variant: str = ""
    """Variant; empty for the method's own choice."""

    @property
    def name(self) -> str:
        """Name in tables and of files, such as `dsvae` or `dsvae-factorised`."""
        return f"{self.method}-{self.variant}" if self.variant else self.method

    @property
    def found(self) -> type[Method]:
        """The method."""
        return methods.find(self.method)

    def plan(self, file: SequenceFile, overrides: Mapping[str, Any]) -> Plan:
        """Return the plan of a training on a file."""
        return plan(
            file.element,
            method=self.method,
            preset_name=default_preset(file),
            variant=self.variant or None,
            overrides=overrides,
        )


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions that all rows of a comparison share; they stay the same while its folder grows."""

    data: str
    """Name of the data set."""
    digest: str
    """SHA-256 of the data, independent of how the file stores them."""
    steps: int
    """Number of optimiser steps that every model is given."""
    trials: int
    """Number of trials of each method's search."""
    objective: str
    """Objective by which trials are compared."""
    overrides: dict[str, Any] = {}
    """Settings that every method is given as far as it has them."""
    version: int = FIGURES_VERSION


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one method's search."""

    settings: dict[str, Any]
    """Settings of the best trial; empty where nothing was searched."""
    trials: list[dict[str, Any]] = []
    """All trials: number, state, value, epochs, settings."""
    reason: str = ""
    """Reason why nothing was searched."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One model: a method trained with one seed, and its figures on the test split."""

    entry: str
    method: str
    variant: str
    seed: int
    steps: int
    """Number of optimiser steps, in whole epochs."""
    epochs: int
    seconds: float
    """Seconds of training, validation included."""
    parameters: int
    """Number of trained parameters."""
    settings: dict[str, Any]
    train: dict[str, Any]
    weights: str
    """SHA-256 of the weights that were measured."""
    figures: dict[str, Figure]
    """Figures by name; what could not be measured is absent."""
    skipped: dict[str, str]
    """Reasons why protocols were skipped."""
    onnx: dict[str, float] = {}
    """Figures by name, measured again on the ONNX graphs of the model; empty where it was not exported."""
    notes: dict[str, str] = {}
    """Remarks on figures whose meaning differs from that for other models, by their subject."""
    failed: str = ""
    """Reason why there is no model; then there are no figures."""
    sdkit: str = ""
    torch: str = ""


def parse(names: Sequence[str]) -> list[Entry]:
    """Return entries of names such as `dsvae`, `dsvae:factorised`, `a,b` or `all`.

    Raises:
        ConfigError: an unknown method or variant, or one named twice.
    """
    found: list[Entry] = []
    given = [part.strip() for name in names for part in name.split(",")]
    if twice := next((text for text in given if given.count(text) > 1), None):
        raise ConfigError(f"{twice} is named twice")
    for text in given:
        method, _, variant = text.partition(":")
        chosen = [Entry(name) for name in methods.names()] if text == ALL else [Entry(method, variant)]
        for entry in chosen:
            if entry.variant and entry.variant not in entry.found.variants:
                have = ", ".join(entry.found.variants) or "none"
                raise ConfigError(f"unknown variant '{entry.variant}' of {entry.method}; there are: {have}")
        found += [entry for entry in chosen if entry not in found]
    return found


class Folder:
    """The folder of a comparison.

    Args:
        path: path of the folder, made if it does not exist.
        terms: what all its rows share.

    Raises:
        ConfigError: the folder holds a comparison under other terms.
        FileFormatError: a file in it cannot be read.
    """

    def __init__(self, path: Path, terms: Terms) -> None:
        self.path, self.terms = path, terms
        known = self._read(path / "terms.json", Terms)
        if known is not None and known != terms:
            names = [name for name in Terms.__struct_fields__ if getattr(known, name) != getattr(terms, name)]
            said = "; ".join(f"{name} {getattr(known, name)}, not {getattr(terms, name)}" for name in names)
            raise ConfigError(f"{path} holds a comparison with {said}; choose another --output")
        if known is None:
            self._write(path / "terms.json", terms)

    def tuned(self, entry: str) -> Tuned | None:
        """Return the result of an entry's search; None where there is none yet."""
        return self._read(self.path / "tuning" / f"{entry}.json", Tuned)

    def keep_tuned(self, entry: str, found: Tuned) -> None:
        """Store the result of an entry's search."""
        self._write(self.path / "tuning" / f"{entry}.json", found)

    def row(self, entry: str, seed: int) -> Row | None:
        """Return a finished row of an entry; None where there is none yet."""
        return self._read(self._row_path(entry, seed), Row)

    def keep_row(self, row: Row) -> None:
        """Store a finished row."""
        self._write(self._row_path(row.entry, row.seed), row)

    def swaps(self) -> dict[str, Array]:
        """Return the swapped pairs (P, T, *element) that were kept, by entry."""
        return {path.stem: np.load(path)["x"] for path in sorted((self.path / "swaps").glob("*.npz"))}

    def keep_swaps(self, entry: str, x: Array) -> None:
        """Store swapped pairs (P, T, *element)."""
        path = self.path / "swaps" / f"{entry}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, force=True) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, x=x)

    def costs(self) -> dict[str, float]:
        """Return the costs of a step by entry, as far as measured."""
        return self._read(self.path / "costs.json", dict[str, float]) or {}

    def keep_costs(self, costs: Mapping[str, float]) -> None:
        """Store the costs of a step."""
        self._write(self.path / "costs.json", dict(costs))

    def write_text(self, name: str, text: str) -> Path:
        """Write one of the folder's own files, replacing it, and return its path."""
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing(self.path / name, force=True) as temporary:
            temporary.write_text(text, "utf-8")
        return self.path / name

    def _row_path(self, name: str, seed: int) -> Path:
        return self.path / "rows" / f"{name}-s{seed}.json"

    def _read(self, path: Path, kind: type[T]) -> T | None:
        if not path.is_file():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FileFormatError(f"{path} cannot be read ({error}); remove it, and it is made again") from error

    def _write(self, path: Path, value: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(msgspec.to_builtins(value), indent=1, allow_nan=False)
        with replacing(path, force=True) as temporary:
            temporary.write_text(text + "\n", "utf-8")


def data_digest(file: SequenceFile) -> str:
    """Return the SHA-256 of a file's sequences, labels, targets and splits, whatever its compression and chunks."""
    found = hashlib.sha256(repr((file.count, file.steps, file.element)).encode())
    for _, x in file.batches(256, file.select(None)):
        found.update(x.tobytes())
    parts = [file.labels(), file.targets(), file.lengths(), *(file.split(name) for name in ("train", "val", "test"))]
    for part in parts:
        found.update(b"-" if part is None else part.tobytes())
    return found.hexdigest()
