"""Data, runs and bundles that tests share; each is made once a session."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

# Tiny models gain nothing from threads, and threads that wait for each other on a busy machine cost a lot.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from sdkit.data import puppets
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.training.run import Run
from tests.tiny import TINY_64

if TYPE_CHECKING:
    from tests.rival import Rival


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
def puppets_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small file of puppets with all three splits."""
    return puppets.make(tmp_path_factory.mktemp("data") / "puppets.h5", count=66)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, puppets_file: Path) -> Callable[[str], Run]:
    """Return a function that trains a tiny run of a variant, once a session."""
    from sdkit.training.loop import CollapseWarning
    from sdkit.training.train import train

    folder = tmp_path_factory.mktemp("session")
    runs: dict[str, Run] = {}

    def make(variant: str = "paper") -> Run:
        if variant not in runs:
            with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
                warnings.simplefilter("ignore", CollapseWarning)  # two epochs of a tiny model may well collapse
                patch.chdir(folder)
                run = train(puppets_file, variant=variant, name=variant, epochs=2, batch_size=16, **TINY_64)
            runs[variant] = Run(folder / run.path)
        return runs[variant]

    return make


@pytest.fixture(scope="session")
def exported(trained: Callable[[str], Run]) -> Callable[[str], Bundle]:
    """Return a function that exports a tiny run of a variant in both formats, once a session."""
    from sdkit.export import export_bundle

    bundles: dict[str, Bundle] = {}

    def make(variant: str = "paper") -> Bundle:
        if variant not in bundles:
            bundles[variant] = export_bundle(trained(variant), format="all")
        return bundles[variant]

    return make
