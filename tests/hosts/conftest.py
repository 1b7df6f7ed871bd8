"""Sets of bundles that the tests of all hosts share."""

from pathlib import Path

import pytest

from tests.conftest import missing


@pytest.fixture(scope="session")
def conformance_set(shared: Path) -> Path:
    """Return the folder of a conformance set of both graph formats; nothing of it may be changed."""
    from tests.hosts.golden import make_conformance

    folder = shared / "conformance"
    with missing(folder) as wanted:
        return make_conformance(folder).parent if wanted else folder


@pytest.fixture(scope="session")
def set_of_every_method(shared: Path) -> Path:
    """Return the folder of a conformance set of ONNX bundles of every method; nothing of it may be changed."""
    from tests.hosts.every_method import every_set

    folder = shared / "every-method"
    with missing(folder) as wanted:
        return every_set(folder) if wanted else folder
