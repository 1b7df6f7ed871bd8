"""What the command line suggests runs as it stands, whatever the kind of elements and the name of a file."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sdkit.cli.hints import wrote
from sdkit.cli.main import app
from sdkit.runtime.element import Element

BUNDLES = Path(__file__).parents[1] / "conformance"


def run(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "TERM": "dumb"})
    assert result.exit_code == 0, result.stderr
    return result.stderr


def hinted(told: str) -> list[str]:
    """Return the words of the suggested command, without `sdkit`."""
    (found,) = re.findall(r"look: (sdkit .*)", told)
    return shlex.split(found)[1:]


@pytest.mark.parametrize("kind", ["image", "series", "vector"])
@pytest.mark.parametrize("name", ["g.h5", "my clips; new.h5"])
def test_what_is_written_can_be_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle = str(BUNDLES / kind)
    words = hinted(run("generate", "-n", "2", "-b", bundle, "-o", name))
    run(*words)
    assert Path(words[-1]).suffix == (".gif" if kind == "image" else ".png")
    assert Path(words[-1]).is_file()
    run("encode", name, "-b", bundle)
    for made in (("decode", "codes.h5"), ("reconstruct", name)):
        words = hinted(run(*made, "-b", bundle, "-o", f"{made[0]}d.h5"))
        run(*words)
        assert Path(words[-1]).is_file()


def test_a_picture_that_is_there_is_replaced_by_the_hint_only(tmp_path: Path) -> None:
    element = Element("series", (4, 2), "float32")
    assert not wrote(tmp_path / "a.h5", element).endswith("--force")
    (tmp_path / "a.png").touch()
    assert wrote(tmp_path / "a.h5", element).endswith("a.png --force")
    five = Element("image", (5, 8, 8), "uint8")
    assert wrote(tmp_path / "a.h5", five) == f"wrote {tmp_path / 'a.h5'}"


def test_training_and_making_name_a_command_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.random.default_rng(0).normal(size=(12, 10, 2)))
    told = run("data", "make", "arrays", "mine.npy", "-o", "my data.h5", "--set", "window=5")
    (next_,) = re.findall(r"next: (sdkit .*)", told)
    assert next_ == "sdkit train 'my data.h5'"
    words = ["--epochs", "1", "--set", "static_size=3", "--set", "hidden_size=4", "--set", "swap_every=0"]
    told = run(*shlex.split(next_)[1:], *words)
    (next_,) = re.findall(r"next: (sdkit .*)", told)
    assert next_.startswith("sdkit export 'runs/my data")
    assert Path(shlex.split(next_)[2]).is_dir()
    shutil.rmtree("runs")
