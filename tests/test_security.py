"""SECURITY.md names a test for what it says; each of them is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text("utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)?(?:::(test_\w+))?`")


def named() -> list[tuple[str, str]]:
    """Return file and function of every test; one without a file is in the file named before it."""
    found, file = [], ""
    for path, function in NAMED.findall(TEXT):
        file = path or file
        found.append((file, function))
    return found


def test_many_are_named() -> None:
    assert len(named()) > 25


@pytest.mark.parametrize(("file", "function"), named())
def test_each_is_there(file: str, function: str) -> None:
    text = (ROOT / file).read_text("utf-8")
    assert re.search(rf"^def {function}\(" if function else r"^def test_", text, re.MULTILINE)


def test_each_row_that_promises_something_names_a_test() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) > 20
    for row in rows:
        assert NAMED.search(row) or "**Not prevented.**" in row or "**Not prevented**" in row, row
