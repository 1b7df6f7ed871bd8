import os
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import save_file

from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError
from sdkit.training.config import TrainConfig
from sdkit.training.run import DataInfo, Run, RunConfig, find_run, new_run_path
from tests.tiny import tiny_config, tiny_model


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDKIT_RUN", raising=False)


def make(name: str, age: int = 0) -> Path:
    """Make a run folder that is so many seconds old."""
    path = Path("runs") / name
    path.mkdir(parents=True)
    config = RunConfig(tiny_config("release"), TrainConfig(seed=3), DataInfo("x.h5", "x"), preset="mug")
    file = path / "config.json"
    file.write_bytes(msgspec.json.encode(config))
    os.utime(file, (1e9 - age, 1e9 - age))
    return path


def test_the_newest_run_is_found() -> None:
    make("older", 20)
    make("newest", 10)
    make("oldest", 30)
    (Path("runs") / "data").mkdir()
    assert find_run().path == Path("runs/newest")
    assert find_run().name == "newest"


def test_a_run_is_found_by_name_or_path(tmp_path: Path) -> None:
    make("a", 10)
    make("b", 0)
    assert find_run("a").path == Path("runs/a")
    assert find_run("runs/a").path == Path("runs/a")
    assert find_run(tmp_path / "runs" / "a").path == tmp_path / "runs" / "a"


def test_the_environment_names_a_run_and_an_argument_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    make("a", 10)
    make("b", 0)
    monkeypatch.setenv("SDKIT_RUN", "a")
    assert find_run().name == "a"
    assert find_run("b").name == "b"
    monkeypatch.setenv("SDKIT_RUN", "")
    assert find_run().name == "b"
    monkeypatch.setenv("SDKIT_RUN", "c")
    with pytest.raises(MissingFileError, match="c is not a run"):
        find_run()


def test_missing_runs(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no run under .*runs; `sdkit train` makes one"):
        find_run()
    with pytest.raises(MissingFileError, match=r"x\.h5 is not a run: it holds no config\.json"):
        find_run("x.h5")
    with pytest.raises(FileNotFoundError):
        find_run(tmp_path)


def test_config_is_read_back() -> None:
    config = Run(make("a")).config
    assert config.model == tiny_config("release")
    assert (config.train.seed, config.data.name, config.preset) == (3, "x", "mug")


@pytest.mark.parametrize(
    ("old", "new"), [('"seed":3', '"seed":-3'), ('"seed"', '"sead"'), ('"release', "{"), ('"layers":2', '"layers":"2"')]
)
def test_a_config_that_cannot_be_names_its_file(old: str, new: str) -> None:
    file = make("a") / "config.json"
    text = file.read_text("utf-8").replace('"preset":"mug"', '"preset":"release"')
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(FileFormatError, match=r"runs/a/config\.json is not the config of a run"):
        _ = Run(file.parent).config


def test_weights_and_model() -> None:
    run = Run(make("a"))
    with pytest.raises(MissingFileError, match=r"best\.safetensors does not exist: no epoch of this run has ended"):
        run.weights()
    model = tiny_model("release", seed=4)
    save_file(model.state_dict(), run.path / "last.safetensors")
    assert run.weights("last") == run.path / "last.safetensors"
    loaded = run.load_model("last")
    assert not loaded.training
    found = loaded.state_dict()
    assert all((found[name] == value).all() for name, value in model.state_dict().items())
    with pytest.raises(MissingFileError):
        run.load_model()


def test_metrics_are_a_record_a_line() -> None:
    run = Run(make("a"))
    assert run.metrics() == []
    (run.path / "metrics.jsonl").write_text('{"epoch": 1, "train": {"nll": 2.5}}\n{"epoch": 2}\n', "utf-8")
    assert run.metrics() == [{"epoch": 1, "train": {"nll": 2.5}}, {"epoch": 2}]
    assert run.bundle == run.path / "bundle"


def test_new_runs_are_numbered() -> None:
    assert new_run_path(None, "x") == Path("runs/x")
    make("x")
    assert new_run_path(None, "x") == Path("runs/x-2")
    make("x-2")
    make("x-4")
    assert new_run_path(None, "x") == Path("runs/x-3")


def test_a_name_given_is_taken_or_refused() -> None:
    assert new_run_path("mine", "x") == Path("runs/mine")
    make("mine")
    with pytest.raises(ConfigError, match=r"runs/mine exists already; choose another --name, or --resume it"):
        new_run_path("mine", "x")


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "/a"])
def test_names_are_plain_folder_names(name: str) -> None:
    with pytest.raises(ConfigError, match="plain folder name"):
        new_run_path(name, "x")


@pytest.mark.parametrize(
    ("base", "name"), [("../../etc", "etc"), ("/tmp/x", "x"), ("..", "run"), (".x", "x"), ("a b", "a b")]
)
def test_a_file_cannot_name_a_folder_outside_runs(base: str, name: str) -> None:
    assert new_run_path(None, base) == Path("runs") / name
