from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file

from sdkit.experiments import runs
from sdkit.experiments.runs import ensure_run
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.locate import RUNS
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.config import TrainConfig
from sdkit.training.run import Run
from tests.notes import Notes
from tests.sdkit.evaluation.labelled import SMALL, hurry, series
from tests.sdkit.evaluation.other_methods import Fixed, OneCode, register

pytestmark = pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")
Ensure = Callable[..., Run]


class Interrupting(Notes):
    """Ends the work like Ctrl-C when a stage begins."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    def start(self, what: str, total: int) -> None:
        if what == self.stage:
            raise KeyboardInterrupt


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SequenceFile:
    """Return series, in a folder of their own where work is done."""
    hurry(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return SequenceFile(series(tmp_path / "waves.h5"))


@pytest.fixture
def ensure(file: SequenceFile) -> Ensure:
    def make(row: str = "paper", *, reporter: Notes | None = None, **overrides: Any) -> Run:
        settings = {**SMALL, "static_size": 3, "dynamic_size": 3, "epochs": 1, "seed": 0, **overrides}
        return ensure_run(file, row, variant="paper", overrides=settings, device="cpu", reporter=reporter or Notes())

    return make


def weights(run: Run, which: str = "last") -> dict[str, np.ndarray]:
    return load_file(run.path / f"{which}.safetensors")


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return set(a) == set(b) and all((a[name] == b[name]).all() for name in a)


def test_the_same_settings_are_trained_once(ensure: Ensure, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ensure(epochs=2)
    assert first.path.parent == RUNS
    assert first.name.startswith("waves-paper-")
    assert first.name.endswith("-s0")
    assert len(first.metrics()) == 2

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("trained again")

    for name in ("start", "resume"):
        monkeypatch.setattr(runs, name, refuse)
    told = Notes()
    again = ensure(epochs=2, reporter=told)
    assert again.path == first.path
    assert told.lines == [f"{first.path}: complete, 2 epochs"]
    assert ensure(epochs=2, swap_every=3).path == first.path  # what is drawn on the way changes no weight


def test_other_settings_have_a_folder_of_their_own(ensure: Ensure, file: SequenceFile) -> None:
    made = [ensure(), ensure(seed=1), ensure(beta=0.5), ensure("no-sub", subtract="none"), ensure(static_size=4)]
    assert len({run.path for run in made}) == 5
    assert [path.name for path in sorted(RUNS.iterdir())] == sorted(run.name for run in made)
    digests = [run.name.split("-")[-2] for run in made]
    assert digests[0] == digests[1]  # a seed is told by its number
    assert len(set(digests)) == 4
    assert [run.config.train.seed for run in made] == [0, 1, 0, 0, 0]
    assert not same(weights(made[0]), weights(made[1]))


def test_a_setting_at_its_default_changes_no_name(ensure: Ensure) -> None:
    run = ensure()
    assert ensure(alpha=run.config.settings["alpha"], layers=run.config.settings["layers"]).path == run.path
    told = runs.changed(run.config.train)
    assert told["batch_size"] == SMALL["batch_size"]
    assert "resident_gb" not in told
    assert TrainConfig(**told) == run.config.train


def test_more_epochs_continue_a_run(ensure: Ensure) -> None:
    first = ensure(epochs=1)
    more = ensure(epochs=2)
    assert more.path == first.path
    assert [m["epoch"] for m in more.metrics()] == [1, 2]
    assert more.config.train.epochs == 2


def test_fewer_epochs_than_done_are_refused(ensure: Ensure) -> None:
    run = ensure(epochs=2)
    with pytest.raises(ConfigError, match=rf"{run.path} has 2 epochs already; ask for as many, or move it away"):
        ensure(epochs=1)
    assert len(run.metrics()) == 2


def test_a_run_that_was_cut_off_ends_as_an_unbroken_one(
    ensure: Ensure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        ensure(epochs=3, reporter=Interrupting("epoch 3/3"))
    (folder,) = RUNS.iterdir()
    assert len(Run(folder).metrics()) == 2
    resumed = ensure(epochs=3)
    assert resumed.path == folder
    found = {which: weights(resumed, which) for which in ("last", "best")}
    terms = [(m["epoch"], m["train"], m["val"]) for m in resumed.metrics()]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    unbroken = ensure(epochs=3)
    assert [(m["epoch"], m["train"], m["val"]) for m in unbroken.metrics()] == terms
    for which in ("last", "best"):
        assert same(found[which], weights(unbroken, which))


def test_ctrl_c_in_the_first_epoch_leaves_nothing(ensure: Ensure) -> None:
    with pytest.raises(KeyboardInterrupt):
        ensure(reporter=Interrupting("epoch 1/1"))
    assert not RUNS.exists()


@pytest.mark.parametrize("left", [(), (".lock", "config.json")])
def test_what_was_killed_in_its_first_epoch_is_trained_anew(ensure: Ensure, left: tuple[str, ...]) -> None:
    run = ensure()
    before = weights(run, "last")
    for path in run.path.iterdir():
        if path.name not in left:
            path.unlink()
    if left:
        run.lock.path.touch()
    assert same(weights(ensure(), "last"), before)
    assert not run.lock.path.exists()


def test_a_folder_without_an_epoch_is_told(ensure: Ensure) -> None:
    run = ensure()
    for path in run.path.iterdir():
        if path.name != "config.json":
            path.unlink()
    with pytest.raises(ConfigError, match="holds no complete epoch: another process trains it, or one was killed"):
        ensure()


def test_a_complete_run_needs_no_state(ensure: Ensure) -> None:
    run = ensure()
    (run.path / "state.pt").unlink()
    assert ensure().path == run.path


def test_a_run_of_other_data_is_refused(ensure: Ensure, file: SequenceFile, tmp_path: Path) -> None:
    run = ensure()
    other = SequenceFile(series(tmp_path / "other.h5"))  # of the same name inside
    with pytest.raises(ConfigError, match=rf"{run.path} was trained on .*waves\.h5, not on .*other\.h5; move one"):
        ensure_run(
            other, "paper", variant="paper", device="cpu", reporter=Notes(),
            overrides={**SMALL, "static_size": 3, "dynamic_size": 3, "epochs": 1, "seed": 0},
        )  # fmt: skip


def test_a_file_that_has_grown_is_other_data(ensure: Ensure, file: SequenceFile) -> None:
    run = ensure()
    config = run.config
    fewer = msgspec.structs.replace(config, data=msgspec.structs.replace(config.data, train_count=71))
    (run.path / "config.json").write_bytes(msgspec.json.encode(fewer))
    with pytest.raises(ConfigError, match="move one of them away"):
        ensure()


def test_a_file_without_a_name_is_called_by_its_own(tmp_path: Path, file: SequenceFile) -> None:
    path = series(tmp_path / "mine.h5")
    with h5py.File(path, "a") as handle:
        handle.attrs["name"] = ""
    assert runs.run_name(SequenceFile(path), "paper", {"a": 1}, 2).startswith("mine-paper-")
    assert runs.run_name(file, "paper", {"a": 1, "b": 2}, 2) == runs.run_name(file, "paper", {"b": 2, "a": 1}, 2)


def test_another_method_has_a_folder_of_its_own(file: SequenceFile, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    settings = {"batch_size": 24, "swap_every": 0, "epochs": 1, "seed": 0}
    options: dict[str, Any] = {"variant": "", "overrides": settings, "device": "cpu", "reporter": Notes()}
    made = [ensure_run(file, "row", method=method.name, **options) for method in (OneCode, Fixed)]
    assert [run.config.method for run in made] == ["one-code", "fixed"]
    assert len({run.path for run in made}) == 2
    assert ensure_run(file, "row", method="fixed", **options).path == made[1].path
    assert "active_static" not in made[0].metrics()[0]


def test_unknown_settings_leave_nothing(ensure: Ensure) -> None:
    with pytest.raises(ConfigError, match="unknown setting 'bta'"):
        ensure(bta=1)
    assert not RUNS.exists()
