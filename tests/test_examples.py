"""The examples in the docstrings of the Python API run, one after the other, in a folder with data and a bundle."""

import doctest
import inspect
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sdkit
import sdkit.methods
from sdkit.evaluation.judge.training import find_judge
from sdkit.methods import listing
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.verbs.stream import Stream
from sdkit.training.run import Run
from tests.export.runs import prove_here
from tests.sdkit.evaluation.labelled import hurry

CLASSES = (sdkit.Runtime, sdkit.Bundle, sdkit.Run, sdkit.SequenceFile, Stream)
WITHOUT = {
    "specs", "graph_file", "file", "weights",  # files of a bundle or run by their names
    "attributes", "whole_numbers", "close", "require", "targets",  # of HDF5, for readers of the format
}  # fmt: skip
"""Public methods that need no example."""


def functions() -> Iterator[tuple[str, Any]]:
    """Yield every public function of the Python API, and every public method of its classes, by name."""
    for name in sdkit.__all__:
        found = getattr(sdkit, name)
        if inspect.isfunction(found):
            yield f"sdkit.{name}", found
    yield from (("methods.find", sdkit.methods.find), ("methods.names", sdkit.methods.names))
    yield "methods.describe", listing.describe
    for one in CLASSES:
        for name, found in inspect.getmembers(one, lambda value: inspect.isfunction(value) or inspect.ismethod(value)):
            if not name.startswith("_") and name not in WITHOUT:
                yield f"{one.__name__}.{name}", found


FUNCTIONS = dict(functions())


@pytest.fixture
def place(
    tmp_path: Path,
    puppets_file: Path,
    trained: Callable[[str], Run],
    exported: Callable[[str], Bundle],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a folder with puppets.h5 and a run `puppets` that has a bundle, the working folder of the test."""
    exported("filter")
    shutil.copyfile(puppets_file, tmp_path / "puppets.h5")
    shutil.copytree(trained("filter").path, tmp_path / "runs" / "puppets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDKIT_RUN", raising=False)
    # The judge of the example may be as bad as it likes, and so may the heads.
    monkeypatch.setitem(find_judge.__kwdefaults__ or {}, "epochs", 1)
    hurry(monkeypatch)
    prove_here(monkeypatch)
    return tmp_path


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_example_runs(name: str) -> None:
    found = FUNCTIONS[name]
    examples = doctest.DocTestParser().get_examples(inspect.getdoc(found) or "")
    assert examples, f"{name} has no example in its docstring"
    rt = sdkit.Runtime.open("runs/puppets/bundle", device="cpu", threads=1)
    given = {"sdkit": sdkit, "rt": rt, "x": sdkit.SequenceFile("puppets.h5").read(slice(0, 8)), **found.__globals__}
    given |= {"sdkit": sdkit, "rt": rt}
    test = doctest.DocTest(examples, given, name, None, None, inspect.getdoc(found))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an epoch leaves codes that say nothing
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
