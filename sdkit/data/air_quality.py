"""Beijing multi-site air quality (UCI 501, Zhang et al. 2017): twelve stations, hourly, 2013-03 to 2017-02.

A sequence is the first 28 days of one month at one station, T = 28 windows of W = 24 hours of ten features: 576 in all.
The month of the year is to be predicted; the rain of each day is a target that no feature holds.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sdkit.data.reading import PACKED, TABLE, Zip, open_zip, read_file, shown
from sdkit.data.said import NOTHING, Said
from sdkit.data.tables import DAY, DAYS, Hours, Table, full_months, number, read_table, shuffled, year_and_month
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter

Floats = NDArray[np.float32]

FEATURES = {
    "PM2.5": "ug/m3",
    "PM10": "ug/m3",
    "SO2": "ug/m3",
    "NO2": "ug/m3",
    "CO": "ug/m3",
    "O3": "ug/m3",
    "TEMP": "degC",
    "PRES": "hPa",
    "DEWP": "degC",
    "WSPM": "m/s",
}
"""Features and their units, in the order of the columns."""
RAIN = "RAIN"
CLOCK = {"year": (1, 9999), "month": (1, 12), "day": (1, 31), "hour": (0, 23)}
"""Columns of the time, and their least and largest values."""
STATIONS = (
    "Aotizhongxin",
    "Changping",
    "Dingling",
    "Dongsi",
    "Guanyuan",
    "Gucheng",
    "Huairou",
    "Nongzhanguan",
    "Shunyi",
    "Tiantan",
    "Wanliu",
    "Wanshouxigong",
)
MONTHS = np.arange("2013-03", "2017-03", dtype="datetime64[M]")
YEARS = (2013, 2014, 2015, 2016, 2017)
SEASONS = ("winter", "spring", "summer", "autumn")
"""Seasons of three months each, winter from December to February."""
TEST_YEAR, VALIDATION_YEAR = 2016, 2015
TRAIN_SHARE = 0.85
VALIDATIONS = ("shuffled", "year")
TABLES = "PRSA_Data_*.csv"


def make(
    source: str | Path,
    path: str | Path,
    *,
    validation: str = "shuffled",
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Write every month of every station, stations of a month side by side, in the units of the tables, NaN = missing.

    The file holds `data` (N, 28, 24, 10), `targets` (N, 28, 1) of rain in mm a day, the observed hours' sum, and
    `labels` of month, station, season and year. The months of 2016 are the test split.

    Args:
        source: the zip as UCI ships it (its inner zip also works), or a folder of it or of PRSA_Data_*.csv.
        path: the file to write.
        validation: `shuffled` is the published protocol: 15 % of the other sequences at random. Stations share the
            weather, so these months are in training too, seen from other stations, and validation looks far better
            than the test; `year` holds out all of 2015 instead.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress and notes.

    Raises:
        ConfigError: another `validation`.
        MissingFileError: the source or the table of a station is not there.
        FileFormatError: a damaged zip, a missing column, hour or month, or a cell that is neither a number nor NA.
        DataError: two tables of one station.
        OutputExistsError: `path` exists and `force` is off.
    """
    if validation not in VALIDATIONS:
        raise ConfigError(f"unknown validation '{validation}'; choose one of {', '.join(VALIDATIONS)}")
    reporter = reporter or Quiet()
    with SequenceWriter(path, said.of(_meta()), compression=compression, force=force) as writer:
        stations = _stations(Path(source), reporter)
        data, rain = (np.stack([stations[name][part] for name in STATIONS], axis=1) for part in (0, 1))
        data = data.reshape(-1, *data.shape[2:])
        writer.write(data, labels=labels(), targets=rain.reshape(-1, DAYS, 1))
        parts = splits(validation)
        writer.splits(parts)
        reporter.note(
            f"kept the first {DAYS} days of {len(MONTHS)} months at {len(STATIONS)} stations: {len(data)} sequences, "
            f"{np.isnan(data).mean():.1%} of the cells not observed; dropped no month, since each has {DAYS} days"
        )
        sizes = ", ".join(f"{len(index)} {name}" for name, index in parts.items())
        reporter.note(f"splits: {sizes}; test is {TEST_YEAR}, validation is {_VALIDATION_NOTES[validation]}")
    return Path(path)


def labels() -> NDArray[np.int64]:
    """Return (N, 4) labels: month, station, season, year."""
    return np.array(
        [
            (month - 1, station, month % 12 // 3, YEARS.index(year))
            for year, month in map(year_and_month, MONTHS)
            for station in range(len(STATIONS))
        ]
    )


def splits(validation: str) -> dict[str, list[int]]:
    """Return the indices of each split; `validation` is `shuffled` or `year`."""
    years = np.array([YEARS[year] for year in labels()[:, 3]])
    test = np.flatnonzero(years == TEST_YEAR).tolist()
    if validation == "year":
        val = np.flatnonzero(years == VALIDATION_YEAR).tolist()
        return {"train": np.setdiff1d(np.arange(len(years)), [*val, *test]).tolist(), "val": val, "test": test}
    train, val = shuffled(np.flatnonzero(years != TEST_YEAR).tolist(), TRAIN_SHARE)
    return {"train": train, "val": val, "test": test}


_VALIDATION_NOTES = {
    "shuffled": "random and shares its weather with training; validation=year holds out a whole year",
    "year": f"{VALIDATION_YEAR}",
}


def _meta() -> SequenceMeta:
    element = Element("series", (DAY, len(FEATURES)), "float32", tuple(FEATURES.values()), tuple(FEATURES))
    return SequenceMeta(
        element,
        "air-quality",
        (
            Factor("month", "static", tuple(f"{month:02}" for month in range(1, 13))),
            Factor("station", "static", STATIONS),
            Factor("season", "static", SEASONS),
            Factor("year", "static", tuple(map(str, YEARS))),
        ),
        source="UCI 501, Beijing Multi-Site Air Quality (Zhang et al., Proc. R. Soc. A 473:20170457, 2017)",
        licence="CC-BY-4.0",
        extra={
            "step": "1 hour",
            "target_names": json.dumps(["rain, sum of the day"]),
            "target_units": json.dumps(["mm"]),
        },
    )


def _stations(source: Path, reporter: Reporter) -> dict[str, tuple[Floats, Floats]]:
    """Return (months, 28, 24, 10) features and (months, 28) rain of each station."""
    found: dict[str, tuple[Floats, Floats]] = {}
    reporter.start("reading stations", len(STATIONS))
    try:
        for name, data in _folder(source) if source.is_dir() else _zip(source):
            table = read_table(data, name, (*CLOCK, *FEATURES, RAIN, "station"))
            station = _station(table)
            if station in found:
                raise DataError(f"{name}: there is another table of station {station} in {source}")
            found[station] = _months(table)
            reporter.advance()
    finally:
        reporter.finish()
    absent = [name for name in STATIONS if name not in found]
    if absent:
        raise MissingFileError(f"{source} holds no {TABLES} of {', '.join(absent)}; expected {len(STATIONS)} stations")
    return found


def _station(table: Table) -> str:
    names = set(table.cells["station"])
    if len(names) != 1 or not names <= set(STATIONS):
        some = ", ".join(f"'{shown(name)}'" for name in sorted(names)[:3])
        raise FileFormatError(f"{table.name}: column station holds {some}; expected one of {', '.join(STATIONS)}")
    return names.pop()


def _months(table: Table) -> tuple[Floats, Floats]:
    rows = full_months(table, _hours(table))
    absent = [str(month) for month in MONTHS if month not in rows]
    if absent:
        raise FileFormatError(f"{table.name} holds no whole {absent[0]}; expected {MONTHS[0]} to {MONTHS[-1]}")
    columns = [table.column(name, _number_or_missing, "a number or NA") for name in (*FEATURES, RAIN)]
    values = np.stack(columns, axis=1).astype(np.float32)
    cut = np.stack([values[rows[month]] for month in MONTHS]).reshape(len(MONTHS), DAYS, DAY, len(columns))
    rain = cut[..., -1]
    # The rain of a day without any observed hour is unknown, not zero.
    daily = np.where(np.isnan(rain).all(-1), np.nan, np.nansum(rain, axis=-1))
    return np.ascontiguousarray(cut[..., :-1]), daily.astype(np.float32)


def _hours(table: Table) -> Hours:
    year, month, day, hour = (table.whole(name, least, most) for name, (least, most) in CLOCK.items())
    months = (12 * (year - 1970) + month - 1).astype("datetime64[M]")
    hours: Hours = months.astype("datetime64[h]") + (DAY * (day - 1) + hour).astype("timedelta64[h]")
    return hours


def _number_or_missing(cell: str) -> float:
    return np.nan if cell == "NA" else number(cell)


def _folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    tables = sorted([*folder.glob(TABLES), *folder.glob(f"*/{TABLES}")])
    for path in tables:
        yield str(path), read_file(path, TABLE)
    if not tables:
        for path in sorted(folder.glob("*.zip")):
            yield from _zip(path)


def _zip(path: Path) -> Iterator[tuple[str, bytes]]:
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; expected UCI's zip or a folder of {TABLES}")
    with open_zip(path) as archive:
        yield from _members(archive, nested=True)


def _members(archive: Zip, *, nested: bool) -> Iterator[tuple[str, bytes]]:
    # UCI packs the zip of the tables into another one; nothing deeper is read.
    tables = sorted(name for name in archive.names if fnmatch(PurePosixPath(name).name, TABLES))
    for name in tables:
        yield archive.where(name), archive.read(name, TABLE)
    if nested and not tables:
        for name in archive.names:
            if name.endswith(".zip"):
                data = archive.read(name, PACKED)
                yield from _members(Zip(BytesIO(data), archive.where(name), len(data)), nested=False)
