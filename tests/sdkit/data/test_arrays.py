"""Arrays of one's own: every form that `data` may have, what is told about it, and what is refused."""

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sdkit.data import arrays, make_dataset
from sdkit.runtime.element import Array
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

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 4, 3, 8, 10), np.uint8)
SERIES = RNG.normal(size=(6, 4, 5, 2)).astype(np.float32)


def npz(folder: Path, **contents: Any) -> Path:
    np.savez(folder / "in.npz", **contents)
    return folder / "in.npz"


def read(path: Path) -> dict[str, Array]:
    with h5py.File(path) as file:
        return {name: np.asarray(file[name][:]) for name in file}


@pytest.mark.parametrize(
    ("data", "options", "expected", "element", "notes"),
    [
        (IMAGES, {}, IMAGES, "image (3, 8, 10) uint8", []),
        (IMAGES.astype(np.int64), {}, IMAGES, "image (3, 8, 10) uint8", ["int64 is converted to uint8"]),
        (
            np.moveaxis(IMAGES, 2, 4) / 255,
            {},
            (IMAGES / 255).astype(np.float32),
            "image (3, 8, 10) float32",
            ["float64 is converted to float32", "channels are last in (6, 4, 8, 10, 3); they are moved before height"],
        ),
        (
            IMAGES[:, :, 0],
            {"kind": "image"},
            IMAGES[:, :, :1],
            "image (1, 8, 10) uint8",
            ["(6, 4, 8, 10) are taken as grey images (N, T, H, W)"],
        ),
        (IMAGES[:, :, 0], {"kind": "series"}, IMAGES[:, :, 0], "series (8, 10) float32", ["uint8 is converted"]),
        (SERIES, {}, SERIES, "series (5, 2) float32", []),
        (SERIES.astype(">f8"), {}, SERIES, "series (5, 2) float32", [">f8 is converted to float32"]),
        (
            SERIES[:, :, 0],
            {},
            SERIES[:, :, 0],
            "spectrum (2,) float32",
            ["(6, 4, 2) are taken as spectrum frames (N, T, F); window=W cuts a series (N, steps, F)"],
        ),
        (SERIES[:, :, 0], {"kind": "spectrum"}, SERIES[:, :, 0], "spectrum (2,) float32", []),
        (SERIES[:, :, 0], {"kind": "vector"}, SERIES[:, :, 0], "vector (2,) float32", []),
        (IMAGES[:, :, 0, 0], {"kind": "vector"}, IMAGES[:, :, 0, 0], "vector (10,) float32", ["uint8 is converted"]),
        *[
            (
                SERIES[:, :, 0],
                named,
                SERIES[:, :, 0],
                "vector (2,) float32",
                ["(6, 4, 2) are taken as vectors (N, T, F), since their features have names or units; kind=spectrum"],
            )
            for named in ({"feature_names": "knee, hip"}, {"units": ["rad", "m"]})
        ],
        (
            SERIES[:, :, 0],
            {"units": "dB"},
            SERIES[:, :, 0],
            "spectrum (2,) float32",
            ["(6, 4, 2) are taken as spectrum frames (N, T, F); window=W cuts a series (N, steps, F), kind=vector"],
        ),
        (
            SERIES[:, :, 0],
            {"units": "rad, m", "kind": "spectrum"},
            SERIES[:, :, 0],
            "spectrum (2,) float32",
            [],
        ),
        (
            SERIES.reshape(6, 20, 2),
            {"window": 5},
            SERIES,
            "series (5, 2) float32",
            ["20 steps are cut into 4 windows of 5"],
        ),
        (
            np.arange(42.0).reshape(6, 7),
            {"window": 3, "kind": "series"},
            np.concatenate([np.arange(42.0).reshape(6, 7), np.full((6, 2), np.nan)], axis=1).reshape(6, 3, 3, 1),
            "series (3, 1) float32",
            ["float64 is converted", "7 steps are cut into 3 windows of 3, the last one filled up with 2 steps of NaN"],
        ),
    ],
)
@pytest.mark.parametrize("batch", [256, 4])
def test_every_form_of_data(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: Array,
    options: dict[str, Any],
    expected: Array,
    element: str,
    notes: list[str],
    batch: int,
) -> None:
    monkeypatch.setattr(arrays, "BATCH", batch)
    np.save(tmp_path / "in.npy", data)
    told = Notes()
    path = make_dataset("arrays", tmp_path / "out.h5", source=tmp_path / "in.npy", reporter=told, **options)
    with SequenceFile(path) as file:
        assert file.element.describe() == element
        np.testing.assert_array_equal(file.read(slice(None)), expected.astype(file.element.dtype))
        assert (file.labels(), file.lengths(), file.targets(), file.split("train")) == (None, None, None, None)
        assert (file.meta.name, file.meta.source) == ("", "in.npy")
    assert len(told.lines) == len(notes)
    for line, note in zip(told.lines, notes, strict=True):
        assert line.startswith(f"{tmp_path / 'in.npy'}: {note}")


def test_all_that_may_come_with_data(tmp_path: Path) -> None:
    source = npz(
        tmp_path,
        data=SERIES,
        labels=np.array([[3, 0], [1, 1], [3, 1], [1, 0], [7, 0], [7, 1]]),
        lengths=np.array([4, 3, 2, 4, 4, 4]),
        targets=np.arange(24.0).reshape(6, 4),
        train_indices=np.array([5, 0, 2]),
        test_indices=np.array([1]),
        mood=np.array([object()]),
    )
    told = Notes()
    path = make_dataset(
        "arrays",
        tmp_path / "out.h5",
        source=source,
        reporter=told,
        name="mine",
        factors="person, action",
        dynamic_factors=["action"],
        feature_names=["load", "heat"],
        units="kW, degC",
        rate=2.5,
        licence="CC0-1.0",
        compression="none",
    )
    with SequenceFile(path) as file:
        assert (file.meta.name, file.meta.rate, file.meta.licence) == ("mine", 2.5, "CC0-1.0")
        assert (file.element.feature_names, file.element.units) == (("load", "heat"), ("kW", "degC"))
        assert [(f.name, f.kind, f.values) for f in file.factors] == [
            ("person", "static", ("1", "3", "7")),
            ("action", "dynamic", ("0", "1")),
        ]
        labels, lengths, targets = file.labels(), file.lengths(), file.targets()
        assert labels is not None
        assert lengths is not None
        assert targets is not None
        assert labels.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0], [2, 0], [2, 1]]
        assert lengths.tolist() == [4, 3, 2, 4, 4, 4]
        assert targets.dtype == np.float32
        assert targets[..., 0].tolist() == np.arange(24.0).reshape(6, 4).tolist()
        assert file.select("train").tolist() == [0, 2, 5]
        assert file.select("test").tolist() == [1]
        assert file.split("val") is None
        assert file.data.compression == "none"
    assert told.lines == [
        f"{source}: array 'mood' is not used; the names that are: data, labels, lengths, targets, train_indices, "
        "val_indices, test_indices"
    ]


@pytest.mark.parametrize(
    ("labels", "values", "index"),
    [
        (np.array(["b", "a", "b", "c", "a", "a"]), ("a", "b", "c"), [1, 0, 1, 2, 0, 0]),
        (np.array([2.0, 0, 2, 2, 0, 0]), ("0", "2"), [1, 0, 1, 1, 0, 0]),
        (np.array([[10], [9], [9], [9], [10], [9]], np.uint8), ("9", "10"), [1, 0, 0, 0, 1, 0]),
    ],
)
def test_labels_become_classes_of_the_values_that_occur(
    tmp_path: Path, labels: Array, values: tuple[str, ...], index: list[int]
) -> None:
    with SequenceFile(arrays.make(npz(tmp_path, data=IMAGES, labels=labels), tmp_path / "out.h5")) as file:
        (factor,), found = file.factors, file.labels()
        assert (factor.name, factor.kind, factor.values) == ("label", "static", values)
        assert found is not None
        assert found[:, 0].tolist() == index


def test_lengths_count_steps_where_a_series_is_cut(tmp_path: Path) -> None:
    data = np.ones((3, 10, 2), np.float32)
    source = npz(tmp_path, data=data, lengths=np.array([10, 4, 7]), targets=np.zeros((3, 4, 1)))
    found = read(arrays.make(source, tmp_path / "out.h5", window=3))
    assert found["data"].shape == (3, 4, 3, 2)
    assert found["lengths"].tolist() == [4, 2, 3]
    seen = ~np.isnan(found["data"].reshape(3, 12, 2))
    for row, steps in zip(seen, [10, 4, 7], strict=True):
        assert row[:steps].all()
        assert not row[steps:].any()
    assert (data == 1).all()  # what was given is left as it is


def test_a_file_larger_than_a_batch_keeps_its_order(tmp_path: Path) -> None:
    data = np.arange(700 * 2 * 3, dtype=np.float32).reshape(700, 2, 3)
    labels = np.arange(700) % 5
    found = read(arrays.make(npz(tmp_path, data=data, labels=labels), tmp_path / "out.h5"))
    np.testing.assert_array_equal(found["data"], data)
    np.testing.assert_array_equal(found["labels"][:, 0], labels)


BAD: dict[str, tuple[dict[str, Any], dict[str, Any], type[SdkitError], str]] = {
    "no data": ({"x": SERIES}, {}, FileFormatError, r"in\.npz has no array 'data'; it holds: x"),
    "objects": ({"data": np.array([{}] * 3)}, {}, FileFormatError, r"in\.npz is not a \.npz or \.npy of numbers: Obj"),
    "texts": ({"data": np.array([["a"]])}, {}, DataError, r"array 'data' is <U1; expected whole or floating"),
    "booleans": ({"data": SERIES > 0}, {}, DataError, r"array 'data' is bool; expected whole or floating"),
    "one axis": ({"data": SERIES[:, 0, 0, 0]}, {}, DataError, r"'data' has shape \(6,\); expected \(N, T, C, H, W\)"),
    "two axes": ({"data": SERIES[:, :, 0, 0]}, {}, DataError, r"'data' has shape \(6, 4\); expected .* with window=W"),
    "unknown kind": ({"data": SERIES}, {"kind": "pose"}, ConfigError, r"unknown kind of element 'pose'; there are: im"),
    "axes of vectors": ({"data": SERIES}, {"kind": "vector"}, DataError, r"'data' has shape \(6, 4, 5, 2\); expected"),
    "window of vectors": ({"data": SERIES[:, :, 0]}, {"window": 2, "kind": "vector"}, ConfigError, "needs a series"),
    "infinite vectors": ({"data": np.full((2, 3, 4), np.inf)}, {"kind": "vector"}, DataError, "holds infinite values"),
    "kind": ({"data": SERIES}, {"kind": "spectrum"}, DataError, r"'data' has shape \(6, 4, 5, 2\); expected"),
    "grey or not": ({"data": IMAGES[:, :, 0]}, {}, ConfigError, r"grey images \(kind=image\) or kind=series"),
    "window": ({"data": SERIES}, {"window": 2}, ConfigError, r"window=2 needs a series \(N, steps, F\)"),
    "window of images": ({"data": IMAGES}, {"window": 2, "kind": "image"}, ConfigError, "window=2 needs a series"),
    "window 0": ({"data": SERIES[:, :, 0]}, {"window": 0}, ConfigError, "window=0 needs .* 1 step at least"),
    "window of all": ({"data": SERIES[:, :, 0]}, {"window": 4}, DataError, r"in windows of 4 has T = 1"),
    "none": ({"data": SERIES[:0]}, {}, DataError, r"'data' \(0, 4, 5, 2\) is empty"),
    "one step": ({"data": SERIES[:, :1]}, {}, DataError, r"has T = 1"),
    "infinity": (
        {"data": np.full_like(SERIES, np.inf)},
        {},
        DataError,
        r"in\.npz: array 'data', sequences from 0 on holds infinite",
    ),
    "too large": ({"data": np.full((2, 2, 2), 1e300)}, {}, DataError, "holds infinite values"),
    "NaN pixels": ({"data": np.full((2, 2, 3, 4, 4), np.nan)}, {}, DataError, "NaN or infinite pixels"),
    "grey levels": ({"data": IMAGES.astype(float)}, {}, DataError, r"pixels from 0 to 255; float32 images lie in"),
    "pixel": ({"data": IMAGES.astype(int) + 1}, {}, DataError, r"pixels from 1 to 256; expected 0 to 255"),
    "feature names": ({"data": SERIES}, {"feature_names": "a"}, ConfigError, r"1 feature_names; series .* has 2 feat"),
    "names of pixels": ({"data": IMAGES}, {"feature_names": "a"}, ConfigError, r"1 feature_names; image"),
    "units": ({"data": SERIES}, {"units": "a,b,c"}, ConfigError, r"3 units; series .* has 2 features: give one or all"),
    "labels": ({"data": SERIES, "labels": np.arange(5)}, {}, DataError, r"'labels' has shape \(5,\); expected \(6, L"),
    "fractions": ({"data": SERIES, "labels": np.full(6, 0.5)}, {}, DataError, r"'labels' is float64; expected whole"),
    "NaN labels": ({"data": SERIES, "labels": np.full(6, np.nan)}, {}, DataError, r"'labels' is float64; expected"),
    "factors": (
        {"data": SERIES, "labels": np.arange(6)},
        {"factors": "a,b"},
        ConfigError,
        r"factors are a, b; .*'labels' needs 1 different names",
    ),
    "factors alone": ({"data": SERIES}, {"factors": "a"}, ConfigError, r"in\.npz has no array 'labels'"),
    "dynamic": (
        {"data": SERIES, "labels": np.arange(6)},
        {"factors": "a", "dynamic_factors": "b"},
        ConfigError,
        r"dynamic factor 'b' is none of the factors a",
    ),
    "letters that are none": (
        {"data": SERIES, "labels": np.frombuffer(b"\xff\xff\xff\x7f" * 6, "<U1")},
        {},
        FileFormatError,
        r"'labels' is not a table of whole numbers or texts",
    ),
    "half a letter": ({"data": SERIES, "labels": ["\ud800"] * 6}, {}, FileFormatError, r"'labels' is not a table of"),
    "large labels": ({"data": SERIES, "labels": np.full(6, 1e300)}, {}, DataError, r"'labels' is float64; expected"),
    "infinite targets": (
        {"data": SERIES, "targets": np.full((6, 4), 1e300)},
        {},
        DataError,
        r"'targets' holds infinite values; NaN stands for 'unknown'",
    ),
    "group": ({"data": SERIES}, {"group": "who"}, ConfigError, r"group = 'who' is no factor of .*; it has: none"),
    "group and splits": (
        {"data": SERIES, "labels": np.arange(6), "val_indices": [1]},
        {"group": "label"},
        ConfigError,
        r"has val_indices, and group = 'label' is given",
    ),
    "two groups": (
        {"data": SERIES, "labels": [0, 1, 0, 1, 0, 1]},
        {"group": "label"},
        DataError,
        r"values of 'label': 2 cannot be parted into train, val and test",
    ),
    "lengths": (
        {"data": SERIES, "lengths": np.full(6, 5)},
        {},
        DataError,
        r"'lengths' must hold 6 numbers from 1 to 4",
    ),
    "lengths of some": ({"data": SERIES, "lengths": np.full(5, 4)}, {}, DataError, r"'lengths' must hold 6 numbers"),
    "length 1": ({"data": SERIES, "lengths": [4, 4, 1, 4, 4, 4]}, {}, DataError, r"sequence 2 has fewer than 2 elem"),
    "targets": (
        {"data": SERIES, "targets": np.zeros((6, 3))},
        {},
        DataError,
        r"'targets' is float64 \(6, 3\); expected",
    ),
    "text targets": ({"data": SERIES, "targets": np.full((6, 4), "a")}, {}, DataError, r"'targets' is <U1 \(6, 4\)"),
    "split": ({"data": SERIES, "val_indices": [0, 6]}, {}, DataError, r"'val_indices' holds 6; there are 6"),
    "negative": ({"data": SERIES, "val_indices": [-1]}, {}, DataError, r"'val_indices' holds -1; there are 6"),
    "both": (
        {"data": SERIES, "train_indices": [0, 1], "test_indices": [1]},
        {},
        DataError,
        r"sequence 1 is named twice, in 'train_indices' and 'test_indices'",
    ),
    "mask": ({"data": SERIES, "train_indices": np.ones(6, bool)}, {}, DataError, r"'train_indices' is bool \(6,\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_written(tmp_path: Path, case: str) -> None:
    contents, options, error, message = BAD[case]
    source = npz(tmp_path, **contents)
    with pytest.raises(error, match=message) as caught:
        arrays.make(source, tmp_path / "out.h5", **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.npz"]


@pytest.mark.parametrize("name", ["in.npz", "in.npy"])
@pytest.mark.parametrize("how", ["text", "empty", "cut", "pickle"])
def test_files_that_are_none(tmp_path: Path, name: str, how: str) -> None:
    source = tmp_path / name
    np.savez_compressed(source, data=SERIES) if name == "in.npz" else np.save(source, SERIES)
    whole = source.read_bytes()
    wrong = {"text": b"1,2,3\n", "empty": b"", "cut": whole[: len(whole) // 2], "pickle": pickle.dumps(SERIES)}
    source.write_bytes(wrong[how])
    with pytest.raises(FileFormatError, match=rf"{name} is not a \.npz or \.npy of numbers"):
        arrays.make(source, tmp_path / "out.h5")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_splits_by_group(tmp_path: Path) -> None:
    who = np.repeat([f"p{i}" for i in range(10)], 6)
    source = npz(tmp_path, data=np.zeros((60, 4, 5, 2), np.float32), labels=np.stack([who, np.tile(["a", "b"], 30)], 1))
    options: dict[str, Any] = {"factors": "who,what", "group": "who"}
    with SequenceFile(arrays.make(source, tmp_path / "out.h5", **options)) as file:
        labels, parts = file.labels(), {name: file.split(name) for name in ("train", "val", "test")}
    assert labels is not None
    people = {name: set(labels[part, 0].tolist()) for name, part in parts.items()}
    assert {name: len(each) for name, each in people.items()} == {"train": 7, "val": 1, "test": 2}
    assert len(set.union(*people.values())) == 10
    with SequenceFile(arrays.make(source, tmp_path / "b.h5", seed=1, test_fraction=0.5, **options)) as file:
        assert len(file.select("test")) == 30


def test_sequences_of_unequal_length(tmp_path: Path) -> None:
    many = [RNG.normal(size=(steps, 5, 2)).astype(np.float32) for steps in (3, 2, 4)]
    np.savez(tmp_path / "in.npz", *many, labels=np.array(["a", "b", "a"]))
    with SequenceFile(arrays.make(tmp_path / "in.npz", tmp_path / "out.h5")) as file:
        lengths, x = file.lengths(), file.read(slice(None))
        assert lengths is not None
        assert (file.steps, lengths.tolist(), file.factors[0].values) == (4, [3, 2, 4], ("a", "b"))
    for row, given in zip(x, many, strict=True):
        np.testing.assert_array_equal(row[: len(given)], given)
    np.savez(tmp_path / "in.npz", *[one[:, 0] for one in many])
    with SequenceFile(arrays.make(tmp_path / "in.npz", tmp_path / "cut.h5", window=1)) as file:
        assert file.data.shape == (3, 4, 1, 2)
        assert np.isnan(file.read(slice(0, 1))[0, 3]).all()


def test_sources_and_outputs(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent\.npz does not exist; expected a \.npz with an array 'data'"):
        arrays.make(tmp_path / "absent.npz", tmp_path / "out.h5")
    (tmp_path / "out.h5").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"out\.h5 exists already"):
        arrays.make(npz(tmp_path, data=SERIES), tmp_path / "out.h5")
    found = read(arrays.make(npz(tmp_path, data=SERIES), tmp_path / "out.h5", force=True))
    np.testing.assert_array_equal(found["data"], SERIES)
