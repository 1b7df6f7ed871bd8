"""examples/setup-hosts.sh asks for what is missing, and for nothing that is there."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "setup-hosts.sh"
NAMES = {"cmake": "cmake", "c++": "g++", "node": "nodejs", "npm": "npm", "chromium": "chromium"}


def run(
    folder: Path, *, there: set[str], user: int = 0, sudo: bool = False, engine: bool = False
) -> tuple[list[list[str]], str]:
    """Run the script where only some programs are there, and return what it called and what it said."""
    programs, log = folder / "bin", folder / "calls"
    programs.mkdir()
    web = folder / "examples" / "web"
    (web / "node_modules" / "onnxruntime-web" / ("dist" if engine else "")).mkdir(parents=True)
    shutil.copyfile(SCRIPT, folder / "examples" / SCRIPT.name)
    for name in ("dirname", "true"):
        (programs / name).symlink_to(shutil.which(name) or "")
    for name, lines in {
        "id": f"echo {user}",
        "apt-get": f'echo "apt-get $*" >> {log}',
        "sudo": 'shift; "$@"' if sudo else "exit 1",
        **dict.fromkeys(there, f'echo "${{0##*/}} $*" >> {log}'),
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{lines}\n")
        (programs / name).chmod(0o755)
    command = [shutil.which("sh") or "sh", str(folder / "examples" / SCRIPT.name)]
    result = subprocess.run(
        command, env={"PATH": str(programs)}, capture_output=True, text=True, check=False, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    calls = log.read_text().splitlines() if log.exists() else []
    return [line.split() for line in calls], result.stderr


def installed(calls: list[list[str]]) -> set[str]:
    """Return the packages that apt-get was to install, of those that bring a program."""
    return {word for call in calls if call[:2] == ["apt-get", "install"] for word in call} & set(NAMES.values())


@pytest.mark.parametrize("lacking", [{"cmake", "c++", "node", "chromium"}, {"chromium"}])
def test_what_is_missing_is_installed(tmp_path: Path, lacking: set[str]) -> None:
    calls, _ = run(tmp_path, there=set(NAMES) - lacking)
    assert installed(calls) == {NAMES[name] for name in lacking}
    assert [call[:2] for call in calls[:2]] == [["apt-get", "update"], ["apt-get", "install"]]
    assert calls[-1] == ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    calls, _ = run(tmp_path, there={*NAMES}, engine=True)
    assert installed(calls) == set()
    assert "npm" not in {call[0] for call in calls}


def test_without_root_it_says_what_is_missing(tmp_path: Path) -> None:
    calls, said = run(tmp_path, there={"npm", "node"}, user=1000)
    assert installed(calls) == set()
    assert "install these first, for all hosts to run: cmake g++ chromium" in said


def test_sudo_will_do(tmp_path: Path) -> None:
    calls, _ = run(tmp_path, there={"npm", "node", "c++", "cmake"}, user=1000, sudo=True)
    assert installed(calls) == {"chromium"}


def test_the_lock_names_no_registry() -> None:
    """Packages come from wherever npm is set up to get them."""
    text = (SCRIPT.parent / "web" / "package-lock.json").read_text()
    assert '"onnxruntime-web": "1.30.0"' in text
    assert "resolved" not in text
    assert os.access(SCRIPT, os.X_OK)
