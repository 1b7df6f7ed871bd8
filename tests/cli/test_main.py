"""The one place where errors and interruptions become a line."""

import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdkit.cli.main import app
from sdkit.runtime.errors import OutputExistsError, option
from sdkit.runtime.storage.output import check_output
from sdkit.runtime.version import __version__
from tests.export.runs import prove_here, write_run
from tests.runtime.storage.test_full_disk import limited
from tests.sdkit.training.files import random_file
from tests.tiny import tiny_model

SMALL = (
    "--set encoder_widths=[4,6,8] --set decoder_widths=[8,6,4] --set static_size=3 --set dynamic_size=2 --device cpu"
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SDKIT_RUN", "SDKIT_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def fail_with(patch: pytest.MonkeyPatch, verb: str, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    called = {"data": "sdkit.make_dataset", "train": "sdkit.train", "compare": "sdkit.compare"}
    patch.setattr(called.get(verb, "sdkit.cli.opening.open_runtime"), fail)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("encode 'a b.h5' -o c.h5 --resume", "; go on with: sdkit encode 'a b.h5' -o c.h5 --resume"),
        ("encode a.h5", "; nothing is kept: with --resume, a command keeps what is done and goes on"),
        ("data make puppets", ""),
        ("train a.h5", ""),
        ("compare a.h5", "; the same command goes on"),
    ],
)
def test_an_interrupted_command_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, line: str, words: str) -> None:
    fail_with(monkeypatch, line.split()[0], KeyboardInterrupt())
    result = CliRunner().invoke(app, shlex.split(line))
    assert (result.exit_code, result.stderr) == (130, f"stopped by Ctrl-C{words}\n")


def test_an_unexpected_error_says_how_to_report_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, "encode", ZeroDivisionError("x"))
    result = CliRunner().invoke(app, ["encode", "a.h5"])
    assert isinstance(result.exception, ZeroDivisionError)
    (note,) = result.exception.__notes__
    assert note.startswith(f"This is a fault of sdkit {__version__} (Python 3")
    assert "please report it" in note


def test_options_are_named_as_the_caller_gives_them(tmp_path: Path) -> None:
    (tmp_path / "p.h5").touch()
    assert option("force") == "force=True"
    with pytest.raises(OutputExistsError, match="pass force=True to replace it"):
        check_output("p.h5")
    result = CliRunner().invoke(app, ["data", "make", "puppets", "-o", "p.h5"])
    assert result.stderr == "error: p.h5 exists already; choose another output or pass --force to replace it\n"
    assert option("force") == "force=True"


@pytest.mark.parametrize("room", [0, 900, 5000])
@pytest.mark.parametrize(
    ("line", "output"),
    [
        ("data make puppets -o p.h5 --set count=2", "p.h5"),
        (f"train in.h5 --name t --epochs 1 {SMALL}", "runs/t/"),
        ("export model -o bundle", "bundle"),
        ("render in.h5 -o in.png", "in.png"),
        ("render in.h5 -o in.gif", "in.gif"),
    ],
    ids=lambda text: " ".join(text.split()[:2]),
)
def test_no_room_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, output: str, room: int
) -> None:
    random_file(tmp_path / "in.h5")
    write_run(tmp_path / "model", tiny_model())
    prove_here(monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    with limited(room):
        result = CliRunner().invoke(app, shlex.split(line))
    assert result.exit_code == 2, result.exception
    *_, last = result.stderr.splitlines()
    assert last.startswith(f"error: {output}")
    assert last.endswith("cannot be written: File too large; a limit on the size of files is reached (`ulimit -f`)")
    assert sorted(tmp_path.rglob("*")) == before
