"""Shared parts of makers from tables: cells that are checked one by one, whole months of hours, the seeded shuffle."""

import csv
import io
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.errors import FileFormatError

Hours = NDArray[np.datetime64]
DAY = 24
DAYS = 28
"""Number of days of a sequence that is cut from a month: every month has them."""
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
                raise FileFormatError(f"{self.name}: line {line}, column {name}: '{cell}' is not {expected}") from error
        return np.fromiter(map(values.__getitem__, cells), np.float64, len(cells))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column of finite numbers, (R,)."""
        return self.column(name, number, "a number")

    def whole(self, name: str) -> NDArray[np.int64]:
        """Return a column of whole numbers, (R,)."""
        return self.column(name, int, "a whole number").astype(np.int64)


def read_table(data: bytes, name: str, columns: Sequence[str]) -> Table:
    """Return some columns of a comma-separated text; blank lines are skipped.

    Raises:
        FileFormatError: not text, no row, a column that is missing, or a row with more or fewer cells than the header.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileFormatError(f"{name} is not a text of comma-separated cells: {error}") from error
    if len(rows) < 2:
        raise FileFormatError(f"{name} holds no row; expected a header line with {', '.join(columns)}, then rows")
    (_, header), *rows = rows
    for column in columns:
        if column not in header:
            raise FileFormatError(f"{name} has no column '{column}'; it has: {', '.join(header)}")
    for line, row in rows:
        if len(row) != len(header):
            raise FileFormatError(f"{name}: line {line} has {len(row)} cells; expected {len(header)}, as in the header")
    places = {column: header.index(column) for column in columns}
    cells = {column: [row[place] for _, row in rows] for column, place in places.items()}
    return Table(name, [line for line, _ in rows], cells)


def number(cell: str) -> float:
    """Return a finite number, or raise ValueError."""
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


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
