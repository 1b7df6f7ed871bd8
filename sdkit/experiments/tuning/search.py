"""A search: everything that determines it, and the loop that runs trial after trial."""

import hashlib
import json
import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from sdkit import methods
from sdkit.experiments.tuning.objectives import OBJECTIVES, Objective, check_objective
from sdkit.experiments.tuning.result import Study, Trial, as_toml, train_command
from sdkit.experiments.tuning.space import Space, contains, described, ranges, search_space
from sdkit.experiments.tuning.storage import beside, check_same, create, ended, opened, rounded, sweep, trials_of
from sdkit.figures.trials import draw_trials
from sdkit.methods.base import Choice, Facts, Method, Range
from sdkit.runtime.errors import ConfigError, first_line
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import remove
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.checkpoint import write_text
from sdkit.training.config import Plan, check_preset, plan
from sdkit.training.data import split_indices
from sdkit.training.device import accelerator
from sdkit.training.launch import start
from sdkit.training.loop import CollapseWarning
from sdkit.training.run import new_run_path
from sdkit.training.train import default_preset

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Search:
    """Everything that determines a search except its length."""

    file: SequenceFile
    method: type[Method]
    objective: str
    """Name of the objective in `OBJECTIVES`."""
    epochs: int | None
    given_preset: str | None
    variant: str
    device: str
    reporter: Reporter
    overrides: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the data set in a form for file names."""
        return Path(self.file.meta.name).name or self.file.path.stem

    @property
    def preset(self) -> str | None:
        """Preset given, or that of the data."""
        if self.given_preset:
            check_preset(self.given_preset, self.file.element, str(self.file.path))
        return self.given_preset or default_preset(self.file)

    @property
    def space(self) -> Space:
        """Searched settings and their values."""
        return search_space(self.method, self.file.element, self.overrides)

    @property
    def compared_by(self) -> Objective:
        """Objective by which trials are compared."""
        return OBJECTIVES[self.objective]

    def plan(self, found: Mapping[str, Any], *, trial: bool) -> Plan:
        """Return the plan of a trial with the settings that were drawn, or of the training that follows the search."""
        overrides = {**self.overrides, **found}
        if trial and self.epochs is not None:
            overrides["epochs"] = self.epochs
        return plan(
            self.file.element,
            method=self.method.name,
            preset_name=self.preset,
            variant=self.variant,
            overrides=overrides,
        )

    def check(self) -> None:
        """Raise the errors that would otherwise end every trial."""
        if not self.space:
            raise ConfigError("every setting that can be searched is set already; leave one out of --set")
        found = self.plan({}, trial=True)
        check_objective(self.objective, self.method, _values(found), ranges(self.space))
        train, val = split_indices(self.file, found.train.val_fraction, found.train.seed)
        if not len(val):
            raise ConfigError(
                f"{self.file.path} has no validation sequence: no val split, and val_fraction = "
                f"{found.train.val_fraction} holds none out; raise it, such as --set val_fraction=0.2"
            )
        accelerator(self.device)
        found.build(Facts(self.file.element, self.file.steps, len(train)))

    def description(self) -> dict[str, Any]:
        """Return what must not change within a study: the data, the objective, and every setting or its space."""
        values = {"method": self.method.name, **_values(self.plan({}, trial=True))}
        values |= {name: described(searched) for name, searched in self.space.items()}
        about = {"objective": self.objective, "data": self._data(), **values}
        return dict(json.loads(json.dumps(about)))  # in the form in which it is read back from the study

    def _data(self) -> str:
        # A few sequences distinguish files of one shape, wherever they are stored.
        first = self.file.read(slice(0, 16))
        digest = hashlib.sha256(first.tobytes()).hexdigest()[:12]
        return f"{self.name}: {self.file.count} sequences of {self.file.element.describe()}, digest {digest}"

    def run(self, path: Path, trials: int, ends: float | None) -> Study:
        """Search until there are enough trials or time is up; remove a new study in which no trial ended."""
        description, new = self.description(), not path.exists()
        if new:
            create(path, description)
        keep = not new
        try:
            with opened(path) as study:
                check_same(path, study.user_attrs.get("settings", {}), description)
                interrupted = False
                try:
                    self._loop(study, trials, ends)
                except KeyboardInterrupt:
                    interrupted = True
                finally:
                    sweep(study)
                    keep = keep or bool(ended(study))
                if not ended(study):
                    raise KeyboardInterrupt
                return self._summary(path, trials_of(study), interrupted)
        finally:
            if not keep:
                remove(path)

    def _loop(self, study: "optuna.Study", trials: int, ends: float | None) -> None:
        sweep(study)
        while (done := len(ended(study))) < trials:
            self._attempt(study, done, trials)
            if ends is not None and time.monotonic() >= ends:
                break

    def _attempt(self, study: "optuna.Study", done: int, trials: int) -> None:
        """Run one trial and record in the study how it ended; one that is interrupted is left as running."""
        import optuna
        import torch

        study.sampler = self._sampler(done)
        trial = study.ask({name: _distribution(values) for name, values in self.space.items()})
        found = self.plan(rounded(trial), trial=True)
        found = found._replace(train=msgspec.structs.replace(found.train, swap_every=0))
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
            if record["epoch"] < found.train.epochs and trial.should_prune():
                raise optuna.TrialPruned

        self.reporter.start(f"trial {trial.number}, {done + 1} of {trials}", found.train.epochs)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CollapseWarning)  # the table shows a collapse
                start(
                    self.file, found, name=folder.name, preset=self.preset or "", device=self.device,
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

    def _sampler(self, done: int) -> "optuna.samplers.BaseSampler":
        """Return the sampler of the next trial; seeded by trial, so that a continued study draws the same."""
        import optuna

        found = self.plan({}, trial=True)
        seed = int(np.random.SeedSequence([found.train.seed, done]).generate_state(1)[0])
        sampler = optuna.samplers.TPESampler(seed=seed)
        usual = {name: _values(found)[name] for name in self.space}
        if done or not all(contains(self.space[name], value) for name, value in usual.items()):
            return sampler
        return optuna.samplers.PartialFixedSampler(usual, sampler)

    def _value(self, record: Mapping[str, Any]) -> float:
        return self.compared_by.value(self.method, record)

    def _tell(
        self, study: "optuna.Study", trial: "optuna.Trial", record: Mapping[str, Any], state: "optuna.trial.TrialState"
    ) -> None:
        for code in ("active_static", "active_dynamic"):
            trial.set_user_attr(code, record.get(code))  # None for a code that the method does not have
        pruned = state.name == "PRUNED"  # for which Optuna takes the last value by itself
        study.tell(trial, None if pruned else self._value(record), state=state)

    def _summary(self, path: Path, trials: tuple[Trial, ...], interrupted: bool) -> Study:
        complete = [trial for trial in trials if trial.state == "complete"]
        best = min(complete, key=lambda trial: trial.value or 0.0, default=None)
        if best is None:
            return Study(path, self.objective, trials, None, "", None, None, interrupted)
        settings_file, picture = beside(path)
        label = f"validation {self.compared_by.label}"
        write_text(settings_file, as_toml(self.plan(best.settings, trial=False), best, len(trials), label))
        along = ranges(self.space)
        draw_trials(trials, picture, best=best, objective=label, logarithmic=along, note=f"Data: {self.name}.")
        return Study(path, self.objective, trials, best, self._command(best), settings_file, picture, interrupted)

    def _command(self, best: Trial) -> str:
        usual = self.method.default_variant(self.file.element)
        options = {
            "preset": self.given_preset,
            "method": self.method.name if self.method.name != methods.DEFAULT else None,
            "variant": self.variant if self.variant != usual else None,
        }
        device = {"device": self.device if self.device != "auto" else None}
        return train_command(self.file.path, options, {**self.overrides, **best.settings}, device)


def _values(found: Plan) -> dict[str, Any]:
    """Return all settings by name."""
    return {**msgspec.to_builtins(found.settings), **msgspec.to_builtins(found.train)}


def _distribution(values: Range | Choice) -> "optuna.distributions.BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(values, Range):
        return FloatDistribution(values.low, values.high, log=True)
    return CategoricalDistribution(values.values)
