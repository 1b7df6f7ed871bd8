"""Runs of an experiment: trained once, resumed where interrupted, shared by every table that needs them."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

from sdkit import methods
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.locate import RUN_FILE, RUNS
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.config import TrainConfig, plan
from sdkit.training.data import split_indices
from sdkit.training.launch import resume, start
from sdkit.training.run import Run, RunConfig
from sdkit.training.train import default_preset


def ensure_run(
    file: SequenceFile,
    row: str,
    *,
    method: str = methods.DEFAULT,
    variant: str,
    overrides: dict[str, Any],
    device: str,
    reporter: Reporter,
) -> Run:
    """Return the run of a row of a table: found complete, resumed, or trained.

    Its folder is runs/DATA-ROW-DIGEST-sSEED, where the digest is of all settings but epochs and seed, so that tables
    share runs and no run is taken for one of other settings.

    Args:
        file: training data.
        row: name of the row, such as `no-sub`.
        method: name of the method.
        variant: variant of the method; empty for its own choice.
        overrides: changed settings, with `seed` and perhaps `epochs`.
        device: device, as in `train`.
        reporter: receives the progress.

    Raises:
        ConfigError: the folder holds more epochs than requested, no complete epoch, or a run of other data.
    """
    preset = default_preset(file)
    found = plan(file.element, method=method, preset_name=preset, variant=variant, overrides=overrides)
    train = found.train
    name = run_name(file, row, [method, changed(found.settings), changed(_shared(train))], train.seed)
    folder = RUNS / name
    if not folder.exists() or Run(folder).unstarted:
        return start(file, found, name=name, preset=preset or "", device=device, reporter=reporter)
    run = Run(folder)
    done = len(run.metrics())
    if done == 0 or not (folder / RUN_FILE).is_file():
        raise ConfigError(
            f"{folder} holds no complete epoch: another process trains it, or one was killed; wait, or remove it"
        )
    if done > train.epochs:
        raise ConfigError(f"{folder} has {done} epochs already; ask for as many, or move it away")
    if not _same_data(run.config, file):
        raise ConfigError(f"{folder} was trained on {run.config.data.path}, not on {file.path}; move one of them away")
    if done == train.epochs:
        reporter.note(f"{folder}: complete, {done} epochs")
        return run
    return resume(run, train.epochs, data=file.path, device=device, reporter=reporter)


def changed(config: msgspec.Struct) -> dict[str, Any]:
    """Return the fields of a config that are not at their default, so that later fields change no name."""
    plain = msgspec.to_builtins(config)
    defaults = {field.name: field.default for field in msgspec.structs.fields(config)}
    return {name: plain[name] for name, value in defaults.items() if getattr(config, name) != value}


def run_name(file: SequenceFile, row: str, config: Any, seed: int) -> str:
    """Return DATA-ROW-DIGEST-sSEED."""
    digest = hashlib.sha256(msgspec.json.encode(config, order="sorted")).hexdigest()[:6]
    return f"{file.meta.name or file.path.stem}-{row}-{digest}-s{seed}"


def _same_data(config: RunConfig, file: SequenceFile) -> bool:
    """Return whether a file looks like a run's training data: as many sequences under the same name."""
    train, val = split_indices(file, config.train.val_fraction, config.train.seed)
    data = config.data
    found = (file.path.name, len(train), len(val), file.steps)
    return found == (Path(data.path).name, data.train_count, data.val_count, data.steps)


def _shared(train: TrainConfig) -> TrainConfig:
    return msgspec.structs.replace(train, epochs=1, seed=0, swap_every=0)
