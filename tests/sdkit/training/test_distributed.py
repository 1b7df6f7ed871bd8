"""Two processes train one run, as `torchrun` starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdkit.data import puppets
from tests.tiny import TINY_64

SMALL = {
    **{name: value for name, value in TINY_64.items() if not name.endswith("_widths")},
    **{"encoder_widths": [4] * 5, "decoder_widths": [4] * 4, "batch_size": 16, "swap_every": 0},
}


@pytest.mark.parametrize(
    ("epochs", "changes"), [(1, {}), (2, {"first_stage": 0.5})], ids=["one-stage", "parameters-that-a-stage-leaves-out"]
)
def test_two_processes_make_one_run(tmp_path: Path, epochs: int, changes: dict[str, float]) -> None:
    puppets.make(tmp_path / "p.h5", count=44)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    settings = [part for name, value in {**SMALL, **changes}.items() for part in ("--set", f"{name}={value}")]
    method = "tsdsae" if changes else "dbse"
    command = [*launcher, "-m", "sdkit.cli", "train", "p.h5", "--method", method, "--epochs", str(epochs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, "--device", "cpu", *settings],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["puppets"]
    records = (tmp_path / "runs" / "puppets" / "metrics.jsonl").read_text("utf-8").splitlines()
    assert len(records) == epochs
    assert json.loads(records[-1])["train"]["nll"] > 0
    assert (tmp_path / "runs" / "puppets" / "state.pt").is_file()
