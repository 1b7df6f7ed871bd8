"""PhysioNet/CinC Challenge 2012: 48 hours of 4,000 intensive-care stays a set, for mortality and type of care unit.

Cleaning, hourly means, the ten features and what is kept follow the public preprocessing of the benchmark (Tonekaboni
et al. 2022, whose protocol the paper adopts). A sequence is T = 12 windows of W = 4 hours; the original pads to 20
windows, of which the last eight are padding for every patient.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdkit.data.reading import TABLE, read_file, shown, tar_files
from sdkit.data.said import NOTHING, Said
from sdkit.data.tables import Table, read_table, shuffled
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError, MissingFileError
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter

Floats = NDArray[np.float64]

WINDOW, WINDOWS = 4, 12
HOURS = WINDOW * WINDOWS
LEAST_HOURS, MOST_MISSING = 40, 0.6
"""Least number of hours and largest share of cells not observed of a patient that is kept."""
TEST_SHARE, TRAIN_SHARE = 0.2, 0.8
"""Share of the test split in the kept patients, and of the training split in the others."""
FEATURES = {
    "DiasABP": "mmHg",
    "GCS": "points",
    "HCT": "%",
    "MAP": "mmHg",
    "NIDiasABP": "mmHg",
    "NIMAP": "mmHg",
    "NISysABP": "mmHg",
    "RespRate": "breaths/min",
    "SysABP": "mmHg",
    "Temp": "degC",
}
"""Features and their units, in the order of the columns."""
LIMITS = {
    "DiasABP": (1, 200),
    "MAP": (1, np.inf),
    "NIDiasABP": (1, np.inf),
    "NIMAP": (1, np.inf),
    "NISysABP": (1, np.inf),
    "RespRate": (1, np.inf),
    "SysABP": (1, np.inf),
    "Temp": (25, 45),
}
"""Ranges of plausible values; values outside are recording errors and count as not observed."""
DESCRIPTORS = ("RecordID", "Age", "Gender", "Height", "ICUType", "Weight")
"""Parameters that describe the patient where they stand at 00:00; they are not measurements."""
MORTALITY = Factor("mortality", "static", ("survived", "died"))
ICU_TYPE = Factor("icu_type", "static", ("coronary care", "cardiac surgery recovery", "medical", "surgical"))
SETS = ("a", "b", "c")
"""Sets of the challenge, of 4,000 patients each; the published results are of the first."""
PATIENT = 1 << 20
"""Most bytes of a patient's table; the largest published one has 60 thousand."""
PATIENT_FILE = re.compile(r"\d{1,15}\.txt", re.ASCII)
"""Name of a patient's table."""
ARCHIVES = (".tar.gz", ".tar.xz", ".tar", ".tgz", ".tar.bz2")


def make(
    source: str | Path,
    path: str | Path,
    *,
    set: str | None = None,
    said: Said = NOTHING,
    compression: str = "gzip",
    force: bool = False,
    reporter: Reporter | None = None,
) -> Path:
    """Write the kept patients in ascending order of their record, in the units of the challenge, NaN = not observed.

    The file holds `data` (N, 12, 4, 10), `lengths` (N,) windows, `labels` of mortality and type of care unit, and
    `record_id` (N,). The first 20 % are the test split; the rest is shuffled, 80 % train and 20 % validation.

    Args:
        source: a folder with set-a/ (or set-a.tar, .tar.gz, .tar.xz) and Outcomes-a.txt, or one of these sets, with the
            outcomes beside it; b and c likewise.
        path: the file to write.
        set: letter of the set, `a`, `b` or `c`; by default the one that the source names, of several the first.
        said: words of the user about the data.
        compression: `gzip`, `lz4` or `none`.
        force: replace an existing file.
        reporter: receives progress and notes on which patients are dropped and why.

    Raises:
        ConfigError: another set, or not that of the source.
        MissingFileError: the source, its set, its outcomes or a patient of the outcomes is missing.
        FileFormatError: an archive or a table that is damaged, named by line and column.
        DataError: a patient twice, without outcome or without type of care unit; no patient is kept.
        OutputExistsError: `path` exists and `force` is off.
    """
    reporter = reporter or Quiet()
    letter, patients, outcomes = _find(Path(source), set, reporter)
    with SequenceWriter(path, said.of(_meta(letter)), compression=compression, force=force) as writer:
        kept, labels = _keep(patients, _deaths(outcomes), reporter)
        records = sorted(kept)
        writer.write(
            np.stack([windows(kept[record]) for record in records]),
            labels=np.array([labels[record] for record in records]),
            lengths=np.array([-(-len(kept[record]) // WINDOW) for record in records]),
            record_id=np.array(records),
        )
        test = int(TEST_SHARE * len(records))
        train, val = shuffled(range(test, len(records)), TRAIN_SHARE)
        writer.splits({"train": train, "val": val, "test": range(test)})
        reporter.note(f"{len(train)} patients are for training, {len(val)} for validation, {test} for testing")
    return Path(path)


def clean(values: Floats, features: NDArray[np.int64]) -> Floats:
    """Return values (R,), each of the feature of this number, with corrected temperatures and NaN for errors."""
    temperature = features == list(FEATURES).index("Temp")
    twice = temperature & (values > 1) & (values < 10)  # taken for Fahrenheit, and therefore converted once too often
    fahrenheit = temperature & (values > 95) & (values < 113)
    values = np.where(twice, values * 9 / 5 + 32, np.where(fahrenheit, (values - 32) * 5 / 9, values))
    low, high = np.array([LIMITS.get(name, (-np.inf, np.inf)) for name in FEATURES]).T
    return np.where((values < low[features]) | (values > high[features]), np.nan, values)


def hourly(table: Table) -> Floats:
    """Return means (R, 10) of each full hour since the patient's first measurement, NaN where there was none.

    Raises:
        FileFormatError: a time or a value that is not one.
    """
    minutes = table.column("Time", _minutes, "a time hh:mm from 00:00 to 48:00").astype(np.int64)
    values, names = table.numbers("Value"), table.cells["Parameter"]
    measured = np.array([minute > 0 or name not in DESCRIPTORS for minute, name in zip(minutes, names, strict=True)])
    if not measured.any():
        return np.empty((0, len(FEATURES)))
    first = minutes[measured].min()
    hours = int(minutes[measured].max() - first) // 60
    numbers = {name: i for i, name in enumerate(FEATURES)}
    features = np.array([numbers.get(name, -1) for name in names])
    values = clean(values, features)
    used = (features >= 0) & (minutes < first + 60 * hours) & ~np.isnan(values)
    cells = (minutes[used] - first) // 60 * len(FEATURES) + features[used]
    counts = np.bincount(cells, minlength=hours * len(FEATURES))
    sums = np.bincount(cells, values[used], minlength=hours * len(FEATURES))
    means: Floats = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    return means.reshape(hours, len(FEATURES))


def windows(hours: Floats) -> NDArray[np.float32]:
    """Return hours (R, 10) as windows (12, 4, 10), NaN beyond the last hour."""
    out = np.full((HOURS, len(FEATURES)), np.nan, np.float32)
    out[: len(hours)] = hours
    return out.reshape(WINDOWS, WINDOW, len(FEATURES))


def _meta(letter: str) -> SequenceMeta:
    element = Element("series", (WINDOW, len(FEATURES)), "float32", tuple(FEATURES.values()), tuple(FEATURES))
    return SequenceMeta(
        element,
        "physionet",
        (MORTALITY, ICU_TYPE),
        source=f"PhysioNet/CinC Challenge 2012, set {letter.upper()} (Silva et al., Comput Cardiol 2012;39:245-248)",
        licence="ODC-By-1.0",
        extra={"step": "1 hour"},
    )


def _find(source: Path, wanted: str | None, reporter: Reporter) -> tuple[str, Path, Path]:
    """Return the letter of the set, the folder or archive of its patients, and the file of their outcomes."""
    if wanted not in (None, *SETS):
        raise ConfigError(f"unknown set '{wanted}'; choose one of {', '.join(SETS)}")
    if not source.exists():
        raise MissingFileError(
            f"{source} does not exist; expected a folder with set-a/ and Outcomes-a.txt, or set-a.tar.gz"
        )
    there = _sets(source)
    if not there:
        raise MissingFileError(
            f"{source} holds neither set-a/ nor set-a.tar, set-a.tar.gz or set-a.tar.xz, nor those of sets b and c"
        )
    if wanted is not None and wanted not in there:
        raise ConfigError(f"{source} holds set {' and '.join(there)}, not set {wanted}")
    letter = wanted or next(iter(there))
    if len(there) > 1 and wanted is None:
        reporter.note(f"{source} holds the sets {', '.join(there)}; set {letter} is taken, set={letter} says so")
    patients = there[letter]
    outcomes = patients.parent / f"Outcomes-{letter}.txt"
    if not outcomes.is_file():
        raise MissingFileError(f"{outcomes} is missing; it holds the outcomes of {patients.name}")
    return letter, patients, outcomes


def _sets(source: Path) -> dict[str, Path]:
    """Return the folder or archive of each set that there is, by letter.

    An archive of another name is of a set whose outcomes are beside it: patients of others have no row there.
    """
    names = {letter: [f"set-{letter}", *(f"set-{letter}{ending}" for ending in ARCHIVES)] for letter in SETS}
    if source.is_file():
        named = [letter for letter in SETS if source.name in names[letter]]
        beside = [letter for letter in SETS if (source.parent / f"Outcomes-{letter}.txt").is_file()]
        return dict.fromkeys(named or beside or SETS[:1], source)
    for letter in SETS:
        if source.name == f"set-{letter}" and any(source.glob("*.txt")):
            return {letter: source}
    places = {letter: [source / name for name in names[letter] if (source / name).exists()] for letter in SETS}
    return {letter: found[0] for letter, found in places.items() if found}


def _deaths(outcomes: Path) -> dict[int, int]:
    """Return 1 for each record with a death in hospital and 0 for the others."""
    table = read_table(read_file(outcomes, TABLE), str(outcomes), ("RecordID", "In-hospital_death"))
    died = table.column("In-hospital_death", _flag, "0 or 1").astype(int)
    return dict(zip(table.whole("RecordID").tolist(), died.tolist(), strict=True))


def _keep(
    patients: Path, deaths: dict[int, int], reporter: Reporter
) -> tuple[dict[int, Floats], dict[int, tuple[int, int]]]:
    """Return the hours and the labels of the patients that are kept, by record."""
    kept: dict[int, Floats] = {}
    labels: dict[int, tuple[int, int]] = {}
    short = missing = 0
    reporter.start("reading patients", len(deaths))
    try:
        for record, table in _tables(patients):
            labels[record] = _labels(record, table, deaths, labels)
            hours = hourly(table)
            if len(hours) < LEAST_HOURS:
                short += 1
            elif np.isnan(hours).mean() > MOST_MISSING:
                missing += 1
            else:
                kept[record] = hours
            reporter.advance()
    finally:
        reporter.finish()
    absent = sorted(set(deaths) - set(labels))
    if absent:
        raise MissingFileError(f"{patients} lacks {len(absent)} of {len(deaths)} patients, the first {absent[0]}.txt")
    reporter.note(
        f"kept {len(kept)} of {len(labels)} patients; dropped {missing} with more than {MOST_MISSING:.0%} of the "
        f"hourly cells not observed and {short} with fewer than {LEAST_HOURS} hours"
    )
    if not kept:
        raise DataError(f"{patients}: no patient has {LEAST_HOURS} hours with enough observed; nothing can be written")
    return kept, labels


def _labels(record: int, table: Table, deaths: dict[int, int], seen: dict[int, tuple[int, int]]) -> tuple[int, int]:
    if record in seen:
        raise DataError(f"{table.name}: patient {record} is there twice")
    if record not in deaths:
        raise DataError(f"{table.name}: patient {record} has no row in Outcomes-*.txt")
    care = dict(zip(table.cells["Parameter"], table.cells["Value"], strict=True)).get("ICUType", "")
    if care not in ("1", "2", "3", "4"):
        raise DataError(f"{table.name}: ICUType is '{shown(care)}'; expected 1, 2, 3 or 4")
    return deaths[record], int(care) - 1


def _tables(patients: Path) -> Iterator[tuple[int, Table]]:
    for name, place, data in _folder(patients) if patients.is_dir() else tar_files(patients, _is_patient, PATIENT):
        yield int(name.partition(".")[0]), read_table(data, place, ("Time", "Parameter", "Value"))


def _is_patient(name: str) -> bool:
    return PATIENT_FILE.fullmatch(name) is not None


def _folder(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    for path in sorted(folder.glob("*.txt")):
        if _is_patient(path.name):
            yield path.name, str(path), read_file(path, PATIENT)


def _minutes(cell: str) -> float:
    hours, minutes = cell.split(":")
    value = 60 * int(hours) + int(minutes)
    if not 0 <= value <= 60 * HOURS or int(minutes) >= 60:
        raise ValueError(cell)
    return value


def _flag(cell: str) -> float:
    if cell not in ("0", "1"):
        raise ValueError(cell)
    return int(cell)
