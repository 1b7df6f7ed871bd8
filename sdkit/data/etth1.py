"""ETTh1 and its sibling ETTh2 (Zhou et al. 2021): hourly loads of a power transformer and its oil temperature.

A sequence is the first 28 days of a month, T = 28 windows of W = 24 hours of six loads. Its target is each day's mean
oil temperature, which is to be predicted and not part of the input. The last month, 2018-06, is incomplete in the data
and is left out.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdkit.data.reading import TABLE, read_file
from sdkit.data.said import NOTHING, UNKNOWN, Said
from sdkit.data.tables import DAY, DAYS, Table, full_months, read_table, shuffled, year_and_month
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter

LOADS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL")
"""Names of the loads: high, middle and low, useful and useless of each; the authors state no unit."""
OIL = "OT"
MONTHS = np.arange("2016-07", "2018-06", dtype="datetime64[M]")
MONTH = Factor("month", "static", tuple(f"{month:02}" for month in range(1, 13)))
YEAR = Factor("year", "static", ("2016", "2017", "2018"))
TRAIN_SHARE = 0.85
FILE = "ETTh1.csv"
PUBLISHED = ("ETTh1", "ETTh2")
"""Names of the published tables of this form."""

Parts = Mapping[str, list[int]]


def make(
    source: str | Path,
    path: str | Path,
    *,
    split: str = "test-2016",
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Write 23 months in order of time, loads as recorded and daily mean oil temperatures (N, 28, 1) in degC.

    Args:
        source: ETTh1.csv, the folder that holds it, or another table of this form. The file is named after its table;
            of one that is not published no origin and no licence are known.
        path: the file to write.
        split: `test-2016` is that of the public code: the six months of 2016 for testing, the other 17 shuffled, 14
            for training and 3 for validation. `months-12-4-4` is the one that the paper prints, in calendar months
            and order of time: 2016-07 to 2017-06 for training, 2017-07 to 2017-10 for validation and 2017-11 to
            2018-02 for testing; the last three months are then in no split.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress and notes.

    Raises:
        ConfigError: another `split`.
        MissingFileError: the file is not there.
        FileFormatError: a missing column, hour or month, or a cell that is not a number.
        OutputExistsError: `path` exists and `force` is off.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split '{split}'; choose one of {', '.join(SPLITS)}")
    reporter = reporter or Quiet()
    file = _file(Path(source))
    with SequenceWriter(path, said.of(_meta(file)), compression=compression, force=force) as writer:
        table = read_table(read_file(file, TABLE), str(file), ("date", *LOADS, OIL))
        rows = _months(table)
        loads = np.stack([table.numbers(name) for name in LOADS], axis=1).astype(np.float32)
        oil = table.numbers(OIL)
        writer.write(
            np.stack([loads[part].reshape(DAYS, DAY, len(LOADS)) for part in rows]),
            labels=labels(),
            targets=np.stack([oil[part].reshape(DAYS, DAY, 1).mean(1) for part in rows]).astype(np.float32),
        )
        parts = SPLITS[split]()
        writer.splits(parts)
        reporter.note(
            f"kept the first {DAYS} days of {len(rows)} months, {MONTHS[0]} to {MONTHS[-1]}: {len(rows) * DAYS * DAY} "
            f"of {len(table.lines)} hours; dropped days 29 to 31, and {MONTHS[-1] + 1}, which is not whole"
        )
        for name, index in parts.items():
            reporter.note(f"{name}: {', '.join(str(month) for month in MONTHS[sorted(index)])}")
    return Path(path)


def labels() -> NDArray[np.int64]:
    """Return labels (N, 2): month and year."""
    return np.array([(month - 1, year - 2016) for year, month in map(year_and_month, MONTHS)])


def _test_2016() -> Parts:
    year = MONTHS.astype("datetime64[Y]")
    train, val = shuffled(np.flatnonzero(year > np.datetime64("2016")).tolist(), TRAIN_SHARE)
    return {"train": train, "val": val, "test": np.flatnonzero(year == np.datetime64("2016")).tolist()}


def _months_12_4_4() -> Parts:
    return {"train": list(range(12)), "val": list(range(12, 16)), "test": list(range(16, 20))}


SPLITS: dict[str, Callable[[], Parts]] = {"test-2016": _test_2016, "months-12-4-4": _months_12_4_4}


def _meta(file: Path) -> SequenceMeta:
    published = file.stem in PUBLISHED
    element = Element("series", (DAY, len(LOADS)), "float32", ("load, unit not stated",), LOADS)
    return SequenceMeta(
        element,
        file.stem.lower(),
        (MONTH, YEAR),
        source=f"{file.stem} of github.com/zhouhaoyi/ETDataset (Zhou et al. 2021)" if published else file.name,
        licence="CC-BY-ND-4.0" if published else UNKNOWN,
        extra={
            "step": "1 hour",
            "target_names": json.dumps(["oil temperature, mean of the day"]),
            "target_units": json.dumps(["degC"]),
        },
    )


def _file(source: Path) -> Path:
    file = source / FILE if source.is_dir() else source
    if not file.is_file():
        raise MissingFileError(f"{file} does not exist; expected {FILE} or the folder that holds it")
    return file


def _months(table: Table) -> list[slice]:
    hours = table.column("date", _hour, "a full hour such as 2016-07-01 00:00:00").astype("datetime64[h]")
    rows = full_months(table, hours)
    absent = [str(month) for month in MONTHS if month not in rows]
    if absent:
        raise FileFormatError(f"{table.name} holds no whole {absent[0]}; expected {MONTHS[0]} to {MONTHS[-1]}")
    return [rows[month] for month in MONTHS]


def _hour(cell: str) -> float:
    """Return the hours since 1970 of a cell."""
    hours, rest = divmod(datetime.fromisoformat(cell).replace(tzinfo=UTC).timestamp(), 3600)
    if rest:
        raise ValueError(cell)
    return hours
