"""A run folder: config, metrics, pictures, weights, and the state that a run resumes from.

runs/NAME/config.json  metrics.jsonl  curves.png  swaps/  best.safetensors  last.safetensors  state.pt  bundle/

While it is trained it also holds `.lock`, which stays only when the process is killed.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from sdkit.methods import find
from sdkit.methods.base import Facts, Method
from sdkit.methods.dbse.version1 import upgraded
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError, SdkitError, first_line
from sdkit.runtime.locate import RUNS, find_run_folder
from sdkit.runtime.storage.stage import Lock
from sdkit.training.config import Plan, TrainConfig
from sdkit.training.weights import fill, read_weights

CONFIG_VERSION = 2
LARGEST_CONFIG, LARGEST_METRICS = 2**26, 2**28
"""Bytes of the files of a run, at most; larger ones are refused before they are read."""
LARGE = 2**24
"""Values of all matrices of a model's largest sizes, below which its weights take no more than a gigabyte, each of them
a convolution."""
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
            found = msgspec.json.decode(_bytes(file, LARGEST_CONFIG))
            if isinstance(found, dict) and "version" not in found:
                found = upgraded(found)  # sdkit had one method then
            elif isinstance(found, dict) and found["version"] != CONFIG_VERSION:
                raise FileFormatError(
                    f"{file} has version {found['version']}; this sdkit reads versions up to {CONFIG_VERSION}; install "
                    "the sdkit that the run was trained with, or a newer one"
                )
            return msgspec.convert(found, RunConfig)
        except SdkitError:
            raise
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise FileFormatError(f"{file} is not the config of a run: {first_line(error)}") from error

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
        if not file.exists():
            return []
        try:
            return [_record(line) for line in _bytes(file, LARGEST_METRICS).decode().splitlines()]
        except SdkitError:
            raise
        except (ValueError, RecursionError) as error:
            raise FileFormatError(f"{file} does not hold the records of a run: {first_line(error)}") from error

    def build(self, stored: Path) -> Method:
        """Return the run's model as it is before any training.

        Args:
            stored: file of its weights. A config that asks for a model larger than this file is refused before memory
                is taken for it.

        Raises:
            FileFormatError: the config describes no model that can be built, or none with these weights.

        >>> run = sdkit.find_run("puppets")
        >>> run.build(run.weights()).name
        'dbse'
        """
        config, file = self.config, self.path / "config.json"
        plan = config.plan
        try:
            needed = _weight_bytes(config, plan) if _may_be_large(config) else 0
            if needed > stored.stat().st_size:
                raise FileFormatError(
                    f"{file} describes a model of {needed:,} bytes of weights, and {stored.name} has fewer bytes; one "
                    "of the two is damaged or of another run"
                )
            return plan.build(config.facts)
        except SdkitError:
            raise
        except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, MemoryError) as error:
            raise FileFormatError(f"{file} describes no model that can be built: {first_line(error)}") from error

    def load_model(self, which: Literal["best", "last"] = "best") -> Method:
        """Return the trained model, on the CPU, in evaluation mode.

        Raises:
            MissingFileError: no epoch has ended yet.
            FileFormatError: a damaged config, or weights that are damaged, of another model, or not finite.

        >>> model = sdkit.find_run("puppets").load_model()
        >>> model.name, model.widths.static_size
        ('dbse', 5)
        """
        file = self.weights(which)
        model = self.build(file)
        fill(model, read_weights(file), str(file))
        return model.eval()


def _may_be_large(config: RunConfig) -> bool:
    """Return whether a model may have weights by the gigabyte: by its largest sizes and their number.

    For most it is plain that they have not, which spares them a second building of the model: on shapes alone, some
    methods take seconds for that in a fresh process, in which PyTorch loads what it needs for it.
    """
    facts = config.facts
    sizes = sorted([*_integers(config.settings), *facts.element.shape, facts.steps, facts.count, 1])
    return sizes[-1] * sizes[-2] * len(sizes) > LARGE


def _integers(value: Any) -> list[int]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _integers(part)]
    return [value] if type(value) is int else []


def _weight_bytes(config: RunConfig, plan: Plan) -> int:
    with torch.device("meta"):  # shapes alone
        shapes = plan.build(config.facts).state_dict().values()
    return sum(tensor.numel() * tensor.element_size() for tensor in shapes)


def _bytes(file: Path, most: int) -> bytes:
    """Return the bytes of a file of a run, which has no more than `most`."""
    if not file.is_file():
        raise MissingFileError(f"{file} does not exist, or is no file")
    if file.stat().st_size > most:
        raise FileFormatError(f"{file} has more than {most:,} bytes, which no run has")
    return file.read_bytes()


def _record(line: str) -> dict[str, Any]:
    """Return an epoch's record.

    Raises:
        ValueError: it is none.
    """
    found = json.loads(line)
    if not isinstance(found, dict) or type(found.get("epoch")) is not int:
        raise ValueError("a line is no record of an epoch")
    for part in ("train", "val"):
        terms = found.get(part, {})
        if not isinstance(terms, dict) or not all(type(value) in (int, float) for value in terms.values()):
            raise ValueError(f"'{part}' of epoch {found['epoch']} holds no figures")
    return found


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
