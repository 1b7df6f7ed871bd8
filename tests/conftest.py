"""Data, runs and bundles that tests share; each is made once, also where several processes run the tests."""

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

# Tiny models gain nothing from threads, and threads that wait for each other on a busy machine cost a lot.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from sdkit.data import puppets
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.device import usable_processors
from sdkit.training.run import Run
from tests.tiny import TINY_64

if TYPE_CHECKING:
    from tests.rival import Rival

MOST_WORKERS = 6
"""Processes that `pytest -n auto` starts: each holds PyTorch and its graphs, about a gigabyte."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run the tests: the processors that there are, in a container too."""
    return min(usable_processors(), MOST_WORKERS)


class Registered(NamedTuple):
    """An entry point of a package that is not there."""

    name: str
    found: object
    value: str = "tests.rival:Rival"

    def load(self) -> object:
        """Return what is registered."""
        return self.found


@pytest.fixture
def rival(monkeypatch: pytest.MonkeyPatch) -> "type[Rival]":
    """Return the made-up method, registered as that of another package is."""
    from tests.rival import Rival

    monkeypatch.setattr("sdkit.methods._registered", lambda: iter([Registered("rival", Rival)]))
    return Rival


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of all processes of this session."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def missing(path: Path) -> Iterator[bool]:
    """Let one process at a time make what lies at a path, and tell each whether it is still to be made."""
    done = path.with_name(f"{path.name}.done")
    with path.with_name(f"{path.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()
        done.touch()


def leave_out_pictures(patch: pytest.MonkeyPatch) -> None:
    """Let trainings draw nothing: pictures take most of the time of a tiny one."""
    for name in ("draw_curves", "draw_swaps"):
        patch.setattr(f"sdkit.training.loop.{name}", lambda *_: None)


@pytest.fixture(scope="session")
def puppets_file(shared: Path) -> Path:
    """Return a small file of puppets with all three splits."""
    path = shared / "puppets.h5"
    with missing(path) as wanted:
        return puppets.make(path, count=66) if wanted else path


@pytest.fixture(scope="session")
def trained(shared: Path, puppets_file: Path) -> Callable[[str], Run]:
    """Return a function that trains a tiny run of a variant, once a session; nothing of it may be changed."""
    from sdkit.training.loop import CollapseWarning
    from sdkit.training.train import train

    def make(variant: str = "paper") -> Run:
        run = Run(shared / "runs" / variant)
        run.path.parent.mkdir(exist_ok=True)
        with missing(run.path) as wanted, pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", CollapseWarning)  # two epochs of a tiny model may well collapse
            leave_out_pictures(patch)
            if wanted:
                patch.chdir(shared)
                train(puppets_file, variant=variant, name=variant, epochs=2, batch_size=16, **TINY_64)
        return run

    return make


@pytest.fixture(scope="session")
def exported(shared: Path, trained: Callable[[str], Run]) -> Callable[[str], Bundle]:
    """Return a function that exports a tiny run of a variant in both formats, likewise.

    The paper's is proven in a process of its own, as a user's is.
    """
    from sdkit.export import export_bundle
    from sdkit.export.proof.cases import SIZES
    from tests.export.runs import quick_export

    def make(variant: str = "paper") -> Bundle:
        run = trained(variant)
        made = shared / f"bundle of {variant}"
        with missing(made) as wanted:
            if wanted:
                # It comes whole into the run's folder, which another process may be copying.
                if variant == "paper":
                    bundle = export_bundle(run, made, format="all")
                else:
                    bundle = quick_export(run, made, sizes=SIZES, format="all")
                bundle.path.rename(run.bundle)
        return Bundle.open(run.bundle)

    return make


@pytest.fixture(scope="session")
def mini(shared: Path) -> Bundle:
    """Return a bundle in both formats of a tiny model of 16x16 images, in a run; nothing of it may be changed."""
    from sdkit.export.proof.cases import SIZES
    from tests.export.runs import lively_model, quick_export, write_run

    run = Run(shared / "mini" / "run")
    run.path.parent.mkdir(exist_ok=True)
    with missing(run.path) as wanted:
        if wanted:
            return quick_export(write_run(run.path, lively_model()), sizes=SIZES, format="all")
        return Bundle.open(run.bundle)
