"""PhysioNet 2012, on made-up patients whose values are known, and on the real ones."""

import io
import shutil
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest

from sdkit.data import make_dataset, physionet
from sdkit.data.tables import read_table
from sdkit.runtime.errors import (
    ConfigError,
    DataError,
    FileFormatError,
    MissingFileError,
    OutputExistsError,
    SdkitError,
)
from sdkit.runtime.storage.sequences import SequenceFile
from tests.notes import Notes
from tests.real_data import real_data

NAMES = ("DiasABP", "GCS", "HCT", "MAP", "NIDiasABP", "NIMAP", "NISysABP", "RespRate", "SysABP", "Temp")
HEADER = "Time,Parameter,Value\n"


@cache
def patient(record: int, hours: int = 48, features: int = 10, care: int = 1) -> str:
    """Return the text of a patient: feature f is 30 + f + hour / 100, twice an hour with the same mean."""
    rows = [f"00:00,RecordID,{record}", "00:00,Age,54", f"00:00,ICUType,{care}", "00:00,Weight,-1", "00:00,HR,80"]
    for hour in range(hours):
        for f, name in enumerate(NAMES[:features]):
            middle = 30 + f + hour / 100
            rows += [f"{hour:02}:10,{name},{middle - 0.5:.2f}", f"{hour:02}:50,{name},{middle + 0.5:.2f}"]
    return HEADER + "\n".join([*rows, f"{hours:02}:00,HR,81"]) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of twelve patients: 103 is too short, 107 has too little observed, 105 lacks one feature."""
    root = tmp_path / "physionet"
    (root / "set-a").mkdir(parents=True)
    outcomes = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n"
    for record in range(100, 112):
        hours = {103: 39, 104: 40, 106: 46}.get(record, 48)
        features = {105: 4, 107: 3}.get(record, 10)
        text = patient(record, hours, features, care=record % 4 + 1)
        (root / "set-a" / f"{record}.txt").write_text(text)
        outcomes += f"{record},6,1,5,-1,{int(record in (102, 111))}\n"
    (root / "Outcomes-a.txt").write_text(outcomes)
    return root


def packed(folder: Path, ending: str) -> Path:
    """Pack set-a/ beside itself, in another order, and remove it."""
    path = folder / f"set-a{ending}"
    mode = {".gz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        archive.add(folder / "set-a", "set-a", recursive=False)
        for file in sorted((folder / "set-a").iterdir(), reverse=True):
            archive.add(file, f"set-a/{file.name}")
            file.unlink()
    (folder / "set-a").rmdir()
    return path


def made(source: Path) -> dict[str, list[object]]:
    """Make a file, and return all it holds."""
    path = physionet.make(source, source.parent / "made.h5", compression="none", force=True)
    with h5py.File(path) as file:
        return {name: file[name][:].tolist() for name in file if name != "data"} | {"data": [file["data"][:].tobytes()]}


def test_the_file(folder: Path, tmp_path: Path) -> None:
    notes = Notes()
    path = physionet.make(folder, tmp_path / "p.h5", reporter=notes)
    with SequenceFile(path) as file:
        assert (file.count, file.steps, file.element.describe()) == (10, 12, "series (4, 10) float32")
        assert file.element.feature_names == NAMES
        assert file.element.units[0] == "mmHg"
        assert file.element.units[-1] == "degC"
        assert (file.meta.name, file.meta.licence) == ("physionet", "ODC-By-1.0")
        assert file.handle.attrs["step"] == "1 hour"
        assert [f.name for f in file.factors] == ["mortality", "icu_type"]
        records = file.handle["record_id"][:].tolist()
        assert records == [100, 101, 102, 104, 105, 106, 108, 109, 110, 111]
        labels, lengths = file.labels(), file.lengths()
        assert labels is not None
        assert lengths is not None
        assert labels.tolist() == [[int(r in (102, 111)), r % 4] for r in records]
        assert lengths.tolist() == [12, 12, 12, 10, 12, 12, 12, 12, 12, 12]
        parts = [file.split(name) for name in ("test", "train", "val")]
        assert [part.tolist() for part in parts if part is not None] == [[0, 1], [3, 4, 5, 6, 7, 8], [2, 9]]
        x = file.read([0, 3, 4, 5]).reshape(4, 48, 10)
    expected = 30 + np.arange(10) + np.arange(48)[:, None] / 100
    np.testing.assert_allclose(x[0], expected, atol=1e-4)
    assert np.isnan(x[1, 40:]).all()
    np.testing.assert_allclose(x[1, :40], expected[:40], atol=1e-4)
    assert np.isnan(x[2, :, 4:]).all()
    assert not np.isnan(x[2, :, :4]).any()
    assert np.isnan(x[3, 46:]).all()  # half a window
    assert not np.isnan(x[3, :46]).any()
    assert notes.lines == [
        "kept 10 of 12 patients; dropped 1 with more than 60% of the hourly cells not observed and 1 with fewer than "
        "40 hours",
        "6 patients are for training, 2 for validation, 2 for testing",
    ]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.xz"])
def test_an_archive_holds_the_same_patients(folder: Path, ending: str) -> None:
    expected = made(folder)
    archive = packed(folder, ending)
    assert made(folder) == expected
    assert made(archive) == expected


def test_files_of_other_names_are_passed_over(folder: Path) -> None:
    expected = made(folder)
    for name in ("._100.txt", "README.txt", "100.csv"):
        (folder / "set-a" / name).write_bytes(b"\0")
    assert made(folder) == expected


def test_hours_begin_at_the_first_measurement() -> None:
    rows = [
        "00:00,Weight,80",
        "00:30,Weight,80",
        "01:29,GCS,15",
        "01:30,GCS,10",
        "02:29,GCS,12",
        "02:30,HR,70",
        "03:29,GCS,3",
    ]
    table = read_table((HEADER + "\n".join(rows)).encode(), "p", ("Time", "Parameter", "Value"))
    hours = physionet.hourly(table)
    assert hours.shape == (2, 10)  # 00:30 to 01:29 and 01:30 to 02:29; the 59 minutes after them are no full hour
    np.testing.assert_array_equal(hours[:, 1], [15, 11])
    assert np.isnan(np.delete(hours, 1, axis=1)).all()


def test_a_patient_who_is_only_described_has_no_hours() -> None:
    table = read_table(f"{HEADER}00:00,ICUType,1\n00:00,Age,70\n".encode(), "p", ("Time", "Parameter", "Value"))
    assert physionet.hourly(table).shape == (0, 10)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DiasABP", -1, np.nan),
        ("DiasABP", 0.9, np.nan),
        ("DiasABP", 1, 1),
        ("DiasABP", 200, 200),
        ("DiasABP", 201, np.nan),
        *((name, 0, np.nan) for name in ("MAP", "NIDiasABP", "NIMAP", "NISysABP", "RespRate", "SysABP")),
        *((name, 250, 250) for name in ("MAP", "NIDiasABP", "NIMAP", "NISysABP", "RespRate", "SysABP")),
        ("GCS", 0, 0),
        ("HCT", 0, 0),
        ("Temp", 37.2, 37.2),
        ("Temp", 98.6, 37),
        ("Temp", 2.8, 37.04),
        ("Temp", 95, np.nan),
        ("Temp", 113, np.nan),
        ("Temp", 1, np.nan),
        ("Temp", 10, np.nan),
        ("Temp", 24.9, np.nan),
        ("Temp", 25, 25),
        ("Temp", 45, 45),
        ("Temp", 45.1, np.nan),
        ("Temp", -17.8, np.nan),
    ],
)
def test_cleaning(name: str, value: float, expected: float) -> None:
    found = physionet.clean(np.array([float(value)]), np.array([NAMES.index(name)]))
    np.testing.assert_allclose(found, [expected], rtol=1e-12)


def _write(name: str, text: str | bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)

    return change


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def _cut(ending: str, share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = packed(folder, ending)
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return change


def _twice(folder: Path) -> None:
    with tarfile.open(packed(folder, ".tar"), "a") as archive:
        data = patient(108).encode()
        member = tarfile.TarInfo("elsewhere/108.txt")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


BROKEN = {
    "no outcomes": (_remove("Outcomes-a.txt"), MissingFileError, r"Outcomes-a\.txt is missing"),
    "no set": (lambda f: (f / "set-a").rename(f / "set-d"), MissingFileError, r"holds neither set-a/ nor set-a\.tar"),
    "no outcomes of the set": (
        lambda f: (f / "set-a").rename(f / "set-b"),
        MissingFileError,
        r"Outcomes-b\.txt is missing; it holds the outcomes of set-b",
    ),
    "empty set": (
        lambda f: [p.unlink() for p in (f / "set-a").iterdir()],
        MissingFileError,
        r"set-a lacks 12 of 12 patients, the first 100\.txt",
    ),
    "a patient missing": (
        _remove("set-a/104.txt"),
        MissingFileError,
        r"set-a lacks 1 of 12 patients, the first 104\.txt",
    ),
    "no outcome": (_replace("Outcomes-a.txt", "104,6", "999,6"), DataError, r"104\.txt: patient 104 has no row in Out"),
    "outcome": (
        _replace("Outcomes-a.txt", "102,6,1,5,-1,1", "102,6,1,5,-1,2"),
        FileFormatError,
        r"Outcomes-a\.txt: line 4, column In-hospital_death: '2' is not 0 or 1",
    ),
    "record": (
        _replace("Outcomes-a.txt", "102,6", "x,6"),
        FileFormatError,
        r"line 4, column RecordID: 'x' is not a whole",
    ),
    "outcomes' column": (
        _replace("Outcomes-a.txt", "In-hospital_death", "death"),
        FileFormatError,
        r"Outcomes-a\.txt has no column 'In-hospital_death'; it has: RecordID",
    ),
    "no care unit": (_replace("set-a/104.txt", "ICUType", "Height"), DataError, r"104\.txt: ICUType is ''; expected 1"),
    "care unit": (_replace("set-a/104.txt", "ICUType,1", "ICUType,5"), DataError, r"104\.txt: ICUType is '5'"),
    "value": (
        _replace("set-a/104.txt", "GCS,30.50", "GCS,high"),
        FileFormatError,
        r"104\.txt: line 9, column Value: 'high' is not a number",
    ),
    **{
        f"time {time}": (
            _replace("set-a/104.txt", "00:10,DiasABP", f"{time},DiasABP"),
            FileFormatError,
            rf"104\.txt: line 7, column Time: '{time}' is not a time hh:mm from 00:00 to 48:00",
        )
        for time in ("noon", "48:01", "00:60", "-1:00", "1:2:3")
    },
    "empty patient": (_write("set-a/104.txt", ""), FileFormatError, r"104\.txt holds no row"),
    "a patient cut off": (_write("set-a/104.txt", f"{HEADER}00:00,ICU"), FileFormatError, r"104\.txt: line 2 has 2"),
    "no tar": (
        lambda f: packed(f, ".tar.gz").write_bytes(b"no tar at all" * 99),
        FileFormatError,
        r"set-a\.tar\.gz is not a tar archive that can be read to its end",
    ),
    **{
        f"half a {ending}": (_cut(ending, share), SdkitError, rf"set-a\{ending} (is not a tar|lacks)")
        for ending in (".tar", ".tar.gz", ".tar.xz")
        for share in (0.3, 0.6, 0.9)
    },
    "a patient twice": (_twice, DataError, r"elsewhere/108\.txt: patient 108 is there twice"),
    "nobody": (
        lambda f: [(f / "set-a" / f"{r}.txt").write_text(patient(r, 30)) for r in range(100, 112)],
        DataError,
        r"no patient has 40 hours with enough observed",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_copy_is_told_in_one_line(folder: Path, tmp_path: Path, case: str) -> None:
    change, error, message = BROKEN[case]
    change(folder)
    with pytest.raises(error, match=message) as caught:
        physionet.make(folder, tmp_path / "p.h5")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["physionet"]


@pytest.mark.parametrize("letter", ["b", "c"])
@pytest.mark.parametrize("how", ["folder", "set", "archive", "other name"])
def test_a_sibling_set_is_named_as_what_it_is(folder: Path, tmp_path: Path, letter: str, how: str) -> None:
    archive = packed(folder, ".tar.xz") if how in ("archive", "other name") else None
    name = f"set-{letter}.tar.xz" if how == "archive" else "patients.tar.xz"
    renamed = (archive or folder / "set-a").rename(folder / (name if archive else f"set-{letter}"))
    (folder / "Outcomes-a.txt").rename(folder / f"Outcomes-{letter}.txt")
    path = physionet.make(folder if how == "folder" else renamed, tmp_path / "p.h5")
    with SequenceFile(path) as file:
        assert file.meta.source.startswith(f"PhysioNet/CinC Challenge 2012, set {letter.upper()} (")
        assert file.count == 10


def test_of_several_sets_one_is_chosen(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "set-a", folder / "set-b")
    (folder / "set-b" / "100.txt").write_text(patient(100, 30))
    shutil.copy(folder / "Outcomes-a.txt", folder / "Outcomes-b.txt")
    notes = Notes()
    first = physionet.make(folder, tmp_path / "a.h5", reporter=notes)
    assert notes.lines[0].endswith("holds the sets a, b; set a is taken, set=a says so")
    second = make_dataset("physionet", tmp_path / "b.h5", source=folder, set="b", name="mine", licence="ours")
    with SequenceFile(first) as a, SequenceFile(second) as b:
        assert (a.count, b.count) == (10, 9)
        assert "set A" in a.meta.source
        assert "set B" in b.meta.source
        assert (b.meta.name, b.meta.licence) == ("mine", "ours")
    with pytest.raises(ConfigError, match=r"physionet holds set a and b, not set c"):
        physionet.make(folder, tmp_path / "c.h5", set="c")
    with pytest.raises(ConfigError, match=r"unknown set 'd'; choose one of a, b, c"):
        physionet.make(folder, tmp_path / "c.h5", set="d")


def test_outputs_and_sources(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent does not exist; expected a folder with set-a/"):
        physionet.make(tmp_path / "absent", tmp_path / "p.h5")
    (tmp_path / "p.h5").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"p\.h5 exists already"):
        physionet.make(folder, tmp_path / "p.h5")


def test_the_real_patients(tmp_path: Path) -> None:
    notes = Notes()
    path = physionet.make(real_data("physionet2012"), tmp_path / "p.h5", compression="none", reporter=notes)
    assert notes.lines[0].startswith("kept 1900 of 4000 patients; dropped 2039 with more than 60%")
    assert "and 61 with fewer than 40 hours" in notes.lines[0]
    with SequenceFile(path) as file:
        labels, lengths = file.labels(), file.lengths()
        train, val, test = (file.split(name) for name in ("train", "val", "test"))
        assert labels is not None
        assert lengths is not None
        assert train is not None
        assert val is not None
        assert test is not None
        assert (len(train), len(val), len(test)) == (1216, 304, 380)
        assert test.tolist() == list(range(380))
        assert [int(labels[part, 0].sum()) for part in (train, val, test)] == [162, 35, 40]
        shares = np.bincount(labels[test, 1]) / 380
        np.testing.assert_allclose(shares, [0.113, 0.263, 0.300, 0.324], atol=5e-4)
        assert (lengths.min(), lengths.max()) == (10, 12)
        x = file.read(slice(None))
        records = file.handle["record_id"][:]
    assert (np.diff(records) > 0).all()
    # Of the 80 rows that the original pads to, 26.5 % of the cells are observed.
    assert (~np.isnan(x)).sum() / (1900 * 80 * 10) == pytest.approx(0.2653, abs=1e-4)
    low, high = np.nanmin(x, (0, 1, 2)), np.nanmax(x, (0, 1, 2))
    middle = dict(zip(NAMES, np.nanmedian(x, (0, 1, 2)), strict=True))
    assert low[-1] >= 25
    assert high[-1] <= 45
    assert (low[1], high[1]) == (3, 15)
    assert middle["Temp"] == pytest.approx(37, abs=0.3)
    assert middle["DiasABP"] == pytest.approx(59, abs=3)
    assert middle["SysABP"] == pytest.approx(118, abs=5)
