import os
from pathlib import Path

import pytest

from sdkit.runtime.errors import MissingFileError
from sdkit.runtime.locate import find_bundle_folder, find_run_folder


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with nothing said by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SDKIT_RUN", raising=False)
    monkeypatch.delenv("SDKIT_BUNDLE", raising=False)
    return tmp_path


def run(path: str, age: int = 0, bundle: bool = True) -> Path:
    """Make a run of an age in seconds."""
    folder = Path(path)
    folder.mkdir(parents=True)
    config = folder / "config.json"
    config.write_text("{}")
    os.utime(config, (1_700_000_000 - age,) * 2)
    if bundle:
        make_bundle(folder / "bundle")
    return folder


def make_bundle(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_given_as_a_path_or_a_name(empty: Path) -> None:
    run("runs/a")
    run("elsewhere/b")
    assert find_run_folder("runs/a") == find_run_folder("a") == find_run_folder(Path("a")) == Path("runs/a")
    assert find_run_folder(empty / "elsewhere" / "b") == empty / "elsewhere" / "b"
    for given in ("a", "runs/a", "runs/a/bundle"):
        assert find_bundle_folder(given) == Path("runs/a/bundle")
    assert find_bundle_folder("elsewhere/b") == Path("elsewhere/b/bundle")


def test_a_path_here_goes_before_a_name_under_runs() -> None:
    run("runs/a")
    run("a")
    assert find_run_folder("a") == Path("a")
    assert find_bundle_folder("a") == Path("a/bundle")


def test_newest_by_config_and_not_by_name() -> None:
    run("runs/z", age=50)
    run("runs/a", age=10)
    run("runs/m", age=30)
    Path("runs/data").mkdir()
    assert find_run_folder() == Path("runs/a")
    assert find_bundle_folder() == Path("runs/a/bundle")
    os.utime("runs/z/config.json", (1_800_000_000,) * 2)
    assert find_run_folder() == Path("runs/z")


def test_environment_goes_before_the_newest_and_after_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    run("runs/old", age=100)
    run("runs/new")
    run("runs/given", age=50)
    make_bundle(Path("shipped"))
    monkeypatch.setenv("SDKIT_RUN", "old")
    assert find_run_folder() == Path("runs/old")
    assert find_bundle_folder() == Path("runs/old/bundle")
    assert find_run_folder("given") == Path("runs/given")
    monkeypatch.setenv("SDKIT_BUNDLE", "shipped")
    assert find_bundle_folder() == Path("shipped")
    assert find_bundle_folder("given") == Path("runs/given/bundle")
    assert find_run_folder() == Path("runs/old")
    monkeypatch.setenv("SDKIT_RUN", "")
    monkeypatch.setenv("SDKIT_BUNDLE", "")
    assert find_run_folder() == Path("runs/new")
    assert find_bundle_folder() == Path("runs/new/bundle")


def test_messages_say_what_to_do(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingFileError, match=rf"there is no run under {empty}/runs; `sdkit train` makes one$"):
        find_run_folder()
    with pytest.raises(
        MissingFileError,
        match=r"no bundle was given and there is no run under .*; `sdkit train` makes one, then `sdkit e",
    ):
        find_bundle_folder()
    with pytest.raises(MissingFileError, match=r"nowhere is not a run: it holds no config\.json; `sdkit train`"):
        find_run_folder("nowhere")
    with pytest.raises(MissingFileError, match=r"nowhere is not a bundle: it holds no manifest\.json; `sdkit export`"):
        find_bundle_folder("nowhere")
    run("runs/fresh", bundle=False)
    with pytest.raises(MissingFileError, match="the run runs/fresh has no bundle yet; `sdkit export` makes it"):
        find_bundle_folder()
    monkeypatch.setenv("SDKIT_RUN", "gone")
    monkeypatch.setenv("SDKIT_BUNDLE", "lost")
    with pytest.raises(MissingFileError, match="gone is not a run"):
        find_run_folder()
    with pytest.raises(MissingFileError, match="lost is not a bundle"):
        find_bundle_folder()
