"""Cases of the campaign: a mutated input, a command line, and what is wrong with how it ended."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from tests.hostile.corpus import Original
from tests.hostile.mutations import SECRET, Mutation, mutate
from tests.hostile.server import KILLED, Ended, Server

USER_ERROR = 2
MOST_MEGABYTES = 2048
MOST_SECONDS = 60.0
LONGEST = 2000
"""Greatest length in characters of an error."""
CONTROLS = {chr(code) for code in (*range(32), 127, *range(128, 160))} - set("\n\t\r") | {"\u202e"}


class Case(NamedTuple):
    """One command line on one mutated input."""

    number: int
    original: Original
    command: str


class Verdict(NamedTuple):
    """How a case ended."""

    case: Case
    mutation: str
    outcome: str
    """`refused`, `done`, or the fault that it shows."""
    detail: str = ""
    """Text that shows a fault."""

    @property
    def sound(self) -> bool:
        """Whether it ended as it should."""
        return self.outcome in SOUND


SOUND = ("refused", "done")
FAULTS = (*("traceback", "crash", "hang", "memory", "left-over", "input changed", "silent wrong answer", "message"),)
"""Faults, the worst that a case shows counts."""


def cases(originals: list[Original], count: int, seed: int) -> Iterator[Case]:
    """Yield cases: every original and command in turn, so that few cases reach all of them."""
    lines = [(original, command) for original in originals for command in original.commands]
    order = np.random.default_rng(seed).permutation(len(lines))
    for number in range(count):
        yield Case(number, *lines[order[number % len(lines)]])


def untouched(path: Path, rng: np.random.Generator) -> Mutation:
    """Change nothing: what is sound must be accepted."""
    return Mutation("untouched")


def run(
    case: Case,
    server: Server,
    folder: Path,
    seed: int,
    change: Callable[[Path, np.random.Generator], Mutation] = mutate,
) -> Verdict:
    """Run a case in an empty folder, which it leaves empty unless the case shows a fault."""
    work, notes = folder / "work", folder / "notes"
    for path in (work, notes):
        path.mkdir(parents=True)
    target = work / (case.original.place or f"input{case.original.path.suffix}")
    target.parent.mkdir(exist_ok=True)
    copy = shutil.copytree if case.original.path.is_dir() else shutil.copyfile
    copy(case.original.path, target)
    done = change(target, np.random.default_rng((seed, case.number)))
    before = listed(work)
    words = _words(case, target)
    ended = server.run(words, work, notes, MOST_SECONDS)
    outcome, detail = judge(case, ended, work, before, done.refused)
    found = Verdict(case, done.what, outcome, detail)
    if found.sound:
        shutil.rmtree(folder)
    else:
        (notes / "case.txt").write_text(f"sdkit {' '.join(words)}\n{done.what!r}\n{outcome}: {detail!r}\n")
    return found


def _words(case: Case, target: Path) -> list[str]:
    sound = {"IN": target, **case.original.sound}
    words = []
    for word in case.command.split():
        named = next((name for name in sound if word == name), None)
        words.append(str(sound[named]) if named else word.replace("OUT", "made"))
    return words


def listed(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file of a folder, which change when it is written."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(folder))] = (0, 0) if path.is_dir() else (status.st_size, status.st_mtime_ns)
    return found


def judge(case: Case, ended: Ended, work: Path, before: dict[str, tuple[int, int]], refused: bool) -> tuple[str, str]:
    """Return the outcome of a case, and the text that shows a fault."""
    after = listed(work)
    new = sorted(set(after) - set(before))
    own = ("train" in case.command, "evaluate" in case.command)  # these write into runs
    changed = sorted(name for name in before if after.get(name) != before[name] and not any(own))
    text = ended.out + ended.err
    error = ended.err[ended.err.find("error: ") :] if "error: " in ended.err else ""
    leaking = sorted(name for name in new if not _expected(name, ended.code, any(own)))
    wrong = _wrong(work, new, ended.code, refused)
    shown = sorted(CONTROLS & set(text))
    checks: tuple[tuple[str, bool, str], ...] = (
        ("hang", ended.hung, f"{ended.seconds:.0f} s"),
        ("traceback", "Traceback (most recent" in text, text[-600:]),
        ("crash", ended.code >= KILLED or ended.code not in (0, USER_ERROR), f"exit code {ended.code}: {text[-300:]}"),
        ("memory", ended.megabytes > MOST_MEGABYTES, f"{ended.megabytes:.0f} MB"),
        ("left-over", bool(leaking), ", ".join(leaking)),
        ("input changed", bool(changed), ", ".join(changed)),
        ("silent wrong answer", bool(wrong), wrong),
        ("message", ended.code == USER_ERROR and not error, f"no error line: {text[-300:]}"),
        ("message", len(error) > LONGEST or error.rstrip("\n").count("\n") > 0, error[:300]),
        ("message", bool(shown), f"control characters {shown}"),
    )
    for name, fails, detail in checks:
        if fails:
            return name, detail
    return ("done" if ended.code == 0 else "refused"), ""


def _expected(name: str, code: int, own: bool) -> bool:
    """Return whether a command may leave a file: its outputs when it succeeds, a run that can be continued."""
    if own and name.startswith(("runs", "input")):
        return not name.endswith((".part", ".tmp"))
    return code == 0 and name in ("made.h5", "made.png")


def _wrong(work: Path, new: list[str], code: int, refused: bool) -> str:
    """Return why the success of a command is false: it had to refuse, or its output is unreadable or not finite."""
    if code != 0:
        return ""
    if refused:
        return "accepted, though it had to be refused"
    for name in new:
        path = work / name
        if path.is_file() and SECRET[:24] in path.read_bytes():
            return f"{name} holds bytes of a file that was not given"
        if path.suffix == ".h5" and (reason := _unreadable(path)):
            return f"{name}: {reason}"
    return ""


def _unreadable(path: Path) -> str:
    with h5py.File(path) as file:
        names = set(file)
        for name in names & {"static", "dynamic", "static_a_dynamic_b", "static_b_dynamic_a"}:
            if not np.isfinite(file[name][()]).all():
                return f"{name} is not finite"
        if "data" not in names:
            return ""
    from sdkit.runtime.describe import describe_sequences
    from sdkit.runtime.errors import SdkitError

    try:
        describe_sequences(path, check=True)
    except SdkitError as error:
        return f"sdkit refuses it itself: {error}"
    return ""
