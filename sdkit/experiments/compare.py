"""`compare`: methods side by side on one data set, under equal conditions.

Every method has the same element networks, the same number of optimiser steps of the same batch size, the same number
of trials of a search on the validation split, the same judge and the same heads; the test split is read once, when a
row is measured. Models are trained one after the other in this process. A comparison that was interrupted goes on where
it stopped, and more seeds or methods are added to a finished one.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch

from sdkit.evaluation.data import Parts, parts_of
from sdkit.evaluation.evaluate import measure
from sdkit.evaluation.subject import Subject, open_subject
from sdkit.experiments.comparison.columns import figures_of, notes_of
from sdkit.experiments.comparison.cost import measure_costs
from sdkit.experiments.comparison.entries import ALL, Entry, Folder, Row, Terms, Tuned, data_digest, parse
from sdkit.experiments.comparison.report import Comparison, draw, write
from sdkit.experiments.comparison.swaps import draw_swaps_of, swapped
from sdkit.experiments.runs import ensure_run
from sdkit.experiments.tune import tune
from sdkit.experiments.tuning.objectives import OBJECTIVES
from sdkit.export import export_bundle
from sdkit.methods import DEFAULT
from sdkit.runtime.errors import ConfigError, DivergenceError, first_line
from sdkit.runtime.locate import RUNS
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import remove
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.version import __version__
from sdkit.training.config import TRAIN_KEYS, Plan
from sdkit.training.data import Batches
from sdkit.training.run import Run

COMPARISONS = RUNS / "compare"
TRIAL_SHARE = 5
"""A trial of a search has this fraction of the steps, as 1/n."""
REPEATS = 2
"""Number of draws of codes from the prior in a row's evaluation; rows are averaged over seeds."""


def compare(
    data: str | Path,
    *,
    methods: str | Sequence[str] = ALL,
    steps: int = 1000,
    trials: int = 0,
    seeds: int = 3,
    objective: str = "elbo",
    output: str | Path | None = None,
    onnx: bool = False,
    keep_runs: bool = False,
    device: str = "auto",
    reporter: Reporter | None = None,
    **overrides: Any,
) -> Comparison:
    """Compare methods on a data set, write tables and figures, and return the comparison.

    Args:
        data: sequence file with a test split.
        methods: names of methods, `name` or `name:variant`, or `all`.
        steps: number of optimiser steps of every model, rounded to whole epochs.
        trials: number of trials of each method's search, of a fifth of the steps each; 0 takes the preset's settings.
        seeds: number of seeds, counted from 0.
        objective: objective by which trials are compared, as for `tune`.
        output: folder of the results, runs/compare/DATA by default; one that exists is continued.
        onnx: export each method's model of the first seed to ONNX, prove it, and measure its graphs as well.
        keep_runs: keep the run folders; by default each is removed when its row is complete.
        device: device, as in `train`.
        reporter: receives the progress.
        **overrides: settings that every method is given as far as it has them, such as `static_size=32`.

    Raises:
        ConfigError: an unknown method, a number out of range, data without a test split, or a folder that holds a
            comparison under other terms.
        ParityError: an exported graph differs from its model.
        DataError, FileFormatError, MissingFileError: data or a folder that cannot be used.
        MissingExtraError: a search is asked for and Optuna is not installed.

    >>> found = sdkit.compare("puppets.h5", methods="gpvae", steps=1, seeds=1)
    >>> [(row.entry, row.seed) for row in found.rows]
    [('gpvae', 0)]
    """
    reporter = reporter or Quiet()
    entries = parse([methods] if isinstance(methods, str) else methods)
    for name, value, least in (("steps", steps, 1), ("trials", trials, 0), ("seeds", seeds, 1)):
        if value < least:
            raise ConfigError(f"{name} = {value}; it must be at least {least}")
    file = SequenceFile(data)
    parts = parts_of(file)
    name = file.meta.name or file.path.stem
    terms = Terms(
        data=name, digest=data_digest(file), steps=steps, trials=trials, objective=objective, overrides=overrides
    )
    _check_overrides(entries, file, overrides)
    folder = Folder(Path(output) if output else COMPARISONS / Path(name).name, terms)
    work = _Work(file, parts, folder, onnx, keep_runs, device, reporter)
    found = Comparison(folder.path, terms, [], {}, {})
    found.costs.update(work.costs(entries))
    for row in work.rows(entries, range(seeds), found.costs):
        found.rows.append(row)
        if row.entry not in found.tuned and (tuned := folder.tuned(row.entry)):
            found.tuned[row.entry] = tuned
        write(found, folder)
    draw(found)
    kept = folder.swaps()
    swaps = {name: kept[name] for name in found.entries if name in kept}
    if swaps:
        note = f"{terms.steps} optimiser steps, seed 0."
        draw_swaps_of(swaps, file, parts.test, folder.path / "swaps.png", note=note)
    return found


def _check_overrides(entries: Sequence[Entry], file: SequenceFile, overrides: Mapping[str, Any]) -> None:
    """Raise ConfigError where no method has a setting, or one of these has a value that cannot be."""
    known = {name for entry in parse([ALL]) for name in _keys(entry)} - {"epochs", "seed"}
    for name in overrides:
        if name not in known:
            raise ConfigError(f"unknown setting '{name}': no method has it, and training has none that a row may set")
    for entry in entries:
        entry.plan(file, _those(entry, overrides))


def _keys(entry: Entry) -> tuple[str, ...]:
    return (*entry.found.Settings.__struct_fields__, *TRAIN_KEYS)


def _those(entry: Entry, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a method has."""
    return {name: value for name, value in overrides.items() if name in _keys(entry)}


@dataclass
class _Work:
    """Searches, trains and measures, and keeps what it finds."""

    file: SequenceFile
    parts: Parts
    folder: Folder
    onnx: bool
    keep_runs: bool
    device: str
    reporter: Reporter
    of_data: dict[str, Any] = field(default_factory=dict)
    """Baselines and other results that do not depend on the model."""

    @property
    def terms(self) -> Terms:
        return self.folder.terms

    def costs(self, entries: Sequence[Entry]) -> dict[str, float]:
        """Return the seconds of a step by entry: measured in turn, again for all where one is new."""
        known = self.folder.costs()
        if not all(entry.name in known for entry in entries):
            plans = [(entry, self._plan(entry, {})) for entry in entries]
            known = measure_costs(self.file, plans, self.reporter)
            self.folder.keep_costs(known)
        return {entry.name: known[entry.name] for entry in entries}

    def rows(self, entries: Sequence[Entry], seeds: Sequence[int], costs: Mapping[str, float]) -> Iterator[Row]:
        """Yield the rows of all entries, one seed after the other, so that a whole table is there early."""
        todo = [(seed, entry, self._known(entry, seed)) for seed in seeds for entry in entries]
        total = sum(costs[entry.name] for _, entry, _ in todo)
        done = before = sum(costs[entry.name] for _, entry, row in todo if row is not None)
        started = time.monotonic()
        for number, (seed, entry, row) in enumerate(todo, 1):
            if row is None:
                self.reporter.note(f"row {number} of {len(todo)}: {entry.name}, seed {seed}")
                row = self._row(entry, seed)
                self.folder.keep_row(row)
                done += costs[entry.name]
                spent = time.monotonic() - started
                left = spent * (total - done) / (done - before)
                self.reporter.note(f"row {number} of {len(todo)} done; about {left / 60:.0f} minutes left")
            yield row

    def _known(self, entry: Entry, seed: int) -> Row | None:
        """Return a finished row; None where there is none, or where its figures on ONNX graphs are missing."""
        row = self.folder.row(entry.name, seed)
        exported = not self.onnx or seed > 0 or row is None or row.onnx or row.failed
        return row if exported else None

    def _plan(self, entry: Entry, found: Mapping[str, Any]) -> Plan:
        return entry.plan(self.file, {**self._given(entry), **found})

    def _given(self, entry: Entry) -> dict[str, Any]:
        """Return the settings that a method is given: the user's, and the batch size that all share."""
        usual = Entry(DEFAULT).plan(self.file, {}).train.batch_size
        return {"batch_size": usual, **_those(entry, self.terms.overrides)}

    def _epochs(self, found: Plan, steps: float) -> tuple[int, int]:
        """Return the number of whole epochs that are nearest to a number of steps, and the steps of an epoch."""
        train, device = found.train, torch.device("cpu")
        budget = train.resident_gb * 1e9  # streamed data are cut into other batches than resident ones
        batches = Batches(
            self.file, self.parts.train, train.batch_size, resident_bytes=budget, device=device, reporter=Quiet(),
            load=False,
        )  # fmt: skip
        each = batches.count(0, 0)
        return max(1, round(steps / each)), each

    def _tuned(self, entry: Entry) -> Tuned:
        """Return the settings of the best trial of a method, searched once."""
        kept = self.folder.tuned(entry.name)
        if kept is not None:
            return kept
        if not self.terms.trials:
            return Tuned(settings={}, reason="no search was asked for: the preset's settings")
        compared_by = OBJECTIVES[self.terms.objective]
        if not compared_by.terms(entry.found):
            reason = f"the method {entry.method} has no term of kind {' or '.join(compared_by.kinds)}"
            self.folder.keep_tuned(entry.name, tuned := Tuned(settings={}, reason=reason))
            return tuned
        epochs, _ = self._epochs(self._plan(entry, {}), self.terms.steps / TRIAL_SHARE)
        study = self.folder.path / "tuning" / f"{entry.name}.db"
        study.parent.mkdir(parents=True, exist_ok=True)
        found = tune(
            self.file.path, trials=self.terms.trials, epochs=epochs, objective=self.terms.objective, study=study,
            method=entry.method, variant=entry.variant or None, device=self.device, reporter=self.reporter,
            **self._given(entry),
        )  # fmt: skip
        if found.interrupted:
            raise KeyboardInterrupt
        trials = [msgspec.to_builtins(trial) for trial in found.trials]
        tuned = Tuned(settings=found.best.settings if found.best else {}, trials=trials)
        self.folder.keep_tuned(entry.name, tuned)
        for path in (study, study.with_suffix(".toml")):
            with suppress(FileNotFoundError):
                path.unlink()  # the trials are kept as text
        return tuned

    def _row(self, entry: Entry, seed: int) -> Row:
        """Train and measure one model."""
        settings = self._tuned(entry).settings
        epochs, each = self._epochs(self._plan(entry, settings), self.terms.steps)
        given = {**self._given(entry), **settings, "epochs": epochs, "seed": seed, "swap_every": 0}
        found = entry.plan(self.file, given)
        blank = Row(
            entry=entry.name, method=entry.method, variant=found.variant, seed=seed, steps=epochs * each,
            epochs=epochs, seconds=0.0, parameters=0, settings=msgspec.to_builtins(found.settings),
            train=msgspec.to_builtins(found.train), weights="", figures={}, skipped={},
            sdkit=__version__, torch=str(torch.__version__),
        )  # fmt: skip
        try:
            run = ensure_run(
                self.file, entry.name, method=entry.method, variant=found.variant if entry.variant else "",
                overrides=given, device=self.device, reporter=self.reporter,
            )  # fmt: skip
        except DivergenceError as error:
            self.reporter.note(f"{entry.name}, seed {seed}: no model, {first_line(error)}")
            return msgspec.structs.replace(blank, failed=first_line(error))
        row = self._measured(run, blank)
        if not self.keep_runs:
            remove(run.path)
        return row

    def _measured(self, run: Run, blank: Row) -> Row:
        subject = open_subject(run.path)
        found = self._figures(subject, blank.seed)
        assert subject.model is not None
        if blank.seed == 0 and (x := swapped(subject.verbs, self.file, self.parts.test)) is not None:
            self.folder.keep_swaps(blank.entry, x)
        exported = {}
        if self.onnx and blank.seed == 0:
            bundle = export_bundle(run, force=True, reporter=self.reporter)
            exported = figures_of(self._figures(open_subject(bundle.path), blank.seed))
        return msgspec.structs.replace(
            blank,
            seconds=round(sum(record["seconds"] for record in run.metrics()), 1),
            parameters=sum(value.numel() for value in subject.model.parameters()),
            weights=subject.weights,
            figures=figures_of(found),
            skipped=found["skipped"],
            onnx={name: figure.value for name, figure in exported.items()},
            notes=notes_of(found),
        )

    def _figures(self, subject: Subject, seed: int) -> dict[str, Any]:
        return measure(
            subject, self.file, repeats=REPEATS, seed=seed, device=self.device, of_data=self.of_data,
            reporter=self.reporter,
        )  # fmt: skip
