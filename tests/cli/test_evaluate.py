"""`sdkit evaluate` as it is typed."""

import inspect
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import sdkit
from sdkit.cli.main import app
from sdkit.evaluation.evaluate import evaluate
from sdkit.training.run import Run
from tests.export.runs import quick_export, write_run
from tests.sdkit.evaluation.labelled import SERIES, hurry, images, series
from tests.tiny import tiny_model

WIDTHS: dict[str, Any] = {"encoder_widths": (6, 6), "decoder_widths": (6, 6)}
Invoke = Callable[[str], Result]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data and a run with its bundle."""
    folder = tmp_path_factory.mktemp("evaluate")
    series(folder / "waves.h5")
    images(folder / "squares.h5")
    quick_export(write_run(folder / "runs" / "waves", tiny_model(element=SERIES, **WIDTHS)), format="onnx")
    return folder


@pytest.fixture
def here(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a copy of that folder."""
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sdkit.cli.screen.out.width", 150)
    for name in ("SDKIT_RUN", "SDKIT_BUNDLE", "RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def invoke(here: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    hurry(monkeypatch)
    return lambda line: CliRunner().invoke(app, ["evaluate", *line.split()])


def test_the_table(invoke: Invoke, here: Path) -> None:
    result = invoke("--data waves.h5 --no-figures")
    assert result.exit_code == 0, result.stderr
    assert "runs/waves (torch) on waves.h5" in result.stdout
    for text in ("active static units", "of 5", "KL dynamic", "task ill", "AUPRC", "constant 0.333", "DCI", "leakage"):
        assert text in result.stdout
    told = json.loads((here / "runs/waves/evaluation/evaluation.json").read_text("utf-8"))
    auroc = told["tasks"]["ill"]["figures"]["auroc"]
    assert f"{auroc:.3f}" in result.stdout
    assert result.stderr.splitlines()[-1] == "wrote runs/waves/evaluation"


def test_json_of_a_bundle_with_figures(invoke: Invoke, here: Path) -> None:
    result = invoke("runs/waves/bundle --data waves.h5 -o told --device cpu --backend onnx --repeats 1 --seed 3 --json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told == json.loads((here / "told" / "evaluation.json").read_text("utf-8"))
    assert told["subject"]["backend"] == "onnx"
    assert told["settings"] == {"repeats": 1, "seed": 3}
    assert {"codes.png", "codes-season.png", "days-season.png", "reconstruction.png"} <= set(told["figures"])
    assert sorted([*told["figures"], "evaluation.json"]) == sorted(path.name for path in (here / "told").iterdir())


def test_options_reach_the_library(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def stand_in(source: Path | None, **options: Any) -> dict[str, Any]:
        asked.update(options, source=source)
        return {"output": "out"}

    monkeypatch.setattr(sdkit, "evaluate", stand_in, raising=False)
    line = "m --data a.h5 -o out --repeats 2 --seed 3 --backend torchscript --device cpu --no-figures --force --json"
    assert json.loads(invoke(line).stdout) == {"output": "out"}
    assert hasattr(asked.pop("reporter"), "advance")
    assert asked == {
        "source": Path("m"), "data": Path("a.h5"), "output": Path("out"), "repeats": 2, "seed": 3,
        "backend": "torchscript", "device": "cpu", "figures": False, "force": True,
    }  # fmt: skip
    invoke("--json")
    defaults = {name: parameter.default for name, parameter in inspect.signature(evaluate).parameters.items()}
    assert {**asked, "reporter": None} == defaults


def _config(run: Run, text: str) -> None:
    (run.path / "config.json").write_text(text)


def _away(here: Path) -> None:
    shutil.move(here / "runs" / "waves" / "bundle", here / "model")


def _mine(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "letter.txt").write_text("dear")


def _done(here: Path) -> None:
    (here / "runs" / "waves" / "evaluation").mkdir()
    (here / "runs" / "waves" / "evaluation" / "evaluation.json").write_text("{}")


def _no_test(here: Path) -> None:
    series(here / "two.h5", splits=("train", "val"))


def _no_run(here: Path) -> None:
    shutil.rmtree(here / "runs")


def _broken(here: Path) -> None:
    _config(Run(here / "runs" / "waves"), "{")


def _nothing(here: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("line", "says", "prepare"),
    [
        ("", ("training data of runs/waves are not known here", "none.h5 is gone", "give --data"), _nothing),
        ("--data gone.h5", ("gone.h5 does not exist",), _nothing),
        ("--data two.h5", ("two.h5 has no test split",), _no_test),
        ("--data squares.h5", ("squares.h5 holds image (3, 16, 16) uint8", "takes series (4, 2) float32"), _nothing),
        ("nowhere --data waves.h5", ("nowhere is neither a run nor a bundle", "manifest.json"), _nothing),
        ("--data waves.h5", ("no run under", "sdkit train"), _no_run),
        ("--data waves.h5", ("config.json is not the config of a run",), _broken),
        ("model", ("training data of model are not known here", "--data"), _away),
        ("--data waves.h5", ("runs/waves/evaluation exists already", "--force"), _done),
        ("--data waves.h5 -o mine --force", ("mine exists and holds no evaluation",), _mine),
        ("--data waves.h5 -o no/such", ("no does not exist",), _nothing),
        ("runs/waves/bundle --data waves.h5 --backend torchscript", ("torchscript", "sdkit export --format"), _nothing),
        ("runs/waves/bundle --data waves.h5 --device tpu", ("'tpu'", "auto, cpu, cuda or cuda:N"), _nothing),
    ],
)
def test_a_mistake_is_one_line(
    invoke: Invoke, here: Path, line: str, says: tuple[str, ...], prepare: Callable[[Path], None]
) -> None:
    prepare(here)
    before = sorted(here.rglob("*"))
    result = invoke(line)
    assert result.exit_code == 2, result.output
    lines = result.stderr.splitlines()
    assert lines[-1].startswith("error: ")
    assert sum(text.startswith("error:") for text in lines) == 1
    for text in says:
        assert text in lines[-1]
    assert result.stdout == ""
    assert sorted(here.rglob("*")) == before


def test_an_extra_that_is_not_installed(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    result = invoke("--data waves.h5")
    assert result.exit_code == 2
    assert "sdkit.evaluate needs sklearn, not installed here; pip install 'sdkit[train]'" in result.stderr


def test_repeats_are_at_least_one(invoke: Invoke) -> None:
    assert invoke("--repeats 0").exit_code == 2
