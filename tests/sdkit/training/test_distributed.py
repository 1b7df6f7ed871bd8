"""Two processes train one run: `torchrun`, and so `accelerate launch`, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sdkit.data import puppets
from sdkit.methods import find
from tests.tiny import TINY_64

SMALL: dict[str, Any] = {
    **TINY_64,
    "encoder_widths": [4] * 5,
    "decoder_widths": [4] * 4,
    "batch_size": 16,
    "swap_every": 0,
}
TRAINED = ("batch_size", "swap_every")


@pytest.mark.parametrize(
    ("method", "term"),
    [("dbse", "nll"), ("mocogan", "critic_sequences")],
    ids=["one phase", "phases, each of which leaves parameters out"],
)
def test_two_processes_make_one_run(tmp_path: Path, method: str, term: str) -> None:
    puppets.make(tmp_path / "p.h5", count=44)
    keys = (*find(method).Settings.__struct_fields__, *TRAINED)
    settings = [part for name, value in SMALL.items() if name in keys for part in ("--set", f"{name}={value}")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [*launcher, "-m", "sdkit.cli", "train", "p.h5", "--method", method, "--epochs", "1", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += settings
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["puppets"]
    (record,) = (tmp_path / "runs" / "puppets" / "metrics.jsonl").read_text("utf-8").splitlines()
    assert json.loads(record)["train"][term] > 0
    assert (tmp_path / "runs" / "puppets" / "state.pt").is_file()
