"""Nothing compares the name of a kind of element but the files of that kind: what differs is asked of the object."""

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdkit.runtime import kinds

ROOT = Path(__file__).parents[3]
ROOMS = ("runtime/kinds", "sdkit/elements", "sdkit/figures")
"""Folders with a file a kind."""
OWN = {f"{room}/{name}.py" for room in ROOMS for name in kinds.names()}


def sources() -> Iterator[Path]:
    """Yield the source files of the four layers; links, as those in sdkit/ to the other three, are not followed."""
    for layer in ("runtime", "export", "cli", "sdkit"):
        for folder, _, names in os.walk(ROOT / layer):
            yield from (Path(folder, name) for name in sorted(names) if name.endswith(".py"))


def named(node: ast.AST) -> set[str]:
    """Return the names of kinds that stand in an expression as texts."""
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and n.value in kinds.names()}


def branches(text: str) -> list[int]:
    """Return the lines that compare with the name of a kind, match it, or hold a table or a type of several of them."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Compare):
            compared = any(named(side) for side in (node.left, *node.comparators))
        elif isinstance(node, ast.MatchValue | ast.MatchOr):
            compared = bool(named(node))
        elif isinstance(node, ast.Dict):
            compared = len({n for key in node.keys if key is not None for n in named(key)}) > 1
        elif isinstance(node, ast.Subscript):
            of_type = isinstance(node.value, ast.Name) and node.value.id == "Literal"
            compared = bool(named(node.slice)) and (of_type or isinstance(node.slice, ast.Constant))
        else:
            continue
        if compared:
            found.append(node.lineno)
    return sorted(found)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('a = element.kind == "image"', [1]),
        ('a = 1\nb = "series" != element.kind', [2]),
        ('a = kind in ("spectrum", "other")', [1]),
        ('match kind:\n    case "vector":\n        pass', [2]),
        ('Kind = Literal["image", "series"]', [1]),
        ('SIZES = {"image": 3, "series": 4}', [1]),
        ('widths = WIDTHS["image"]', [1]),
        ('a = Element("image", (3, 4, 4), "uint8")\nb = {"image": "a picture"}\nc = kind == "static"', []),
    ],
)
def test_what_is_a_branch(text: str, lines: list[int]) -> None:
    assert branches(text) == lines


def test_nothing_branches_on_the_name_of_a_kind() -> None:
    paths = {path.relative_to(ROOT).as_posix(): path for path in sources()}
    assert set(paths) >= OWN
    found = {name: branches(path.read_text("utf-8")) for name, path in paths.items() if name not in OWN}
    assert {name: lines for name, lines in found.items() if lines} == {}
