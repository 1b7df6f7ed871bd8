from pathlib import Path

import pytest

from sdkit.runtime.errors import MissingFileError, OutputExistsError
from sdkit.runtime.storage.output import check_output, remove, replacing


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(path: Path, error: type[BaseException], *, folder: bool = False, force: bool = False) -> None:
    with replacing(path, force=force) as temporary:
        if folder:
            temporary.mkdir()
            (temporary / "part").write_text("half")
        else:
            temporary.write_text("half")
        raise error


def test_file_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    with replacing(tmp_path / "out.h5") as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path / ".out.h5.part"
        assert not (tmp_path / "out.h5").exists()
    assert names(tmp_path) == ["out.h5"]
    assert (tmp_path / "out.h5").read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("folder", [False, True])
def test_nothing_is_left_of_an_output_that_failed(tmp_path: Path, error: type[BaseException], folder: bool) -> None:
    with pytest.raises(error):
        write_half(tmp_path / "out", error, folder=folder)
    assert names(tmp_path) == []


def test_a_failed_replacement_leaves_the_old_output(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt, force=True)
    assert names(tmp_path) == ["out"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("folder", [False, True])
def test_nothing_is_overwritten_unasked(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "out"
    path.mkdir() if folder else path.write_text("old")
    with pytest.raises(OutputExistsError, match=r"out exists already.*force=True"), replacing(path) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["out"]
    assert path.is_dir() if folder else path.read_text() == "old"


def test_force_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with replacing(path, force=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"


def test_force_replaces_a_whole_folder(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("old")
    with replacing(path, force=True) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert names(tmp_path) == ["out"]
    assert names(path) == ["new"]


def test_what_a_killed_process_left_is_no_obstacle(tmp_path: Path) -> None:
    left = tmp_path / ".out.part"
    left.mkdir()
    (left / "lock").touch()
    (left / "output").mkdir()
    (left / "output" / "half").write_text("half")
    with replacing(tmp_path / "out") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["out"]


def test_parent_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"the folder .*nowhere does not exist"):
        check_output(tmp_path / "nowhere" / "out")
    assert check_output(tmp_path / "out") == tmp_path / "out"


def test_a_bare_name_lies_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with replacing("out.txt") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["out.txt"]


def test_remove_takes_the_link_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    remove(tmp_path / "link")
    assert names(tmp_path) == ["folder"]
    remove(tmp_path / "folder")
    remove(tmp_path / "nowhere")
    assert names(tmp_path) == []
