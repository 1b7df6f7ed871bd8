"""2 + 2 epochs are 4, on puppets and where data are streamed in several windows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sdkit.training.run import Run
from sdkit.training.train import train
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


def test_several_windows(tmp_path: Path) -> None:
    data = random_file(tmp_path / "random.h5", count=150)  # three blocks, each a window of its own
    settings: dict[str, Any] = {**TINY, "batch_size": 16, "swap_every": 0}
    whole = train(data, name="whole", epochs=3, resident_gb=0.0, **settings)
    train(data, name="parts", epochs=1, resident_gb=0.0, **settings)
    train(resume="parts", epochs=2)
    assert same_weights(train(resume="parts", epochs=3), whole)
    resident = train(data, name="resident", epochs=3, resident_gb=4.0, **settings)
    assert not same_weights(resident, whole)  # another order of the same sequences
