"""ETTh1, on a made-up table whose values are known, and on the real one."""

import json
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest

from sdkit.data import etth1, make_dataset
from sdkit.runtime.errors import ConfigError, FileFormatError, MissingFileError, OutputExistsError
from sdkit.runtime.storage.sequences import SequenceFile
from tests.notes import Notes
from tests.real_data import real_data

HOURS = 17420
LOADS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL")


@cache
def text() -> str:
    """Return a table of the real one's hours: load f in hour r is r + f / 8, the oil r / 4."""
    start = datetime(2016, 7, 1)
    rows = ["date,HUFL,HULL,MUFL,MULL,LUFL,LULL,OT"]
    for r in range(HOURS):
        loads = ",".join(str(r + f / 8) for f in range(6))
        rows.append(f"{start + timedelta(hours=r)},{loads},{r / 4}")
    return "\n".join(rows) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "etth1"
    root.mkdir()
    (root / "ETTh1.csv").write_text(text())
    return root


def test_the_file(folder: Path, tmp_path: Path) -> None:
    notes = Notes()
    path = etth1.make(folder, tmp_path / "e.h5", reporter=notes)
    with SequenceFile(path) as file:
        assert (file.count, file.steps, file.element.describe()) == (23, 28, "series (24, 6) float32")
        assert file.element.feature_names == LOADS
        assert (file.meta.name, file.meta.licence) == ("etth1", "CC-BY-ND-4.0")
        assert json.loads(file.handle.attrs["target_names"]) == ["oil temperature, mean of the day"]
        assert json.loads(file.handle.attrs["target_units"]) == ["degC"]
        assert file.handle.attrs["step"] == "1 hour"
        labels, targets, x = file.labels(), file.targets(), file.read(slice(None))
        assert labels is not None
        assert targets is not None
        named = [tuple(f.values[i] for f, i in zip(file.factors, row, strict=True)) for row in labels.tolist()]
        parts = {name: file.split(name) for name in ("train", "val", "test")}
    months = [(2016 + (6 + i) // 12, (6 + i) % 12 + 1) for i in range(23)]
    assert named == [(f"{month:02}", str(year)) for year, month in months]
    first = [int((datetime(year, month, 1) - datetime(2016, 7, 1)).total_seconds()) // 3600 for year, month in months]
    rows = np.array(first)[:, None] + np.arange(28 * 24)
    np.testing.assert_array_equal(x.reshape(23, 672, 6), rows[..., None] + np.arange(6) / 8)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets[..., 0], rows.reshape(23, 28, 24).mean(2) / 4, rtol=1e-6)
    assert {name: part.tolist() for name, part in parts.items() if part is not None} == {
        "test": [0, 1, 2, 3, 4, 5],
        "val": [6, 9, 20],
        "train": [7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22],
    }
    assert notes.lines == [
        "kept the first 28 days of 23 months, 2016-07 to 2018-05: 15456 of 17420 hours; dropped days 29 to 31, and "
        "2018-06, which is not whole",
        "train: 2017-02, 2017-03, 2017-05, 2017-06, 2017-07, 2017-08, 2017-09, 2017-10, 2017-11, 2017-12, 2018-01, "
        "2018-02, 2018-04, 2018-05",
        "val: 2017-01, 2017-04, 2018-03",
        "test: 2016-07, 2016-08, 2016-09, 2016-10, 2016-11, 2016-12",
    ]


def test_the_printed_split(folder: Path, tmp_path: Path) -> None:
    notes = Notes()
    path = etth1.make(folder / "ETTh1.csv", tmp_path / "e.h5", split="months-12-4-4", reporter=notes)
    with SequenceFile(path) as file:
        parts = [file.split(name) for name in ("train", "val", "test")]
        assert [part.tolist() for part in parts if part is not None] == [
            list(range(12)),
            list(range(12, 16)),
            list(range(16, 20)),
        ]
        assert file.count == 23
    assert notes.lines[-1] == "test: 2017-11, 2017-12, 2018-01, 2018-02"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: "", r"ETTh1\.csv holds no row"),
        (lambda t: t.replace("OT", "oil", 1), r"ETTh1\.csv has no column 'OT'; it has: date, HUFL"),
        (lambda t: t[: t.index("2018-05-20")], r"ETTh1\.csv holds no whole 2018-05; expected 2016-07 to 2018-05"),
        (lambda t: t[: t.index("2018-05-20") + 20], r"ETTh1\.csv: line 16514 has 2 cells; expected 8"),
        (lambda t: t.replace("0.375,", "high,", 1), r"line 2, column MULL: 'high' is not a number"),
        (lambda t: t.replace(",4.25\n", ",\n"), r"line 19, column OT: '' is not a number"),
        (
            lambda t: t.replace("2016-07-01 03:00:00", "01/07/2016 03:00"),
            r"line 5, column date: '01/07/2016 03:00' is not a full hour such as 2016-07-01 00:00:00",
        ),
        (
            lambda t: t.replace("07-01 03:00", "07-01 03:15"),
            r"line 5, column date: '2016-07-01 03:15:00' is not a full",
        ),
        (
            lambda t: t.replace("2016-07-01 03:00:00", "2016-07-01 04:00:00"),
            r"line 5 is of 2016-07-01T04h; expected 2016-07-01T03h, the next hour",
        ),
    ],
    ids=["empty", "column", "months", "row", "load", "oil", "date", "minute", "gap"],
)
def test_a_broken_copy_is_told_in_one_line(folder: Path, tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    broken = change(text())
    assert broken != text()
    (folder / "ETTh1.csv").write_text(broken)
    with pytest.raises(FileFormatError, match=message) as caught:
        etth1.make(folder, tmp_path / "e.h5")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["etth1"]


@pytest.mark.parametrize(
    ("name", "source", "licence"),
    [
        ("ETTh2", "ETTh2 of github.com/zhouhaoyi/ETDataset (Zhou et al. 2021)", "CC-BY-ND-4.0"),
        ("ours", "ours.csv", "unknown: see the data's own licence"),
    ],
)
def test_another_table_is_named_as_what_it_is(
    folder: Path, tmp_path: Path, name: str, source: str, licence: str
) -> None:
    file = (folder / "ETTh1.csv").rename(folder / f"{name}.csv")
    with SequenceFile(etth1.make(file, tmp_path / "e.h5")) as made:
        assert (made.meta.name, made.meta.source, made.meta.licence) == (name.lower(), source, licence)
    path = make_dataset("etth1", tmp_path / "f.h5", source=file, name="plant", origin="the plant", licence="ours")
    with SequenceFile(path) as made:
        assert (made.meta.name, made.meta.source, made.meta.licence) == ("plant", "the plant", "ours")


def test_sources_outputs_and_splits(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent does not exist; expected ETTh1\.csv or the folder"):
        etth1.make(tmp_path / "absent", tmp_path / "e.h5")
    with pytest.raises(MissingFileError, match=r"ETTh1\.csv does not exist"):
        etth1.make(tmp_path, tmp_path / "e.h5")
    with pytest.raises(ConfigError, match="unknown split 'months'; choose one of test-2016, months-12-4-4"):
        etth1.make(folder, tmp_path / "e.h5", split="months")
    (tmp_path / "e.h5").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"e\.h5 exists already"):
        etth1.make(folder, tmp_path / "e.h5")


def test_the_real_table(tmp_path: Path) -> None:
    path = etth1.make(real_data("etth1"), tmp_path / "e.h5", compression="none")
    with SequenceFile(path) as file:
        x, targets = file.read(slice(None)), file.targets()
        assert targets is not None
        np.testing.assert_array_equal(x[0, 0, :2, 0], np.array([5.827000141143799, 5.692999839782715], np.float32))
        assert not np.isnan(x).any()
        train, val, test = (file.split(name) for name in ("train", "val", "test"))
        assert train is not None
        assert val is not None
        assert test is not None
        assert (len(train), len(val), len(test)) == (14, 3, 6)
    # Figures of the published split: mean oil temperatures, and the error of telling training's median for every day.
    assert targets[test].mean() == pytest.approx(21.6, abs=0.05)
    assert targets[np.r_[train, val]].mean() == pytest.approx(10.6, abs=0.05)
    assert np.abs(targets[test] - np.median(targets[train])).mean() == pytest.approx(12.38, abs=0.3)
    with h5py.File(etth1.make(real_data("etth1"), tmp_path / "m.h5", split="months-12-4-4")) as file:
        printed = {name: file["targets"][:][file[f"{name}_indices"][:]].mean() for name in ("train", "test")}
    assert printed == {"train": pytest.approx(17.18, abs=0.01), "test": pytest.approx(4.58, abs=0.01)}
