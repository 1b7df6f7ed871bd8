"""The search for settings: most tests stand a made-up training in for the real one, which takes its place in a few."""

import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from sqlalchemy import Engine, event

import sdkit
from sdkit.experiments.tune import tune
from sdkit.experiments.tuning import search as module
from sdkit.experiments.tuning import storage
from sdkit.experiments.tuning.objectives import OBJECTIVES
from sdkit.experiments.tuning.result import Study
from sdkit.experiments.tuning.space import search_space
from sdkit.methods import find
from sdkit.methods.base import Choice, Range
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DeviceError, FileFormatError, MissingFileError, OutputExistsError
from sdkit.runtime.locate import RUNS
from sdkit.training.config import Plan, parse_override, plan, preset
from sdkit.training.train import train
from tests.sdkit.evaluation.other_methods import register
from tests.sdkit.training.files import write
from tests.tiny import sequences

SERIES = Element("series", (4, 2), "float32")
SMALL: dict[str, Any] = {"hidden_size": 6, "prior_hidden_size": 6, "batch_size": 8, "val_fraction": 0.2}
SEARCHED = ["alpha", "beta", "learning_rate", "static_size", "dynamic_size"]

DBSE = find("dbse")

Losses = Callable[[Plan, int], Mapping[str, float]]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Curves of trials go with their folders, and take most of the time of a real one.
    monkeypatch.setattr("sdkit.training.loop.draw_curves", lambda metrics, terms, path: None)
    monkeypatch.delenv("WORLD_SIZE", raising=False)


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk() -> Iterator[None]:
    """Spare the studies what only a power cut would need, and what takes nearly all their time."""

    def hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", hurry)
    yield
    event.remove(Engine, "connect", hurry)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return series(tmp_path / "waves.h5")


def series(path: Path, seed: int = 0, **options: Any) -> Path:
    x = np.random.default_rng(seed).normal(size=(20, 3, 4, 2)).astype(np.float32)
    return write(path, x, SERIES, name="waves", **options)


def terms(**changes: float) -> dict[str, float]:
    return {"loss": 1.0, "nll": 1.0, "nll_anchor": 0.0, "kl_static": 0.0, "kl_dynamic": 0.0, **changes}


def distance(found: Plan, epoch: int) -> dict[str, float]:
    """Return terms that fall with the epochs, and are lower the nearer alpha is to 0.01."""
    settings: Any = found.settings
    return terms(nll=100 + abs(np.log10(settings.alpha) + 2) - epoch, loss=100.0 - epoch)


def pretend(patch: pytest.MonkeyPatch, losses: Losses = distance) -> list[Plan]:
    """Put a made-up training in the place of the real one; return what it was asked for."""
    asked: list[Plan] = []

    def start(file: Any, found: Plan, *, name: str, on_epoch: Any, **_: Any) -> None:
        asked.append(found)
        (RUNS / name).mkdir()
        for epoch in range(1, found.train.epochs + 1):
            on_epoch({"epoch": epoch, "active_static": epoch, "active_dynamic": 0, "val": losses(found, epoch)})

    patch.setattr(module, "start", start)
    patch.setattr(module, "draw_trials", lambda trials, path, **_: path.touch())
    return asked


def states(study: Study) -> list[str]:
    return [trial.state for trial in study.trials]


def found(study: Study) -> list[dict[str, Any]]:
    return [trial.settings for trial in study.trials]


def listing() -> set[str]:
    return {str(path) for path in Path().rglob("*") if path.is_file()}


LEFT = {"waves.h5", "runs/tune/waves.db", "runs/tune/waves.toml", "runs/tune/waves.png"}


@pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")  # of the run made to compare with
def test_real_trainings(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = sdkit.tune(data, trials=2, epochs=2, **SMALL)
    assert states(study) == ["complete", "complete"]
    assert [trial.epochs for trial in study.trials] == [2, 2]
    assert listing() == LEFT
    assert not [path for path in Path("runs").iterdir() if path.name != "tune"]
    assert capfd.readouterr() == ("", "")
    best = study.best
    assert best is not None
    assert best.value == min(trial.value or 0 for trial in study.trials)
    # Trained again with the settings of the best trial, the same record is there.
    run = train(data, epochs=2, **{**SMALL, **best.settings})
    record = min(run.metrics(), key=lambda record: record["val"]["loss"])
    sums = sum(record["val"][name] for name in ("nll", "nll_anchor", "kl_static", "kl_dynamic"))
    assert best.value == pytest.approx(sums, rel=1e-6)
    assert (best.active_static, best.active_dynamic) == (record["active_static"], record["active_dynamic"])


def test_a_trial_whose_loss_is_not_finite_fails_and_the_study_goes_on(data: Path) -> None:
    study = tune(data, trials=2, epochs=3, learning_rate=1e30, **SMALL)
    assert states(study) == ["failed", "failed"]
    for trial in study.trials:
        assert re.fullmatch(r"the loss became (nan|inf) in epoch \d; .* gradient_clip=1", trial.reason)
    assert (study.best, study.command, study.settings_file, study.picture) == (None, "", None, None)
    assert listing() == {"waves.h5", "runs/tune/waves.db"}


def test_the_first_trial_takes_the_usual_settings(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch)
    study = tune(data, trials=4, epochs=2, **SMALL)
    sections = preset("series")
    usual = {name: value for part in ("shared", "train", "dbse") for name, value in sections[part].items()}
    assert study.trials[0].settings == {name: usual[name] for name in SEARCHED}
    assert {found.train.swap_every for found in asked} == {0}
    space = search_space(DBSE, SERIES)
    for trial in study.trials:
        assert list(trial.settings) == SEARCHED
        for name in ("alpha", "beta"):
            assert 1e-4 <= trial.settings[name] <= 1
            assert float(f"{trial.settings[name]:.3g}") == trial.settings[name]
        assert all(trial.settings[name] in space[name].values for name in SEARCHED[2:])  # type: ignore[union-attr]
    assert len({trial.settings["alpha"] for trial in study.trials}) == 4
    other = tune(data, trials=2, epochs=2, study="other.db", beta=7.0, **SMALL)
    assert "beta" not in other.trials[0].settings
    assert asked[-1].settings.beta == 7.0  # type: ignore[attr-defined]


def test_the_first_trial_is_drawn_where_the_usual_settings_are_not_in_the_space(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr("sdkit.elements.series.CODE_SIZES", (3, 4))
    study = tune(data, trials=1, epochs=1, **SMALL)
    assert study.trials[0].settings["static_size"] in (3, 4)


@pytest.mark.parametrize(
    ("kind", "sizes"), [("image", (64, 128, 256)), ("series", (8, 16, 32)), ("spectrum", (64, 128, 256))]
)
def test_the_space_is_that_of_the_paper(kind: Any, sizes: tuple[int, ...]) -> None:
    shape = {"image": (3, 64, 64), "series": (4, 2), "spectrum": (6,)}[kind]
    space = search_space(DBSE, Element(kind, shape, "float32"))
    assert list(space) == SEARCHED
    assert space["alpha"] == space["beta"] == Range(1e-4, 1.0)
    assert space["learning_rate"] == Choice((1e-3, 1.5e-3, 2e-3))
    assert space["static_size"] == space["dynamic_size"] == Choice(sizes)


def test_beta_is_not_searched_where_it_has_no_part() -> None:
    assert "beta" in search_space(DBSE, SERIES, ["beta_static"])
    assert "beta" not in search_space(DBSE, SERIES, ["beta_static", "beta_dynamic"])


def test_continued_it_draws_as_an_unbroken_study(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch)
    whole = tune(data, trials=12, epochs=2, study="whole.db", **SMALL)
    tune(data, trials=2, epochs=2, study="parts.db", **SMALL)
    moved = shutil.move(data, "moved.h5")
    count = len(asked)
    parts = tune(moved, trials=12, epochs=2, study="parts.db", **SMALL)
    assert len(asked) == count + 10
    assert [trial.number for trial in parts.trials] == list(range(12))
    assert found(parts) == found(whole)
    assert tune(moved, trials=12, epochs=2, study="parts.db", **SMALL).trials == parts.trials
    assert len(asked) == count + 10
    seeded = tune(moved, trials=3, epochs=2, study="seeded.db", seed=1, **SMALL)
    assert found(seeded)[1:] != found(whole)[1:3]


KILL = """
import os, signal, sys
from sdkit.experiments.tune import tune
from sdkit.experiments.tuning import search as module
from sdkit.runtime.locate import RUNS
from tests.sdkit.experiments.test_tune import SMALL, terms

count = 0

def start(file, found, *, name, on_epoch, **_):
    global count
    count += 1
    (RUNS / name).mkdir()
    (RUNS / name / "state.pt").touch()
    on_epoch({"epoch": 1, "active_static": 1, "active_dynamic": 1, "val": terms()})
    if count == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    on_epoch({"epoch": 2, "active_static": 1, "active_dynamic": 1, "val": terms()})

module.start = start
tune(sys.argv[1], trials=3, epochs=2, **SMALL)
"""


def test_a_killed_study_is_continued(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[3])
    result = subprocess.run([sys.executable, "-c", KILL, str(data)], env={"PYTHONPATH": root, "PATH": ""}, check=False)
    assert result.returncode == -signal.SIGKILL
    assert Path("runs/tune-waves/state.pt").exists()
    pretend(monkeypatch)
    study = tune(data, trials=3, epochs=2, **SMALL)
    assert states(study) == ["complete", "interrupted", "complete", "complete"]
    assert [trial.epochs for trial in study.trials] == [2, 1, 2, 2]
    assert study.trials[1].settings == study.trials[2].settings  # what was lost is tried again
    assert not Path("runs/tune-waves").exists()
    assert listing() == LEFT


def test_ctrl_c_keeps_the_trials_that_ended(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(found: Plan, epoch: int) -> dict[str, float]:
        if len(asked) == 3 and epoch == 2:
            raise KeyboardInterrupt
        return distance(found, epoch)

    asked = pretend(monkeypatch, stop)
    study = tune(data, trials=5, epochs=2, **SMALL)
    assert study.interrupted
    assert states(study) == ["complete", "complete", "interrupted"]
    assert listing() == LEFT
    assert [path.name for path in Path("runs").iterdir()] == ["tune"]
    study = tune(data, trials=4, epochs=2, **SMALL)
    assert not study.interrupted
    assert states(study) == ["complete", "complete", "interrupted", "complete", "complete"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, DeviceError, ZeroDivisionError])
def test_a_new_study_without_a_trial_that_ended_leaves_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def stop(found: Plan, epoch: int) -> dict[str, float]:
        raise error

    pretend(monkeypatch, stop)
    with pytest.raises(error):
        tune(data, trials=2, epochs=2, **SMALL)
    assert [path.name for path in Path().iterdir()] == ["waves.h5"]


def test_trials_worse_than_the_median_are_pruned(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(found: Plan, epoch: int) -> dict[str, float]:
        return terms(nll=10.0 * len(asked))

    asked = pretend(monkeypatch, worse)
    study = tune(data, trials=8, epochs=5, **SMALL)
    assert states(study) == ["complete"] * 5 + ["pruned"] * 3
    assert [trial.epochs for trial in study.trials] == [5] * 5 + [3] * 3
    assert [trial.value for trial in study.trials] == [10.0 * (n + 1) for n in range(8)]
    assert study.best == study.trials[0]
    # In its last epoch a trial has nothing left to save.
    asked.clear()
    assert set(states(tune(data, trials=7, epochs=3, study="short.db", **SMALL))) == {"complete"}


def test_one_bad_trial_among_good_ones(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(found: Plan, epoch: int) -> dict[str, float]:
        if len(asked) == 1:
            return terms(nll=float("nan"))
        if len(asked) == 2:
            raise ConfigError(
                "the loss became inf in epoch 2; lower it (the epochs before are kept in runs/tune-waves)"
            )
        return distance(found, epoch)

    asked = pretend(monkeypatch, diverge)
    study = tune(data, trials=3, epochs=2, **SMALL)
    assert states(study) == ["failed", "failed", "complete"]
    assert study.trials[0].reason == "the validation elbo became nan in epoch 1"
    assert study.trials[1].reason == "the loss became inf in epoch 2; lower it"
    assert study.best == study.trials[2]


@pytest.mark.parametrize(
    ("objective", "fixed", "expected"),
    [
        ("elbo", {}, 2 + 4 + 8 + 16),
        ("reconstruction", {"alpha": 0.1, "beta": 0.1}, 2 + 4),
        ("reconstruction", {"alpha": 0.1, "beta_static": 0.1, "beta_dynamic": 0.1}, 2 + 4),
        ("loss", {"alpha": 0.1, "beta": 0.1}, 1),
    ],
)
def test_objectives(
    data: Path, monkeypatch: pytest.MonkeyPatch, objective: str, fixed: dict[str, Any], expected: float
) -> None:
    pretend(monkeypatch, lambda found, epoch: terms(loss=1, nll=2, nll_anchor=4, kl_static=8, kl_dynamic=16))
    study = tune(data, trials=1, epochs=1, objective=objective, **SMALL, **fixed)
    assert study.trials[0].value == expected
    assert not set(fixed) & set(study.trials[0].settings)


def test_the_value_is_that_of_the_epoch_whose_weights_a_run_keeps(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {1: (3.0, 30.0), 2: (1.0, 20.0), 3: (2.0, 10.0)}
    pretend(monkeypatch, lambda found, epoch: terms(loss=losses[epoch][0], nll=losses[epoch][1]))
    study = tune(data, trials=1, epochs=3, **SMALL)
    assert (study.trials[0].value, study.trials[0].active_static) == (20.0, 2)


def test_what_is_found_can_be_trained(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    study = tune(
        "waves.h5", trials=3, epochs=1, variant="release", preset="etth1", anchor="last", decoder_widths=[4, 4], **SMALL
    )
    assert study.settings_file is not None
    stored = tomllib.loads(study.settings_file.read_text("utf-8"))
    assert list(stored) == ["train", "dbse"]  # the sections of a preset
    values = {**stored["train"], **stored["dbse"]}
    found = plan(SERIES, overrides=values)
    settings: Any = found.settings
    assert study.best is not None
    assert {name: values[name] for name in SEARCHED} == study.best.settings
    assert (found.variant, settings.anchor, settings.decoder_widths) == ("release", "last", (4, 4))
    assert found.train.batch_size == 8
    assert found.train.epochs == preset("etth1")["train"]["epochs"]  # those of a trial are for trials
    words = shlex.split(study.command)
    assert words[:7] == ["sdkit", "train", "waves.h5", "--preset", "etth1", "--variant", "release"]
    assert set(words[7::2]) == {"--set"}
    given = dict(parse_override(word) for word in words[8::2])
    assert plan(SERIES, preset_name="etth1", variant="release", overrides=given) == found


@pytest.mark.parametrize("variant", [None, "paper"])
def test_the_usual_variant_is_not_named(data: Path, monkeypatch: pytest.MonkeyPatch, variant: str | None) -> None:
    pretend(monkeypatch)
    study = tune(data, trials=1, epochs=1, variant=variant, **SMALL)
    assert study.command.startswith(f"sdkit train {data} --set ")


def test_a_variant_that_is_not_the_kinds_own_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    path = write(tmp_path / "squares.h5", sequences(20))
    widths: dict[str, Any] = {"encoder_widths": [4, 6, 8], "decoder_widths": [8, 6, 4]}
    usual, other = (
        tune(path, trials=1, epochs=1, study=f"{variant}.db", variant=variant, **SMALL, **widths).command
        for variant in ("filter", "paper")
    )
    assert "--variant" not in usual  # of images
    assert "--variant paper" in other


def test_other_settings_are_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch)
    usual: dict[str, Any] = {"trials": 1, "epochs": 2, **SMALL}
    tune(data, **usual)
    before = Path("runs/tune/waves.db").read_bytes()
    changes: list[tuple[dict[str, Any], str]] = [
        ({"epochs": 3}, r"epochs = 2 \(now 3\);"),
        ({"seed": 1}, r"with seed = 0 \(now 1\); give the same settings, or another --study"),
        (
            {"objective": "reconstruction", "alpha": 0.1, "beta": 0.1},
            r"objective = elbo \(now reconstruction\), alpha = 0.0001 to 1 ",
        ),
        ({"static_size": 8}, r"static_size = 8 or 16 or 32 \(now 8\)"),
        ({"variant": "release"}, r"subtract = hidden \(now features\)"),
        ({"batch_size": 4}, r"batch_size = 8 \(now 4\)"),
    ]
    for change, message in changes:
        with pytest.raises(ConfigError, match=message):
            tune(data, **{**usual, "trials": 2, **change})
    data.unlink()
    with pytest.raises(ConfigError, match=r"waves\.db was made with data = waves: 20 sequences of series \(4, 2\)"):
        tune(series(data, seed=1), **usual)
    assert len(asked) == 1
    assert Path("runs/tune/waves.db").read_bytes() == before


def test_a_timeout_ends_the_search_between_trials(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    study = tune(data, trials=9, epochs=2, timeout=1e-9, **SMALL)
    assert states(study) == ["complete"]
    assert not study.interrupted
    assert len(tune(data, trials=9, epochs=2, timeout=1e-9, **SMALL).trials) == 2


def test_a_study_is_searched_by_one_process(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(found: Plan, epoch: int) -> dict[str, float]:
        with pytest.raises(ConfigError, match=r"waves\.db is in use by another sdkit tune"):
            tune(data, trials=9, epochs=1, **SMALL)
        return distance(found, epoch)

    pretend(monkeypatch, again)
    assert states(tune(data, trials=1, epochs=1, **SMALL)) == ["complete"]
    assert listing() == LEFT
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="runs in one process"):
        tune(data, trials=9, epochs=1, **SMALL)


def test_folders_of_others_stay(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("runs/tune-waves").mkdir(parents=True)
    Path("runs/tune-waves/mine").touch()
    pretend(monkeypatch)
    tune(data, trials=2, epochs=1, **SMALL)
    assert listing() == {*LEFT, "runs/tune-waves/mine"}
    assert sorted(path.name for path in Path("runs").iterdir()) == ["tune", "tune-waves"]


def test_optuna_is_as_loud_as_before(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        tune(data, trials=1, epochs=1, **SMALL)
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(optuna.logging.INFO)


def test_a_validation_split_is_needed(tmp_path: Path) -> None:
    path = series(tmp_path / "all.h5")
    for fraction in (0.0, 0.01):
        with pytest.raises(ConfigError, match=rf"all\.h5 has no validation sequence.* val_fraction = {fraction} "):
            tune(path, epochs=1, **{**SMALL, "val_fraction": fraction})
    assert listing() == {"all.h5"}


def test_a_validation_split_of_the_file_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    path = series(tmp_path / "split.h5", splits={"train": range(16), "val": range(16, 20)})
    assert states(tune(path, trials=1, epochs=1, **{**SMALL, "val_fraction": 0.0})) == ["complete"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"objective": "elbow"},
            ConfigError,
            r"unknown objective 'elbow' \(did you mean 'elbo'\?\); there are: elbo, ",
        ),
        (
            {"objective": "accuracy"},
            ConfigError,
            r"unknown objective 'accuracy'; there are: elbo, reconstruction, loss",
        ),
        ({"trials": 0}, ConfigError, "trials = 0; it must be at least 1"),
        ({"timeout": 0.0}, ConfigError, r"timeout = 0\.0 minutes; it must be positive"),
        ({"timeout": float("nan")}, ConfigError, "timeout = nan minutes"),
        ({"bta": 1.0}, ConfigError, "did you mean 'beta'"),
        ({"preset": "serie"}, ConfigError, "did you mean 'series'"),
        ({"variant": "papers"}, ConfigError, "did you mean 'paper'"),
        ({"epochs": 0}, ConfigError, "epochs = 0; it must be at least 1"),
        ({"device": "tpu"}, ConfigError, "unknown device 'tpu'"),
        (
            {"objective": "reconstruction"},
            ConfigError,
            r"always has the smallest alpha; set it, such as --set alpha=0\.\d+, or take elbo",
        ),
        ({"objective": "loss", "alpha": 0.1}, ConfigError, "always has the smallest beta"),
        ({"method": "dbs"}, ConfigError, r"unknown method 'dbs' \(did you mean 'dbse'\?\)"),
        (dict.fromkeys(SEARCHED, 1), ConfigError, "every setting that can be searched is set already"),
        ({"study": "no/where.db"}, MissingFileError, r"no/where\.db: the folder .* does not exist"),
        ({"study": "text.db"}, FileFormatError, r"text\.db is not a study of sdkit tune"),
        ({"study": "empty.db"}, FileFormatError, r"empty\.db is not a study of sdkit tune"),
        ({"study": "other.db"}, FileFormatError, r"other\.db is a study of something else"),
        ({"study": "mine.db"}, OutputExistsError, r"mine\.png exists already .* choose another --study"),
        ({"study": "a.toml"}, ConfigError, r"--study a\.toml: \.toml is the ending"),
        ({"data": "none.h5"}, MissingFileError, r"none\.h5 does not exist"),
    ],
)
def test_mistakes(data: Path, change: dict[str, Any], error: type[Exception], message: str) -> None:
    Path("text.db").write_text("mine " * 100)
    Path("empty.db").touch()
    Path("mine.png").touch()
    with sqlite3.connect("other.db") as base:
        base.execute("CREATE TABLE studies (study_name TEXT)")
    base.close()
    before = {path: Path(path).read_bytes() for path in listing()}
    with pytest.raises(error, match=message):
        tune(**{"data": data, "trials": 2, "epochs": 1, **SMALL, **change})
    assert {path: Path(path).read_bytes() for path in listing()} == before
    assert not Path("runs").exists()


def test_data_that_no_model_fits(tmp_path: Path) -> None:
    odd = Element("image", (3, 12, 16), "uint8")
    path = write(tmp_path / "odd.h5", np.zeros((20, 3, *odd.shape), np.uint8), odd)
    with pytest.raises(ConfigError, match="12x16 cannot be halved"):
        tune(path, epochs=1, val_fraction=0.2)
    assert listing() == {"odd.h5"}


def test_optuna_is_asked_for_by_its_extra(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"sdkit tune needs optuna, not installed here; pip install 'sdkit\[tune\]'"):
        tune(data)


def test_every_objective_has_terms_of_the_record() -> None:
    assert {name for objective in OBJECTIVES.values() for name in objective.terms(DBSE)} == set(terms())


# Other methods.


def test_another_method_is_searched_in_its_own_space(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    study = tune(data, method="one-code", trials=3, epochs=2, batch_size=8, val_fraction=0.2)
    assert states(study) == ["complete"] * 3
    assert [list(trial.settings) for trial in study.trials] == [["beta", "learning_rate", "prior_kind"]] * 3
    assert {trial.settings["prior_kind"] for trial in study.trials} <= {"white", "pink"}
    assert study.trials[0].settings == {"beta": 1.0, "learning_rate": 2e-3, "prior_kind": "white"}
    assert {trial.active_static for trial in study.trials} == {None}  # it has no such code
    assert None not in {trial.active_dynamic for trial in study.trials}
    assert study.command.startswith(f"sdkit train {data} --method one-code --set ")
    assert study.best is not None
    assert study.settings_file is not None
    stored = tomllib.loads(study.settings_file.read_text("utf-8"))
    assert list(stored) == ["train", "one-code"]
    assert stored["one-code"]["prior_kind"] == study.best.settings["prior_kind"]
    assert listing() == LEFT
    with pytest.raises(ConfigError, match=r"waves\.db was made with method = one-code \(now dbse\)"):
        tune(data, trials=4, epochs=2, **SMALL)


def test_objectives_go_by_the_kinds_of_terms(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    pretend(monkeypatch, lambda found, epoch: {"loss": 1.0, "misfit": 2.0, "cost": 4.0, "contest": 8.0, "size": 16.0})
    values = {}
    asked: list[tuple[str, dict[str, Any]]] = [("one-code", {"beta": 1.0}), ("fixed", {}), ("dreamer", {})]
    for method, fixed in asked:
        for objective in OBJECTIVES:
            if method == "dreamer" and objective != "loss":
                continue
            options: dict[str, Any] = {"method": method, "objective": objective, "study": f"{method}-{objective}.db"}
            study = tune(data, trials=1, epochs=1, val_fraction=0.2, **options, **fixed)
            values[method, objective] = study.trials[0].value
    assert values == {
        ("one-code", "elbo"): 6.0, ("one-code", "reconstruction"): 2.0, ("one-code", "loss"): 1.0,
        ("fixed", "elbo"): 2.0, ("fixed", "reconstruction"): 2.0, ("fixed", "loss"): 1.0, ("dreamer", "loss"): 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "dreamer"}, "the method dreamer has no term of kind likelihood or divergence; take loss"),
        ({"method": "one-code", "objective": "loss"}, r"always has the smallest beta; .* --set beta=1\.0"),
        ({"method": "one-code", "variant": "paper"}, "unknown variant 'paper' of one-code"),
    ],
)
def test_mistakes_with_other_methods(
    data: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], message: str
) -> None:
    register(monkeypatch)
    with pytest.raises(ConfigError, match=message):
        tune(data, trials=1, epochs=1, val_fraction=0.2, **options)
    assert listing() == {"waves.h5"}


def test_a_study_of_the_time_of_one_method_is_continued(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    tune(data, trials=1, epochs=1, **SMALL)
    with storage.opened(Path("runs/tune/waves.db")) as study:
        described = dict(study.user_attrs["settings"])
        assert described.pop("method") == "dbse"
        study.set_user_attr("settings", described)
    assert len(tune(data, trials=2, epochs=1, **SMALL).trials) == 2
