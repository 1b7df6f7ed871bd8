from pathlib import Path

import pytest

from sdkit.runtime.storage.sequences import SequenceFile
from tests.sdkit.evaluation.made import grid, write


@pytest.fixture
def file(tmp_path: Path) -> SequenceFile:
    """Return everyone doing everything."""
    return write(tmp_path / "grid.h5", *grid())
