"""Beijing's air, on three made-up months of three stations, and on the real tables."""

import json
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from itertools import chain
from pathlib import Path

import h5py
import numpy as np
import pytest

from sdkit.data import air_quality
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

HEADER = "No,year,month,day,hour,PM2.5,PM10,SO2,NO2,CO,O3,TEMP,PRES,DEWP,RAIN,wd,WSPM,station"
FEATURES = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3", "TEMP", "PRES", "DEWP", "WSPM")
STATIONS = ("Dongsi", "Tiantan", "Wanliu")
START, END = datetime(2015, 11, 1), datetime(2016, 2, 1)
ZIP = "PRSA2017_Data_20130301-20170228.zip"


@cache
def text(station: str) -> str:
    """Return a table: feature f is hour + 3000 * station + f / 16, rain a quarter of an hour's number; some are NA."""
    place, rows = STATIONS.index(station), [",".join(f'"{name}"' for name in HEADER.split(","))]
    for r in range(int((END - START).total_seconds()) // 3600):
        time = START + timedelta(hours=r)
        cells = [str(r + 3000 * place + f / 16) for f in range(10)]
        cells[9:] = [str(r / 4), '"NNW"', cells[9], f'"{station}"']
        if r == 5:
            cells[2] = "NA"
        if r < 24 or r == 30:  # a day without any rain gauge, and an hour of the next
            cells[9] = "NA"
        rows.append(",".join([str(r + 1), str(time.year), str(time.month), str(time.day), str(time.hour), *cells]))
    return "\n".join(rows) + "\n"


def name(station: str) -> str:
    return f"PRSA_Data_{station}_20130301-20170228.csv"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of three stations, which are all that there are here, in as many months."""
    monkeypatch.setattr(air_quality, "STATIONS", STATIONS)
    monkeypatch.setattr(air_quality, "MONTHS", np.arange("2015-11", "2016-02", dtype="datetime64[M]"))
    root = tmp_path / "air"
    root.mkdir()
    for station in STATIONS:
        (root / name(station)).write_text(text(station))
    return root


def zipped(folder: Path, prefix: str = "") -> Path:
    """Pack the tables into a zip in the same folder and remove them."""
    path = folder / ZIP
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.glob("*.csv")):
            archive.write(file, prefix + file.name)
            archive.writestr(f"__MACOSX/._{file.name}", b"\0")
            file.unlink()
    return path


def nested(folder: Path) -> Path:
    """Pack the zip into another one, as UCI ships it."""
    inner, path = zipped(folder, "PRSA_Data_20130301-20170228/"), folder / "uci.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, inner.name)
        archive.writestr("data.csv", "other")
    inner.unlink()
    return path


def content(source: Path, output: Path) -> bytes:
    with h5py.File(air_quality.make(source, output, compression="none", force=True)) as file:
        return b"".join(np.asarray(file[name][:]).tobytes() for name in sorted(file))


def test_the_file(folder: Path, tmp_path: Path) -> None:
    notes = Notes()
    path = air_quality.make(folder, tmp_path / "a.h5", reporter=notes)
    with SequenceFile(path) as file:
        assert (file.count, file.steps, file.element.describe()) == (9, 28, "series (24, 10) float32")
        assert file.element.feature_names == FEATURES
        assert dict(zip(FEATURES, file.element.units, strict=True))["PRES"] == "hPa"
        assert (file.meta.name, file.meta.licence) == ("air-quality", "CC-BY-4.0")
        assert json.loads(file.handle.attrs["target_names"]) == ["rain, sum of the day"]
        assert json.loads(file.handle.attrs["target_units"]) == ["mm"]
        assert file.handle.attrs["step"] == "1 hour"
        labels, targets, x = file.labels(), file.targets(), file.read(slice(None))
        assert labels is not None
        assert targets is not None
        named = [tuple(f.values[i] for f, i in zip(file.factors, row, strict=True)) for row in labels.tolist()]
        parts = {part: file.split(part) for part in ("train", "val", "test")}
    months = [("11", "autumn", "2015"), ("12", "winter", "2015"), ("01", "winter", "2016")]
    assert named == [(month, station, season, year) for month, season, year in months for station in STATIONS]
    first = np.array([0, 30 * 24, 61 * 24])
    hours = first[:, None, None] + np.arange(672)
    expected = (hours + 3000 * np.arange(3)[:, None])[..., None] + np.arange(10) / 16
    expected[0, :, 5, 2] = np.nan
    np.testing.assert_array_equal(x.reshape(3, 3, 672, 10), expected)
    rain = np.broadcast_to(hours / 4, (3, 3, 672)).reshape(9, 28, 24).sum(2)
    rain[:3, 0] = np.nan
    rain[:3, 1] -= 30 / 4
    np.testing.assert_allclose(targets[..., 0], rain, rtol=1e-6)
    assert {key: part.tolist() for key, part in parts.items() if part is not None} == {
        "train": [0, 1, 2, 4, 5],
        "val": [3],
        "test": [6, 7, 8],
    }
    assert notes.lines == [
        "kept the first 28 days of 3 months at 3 stations: 9 sequences, 0.0% of the cells not observed; dropped no "
        "month, since each has 28 days",
        "splits: 5 train, 1 val, 3 test; test is 2016, validation is random and shares its weather with training; "
        "validation=year holds out a whole year",
    ]


@pytest.mark.parametrize("pack", [zipped, nested, lambda f: zipped(f, "PRSA_Data_20130301-20170228/")])
def test_zips_hold_the_same_tables(folder: Path, tmp_path: Path, pack: Callable[[Path], Path]) -> None:
    expected = content(folder, tmp_path / "a.h5")
    path = pack(folder)
    assert content(path, tmp_path / "a.h5") == expected
    assert content(folder, tmp_path / "a.h5") == expected  # a folder of the zip


def test_tables_may_lie_one_folder_down(folder: Path, tmp_path: Path) -> None:
    expected = content(folder, tmp_path / "a.h5")
    (tmp_path / "above").mkdir()
    folder.rename(tmp_path / "above" / "PRSA_Data_20130301-20170228")
    assert content(tmp_path / "above", tmp_path / "a.h5") == expected


def test_labels_and_splits_of_all_months() -> None:
    labels, shuffled, year = air_quality.labels(), air_quality.splits("shuffled"), air_quality.splits("year")
    years = 2013 + labels[:, 3]
    assert labels.shape == (576, 4)
    assert np.bincount(labels[:, 0]).tolist() == [48] * 12
    assert np.bincount(labels[:, 1]).tolist() == [48] * 12
    assert np.bincount(labels[:, 2]).tolist() == [144] * 4
    assert np.bincount(labels[:, 3]).tolist() == [120, 144, 144, 144, 24]
    assert {name: len(part) for name, part in shuffled.items()} == {"train": 367, "val": 65, "test": 144}
    assert {name: len(part) for name, part in year.items()} == {"train": 288, "val": 144, "test": 144}
    for parts in (shuffled, year):
        assert sorted(chain.from_iterable(parts.values())) == list(range(576))
        assert set(years[parts["test"]]) == {2016}
    assert set(years[year["val"]]) == {2015}
    assert set(years[year["train"]]) == {2013, 2014, 2017}


def _edit(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        assert old in text("Tiantan")
        (folder / name("Tiantan")).write_text(text("Tiantan").replace(old, new, 1))

    return change


def _cut(pack: Callable[[Path], Path], share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = pack(folder)
        data = path.read_bytes()
        path.write_bytes(data[: int(share * len(data))])

    return change


def _damage(folder: Path) -> None:
    path = zipped(folder)
    data = bytearray(path.read_bytes())
    data[5000:5100] = bytes(100)
    path.write_bytes(data)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


BROKEN: dict[str, tuple[Callable[[Path], object], type[SdkitError], str]] = {
    "empty folder": (
        _empty,
        MissingFileError,
        r"air holds no PRSA_Data_\*\.csv of Dongsi, Tiantan, Wanliu; expected 3 stations",
    ),
    "a station missing": (
        lambda f: (f / name("Tiantan")).unlink(),
        MissingFileError,
        r"air holds no PRSA_Data_\*\.csv of Tiantan; expected 3 stations",
    ),
    "a station twice": (
        lambda f: (f / name("Tiantan_2")).write_text(text("Tiantan")),
        DataError,
        r"Tiantan_2.*csv: there is another table of station Tiantan in .*air",
    ),
    "another station": (_edit("Tiantan", "Peking"), FileFormatError, "station holds 'Peking', 'Tiantan'; expected one"),
    "column": (_edit("PRES", "pressure"), FileFormatError, r"Tiantan.*csv has no column 'PRES'; it has: No, year"),
    "cell": (_edit("3000.0625", "wet"), FileFormatError, r"Tiantan.*line 2, column PM10: 'wet' is not a number or NA"),
    "rain": (_edit(",NA,", ",much,"), FileFormatError, r"Tiantan.*line 2, column RAIN: 'much' is not a number or NA"),
    "clock": (
        _edit(",2015,11,1,3,", ",2015,11,1,noon,"),
        FileFormatError,
        r"line 5, column hour: 'noon' is not a whole",
    ),
    "hour": (_edit(",2015,11,1,3,", ",2015,11,1,4,"), FileFormatError, r"line 5 is of 2015-11-01T04h; expected .*T03h"),
    "row": (_edit(",2015,11,1,3,", ",2015,11,1,"), FileFormatError, r"Tiantan.*line 5 has 17 cells; expected 18"),
    "months": (
        lambda f: (f / name("Tiantan")).write_text(text("Tiantan")[:100_000]),
        FileFormatError,
        r"Tiantan.*(holds no whole 2015-12; expected 2015-11 to 2016-01|line \d+ has \d+ cells)",
    ),
    "no zip": (lambda f: zipped(f).write_text("no zip"), FileFormatError, rf"{ZIP} is not a zip that can be read"),
    "half a zip": (_cut(zipped, 0.5), FileFormatError, rf"{ZIP} is not a zip that can be read to its end"),
    "half a nested zip": (_cut(nested, 0.5), FileFormatError, r"uci\.zip is not a zip that can be read to its end"),
    "damaged zip": (
        _damage,
        FileFormatError,
        rf"{ZIP}: PRSA_Data_Dongsi.*csv is not a file that can be read",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_copy_is_told_in_one_line(folder: Path, tmp_path: Path, case: str) -> None:
    change, error, message = BROKEN[case]
    change(folder)
    with pytest.raises(error, match=message) as caught:
        air_quality.make(folder, tmp_path / "a.h5")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["air"]


def test_sources_outputs_and_validation(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent does not exist; expected UCI's zip or a folder of PRSA"):
        air_quality.make(tmp_path / "absent", tmp_path / "a.h5")
    with pytest.raises(ConfigError, match="unknown validation 'month'; choose one of shuffled, year"):
        air_quality.make(folder, tmp_path / "a.h5", validation="month")
    (tmp_path / "a.h5").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"a\.h5 exists already"):
        air_quality.make(folder, tmp_path / "a.h5")


def test_the_real_tables(tmp_path: Path) -> None:
    path = air_quality.make(real_data("air_quality"), tmp_path / "a.h5", compression="none")
    with SequenceFile(path) as file:
        x, labels, targets = file.read(slice(None)), file.labels(), file.targets()
        assert labels is not None
        assert targets is not None
        assert {part: len(file.select(part)) for part in ("train", "val", "test")} == {
            "train": 367,
            "val": 65,
            "test": 144,
        }
    assert x.shape == (576, 28, 24, 10)
    assert np.isnan(x).mean() == pytest.approx(0.017, abs=5e-4)
    first = {"PM2.5": 4, "PM10": 4, "SO2": 4, "NO2": 7, "CO": 300, "O3": 77, "TEMP": -0.7, "PRES": 1023, "DEWP": -18.8}
    np.testing.assert_allclose(x[0, 0, 0], [*first.values(), 4.4], rtol=1e-6)
    temperature = [np.nanmean(x[labels[:, 0] == month, ..., 6]) for month in range(12)]
    assert temperature[0] == pytest.approx(-3, abs=1.5)
    assert temperature[6] == pytest.approx(27, abs=1.5)
    assert not np.isnan(targets).any()
    assert targets.min() == 0
    rain = targets[labels[:, 2] == 2].mean() / targets[labels[:, 2] == 0].mean()
    assert rain > 20  # Beijing's rain falls in summer
