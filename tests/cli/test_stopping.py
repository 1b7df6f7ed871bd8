"""Signals: every command ends soon, with the exit code of the signal, and says how to go on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdkit.cli import main, stopping

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
ROOT = Path(__file__).parents[2]
WORK = """
import sys, threading, time
from pathlib import Path
from sdkit.cli import stopping
from sdkit.runtime.storage.output import replacing

stopping.GRACE_SECONDS = {grace}
stopping.listen()
try:
    with replacing("out") as made:
        made.write_text("half")
        {work}
except KeyboardInterrupt:
    print("stopped by", stopping.cause())
    {after}
    sys.exit(stopping.exit_code())
"""


READY = 'print("ready", flush=True)'


def start(
    folder: Path, work: str, after: str = "pass", grace: float = 30, ignored: bool = False
) -> "subprocess.Popen[str]":
    """Start work that prints a line when a signal may come."""
    text = WORK.format(work=work, after=after, grace=grace)
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # under nohup it is ignored
    }
    try:  # a process inherits what is ignored
        process = subprocess.Popen(
            [sys.executable, "-c", text], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (signal.SIGINT, 130, "stopped by Ctrl-C"),
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        (signal.SIGHUP, 129, "stopped by a closed terminal"),
    ],
)
def test_a_signal_ends_work_in_order(tmp_path: Path, number: signal.Signals, code: int, words: str) -> None:
    process = start(tmp_path, f"{READY}; time.sleep(30)")
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out.strip(), err) == (code, words, "")
    assert list(tmp_path.iterdir()) == []


def test_further_signals_do_not_come_between(tmp_path: Path) -> None:
    process = start(tmp_path, f"{READY}; time.sleep(30)", after="time.sleep(0.2); print('done')")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.05)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out.split("\n")[1:], err) == (143, ["done", ""], "")


@pytest.mark.parametrize(
    "stuck",
    [
        f"exec('while True:\\n try: {READY}; time.sleep(30)\\n except BaseException: pass')",
        f"threading.Thread(target=time.sleep, args=(30,)).start(); {READY}; time.sleep(30)",
    ],
    ids=["swallowed", "a thread"],
)
def test_work_that_does_not_end_is_ended(tmp_path: Path, stuck: str) -> None:
    process = start(tmp_path, stuck, grace=0.3)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - started < 5
    assert (process.returncode, err) == (143, "stopped by SIGTERM, at once: it did not end by itself\n")
    # What is left, if anything, is of a dead process.
    from sdkit.runtime.storage.output import replacing

    with replacing(tmp_path / "out") as made:
        made.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_to_be_ignored_is_ignored(tmp_path: Path) -> None:
    process = start(tmp_path, f"{READY}; time.sleep(0.3)", ignored=True)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0
    assert (tmp_path / "out").read_text() == "half"


def test_a_command_is_ended(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "sdkit.cli", "data", "make", "puppets", "-o", "p.h5", "--set", "count=2000"],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("drawing puppets")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 143
    assert err.splitlines()[-1] == "stopped by SIGTERM"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("early", [KeyboardInterrupt(), SystemExit(130)])
def test_a_signal_before_a_command_has_its_own_exit_code(monkeypatch: pytest.MonkeyPatch, early: BaseException) -> None:
    def interrupted() -> None:
        raise early

    monkeypatch.setattr(main, "app", interrupted)
    monkeypatch.setattr(stopping, "listen", lambda: None)
    monkeypatch.setattr(stopping, "_received", [int(signal.SIGTERM)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 143


def test_an_interruption_while_modules_are_loaded_shows_no_traceback(tmp_path: Path) -> None:
    text = (
        "import os, signal, sys\n"
        "class Loading:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'sdkit.cli.main':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Loading())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from sdkit.cli.entry import main\n"
        "main()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=30
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, "", "")
