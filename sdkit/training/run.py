"""A run folder: config, metrics, pictures, weights, and the state that a run resumes from.

runs/NAME/config.json  metrics.jsonl  curves.png  swaps/  best.safetensors  last.safetensors  state.pt  bundle/

While it is trained it also holds `.lock`, which stays only when the process is killed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from sdkit.methods import find
from sdkit.methods.base import Facts, Method
from sdkit.methods.dbse.version1 import upgraded
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError
from sdkit.runtime.locate import RUNS, find_run_folder
from sdkit.runtime.storage.stage import Lock
from sdkit.training.config import Plan, TrainConfig

CONFIG_VERSION = 2
STATE = "state.pt"
"""File of the state that a run resumes from; the last that an epoch writes."""


class DataInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Origin of a run's data."""

    path: str
    name: str = ""
    train_count: int = 0
    val_count: int = 0
    steps: int = 0
    source: str = ""
    licence: str = ""


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contents of config.json."""

    method: str
    """Name of the method."""
    settings: dict[str, Any]
    """The method's settings, whole."""
    facts: Facts
    train: TrainConfig
    data: DataInfo
    preset: str = ""
    sdkit_version: str = ""
    torch_version: str = ""
    commit: str = ""
    version: int = CONFIG_VERSION

    @property
    def plan(self) -> Plan:
        """Method, settings and training as objects.

        Raises:
            ConfigError: a method that is not installed, or settings that it does not have.
        """
        method = find(self.method)
        try:
            return Plan(method, msgspec.convert(self.settings, method.Settings), self.train)
        except msgspec.ValidationError as error:
            raise ConfigError(f"these are no settings of the method {self.method}: {error}") from error


@dataclass(frozen=True)
class Run:
    """A run folder, read on demand."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def config(self) -> RunConfig:
        """The run's config.

        Raises:
            FileFormatError: config.json does not parse, or is of a newer version.
        """
        file = self.path / "config.json"
        try:
            found = msgspec.json.decode(file.read_bytes())
            if isinstance(found, dict) and "version" not in found:
                found = upgraded(found)  # sdkit had one method then
            elif isinstance(found, dict) and found["version"] != CONFIG_VERSION:
                raise FileFormatError(
                    f"{file} has version {found['version']}; this sdkit reads versions up to {CONFIG_VERSION}; install "
                    "the sdkit that the run was trained with, or a newer one"
                )
            return msgspec.convert(found, RunConfig)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FileFormatError(f"{file} is not the config of a run: {error}") from error

    @property
    def bundle(self) -> Path:
        """Path of the run's bundle once it is exported."""
        return self.path / "bundle"

    @property
    def lock(self) -> Lock:
        """Lock of the process that trains."""
        return Lock(self.path / ".lock")

    @property
    def unstarted(self) -> bool:
        """Whether this is all that a training left that was killed before its first epoch was complete."""
        if not self.path.is_dir() or (self.path / STATE).exists() or self.bundle.exists():
            return False
        record = self.path / "metrics.jsonl"
        if record.exists() and record.read_bytes().count(b"\n") > 1:
            return False  # its state was taken away by someone
        lock = self.lock
        if not lock.path.exists():
            return not any(self.path.iterdir())
        free = lock.take()
        lock.release(keep=True)
        return free

    def weights(self, which: Literal["best", "last"] = "best") -> Path:
        """Return the path of the best or last weights.

        Raises:
            MissingFileError: no epoch has ended yet.
        """
        file = self.path / f"{which}.safetensors"
        if not file.is_file():
            raise MissingFileError(f"{file} does not exist: no epoch of this run has ended; `sdkit train` first")
        return file

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of all epochs, one for each.

        >>> sdkit.find_run("puppets").metrics()[-1]["epoch"]
        2
        """
        file = self.path / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []

    def load_model(self, which: Literal["best", "last"] = "best") -> Method:
        """Return the trained model, on the CPU, in evaluation mode.

        >>> model = sdkit.find_run("puppets").load_model()
        >>> model.name, model.widths.static_size
        ('dbse', 5)
        """
        from safetensors.torch import load_file

        config = self.config
        model = config.plan.build(config.facts)
        model.load_state_dict(load_file(self.weights(which)))
        return model.eval()


def find_run(given: str | Path | None = None) -> Run:
    """Return a run: the one given, else SDKIT_RUN, else the newest under runs/.

    Raises:
        MissingFileError: there is none.

    >>> sdkit.find_run("puppets").path.as_posix()
    'runs/puppets'
    """
    return Run(find_run_folder(given))


def new_run_path(name: str | None, base: str) -> Path:
    """Return a folder for a new run: the name given, which must be free, else base, base-2, base-3, ...

    What a training left that was killed before its first epoch was complete takes no name.

    Raises:
        ConfigError: the name is taken, or is not a plain name.
    """
    if name is not None:
        if not name or Path(name).name != name or name.startswith("."):
            raise ConfigError(f"--name {name}: expected a plain folder name, made under {RUNS}/")
        if (RUNS / name).exists() and not Run(RUNS / name).unstarted:
            raise ConfigError(f"{RUNS / name} exists already; choose another --name, or --resume it")
        return RUNS / name
    base = Path(base).name.lstrip(".") or "run"  # a file may give its data any name
    number = 1
    while (path := RUNS / (base if number == 1 else f"{base}-{number}")).exists() and not Run(path).unstarted:
        number += 1
    return path
