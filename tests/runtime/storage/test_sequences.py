"""Round trips, MSD-Benchmark's layout, and a clear word for every file that cannot be used."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from sdkit.runtime.describe import describe_sequences
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError, FileFormatError, SdkitError
from sdkit.runtime.storage.sequences import SPLITS, Factor, SequenceFile, SequenceMeta, SequenceWriter
from tests.runtime.storage.changes import Change, attribute, put

IMAGE = Element("image", (3, 4, 4), "uint8", ("grey level",))
FLOATS = Element("image", (1, 4, 4), "float32")
SERIES = Element("series", (6, 2), "float32", ("mmHg", "bpm"), ("pressure", "pulse"))
SPECTRUM = Element("spectrum", (9,), "float32", ("dB",))
FACTORS = (Factor("skin", "static", ("ivory", "mint", "sky")), Factor("action", "dynamic", ("walk", "wave")))
CLASSES = {
    "action": {"index": 1, "type": "dynamic", "n_classes": 2, "ignore": False, "values": {"wave": 1, "walk": 0}},
    "skin": {
        "index": 0,
        "type": "static",
        "n_classes": 3,
        "ignore": False,
        "values": {"ivory": 0, "mint": 1, "sky": 2},
    },
}


def values(element: Element, count: int = 6, steps: int = 5) -> NDArray[Any]:
    rng = np.random.default_rng(count)
    shape = (count, steps, *element.shape)
    return rng.integers(0, 256, shape, np.uint8) if element.dtype == "uint8" else rng.random(shape, np.float32)


def write(path: Path, element: Element = IMAGE, compression: str = "gzip") -> Path:
    """Write 6 sequences in two batches, with everything that a file may hold."""
    meta = SequenceMeta(element, "figures", FACTORS, 12.5, "drawn", "CC0-1.0", {"note": "for tests"})
    x = values(element)
    labels = np.stack([np.arange(6) % 3, np.arange(6) % 2], 1)
    targets = np.arange(60, dtype=np.float32).reshape(6, 5, 2)
    lengths = np.array([2, 5, 3, 4, 5, 2])
    with SequenceWriter(path, meta, compression=compression) as writer:
        for part in (slice(0, 4), slice(4, 6)):
            writer.write(x[part], labels=labels[part], targets=targets[part], lengths=lengths[part])
        assert writer.count == 6
        writer.splits({"train": [4, 0, 2], "val": range(1, 2), "test": np.array([5, 3])})
    return path


def plain(path: Path, data: Any = None, **others: Any) -> Path:
    """Write a file as any program may write it."""
    with h5py.File(path, "w") as file:
        file["data"] = values(IMAGE) if data is None else data
        for name, value in others.items():
            file[name] = value
    return path


@pytest.mark.parametrize("element", [IMAGE, FLOATS, SERIES, SPECTRUM], ids=lambda e: e.kind + "-" + e.dtype)
@pytest.mark.parametrize("compression", ["gzip", "lz4", "none"])
def test_round_trip(tmp_path: Path, element: Element, compression: str) -> None:
    with SequenceFile(write(tmp_path / "x.h5", element, compression)) as file:
        assert (file.count, file.steps, file.element, file.factors) == (6, 5, element, FACTORS)
        assert (file.meta.name, file.meta.rate) == ("figures", 12.5)
        assert (file.meta.source, file.meta.licence) == ("drawn", "CC0-1.0")
        assert file.handle.attrs["note"] == "for tests"
        x = file.read(slice(None))
        np.testing.assert_array_equal(x, values(element))
        assert x.dtype == element.dtype
        assert file.nbytes == x.nbytes
        labels, lengths, targets = file.labels(), file.lengths(), file.targets()
        assert labels is not None
        assert lengths is not None
        assert targets is not None
        assert labels.tolist() == [[0, 0], [1, 1], [2, 0], [0, 1], [1, 0], [2, 1]]
        assert labels.dtype == np.int64
        assert lengths.tolist() == [2, 5, 3, 4, 5, 2]
        np.testing.assert_array_equal(targets, np.arange(60, dtype=np.float32).reshape(6, 5, 2))
        assert [file.select(split).tolist() for split in SPLITS] == [[0, 2, 4], [1], [3, 5]]
        assert file.select("all").tolist() == file.select(None).tolist() == list(range(6))
        file.check()


def test_a_file_without_extras_has_none(tmp_path: Path) -> None:
    with SequenceFile(plain(tmp_path / "x.h5")) as file:
        assert (file.labels(), file.lengths(), file.targets(), file.split("train")) == (None, None, None, None)
        assert (file.factors, file.meta.rate, file.meta.name, file.element.units) == ((), None, "", ())
        with pytest.raises(ConfigError, match=r"x\.h5 has no split 'val'; it has: none, or take 'all'"):
            file.select("val")


@pytest.mark.parametrize(
    ("shape", "kind"), [((2, 3, 3, 4, 4), "image"), ((2, 3, 6, 2), "series"), ((2, 3, 9), "spectrum")]
)
def test_kind_follows_from_the_axes_where_no_attribute_tells(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    with SequenceFile(plain(tmp_path / "x.h5", np.zeros(shape, np.float32))) as file:
        assert (file.element.kind, file.element.shape, file.element.dtype) == (kind, shape[2:], "float32")


def msd_file(path: Path) -> Path:
    """Write what MSD-Benchmark's own preparation writes, with plain h5py."""
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=values(IMAGE))
        file.create_dataset("labels", data=np.array([[0, 0], [1, 1], [2, 0], [0, 1], [1, 0], [2, 1]]))
        for name, index in (("train", [4, 0, 2]), ("val", [1]), ("test", [5, 3])):
            file.create_dataset(f"{name}_indices", data=np.array(index))
        file.attrs["classes"] = json.dumps(CLASSES)
    return path


def test_msd_benchmark_files_are_read_as_they_are(tmp_path: Path) -> None:
    with SequenceFile(msd_file(tmp_path / "msd.h5")) as file:
        assert file.factors == FACTORS
        assert (file.count, file.steps) == (6, 5)
        assert file.element == Element("image", (3, 4, 4), "uint8")
        labels = file.labels()
        assert labels is not None
        assert labels[3].tolist() == [0, 1]
        assert [file.select(split).tolist() for split in SPLITS] == [[0, 2, 4], [1], [3, 5]]
        np.testing.assert_array_equal(file.read(file.select("test")), values(IMAGE)[[3, 5]])


def test_msd_benchmark_can_read_our_files(tmp_path: Path) -> None:
    """Its reader takes these names, sorts the wanted rows before it reads them, and needs all five keys a factor."""
    with h5py.File(write(tmp_path / "x.h5"), "r") as file:
        classes = json.loads(file.attrs["classes"])
        assert classes == CLASSES
        assert {tuple(sorted(entry)) for entry in classes.values()} == {
            ("ignore", "index", "n_classes", "type", "values")
        }
        assert file["data"].shape == (6, 5, 3, 4, 4)
        assert file["labels"].shape == (6, 2)
        assert file["labels"].dtype == np.int64
        assert [file[f"{split}_indices"][:].tolist() for split in SPLITS] == [[0, 2, 4], [1], [3, 5]]
        index = file["test_indices"][:][[1, 0]]
        order = np.argsort(index)
        rows = file["data"][index[order]][np.argsort(order)]
        np.testing.assert_array_equal(rows, values(IMAGE)[[5, 3]])
        names = {v: k for k, v in classes["skin"]["values"].items()}
        assert names[int(file["labels"][5, classes["skin"]["index"]])] == "sky"


@pytest.mark.parametrize(
    "index", [[3], [5, 0, 3], [2, 2, 2], [0, 5, 0, 5], [4, 3, 2, 1, 0], [1, 2, 3], [0, 5], list[int]()], ids=str
)
@pytest.mark.parametrize("count", [6, 60])
def test_rows_come_in_the_order_asked_for(tmp_path: Path, index: list[int], count: int) -> None:
    rows = np.array(index, np.int64) * (count // 6)
    with SequenceFile(plain(tmp_path / "x.h5", values(IMAGE, count))) as file:
        if index:
            np.testing.assert_array_equal(file.read(rows), values(IMAGE, count)[rows])
            np.testing.assert_array_equal(file.read(rows.tolist()), values(IMAGE, count)[rows])
        else:
            with pytest.raises(DataError, match="is empty"):
                file.read(rows)


def test_slices_and_batches(tmp_path: Path) -> None:
    x = values(IMAGE)
    with SequenceFile(write(tmp_path / "x.h5")) as file:
        np.testing.assert_array_equal(file.read(slice(1, 4)), x[1:4])
        parts = list(file.batches(4))
        assert [index.tolist() for index, _ in parts] == [[0, 1, 2, 3], [4, 5]]
        np.testing.assert_array_equal(np.concatenate([batch for _, batch in parts]), x)
        (index, batch), *rest = file.batches(4, file.select("train"))
        assert (index.tolist(), rest) == ([0, 2, 4], [])
        np.testing.assert_array_equal(batch, x[[0, 2, 4]])


def changed(path: Path, change: Change) -> Path:
    """Write a good file, then change it."""
    write(path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def remove_data(file: h5py.File) -> None:
    del file["data"]


def group_data(file: h5py.File) -> None:
    del file["data"]
    file.create_group("data")


def link(name: str) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", name)

    return change


BAD: dict[str, tuple[Change, list[str]]] = {
    "no data": (remove_data, ["has no data set 'data'", "(N, T, *element)", "it holds: labels, lengths, targets, t"]),
    "data is a group": (group_data, ["'data' is a group", "(N, T, *element)"]),
    "too few axes": (put("data", np.zeros((6, 5), np.uint8)), ["'data' has shape (6, 5)", "(N, T, C, H, W)"]),
    "too many axes": (put("data", np.zeros((6, 5, 3, 4, 4, 1), np.uint8)), ["shape (6, 5, 3, 4, 4, 1)", "(N, T, F)"]),
    "other kind": (put("data", np.zeros((6, 5, 9), np.float32)), ["shape (6, 5, 9)", "(N, T, C, H, W)"]),
    "unknown kind": (attribute("element", "video"), ["'data' has shape (6, 5, 3, 4, 4)", "(N, T, C, H, W)"]),
    "float64": (put("data", np.zeros((6, 5, 3, 4, 4))), ["'data' is float64", "expected uint8 or float32"]),
    "int32": (put("data", np.zeros((6, 5, 3, 4, 4), np.int32)), ["'data' is int32", "expected uint8 or float32"]),
    "channels last": (
        put("data", np.zeros((6, 5, 4, 4, 3), np.uint8)),
        ["(6, 5, 4, 4, 3), channels last", "expected (N, T, C, H, W)"],
    ),
    "no sequence": (put("data", np.zeros((0, 5, 3, 4, 4), np.uint8)), ["data set 'data' is empty"]),
    "no pixel": (put("data", np.zeros((6, 5, 3, 0, 4), np.uint8)), ["'data'", "(3, 0, 4)"]),
    "one step": (put("data", np.zeros((6, 1, 3, 4, 4), np.uint8)), ["'data' has T = 1", "at least 2 elements"]),
    "version": (attribute("version", 2), ["has format version 2", "reads version 1"]),
    "classes not JSON": (attribute("classes", "{skin"), ["attribute 'classes' is not JSON"]),
    "classes a list": (attribute("classes", "[1]"), ["attribute 'classes' is not {factor:"]),
    "classes lack a key": (attribute("classes", '{"skin": {"index": 0}}'), ["'classes' is not {factor:", "'type'"]),
    "classes skip a column": (
        attribute("classes", json.dumps({"skin": {**CLASSES["skin"], "index": 1}})),
        ["'classes'", "columns 0"],
    ),
    "labels of other N": (put("labels", np.zeros((5, 2), int)), ["'labels' has shape (5, 2)", "N = 6 rows"]),
    "labels of one axis": (put("labels", np.zeros(6, int)), ["'labels' has shape (6,)", "N = 6 rows"]),
    "labels of other L": (put("labels", np.zeros((6, 1), int)), ["'labels' has shape (6, 1)", "2 factors"]),
    "labels of text": (put("labels", np.full((6, 2), b"red")), ["'labels' holds", "whole numbers"]),
    "labels link": (link("labels"), ["'labels' is a link into another file"]),
    "data link": (link("data"), ["'data' is a link into another file"]),
    "split link": (link("train_indices"), ["'train_indices' is a link into another file"]),
    "targets of other N": (put("targets", np.zeros((7, 5, 2))), ["'targets' has shape (7, 5, 2)", "N = 6"]),
    "lengths of other N": (put("lengths", np.full(5, 3)), ["'lengths' has shape (5,)", "N = 6"]),
    "length 1": (put("lengths", np.array([1, 5, 5, 5, 5, 5])), ["'lengths' must lie in 2..5"]),
    "length beyond T": (put("lengths", np.array([6, 5, 5, 5, 5, 5])), ["'lengths' must lie in 2..5"]),
    "lengths not whole": (put("lengths", np.full(6, 2.5)), ["'lengths'", "whole numbers"]),
    "overlapping splits": (put("val_indices", np.array([1, 2])), ["sequence 2 is in 'val_indices'", "another split"]),
    "split beyond N": (put("test_indices", np.array([3, 6])), ["'test_indices' leaves 0..5"]),
    "negative split": (put("test_indices", np.array([-1, 3])), ["'test_indices' leaves 0..5"]),
    "split of two axes": (
        put("test_indices", np.zeros((2, 1), int)),
        ["'test_indices' has shape (2, 1)", "expected 1 axes"],
    ),
    "split not whole": (put("test_indices", np.array([3.5])), ["'test_indices'", "whole numbers"]),
    "units not a list": (attribute("units", "3"), ["attribute 'units'", "list"]),
    "rate not a number": (attribute("rate", "fast"), ["attribute 'rate'", "number"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line_that_names_file_part_and_expectation(tmp_path: Path, name: str) -> None:
    change, words = BAD[name]
    write(tmp_path / "other.h5")
    path = changed(tmp_path / "bad.h5", change)
    with pytest.raises(SdkitError) as caught:
        SequenceFile(path)
    assert isinstance(caught.value, DataError)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message


def test_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("id,value\n1,2\n")
    with pytest.raises(FileFormatError, match=r"x\.h5 is not an HDF5 file"):
        SequenceFile(tmp_path / "x.h5")


def test_values_are_checked_as_they_are_read(tmp_path: Path) -> None:
    x = values(FLOATS)
    x[4, 1, 0, 2, 2] = np.nan
    with SequenceFile(plain(tmp_path / "x.h5", x)) as file:
        np.testing.assert_array_equal(file.read(slice(0, 4)), x[:4])
        for read in (lambda: file.read([5, 4]), file.check):
            with pytest.raises(DataError, match=r"x\.h5: data set 'data' holds NaN or infinite pixels"):
                read()
    bright = SequenceFile(plain(tmp_path / "y.h5", values(FLOATS) * 255))
    with pytest.raises(DataError, match=r"y\.h5: data set 'data' holds pixels from .* images lie in \[0, 1\]"):
        bright.check()


def test_writer_refuses_other_batches_and_leaves_nothing(tmp_path: Path) -> None:
    x = values(IMAGE)

    def write_two(bad: NDArray[Any], labels: NDArray[Any] | None) -> None:
        with SequenceWriter(tmp_path / "x.h5", SequenceMeta(IMAGE, factors=FACTORS)) as writer:
            writer.write(x)
            writer.write(bad, labels=labels)

    for bad, labels, words in (
        (x.astype(np.float32), None, "is float32; expected"),
        (x[:, :, :1], None, "has shape"),
        (x, np.zeros((6, 1), int), r"labels have shape \(6, 1\); expected \(6, 2\)"),
        (x, np.zeros((5, 2), int), r"labels have shape \(5, 2\); expected \(6, 2\)"),
    ):
        with pytest.raises(DataError, match=words):
            write_two(bad, labels)
        assert list(tmp_path.iterdir()) == []


def test_attributes_that_hdf5_cannot_hold_leave_nothing(tmp_path: Path) -> None:
    meta = SequenceMeta(IMAGE, extra={"note": "a\0b"})
    with pytest.raises(ValueError, match="NULL"), SequenceWriter(tmp_path / "x.h5", meta):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("compression", "told"), [("gzip", "gzip"), ("lz4", "lz4"), ("none", "none")])
def test_describe(tmp_path: Path, compression: str, told: str) -> None:
    facts = describe_sequences(write(tmp_path / "x.h5", SERIES, compression), check=True)
    assert facts["element"] == {"kind": "series", "shape": [6, 2], "dtype": "float32"}
    assert facts["features"] == [{"name": "pressure", "unit": "mmHg"}, {"name": "pulse", "unit": "bpm"}]
    assert (facts["sequences"], facts["steps"], facts["lengths"]) == (6, 5, {"least": 2, "most": 5})
    assert facts["rate"] == 12.5
    assert facts["bytes_in_memory"] == 6 * 5 * 12 * 4
    assert facts["bytes_on_disk"] == (tmp_path / "x.h5").stat().st_size
    assert facts["compression"] == told
    assert facts["splits"] == {"train": 3, "val": 1, "test": 2}
    assert facts["factors"]["action"] == {"kind": "dynamic", "values": ["walk", "wave"]}
    assert facts["checked"] is True
    assert describe_sequences(tmp_path / "x.h5")["checked"] is False
    assert json.loads(json.dumps(facts)) == facts


def test_describe_cuts_no_list_and_tells_of_targets(tmp_path: Path) -> None:
    factor = Factor("recording", "static", tuple(f"r{i}" for i in range(100)))
    extra = {"step": "1 hour", "target_names": '["rain", "wind", "sun"]', "target_units": "no list"}
    with SequenceWriter(tmp_path / "x.h5", SequenceMeta(SERIES, factors=(factor,), extra=extra)) as writer:
        x = values(SERIES)
        writer.write(x, labels=np.zeros((len(x), 1), np.int64), targets=np.zeros((*x.shape[:2], 3), np.float32))
    facts = describe_sequences(tmp_path / "x.h5")
    assert facts["factors"]["recording"]["values"] == [f"r{i}" for i in range(100)]
    assert facts["targets"] == {"a_step": 3, "names": ["rain", "wind", "sun"], "units": None}
    assert (facts["step"], facts["bin_spacing"], facts["source"]) == ("1 hour", None, None)
