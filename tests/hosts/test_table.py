"""The table of hosts: a wrong, missing or worse result is seen."""

import json
import math
import subprocess

import pytest

from tests.hosts.bad import BAD
from tests.hosts.golden import KEPT
from tests.hosts.table import PAGE, REFUSED, SPOILT, Cell, Column, counted, joined, parsed, rows, show

ROWS = rows(json.loads((KEPT / "golden.json").read_text()))


def full() -> Column:
    return Column("host", {name: Cell(True, 0.0) for results in ROWS.values() for name in results if name != PAGE})


def test_lines_of_programs_are_read_and_the_worst_counts() -> None:
    lines = (
        "ok   image encode()/static            largest difference 9.54e-07 of (3,5)\n"
        "ok   image encode()/static            largest difference 2.00e-06, allowed 1e-05 + 0.0001 |value|\n"
        "BAD  image decode()/x                 largest difference nan, allowed 0.0255 + 0.0001 |value|\n"
        "ok   image decode()/x                 largest difference 9.00e-01, allowed 0.0255 + 0.0001 |value|\n"
        "all results agree\n"
    )
    cells = parsed(subprocess.CompletedProcess([], 1, lines, ""))
    assert cells["image encode()/static"] == Cell(True, 2e-6)
    assert not cells["image decode()/x"].fits
    assert set(cells) == {"image encode()/static", "image decode()/x"}


def test_differences_are_told_in_the_units_of_the_data() -> None:
    column = full()
    column.cells["image swap()/a_with_b"] = Cell(True, 0.0255)
    cell = joined(column, ROWS["swap()"])
    assert cell is not None
    assert cell.fits
    assert cell.largest == pytest.approx(1e-4)


def test_a_missing_result_is_bad(capsys: pytest.CaptureFixture[str]) -> None:
    assert show([full()])
    assert "BAD" not in capsys.readouterr().out
    column = full()
    del column.cells["series stream()/dynamic"]
    assert not show([column])
    assert capsys.readouterr().out.count("BAD, missing") == 1
    for name in (name for results in ROWS.values() for name in results if name != PAGE):
        column = full()
        column.cells[name] = Cell(False, math.nan)
        assert not show([column]), name


def test_a_skipped_host_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert show([full(), Column("other", reason="no compiler")])
    out = capsys.readouterr().out
    assert "other was skipped: no compiler" in out
    assert out.count("skipped") == len(ROWS) + 1


def test_every_bad_bundle_must_be_refused() -> None:
    assert (counted([True, True]).fits, counted([True, True]).words) == (True, "2 of 2 refused")
    assert not counted([True, False]).fits
    assert set(SPOILT) <= set(BAD)
    assert ROWS[REFUSED] == {REFUSED: 1.0}
