import json
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from sdkit.evaluation.codes.encoded import encode_file
from sdkit.evaluation.data import parts_of
from sdkit.evaluation.downstream.tasks import METRICS, POOLED, Task
from sdkit.experiments import reproduce as module
from sdkit.experiments import runs, tables
from sdkit.experiments.copied import Copied
from sdkit.experiments.reproduce import COSTS, reproduce, sources_of
from sdkit.experiments.results import RowResult, TableResult
from sdkit.experiments.tables import Part, Row, Table
from sdkit.methods.base import Facts
from sdkit.methods.graphs import verbs
from sdkit.runtime.errors import CapabilityError, ConfigError, MissingFileError, SdkitError
from sdkit.runtime.progress import Quiet
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.config import TrainConfig, preset
from sdkit.training.run import DataInfo, Run, RunConfig
from tests.notes import Notes
from tests.sdkit.evaluation.labelled import POSITIVE, SMALL, hurry, series, spectra
from tests.sdkit.evaluation.other_methods import Dreamer, Fixed, FixedSettings, OneCode, register

pytestmark = pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")

ILL, SPEAKER = Task("ill", "detect", "ill"), Task("speaker", "verify", "speaker")
OVERRIDES = {**SMALL, "static_size": 3, "dynamic_size": 3}
ROWS = {
    "paper": Row("paper", "our model", overrides=OVERRIDES),
    "no-sub": Row("no-sub", "no subtraction", overrides={**OVERRIDES, "subtract": "none"}),
}
TABLES = {
    "tiny": Table(
        "Tiny table",
        (Part("waves", ILL, ("paper", "no-sub"), {"no-sub": {"auprc": "0.179 ± 0.007"}}, ("made-up data",)),),
    ),
    "two": Table("Two data sets", (Part("waves", ILL, ("paper",)), Part("voices", SPEAKER, ("paper",)))),
}
BASELINES = [
    "constant",
    "raw summaries, logistic regression",
    "raw summaries, random forest",
    "raw first window, logistic regression",
    "raw steps, LSTM",
]
ORIGIN = "the data are 'waves', source not stated"
TITLES = [*BASELINES, "our model, untrained", "our model", "no subtraction"]


@pytest.fixture(scope="module", autouse=True)
def _tables() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        for name, rows in (("ROWS", ROWS), ("TABLES", TABLES)):
            patch.setattr(module, name, rows)
            patch.setattr(tables, name, rows)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the two data sets and, once a test asked for it, the finished tiny table."""
    folder = tmp_path_factory.mktemp("reproduce")
    series(folder / "waves.h5")
    spectra(folder / "voices.h5")
    return folder


@pytest.fixture(autouse=True)
def _here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def result(folder: Path) -> TableResult:
    """Return the tiny table of two seeds and two epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return make("tiny")


def make(name: str, **options: Any) -> TableResult:
    return reproduce(name, **{"sources": {"waves": "waves.h5"}, "seeds": 2, "epochs": 2, "device": "cpu", **options})


def maker() -> module._Maker:
    file = SequenceFile("waves.h5")
    return module._Maker(TABLES["tiny"].parts[0], file, parts_of(file), 1, "cpu", Quiet())


def row(result: TableResult, title: str) -> RowResult:
    return next(row for row in result.parts[0].rows if row.title == title)


# What is in a table.


def test_rows_are_baselines_the_untrained_model_and_the_models(result: TableResult) -> None:
    (part,) = result.parts
    assert [row.title for row in part.rows] == TITLES
    assert [row.kind for row in part.rows] == ["baseline"] * 5 + ["control", "model", "model"]
    assert part.counts == {"train": 72, "val": 24, "test": 24}
    assert (part.data, part.task, part.notes) == ("waves", "ill", [ORIGIN, "made-up data"])
    assert part.columns == {**METRICS["detect"], **COSTS}
    assert result.skipped == {}


def test_every_row_has_a_value_a_seed(result: TableResult) -> None:
    for found in result.parts[0].rows:
        figures = {"auprc", "auroc"} if found.kind == "baseline" else {*METRICS["detect"], *COSTS}
        assert set(found.values) == figures
        assert all(len(values) == 2 for values in found.values.values())
    assert row(result, "constant").values == {"auprc": [pytest.approx(POSITIVE)] * 2, "auroc": [0.5, 0.5]}
    # Representation and head are trained anew with each seed.
    for title in ("our model, untrained", "our model"):
        a, b = row(result, title).values["static_divergence"]
        assert a != b


def test_cells_are_mean_and_standard_deviation(result: TableResult) -> None:
    found = row(result, "our model")
    a, b = found.values["dynamic_divergence"]
    assert found.cell("dynamic_divergence") == f"{(a + b) / 2:.3f} ± {abs(a - b) / 2**0.5:.3f}"
    assert row(result, "constant").cell("auroc") == "0.500"  # a figure that depends on no seed
    assert row(result, "constant").cell("static_divergence") == ""
    three = RowResult("x", "model", {"score": [0.1, 0.2, 0.6]})
    assert three.cell("score") == f"0.300 ± {statistics.stdev([0.1, 0.2, 0.6]):.3f}"
    assert RowResult("x", "model", {"score": [0.25]}).cell("score") == "0.250"


def test_values_are_those_of_the_runs(result: TableResult, folder: Path) -> None:
    file = SequenceFile("waves.h5")
    found = row(result, "no subtraction")
    assert len(set(found.runs)) == 2
    for seed, path in enumerate(found.runs):
        run = Run(Path(path))
        assert run.config.train.seed == seed
        assert run.config.settings["subtract"] == "none"
        assert len(run.metrics()) == 2
        expected = ILL.run(verbs(run.load_model()), file, parts_of(file), seed=seed, reporter=Quiet())
        for name, value in expected.figures.items():
            assert found.values[name][seed] == pytest.approx(value)
        if seed == 0:
            interval = found.intervals["auprc"]
            assert interval["value"] == pytest.approx(expected.intervals["auprc"].value)
            assert interval["low"] <= interval["value"] <= interval["high"]
    assert found.minutes > 0
    assert (found.settings["method"], found.settings["variant"], found.settings["epochs"]) == ("dbse", "paper", 2)
    assert found.settings["settings"]["subtract"] == "none"
    assert found.settings["changed"]["subtract"] == "none"
    assert found.settings["changed"]["batch_size"] == SMALL["batch_size"]
    assert not {"anchor", "layers", "resident_gb", "epochs", "seed"} & set(found.settings["changed"])


def test_the_control_has_the_weights_that_training_starts_from(result: TableResult) -> None:
    run = Run(Path(row(result, "our model").runs[1]))
    state = torch.random.get_rng_state()
    untrained = maker()._untrained_model(run.config)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(1)
    fresh = run.config.plan.build(run.config.facts)
    for name, value in untrained.named_parameters():
        assert torch.equal(value, fresh.get_parameter(name))
    assert run.config.facts.feature_mean  # of the data, without which codes would have another scale
    assert not torch.equal(next(untrained.encoder.parameters()), next(run.load_model().encoder.parameters()))


def test_what_the_paper_prints_stands_below_its_row(result: TableResult) -> None:
    assert row(result, "no subtraction").printed == {"auprc": "0.179 ± 0.007"}
    assert row(result, "our model").printed == {}
    text = result.markdown_path.read_text("utf-8")
    after = text.split("| no subtraction |")[1].splitlines()[1]
    assert after.startswith("| *the paper prints, no subtraction* | 0.179 ± 0.007 |")


def test_json_and_markdown_agree(result: TableResult) -> None:
    assert result.json_path == Path("runs/reproduce/tiny.json")
    told = json.loads(result.json_path.read_text("utf-8"))
    lines = result.markdown_path.read_text("utf-8").splitlines()
    (part,) = told["parts"]
    cells = {line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]] for line in lines if "|" in line}
    assert cells["row"] == list(part["columns"].values())
    for told_row in part["rows"]:
        values = told_row["values"]
        for name, cell in zip(part["columns"], cells[told_row["title"]], strict=True):
            mean = f"{np.mean(values[name]):.3f}" if name in values else ""
            assert cell.partition(" ")[0] == mean
    assert told["seeds"] == [0, 1]
    assert "`sdkit reproduce tiny --seeds 2 --epochs 2`" in lines


# What is done is not done again.


def _refuse(*_: object, **__: object) -> None:
    pytest.fail("done again")


def test_a_second_call_trains_and_measures_nothing(result: TableResult, monkeypatch: pytest.MonkeyPatch) -> None:
    before = result.json_path.read_text("utf-8")
    for target, name in (
        (runs, "start"), (runs, "resume"), (Task, "run"), (Task, "baselines"), (module, "likelihood"),
    ):  # fmt: skip
        monkeypatch.setattr(target, name, _refuse)
    make("tiny")
    assert result.json_path.read_text("utf-8") == before


def test_a_table_shares_runs_and_figures_with_others(result: TableResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "start", _refuse)
    monkeypatch.setattr(Task, "run", _refuse)
    shared = make("two", only="waves")
    assert shared.json_path == Path("runs/reproduce/two-waves.json")
    assert row(shared, "our model").values == row(result, "our model").values


@pytest.mark.parametrize("changed", ["weights", "data", "task", "version"])
def test_figures_of_something_else_are_not_taken(
    result: TableResult, changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree("runs", tmp_path / "runs")
    shutil.copyfile("waves.h5", tmp_path / "waves.h5")
    monkeypatch.chdir(tmp_path)
    run = Run(Path(row(result, "our model").runs[0]))
    if changed == "weights":
        shutil.copyfile(Path(row(result, "our model").runs[1]) / "best.safetensors", run.weights())
    elif changed == "data":
        with (tmp_path / "waves.h5").open("ab") as stream:
            stream.write(b"\0")
    elif changed == "task":
        part = Part("waves", Task("ill", "detect", "ill", hidden=5), ("paper",))
        monkeypatch.setitem(TABLES, "tiny", Table("Tiny table", (part,)))
    else:
        monkeypatch.setattr(module, "__version__", "9.9")
    asked = []
    whole = Task.run

    def count(self: Task, *given: Any, **options: Any) -> Any:
        asked.append(options["seed"])
        return whole(self, *given, **options)

    monkeypatch.setattr(Task, "run", count)
    make("tiny", seeds=1, rows=["paper"])
    # The untrained control does not depend on the weights.
    assert asked == ([0] if changed == "weights" else [0, 0])


def test_a_table_that_was_cut_off_goes_on(result: TableResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile("waves.h5", tmp_path / "waves.h5")
    expected = row(result, "no subtraction").values
    monkeypatch.chdir(tmp_path)

    class Interrupting(Notes):
        starts = 0

        def start(self, what: str, total: int) -> None:
            self.starts += what == "epoch 2/2"
            if self.starts == 4:  # in the second epoch of the last run
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("tiny", reporter=Interrupting())
    told = json.loads(Path("runs/reproduce/tiny.json").read_text("utf-8"))
    assert [r["title"] for r in told["parts"][0]["rows"]] == TITLES[:-1]  # what is done can be looked at
    assert "| our model |" in Path("runs/reproduce/tiny.md").read_text("utf-8")
    monkeypatch.setattr(runs, "start", _refuse)  # the last run is resumed, all others are complete
    resumed = make("tiny")
    assert row(resumed, "no subtraction").values == expected
    assert [r.title for r in resumed.parts[0].rows] == TITLES


# Methods.


def test_rows_of_other_methods(folder: Path, result: TableResult, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    quick = {"batch_size": 24, "swap_every": 0}
    for method in (OneCode, Fixed):
        made = Row(method.name, method.title, "", quick, method.name)
        monkeypatch.setitem(ROWS, method.name, made)
    part = Part("waves", ILL, ("one-code", "fixed"))
    monkeypatch.setitem(TABLES, "others", Table("Other methods", (part,)))
    found = make("others", seeds=1, epochs=1)
    assert set(found.parts[0].columns) == {*METRICS["detect"], *COSTS} - {"static_divergence"}
    one, fixed = (row(found, method.title) for method in (OneCode, Fixed))
    assert set(one.values) == {*METRICS["detect"], "dynamic_divergence", "nll_value"}
    assert set(fixed.values) == {*METRICS["detect"], "nll_value"}
    assert (fixed.settings["method"], fixed.settings["variant"]) == ("fixed", "")
    changed = fixed.settings["changed"]  # those of the row, and those of the preset
    assert quick.items() <= changed.items()
    assert changed["learning_rate"] == preset("series")["train"]["learning_rate"]
    text = found.markdown_path.read_text("utf-8")
    assert f"- {Fixed.title}: method fixed, epochs 1, {', '.join(f'{n} {v}' for n, v in changed.items())}; " in text


@pytest.fixture
def others(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Return a table of two other methods, one that cannot encode and one that does not exist, in an empty folder."""
    shutil.copyfile(folder / "waves.h5", tmp_path / "waves.h5")
    monkeypatch.chdir(tmp_path)
    register(monkeypatch)
    quick = {"batch_size": 24, "swap_every": 0}
    for method in (OneCode, Fixed, Dreamer):
        monkeypatch.setitem(ROWS, method.name, Row(method.name, method.title, "", quick, method.name))
    monkeypatch.setitem(ROWS, "gone", Row("gone", "a method of tomorrow", method="gone"))
    copied = (Copied("Dreams", "dreamer", "a first edition", {"accuracy": "0.9"}),)
    season = Task("season", "classify", "season")
    part = Part(
        "waves", season, ("paper",), peers=("fixed", "dreamer", "one-code", "gone"), copied=copied,
        remarks={"fixed": "it is remarkable"},
    )  # fmt: skip
    monkeypatch.setitem(TABLES, "others", Table("Other methods", (part,)))
    return TABLES["others"]


def test_other_methods_are_made_on_request(others: Table) -> None:
    alone = make("others", seeds=1, epochs=1).parts[0]
    assert [r.title for r in alone.rows if r.trained] == ["our model"]
    assert (alone.left_out, alone.copied) == ({}, list(others.parts[0].copied))

    notes = Notes()
    found = make("others", seeds=1, epochs=1, peers=True, reporter=notes)
    (part,) = found.parts
    kinds = {r.title: r.kind for r in part.rows if r.trained}
    assert kinds == {"our model": "model", Fixed.title: "reimplemented", OneCode.title: "reimplemented"}
    assert list(kinds) == ["our model", Fixed.title, OneCode.title]
    assert part.left_out == {
        Dreamer.title: "this model cannot encode: its method has no encoder",
        "a method of tomorrow": "there is no method 'gone' here",
    }
    assert f"{Dreamer.title}: left out, {part.left_out[Dreamer.title]}" in notes.lines
    assert part.copied == list(others.parts[0].copied)
    assert row(found, Fixed.title).notes == ["it is remarkable"]
    assert row(found, OneCode.title).notes == [POOLED]
    assert make("others", seeds=1, epochs=1, peers=True).parts[0].rows == part.rows  # the notes are kept


def test_rows_beside_other_methods(others: Table) -> None:
    found = make("others", seeds=1, epochs=1, rows=["fixed", "no-sub"], peers=True).parts[0]
    assert [r.title for r in found.rows if r.trained] == [Fixed.title, "no subtraction", OneCode.title]


@pytest.mark.parametrize(
    ("error", "says", "options"),
    [
        (ConfigError, "unknown method 'gone'", {"rows": ["paper", "gone"]}),
        (CapabilityError, "season cannot have the row 'dreamer': this", {"rows": ["paper", "dreamer"]}),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_is_refused_before_another_is_trained(
    others: Table, error: type[SdkitError], says: str, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ensure_run", _refuse)
    with pytest.raises(error, match=says):
        make("others", **options)


def test_the_control_of_a_method_that_finishes_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    file = SequenceFile("waves.h5")
    facts = Facts(file.element, file.steps, 72, (0.0, 0.0), (1.0, 1.0))
    config = RunConfig("fixed", msgspec.to_builtins(FixedSettings()), facts, TrainConfig(), DataInfo("waves.h5"))
    untrained: Any = maker()._untrained_model(config)
    coded = encode_file(verbs(untrained), file, parts_of(file).train)
    np.testing.assert_allclose(untrained.centre.numpy(), coded.static.mean(0), atol=1e-5)


# Data sets.


def test_a_missing_source_is_left_out_and_told(folder: Path, result: TableResult) -> None:
    notes = Notes()
    made = make("two", seeds=1, reporter=notes)
    assert [part.data for part in made.parts] == ["waves"]
    reason = "no --source voices=PATH was given and runs/data/voices.h5 does not exist"
    assert made.skipped == {"voices": reason}
    assert f"voices: left out, {reason}" in notes.lines
    assert made.markdown_path.read_text("utf-8").endswith(f"voices: left out, {reason}.\n")
    assert json.loads(made.json_path.read_text("utf-8"))["skipped"] == made.skipped


def test_both_data_sets_of_a_table(folder: Path, result: TableResult) -> None:
    made = make("two", seeds=1, epochs=2, sources={"waves": "waves.h5", "voices": "voices.h5"})
    assert [(part.data, part.task) for part in made.parts] == [("waves", "ill"), ("voices", "speaker")]
    assert made.parts[1].columns == {**METRICS["verify"], **COSTS}
    assert [r.title for r in made.parts[1].rows] == [
        "mean spectrum of the recording", "our model, untrained", "our model",
    ]  # fmt: skip
    text = made.markdown_path.read_text("utf-8")
    assert "## waves, ill (72 train, 24 val, 24 test)" in text
    assert "## voices, speaker (8 train, 8 val, 8 test)" in text
    assert "over 1 seed of" in text


def test_a_file_made_before_is_taken(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs" / "data").mkdir(parents=True)
    shutil.copyfile("waves.h5", tmp_path / "runs" / "data" / "waves.h5")
    monkeypatch.chdir(tmp_path)
    files, skipped = module._files(TABLES["tiny"].parts, {}, Quiet())
    assert (files["waves"].path, skipped) == (Path("runs/data/waves.h5"), {})
    monkeypatch.setattr(module, "make_dataset", _refuse)
    files, _ = module._files(TABLES["tiny"].parts, {"waves": "folder"}, Quiet())
    assert files["waves"].path == Path("runs/data/waves.h5")


def test_a_source_is_made_into_a_file_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def stand_in(name: str, path: Path, *, source: str, reporter: object, **options: Any) -> Path:
        asked.append((name, path, source, options))
        return Path(shutil.copyfile(folder / "waves.h5", path))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "make_dataset", stand_in)
    monkeypatch.setitem(tables.MADE_WITH, "waves", ("speech", {"scale": "decibel"}))
    for _ in range(2):
        files, _ = module._files(TABLES["tiny"].parts, {"waves": "archive"}, Quiet())
        assert files["waves"].count == 120
    assert asked == [("speech", Path("runs/data/waves.h5"), "archive", {"scale": "decibel"})]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("tiny", ["a/b.h5"]), {"waves": "a/b.h5"}),
        (("tiny", ["waves=a=b.h5"]), {"waves": "a=b.h5"}),
        (("two", ["voices=v", "waves=w"]), {"voices": "v", "waves": "w"}),
        (("two", []), {}),
    ],
)
def test_sources_as_they_are_typed(given: tuple[str, list[str]], expected: dict[str, str]) -> None:
    assert sources_of(*given) == expected


# Mistakes.


@pytest.mark.parametrize(
    ("error", "says", "ask"),
    [
        (ConfigError, "unknown table 'table0'; there are: tiny, two", lambda: make("table0")),
        (ConfigError, "unknown table 'table0'; there are: tiny, two", lambda: sources_of("table0", [])),
        (ConfigError, "unknown row 'mine'; there are: paper, no-sub", lambda: make("tiny", rows=["mine"])),
        (ConfigError, "tiny does not use 'mug'; its data sets are: waves", lambda: make("tiny", only="mug")),
        (
            ConfigError,
            "tiny does not use 'mug'; its data sets are: waves",
            lambda: make("tiny", sources={"mug": "mug.h5"}),
        ),
        (ConfigError, "seeds = 0; it must be at least 1", lambda: make("tiny", seeds=0)),
        (
            ConfigError,
            "--source w.h5: two has several data sets; say which, as waves=w.h5",
            lambda: sources_of("two", ["w.h5"]),
        ),
        (
            MissingFileError,
            "two needs waves or voices, of which none lies under runs/data; give the source, as in "
            "`sdkit reproduce two --source waves=PATH`",
            lambda: make("two", sources={}),
        ),
        (
            MissingFileError,
            "two needs voices, of which none lies under runs/data; give the source, as in "
            "`sdkit reproduce two --source voices=PATH`",
            lambda: make("two", sources={}, only="voices"),
        ),
        (MissingFileError, "gone.h5 does not exist", lambda: make("tiny", sources={"waves": "gone.h5"})),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    error: type[SdkitError], says: str, ask: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        ask()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_data_without_the_factor_are_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"voices\.h5 has no factor 'ill'; it has: speaker, recording"):
        make("tiny", sources={"waves": folder / "voices.h5"})


def test_columns_are_in_the_order_of_the_task() -> None:
    rows = [RowResult("a", "model", {"static_divergence": [1.0], "static hair": [1.0], "auroc": [1.0], "auprc": [1.0]})]
    assert module._columns(ILL, rows) == {
        "auprc": "AUPRC", "auroc": "AUROC", "static hair": "static hair", "static_divergence": "KL_s",
    }  # fmt: skip
    assert list(module._columns(ILL, rows)) == ["auprc", "auroc", "static hair", "static_divergence"]
