"""`reproduce`: a table of the paper, made with one call, with baselines, controls and the paper's figures.

Every row is trained once for each seed, representation and heads alike; figures are means and standard deviations over
seeds. Runs and all figures are kept, so that an interrupted table continues where it stopped.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from sdkit import methods
from sdkit.data import make_dataset
from sdkit.evaluation.data import Parts, parts_of
from sdkit.evaluation.downstream.tasks import TableTask
from sdkit.evaluation.likelihood import likelihood
from sdkit.evaluation.plain import plain
from sdkit.evaluation.subject import fits_prior
from sdkit.experiments.report import as_json, as_markdown
from sdkit.experiments.results import PartResult, RowResult, TableResult
from sdkit.experiments.runs import ensure_run
from sdkit.experiments.tables import MADE_WITH, ROWS, TABLES, Part, Row
from sdkit.methods.base import Batch, Method
from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.bundle import sha256
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.errors import CapabilityError, ConfigError, MissingFileError
from sdkit.runtime.locate import RUNS
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.output import replacing
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.runtime.version import __version__
from sdkit.training.config import plan
from sdkit.training.data import equal_lengths
from sdkit.training.run import Run, RunConfig

RESULTS = RUNS / "reproduce"
DATA = RUNS / "data"
COSTS = {"static_divergence": "KL_s", "dynamic_divergence": "KL_d", "nll_value": "NLL a value"}
"""Figures of the model itself that stand in every table, since means hide a collapsed code; a method has those that its
terms give."""
KEPT_VERSION = 3
"""Version of the stored figures; those of another version are measured again."""


def reproduce(
    name: str,
    *,
    sources: Mapping[str, str | Path] | None = None,
    seeds: int = 3,
    epochs: int | None = None,
    rows: Sequence[str] | None = None,
    peers: bool = False,
    only: str | None = None,
    device: str = "auto",
    reporter: Reporter | None = None,
) -> TableResult:
    """Reproduce a table of the paper and return it; it is also written to runs/reproduce/NAME.json and NAME.md.

    Figures that publications print for other methods are copied into a table of their own.

    Args:
        name: name of the table, such as `table3-icu`.
        sources: by data set, the source that its maker takes (folder, archive) or a sequence file made before. Where
            runs/data/DATA.h5 exists, it is taken.
        seeds: number of seeds, counted from 0.
        epochs: number of epochs of every row; the preset's when None.
        rows: names of models to run (`ROWS`); the table's own when None.
        peers: whether the other methods of the table are trained too, after `rows`; those that cannot do the table's
            task are left out.
        only: one of the table's data sets.
        device: device, as in `train`.
        reporter: receives the progress.

    Raises:
        CapabilityError: a row of `rows` whose method cannot do the table's task.
        ConfigError: an unknown table, row, method or data set, fewer than one seed, or `peers` of a table without any.
        MissingFileError: no data set of the table exists or can be made.

    >>> sdkit.reproduce("table3-icu", sources={"physionet": "no-such.h5"})
    Traceback (most recent call last):
    sdkit.runtime.errors.MissingFileError: ...
    """
    reporter = reporter or Quiet()
    sources = dict(sources or {})
    _check(name, seeds, rows or (), [*sources, *([only] if only else [])], peers)
    wanted = [part for part in TABLES[name].parts if only in (None, part.data)]
    files, skipped = _files(wanted, sources, reporter)
    if not files:
        hint = f"give the source, as in `sdkit reproduce {name} --source {next(iter(skipped))}=PATH`"
        raise MissingFileError(f"{name} needs {' or '.join(skipped)}, of which none lies under {DATA}; {hint}")
    result = _empty(name, list(range(seeds)), epochs, list(rows or ()), only, skipped, peers)
    makers = [
        _Maker(part, (file := files[part.data]), parts_of(file), epochs, device, reporter)
        for part in wanted
        if part.data in files
    ]
    chosen = [maker.chosen(rows or maker.part.rows, peers) for maker in makers]  # all, before the first is trained
    RESULTS.mkdir(parents=True, exist_ok=True)
    for maker, (asked, left_out) in zip(makers, chosen, strict=True):
        part = maker.part
        done = PartResult(part.data, part.task.name, {}, [], maker.notes(), maker.counts, left_out)
        done.copied = list(part.copied)
        result.parts.append(done)
        for finished in maker.rows(asked, result.seeds):
            done.rows.append(finished)
            done.columns = _columns(part.task, done.rows)
            _write(result)  # after every row, so that finished rows can be read
    return result


def _check(name: str, seeds: int, rows: Sequence[str], data_sets: Sequence[str], peers: bool) -> None:
    """Raise ConfigError unless there are such a table, rows, their methods and data sets of it."""
    if name not in TABLES:
        raise ConfigError(f"unknown table '{name}'; there are: {', '.join(TABLES)}")
    if seeds < 1:
        raise ConfigError(f"seeds = {seeds}; it must be at least 1")
    for row in rows:
        if row not in ROWS:
            raise ConfigError(f"unknown row '{row}'; there are: {', '.join(ROWS)}")
        methods.find(ROWS[row].method)
    if peers and not any(part.peers for part in TABLES[name].parts):
        having = [key for key, table in TABLES.items() if any(part.peers for part in table.parts)]
        raise ConfigError(f"{name} compares with no other methods; those that do are: {', '.join(having)}")
    known = list(dict.fromkeys(part.data for part in TABLES[name].parts))
    for data in data_sets:
        if data not in known:
            raise ConfigError(f"{name} does not use '{data}'; its data sets are: {', '.join(known)}")


def _empty(
    name: str,
    seeds: list[int],
    epochs: int | None,
    chosen: list[str],
    only: str | None,
    skipped: dict[str, str],
    peers: bool,
) -> TableResult:
    """Return a table without parts."""
    file = RESULTS / (name if only is None else f"{name}-{only}")
    title, json_path, markdown_path = TABLES[name].title, Path(f"{file}.json"), Path(f"{file}.md")
    return TableResult(name, title, seeds, epochs, chosen, only, [], skipped, json_path, markdown_path, peers)


@dataclass
class _Maker:
    """Makes the rows of one part."""

    part: Part
    file: SequenceFile
    parts: Parts
    epochs: int | None
    device: str
    reporter: Reporter

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of sequences of each part."""
        return {name: len(index) for name, index in self.parts._asdict().items()}

    def notes(self) -> list[str]:
        """Return where the data come from, and the part's notes, computed from the data where they speak of them."""
        meta = self.file.meta
        named = f"'{meta.name}'" if meta.name else "data without a name"
        origin = f"the data are {named}, {meta.source or 'source not stated'}"
        found = [note if isinstance(note, str) else note(self.file, self.parts) for note in self.part.notes]
        return [note for note in (origin, *found) if note]

    def chosen(self, rows: Sequence[str], peers: bool) -> tuple[list[Row], dict[str, str]]:
        """Return the rows to make, and reasons why rows of other methods are left out, by title.

        Raises:
            CapabilityError: one of `rows` has a method that cannot do the task.
        """
        left_out: dict[str, str] = {}
        for name in rows:
            if reason := self._obstacle(ROWS[name]):
                raise CapabilityError(f"{self.part.task.name} cannot have the row '{name}': {reason}")
        others = [name for name in self.part.peers if name not in rows] if peers else []
        for name in others:
            if reason := self._obstacle(ROWS[name]):
                left_out[ROWS[name].title] = reason
                self.reporter.note(f"{ROWS[name].title}: left out, {reason}")
        return [ROWS[name] for name in (*rows, *others) if ROWS[name].title not in left_out], left_out

    def _obstacle(self, row: Row) -> str:
        """Return why a row cannot be made, in one line; an empty text where it can."""
        if row.method not in methods.names():
            return f"there is no method '{row.method}' here"
        found = plan(self.file.element, method=row.method, variant=row.variant)
        abilities = Abilities(row.method, found.method.refusals(found.settings))
        return self.part.task.unmet(abilities, self.file.steps)

    def rows(self, chosen: list[Row], seeds: list[int]) -> Iterator[RowResult]:
        """Yield baselines, controls and models, those of other methods last."""
        yield from self._baselines(seeds)
        yield self._untrained(chosen[0], seeds)
        for row in chosen:
            yield self._trained(row, seeds)

    def _baselines(self, seeds: list[int]) -> list[RowResult]:
        found: dict[str, RowResult] = {}
        for seed in seeds:
            path = RESULTS / "baselines" / f"{self.part.data}-{self.part.task.name}-s{seed}.json"
            measure = partial(self.part.task.baselines, self.file, self.parts, **self._options(seed))
            for title, figures in self._kept(path, seed, "none", measure).items():
                found.setdefault(title, RowResult(title, "baseline")).add(figures)
        return list(found.values())

    def _untrained(self, row: Row, seeds: list[int]) -> RowResult:
        """Return the first row's model with the initial weights of its training."""
        result = RowResult(f"{row.title}, untrained", "control")
        for seed in seeds:
            run = self._run(row, seed)
            path = run.path / "figures" / f"{self.part.task.name}-untrained.json"
            measure = partial(self._measure, partial(self._untrained_model, run.config), seed)
            result.add(self._kept(path, seed, "initial", measure)["figures"])
        return result

    def _trained(self, row: Row, seeds: list[int]) -> RowResult:
        result = RowResult(row.title, row.kind, printed=self.part.printed.get(row.name, {}))
        if row.name in self.part.remarks:
            result.notes.append(self.part.remarks[row.name])
        for seed in seeds:
            run = self._run(row, seed)
            path = run.path / "figures" / f"{self.part.task.name}.json"
            measure = partial(self._measure, run.load_model, seed)
            found = self._kept(path, seed, sha256(run.weights()), measure)
            result.add(found["figures"])
            result.runs.append(str(run.path))
            result.minutes += sum(m["seconds"] for m in run.metrics()) / 60
            if seed == seeds[0]:
                result.intervals = found["intervals"]
                result.notes += found["notes"]
                result.settings = self._settings(row, run.config)
        return result

    def _settings(self, row: Row, config: RunConfig) -> dict[str, Any]:
        """Return a row's settings, all of them and those that differ from the defaults of its method's variant."""
        usual = plan(self.file.element, method=row.method, variant=row.variant)
        train = msgspec.to_builtins(config.train)
        now, defaults = {**config.settings, **train}, msgspec.to_builtins([usual.settings, usual.train])
        changed = {name: value for name, value in now.items() if value != {**defaults[0], **defaults[1]}[name]}
        return {
            "method": row.method,
            "variant": row.variant or usual.variant,
            "epochs": config.train.epochs,
            "changed": {name: value for name, value in changed.items() if name not in ("epochs", "seed")},
            "train": train,
            "settings": config.settings,
        }

    def _run(self, row: Row, seed: int) -> Run:
        overrides = {**row.overrides, "seed": seed, **({} if self.epochs is None else {"epochs": self.epochs})}
        return ensure_run(
            self.file,
            row.name,
            method=row.method,
            variant=row.variant,
            overrides=overrides,
            device=self.device,
            reporter=self.reporter,
        )

    def _kept(self, path: Path, seed: int, weights: str, measure: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return figures measured before with the same weights, data, task and seed, or else measure and store them."""
        key = {
            "sdkit": __version__,
            "figures": KEPT_VERSION,
            "task": plain(self.part.task),
            "weights": weights,
            "data": str(self.file.path),
            "size": self.file.path.stat().st_size,
            "seed": seed,
        }
        if path.is_file():
            kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
            if kept["key"] == key:
                return kept["found"]  # type: ignore[no-any-return]
        found = measure()
        path.parent.mkdir(exist_ok=True)
        with replacing(path, force=True) as temporary:
            temporary.write_text(json.dumps({"key": key, "found": found}, indent=1) + "\n", "utf-8")
        return found

    def _measure(self, load: Callable[[], Method], seed: int) -> dict[str, Any]:
        """Return the figures of a model, with intervals of the main ones over the test split."""
        model = load()
        found = self.part.task.run(_declared(model), self.file, self.parts, **self._options(seed))
        figures: dict[str, float] = {}
        if any(term.kind != "other" for term in model.terms):
            costs = likelihood(model, self.file, self.parts.test, seed=seed, reporter=self.reporter)
            figures = {name: value for name in COSTS if (value := getattr(costs, name)) is not None}
        return {
            "figures": {**found.figures, **figures},
            "intervals": plain(found.intervals),
            "notes": list(found.notes),
        }

    def _options(self, seed: int) -> dict[str, Any]:
        return {"seed": seed, "device": self.device, "reporter": self.reporter}

    def _untrained_model(self, config: RunConfig) -> Method:
        """Return the model with the initial weights of a run's training, completed as after a training."""
        with torch.random.fork_rng():
            torch.manual_seed(config.train.seed)
            model = config.plan.build(config.facts).eval()
        if model.finishes:
            with torch.no_grad():
                model.finish(self._batches(config.train.batch_size))
        return model

    def _batches(self, size: int) -> Iterator[Batch]:
        index = self.parts.train
        for rows, x in equal_lengths(self.file, index, size):
            yield Batch(torch.from_numpy(x), torch.from_numpy(np.searchsorted(index, rows)))


def _declared(model: Method) -> Verbs:
    """Return a model's verbs with the prior of its method, which is what a paper's tables draw from."""
    found = verbs(model)
    return found.drawing_from("standard") if fits_prior(msgspec.structs.asdict(model.settings)) else found


def _files(
    parts: Sequence[Part], sources: Mapping[str, str | Path], reporter: Reporter
) -> tuple[dict[str, SequenceFile], dict[str, str]]:
    """Return the sequence files that exist or can be made, by data set, and reasons why others are missing."""
    files: dict[str, SequenceFile] = {}
    skipped: dict[str, str] = {}
    for data in dict.fromkeys(part.data for part in parts):
        made = DATA / f"{data}.h5"
        source = sources.get(data)
        if source is not None and Path(source).suffix in (".h5", ".hdf5"):
            files[data] = SequenceFile(source)
        elif made.is_file():
            files[data] = SequenceFile(made)
            if source is not None:
                reporter.note(f"{data}: {made} is taken as it is; remove it to have it made from {source} again")
        elif source is not None:
            DATA.mkdir(parents=True, exist_ok=True)
            maker, options = MADE_WITH.get(data, (data, {}))
            files[data] = SequenceFile(make_dataset(maker, made, source=source, reporter=reporter, **options))
        else:
            skipped[data] = f"no --source {data}=PATH was given and {made} does not exist"
            reporter.note(f"{data}: left out, {skipped[data]}")
    return files, skipped


def _columns(task: TableTask, rows: list[RowResult]) -> dict[str, str]:
    """Return the titles of the figures that some row has, by name, in the task's order."""
    there = dict.fromkeys(name for row in rows for name in row.values)
    others = {name: name for name in there if name not in task.metrics and name not in COSTS}
    return {name: title for name, title in {**task.metrics, **others, **COSTS}.items() if name in there}


def _write(result: TableResult) -> None:
    for path, text in ((result.json_path, as_json(result)), (result.markdown_path, as_markdown(result))):
        with replacing(path, force=True) as temporary:
            temporary.write_text(text, "utf-8")


def sources_of(name: str, given: Sequence[str]) -> dict[str, str]:
    """Return paths by data set, from texts DATA=PATH, or PATH alone where the table has one data set.

    Raises:
        ConfigError: an unknown table, or a path that could belong to several data sets.
    """
    if name not in TABLES:
        raise ConfigError(f"unknown table '{name}'; there are: {', '.join(TABLES)}")
    known = list(dict.fromkeys(part.data for part in TABLES[name].parts))
    sources = {}
    for text in given:
        data, sign, path = text.partition("=")
        if not sign and len(known) > 1:
            raise ConfigError(f"--source {text}: {name} has several data sets; say which, as {known[0]}={text}")
        sources[data if sign else known[0]] = path if sign else text
    return sources
