"""The C++ host computes, refuses and says what the Python runtime does; built with cmake where that can be done."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnxruntime
import pytest

from sdkit.export.proof.cases import sample
from sdkit.runtime import contract, kinds
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Element
from sdkit.runtime.errors import BundleError, SdkitError
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import SequenceMeta, SequenceWriter
from tests.hosts.bad import BAD, BAD1, edit
from tests.hosts.cpp import ENVIRONMENT, LIBRARY, SOURCES, build, run
from tests.hosts.golden import make_conformance, make_int8_conformance
from tests.hosts.patchwork import CONFORMANCE, installed


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built programs; SDKIT_CPP_BUILD may name one to keep between runs."""
    if LIBRARY is None:
        pytest.skip("this onnxruntime has no libonnxruntime.so")
    folder = Path(os.environ.get("SDKIT_CPP_BUILD") or tmp_path_factory.mktemp("cpp"))
    reason = build(SOURCES, folder)
    if reason is not None:
        pytest.skip(f"the C++ host cannot be built: {reason}")
    return folder


@pytest.fixture(scope="module")
def golden(conformance_set: Path) -> Path:
    """Return the folder of the conformance bundles and arrays."""
    return conformance_set


@pytest.fixture(scope="module")
def patchwork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a set of methods that use every part of the contract."""
    with installed():
        return make_conformance(tmp_path_factory.mktemp("patchwork") / "all", bundles=CONFORMANCE).parent


def message(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a refusal."""
    assert result.returncode == 2, result.stdout + result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0].removeprefix("error: ")


def said(call: Callable[[], object]) -> str:
    """Return what Python says of a mistake."""
    with pytest.raises(SdkitError) as caught:
        call()
    return str(caught.value)


def test_every_result_is_pythons(programs: Path, golden: Path) -> None:
    result = run(programs / "sdkit-conformance", "golden", golden)
    assert result.returncode == 0, result.stdout + result.stderr
    results = [line for line in result.stdout.splitlines() if line.startswith("ok")]
    described = json.loads((golden / "golden.json").read_text())
    named = sum(len(bundle["outputs"]) + 1 for bundle in described["bundles"].values())  # and what is refused
    assert len(results) == 3 * named + 2 * len(described["noise"])
    assert any("x_std" in line for line in results)


def test_its_contract_is_that_of_python(programs: Path) -> None:
    found = json.loads(run(programs / "sdkit-conformance", "--contract").stdout)
    lists = {name: list(axes) for name, axes in contract.TENSORS.items()}
    assert found.pop("tensors") == lists
    assert found.pop("widths") == dict(contract.WIDTHS)
    assert found.pop("means") == dict(contract.MEANS)
    assert found.pop("graphs") == {
        name: {
            "inputs": list(graph.inputs),
            "outputs": list(graph.outputs),
            "optional": list(graph.optional),
            "axes": {tensor: list(axes) for tensor, axes in graph.axes.items()},
        }
        for name, graph in contract.GRAPHS.items()
    }
    assert found.pop("verbs") == {name: list(verb.graphs) for name, verb in contract.VERBS.items()}
    assert found.pop("kinds") == {
        kind.name: {
            "axes": list(kind.axes),
            "plural": kind.plural,
            "dtypes": list(kind.dtypes),
            "pictorial": kind.pictorial,
            "incomplete": kind.incomplete,
            "presumed": kind.presumed,
        }
        for kind in map(kinds.find, kinds.names())
    }
    assert found == {}
    order = json.loads(run(programs / "sdkit-conformance", "--contract").stdout, object_pairs_hook=list)
    parts = dict(order)
    assert [name for name, _ in parts["graphs"]] == list(contract.GRAPHS)
    assert [name for name, _ in parts["verbs"]] == list(contract.VERBS)


def test_every_part_of_the_contract_runs(programs: Path, patchwork: Path) -> None:
    result = run(programs / "sdkit-conformance", "golden", patchwork)
    assert result.returncode == 0, result.stdout + result.stderr
    good = {" ".join(line.split()[1:3]) for line in result.stdout.splitlines() if line.startswith("ok")}
    for name, bundle in json.loads((patchwork / "golden.json").read_text())["bundles"].items():
        assert {f"{name} {result}" for result in bundle["outputs"]} <= good
        assert f"{name} refusals" in good


@pytest.mark.parametrize("what", ["other words", "not refused", "limit"])
def test_a_wrong_refusal_is_seen(programs: Path, patchwork: Path, tmp_path: Path, what: str) -> None:
    shutil.copytree(patchwork, tmp_path / "copy")
    golden = json.loads((tmp_path / "copy" / "golden.json").read_text())
    about = golden["bundles"]["patchwork"]
    if what == "other words":
        about["refused"]["swap"] += "!"
    elif what == "not refused":
        about["refused"]["encode"] = "this model cannot encode: it is blind"
    else:
        about["limit"]["steps"] -= 1
    (tmp_path / "copy" / "golden.json").write_text(json.dumps(golden))
    result = run(programs / "sdkit-conformance", "golden", tmp_path / "copy")
    assert result.returncode == 1
    assert "BAD  patchwork refusals " in result.stdout
    assert result.stdout.count("BAD") == 3  # batch sizes
    wrong = {line.split()[0] for line in result.stdout.splitlines() if " says: " in line}
    expected = {"other words": {"swap"}, "not refused": {"encode"}, "limit": {"generate", "resample_dynamic"}}
    assert wrong == expected[what]


def test_swap_is_refused_where_the_model_cannot(programs: Path, patchwork: Path, tmp_path: Path) -> None:
    rt = Runtime.open(patchwork / "patchwork", device="cpu", threads=1)
    a = write_sequences(tmp_path / "a.h5", rt.element, 2, 4, 1, lengths=False)
    target = tmp_path / "swapped.h5"
    found = message(run(programs / "sdkit-swap", a, a, target, "--bundle", patchwork / "patchwork"))
    assert found == said(lambda: rt.swap_file(a, a, target))
    assert found == "this model cannot swap: its dynamic codes are those of one static code"
    assert not target.exists()


def test_a_bundle_of_8_bit_graphs_runs(programs: Path, tmp_path: Path) -> None:
    folder = make_int8_conformance(tmp_path / "int8").parent
    result = run(programs / "sdkit-conformance", "golden", folder)
    assert result.returncode == 0, result.stdout + result.stderr
    described = json.loads((folder / "golden.json").read_text())["bundles"]["int8"]["outputs"]
    assert len([line for line in result.stdout.splitlines() if line.startswith("ok")]) == 3 * (len(described) + 1)


def test_a_wrong_result_is_seen(programs: Path, golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden, tmp_path / "copy")
    file = tmp_path / "copy" / "arrays" / "image.swap-a_with_b.bin"
    values = np.fromfile(file, "<f4")
    values[5] += 0.1
    values.tofile(file)
    result = run(programs / "sdkit-conformance", "golden", tmp_path / "copy")
    assert result.returncode == 1
    assert {" ".join(line.split()[:3]) for line in result.stdout.splitlines() if line.startswith("BAD")} == {
        "BAD image swap()/a_with_b"
    }


def test_calls_are_refused_in_the_same_words(programs: Path, golden: Path) -> None:
    result = run(programs / "sdkit-conformance", "mistakes", golden / "image")
    assert result.returncode == 0, result.stderr
    rt = Runtime.open(golden / "image", device="cpu", threads=1)
    shape, (s, d) = rt.element.shape, (rt.widths.static_size, rt.widths.dynamic_size)
    image, series = Element("image", (1, 1, 2), "float32"), Element("series", (2, 1), "float32")

    def clips(*axes: int, dtype: Any = np.uint8) -> Any:
        return np.zeros((*axes, *shape), dtype)

    def codes(static: tuple[int, ...], dynamic: tuple[int, ...], dtype: Any = np.float32) -> Codes:
        return Codes(np.zeros(static, dtype), np.zeros(dynamic, np.float32))

    calls: list[Callable[[], object]] = [
        lambda: rt.encode(clips(1, 2, dtype=np.float32)),
        lambda: rt.encode(np.zeros((1, 2, *shape[:2], shape[2] + 1), np.uint8)),
        lambda: rt.encode(np.zeros(2, np.uint8)),
        lambda: rt.encode(clips(1, 1)),
        lambda: rt.encode(clips(0, 3)),
        lambda: rt.swap(clips(2, 2), clips(1, 2)),
        lambda: rt.generate(0, 5),
        lambda: rt.generate(1, 1),
        lambda: rt.decode(codes((1, s + 1), (1, 2, d))),
        lambda: rt.decode(codes((2, s), (1, 2, d))),
        lambda: rt.decode(codes((1, s), (1, 1, d))),
        lambda: rt.decode(codes((1, s), (1, 2, d), np.uint8)),
        lambda: image.check(np.array([0, 0, 1, np.nan], np.float32).reshape(1, 2, 1, 1, 2)),
        lambda: image.check(np.array([-0.5, 0, 1.25, 0], np.float32).reshape(1, 2, 1, 1, 2), "a file"),
        lambda: series.check(np.full((1, 2, 2, 1), np.inf, np.float32)),
        lambda: Runtime(rt.bundle, rt.backend, batch_size=0),
        lambda: rt.stream(0),
        lambda: rt.stream(2).push(clips(1)),
        lambda: rt.stream(1).push(clips(1, dtype=np.float32)),
        lambda: rt.stream(2).reset([2]),
        lambda: Abilities("dbse", {"stream": "it sees the future"}).require("stream"),
        lambda: Abilities("some", max_steps=3).require_steps(4),
    ]
    assert result.stdout.splitlines() == [said(call) for call in calls]


# Bad bundles.


CASES = [*((name, "series") for name in BAD), *((name, "format1") for name in BAD1)]


@pytest.mark.parametrize(("what", "name"), CASES)
def test_bad_bundles_are_refused_in_the_same_words(
    programs: Path, golden: Path, tmp_path: Path, what: str, name: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(golden / name, bundle)
    (BAD if name == "series" else BAD1)[what](bundle)

    def use() -> None:
        rt = Runtime.open(bundle, device="cpu", threads=1)
        for graph in rt.backend.ports:
            rt.backend._session(graph)  # type: ignore[attr-defined]  # opened at first use in Python

    assert message(run(programs / "sdkit-conformance", "open", bundle)) == said(use)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff{}", b'{"a": 1} 2'])
def test_manifests_that_are_not_json(programs: Path, golden: Path, tmp_path: Path, text: bytes) -> None:
    """Where the text breaks is said in each parser's words."""
    bundle = tmp_path / "bundle"
    shutil.copytree(golden / "series", bundle)
    (bundle / "manifest.json").write_bytes(text)
    start = f"{bundle / 'manifest.json'} is not JSON: "
    assert message(run(programs / "sdkit-conformance", "open", bundle)).startswith(start)
    with pytest.raises(BundleError, match="is not JSON: "):
        Bundle.open(bundle)


def test_graphs_that_cannot_be_loaded(programs: Path, golden: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(golden / "series", bundle)
    content = b"no graph"
    (bundle / "static.onnx").write_bytes(content)
    about = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    edit(lambda m: m["graphs"]["static"]["files"]["onnx"].update(about))(bundle)
    start = f"{bundle / 'static.onnx'} cannot be loaded by onnxruntime {onnxruntime.__version__}: "
    assert message(run(programs / "sdkit-conformance", "open", bundle)).startswith(start)
    assert said(lambda: Runtime.open(bundle, device="cpu")).startswith(f"{bundle / 'static.onnx'} is not an ONNX graph")


def test_a_manifest_that_was_only_laid_out_anew_is_good(programs: Path, golden: Path, tmp_path: Path) -> None:
    """Spaces and escapes (of the degree sign in the units) are no change."""
    bundle = tmp_path / "bundle"
    shutil.copytree(golden / "series", bundle)
    text = (bundle / "manifest.json").read_text()
    assert "°" in text
    (bundle / "manifest.json").write_text(json.dumps(json.loads(text), indent=7))
    result = run(programs / "sdkit-conformance", "open", bundle)
    assert result.stdout == "series (4, 3) float32\n", result.stderr
    assert Bundle.open(bundle).manifest.element.units == ("mmHg", "°C", "%")


def test_bundles_are_found_as_in_python(programs: Path, golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "image", tmp_path / "run" / "bundle")
    program = programs / "sdkit-conformance"
    assert run(program, "open", tmp_path / "run").stdout == "image (3, 16, 16) uint8\n"
    named = run(program, "open", "", env={**ENVIRONMENT, "SDKIT_BUNDLE": str(tmp_path / "run")})
    assert named.stdout == "image (3, 16, 16) uint8\n"
    nowhere = tmp_path / "nowhere"
    assert message(run(program, "open", nowhere)) == said(lambda: Bundle.open(nowhere))


def test_a_library_that_is_not_there(programs: Path, golden: Path) -> None:
    missing = run(programs / "sdkit-conformance", "open", golden / "image", env={"SDKIT_ONNXRUNTIME": "/none.so"})
    assert message(missing).startswith("ONNX Runtime was not found (/none.so: ")


# The program.


def write_sequences(path: Path, element: Element, count: int, steps: int, seed: int, *, lengths: bool) -> Path:
    meta = SequenceMeta(element, rate=25.0, extra={"step": "1 hour"})
    with SequenceWriter(path, meta) as writer:
        writer.write(sample(element, count, steps, seed))
        if lengths:
            writer.put("lengths", np.array([2 + (seed + i) % (steps - 1) for i in range(count)]))
    return path


@pytest.mark.parametrize("lengths", [False, True], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", ["image", "series"])
def test_swapped_files_are_those_of_sdkit_swap(
    programs: Path, golden: Path, tmp_path: Path, name: str, lengths: bool
) -> None:
    rt = Runtime.open(golden / name, device="cpu", threads=1, batch_size=3)
    a = write_sequences(tmp_path / "a.h5", rt.element, 7, 5, 1, lengths=lengths)
    b = write_sequences(tmp_path / "b.h5", rt.element, 7, 6, 2, lengths=lengths)
    target = tmp_path / "swapped.h5"
    result = run(programs / "sdkit-swap", a, b, target, "--bundle", golden / name, "--batch-size", 3, "--threads", 1)
    assert result.returncode == 0, result.stderr
    rt.swap_file(a, b, tmp_path / "python.h5")
    with h5py.File(tmp_path / "python.h5") as wanted, h5py.File(target) as found:
        assert set(found) == set(wanted)
        for key, data in wanted.items():
            assert found[key].dtype == data.dtype
            limit = 1 if data.dtype == np.uint8 else 1e-3  # a grey level where a value lies between two
            np.testing.assert_allclose(found[key][:].astype(float), data[:].astype(float), atol=limit, rtol=1e-4)
            assert (found[key][:] == data[:]).mean() > 0.99 or data.dtype == np.float32
        assert set(found.attrs) == set(wanted.attrs)
        for key, value in wanted.attrs.items():
            same = json.loads if key in ("units", "feature_names", "classes") else lambda text: text
            assert same(found.attrs[key]) == same(value), key
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5", "python.h5", "swapped.h5"]


def test_count_and_force(programs: Path, golden: Path, tmp_path: Path) -> None:
    rt = Runtime.open(golden / "image", device="cpu", threads=1)
    a = write_sequences(tmp_path / "a.h5", rt.element, 3, 4, 1, lengths=False)
    b = write_sequences(tmp_path / "b.h5", rt.element, 2, 4, 2, lengths=False)
    target = tmp_path / "swapped.h5"
    command = [programs / "sdkit-swap", a, b, target, "--bundle", golden / "image"]
    assert message(run(*command)) == said(lambda: rt.swap_file(a, b, target))
    assert message(run(*command, "--count", 3)) == said(lambda: rt.swap_file(a, b, target, count=3))
    assert message(run(*command, "--count", "two")) == "--count two: it must be a whole number of at least 1"
    assert not target.exists()
    assert run(*command, "--count", 1).returncode == 0
    assert f"{target} exists already" in message(run(*command, "--count", 1))
    assert run(*command, "--count", 2, "--force").returncode == 0
    with h5py.File(target) as file:
        assert len(file["static_a_dynamic_b"]) == 2
    both = run(*command[:3], b, *command[4:], "--force", "--count", 1)
    assert message(both) == f"{b} is both input and output; choose another output"


def spoil_file(path: Path, what: str) -> None:
    with h5py.File(path, "a") as file:
        shape = file["data"].shape
        if what == "no data":
            file.move("data", "clips")
        elif what == "a group":
            file.move("data", "clips")
            file.create_group("data")
        elif what == "a link":
            del file["data"]
            file["data"] = h5py.ExternalLink("elsewhere.h5", "data")
        elif what == "newer":
            file.attrs["version"] = 2
        elif what == "float64":
            del file["data"]
            file["data"] = np.zeros(shape)
        elif what == "other element":
            del file["data"]
            file["data"] = np.zeros((3, 4, 3, 16, 32), np.uint8)
        elif what == "channels last":
            del file["data"]
            file["data"] = np.zeros((3, 4, 16, 16, 3), np.uint8)
        elif what == "axes":
            del file["data"]
            file["data"] = np.zeros((3, 4), np.uint8)
        elif what == "unknown kind":
            file.attrs["element"] = "sound"
        elif what == "dtype of the kind":
            del file["data"]
            file["data"] = np.zeros((3, 4, 8), np.uint8)
            file.attrs["element"] = "vector"
        elif what == "empty":
            del file["data"]
            file["data"] = np.zeros((0, *shape[1:]), np.uint8)
        elif what == "short":
            del file["data"]
            file["data"] = np.zeros((3, 1, *shape[2:]), np.uint8)
        elif what == "lengths":
            file["lengths"] = np.array([2, 3, 9])
        elif what == "too few lengths":
            file["lengths"] = np.array([2, 3])


SAME_WORDS = (
    "no data",
    "a link",
    "newer",
    "other element",
    "channels last",
    "axes",
    "unknown kind",
    "dtype of the kind",
    "empty",
    "short",
    "lengths",
)


@pytest.mark.parametrize("what", [*SAME_WORDS, "a group", "float64", "too few lengths", "text", "absent"])
def test_bad_files_are_refused(programs: Path, golden: Path, tmp_path: Path, what: str) -> None:
    rt = Runtime.open(golden / "image", device="cpu", threads=1)
    good = write_sequences(tmp_path / "a.h5", rt.element, 3, 4, 1, lengths=False)
    bad, target = tmp_path / "b.h5", tmp_path / "swapped.h5"
    if what == "text":
        bad.write_text("no HDF5")
    elif what != "absent":
        spoil_file(write_sequences(bad, rt.element, 3, 4, 2, lengths=False), what)
    found = message(run(programs / "sdkit-swap", good, bad, target, "--bundle", golden / "image"))
    expected = said(lambda: rt.swap_file(good, bad, target))
    assert found.startswith(str(bad))
    if what in (*SAME_WORDS, "absent"):
        assert found == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", *(["b.h5"] if bad.exists() else [])]


@pytest.mark.parametrize("words", [["a.h5", "b.h5"], ["--other"], ["a.h5", "b.h5", "c.h5", "--bundle"]])
def test_wrong_arguments_say_the_usage(programs: Path, words: list[str]) -> None:
    result = run(programs / "sdkit-swap", *words)
    message(result)
    assert "usage: sdkit-swap A B OUTPUT --bundle BUNDLE" in result.stderr


# LibTorch.


@pytest.fixture(scope="module")
def torch_programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built programs; slow to build, so only where SDKIT_CPP_TORCH is `1` or a folder."""
    torch = pytest.importorskip("torch")
    wanted = os.environ.get("SDKIT_CPP_TORCH")
    if not wanted:
        pytest.skip("set SDKIT_CPP_TORCH=1 to build the LibTorch example, which takes minutes")
    folder = tmp_path_factory.mktemp("torch") if wanted == "1" else Path(wanted)
    reason = build(SOURCES / "torch", folder, f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}")
    if reason is not None:
        pytest.skip(f"the LibTorch example cannot be built: {reason}")
    return folder


def test_torchscript_gives_the_same_results(
    torch_programs: Path, golden: Path, patchwork: Path, tmp_path: Path
) -> None:
    folder = torch_programs
    result = run(folder / "sdkit-conformance-torch", "golden", golden)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("ok ") > 50
    also = run(folder / "sdkit-conformance-torch", "golden", patchwork)
    assert also.returncode == 0, also.stdout + also.stderr
    rt = Runtime.open(golden / "image", device="cpu", threads=1)
    a = write_sequences(tmp_path / "a.h5", rt.element, 3, 4, 1, lengths=False)
    swapped = tmp_path / "swapped.h5"
    assert run(folder / "sdkit-swap-torch", a, a, swapped, "--bundle", golden / "image").returncode == 0
    with h5py.File(swapped) as file, h5py.File(a) as given:
        expected = rt.element.cast(rt.swap(given["data"][:], given["data"][:])[0])
        assert np.abs(file["static_a_dynamic_b"][:].astype(int) - expected).max() <= 1
