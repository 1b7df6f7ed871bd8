"""One process makes an output, a name is taken only if it is free, and what a dead process left is in nobody's way."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sdkit.runtime.errors import BusyError, ConfigError, OutputExistsError, WriteError
from sdkit.runtime.storage import stage
from sdkit.runtime.storage.output import replacing
from sdkit.runtime.storage.resume import Partial
from sdkit.runtime.storage.stage import Lock, Stage, rename_new


def write(path: Path, text: str = "new") -> None:
    path.write_text(text)


def write_folder(path: Path, text: str = "new") -> None:
    path.mkdir()
    (path / "file").write_text(text)


def text_of(path: Path) -> str:
    return (path / "file" if path.is_dir() else path).read_text()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


MAKE = [pytest.param(write, id="file"), pytest.param(write_folder, id="folder")]
Make = Callable[..., None]


def refuse(code: int) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


def no_rename(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(stage, "_rename_at_once", lambda *_: False)


def no_links(patch: pytest.MonkeyPatch) -> None:
    no_rename(patch)
    patch.setattr(os, "link", refuse(errno.EPERM))


@pytest.fixture(params=["renameat2", "portable", "no links"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take each way in which a system may take a name without replacing."""
    {"renameat2": lambda patch: None, "portable": no_rename, "no links": no_links}[request.param](monkeypatch)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("make", MAKE)
def test_a_name_is_taken_only_if_it_is_free(tmp_path: Path, make: Make) -> None:
    make(tmp_path / "made")
    rename_new(tmp_path / "made", tmp_path / "out")
    assert text_of(tmp_path / "out") == "new"
    for other in (write, write_folder):
        other(tmp_path / other.__name__, "theirs")
        make(tmp_path / "again")
        with pytest.raises(FileExistsError):
            rename_new(tmp_path / "again", tmp_path / other.__name__)
        assert text_of(tmp_path / other.__name__) == "theirs"
        stage.remove(tmp_path / "again")
    (tmp_path / "empty").mkdir()
    make(tmp_path / "again")
    with pytest.raises(FileExistsError):
        rename_new(tmp_path / "again", tmp_path / "empty")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("theirs", MAKE)
@pytest.mark.parametrize("make", MAKE)
def test_what_appears_meanwhile_is_not_replaced(tmp_path: Path, make: Make, theirs: Make) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputExistsError, match="out was made by another process meanwhile"), replacing(out) as made:  # noqa: PT012
        make(made)
        theirs(out, "theirs")
    assert names(tmp_path) == ["out"]
    assert text_of(out) == "theirs"


def test_what_appears_meanwhile_is_not_replaced_by_a_resumable_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputExistsError, match="made by another process meanwhile"), Partial(out, {}) as made:  # noqa: PT012
        write(made)
        write(out, "theirs")
    assert names(tmp_path) == ["out"]
    assert text_of(out) == "theirs"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("theirs", MAKE)
def test_force_replaces_what_appears_meanwhile(tmp_path: Path, theirs: Make) -> None:
    out = tmp_path / "out"
    with replacing(out, force=True) as made:
        write_folder(made)
        theirs(out, "theirs")
    assert names(tmp_path) == ["out"]
    assert text_of(out) == "new"


def test_a_file_replaces_no_folder_that_appears_meanwhile(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputExistsError, match="a folder, which no file replaces"), replacing(out, force=True) as made:  # noqa: PT012
        write(made)
        write_folder(out, "theirs")
    assert text_of(out) == "theirs"


def test_one_process_makes_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdkit.runtime.storage.output.WAIT_SECONDS", 0.02)
    out = tmp_path / "out"
    with replacing(out) as made:
        for force in (False, True):
            with (
                pytest.raises(BusyError, match=r"another process is writing .*out; wait for it"),
                replacing(out, force=force),
            ):
                raise AssertionError
        with pytest.raises(BusyError), Partial(out, {}):
            raise AssertionError
        write(made)
    assert names(tmp_path) == ["out"]


def test_without_locks_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "fcntl", None)
    out = tmp_path / "out"

    def second() -> None:
        with replacing(out) as made:
            write(made, "second")

    def first() -> None:
        with replacing(out) as made:
            write(made, "first")
            second()

    with pytest.raises(WriteError, match="out cannot be written"):
        first()
    assert text_of(out) == "second"
    assert names(tmp_path) == ["out"]


def test_a_dead_process_is_told_from_a_living_one(tmp_path: Path) -> None:
    left = Stage(tmp_path / "out")
    assert left.enter() is False
    write(left.folder / "output", "half")
    with pytest.raises(BusyError):
        Stage(tmp_path / "out").enter()
    left._lock.release(keep=True)  # as the system does when a process ends
    with replacing(tmp_path / "out") as made:
        assert not made.exists()
        write(made)
    assert names(tmp_path) == ["out"]


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path: Path) -> None:
    one, two = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert one.take()
    assert not two.take()
    one.release()
    assert names(tmp_path) == []
    assert two.take()
    assert not one.take()
    two.release()
    two.release()


def test_an_old_folder_comes_back_if_its_replacement_was_killed(tmp_path: Path) -> None:
    killed = Stage(tmp_path / "out")
    killed.enter()
    write_folder(killed.folder / "aside", "old")  # moved there by `publish`; the next rename never came
    killed._lock.release(keep=True)
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "out", force=True):
        raise KeyboardInterrupt
    assert names(tmp_path) == ["out"]
    assert text_of(tmp_path / "out") == "old"


@pytest.mark.parametrize("what", ["file", "folder", "link"])
def test_nothing_of_others_is_taken_for_ours(tmp_path: Path, what: str) -> None:
    (tmp_path / "kept").mkdir()
    write(tmp_path / "kept" / "file", "theirs")
    place = tmp_path / ".out.part"
    if what == "file":
        write(place, "theirs")
    elif what == "folder":
        write_folder(place, "theirs")
    else:
        place.symlink_to(tmp_path / "kept")
    words = r"\.out\.part is in the way of .*out and not of sdkit's making"
    with pytest.raises(OutputExistsError, match=words), replacing(tmp_path / "out"):
        raise AssertionError
    assert names(tmp_path) == [".out.part", "kept"]
    assert (place if what == "file" else place / "file").read_text() == "theirs"


def test_a_dangling_link_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputExistsError, match="exists already"), replacing(tmp_path / "out"):
        raise AssertionError
    with replacing(tmp_path / "out", force=True) as made:
        write(made)
    assert names(tmp_path) == ["out"]
    assert not (tmp_path / "out").is_symlink()


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out")
    with pytest.raises(OutputExistsError, match="neither a file nor a folder"), replacing(tmp_path / "out", force=True):
        raise AssertionError
    assert (tmp_path / "out").is_fifo()


def test_files_get_the_permissions_that_new_files_get(tmp_path: Path) -> None:
    write(tmp_path / "usual")
    with replacing(tmp_path / "out") as made:
        write_folder(made)
        (made / "file").chmod(0o600)  # as libraries make them that write by way of a temporary file
    assert (tmp_path / "out" / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "No space left on device; make room there"),
        (errno.EDQUOT, "Disk quota exceeded; make room there"),
        (errno.EFBIG, r"File too large; a limit on the size of files is reached \(`ulimit -f`\)"),
        (errno.EROFS, "Read-only file system; choose another output"),
    ],
)
def test_a_disk_that_takes_no_more_is_told_with_the_output(tmp_path: Path, code: int, words: str) -> None:
    with pytest.raises(WriteError, match=rf"out cannot be written: {words}"), replacing(tmp_path / "out"):
        refuse(code)()
    assert names(tmp_path) == []


def test_other_errors_of_the_system_are_none_of_the_output(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), replacing(tmp_path / "out"):
        refuse(errno.EACCES)()  # of something that is read


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("mkdir", errno.EACCES, "Permission denied; choose another output, or ask for permission to write there"),
        ("mkdir", errno.ENAMETOOLONG, "File name too long; choose a shorter name"),
    ],
)
def test_a_place_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, words: str
) -> None:
    monkeypatch.setattr(Path, call, refuse(code))
    for entered in (lambda: replacing(tmp_path / "out"), lambda: Partial(tmp_path / "out", {})):
        with pytest.raises(WriteError, match=rf"out cannot be written: {words}"), entered():
            raise AssertionError


def test_another_process_is_an_error_of_what_was_asked_for() -> None:
    assert issubclass(BusyError, ConfigError)
