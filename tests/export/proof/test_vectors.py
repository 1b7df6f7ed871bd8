"""Golden vectors that the manifest vouches for and that are none: one error, and nothing unpacked beyond its size."""

import contextlib
import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sdkit.export.proof.parity import read_report
from sdkit.export.proof.vectors import golden_vectors
from sdkit.export.proof.verification import verify
from sdkit.runtime.bundles.bundle import Bundle, file_spec
from sdkit.runtime.element import Array
from sdkit.runtime.errors import BundleError
from tests.export.runs import copy, reseal

Arrays = dict[str, Array]


@pytest.fixture
def bundle(mini: Bundle, tmp_path: Path) -> Bundle:
    """Return a copy, far from its run, that may be spoilt."""
    return copy(mini, tmp_path / "bundle")


def vouched(bundle: Bundle, content: bytes, name: str = "golden.npz", key: str = "golden") -> Bundle:
    """Put another file into a bundle, with a manifest that vouches for it."""
    (bundle.path / name).write_bytes(content)
    reseal(bundle, files={**bundle.manifest.files, key: file_spec(bundle.path, name)})
    return Bundle.open(bundle.path)


def arrays_of(bundle: Bundle) -> Arrays:
    with np.load(bundle.file("golden")) as file:
        return dict(file)


def npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def zipped(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def declared(shape: str) -> bytes:
    """Return an array of a declared shape and a few bytes."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(16)


def test_those_of_an_export_are_read(bundle: Bundle) -> None:
    inputs, expected = golden_vectors(bundle)
    assert {"x", "other", "static", "dynamic", "noise"} <= set(inputs)
    assert {"encode()/static", "swap()/a_with_b", "decoder/x", "encode(seed)/dynamic"} <= set(expected)
    assert len(inputs) + len(expected) == len(arrays_of(bundle))


CHANGES: dict[str, Callable[[Arrays], object]] = {
    "objects": lambda a: a.update({"in:x": np.array([{}], object)}),
    "texts": lambda a: a.update({"out:decoder/x": np.array(["a"])}),
    "complex": lambda a: a.update({"out:decoder/x": a["out:decoder/x"].astype(np.complex64)}),
    "doubles": lambda a: a.update({"in:noise": a["in:noise"].astype(np.float64)}),
    "no axis": lambda a: a.update({"out:encode()/dynamic": np.array(1, np.float32)}),
    "an axis too few": lambda a: a.update({"out:encode()/dynamic": a["out:encode()/dynamic"][0]}),
    "no sequence": lambda a: a.update({"in:x": a["in:x"][:0]}),
    "nothing expected": lambda a: a.update({"out:generate()/x": a["out:generate()/x"][:0]}),
    "another width": lambda a: a.update({"in:static": a["in:static"][:, :4]}),
    "another element": lambda a: a.update({"in:x": a["in:x"][..., :8]}),
    "many steps": lambda a: a.update({"in:noise": np.zeros((2, 1000, 4), np.float32)}),
    "no input x": lambda a: a.pop("in:x"),
    "no input other": lambda a: a.pop("in:other"),
    "no input dynamic": lambda a: a.pop("in:dynamic"),
    "no input features": lambda a: a.pop("in:features"),
    "one sequence too few": lambda a: a.update({"in:static": a["in:static"][:1]}),
    "a result too few": lambda a: a.pop("out:swap()/a_with_b"),
    "a graph too few": lambda a: a.pop("out:dynamic/dynamic_mean"),
    "inputs alone": lambda a: [a.pop(name) for name in list(a) if name.startswith("out:")],
    "results alone": lambda a: [a.pop(name) for name in list(a) if name.startswith("in:")],
    "nothing": lambda a: a.clear(),
    "a result of nothing": lambda a: a.update({"out:another()/x": a["out:decode()/x"]}),
    "an input of nothing": lambda a: a.update({"in:another": a["in:x"]}),
    "a name of nothing": lambda a: a.update({"x": a["in:x"]}),
    "a name that steers the terminal": lambda a: a.update({"in:\x1b[2J": a["in:x"]}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_other_arrays_are_refused(bundle: Bundle, case: str) -> None:
    arrays = arrays_of(bundle)
    CHANGES[case](arrays)
    bundle = vouched(bundle, npz(arrays))
    with pytest.raises(BundleError) as caught:
        verify(bundle.path)
    assert str(caught.value).isprintable()


FILES: dict[str, Callable[[bytes], bytes]] = {
    "no byte": lambda data: b"",
    "no zip": lambda data: b"golden",
    "half": lambda data: data[: len(data) // 2],
    "bytes after it": lambda data: data + b"more",
    "an array alone": lambda data: npy(np.zeros(3, np.float32)),
    "a pickle": lambda data: pickle.dumps({"in:x": 1}),
    "no arrays in it": lambda data: zipped({"in:x.npy": b"text"}),
    "an empty member": lambda data: zipped({"in:x.npy": b""}),
    "a header alone": lambda data: zipped({"in:noise.npy": declared("(2, 3, 4)")[:40]}),
    "fewer bytes than declared": lambda data: zipped({"in:noise.npy": declared("(2, 3, 4)")}),
    "a shape without end": lambda data: zipped({"in:noise.npy": declared("(2, 3, 99999999999999999999)")}),
    "a negative shape": lambda data: zipped({"in:noise.npy": declared("(2, -3, 4)")}),
    "a shape that is none": lambda data: zipped({"in:noise.npy": declared("'x'")}),
    "another compression": lambda data: zipped({"in:noise.npy": npy(np.zeros((2, 3, 4), "f4"))}, zipfile.ZIP_LZMA),
    "many members": lambda data: zipped({f"in:{i}.npy": b"" for i in range(1000)}),
}


@pytest.mark.parametrize("case", FILES)
def test_other_files_are_refused(bundle: Bundle, case: str) -> None:
    bundle = vouched(bundle, FILES[case](bundle.file("golden").read_bytes()))
    with pytest.raises(BundleError, match=r"golden\.npz holds no golden vectors: ") as caught:
        golden_vectors(bundle)
    assert str(caught.value).isprintable()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_arrays_of_one_name(bundle: Bundle) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for value in (0, 1):
            archive.writestr("in:noise.npy", npy(np.full((2, 3, 4), value, np.float32)))
    with pytest.raises(BundleError, match="two arrays have one name"):
        golden_vectors(vouched(bundle, buffer.getvalue()))


@pytest.mark.parametrize("shape", ["(2, 3, 4)", "(1, 1, 16777216)"], ids=["small", "large"])
def test_a_bomb_is_not_unpacked(bundle: Bundle, shape: str) -> None:
    """A member of 64 MB of zeros, in 64 kB."""
    bundle = vouched(bundle, zipped({"in:noise.npy": declared(shape) + bytes(2**26)}))
    tracemalloc.start()
    try:
        if shape == "(2, 3, 4)":  # what is declared is read, and no more
            with pytest.raises(BundleError, match=r"lacks|does not hold"):
                verify(bundle.path)
        else:
            with pytest.raises(BundleError, match="'in:noise' is"):
                golden_vectors(bundle)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seed", range(40))
def test_changed_bytes_never_end_in_another_error(bundle: Bundle, seed: int) -> None:
    rng = np.random.default_rng(seed)
    content = bytearray(bundle.file("golden").read_bytes())
    # In the tables half of the time: most of a zip is packed values.
    low = len(content) - 2000 if seed % 2 else 0
    for place in rng.integers(low, len(content), 3):
        content[place] = rng.integers(256)
    bundle = vouched(bundle, bytes(content))
    with contextlib.suppress(BundleError):
        golden_vectors(bundle)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"reference": 1}', b"\xff", b'{"reference": "a", "rows": [1]}', b"[" * 10**5]
)
def test_reports_that_are_none(bundle: Bundle, content: bytes) -> None:
    bundle = vouched(bundle, content, "parity.json", "parity")
    with pytest.raises(BundleError, match=r"parity\.json is not the report of a parity test"):
        read_report(bundle)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_results_that_are_not_finite_are_no_proof(bundle: Bundle, value: float) -> None:
    arrays = arrays_of(bundle)
    arrays["out:prior/dynamic"][0, 1, 0] = value
    report = verify(vouched(bundle, npz(arrays)).path)
    assert [row.result for row in report.rows if not row.ok] == ["prior/dynamic"]
