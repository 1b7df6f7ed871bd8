import json
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from safetensors.torch import save_file

from sdkit.methods import find
from sdkit.methods.base import Facts
from sdkit.methods.dbse.settings import DbseSettings
from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError
from sdkit.runtime.runtime import Runtime
from sdkit.training.config import TrainConfig
from sdkit.training.run import CONFIG_VERSION, DataInfo, Run, RunConfig, find_run, new_run_path
from tests.export.runs import quick_export
from tests.tiny import sequences, tiny_facts, tiny_model, tiny_plan


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDKIT_RUN", raising=False)


def make(name: str, age: int = 0) -> Path:
    """Make a run folder that is so many seconds old."""
    path = Path("runs") / name
    path.mkdir(parents=True)
    settings = msgspec.to_builtins(tiny_plan("release").settings)
    config = RunConfig("dbse", settings, tiny_facts(), TrainConfig(seed=3), DataInfo("x.h5", "x"), preset="mug")
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
    assert (config.method, config.version) == ("dbse", CONFIG_VERSION)
    assert config.plan == tiny_plan("release")._replace(train=config.train)
    assert config.facts == tiny_facts()
    assert (config.train.seed, config.data.name, config.preset) == (3, "x", "mug")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed":3', '"seed":-3'),
        ('"seed"', '"sead"'),
        ('"preset":"mug"', '{'),
        ('"steps":5', '"steps":"5"'),
        ('"version":2', '"colour":2'),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_names_its_file(old: str, new: str) -> None:
    file = make("a") / "config.json"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(FileFormatError, match=r"runs/a/config\.json is not the config of a run"):
        _ = Run(file.parent).config


def test_a_config_of_another_version() -> None:
    file = make("a") / "config.json"
    file.write_text(file.read_text("utf-8").replace('"version":2', '"version":3'), "utf-8")
    with pytest.raises(
        FileFormatError, match=r"config\.json has version 3; this sdkit reads versions up to 2; install"
    ):
        _ = Run(file.parent).config


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"method":"dbse"', '"method":"dbes"', r"unknown method 'dbes' \(did you mean 'dbse'\?\)"),
        ('"layers":2', '"layers":"2"', "these are no settings of the method dbse: Expected `int`"),
        ('"layers"', '"layer"', "these are no settings of the method dbse: .* `layer`"),
        ('"layers":2', '"layers":0', "layers = 0; it must be at least 1"),
    ],
)
def test_a_method_or_settings_that_are_not_known(old: str, new: str, words: str) -> None:
    file = make("a") / "config.json"
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    config = Run(file.parent).config
    with pytest.raises(ConfigError, match=words) as caught:
        _ = config.plan
    assert "\n" not in str(caught.value)


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


def test_what_was_killed_before_its_first_epoch_takes_no_name() -> None:
    run = Run(make("mine"))
    run.lock.path.touch()
    assert run.unstarted
    assert new_run_path("mine", "x") == new_run_path(None, "mine") == Path("runs/mine")
    lock = run.lock
    assert lock.take()  # and while a process trains it does
    assert not Run(run.path).unstarted
    with pytest.raises(ConfigError, match="exists already"):
        new_run_path("mine", "x")
    lock.release()


@pytest.mark.parametrize("kept", ["state.pt", "bundle", "metrics.jsonl"])
def test_a_run_with_epochs_is_never_taken_for_one_without(kept: str) -> None:
    run = Run(make("mine"))
    run.lock.path.touch()  # killed while it was resumed
    (run.path / kept).write_text('{"epoch": 1}\n{"epoch": 2}\n')
    assert not run.unstarted


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../a", "/a"])
def test_names_are_plain_folder_names(name: str) -> None:
    with pytest.raises(ConfigError, match="plain folder name"):
        new_run_path(name, "x")


@pytest.mark.parametrize(
    ("base", "name"), [("../../etc", "etc"), ("/tmp/x", "x"), ("..", "run"), (".x", "x"), ("a b", "a b")]
)
def test_a_file_cannot_name_a_folder_outside_runs(base: str, name: str) -> None:
    assert new_run_path(None, base) == Path("runs") / name


# Runs that were made while there was one method: their config.json has no version.

BEFORE: dict[str, Any] = {
    "model": {
        "element": {"kind": "series", "shape": [4, 3], "dtype": "float32", "units": ["mmHg"], "feature_names": []},
        "static_size": 5,
        "dynamic_size": 4,
        "hidden_size": 6,
        "prior_hidden_size": 7,
        "prior_layers": 2,
        "encoder_widths": [5, 6, 7],
        "decoder_widths": [7, 6, 5],
        "feature_mean": [0.2, 0.5, 0.9],
        "feature_std": [0.3, 0.5, 1.1],
        "pixel_scale": 255.0,
        "subtract": "features",
        "anchor_dynamic": "inferred",
        "bidirectional": True,
        "layers": 2,
        "filter": True,
        "anchor": "first",
    },
    "train": {
        "alpha": 0.3,
        "beta": 0.1,
        "beta_static": 0.7,
        "beta_dynamic": None,
        "likelihood": "mean",
        "learning_rate": 0.001,
        "batch_size": 16,
        "epochs": 2,
        "seed": 4,
        "val_fraction": 0.05,
        "precision": "auto",
        "channels_last": True,
        "resident_gb": 4.0,
        "swap_every": 4,
    },
    "data": {
        "path": "x.h5",
        "name": "vitals",
        "train_count": 21,
        "val_count": 5,
        "steps": 6,
        "source": "made up",
        "licence": "CC0-1.0",
    },
    "preset": "physionet",
    "sdkit_version": "0.1.0",
    "torch_version": "2.13.0",
    "commit": "c0ffee",
}
LAYERS_BEFORE = {
    *(f"encoder.layers.{number}.0" for number in range(3)),
    "encoder.pool",
    "decoder.state",
    "decoder.lstm",
    *(f"decoder.layers.{number}.0" for number in range(2)),
    "decoder.mean",
    "decoder.std",
    "static_path.hidden",
    *(f"{path}_path.head.{part}" for path in ("static", "dynamic", "filter") for part in ("mean", "log_variance")),
    "dynamic_path.lstm",
    "filter_path.lstm",
    "prior.lstm",
    "prior.head.mean",
    "prior.head.log_variance",
}
"""Names of the layers in weights of such a run."""


def run_of_before(**changes: Any) -> Run:
    path = Path("runs") / "old"
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({**BEFORE, **changes}), "utf-8")
    return Run(path)


def test_a_config_without_a_version_is_one_of_dbse() -> None:
    config = run_of_before().config
    settings = config.plan.settings
    assert isinstance(settings, DbseSettings)
    assert (config.method, config.plan.variant, config.plan.method) == ("dbse", "filter", find("dbse"))
    assert (settings.alpha, settings.betas, settings.likelihood) == (0.3, (0.7, 0.1), "mean")
    assert (settings.layers, settings.encoder_widths) == (2, (5, 6, 7))
    element = Element("series", (4, 3), "float32", ("mmHg",))
    assert config.facts == Facts(element, 6, 21, (0.2, 0.5, 0.9), (0.3, 0.5, 1.1))
    assert (config.train.batch_size, config.train.epochs, config.train.seed) == (16, 2, 4)
    assert config.train.gradient_clip == 0  # there was none then
    assert config.data == DataInfo("x.h5", "vitals", 21, 5, 6, "made up", "CC0-1.0")
    assert (config.preset, config.sdkit_version, config.commit) == ("physionet", "0.1.0", "c0ffee")
    # Once it is written again it is a config of today.
    again = json.loads(msgspec.json.encode(config))
    assert again["version"] == CONFIG_VERSION
    assert msgspec.json.decode(msgspec.json.encode(config), type=RunConfig) == config


def test_a_run_without_a_version_loads_its_weights_and_exports(tmp_path: Path) -> None:
    run = run_of_before()
    config = run.config
    model = tiny_model("filter", 9, element=config.facts.element, static_prior="fitted", **_changes())
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("fitted_prior")}
    assert {name.rpartition(".")[0] for name in weights} == LAYERS_BEFORE
    save_file(weights, run.path / "best.safetensors")
    loaded = run.load_model()
    assert (loaded.settings, loaded.facts) == (model.settings, config.facts)
    x = sequences(3, 6, config.facts.element)
    expected = verbs(model).encode(x)
    np.testing.assert_array_equal(verbs(loaded).encode(x).dynamic, expected.dynamic)
    bundle = quick_export(run, tmp_path / "bundle")
    assert (bundle.manifest.method, bundle.manifest.variant, bundle.manifest.steps) == ("dbse", "filter", 6)
    rt = Runtime.open(bundle.path, device="cpu", threads=1)
    np.testing.assert_allclose(rt.encode(x).dynamic, expected.dynamic, atol=1e-5)
    np.testing.assert_allclose(rt.encode(x).static, expected.static, atol=1e-5)


def _changes() -> dict[str, Any]:
    facts = {"steps": 6, "count": 21, "feature_mean": (0.2, 0.5, 0.9), "feature_std": (0.3, 0.5, 1.1)}
    weights = {"alpha": 0.3, "beta": 0.1, "beta_static": 0.7, "likelihood": "mean"}
    return {"encoder_widths": (5, 6, 7), "decoder_widths": (7, 6, 5), **weights, **facts}


@pytest.mark.parametrize(
    "change",
    [{"model": None}, {"model": {}}, {"train": {"alpha": 0.3, "speed": 1}}, {"data": []}, {"colour": 1}],
    ids=str,
)
def test_a_config_without_a_version_is_checked_like_any_other(change: dict[str, Any]) -> None:
    with pytest.raises(FileFormatError, match=r"runs/old/config\.json is not the config of a run: ") as caught:
        _ = run_of_before(**change).config
    assert "\n" not in str(caught.value)
