"""Interruptions: commands that are killed, stopped, raced or run out of room, and what they leave behind."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.hostile.cases import CONTROLS, USER_ERROR

PATIENCE = 20.0
"""Seconds within which a command ends after a signal."""
LONGEST = 300.0
KIBIBYTES = (0, 1, 8, 32, 64, 128, 256, 512)
"""Greatest sizes of a file, for a disk that is full."""
ENDED = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}


class Job(NamedTuple):
    """A command line that takes a while, its output, and how it goes on."""

    name: str
    words: str
    """Words in which `OUT` is the output, and other capitals are sound inputs."""
    output: str
    """Name of the output."""
    resumes: bool = False
    """Whether it is taken up with `--resume` where it was interrupted; otherwise it leaves nothing."""
    again: str = ""
    """Words that take it up, where `--resume` alone does not."""


class Found(NamedTuple):
    """How one interruption ended."""

    job: str
    what: str
    fault: str = ""
    """What is wrong; empty where nothing is."""


JOBS = (
    Job("encode", "encode DATA -b BUNDLE -o OUT", "made.h5"),
    Job("encode --resume", "encode DATA -b BUNDLE -o OUT --batch-size 16 --resume", "made.h5", resumes=True),
    Job("swap", "swap DATA DATA -b BUNDLE -o OUT --batch-size 8", "made.h5"),
    Job("swap --resume", "swap DATA DATA -b BUNDLE -o OUT --no-picture --resume", "made.h5", resumes=True),
    Job("generate --resume", "generate -n 4000 -b BUNDLE -o OUT --compression none --resume", "made.h5", resumes=True),
    Job("data make", "data make puppets --count 120 -o OUT", "made.h5"),
    Job("export", "export RUN -o OUT", "made"),
    Job(
        "train",
        "train DATA --epochs 6 --name made --set encoder_widths=[4,6,8] --set decoder_widths=[8,6,4]",
        "runs/made",
        resumes=True,
        again="train --resume --name made",
    ),
)  # fmt: skip


def command(words: str, sound: dict[str, Path], output: str) -> list[str]:
    """Return the arguments of a process that runs a command line."""
    known = {"OUT": output, **{name: str(path) for name, path in sound.items()}}
    return [sys.executable, "-m", "sdkit.cli", *(known.get(word, word) for word in words.split())]


def start(words: list[str], folder: Path, before: Callable[[], Any] | None = None) -> "subprocess.Popen[str]":
    """Start a process in a folder."""
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    return subprocess.Popen(
        words, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=before
    )


def killed(job: Job, sound: dict[str, Path], folder: Path, rng: np.random.Generator, seconds: float) -> Found:
    """Send a signal to a job at some moment, and see what is left and whether the job can be taken up.

    Args:
        job: what runs.
        sound: paths by the names in its words.
        folder: an empty folder; `whole` beside it holds what an uninterrupted run of the job has made.
        rng: chooses signal and moment.
        seconds: duration of an uninterrupted run.
    """
    chosen = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[rng.integers(3)]
    wait = float(rng.random() * seconds)
    process = start(command(job.words, sound, job.output), folder)
    time.sleep(wait)
    process.send_signal(chosen)
    told = time.monotonic()
    try:
        text, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Found(job.name, f"{chosen.name} after {wait:.2f} s", f"did not end within {PATIENCE:.0f} s")
    what = f"{chosen.name} after {wait:.2f} s, ended in {time.monotonic() - told:.1f} s"
    return Found(job.name, what, _after_signal(job, sound, folder, chosen, process.returncode, text))


def _after_signal(job: Job, sound: dict[str, Path], folder: Path, sent: signal.Signals, code: int, text: str) -> str:
    whole = folder.parent / "whole" / job.name.replace(" ", "_")
    done = (folder / job.output).exists()
    # Before sdkit could answer: Python itself was starting.
    starting = (
        text.rstrip().endswith("KeyboardInterrupt") and "sdkit.cli.main" not in text and "cli/main.py" not in text
    )
    early = (code == -sent or starting) and not any(folder.iterdir())
    if code not in (0, ENDED[sent]) and not early:
        return f"exit code {code}: {text[-400:]}"
    if "Traceback" in text and not early:
        return f"traceback: {text[-600:]}"
    if job.output.startswith("runs"):
        done = code == 0
    elif done and (reason := different(folder / job.output, whole / job.output)):
        return f"the output is there, but {reason}"
    if code == 0:
        return _left(folder, job.output)
    if sent is not signal.SIGKILL and not job.resumes and not done and (left := sorted(folder.rglob("*"))):
        return f"left {left}"
    return _taken_up(job, sound, folder, whole)


def _taken_up(job: Job, sound: dict[str, Path], folder: Path, whole: Path) -> str:
    """Run the job again to its end, and return what is wrong with its output."""
    words = job.again if job.again and (folder / "runs").is_dir() else job.words
    if (folder / job.output).exists() and not job.again:
        words += " --force"
    process = start(command(words, sound, job.output), folder)
    text, _ = process.communicate(timeout=LONGEST)
    if process.returncode != 0:
        return f"cannot be taken up: `{words}` ends with {process.returncode}: {text[-400:]}"
    return different(folder / job.output, whole / job.output) or _left(folder, job.output)


def _left(folder: Path, output: str) -> str:
    """Return what lies beside an output and its picture; an empty text where there is nothing."""
    own = {output.split("/")[0], str(Path(output).with_suffix(".png"))}
    left = sorted(path.name for path in folder.iterdir() if path.name not in own)
    return f"left {left}" if left else ""


def different(path: Path, other: Path) -> str:
    """Return in what an output differs from one made without interruption; an empty text where it does not."""
    if path.is_file():
        return "" if path.read_bytes() == other.read_bytes() else "its bytes differ from those of an unbroken run"
    names = {file.name for file in path.iterdir()}
    wanted = {file.name for file in other.iterdir()}
    if names != wanted:
        return f"it holds {sorted(names)}, not {sorted(wanted)}"
    same = [name for name in names if name.endswith((".safetensors", ".onnx"))]
    changed = [name for name in same if (path / name).read_bytes() != (other / name).read_bytes()]
    return f"{sorted(changed)} differ from those of an unbroken run" if changed else ""


def full_disk(job: Job, sound: dict[str, Path], folder: Path, kibibytes: int) -> Found:
    """Let a job write files of some size at most, as on a full disk: it ends with one line and leaves nothing."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kibibytes << 10,) * 2)

    process = start(command(job.words, sound, job.output), folder, limit)
    text, _ = process.communicate(timeout=LONGEST)
    what = f"files of at most {kibibytes} KiB"
    if process.returncode == 0:
        return Found(job.name, what, _left(folder, job.output))
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    if process.returncode != USER_ERROR or len(lines) != 1 or "Traceback" in text or set(text) & CONTROLS:
        return Found(job.name, what, f"exit code {process.returncode}: {text[-500:]}")
    kept = job.resumes or job.output.startswith("runs")  # what --resume needs
    left = [] if kept else sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return Found(job.name, what, f"left {left}" if left else "")


def race(job: Job, sound: dict[str, Path], folder: Path, delay: float) -> Found:
    """Run a job twice at once with one output: one wins, the other says so in one line, and the output is whole."""
    first = start(command(job.words, sound, job.output), folder)
    time.sleep(delay)
    second = start(command(job.words, sound, job.output), folder)
    ends = [(process.communicate(timeout=LONGEST)[0], process.returncode) for process in (first, second)]
    what = f"two at once, {delay:.2f} s apart"
    whole = folder.parent / "whole" / job.name.replace(" ", "_")
    codes = sorted(code for _, code in ends)
    if codes != [0, USER_ERROR]:
        return Found(job.name, what, f"exit codes {codes}: {[text[-300:] for text, _ in ends]}")
    loser = next(text for text, code in ends if code)
    if "Traceback" in loser or loser.count("error: ") != 1:
        return Found(job.name, what, f"the loser said: {loser[-400:]}")
    return Found(job.name, what, different(folder / job.output, whole / job.output) or _left(folder, job.output))


def interruptions(folder: Path, sound: dict[str, Path], kills: int, seed: int) -> Iterator[Found]:
    """Yield how kills, full disks and races ended; each job is first run once without interruption."""
    rng = np.random.default_rng((seed, 1))
    seconds = {}
    for job in JOBS:
        whole = folder / "whole" / job.name.replace(" ", "_")
        whole.mkdir(parents=True)
        began = time.monotonic()
        process = start(command(job.words, sound, job.output), whole)
        text, _ = process.communicate(timeout=LONGEST)
        if process.returncode != 0:
            raise RuntimeError(f"{job.name}: {text}")
        seconds[job.name] = time.monotonic() - began
    for number in range(kills):
        job = JOBS[number % len(JOBS)]
        with _emptied(folder / f"kill-{number:04}") as here:
            found = killed(job, sound, here.path, rng, seconds[job.name])
            here.keep = bool(found.fault)
        yield found
    for job in JOBS if kills else ():
        for kibibytes in rng.choice(KIBIBYTES, 3, replace=False):
            with _emptied(folder / f"full-{job.name.replace(' ', '_')}-{kibibytes}") as here:
                found = full_disk(job, sound, here.path, int(kibibytes))
                here.keep = bool(found.fault)
            yield found
        with _emptied(folder / f"race-{job.name.replace(' ', '_')}") as here:
            found = race(job, sound, here.path, float(rng.random()) * 0.3 * seconds[job.name])
            here.keep = bool(found.fault)
        yield found


class _emptied:  # noqa: N801  used as a function is
    """A new folder, removed afterwards unless it is to be kept."""

    def __init__(self, path: Path) -> None:
        self.path, self.keep = path, True

    def __enter__(self) -> "_emptied":
        self.path.mkdir()
        return self

    def __exit__(self, *error: object) -> None:
        if not self.keep:
            shutil.rmtree(self.path)
