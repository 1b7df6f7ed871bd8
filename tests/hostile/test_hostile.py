from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.hostile.cases import SOUND, Case, cases, judge, listed, run, untouched
from tests.hostile.corpus import Original, originals
from tests.hostile.mutations import SECRET, mutate
from tests.hostile.server import Ended, Server

SHARE = 3
"""Number of cases of each original and command."""
FORMATS = ("sequences", "codes", "swaps", "bundle", "run", "source")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Original]:
    return originals(tmp_path_factory.mktemp("originals"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.mark.parametrize("format_", FORMATS)
def test_mutated_inputs_are_refused_or_read_right(
    corpus: list[Original], server: Server, tmp_path: Path, format_: str
) -> None:
    chosen = [original for original in corpus if original.format.startswith(format_)]
    # Three kinds of elements share the code that reads their files; the campaign takes all.
    chosen = [original for original in chosen if "vector" not in original.format]
    count = SHARE * sum(len(original.commands) for original in chosen)
    found = [run(case, server, tmp_path / str(case.number), 0) for case in cases(chosen, count, 0)]
    faults = [f"{v.case.command}: {v.mutation}: {v.outcome}: {v.detail}" for v in found if not v.sound]
    assert not faults, "\n".join(faults)
    # A campaign in which nothing is refused, or nothing succeeds, has not met what it is about.
    assert set(Counter(v.outcome for v in found)) == set(SOUND)


def test_sound_inputs_are_accepted(corpus: list[Original], server: Server, tmp_path: Path) -> None:
    lines = [(original, command) for original in corpus for command in original.commands]
    for number, line in enumerate(lines):
        found = run(Case(number, *line), server, tmp_path / str(number), 0, untouched)
        assert found.outcome == "done", (line, (tmp_path / str(number) / "notes" / "err.txt").read_text())


def test_the_same_seed_makes_the_same_mutation(corpus: list[Original], tmp_path: Path) -> None:
    content = corpus[0].path.read_bytes()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.h5").write_bytes(content)
        mutate(tmp_path / name / "x.h5", np.random.default_rng(5))
    changed = (tmp_path / "a" / "x.h5").read_bytes()
    assert changed == (tmp_path / "b" / "x.h5").read_bytes()
    assert changed != content


ERROR = "error: x.h5 is not an HDF5 file; make it again\n"


def _ended(code: int = 0, *, out: str = "", err: str = "", megabytes: float = 10.0, hung: bool = False) -> Ended:
    return Ended(code, 0.1, megabytes, hung, out, err)


@pytest.mark.parametrize(
    ("ended", "outcome"),
    [
        (_ended(), "done"),
        (_ended(2, err=ERROR), "refused"),
        (_ended(1, err="Traceback (most recent call last):\nKeyError: 'x'\n"), "traceback"),
        (_ended(139), "crash"),
        (_ended(1), "crash"),
        (_ended(137, hung=True), "hang"),
        (_ended(2, err=ERROR, megabytes=3000), "memory"),
        (_ended(2), "message"),
        (_ended(2, err=f"error: {'x' * 3000}\n"), "message"),
        (_ended(2, err=ERROR + ERROR), "message"),
        (_ended(2, err="error: \x1b[31mred\n"), "message"),
        (_ended(0, out="\x07"), "message"),
    ],
)
def test_faults_of_a_process_are_seen(tmp_path: Path, ended: Ended, outcome: str) -> None:
    case = Case(0, Original("sequences", tmp_path, ()), "encode IN")
    assert judge(case, ended, tmp_path, {}, refused=False)[0] == outcome


def test_faults_of_files_are_seen(tmp_path: Path) -> None:
    case = Case(0, Original("sequences", tmp_path, ()), "encode IN")
    source, made = tmp_path / "input.h5", tmp_path / "made.h5"
    source.write_bytes(b"mine")
    before = listed(tmp_path)
    assert judge(case, _ended(), tmp_path, before, refused=True)[0] == "silent wrong answer"
    (tmp_path / ".made.h5.part").touch()
    assert judge(case, _ended(2, err=ERROR), tmp_path, before, refused=True)[0] == "left-over"
    (tmp_path / ".made.h5.part").unlink()
    made.write_bytes(b"-" + SECRET)
    assert judge(case, _ended(), tmp_path, before, refused=False)[0] == "silent wrong answer"
    with h5py.File(made, "w") as file:
        file["static"] = np.array([1.0, np.nan], np.float32)
    assert judge(case, _ended(), tmp_path, before, refused=False)[0] == "silent wrong answer"
    with h5py.File(made, "w") as file:
        file["data"] = np.zeros((2, 5, 3, 16, 16), np.uint8)
        file["labels"] = np.zeros((3, 1), np.int64)
    assert judge(case, _ended(), tmp_path, before, refused=False)[0] == "silent wrong answer"
    with h5py.File(made, "w") as file:
        file["static"] = np.zeros((2, 3), np.float32)
    assert judge(case, _ended(), tmp_path, before, refused=False)[0] == "done"
    assert judge(case, _ended(2, err=ERROR), tmp_path, before, refused=False)[0] == "left-over"
    made.unlink()
    source.write_bytes(b"other")
    assert judge(case, _ended(), tmp_path, before, refused=False)[0] == "input changed"
