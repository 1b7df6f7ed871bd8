"""What every method keeps when its training is interrupted."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from sdkit import methods
from sdkit.runtime.progress import Quiet
from sdkit.training.loop import CollapseWarning
from sdkit.training.train import train
from tests.export.runs import write_data
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import TINY


class Interrupts(Quiet):
    """Reports nothing and interrupts training in the second epoch."""

    def start(self, what: str, total: int) -> None:
        if what.startswith("epoch 2"):
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", methods.names())
def test_resumed_training_is_unbroken_to_the_bit(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A picture takes ten times as long as an epoch.
    monkeypatch.setattr("sdkit.training.loop.draw_curves", lambda metrics, terms, path: None)
    write_data(tmp_path / "x.h5", ELEMENTS["spectrum"])
    keys = methods.find(method).Settings.__struct_fields__
    options: dict[str, Any] = {key: value for key, value in TINY.items() if key in keys}
    options |= {"batch_size": 8, "swap_every": 0, "precision": "float32", "device": "cpu", "method": method}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)  # an epoch or two of a tiny model may well collapse
        whole = train("x.h5", name="whole", epochs=2, **options)
        with pytest.raises(KeyboardInterrupt):
            train("x.h5", name="broken", epochs=2, reporter=Interrupts(), **options)
        broken = train("x.h5", resume="broken")
    weights = [run.load_model("last").state_dict() for run in (whole, broken)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert [m["train"] for m in whole.metrics()] == [m["train"] for m in broken.metrics()]
