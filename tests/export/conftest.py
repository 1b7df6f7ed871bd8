"""A run of a tiny model, and its bundle."""

from pathlib import Path

import pytest

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.training.run import Run
from tests.export.runs import lively_model, quick_export, write_run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a run that a test may export or spoil."""
    return write_run(tmp_path / "run", lively_model())


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle in both formats that lies in its run; nothing of it may be changed."""
    return quick_export(write_run(tmp_path_factory.mktemp("mini") / "run", lively_model()), format="all")
