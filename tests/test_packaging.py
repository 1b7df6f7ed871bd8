"""The wheel holds the tree and nothing else, and works from where it is unpacked."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sdkit.export.hosts.web import FILES

ROOT = Path(__file__).parents[1]
PAGE = "examples/web"
MAPPED = {"sdkit": "sdkit", "export": "sdkit/export", "runtime": "sdkit/runtime", "cli": "sdkit/cli"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the tracked files, so that nothing left in the tree gets into it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE", *_tree()):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (made,) = folder.glob("*.whl")
    return made


def _tree() -> list[str]:
    """Return every file of the four folders and the page's; links are left out, as on a checkout without links."""
    found = [f"{PAGE}/{name}" for name in FILES]
    for folder in MAPPED:
        for path in sorted((ROOT / folder).rglob("*")):
            linked = folder == "sdkit" and path.relative_to(ROOT / "sdkit").parts[0] in ("export", "runtime", "cli")
            linked = linked or path == ROOT / "export" / "page"
            if path.is_file() and "__pycache__" not in path.parts and not linked:
                found.append(path.relative_to(ROOT).as_posix())
    return found


def test_wheel_holds_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    page = {f"sdkit/export/page/{name}" for name in FILES}
    expected = page | {
        f"{MAPPED[name.split('/')[0]]}/{name.split('/', 1)[1]}" for name in _tree() if not name.startswith(PAGE)
    }
    assert names == expected
    assert "sdkit/py.typed" in names
    assert "sdkit/presets/sprites.toml" in names


def test_wheel_works_where_it_is_unpacked(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "import sdkit, sdkit.export, sdkit.runtime, sdkit.cli.main\n"
        "assert sdkit.__file__.startswith(sys.argv[1]), sdkit.__file__\n"
        "assert sdkit.runtime.Runtime is sdkit.Runtime\n"
        "from sdkit.export.hosts.web import FILES, PAGE\n"
        "assert all((PAGE / name).is_file() for name in FILES)\n"
        "print(sdkit.make_dataset('puppets', 'p.h5', count=2, split='test'))\n"
    )
    site = str((tmp_path / "site").resolve())
    result = subprocess.run(
        [sys.executable, "-c", code, site], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "p.h5").is_file()


def test_links_point_at_the_folders() -> None:
    for name in ("export", "runtime", "cli"):
        link = ROOT / "sdkit" / name
        if not link.is_symlink():
            pytest.skip("a checkout without links")
        assert link.readlink() == Path("..") / name
    assert (ROOT / "export" / "page").readlink() == Path("..") / PAGE
