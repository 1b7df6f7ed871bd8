"""`sdkit data make`: options by name, what the maker says, and help that names every data set and its source."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from sdkit.cli.main import app
from sdkit.data import MAKERS
from sdkit.runtime.storage.sequences import SequenceFile


def run(line: str) -> Result:
    return CliRunner().invoke(app, ["data", "make", *line.split()], env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder that holds a series of 3 x 10 steps x 2 features."""
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.arange(60.0).reshape(3, 10, 2))
    return tmp_path


def test_options_are_set_by_name_and_notes_are_printed() -> None:
    result = run(
        "arrays mine.npy -o mine.h5 --set window=4 --set feature_names=load,heat --set rate=2 --set name=etth1"
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if not line.startswith("writing sequences: ")]
    assert lines == [
        "mine.npy: float64 is converted to float32",
        "mine.npy: 10 steps are cut into 3 windows of 4, the last one filled up with 2 steps of NaN",
        "made mine.h5; next: sdkit train mine.h5",
    ]
    with SequenceFile("mine.h5") as file:
        assert file.element.describe() == "series (4, 2) float32"
        assert (file.element.feature_names, file.meta.rate, file.meta.name) == (("load", "heat"), 2.0, "etth1")


@pytest.mark.parametrize(
    "line", ["--count 4 --seed 2", "--set count=4 --set seed=2", "--count 4 --set count=9 --seed 2"]
)
def test_options_of_puppets_have_names_of_their_own(line: str) -> None:
    assert run(f"puppets {line}").exit_code == 0
    assert run("puppets --count 4 --seed 2 -o other.h5").exit_code == 0
    with SequenceFile("puppets.h5") as file, SequenceFile("other.h5") as other:
        assert file.count == 4
        np.testing.assert_array_equal(file.read(slice(None)), other.read(slice(None)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "arrays mine.npy --set windows=4",
            "'arrays' has no option 'windows'; it has: kind, window, feature_names",
        ),
        ("arrays mine.npy --set window=four", "option window = 'four': Expected `int | null`, got `str`"),
        ("arrays mine.npy --set window", "--set window: expected name=value"),
        ("arrays mine.npy --set force=true", "--set force: 'force' is no option of a data set"),
        ("arrays mine.npy --set source=x", "--set source: 'source' is no option of a data set"),
        ("etth1 mine.npy --set split=paper", "unknown split 'paper'; choose one of test-2016, months-12-4-4"),
        ("air-quality mine.npy --set validation=2015", "option validation = 2015: Expected `str`, got `int`"),
        ("air-quality mine.npy", "mine.npy is not a zip that can be read to its end"),
        ("physionet mine.npy", "Outcomes-a.txt is missing; it holds the outcomes of mine.npy"),
        ("etth1 mine.npy", "mine.npy is not a text of comma-separated cells"),
        ("etth1", "'etth1' needs a source: ETTh1.csv, or the folder that holds it"),
        ("nothing --list-options", "unknown data set 'nothing'"),
    ],
)
def test_what_cannot_be_made_is_one_line(here: Path, line: str, message: str) -> None:
    result = run(line)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last
    assert [path.name for path in here.iterdir()] == ["mine.npy"]


def test_help_names_every_data_set_and_its_source() -> None:
    result = run("--help")
    assert result.exit_code == 0
    text = re.sub(r"\s+", " ", result.stdout)
    for name, source in MAKERS.items():
        assert f"{name}: {source or 'drawn by sdkit, no source'}." in text


def test_options_are_listed_with_their_defaults() -> None:
    lines = run("puppets --list-options").stdout.splitlines()
    assert lines[::2] == ["count = None", "split = None", "seed = 0", "name = ''", "origin = ''", "licence = ''"]
    assert lines[1].startswith("    number N of sequences.")
    assert lines[-1] == "    licence of the data."
    assert "set = None\n    letter of the set, `a`, `b` or `c`" in run("physionet --list-options").stdout


def test_info_cuts_long_lists_in_the_text_only() -> None:
    many = np.array([f"r{i:03}" for i in range(100)])
    np.savez("many.npz", data=np.zeros((100, 10, 2), np.float32), labels=many)
    assert run("arrays many.npz --set window=5 --set feature_names=load,heat --set units=kW,degC").exit_code == 0
    lines = CliRunner().invoke(app, ["data", "info", "arrays.h5"]).stdout.splitlines()
    assert "features            load (kW), heat (degC)" in lines
    assert any(line.endswith("r021, ..., r099") for line in lines)
    assert "in memory           8.0 kB" in lines
