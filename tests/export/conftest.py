"""A run of a tiny model."""

from pathlib import Path

import pytest

from sdkit.training.run import Run
from tests.export.runs import lively_model, write_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run that a test may export or spoil."""
    return write_run(tmp_path / "run", lively_model())
