"""A run that was interrupted, killed even, goes on where it was and ends in the bytes of one that never was."""

import fcntl
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sdkit.runtime.errors import ConfigError, OutputExistsError
from sdkit.runtime.storage import hdf5
from sdkit.runtime.storage.resume import Partial
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.files import FileVerbs
from tests.runtime.conftest import Log
from tests.runtime.plain import CHUNK, COMPRESSION, call, plain_verbs, write_plain

ROOT = Path(__file__).parents[3]
SETTINGS: dict[str, str | int | None] = {"verb": "test", "seed": 3}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CHUNK_BYTES", CHUNK)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of inputs, some of them ragged, and the outputs of runs that nothing interrupted."""
    folder = tmp_path_factory.mktemp("inputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hdf5, "CHUNK_BYTES", CHUNK)
        write_plain(folder / "a.h5", ragged=True)
        write_plain(folder / "b.h5", seed=1, compression="lz4")
        plain_verbs().encode_file(folder / "a.h5", folder / "codes.h5")
        for verb in COMPRESSION:
            call(plain_verbs(), verb, folder).rename(folder / f"{verb}.h5")
    return folder


@pytest.fixture
def folder(inputs: Path, tmp_path: Path) -> Path:
    """Return a folder with links to the inputs."""
    for name in ("a.h5", "b.h5", "codes.h5"):
        (tmp_path / name).hardlink_to(inputs / name)
    return tmp_path


def outputs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("a.h5", "b.h5", "codes.h5"))


def interrupt(folder: Path, until: int, verb: str = "encode", **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        call(plain_verbs(), verb, folder, resume=True, reporter=Log(interrupt_at=until), **options)


def killed(folder: Path, verb: str, when: str, number: int, *options: str) -> None:
    command = [sys.executable, "-m", "tests.runtime.plain", verb, str(folder), when, str(number), *options]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == -signal.SIGKILL, result.stderr


@pytest.mark.parametrize(
    ("verb", "when", "number"),
    [
        ("encode", "unrecorded", 1),
        ("encode", "torn", 5),
        ("reconstruct", "whole", 1),
        ("swap", "unrecorded", 12),
        ("generate", "computing", 90),
    ],
)
def test_killed_and_resumed(inputs: Path, folder: Path, verb: str, when: str, number: int) -> None:
    killed(folder, verb, when, number)
    assert outputs(folder) == [".out.h5.part"]
    log = Log()
    call(plain_verbs(), verb, folder, resume=True, reporter=log)
    assert outputs(folder) == ["out.h5"]
    assert (folder / "out.h5").read_bytes() == (inputs / f"{verb}.h5").read_bytes()
    assert log.total == log.done == 400


def test_killed_again_and_again(inputs: Path, folder: Path) -> None:
    killed(folder, "reconstruct", "unrecorded", 4)
    killed(folder, "reconstruct", "torn", 9, "--resume")
    killed(folder, "reconstruct", "unrecorded", 3, "--resume")  # while it takes over what there is
    assert len(list((folder / ".out.h5.part").glob("*.h5"))) == 2
    log = Log()
    call(plain_verbs(), "reconstruct", folder, resume=True, reporter=log)
    # Eight lines were whole: one of the data set, seven of chunks of 25 sequences; batches are of 7.
    assert log.notes == [f"{folder / 'out.h5'} goes on at sequence 175 of 400"]
    assert (folder / "out.h5").read_bytes() == (inputs / "reconstruct.h5").read_bytes()
    assert outputs(folder) == ["out.h5"]


def test_killed_with_its_output_in_place(inputs: Path, folder: Path) -> None:
    killed(folder, "encode", "named", 1)
    assert outputs(folder) == [".out.h5.part", "out.h5"]
    assert (folder / "out.h5").read_bytes() == (inputs / "encode.h5").read_bytes()
    with pytest.raises(OutputExistsError):
        call(plain_verbs(), "encode", folder, resume=True)
    call(plain_verbs(), "encode", folder, resume=True, force=True)
    assert (folder / "out.h5").read_bytes() == (inputs / "encode.h5").read_bytes()
    assert outputs(folder) == ["out.h5"]


@pytest.mark.parametrize("verb", COMPRESSION)
def test_interrupted_at_every_point(inputs: Path, folder: Path, verb: str) -> None:
    for until in range(20, 420, 57):
        interrupt(folder, min(until, 400), verb)
        call(plain_verbs(), verb, folder, resume=True)
        assert (folder / "out.h5").read_bytes() == (inputs / f"{verb}.h5").read_bytes()
        (folder / "out.h5").unlink()
    for until in (100, 200, 300):
        interrupt(folder, until, verb)
    call(plain_verbs(), verb, folder, resume=True)
    assert (folder / "out.h5").read_bytes() == (inputs / f"{verb}.h5").read_bytes()


def test_the_bytes_are_of_readable_files(inputs: Path) -> None:
    with SequenceFile(inputs / "reconstruct.h5") as file, SequenceFile(inputs / "a.h5") as source:
        x = source.read(slice(None))
        lengths = source.lengths()
        assert lengths is not None
        x[np.arange(5) >= lengths[:, None]] = 0
        np.testing.assert_array_equal(file.read(slice(None)), expected(x, lengths))
        assert file.data.chunks == (25, 5, 4, 2)


def expected(x: Any, lengths: Any) -> Any:
    verbs = plain_verbs()
    out = np.zeros_like(x)
    for row, length in enumerate(lengths):
        out[row, :length] = verbs.reconstruct(x[row : row + 1, :length])[0]
    return out


def test_what_is_done_is_not_done_again(folder: Path) -> None:
    interrupt(folder, 300, "reconstruct")
    verbs, calls = plain_verbs(), list[str]()
    verbs.backend.before = calls.append  # type: ignore[attr-defined]
    log = Log()
    call(verbs, "reconstruct", folder, resume=True, reporter=log)
    assert 0 < calls.count("decoder") < 60
    assert log.stages == ["reconstructing"]
    assert log.total == log.done == 400


def test_bytes_that_changed_end_what_is_taken_up(inputs: Path, folder: Path) -> None:
    interrupt(folder, 300, "reconstruct")
    file, journal = folder / ".out.h5.part/1.h5", folder / ".out.h5.part/1.journal"
    entry = json.loads(journal.read_text().splitlines()[4])[1]  # the fourth chunk: rows 75 to 99
    data = bytearray(file.read_bytes())
    data[entry["offset"] + entry["size"] // 2] ^= 1
    file.write_bytes(data)
    log = Log()
    call(plain_verbs(), "reconstruct", folder, resume=True, reporter=log)
    assert log.notes == [f"{folder / 'out.h5'} goes on at sequence 70 of 400"]
    assert (folder / "out.h5").read_bytes() == (inputs / "reconstruct.h5").read_bytes()


def test_without_resume_leftovers_are_replaced_and_told(inputs: Path, folder: Path) -> None:
    interrupt(folder, 300)
    log = Log()
    call(plain_verbs(), "encode", folder, reporter=log)
    words = f"what an interrupted run of {folder / 'out.h5'} left is replaced; resume=True would continue it"
    assert log.notes == [words]
    assert (folder / "out.h5").read_bytes() == (inputs / "encode.h5").read_bytes()
    assert outputs(folder) == ["out.h5"]


def test_nothing_to_resume(inputs: Path, folder: Path) -> None:
    log = Log()
    call(plain_verbs(), "encode", folder, resume=True, reporter=log)
    assert log.notes == [f"no interrupted run of {folder / 'out.h5'} to resume; it starts at the beginning"]
    assert (folder / "out.h5").read_bytes() == (inputs / "encode.h5").read_bytes()


def test_an_error_before_the_first_chunk_leaves_nothing(folder: Path) -> None:
    with h5py.File(folder / "c.h5", "w") as file:
        file["data"] = np.full((3, 5, 4, 2), np.inf, np.float32)
    with pytest.raises(ValueError, match="infinite"):
        plain_verbs().encode_file(folder / "c.h5", folder / "out.h5", resume=True)
    assert outputs(folder) == ["c.h5"]


def other_model(verbs: FileVerbs) -> None:
    verbs.model_id = "another"


def other_batches(verbs: FileVerbs) -> None:
    verbs.batch_size = 8


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (other_model, {}, "model was of numpy and is now another"),
        (other_batches, {}, "batch size was 7 and is now 8"),
        (None, {"compression": "none"}, "compression was gzip and is now none"),
        (None, {"split": "train"}, "split was all and is now train"),
    ],
)
def test_other_settings(folder: Path, change: Any, options: dict[str, Any], words: str) -> None:
    interrupt(folder, 300)
    before = {path.name: path.read_bytes() for path in (folder / ".out.h5.part").iterdir()}
    verbs = plain_verbs()
    if change is not None:
        change(verbs)
    with pytest.raises(ConfigError, match=rf"out\.h5 cannot be resumed: {words}; give what was given before, or leave"):
        call(verbs, "encode", folder, resume=True, **options)
    assert {path.name: path.read_bytes() for path in (folder / ".out.h5.part").iterdir()} == before


def test_another_verb_or_input(folder: Path) -> None:
    interrupt(folder, 300)
    with pytest.raises(ConfigError, match="verb was encode and is now reconstruct"):
        call(plain_verbs(), "reconstruct", folder, resume=True)
    with pytest.raises(ConfigError, match="seed was 3 and is now not given"):
        plain_verbs().encode_file(folder / "a.h5", folder / "out.h5", resume=True)
    (folder / "a.h5").unlink()
    write_plain(folder / "a.h5", ragged=True)
    with pytest.raises(ConfigError, match=r"input 1 was .*a\.h5 \(\d+ bytes, changed at \d+ ns\) and is now .*a\.h5 "):
        call(plain_verbs(), "encode", folder, resume=True)


def test_an_unreadable_state(folder: Path) -> None:
    interrupt(folder, 300)
    (folder / ".out.h5.part/state.json").write_text("{")
    with pytest.raises(ConfigError, match="does not say what it was to become; leave resume=True out"):
        call(plain_verbs(), "encode", folder, resume=True)


def test_two_processes_on_one_output(folder: Path) -> None:
    (folder / ".out.h5.part").mkdir()
    with (folder / ".out.h5.part/lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for resume in (False, True):
            with pytest.raises(ConfigError, match=r"another process is writing .*out\.h5; wait for it, or choose"):
                call(plain_verbs(), "encode", folder, resume=resume)
    assert outputs(folder) == [".out.h5.part"]
    call(plain_verbs(), "encode", folder)
    assert outputs(folder) == ["out.h5"]


def write_half(path: Path) -> None:
    path.write_text("newer")
    raise OSError("disk full")


def test_a_partial_that_ends_well_or_badly(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Partial(out, SETTINGS) as path:
        path.write_text("new")
        assert not out.exists()
        assert json.loads((tmp_path / ".out.part/state.json").read_text()) == SETTINGS
    assert out.read_text() == "new"
    with pytest.raises(OSError, match="full"), Partial(out, SETTINGS, force=True) as path:
        write_half(path)
    assert out.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
