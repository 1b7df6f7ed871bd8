"""docs/architecture.md names the rooms that there are, and no function or file outgrows them."""

import ast
import re
from pathlib import Path
from statistics import median

from sdkit import methods

ROOT = Path(__file__).parents[1]
FOLDERS = ("cli", "export", "runtime", "sdkit")
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
LONGEST = 60


def rooms() -> set[str]:
    """Return every package of the four folders, as a path with a slash at its end; links are left out."""
    linked = {"sdkit/cli/", "sdkit/export/", "sdkit/runtime/", "export/page/"}
    found = {f"{file.parent.relative_to(ROOT)}/" for folder in FOLDERS for file in (ROOT / folder).rglob("__init__.py")}
    kept = {room for room in found if not any(room.startswith(link) for link in linked)}
    return kept - {"export/", "sdkit/", "runtime/", "cli/"}


def drawn() -> set[str]:
    """Return the rooms of the page's drawing: an indented name belongs to the line above that is not."""
    block = PAGE.split("```")[1]
    outer, found = "", set()
    for line in block.strip().splitlines():
        name = line.split()[0]
        if line.startswith(" "):
            found.add(outer + name)
        else:
            outer = name
            found.add(name)
    return found - {"export/", "runtime/", "cli/"}


def sources() -> list[Path]:
    """Return every module of the four folders, once."""
    return [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py") if not _linked(file)]


def _linked(file: Path) -> bool:
    return any(part.is_symlink() for part in (file, *file.parents) if ROOT in part.parents)


def test_the_drawing_shows_every_room_and_no_other() -> None:
    assert drawn() == rooms()


def test_every_file_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`((?:sdkit|runtime|export|cli|tests)/[\w/.-]+?\.py)`", PAGE))
    assert named
    missing = [name for name in named if "<" not in name and not (ROOT / name).is_file()]
    assert not missing
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGE) if "://" not in link]
    assert all((ROOT / "docs" / link).exists() for link in links)


def test_the_page_of_methods_has_every_method() -> None:
    page = (ROOT / "docs" / "methods.md").read_text("utf-8")
    own = [name for name in methods.names() if methods.find(name).__module__.startswith("sdkit.methods")]
    assert own
    assert [name for name in own if f"| `{name}` |" not in page or f"\n## {name}\n" not in page] == []


def test_every_room_says_what_it_is_for() -> None:
    for room in rooms():
        module = ast.parse((ROOT / room / "__init__.py").read_text("utf-8"))
        assert ast.get_docstring(module), room


def test_functions_stay_short() -> None:
    lengths: dict[str, int] = {}
    for file in sources():
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                lengths[f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}
    ordered = sorted(lengths.values())
    assert median(ordered) <= 8
    assert ordered[int(0.9 * len(ordered))] <= 25
