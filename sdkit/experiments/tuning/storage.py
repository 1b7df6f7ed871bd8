"""A study in its file, an SQLite database of Optuna's: created, opened, locked, and read back as trials."""

import contextlib
import sqlite3
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdkit import methods
from sdkit.experiments.tuning.result import State, Trial
from sdkit.runtime.errors import ConfigError, FileFormatError, OutputExistsError, first_line
from sdkit.runtime.storage.output import remove, replacing

if TYPE_CHECKING:
    import optuna

NAME = "sdkit tune"
"""Name of the study in its file."""
STARTUP_TRIALS, WARMUP_EPOCHS = 5, 3
"""Pruning rule: a trial is pruned when its best epoch is worse than the median of the complete trials at the same
epoch; it takes this many complete trials, and this many epochs of the trial itself."""


def beside(path: Path) -> tuple[Path, Path]:
    """Return the paths of the best settings and the picture of a study."""
    return path.with_suffix(".toml"), path.with_suffix(".png")


def create(path: Path, described: Mapping[str, Any]) -> None:
    """Create a new study, completely or not at all."""
    for file in beside(path):
        if file == path:
            raise ConfigError(f"--study {path}: {path.suffix} is the ending of what is written beside it; use .db")
        if file.exists():
            raise OutputExistsError(f"{file} exists already and would be replaced; choose another --study")
    with replacing(path) as temporary, opened(temporary, new=True) as study:
        study.set_user_attr("settings", described)


@contextmanager
def opened(path: Path, *, new: bool = False) -> Iterator["optuna.Study"]:
    """Open a study file.

    Raises:
        FileFormatError: it is not a study, or one of an unsuitable version of Optuna.
    """
    import optuna
    from sqlalchemy import URL

    if not new:
        _check_file(path)
    try:
        # SQLite rolls back what a killed process left half-written; a journal file would keep the torn line forever.
        storage = optuna.storages.RDBStorage(URL.create("sqlite", database=str(path)).render_as_string())
    except RuntimeError as error:
        raise FileFormatError(f"{path} cannot be continued: {first_line(error)}") from error
    try:
        yield optuna.create_study(
            storage=storage,
            study_name=NAME,
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_EPOCHS),
        )
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _check_file(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)) as base:
            names = base.execute("SELECT study_name FROM studies").fetchall()
    except sqlite3.Error as error:
        raise FileFormatError(f"{path} is not a study of sdkit tune ({error}); choose another --study") from error
    if (NAME,) not in names:
        raise FileFormatError(f"{path} is a study of something else than sdkit tune; choose another --study")


def check_same(path: Path, stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise ConfigError unless a study was made with the settings that are requested now."""
    # A study that names no method was made when there was only one.
    stored = {"method": methods.DEFAULT, **stored} if stored else stored
    names = [name for name in {**stored, **now} if stored.get(name) != now.get(name)]
    if names:
        changes = ", ".join(f"{name} = {stored.get(name)} (now {now.get(name)})" for name in names)
        raise ConfigError(f"{path} was made with {changes}; give the same settings, or another --study")


def sweep(study: "optuna.Study") -> None:
    """Record the trials that were stopped or killed, and remove their files."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "run" in trial.user_attrs:
            remove(Path(trial.user_attrs["run"]))
        study.tell(trial.number, state=TrialState.FAIL)


def trials_of(study: "optuna.Study") -> tuple[Trial, ...]:
    """Return the trials of a study after `sweep`."""
    trials = []
    for trial in study.get_trials(deepcopy=False):
        reason = trial.user_attrs.get("reason", "")
        failed: State = "failed" if reason else "interrupted"
        states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned"}
        static, dynamic = (trial.user_attrs.get(name) for name in ("active_static", "active_dynamic"))
        epochs, found = len(trial.intermediate_values), rounded(trial)
        state = states.get(trial.state.name, failed)
        trials.append(Trial(trial.number, state, trial.value, epochs, found, static, dynamic, reason))
    return tuple(trials)


def ended(study: "optuna.Study") -> list[Trial]:
    """Return the trials that count: all but those that run or were interrupted."""
    return [trial for trial in trials_of(study) if trial.state != "interrupted"]


def rounded(trial: "optuna.Trial | optuna.trial.FrozenTrial") -> dict[str, Any]:
    """Return the settings of a trial, those of a range with three significant digits, which a command line repeats."""
    from optuna.distributions import FloatDistribution

    drawn = {name for name, values in trial.distributions.items() if isinstance(values, FloatDistribution)}
    return {name: float(f"{value:.3g}") if name in drawn else value for name, value in trial.params.items()}


@contextmanager
def folders(*wanted: Path) -> Iterator[None]:
    """Create folders, each in an existing one; afterwards remove those that were created here and are empty."""
    made = [folder for folder in wanted if not folder.exists()]
    for folder in made:
        folder.mkdir()
    try:
        yield
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Lock a study against other processes, which would take a running trial for a killed one.

    Raises:
        ConfigError: another process uses it.
    """
    if sys.platform == "win32" or not path.absolute().parent.is_dir():
        yield
        return
    import fcntl

    lock = path.with_name(f".{path.name}.lock")
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{path} is in use by another sdkit tune; wait for it, or choose another --study"
            ) from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def silent() -> Iterator[None]:
    """Silence Optuna's own log and its warnings about experimental features; the reporter shows the progress."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
