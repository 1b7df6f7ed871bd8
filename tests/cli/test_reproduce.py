"""`sdkit reproduce` as it is typed."""

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import sdkit
from sdkit.cli.main import app
from sdkit.evaluation.downstream.tasks import Task
from sdkit.experiments import reproduce as module
from sdkit.experiments import tables
from sdkit.experiments.copied import Copied
from sdkit.experiments.tables import Part, Row, Table
from tests.sdkit.evaluation.labelled import SMALL, hurry, series

Invoke = Callable[[str], Result]
ALL = tuple(tables.TABLES.items())
TABLE = Table(
    "Tiny table",
    (Part("waves", Task("ill", "detect", "ill"), ("paper",), {"paper": {"auprc": "0.447 ± 0.02"}}, ("made-up data",)),),
)


OTHERS = Table(
    "Other methods",
    (
        Part(
            "waves", Task("season", "classify", "season"), ("paper",), peers=("gpvae", "gone"),
            copied=(Copied("GP-VAE", "gpvae", "the first edition", {"accuracy": "0.4247 ± 0.02"}, "read otherwise"),),
        ),
    ),
)  # fmt: skip
"""One of its methods does not exist."""


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Return a function that runs a command line in a folder of its own, where there is one tiny table."""
    hurry(monkeypatch)
    small = {**SMALL, "dynamic_size": 3}
    other = {name: value for name, value in small.items() if name != "prior_hidden_size"}
    rows = {
        "paper": Row("paper", "our model", overrides={**small, "static_size": 3}),
        "gpvae": Row("gpvae", "our GP-VAE", "", other, "gpvae"),
        "gone": Row("gone", "GoneVAE", "", method="gone"),
    }
    two = Table("Two", (*TABLE.parts, *TABLE.parts))
    for target in (module, tables):
        monkeypatch.setattr(target, "TABLES", {"tiny": TABLE, "two": two, "others": OTHERS})
        monkeypatch.setattr(target, "ROWS", rows)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sdkit.cli.screen.out.width", 200)
    monkeypatch.delenv("RANK", raising=False)
    return lambda line: CliRunner().invoke(app, ["reproduce", *line.split()])


@pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")
def test_a_table_on_the_screen_and_as_json(invoke: Invoke, tmp_path: Path) -> None:
    series(tmp_path / "waves.h5")
    line = "tiny --source waves.h5 --seeds 1 --epochs 1 --device cpu"
    result = invoke(line)
    assert result.exit_code == 0, result.stderr
    assert "Tiny table: waves (72 train, 24 val, 24 test), 1 seed\n" in result.stdout
    told = json.loads((tmp_path / "runs" / "reproduce" / "tiny.json").read_text("utf-8"))
    (part,) = told["parts"]
    for row in part["rows"]:
        assert row["title"] in result.stdout
        assert f"{row['values']['auprc'][0]:.3f}" in result.stdout
    for text in ("the paper prints", "0.447 ± 0.02", "KL_s", "KL_d", "Made-up data."):
        assert text in result.stdout
    assert "runs/reproduce/tiny.md and runs/reproduce/tiny.json" in result.stderr.splitlines()[-1]

    again = invoke(f"{line} --rows paper --only waves --json")
    assert again.exit_code == 0, again.stderr
    assert "complete, 1 epochs" in again.stderr
    second = json.loads(again.stdout)
    assert (second["chosen"], second["only"]) == (["paper"], "waves")
    assert second["parts"] == told["parts"]


@pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")
def test_other_methods_are_trained_on_request_and_copied_figures_are_always_there(
    invoke: Invoke, tmp_path: Path
) -> None:
    series(tmp_path / "waves.h5")
    line = "others --source waves.h5 --seeds 1 --epochs 1 --device cpu"
    result = invoke(line)
    assert result.exit_code == 0, result.stderr
    assert "GP-VAE" not in result.stdout.partition("Copied figures")[0]
    for text in ("0.4247 ± 0.02", "the first edition", "they do not rank with", "GP-VAE: read otherwise."):
        assert text in result.stdout

    result = invoke(f"{line} --peers")
    assert result.exit_code == 0, result.stderr
    measured, _, copied = result.stdout.partition("Copied figures: waves")
    above, _, others = measured.partition("other methods, re-implemented")
    assert "our model" in above
    for text in (
        "our GP-VAE",
        "Our GP-VAE: it has no static code",
        "GoneVAE: left out, there is no method 'gone' here.",
    ):
        assert text in others
    assert "0.4247" not in measured
    assert "0.4247" in copied
    told = json.loads((tmp_path / "runs" / "reproduce" / "others.json").read_text("utf-8"))
    (part,) = told["parts"]
    assert told["peers"]
    assert part["left_out"] == {"GoneVAE": "there is no method 'gone' here"}
    row = part["rows"][-1]
    # The head reads the mean of d: both figures are of the same vectors, with the same reader.
    assert row["values"]["accuracy_logistic"] == row["values"]["accuracy_dynamic"]
    assert row["kind"] == "reimplemented"


@pytest.mark.parametrize("line", ["--list", ""])
def test_the_list_shows_every_table(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdkit.cli.screen.out.width", 300)
    result = CliRunner().invoke(app, ["reproduce", *line.split()])
    assert result.exit_code == 0, result.stderr
    for name, table in ALL:
        assert name in result.stdout
        assert table.title in result.stdout
        for part in table.parts:
            assert part.data in result.stdout
    for name in tables.SERIES_PEERS:
        assert name in result.stdout


def test_options_reach_the_library(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def stand_in(name: str, **options: Any) -> None:
        asked.update(options, name=name)
        raise KeyboardInterrupt

    whole = sdkit.reproduce
    monkeypatch.setattr(sdkit, "reproduce", stand_in, raising=False)
    invoke("tiny --source a.h5 --seeds 2 --epochs 4 --rows paper,no-sub --peers --only waves --device cpu")
    assert hasattr(asked.pop("reporter"), "advance")
    assert asked == {
        "name": "tiny", "sources": {"waves": "a.h5"}, "seeds": 2, "epochs": 4, "rows": ["paper", "no-sub"],
        "peers": True, "only": "waves", "device": "cpu",
    }  # fmt: skip
    invoke("tiny")
    defaults = {name: parameter.default for name, parameter in inspect.signature(whole).parameters.items()}
    assert {**asked, "reporter": None} == {**defaults, "name": "tiny", "sources": {}}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("table0", "unknown table 'table0'; there are: tiny, two, others"),
        ("tiny", "tiny needs waves, of which none lies under runs/data"),
        ("tiny --source gone.h5", "gone.h5 does not exist"),
        ("tiny --source mug=a.h5", "tiny does not use 'mug'; its data sets are: waves"),
        ("tiny --only mug", "tiny does not use 'mug'; its data sets are: waves"),
        ("tiny --peers", "tiny compares with no other methods; those that do are: others"),
        ("others --rows gone --source gone.h5", "unknown method 'gone'; there are: cdsvae, dbse"),
        ("tiny --rows mine", "unknown row 'mine'; there are: paper, gpvae, gone"),
        ("tiny --rows paper,", "unknown row ''; there are: paper, gpvae, gone"),
    ],
)
def test_a_mistake_is_one_line(invoke: Invoke, tmp_path: Path, line: str, says: str) -> None:
    result = invoke(line)
    assert result.exit_code == 2, result.output
    (told,) = [text for text in result.stderr.splitlines() if text.startswith("error:")]
    assert says in told
    assert result.stderr.splitlines()[-1] == told
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", ["tiny --seeds 0", "tiny --epochs 0", "tiny --nothing"])
def test_options_that_cannot_be(invoke: Invoke, line: str) -> None:
    assert invoke(line).exit_code == 2


@pytest.mark.parametrize("line", ["tiny", "--list"])
def test_an_extra_that_is_not_installed(invoke: Invoke, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    result = invoke(line)
    assert result.exit_code == 2
    assert "sdkit.reproduce needs sklearn, not installed here; pip install 'sdkit[train]'" in result.stderr
