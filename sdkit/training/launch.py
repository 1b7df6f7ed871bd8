"""Starting and resuming a run, in one process or, under `accelerate launch` or `torchrun`, in several."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import torch

from sdkit.methods.base import Facts, Method
from sdkit.runtime.errors import BusyError, ConfigError
from sdkit.runtime.locate import RUNS
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import remove
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.storage.stage import Lock
from sdkit.runtime.version import __version__
from sdkit.training import checkpoint
from sdkit.training.config import Plan
from sdkit.training.data import Batches, split_indices
from sdkit.training.device import accelerator
from sdkit.training.loop import EpochHook, Trainer
from sdkit.training.run import STATE, DataInfo, Run, RunConfig, new_run_path
from sdkit.training.statistics import feature_statistics


def start(
    file: SequenceFile,
    plan: Plan,
    *,
    name: str | None,
    preset: str,
    device: str,
    reporter: Reporter,
    on_epoch: EpochHook | None = None,
    on_interrupt: Callable[[Run], None] | None = None,
) -> Run:
    """Train a new model on a file and return its run.

    The run's folder is removed if training ends before its first epoch does; else `on_interrupt` is called with the run
    when Ctrl-C ends it.

    Raises:
        BusyError: another process has just taken the same name.
    """
    chosen, train = accelerator(device), plan.train
    split = split_indices(file, train.val_fraction, train.seed)
    config = new_config(file, plan, split, preset)
    torch.manual_seed(train.seed)
    module = plan.build(config.facts)
    first = not RUNS.exists()
    run, lock = _new_folder(chosen, name, file.meta.name or file.path.stem)
    try:
        with _told(run, on_interrupt):
            _write_config(chosen, run, config)
            _trainer(run, config, module, file, split, chosen, reporter, on_epoch).fit()
    except BaseException:
        if chosen.is_main_process and not (run.path / STATE).exists():
            remove(run.path)
            if first:
                with contextlib.suppress(OSError):  # something else was written there meanwhile
                    run.path.parent.rmdir()
        raise
    finally:
        lock.release()
    return run


def resume(
    run: Run,
    epochs: int | None,
    *,
    data: Path | None,
    device: str,
    reporter: Reporter,
    on_interrupt: Callable[[Run], None] | None = None,
) -> Run:
    """Continue a run to `epochs` epochs in all (its own number when None) and return it.

    A run that was killed before its first epoch was complete starts at the beginning. `on_interrupt` is called with the
    run when Ctrl-C ends it.

    Raises:
        ConfigError: it has more epochs already.
        BusyError: another process trains it.
        DataError: the data's elements are not the model's.
        MissingFileError: the run's data or state is missing.
    """
    config = run.config
    fresh = run.unstarted
    wanted, done = epochs or config.train.epochs, 0 if fresh else len(run.metrics())
    if wanted < done:
        raise ConfigError(f"{run.path} has {done} epochs already; --epochs {wanted} cannot undo any")
    config = msgspec.structs.replace(config, train=msgspec.structs.replace(config.train, epochs=wanted))
    chosen = accelerator(device)
    file = SequenceFile(data or config.data.path)
    file.require(config.facts.element)
    split = split_indices(file, config.train.val_fraction, config.train.seed)
    fresh = bool(_shared(chosen, fresh))
    torch.manual_seed(config.train.seed)  # as a start does
    model = config.plan.build(config.facts) if fresh else run.build(run.weights("last"))
    lock = run.lock
    if chosen.is_main_process and not lock.take():
        raise BusyError(f"another process trains {run.path}; wait for it, or train under another --name")
    try:
        with _told(run, on_interrupt):
            trainer = _trainer(run, config, model, file, split, chosen, reporter)
            if fresh:
                trainer.reporter.note(f"no epoch of {run.path} was complete; it starts at the beginning")
            else:
                trainer.resume()
            _write_config(chosen, run, config)
            trainer.fit()
    except BaseException:
        lock.release(keep=fresh and not (run.path / STATE).exists())  # it may start at the beginning again
        raise
    finally:
        lock.release()
    return run


@contextmanager
def _told(run: Run, on_interrupt: Callable[[Run], None] | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if on_interrupt is not None and (run.path / STATE).exists():
            on_interrupt(run)
        raise


def new_config(file: SequenceFile, plan: Plan, split: tuple[Indices, Indices], preset: str = "") -> RunConfig:
    """Return the configuration of a new run, with the facts about its training and validation sequences."""
    info = DataInfo(
        str(file.path.absolute()),
        file.meta.name,
        len(split[0]),
        len(split[1]),
        file.steps,
        file.meta.source,
        file.meta.licence,
    )
    facts = Facts(file.element, file.steps, len(split[0]), *_statistics(file, split[0]))
    settings = msgspec.to_builtins(plan.settings)
    version, commit = str(torch.__version__), checkpoint.commit()
    return RunConfig(plan.method.name, settings, facts, plan.train, info, preset, __version__, version, commit)


def _statistics(file: SequenceFile, index: Indices) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each feature, where the kind of element is standardised by them."""
    if not file.element.traits.standardised:
        return (), ()
    mean, std = feature_statistics(file, index)
    return tuple(mean.tolist()), tuple(std.tolist())


def _new_folder(chosen: Any, name: str | None, base: str) -> tuple[Run, Lock]:
    """Make the run's folder and lock it in one process, and send its path to the others."""
    path, lock = "", Lock(Path())
    while chosen.is_main_process:
        run = Run(new_run_path(name, base))
        run.path.mkdir(parents=True, exist_ok=True)
        path, lock = str(run.path), run.lock
        if lock.take() and not (run.path / STATE).exists():
            for left in run.path.iterdir():
                if left != lock.path:
                    remove(left)
            break
        lock.release()
        if name is not None:
            raise BusyError(f"another process has just taken {run.path}; choose another --name")
    return Run(Path(_shared(chosen, path))), lock


def _shared(chosen: Any, value: Any) -> Any:
    """Return the value that the main process has."""
    from accelerate.utils import broadcast_object_list

    shared = [value]
    broadcast_object_list(shared)
    return shared[0]


def _write_config(chosen: Any, run: Run, config: RunConfig) -> None:
    if chosen.is_main_process:
        text = msgspec.json.format(msgspec.json.encode(config)).decode()
        checkpoint.write_text(run.path / "config.json", text + "\n")


def _trainer(
    run: Run,
    config: RunConfig,
    model: Method,
    file: SequenceFile,
    split: tuple[Indices, Indices],
    chosen: Any,
    reporter: Reporter,
    on_epoch: EpochHook | None = None,
) -> Trainer:
    train, (train_index, val_index) = config.train, split
    if not chosen.is_main_process:
        reporter = Quiet()

    def batches(index: Indices) -> Batches:
        budget = train.resident_gb * 1e9
        return Batches(file, index, train.batch_size, resident_bytes=budget, device=chosen.device, reporter=reporter)

    reporter.note(
        f"{run.path}: {len(train_index)} training and {len(val_index)} validation sequences on {chosen.device}"
    )
    validation = batches(val_index) if len(val_index) else None
    return Trainer(run, config, reporter, chosen, model, batches(train_index), validation, on_epoch)
