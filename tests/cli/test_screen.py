"""Progress and lines about the work: what is said, where, and by whom."""

import io

import pytest
from rich.console import Console

from sdkit.cli import screen
from sdkit.cli.screen import Bar, Lines, print_json, reporter, say
from sdkit.runtime.progress import Reporter


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)


def _work(told: Reporter) -> None:
    told.start("epoch 1/2", 3)
    told.advance(1, nll=12.34567, kl_static=0.5)
    told.advance(2, nll=11.0, kl_static=0.25)
    told.note("a word [between]")
    told.finish()


def test_lines_tell_start_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    _work(Lines())
    printed = capsys.readouterr()
    start, note, end = printed.err.splitlines()
    assert start == "epoch 1/2: 0/3"
    assert note == "a word [between]"
    assert end.startswith("epoch 1/2: 3/3  nll 11  KL static 0.25, ")
    assert end.endswith(" s")
    assert printed.out == ""


def test_lines_tell_how_a_long_stage_goes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lines = Lines()
    lines.start("encoding", 100)
    for _ in range(25):
        now += 1.0
        lines.advance(4)
    lines.finish()
    told = ["encoding: 0/100", "encoding: 40/100", "encoding: 80/100", "encoding: 100/100, 25.0 s"]
    assert capsys.readouterr().err.splitlines() == told


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen_text = io.StringIO()
    monkeypatch.setattr(screen, "err", Console(file=screen_text, force_terminal=True, width=120, color_system=None))
    bar = reporter()
    assert isinstance(bar, Bar)
    _work(bar)
    for text in ("epoch 1/2", "3/3", "nll 11", "KL static 0.25", "a word [between]"):
        assert text in screen_text.getvalue()
    bar.finish()  # a second end does no harm
    bar.start("another stage", 1)
    bar.finish()
    assert "another stage" in screen_text.getvalue()


def test_one_piece_of_work_is_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    lines.start("proving parity", 1)
    lines.finish()
    start, end = capsys.readouterr().err.splitlines()
    assert start == "proving parity"
    assert end.startswith("proving parity, ")


def test_a_bar_of_one_piece_has_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(screen, "err", Console(file=text, force_terminal=True, width=120, color_system=None))
    bar = Bar()
    bar.start("proving parity", 1)
    bar.finish()
    assert "proving parity" in text.getvalue()
    assert "0/1" not in text.getvalue()


def test_a_bar_that_never_started() -> None:
    bar = Bar()
    bar.advance(1, nll=1.0)
    bar.finish()


def test_plain_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "err", Console(file=io.StringIO(), force_terminal=False))
    assert isinstance(reporter(), Lines)


@pytest.mark.parametrize("rank", ["1", "7"])
def test_other_processes_are_silent(
    rank: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    say("hello")
    _work(Lines())
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("RANK", "0")
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_other_processes_draw_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(screen, "err", Console(file=text, force_terminal=True))
    monkeypatch.setenv("RANK", "1")
    _work(reporter())
    assert text.getvalue() == ""


def test_json_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1]})
    assert capsys.readouterr() == ('{\n  "a": [\n    1\n  ]\n}\n', "")
