"""2 + 2 epochs are 4, on puppets and where data are streamed in several windows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sdkit.runtime.errors import BusyError
from sdkit.training.run import Run
from sdkit.training.train import train
from tests.notes import Notes
from tests.sdkit.training.files import random_file
from tests.tiny import TINY, TINY_64

pytestmark = pytest.mark.filterwarnings("ignore::sdkit.training.loop.CollapseWarning")


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sdkit.training.loop.draw_curves", lambda metrics, terms, path: None)


def same_weights(a: Run, b: Run) -> bool:
    pairs = [(load_file(a.weights(which)), load_file(b.weights(which))) for which in ("last", "best")]
    return all(x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x) for x, y in pairs)


def losses(run: Run) -> list[dict[str, Any]]:
    return [record["train"] for record in run.metrics()]


@pytest.mark.parametrize("resident_gb", [4.0, 0.0], ids=["resident", "streamed"])
def test_puppets(puppets_file: Path, resident_gb: float) -> None:
    settings: dict[str, Any] = {**TINY_64, "batch_size": 16, "swap_every": 0, "resident_gb": resident_gb}
    whole = train(puppets_file, name="whole", epochs=4, **settings)
    half = train(puppets_file, name="half", epochs=2, **settings)
    assert not same_weights(half, whole)
    resumed = train(resume=half.path, epochs=4)
    assert resumed.path == Path("runs/half")
    assert same_weights(resumed, whole)
    assert losses(resumed) == losses(whole)
    assert len(losses(whole)) == 4


def test_a_run_that_was_killed_in_its_first_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_file(tmp_path / "random.h5")
    settings: dict[str, Any] = {**TINY, "batch_size": 16, "swap_every": 0, "epochs": 1}
    whole = train(data, name="whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr("sdkit.training.launch.remove", lambda path: None)  # nothing is cleaned up after a kill
        patch.setattr("sdkit.training.launch.Lock.release", lambda lock, keep=False: lock._file.close())
        patch.setattr("sdkit.training.checkpoint.save", _killed)
        with pytest.raises(SystemExit):
            train(data, name="killed", **settings)
    assert (Path("runs/killed") / ".lock").exists()
    notes = Notes()
    resumed = train(resume="killed", reporter=notes)
    assert same_weights(resumed, whole)
    assert notes.lines[1] == "no epoch of runs/killed was complete; it starts at the beginning"
    assert not resumed.lock.path.exists()


def _killed(*_: object, **__: object) -> None:
    raise SystemExit


def test_one_process_trains_a_run(tmp_path: Path) -> None:
    data = random_file(tmp_path / "random.h5")
    settings: dict[str, Any] = {**TINY, "batch_size": 16, "swap_every": 0}
    run = train(data, name="run", epochs=1, **settings)
    lock = run.lock
    assert lock.take()
    with pytest.raises(BusyError, match="another process trains runs/run; wait for it"):
        train(resume="run", epochs=2)
    lock.release()
    assert len(train(resume="run", epochs=2).metrics()) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupted_training_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: type[BaseException]
) -> None:
    def interrupt(self: Any, record: Any) -> None:
        raise stop

    notes = Notes()
    monkeypatch.setattr("sdkit.training.loop.Trainer._warn_of_collapse", interrupt)
    with pytest.raises(stop):
        train(random_file(tmp_path / "random.h5"), name="a b", epochs=3, reporter=notes, **TINY, swap_every=0)
    words = "1 epoch is kept in runs/a b; go on with: sdkit train --resume --name 'a b'"
    assert (notes.lines[-1] == words) is (stop is KeyboardInterrupt)


def test_several_windows(tmp_path: Path) -> None:
    data = random_file(tmp_path / "random.h5", count=150)  # three blocks, each a window of its own
    settings: dict[str, Any] = {**TINY, "batch_size": 16, "swap_every": 0}
    whole = train(data, name="whole", epochs=3, resident_gb=0.0, **settings)
    train(data, name="parts", epochs=1, resident_gb=0.0, **settings)
    train(resume="parts", epochs=2)
    assert same_weights(train(resume="parts", epochs=3), whole)
    resident = train(data, name="resident", epochs=3, resident_gb=4.0, **settings)
    assert not same_weights(resident, whole)  # another order of the same sequences
