"""`sdkit tune` as it is typed."""

import inspect
import json
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import sdkit
from sdkit.cli import tune as command
from sdkit.cli.main import app
from sdkit.experiments.tune import tune as search
from sdkit.experiments.tuning.objectives import OBJECTIVES
from sdkit.experiments.tuning.result import Study, Trial

SETTINGS = {"alpha": 0.0123, "beta": 0.000281, "learning_rate": 0.0015, "static_size": 16, "dynamic_size": 128}
BEST = Trial(1, "complete", -1234.5678, 5, SETTINGS, 12, 3)
TRIALS = (
    Trial(0, "complete", 1000.0, 5, SETTINGS, 16, 128),
    BEST,
    Trial(2, "pruned", 2000.0, 3, SETTINGS, 1, 1),
    Trial(3, "failed", None, 0, SETTINGS, reason="the loss became nan in epoch 1; lower learning_rate or raise beta"),
    Trial(4, "interrupted", None, 1, {}),
)

Invoke = Callable[..., Result]


def study(trials: tuple[Trial, ...] = TRIALS, best: Trial | None = BEST, interrupted: bool = False) -> Study:
    command, toml, png = ("sdkit train x.h5", Path("s.toml"), Path("s.png")) if best else ("", None, None)
    return Study(Path("s.db"), "elbo", trials, best, command, toml, png, interrupted)


@pytest.fixture
def asked() -> dict[str, Any]:
    """Return what will hold the arguments that the library is called with."""
    return {}


@pytest.fixture
def invoke(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Return a function that runs a command line; the search ends at once with what is given."""
    monkeypatch.chdir(tmp_path)

    def run(line: str, found: Study | None = None) -> Result:
        if found is not None:

            def stand_in(data: Path, **options: Any) -> Study:
                asked.update(options, data=data)
                return found

            monkeypatch.setattr(sdkit, "tune", stand_in, raising=False)
        return CliRunner().invoke(app, ["tune", *line.split()])

    return run


def test_the_table(invoke: Invoke) -> None:
    result = invoke("x.h5", study())
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    rows = [line.split() for line in lines if line.strip()]
    names = ["trial", "state", "value", "epochs", "alpha", "beta", "lr", "S", "D", "active"]
    assert rows[0] == names
    found = ["0.0123", "0.000281", "0.0015", "16", "128"]
    assert rows[2:7] == [
        ["0", "complete", "1000", "5", *found, "16", "/", "128"],
        ["*", "1", "complete", "-1234.57", "5", *found, "12", "/", "3"],
        ["2", "pruned", "2000", "3", *found, "1", "/", "1"],
        ["3", "failed", "0", *found],
        ["4", "interrupted", "1"],
    ]
    assert "validation negative ELBO, nats a sequence, lower is better" in result.stdout
    assert result.stderr.splitlines() == [
        "best: trial 1; settings s.toml, picture s.png",
        "next: sdkit train x.h5",
    ]


def test_a_code_that_the_method_has_not_has_no_units(invoke: Invoke) -> None:
    best = Trial(0, "complete", 1.0, 5, {"kernel": "cauchy", "scales": 4}, None, 3)
    result = invoke("x.h5", study((best,), best))
    rows = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert rows[2] == ["*", "0", "complete", "1", "5", "cauchy", "4", "-", "/", "3"]
    assert "collapsed" not in result.stderr


def test_json(invoke: Invoke) -> None:
    result = invoke("x.h5 --json", study())
    told = json.loads(result.stdout)
    assert (told["path"], told["settings_file"], told["command"]) == ("s.db", "s.toml", "sdkit train x.h5")
    assert told["best"]["settings"] == SETTINGS
    assert [trial["state"] for trial in told["trials"]] == [trial.state for trial in TRIALS]


def test_a_collapsed_code_is_told(invoke: Invoke) -> None:
    best = Trial(0, "complete", 1.0, 5, SETTINGS, 0, 3)
    result = invoke("x.h5", study((best,), best))
    assert "warning: the static code of the best trial has collapsed" in result.stderr
    assert "dynamic code" not in result.stderr


def test_interrupted(invoke: Invoke) -> None:
    result = invoke("x.h5", study(interrupted=True))
    assert result.exit_code == 130
    assert "complete" in result.stdout
    assert result.stderr.splitlines()[-1] == "interrupted; the same command continues"


def test_no_trial_completed(invoke: Invoke) -> None:
    result = invoke("x.h5", study(TRIALS[3:], None))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "error: no trial of s.db completed; trial 3 failed: the loss became nan in epoch 1; lower learning_rate or "
        "raise beta"
    ]


def test_options_reach_the_search(invoke: Invoke, asked: dict[str, Any]) -> None:
    invoke(
        "x.h5 --trials 4 --epochs 7 --objective loss --method dbse --preset mug --variant release --set alpha=0.5 "
        "--set anchor=last --seed 3 --study a.db --timeout 1.5 --device cpu",
        study(),
    )
    reporter = asked.pop("reporter")
    assert hasattr(reporter, "advance")
    assert asked == {
        "data": Path("x.h5"), "trials": 4, "epochs": 7, "objective": "loss", "method": "dbse", "preset": "mug",
        "variant": "release",
        "alpha": 0.5, "anchor": "last", "seed": 3, "study": Path("a.db"), "timeout": 1.5, "device": "cpu",
    }  # fmt: skip
    asked.clear()
    invoke("x.h5 --set epochs=9", study())
    assert asked["epochs"] == 9
    asked.clear()
    invoke("x.h5", study())
    defaults = {name: parameter.default for name, parameter in inspect.signature(search).parameters.items()}
    assert {name: asked[name] for name in command.OPTIONS[1:-1]} == {n: defaults[n] for n in command.OPTIONS[1:-1]}


def test_names_are_those_of_the_library() -> None:
    parameters = set(inspect.signature(search).parameters)
    assert {*command.OPTIONS, "epochs", "overrides"} == parameters
    annotation = typing.get_type_hints(command.tune)["objective"]
    assert set(typing.get_args(annotation)) == set(OBJECTIVES)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("none.h5", "none.h5 does not exist"),
        ("none.h5 --set beta", "--set beta: expected name=value, such as batch_size=64"),
        ("none.h5 --set bta=1", "unknown setting 'bta' (did you mean 'beta'?)"),
        ("none.h5 --set study=x", "--set study: 'study' is no setting; see `sdkit tune --help`"),
        ("none.h5 --timeout 0", "timeout = 0.0 minutes; it must be positive"),
        ("none.h5 --preset waves", "unknown preset 'waves'"),
        ("none.h5 --method dbs", "unknown method 'dbs' (did you mean 'dbse'?)"),
    ],
)
def test_a_mistake_is_one_line(invoke: Invoke, line: str, says: str) -> None:
    result = invoke(line)
    assert result.exit_code == 2
    (told,) = result.stderr.splitlines()
    assert told.startswith("error: ")
    assert says in told
    assert result.stdout == ""
    assert list(Path().iterdir()) == []
