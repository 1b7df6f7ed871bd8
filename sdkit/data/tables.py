"""Shared parts of makers from tables: cells that are checked one by one, whole months of hours, the seeded shuffle."""

import csv
import io
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from sdkit.data.reading import library, listed, shown
from sdkit.runtime.errors import FileFormatError

Hours = NDArray[np.datetime64]
DAY = 24
DAYS = 28
"""Number of days of a sequence that is cut from a month: every month has them."""
EXACT = 1 << 53
"""Largest magnitude of a whole number of a table: up to here every one has a float64 of its own."""
ROWS = 4096
"""Number of rows that are parsed at a time."""
SEED = 1234
"""Seed of the shuffle that separates training from validation in every protocol of hourly tables."""


@dataclass(frozen=True)
class Table:
    """A comma-separated text with a header line, its cells still texts."""

    name: str
    """Name in messages: its path, or its archive and its name in it."""
    lines: Sequence[int]
    """Number of the line of each row in the text."""
    cells: Mapping[str, Sequence[str]]
    """Cells of the requested columns."""

    def column(self, name: str, parse: Callable[[str], float], expected: str) -> NDArray[np.float64]:
        """Return a column as numbers, (R,).

        Args:
            name: name of the column.
            parse: function that converts a cell to a number or raises ValueError.
            expected: description of a valid cell, for the message.

        Raises:
            FileFormatError: a cell that `parse` refuses, named by line and column.
        """
        cells, values = self.cells[name], {}
        for cell in dict.fromkeys(cells):  # few cells differ, so each is parsed once
            try:
                values[cell] = parse(cell)
            except ValueError as error:
                line = self.lines[cells.index(cell)]
                raise FileFormatError(
                    f"{self.name}: line {line}, column {name}: '{shown(cell)}' is not {expected}"
                ) from error
        return np.fromiter(map(values.__getitem__, cells), np.float64, len(cells))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column of finite numbers, (R,)."""
        return self.column(name, number, "a number")

    def whole(self, name: str, least: int = -EXACT, most: int = EXACT) -> NDArray[np.int64]:
        """Return a column of whole numbers from `least` to `most`, (R,)."""

        def parse(cell: str) -> float:
            value = int(_plain(cell))
            if not least <= value <= most:
                raise ValueError(cell)
            return value

        bounds = "" if (least, most) == (-EXACT, EXACT) else f" from {least} to {most}"
        return self.column(name, parse, f"a whole number{bounds}").astype(np.int64)


def read_table(data: bytes, name: str, columns: Sequence[str]) -> Table:
    """Return some columns of a comma-separated text; blank lines are skipped.

    Raises:
        FileFormatError: not text, no row, a column that is missing, or a row with more or fewer cells than the header.
    """
    rows = _rows(data, name)
    header = next(rows, (0, []))[1]
    first = next(rows, None)
    if first is None:
        raise FileFormatError(f"{name} holds no row; expected a header line with {', '.join(columns)}, then rows")
    for column in columns:
        if header.count(column) != 1:
            there = f"has no column '{column}'; it has" if column not in header else f"has '{column}' twice among"
            raise FileFormatError(f"{name} {there}: {listed(header)}")
    places = [(header.index(column), list[str]()) for column in columns]
    lines = []
    for line, row in chain([first], rows):
        if len(row) != len(header):
            raise FileFormatError(f"{name}: line {line} has {len(row)} cells; expected {len(header)}, as in the header")
        lines.append(line)
        for place, kept in places:
            kept.append(row[place])
    return Table(name, lines, {column: kept for column, (_, kept) in zip(columns, places, strict=True)})


def _rows(data: bytes, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, and the numbers of their lines."""
    expected = "a text of comma-separated cells"
    with library(name, expected):
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    while True:
        with library(name, expected):
            rows = [(reader.line_num, row) for row in islice(reader, ROWS)]
        if not rows:
            return
        yield from ((line, row) for line, row in rows if row)


def number(cell: str) -> float:
    """Return a finite number, or raise ValueError."""
    value = float(_plain(cell))
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def _plain(cell: str) -> str:
    """Return a cell, or raise ValueError where Python reads a number that a table does not hold: 1_0 as 10."""
    if "_" in cell or not cell.isascii():
        raise ValueError(cell)
    return cell


def full_months(table: Table, hours: Hours) -> dict[np.datetime64, slice]:
    """Return the rows of the first 28 days of each month that has them all, by month.

    Args:
        table: table with the name and the lines for messages.
        hours: hour (R,) of each row.

    Raises:
        FileFormatError: an hour that does not follow the one before it.
    """
    gaps = np.flatnonzero(np.diff(hours) != np.timedelta64(1, "h"))
    if len(gaps):
        row = int(gaps[0]) + 1
        raise FileFormatError(
            f"{table.name}: line {table.lines[row]} is of {hours[row]}h; expected {hours[row - 1] + 1}h, the next hour"
        )
    months = hours.astype("datetime64[M]")
    starts = np.flatnonzero(hours == months)
    return {months[s]: slice(s, s + DAYS * DAY) for s in starts.tolist() if s + DAYS * DAY <= len(hours)}


def year_and_month(month: np.datetime64) -> tuple[int, int]:
    """Return a month as numbers: 1970-01 is (1970, 1)."""
    years, months = divmod(int(month.astype(np.int64)), 12)
    return 1970 + years, 1 + months


def shuffled(index: Iterable[int], share: float) -> tuple[list[int], list[int]]:
    """Return a share of some indices, rounded down, and the rest, shuffled by Python's generator seeded 1234."""
    order = list(index)
    random.Random(SEED).shuffle(order)
    cut = int(share * len(order))
    return order[:cut], order[cut:]
