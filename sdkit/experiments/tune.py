"""`tune`: search alpha, beta, the learning rate and the widths of the codes on the validation split, with Optuna.

The space is that of the paper's appendix A.3. What trials are compared by is chosen from `OBJECTIVES`. The loss itself
will not do: trials differ in its weights, and that with the smallest beta would win. With all weights 1 it is the
negative evidence lower bound, nats a sequence, which means the same whatever a trial was trained with: `elbo`. It tells
how well a model describes unseen sequences, not how well it splits them, and may be lowest where a code is not used at
all; so every trial also says how many units of both codes are active.
"""

import contextlib
import hashlib
import json
import math
import os
import shlex
import sqlite3
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from sdkit.figures.trials import draw_trials
from sdkit.methods.dbse.config import ModelConfig
from sdkit.methods.dbse.model import SplitModel
from sdkit.runtime.element import Kind
from sdkit.runtime.errors import ConfigError, FileFormatError, OutputExistsError, first_line
from sdkit.runtime.extras import need
from sdkit.runtime.locate import RUNS
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import remove, replacing
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.checkpoint import write_text
from sdkit.training.config import ANY_IMAGE, OF_THE_DATA, TrainConfig, settings
from sdkit.training.data import split_indices
from sdkit.training.device import accelerator
from sdkit.training.launch import start
from sdkit.training.loop import CollapseWarning
from sdkit.training.run import new_run_path
from sdkit.training.train import default_preset, default_variant

if TYPE_CHECKING:
    import optuna

State = Literal["complete", "pruned", "failed", "interrupted"]
Space = Mapping[str, tuple[float, ...]]

WEIGHTS = (1e-4, 1.0)
"""Range of alpha and beta, searched evenly in their logarithm; the paper has (0, 1)."""
LEARNING_RATES = (1e-3, 1.5e-3, 2e-3)
SIZES: dict[Kind, tuple[int, ...]] = {"image": (64, 128, 256), "series": (8, 16, 32), "spectrum": (64, 128, 256)}
RANGES = ("alpha", "beta")
"""Settings searched over a range; all others are chosen from a few values."""
STARTUP_TRIALS, WARMUP_EPOCHS = 5, 3
"""A trial is pruned when its best epoch is worse than the median of the complete trials at the same epoch, of which
there must be so many, and not before it has had so many epochs."""


class Objective(msgspec.Struct, frozen=True):
    """What trials are compared by: a sum of terms of the validation record, minimised."""

    label: str
    """Name and unit."""
    terms: tuple[str, ...]
    fixed: tuple[str, ...] = ()
    """Settings that cannot be searched by it, since it would always take their smallest value."""


OBJECTIVES = {
    "elbo": Objective("negative ELBO, nats a sequence", ("nll", "nll_anchor", "kl_static", "kl_dynamic")),
    "reconstruction": Objective("negative log-likelihood, nats a sequence", ("nll", "nll_anchor"), ("beta",)),
    "loss": Objective("loss", ("loss",), ("alpha", "beta")),
}
"""elbo: the evidence lower bound, all weights 1; reconstruction: its likelihoods alone; loss: what is trained. All are
of the validation split, and negative, so that lower is better."""


@dataclass(frozen=True)
class Trial:
    """One trial of a study."""

    number: int
    state: State
    """`failed`: the loss was not finite, or memory ran out; `interrupted`: stopped or killed, and not counted."""
    value: float | None
    """The objective at the epoch of least validation loss, whose weights a run keeps; of a pruned trial at its last."""
    epochs: int
    """That it had."""
    settings: dict[str, Any]
    """Those that are searched."""
    active_static: int | None = None
    """Units of the static code that vary over the validation split, at the same epoch as `value`."""
    active_dynamic: int | None = None
    reason: str = ""
    """Why it failed."""


@dataclass(frozen=True)
class Study:
    """What is known after a search."""

    path: Path
    """The study file, an SQLite database of Optuna's."""
    objective: str
    trials: tuple[Trial, ...]
    best: Trial | None
    """The complete trial of the lowest value."""
    command: str
    """Trains with the settings of the best trial; empty where there is none."""
    settings_file: Path | None
    """The same settings, all of them, as TOML."""
    picture: Path | None
    interrupted: bool
    """Whether Ctrl-C ended the search; the same call continues it."""


def tune(
    data: str | Path,
    *,
    trials: int = 30,
    epochs: int | None = None,
    objective: str = "elbo",
    study: str | Path | None = None,
    timeout: float | None = None,
    preset: str | None = None,
    variant: str | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
    **overrides: Any,
) -> Study:
    """Search the settings of a data set on its validation split, or continue a search, and return what was found.

    The first trial takes the settings that `train` would take, if they lie in the space. Each trial trains into a run
    folder of its own, which is removed. A continued study draws what an unbroken one would have drawn. Beside the study
    lie a picture of the trials (.png) and the best settings (.toml).

    Args:
        data: a sequence file.
        trials: so many in all, those that an existing study has among them; interrupted ones do not count.
        epochs: of each trial; the settings' own when None.
        objective: one of `OBJECTIVES`.
        study: the study file, continued if it exists; runs/tune/NAME.db by default.
        timeout: minutes after which no further trial begins.
        preset: settings to start from, as for `train`.
        variant: `paper`, `release` or `filter`; by default that of `train`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        reporter: is told how it goes.
        **overrides: any setting of `ModelConfig` or `TrainConfig`, which is then not searched.

    Raises:
        ConfigError: an argument or setting that cannot be, no validation split, nothing to search, or settings that are
            not those of the study.
        DataError, FileFormatError, MissingFileError: data or a study that cannot be used.
        DeviceError: a device that is not there.
        MissingExtraError: Optuna is not installed.
        OutputExistsError: a new study's picture or settings would replace a file.
        KeyboardInterrupt: Ctrl-C before any trial of the study ended; later it ends the search, with `interrupted` set.
    """
    need("tune", "optuna", what="sdkit tune")
    _check_arguments(trials, objective, timeout)
    # Settings do not depend on the data's shape: a wrong name is told before any data are read.
    settings(ANY_IMAGE, preset_name=preset, variant=variant or "paper", overrides=overrides)
    file = SequenceFile(data)
    variant = variant or default_variant(file.element)
    search = _Search(file, objective, epochs, preset, variant, device, reporter or Quiet(), overrides)
    search.check()
    path = Path(study) if study else RUNS / "tune" / f"{search.name}.db"
    ends = None if timeout is None else time.monotonic() + 60 * timeout
    with _folders(RUNS, *([] if study else [path.parent])), _alone(path), _silent():
        return search.run(path, trials, ends)


def _check_arguments(trials: int, objective: str, timeout: float | None) -> None:
    if objective not in OBJECTIVES:
        close = get_close_matches(objective, OBJECTIVES, n=1)
        meant = f" (did you mean '{close[0]}'?)" if close else ""
        raise ConfigError(f"unknown objective '{objective}'{meant}; there are: {', '.join(OBJECTIVES)}")
    if trials < 1:
        raise ConfigError(f"trials = {trials}; it must be at least 1")
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout = {timeout} minutes; it must be positive")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("sdkit tune runs in one process; start it without accelerate launch or torchrun")


def search_space(kind: Kind, fixed: Collection[str] = ()) -> Space:
    """Return what is searched (appendix A.3) save fixed settings: lowest and highest of `RANGES`, else choices."""
    sizes = SIZES[kind]
    space: dict[str, tuple[float, ...]] = {"alpha": WEIGHTS, "beta": WEIGHTS, "learning_rate": LEARNING_RATES}
    space |= {"static_size": sizes, "dynamic_size": sizes}
    unused = {"beta"} if {"beta_static", "beta_dynamic"} <= set(fixed) else set()
    return {name: values for name, values in space.items() if name not in fixed and name not in unused}


@dataclass(frozen=True)
class _Search:
    """All that decides a search but how long it goes on."""

    file: SequenceFile
    objective: str
    epochs: int | None
    given_preset: str | None
    variant: str
    device: str
    reporter: Reporter
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the data set, fit for that of a file."""
        return Path(self.file.meta.name).name or self.file.path.stem

    @property
    def preset(self) -> str | None:
        """The preset given, or that of the data."""
        return self.given_preset or default_preset(self.file)

    @property
    def space(self) -> Space:
        """What is searched."""
        return search_space(self.file.element.kind, self.overrides)

    def configs(self, found: Mapping[str, Any], *, trial: bool) -> tuple[ModelConfig, TrainConfig]:
        """Return the configs with settings that were found, of a trial or of the training that follows."""
        overrides = {**self.overrides, **found}
        if trial and self.epochs is not None:
            overrides["epochs"] = self.epochs
        return settings(self.file.element, preset_name=self.preset, variant=self.variant, overrides=overrides)

    def check(self) -> None:
        """Raise what would otherwise end every trial."""
        if not self.space:
            raise ConfigError("every setting that can be searched is set already; leave one out of --set")
        for name in OBJECTIVES[self.objective].fixed:
            if name in self.space:
                raise ConfigError(
                    f"--objective {self.objective}: its lowest value always has the smallest {name}; set it, such as "
                    f"--set {name}=0.1, or take elbo"
                )
        model, train = self.configs({}, trial=True)
        if not len(split_indices(self.file, train.val_fraction, train.seed)[1]):
            raise ConfigError(
                f"{self.file.path} has no validation sequence: no val split, and val_fraction = {train.val_fraction} "
                "holds none out; raise it, such as --set val_fraction=0.2"
            )
        accelerator(self.device)
        SplitModel(model)

    def description(self) -> dict[str, Any]:
        """Return what must not change within a study: the data, the objective, and every setting or its space."""
        model, train = self.configs({}, trial=True)
        values = {**msgspec.to_builtins(model), **msgspec.to_builtins(train)}
        values = {name: value for name, value in values.items() if name not in OF_THE_DATA}
        for name, space in self.space.items():
            values[name] = (" to " if name in RANGES else " or ").join(f"{value:g}" for value in space)
        described = {"objective": self.objective, "data": self._data(), **values}
        return dict(json.loads(json.dumps(described)))  # as it reads when it comes back from the study

    def _data(self) -> str:
        # A few sequences tell files of one shape apart, wherever they lie.
        first = self.file.read(slice(0, 16))
        digest = hashlib.sha256(first.tobytes()).hexdigest()[:12]
        return f"{self.name}: {self.file.count} sequences of {self.file.element.describe()}, digest {digest}"

    def run(self, path: Path, trials: int, ends: float | None) -> Study:
        """Search until there are so many trials or it is too late; remove a new study in which no trial ended."""
        described, new = self.description(), not path.exists()
        if new:
            _create(path, described)
        keep = not new
        try:
            with _opened(path) as study:
                _check_same(path, study.user_attrs.get("settings", {}), described)
                interrupted = False
                try:
                    self._loop(study, trials, ends)
                except KeyboardInterrupt:
                    interrupted = True
                finally:
                    _sweep(study)
                    keep = keep or bool(_ended(study))
                if not _ended(study):
                    raise KeyboardInterrupt
                return self._summary(path, _trials(study), interrupted)
        finally:
            if not keep:
                remove(path)

    def _loop(self, study: "optuna.Study", trials: int, ends: float | None) -> None:
        _sweep(study)
        while (ended := len(_ended(study))) < trials:
            self._attempt(study, ended, trials)
            if ends is not None and time.monotonic() >= ends:
                break

    def _attempt(self, study: "optuna.Study", ended: int, trials: int) -> None:
        """Run one trial and tell the study how it ended; one that is interrupted is left as running."""
        import optuna
        import torch

        study.sampler = self._sampler(ended)
        trial = study.ask({name: _distribution(name, values) for name, values in self.space.items()})
        model, train = self.configs(_rounded(trial.params), trial=True)
        train = msgspec.structs.replace(train, swap_every=0)
        folder = new_run_path(None, f"tune-{self.name}")
        trial.set_user_attr("run", str(folder.absolute()))
        records: list[dict[str, Any]] = []

        def on_epoch(record: dict[str, Any]) -> None:
            value = self._value(record)
            if not math.isfinite(value):
                raise ConfigError(f"the validation {self.objective} became {value} in epoch {record['epoch']}")
            records.append(record)
            trial.report(value, record["epoch"])
            self.reporter.advance(1, value=value)
            if record["epoch"] < train.epochs and trial.should_prune():
                raise optuna.TrialPruned

        self.reporter.start(f"trial {trial.number}, {ended + 1} of {trials}", train.epochs)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CollapseWarning)  # the table tells of collapse
                start(
                    self.file, model, train, name=folder.name, preset=self.preset or "", device=self.device,
                    reporter=Quiet(), on_epoch=on_epoch,
                )  # fmt: skip
        except optuna.TrialPruned:
            self._tell(study, trial, records[-1], optuna.trial.TrialState.PRUNED)
        except (ConfigError, torch.OutOfMemoryError) as error:
            reason = first_line(error).partition(" (the epochs before")[0]  # they are not kept here
            trial.set_user_attr("reason", reason)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            self.reporter.note(f"trial {trial.number} failed: {reason}")
        else:
            kept = min(records, key=lambda record: record["val"]["loss"])
            self._tell(study, trial, kept, optuna.trial.TrialState.COMPLETE)
        finally:
            self.reporter.finish()
            remove(folder)

    def _sampler(self, ended: int) -> "optuna.samplers.BaseSampler":
        """Return the sampler of the next trial; seeded by trial, so that a continued study draws as an unbroken one."""
        import optuna

        model, train = self.configs({}, trial=True)
        seed = int(np.random.SeedSequence([train.seed, ended]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=seed)
        usual = {name: getattr(train, name, None) or getattr(model, name, None) for name in self.space}
        if ended or not all(_contains(name, self.space[name], usual[name]) for name in usual):
            return sampler
        return optuna.samplers.PartialFixedSampler(usual, sampler)

    def _value(self, record: Mapping[str, Any]) -> float:
        return float(sum(record["val"][term] for term in OBJECTIVES[self.objective].terms))

    def _tell(
        self, study: "optuna.Study", trial: "optuna.Trial", record: Mapping[str, Any], state: "optuna.trial.TrialState"
    ) -> None:
        for code in ("active_static", "active_dynamic"):
            trial.set_user_attr(code, record[code])
        pruned = state.name == "PRUNED"  # for which Optuna takes the last value by itself
        study.tell(trial, None if pruned else self._value(record), state=state)

    def _summary(self, path: Path, trials: tuple[Trial, ...], interrupted: bool) -> Study:
        complete = [trial for trial in trials if trial.state == "complete"]
        best = min(complete, key=lambda trial: trial.value or 0.0, default=None)
        if best is None:
            return Study(path, self.objective, trials, None, "", None, None, interrupted)
        settings_file, picture = _beside(path)
        write_text(settings_file, self._toml(best, len(trials)))
        draw_trials(
            trials, picture, best=best, objective=f"validation {OBJECTIVES[self.objective].label}", logarithmic=RANGES,
            note=f"Data: {self.name}.",
        )  # fmt: skip
        return Study(path, self.objective, trials, best, self._command(best), settings_file, picture, interrupted)

    def _command(self, best: Trial) -> str:
        words = ["sdkit", "train", str(self.file.path)]
        words += ["--preset", self.given_preset] if self.given_preset else []
        words += ["--variant", self.variant] if self.variant != "paper" else []
        for name, value in {**self.overrides, **best.settings}.items():
            if value is not None:
                words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        words += ["--device", self.device] if self.device != "auto" else []
        return shlex.join(words)

    def _toml(self, best: Trial, count: int) -> str:
        model, train = self.configs(best.settings, trial=False)
        values = {**msgspec.to_builtins(train), **msgspec.to_builtins(model)}
        head = (
            f"# Found by `sdkit tune`: trial {best.number} of {count}, validation {OBJECTIVES[self.objective].label}: "
            f"{best.value:.6g}, of {best.epochs} epochs.\n"
        )
        lines = [
            f"{name} = {json.dumps(value)}{'  # searched' if name in best.settings else ''}\n"
            for name, value in values.items()
            if value is not None and name not in OF_THE_DATA
        ]
        return head + "".join(lines)


def _rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with three significant digits, which a command line can repeat exactly."""
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in found.items()}


def _distribution(name: str, values: tuple[float, ...]) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return FloatDistribution(values[0], values[1], log=True) if name in RANGES else CategoricalDistribution(values)


def _contains(name: str, values: tuple[float, ...], value: float | None) -> bool:
    if value is None:
        return False
    return values[0] <= value <= values[1] if name in RANGES else value in values


def _beside(path: Path) -> tuple[Path, Path]:
    """Return where the best settings and the picture of a study lie."""
    return path.with_suffix(".toml"), path.with_suffix(".png")


def _create(path: Path, described: Mapping[str, Any]) -> None:
    """Make a new study, whole or not at all."""
    for file in _beside(path):
        if file == path:
            raise ConfigError(f"--study {path}: {path.suffix} is the ending of what is written beside it; use .db")
        if file.exists():
            raise OutputExistsError(f"{file} exists already and would be replaced; choose another --study")
    with replacing(path) as temporary, _opened(temporary, new=True) as study:
        study.set_user_attr("settings", described)


NAME = "sdkit tune"
"""Of the study in its file."""


@contextmanager
def _opened(path: Path, *, new: bool = False) -> Iterator["optuna.Study"]:
    """Open a study file.

    Raises:
        FileFormatError: it is none, or one of a version of Optuna that does not suit.
    """
    import optuna
    from sqlalchemy import URL

    if not new:
        _check_file(path)
    try:
        # SQLite rolls back what a killed process left half-written; a journal file would keep the torn line for good.
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


def _check_same(path: Path, stored: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    names = [name for name in {**stored, **now} if stored.get(name) != now.get(name)]
    if names:
        changes = ", ".join(f"{name} = {stored.get(name)} (now {now.get(name)})" for name in names)
        raise ConfigError(f"{path} was made with {changes}; give the same settings, or another --study")


def _sweep(study: "optuna.Study") -> None:
    """Note the trials that were stopped or killed, and remove what they left."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if "run" in trial.user_attrs:
            remove(Path(trial.user_attrs["run"]))
        study.tell(trial.number, state=TrialState.FAIL)


def _trials(study: "optuna.Study") -> tuple[Trial, ...]:
    """Return the trials of a study that is swept."""
    trials = []
    for trial in study.get_trials(deepcopy=False):
        reason = trial.user_attrs.get("reason", "")
        failed: State = "failed" if reason else "interrupted"
        states: dict[str, State] = {"COMPLETE": "complete", "PRUNED": "pruned"}
        static, dynamic = (trial.user_attrs.get(name) for name in ("active_static", "active_dynamic"))
        epochs, found = len(trial.intermediate_values), _rounded(trial.params)
        state = states.get(trial.state.name, failed)
        trials.append(Trial(trial.number, state, trial.value, epochs, found, static, dynamic, reason))
    return tuple(trials)


def _ended(study: "optuna.Study") -> list[Trial]:
    """Return the trials that count: all but those that run or were interrupted."""
    return [trial for trial in _trials(study) if trial.state != "interrupted"]


@contextmanager
def _folders(*folders: Path) -> Iterator[None]:
    """Make folders, each in one that exists; afterwards remove those that were made here and hold nothing."""
    made = [folder for folder in folders if not folder.exists()]
    for folder in made:
        folder.mkdir()
    try:
        yield
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from a study: what they run would be taken for killed.

    Raises:
        ConfigError: another process is at it.
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
def _silent() -> Iterator[None]:
    """Silence Optuna's own log, and its warnings that something is experimental; our reporter tells how it goes."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
