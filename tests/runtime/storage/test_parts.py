"""The door to HDF5: nothing of other files, nothing that is declared and not stored, no error but ours."""

import ast
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sdkit.runtime.errors import DataError, FileFormatError, SdkitError
from sdkit.runtime.storage import chunks
from sdkit.runtime.storage.code_file import CodeFile
from sdkit.runtime.storage.hdf5 import LazyFile
from sdkit.runtime.storage.parts import open_part, part_names, read_attribute, reading
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.storage.swap_file import SwapFile
from tests.runtime.storage.changes import Change, attribute, put

Reader = Callable[[Path], Any]

X = np.random.default_rng(0).random((6, 5, 3, 2), np.float32)
ROWS: dict[str, Any] = {
    "labels": np.arange(6)[:, None] % 2,
    "lengths": np.full(6, 4),
    "targets": np.ones((6, 5, 1), np.float32),
    "train_indices": np.arange(4),
    "other_indices": np.arange(2),
}
CLASSES = {"skin": {"index": 0, "type": "static", "n_classes": 2, "ignore": False, "values": {"a": 0, "b": 1}}}
CONTENTS: dict[str, dict[str, Any]] = {
    "sequences": {"data": X, **ROWS},
    "codes": {"static": X[:, 0, 0], "dynamic": X[:, :, 0], **ROWS},
    "swap": {"static_a_dynamic_b": X, "static_b_dynamic_a": X, "static_a_dynamic_b_lengths": np.full(6, 3)},
}


def read_sequences(path: Path) -> None:
    file = SequenceFile(path)
    file.check()
    file.read([5, 0])
    list(file.batches(4))


READERS: dict[str, Reader] = {
    "sequences": read_sequences,
    "codes": lambda path: CodeFile(path).read(slice(None)),
    "swap": lambda path: SwapFile(path).read(slice(None)),
}


def write(path: Path, kind: str, change: Change | None = None) -> Path:
    """Write a file of a kind, then change it."""
    with h5py.File(path, "w") as file:
        for name, array in CONTENTS[kind].items():
            file[name] = array
        file.attrs["classes"] = json.dumps(CLASSES)
        if change:
            change(file)
    return path


def in_place(file: h5py.File, name: str, make: Callable[[str], Any]) -> None:
    del file[name]
    make(name)


def external_link(file: h5py.File, name: str, other: Path) -> None:
    in_place(file, name, lambda name: file.__setitem__(name, h5py.ExternalLink(str(other), name)))


def link_through_a_link(file: h5py.File, name: str, other: Path) -> None:
    file["way"] = h5py.ExternalLink(str(other), "/")
    in_place(file, name, lambda name: file.__setitem__(name, h5py.SoftLink(f"/way/{name}")))


def external_storage(file: h5py.File, name: str, other: Path) -> None:
    shape, dtype = file[name].shape, file[name].dtype
    place = [(str(other), 0, h5py.h5f.UNLIMITED)]
    in_place(file, name, lambda name: file.create_dataset(name, shape, dtype, external=place))


def virtual(file: h5py.File, name: str, other: Path | str) -> None:
    layout = h5py.VirtualLayout(file[name].shape, file[name].dtype)
    layout[...] = h5py.VirtualSource(str(other), name, file[name].shape, file[name].dtype)
    in_place(file, name, lambda name: file.create_virtual_dataset(name, layout))


def itself(file: h5py.File, name: str, other: Path) -> None:
    virtual(file, name, ".")


def ring(file: h5py.File, name: str, other: Path) -> None:
    in_place(file, name, lambda name: file.__setitem__(name, h5py.SoftLink(f"/{name}")))


def group(file: h5py.File, name: str, other: Path) -> None:
    in_place(file, name, file.create_group)


ELSEWHERE: dict[str, tuple[Callable[[h5py.File, str, Path], None], str]] = {
    "external link": (external_link, "is a link into another file, which is not followed"),
    "soft link through an external link": (link_through_a_link, "is a link to another name, which is not followed"),
    "external storage": (external_storage, "is stored in another file, which is not read"),
    "virtual": (virtual, "is virtual, made of other data sets, which are not followed"),
    "virtual, of itself": (itself, "is virtual"),
    "ring of links": (ring, "is a link to another name"),
    "group": (group, "is a group"),
}


@pytest.mark.parametrize("way", ELSEWHERE)
@pytest.mark.parametrize("kind", CONTENTS)
def test_numbers_that_lie_elsewhere_are_refused_for_every_part(tmp_path: Path, kind: str, way: str) -> None:
    other = write(tmp_path / "other.h5", kind)
    change, words = ELSEWHERE[way]
    for name in CONTENTS[kind]:
        path = write(tmp_path / "x.h5", kind)
        with h5py.File(path, "r+") as file:
            change(file, name, other)
        with pytest.raises(FileFormatError, match=f"x.h5: (data set )?'{name}' {words}"):
            READERS[kind](path)


@pytest.mark.parametrize("kind", CONTENTS)
def test_files_without_a_fault_are_read(tmp_path: Path, kind: str) -> None:
    READERS[kind](write(tmp_path / "x.h5", kind))


def chunked(name: str, shape: tuple[int, ...], chunk: tuple[int, ...], raw: bytes | None, dtype: Any = None) -> Change:
    """Return a change that puts a gzip data set in the place of another; its first chunk, if any, holds `raw`."""

    def change(file: h5py.File) -> None:
        kind = file[name].dtype if dtype is None else dtype
        del file[name]
        data = file.create_dataset(name, shape, kind, maxshape=(None,) * len(shape), chunks=chunk, compression="gzip")
        if raw is not None:
            data.id.write_direct_chunk((0,) * len(shape), raw, 0)

    return change


def classes(**changes: Any) -> Change:
    entry = {"index": 0, "type": "static", "n_classes": 2, "ignore": False, "values": {"a": 0, "b": 1}, **changes}
    return attribute("classes", json.dumps({"skin": entry}))


def unnamed(file: h5py.File) -> None:
    space = h5py.h5s.create_simple((3,))
    h5py.h5d.create(file.id, b"\xff_indices", h5py.h5t.NATIVE_INT64, space)


def odd_floats(file: h5py.File) -> None:
    del file["lengths"]
    kind = h5py.h5t.IEEE_F32LE.copy()
    kind.set_ebias(100)
    h5py.h5d.create(file.id, b"lengths", kind, h5py.h5s.create_simple((6,)))


def texts_of_any_length(file: h5py.File) -> None:
    del file["labels"]
    file.create_dataset("labels", (6, 1), h5py.string_dtype())


BOMB = zlib.compress(bytes(64 << 20), 1)
DECLARED: dict[str, tuple[str, Change, str]] = {
    "N": ("sequences", chunked("data", (2**31, 5, 3, 2), (1, 5, 3, 2), None), "declares 2147483648 rows; at most"),
    "N, some": ("sequences", chunked("data", (2**20, 5, 3, 2), (1, 5, 3, 2), None), "in 1048576 chunks, but 0 are"),
    "T": ("sequences", chunked("data", (6, 2**31, 3, 2), (1, 5, 3, 2), None), "and a row of 51539607552 bytes"),
    "chunk": ("sequences", chunked("data", X.shape, (2**21, 8, 3, 2), BOMB), "and a chunk of 402653184 bytes"),
    "bomb": ("sequences", chunked("data", X.shape, (6, 5, 3, 2), BOMB), "inflates to more than its 720 bytes"),
    "short": ("sequences", chunked("data", X.shape, (6, 5, 3, 2), zlib.compress(b"123")), "inflates to 3 bytes inst"),
    "no gzip": ("sequences", chunked("data", X.shape, (6, 5, 3, 2), b"nothing of gzip"), "rows 0 to 5, cannot be read"),
    "ratio": ("sequences", chunked("data", (6, 1000, 3, 20), (6, 1000, 3, 20), b"x"), "declares 1440000 bytes and"),
    "labels": ("sequences", chunked("labels", (6, 2**33), (1, 8), None), "and a row of 68719476736 bytes"),
    "labels, bomb": ("sequences", chunked("labels", (6, 1), (6, 1), BOMB), "inflates to more than its 48 bytes"),
    "labels, short": ("sequences", chunked("labels", (6, 1), (6, 1), zlib.compress(b"1")), "inflates to 1 bytes inst"),
    "lengths": ("sequences", chunked("lengths", (2**36,), (1024,), None), "declares 68719476736 rows"),
    "split": ("sequences", chunked("train_indices", (2**36,), (1024,), None), "declares 68719476736 rows"),
    "split, short": ("codes", chunked("train_indices", (4,), (4,), zlib.compress(b"1")), "inflates to 1 bytes instead"),
    "targets": ("sequences", chunked("targets", (6, 5, 2**33), (1, 1, 8), None), "and a row of"),
    "classes": ("sequences", classes(n_classes=10**12, values=None), "declares 1000000000000 classes without naming"),
    "codes": ("codes", chunked("dynamic", (6, 2**31, 2), (1, 5, 2), None), "and a row of"),
    "swap": ("swap", chunked("static_a_dynamic_b", X.shape, (6, 5, 3, 2), BOMB), "inflates to more than its 720"),
}
WRONG: dict[str, tuple[str, Change, str]] = {
    "label 1e300": ("sequences", put("labels", np.full((6, 1), 1e300)), "holds 1e.300; expected whole numbers below"),
    "label infinite": ("sequences", put("labels", np.full((6, 1), np.inf)), "holds inf; expected whole numbers below"),
    "label NaN": ("codes", put("labels", np.full((6, 1), np.nan)), "holds nan; expected whole numbers"),
    "label 2^64": ("codes", put("labels", np.full((6, 1), 2**64 - 1, np.uint64)), "holds 18446744073709551615; exp"),
    "texts": ("codes", put("labels", np.full((6, 1), b"a")), "holds .S1; expected whole numbers or"),
    "objects": ("codes", texts_of_any_length, "holds object; expected whole numbers or"),
    "compound": ("codes", put("labels", np.zeros((6, 1), [("a", "i4"), ("b", "f4")])), "expected whole numbers or"),
    "floats of no machine": ("sequences", odd_floats, "expected whole numbers or floating-point numbers"),
    "no axes": ("sequences", put("lengths", 3), "has no axes; expected rows"),
    "no values": ("sequences", put("lengths", h5py.Empty("f4")), "has no axes; expected rows"),
    "no step": ("sequences", put("data", X[:, :0]), "has T = 0"),
    "filter": (
        "sequences",
        lambda f: in_place(f, "data", lambda n: f.create_dataset(n, data=X, compression="lzf")),
        "under HDF5's filters 32000; sdkit reads gzip, shuffle, fletcher32, lz4: `h5repack",
    ),
    "targets of other T": ("sequences", put("targets", np.ones((6, 4, 1))), r"'targets' has shape \(6, 4, 1\)"),
    "infinite targets": ("sequences", put("targets", np.full((6, 5, 1), np.inf)), "'targets' holds infinite values"),
    "other indices": ("sequences", put("other_indices", np.array([6])), r"'other_indices' leaves 0\.\.5"),
    "source indices": ("sequences", put("source_indices", np.array([6])), "'source_indices' holds 1 numbers; expected"),
    "name": ("sequences", unnamed, r"a data set has a name that is not UTF-8 \(b'.xff_indices'\)"),
    "array": ("sequences", attribute("source", np.zeros(9)), "attribute 'source' is not a text or a number"),
    "reference": ("sequences", lambda f: attribute("name", f["data"].ref)(f), "'name' is not a text or a number"),
    "number": ("sequences", attribute("source", 3), "attribute 'source' is 3; expected text"),
    "bytes": ("sequences", attribute("source", np.bytes_(b"\xff")), "attribute 'source' is not UTF-8 text"),
    "long name": ("sequences", attribute("name", "x" * 257), "attribute 'name' has 257 characters; expected at most"),
    "long unit": ("sequences", attribute("units", json.dumps(["x" * 257])), "attribute 'units' has 257 characters"),
    "long class": ("sequences", classes(values=["x" * 257]), "attribute 'classes' has 257 characters"),
    "rate NaN": ("sequences", attribute("rate", np.nan), "attribute 'rate' is nan"),
    "rate 0": ("sequences", attribute("rate", 0.0), "attribute 'rate' is 0.0"),
    "depth": ("sequences", attribute("classes", "[" * 100_000), "attribute 'classes' is not JSON: maximum recursion"),
    "infinite classes": ("sequences", classes(n_classes=float("inf"), values=None), "is not .factor: .*OverflowError"),
    "no class": ("sequences", classes(n_classes=0, values=None), "the type static and 0 classes; expected"),
    "kind of factor": ("sequences", classes(type=["static"]), "has the type .'static'. and 2 classes; expected"),
    "values a number": ("sequences", classes(values=5), "is not .factor: .*values is 5"),
    "codes, NaN": ("codes", put("static", np.full((6, 2), np.nan, np.float32)), "'static' holds NaN or infinite codes"),
    "codes, infinite": ("codes", put("dynamic", np.full((6, 5, 2), -np.inf, "f4")), "'dynamic' holds NaN or infinite"),
    "codes, no step": ("codes", put("dynamic", np.ones((6, 0, 2), "f4")), r"\(6, 0, 2\); expected T >= 2"),
    "codes, lengths": ("codes", put("lengths", np.full(6, 99)), r"'lengths' must lie in 2\.\.5"),
    "codes, lengths of other N": ("codes", put("lengths", np.full(5, 4)), r"'lengths' has shape \(5,\)"),
    "codes, split": ("codes", put("train_indices", np.array([6])), r"'train_indices' leaves 0\.\.5"),
    "codes, splits": (
        "codes",
        put("test_indices", np.array([3])),
        "sequence 3 is in '(train|test)_indices' and in ano",
    ),
    "codes, classes": ("codes", attribute("classes", "{"), "attribute 'classes' is not JSON"),
    "codes, factors": ("codes", put("labels", np.ones((6, 0), int)), "expected a column for each of 1 factors"),
    "codes, version": (
        "codes",
        lambda f: f.attrs.update({"format": "sdkit-codes", "version": 2}),
        "has format version 2; this sdkit reads version 1",
    ),
    "swap, values": ("swap", put("static_a_dynamic_b", np.full_like(X, np.inf)), "holds infinite values"),
    "swap, no step": ("swap", put("static_b_dynamic_a", X[:, :0]), "has T = 0"),
    "swap, lengths": ("swap", put("static_a_dynamic_b_lengths", np.full(6, 6)), r"its lengths must be 6 numbers in 1"),
}


@pytest.mark.parametrize("case", [*DECLARED, *WRONG])
def test_what_is_declared_and_not_stored_and_what_has_no_meaning_is_refused(tmp_path: Path, case: str) -> None:
    kind, change, words = {**DECLARED, **WRONG}[case]
    path = write(tmp_path / "x.h5", kind, change)
    with pytest.raises(DataError, match=words) as caught:
        READERS[kind](path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize("name", ["labels", "targets"])
def test_data_sets_that_are_read_whole_have_a_limit(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.h5", "sequences")
    monkeypatch.setattr(chunks, "TABLE_BYTES", CONTENTS["sequences"][name].nbytes - 1)
    with pytest.raises(FileFormatError, match=rf"data set '{name}' takes \d+ bytes; at most"):
        SequenceFile(path).check()


def test_flipped_bits_end_in_our_errors_or_in_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    good: dict[str, bytes] = {}
    for kind in CONTENTS:
        good[kind] = write(tmp_path / "x.h5", kind).read_bytes()
    refused = 0
    for number in range(240):
        kind = list(CONTENTS)[number % len(CONTENTS)]
        raw = bytearray(good[kind])
        if number % 8 == 0:
            del raw[int(rng.integers(len(raw))) :]
        for place in rng.integers(0, len(raw), 6) if raw else ():
            raw[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "y.h5").write_bytes(raw)
        try:
            READERS[kind](tmp_path / "y.h5")
        except SdkitError:
            refused += 1
    assert refused > 60


def test_attributes_and_names(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["b"] = file["a"] = np.zeros(2)
        file.attrs.update({"text": "ä", "bytes": np.bytes_("ä".encode()), "one": np.array([3]), "half": 0.5})
        file.attrs["empty"] = h5py.Empty("S1")
    with h5py.File(path) as file:
        assert part_names(file, path) == ["a", "b"]
        names = ("text", "bytes", "one", "half", "empty", "none")
        assert [read_attribute(file, path, name) for name in names] == ["ä", "ä", 3, 0.5, "", None]
        part = open_part(file, path, "a", "(N,)")
        assert (part.shape, part.nbytes, part.compression, part.chunks) == ((2,), 16, "none", None)
    with LazyFile(path) as lazy:
        assert lazy.stated("one", "none", "half") == {"one": 3, "half": 0.5}
        assert lazy.part("a", "(N,)") is lazy.part("a", "(N,)")
        with pytest.raises(FileFormatError, match=r"attribute 'half' is 0\.5; expected text"):
            lazy.text("half")


PLACES = {"free space of size 0": (0, 0), "beyond the end": (1, 1 << 20), "wraps": (1, 2**64 - 1)}


@pytest.mark.parametrize("case", PLACES)
def test_heaps_of_texts_that_hdf5_would_walk_for_ever(tmp_path: Path, case: str) -> None:
    path = write(tmp_path / "x.h5", "sequences", attribute("source", "made up"))
    raw = bytearray(path.read_bytes())
    number, size = PLACES[case]
    place = raw.index(b"GCOL") + 16
    raw[place : place + 16] = struct.pack("<HHIQ", number, 1, 0, size)
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match="cannot be read"):
        SequenceFile(path)


def test_names_in_messages_are_printable_and_few(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number in range(20):
            file[f"{number:02}\x1b[31m" + "x" * 500] = 0
    with pytest.raises(FileFormatError, match="has no data set 'data'") as caught:
        SequenceFile(tmp_path / "x.h5")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1200 + len(str(tmp_path))


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyError, TypeError, OverflowError, MemoryError, zlib.error])
def test_errors_of_the_libraries_become_ours(error: type[Exception]) -> None:
    with pytest.raises(FileFormatError, match=r"x\.h5 cannot be read: .*first") as caught, reading("x.h5"):
        raise error("first\nsecond")
    assert "second" not in str(caught.value) or error is KeyError
    with pytest.raises(DataError, match=r"^ours$"), reading("x.h5"):
        raise DataError("ours")


DOORS = {"parts.py", "hdf5.py", "chunks.py", "filters.py"}


def test_nothing_else_reaches_into_a_file() -> None:
    """No module beside the storage's own asks for the open file of a reader, or opens one to read it."""
    root = Path(__file__).parents[3]
    for folder in ("sdkit", "runtime", "export", "cli"):
        for path in sorted((root / folder).rglob("*.py")):
            if path.parent.name == "storage" and path.name in DOORS:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute):
                    assert node.attr != "handle", f"{path}:{node.lineno}"
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "h5py.File":
                    assert ast.unparse(node.args[1]) == "'w'", f"{path}:{node.lineno}"
