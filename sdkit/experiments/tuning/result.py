"""Result of a search: its trials, the best of them, and the command that trains with its settings."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from sdkit.training.config import TRAIN, Plan

State = Literal["complete", "pruned", "failed", "interrupted"]


@dataclass(frozen=True)
class Trial:
    """One trial of a study."""

    number: int
    state: State
    """State of the trial; `failed`: the loss was not finite, or memory ran out; `interrupted`: stopped, not counted."""
    value: float | None
    """Objective at the epoch of least validation loss, whose weights a run keeps; of a pruned trial at its last one."""
    epochs: int
    """Number of epochs that were trained."""
    settings: dict[str, Any]
    """Values of the searched settings."""
    active_static: int | None = None
    """Number of units of the static code that vary over the validation split, at the same epoch as `value`; None where
    the method has no such code."""
    active_dynamic: int | None = None
    """Number of units of the dynamic codes that vary over the validation split, at the same epoch as `value`."""
    reason: str = ""
    """Reason of a failure."""


@dataclass(frozen=True)
class Study:
    """Result of a search."""

    path: Path
    """Path of the study file, an SQLite database of Optuna's."""
    objective: str
    """Name of the objective in `OBJECTIVES`."""
    trials: tuple[Trial, ...]
    best: Trial | None
    """Complete trial with the lowest value."""
    command: str
    """Command that trains with the settings of the best trial; empty where there is none."""
    settings_file: Path | None
    """Path of the same settings, all of them, as TOML in the sections of a preset."""
    picture: Path | None
    interrupted: bool
    """Whether Ctrl-C ended the search; the same call continues it."""


def train_command(data: Path, before: Mapping[str, Any], settings: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return the command line of a training.

    Args:
        data: sequence file.
        before: options that come before the settings, by name; None leaves one out.
        settings: settings by name; None leaves one out.
        after: options that come after them, likewise.
    """
    words = ["sdkit", "train", str(data), *_options(before)]
    for name, value in settings.items():
        if value is not None:
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join([*words, *_options(after)])


def as_toml(found: Plan, best: Trial, count: int, label: str) -> str:
    """Return all settings of the best of `count` trials in the sections of a preset; `label` is what they minimise."""
    about = f"trial {best.number} of {count}, {label}: {best.value:.6g}, of {best.epochs} epochs"
    lines = [f"# Found by `sdkit tune`: {about}.\n"]
    for section, values in ((TRAIN, found.train), (found.method.name, found.settings)):
        lines.append(f"\n[{section}]\n")
        lines += [
            f"{name} = {json.dumps(value)}{'  # searched' if name in best.settings else ''}\n"
            for name, value in msgspec.to_builtins(values).items()
            if value is not None
        ]
    return "".join(lines)


def _options(given: Mapping[str, Any]) -> list[str]:
    return [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
