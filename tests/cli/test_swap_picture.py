"""The picture of a swap, where elements are not images: drawn where matplotlib is, told of where it is not."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import h5py
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sdkit.cli.main import app
from sdkit.runtime.element import Element
from sdkit.runtime.storage.sequences import SequenceMeta, SequenceWriter
from tests.export.runs import quick_export, write_run
from tests.tiny import sequences, tiny_model

SERIES = Element("series", (4, 3), "float32", ("mmHg",), ("MAP", "systole", "diastole"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("series") / "run", tiny_model(element=SERIES))
    return quick_export(run, format="onnx").path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with one sequence file."""
    monkeypatch.chdir(tmp_path)
    with SequenceWriter("x.h5", SequenceMeta(SERIES, extra={"step": "1 hour"})) as writer:
        writer.write(sequences(3, 4, SERIES))
    return tmp_path


def swap(bundle: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["swap", "x.h5", "x.h5", "--bundle", str(bundle), *options])


def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find(name: str, *others: Any) -> Any:
        return None if name == "matplotlib" else found(name, *others)

    monkeypatch.setattr("sdkit.runtime.extras.importlib.util.find_spec", find)


def test_swaps_of_series_have_a_picture(here: Path, bundle: Path) -> None:
    result = swap(bundle)
    assert result.exit_code == 0, result.stderr
    with Image.open("swap.png") as picture:
        assert picture.width > 800
    with h5py.File("swap.h5") as file:
        assert (file.attrs["element"], file.attrs["step"]) == ("series", "1 hour")
        assert json.loads(file.attrs["feature_names"]) == ["MAP", "systole", "diastole"]
    result = CliRunner().invoke(app, ["render", "swap.h5", "-o", "mixtures.png"])
    assert result.exit_code == 0, result.stderr


def test_no_picture_is_no_reason_not_to_swap(here: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_matplotlib(monkeypatch)
    result = swap(bundle)
    assert result.exit_code == 0, result.stderr
    assert "no picture: a picture of elements of kind series needs matplotlib" in result.stderr
    assert sorted(path.name for path in here.iterdir()) == ["swap.h5", "x.h5"]


def test_a_picture_that_was_asked_for(here: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_matplotlib(monkeypatch)
    result = swap(bundle, "--picture", "mine.png")
    assert result.exit_code == 2
    assert "needs matplotlib" in result.stderr
    assert [path.name for path in here.iterdir()] == ["x.h5"]
