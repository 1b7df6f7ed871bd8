"""Real data, which are no part of this repository: tests that need them are skipped where they are absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(os.environ.get("SDKIT_DATA") or Path(__file__).parents[2] / "shared" / "data")


def real_data(name: str) -> Path:
    """Return the folder of a data set, such as `etth1`, or skip the test that asks for it."""
    if not (ROOT / name).is_dir():
        pytest.skip(f"there is no {name} in {ROOT}; set SDKIT_DATA to the folder that holds it")
    return ROOT / name
