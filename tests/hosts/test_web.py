"""The JavaScript host computes and refuses what the Python runtime does; run by node."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdkit.runtime.bundles.bundle import Bundle, file_spec
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.errors import SdkitError
from sdkit.runtime.runtime import Runtime
from tests.export.runs import copy, reseal
from tests.hosts.golden import make_conformance, make_int8_conformance
from tests.hosts.web import SOURCES, engine, node

Spoil = Callable[[Bundle], None]


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the conformance bundles and arrays."""
    node(), engine()
    return make_conformance(tmp_path_factory.mktemp("golden") / "all").parent


def conformance(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [node(), str(SOURCES / "conformance.mjs"), "--onnxruntime-web", str(engine()), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_verb_and_the_noise_agree_with_python(golden: Path) -> None:
    result = conformance(golden)
    assert result.returncode == 0, result.stdout + result.stderr
    about = json.loads((golden / "golden.json").read_text())
    expected = sum(len(bundle["outputs"]) for bundle in about["bundles"].values()) + 2 * len(about["noise"])
    assert result.stdout.count("ok  ") == expected
    assert "all results agree" in result.stdout


def test_a_bundle_of_8_bit_graphs_runs(golden: Path, tmp_path: Path) -> None:
    result = conformance(make_int8_conformance(tmp_path / "int8").parent)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all results agree" in result.stdout


def test_a_wrong_result_is_noticed(golden: Path) -> None:
    about = json.loads((golden / "golden.json").read_text())
    spoilt = golden.parent / "spoilt"
    shutil.copytree(golden, spoilt)
    series = about["bundles"]["series"]["outputs"]
    series["swap()/a_with_b"], series["swap()/b_with_a"] = series["swap()/b_with_a"], series["swap()/a_with_b"]
    (spoilt / "golden.json").write_text(json.dumps(about))
    result = conformance(spoilt)
    assert result.returncode == 1
    assert "2 results differ" in result.stdout


def text_change(old: str, new: str) -> Spoil:
    def change(bundle: Bundle) -> None:
        path = bundle.path / "manifest.json"
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")

    return change


def manifest_change(change: Callable[[Manifest], dict[str, Any]]) -> Spoil:
    return lambda bundle: reseal(bundle, **change(bundle.manifest))


def changed_byte(name: str) -> Spoil:
    def change(bundle: Bundle) -> None:
        content = bytearray((bundle.path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle.path / name).write_bytes(content)

    return change


def replaced(name: str, content: bytes) -> Spoil:
    def change(bundle: Bundle) -> None:
        (bundle.path / name).write_bytes(content)

    return change


def longer(bundle: Bundle) -> None:
    with (bundle.path / "golden.npz").open("ab") as stream:
        stream.write(b"\n")


def golden_path(path: str) -> Spoil:
    """Let the manifest name another path for the golden vectors; a copy of them lies above the bundle and in it."""

    def change(bundle: Bundle) -> None:
        spec = bundle.manifest.files["golden"]
        for place in (bundle.path.parent / "golden.npz", bundle.path / "golden.pkl"):
            place.write_bytes((bundle.path / spec.path).read_bytes())
        files = {**bundle.manifest.files, "golden": msgspec.structs.replace(spec, path=path)}
        reseal(bundle, files=files)

    return change


def link_out(bundle: Bundle) -> None:
    """Let a file be a link that leaves the bundle."""
    (bundle.path.parent / "outside.onnx").write_bytes((bundle.path / "prior.onnx").read_bytes())
    (bundle.path / "prior.onnx").unlink()
    (bundle.path / "prior.onnx").symlink_to("../outside.onnx")


def without_prior(manifest: Manifest) -> dict[str, Any]:
    return {"graphs": {name: graph for name, graph in manifest.graphs.items() if name != "prior"}}


def another_graph(manifest: Manifest) -> dict[str, Any]:
    return {"graphs": {**manifest.graphs, "discriminator": manifest.graphs["prior"]}}


def no_onnx(manifest: Manifest) -> dict[str, Any]:
    return {
        "graphs": {
            name: msgspec.structs.replace(graph, files={"torchscript": graph.files["torchscript"]})
            for name, graph in manifest.graphs.items()
        }
    }


def exchanged(manifest: Manifest) -> dict[str, Any]:
    """Let the static graph be the prior's file."""
    static, prior = manifest.graphs["static"], manifest.graphs["prior"]
    return {"graphs": {**manifest.graphs, "static": msgspec.structs.replace(static, files=prior.files)}}


def no_graph(bundle: Bundle) -> None:
    """Let the static graph be no graph, in a manifest that vouches for it."""
    (bundle.path / "static.onnx").write_bytes(b"not protobuf")
    static = bundle.manifest.graphs["static"]
    files = {**static.files, "onnx": file_spec(bundle.path, "static.onnx")}
    reseal(bundle, graphs={**bundle.manifest.graphs, "static": msgspec.structs.replace(static, files=files)})


def awkward(manifest: Manifest) -> dict[str, Any]:
    """Put values into the manifest that other languages write in other ways."""
    numbers = (1e-6, 1e-5, 0.1, 1.0, -0.0, 123456.789, 1e15, 1e16, 1e22, 5e-324, -7, 2**63)
    return {"model": {**manifest.model, "numbers": list(numbers), "text": 'é\u2028\x01\t"\\/', "none": [None, {}, []]}}


def rewritten(bundle: Bundle) -> None:
    """Let another program write the same manifest: spaces and the order of keys are not content."""
    values = json.loads((bundle.path / "manifest.json").read_text("utf-8"))
    values = {key: values[key] for key in sorted(values)}
    (bundle.path / "manifest.json").write_text(json.dumps(values, indent=3), "utf-8")


CASES: dict[str, tuple[str | None, Spoil]] = {
    "untouched": (None, lambda bundle: None),
    "awkward values": (None, manifest_change(awkward)),
    "rewritten": (None, rewritten),
    "no manifest": ("MissingFileError", lambda bundle: (bundle.path / "manifest.json").unlink()),
    "not json": ("ManifestError", text_change("{", "[")),
    "not utf-8": ("ManifestError", replaced("manifest.json", b"\xff\xfe{}")),
    "other json": ("ManifestError", replaced("manifest.json", b"[]")),
    "unknown key": ("ManifestError", text_change('"steps"', '"licence": "MIT", "steps"')),
    "missing key": ("ManifestError", text_change('"steps": 5,', "")),
    "wrong type": ("ManifestError", text_change('"steps": 5', '"steps": "5"')),
    "float for int": ("ManifestError", text_change('"steps": 5', '"steps": 5.0')),
    "wrong kind": ("ManifestError", text_change('"image"', '"video"')),
    "wrong axes": ("ManifestError", text_change('"image"', '"spectrum"')),
    "changed value": ("ManifestError", text_change('"steps": 5', '"steps": 6')),
    "float of the model": ("ManifestError", text_change("255.0", "255")),
    "missing graph": ("ManifestError", manifest_change(without_prior)),
    "unknown graph": ("ManifestError", manifest_change(another_graph)),
    "wrong version": ("BundleVersionError", manifest_change(lambda manifest: {"version": 2})),
    "changed graph": ("DigestError", changed_byte("decoder.onnx")),
    "changed torchscript": ("DigestError", changed_byte("prior.ts.pt")),
    "changed card": ("DigestError", changed_byte("MODEL_CARD.md")),
    "longer file": ("DigestError", longer),
    "missing file": ("BundleFileError", lambda bundle: (bundle.path / "static.onnx").unlink()),
    "parent": ("BundlePathError", golden_path("../golden.npz")),
    "parent within": ("BundlePathError", golden_path("inner/../golden.npz")),
    "absolute": ("BundlePathError", golden_path("/nowhere/golden.npz")),
    "windows": ("BundlePathError", golden_path("..\\golden.npz")),
    "drive": ("BundlePathError", golden_path("C:golden.npz")),
    "no path": ("BundlePathError", golden_path("")),
    "kind of file": ("BundlePathError", golden_path("golden.pkl")),
    "link out": ("BundlePathError", link_out),
    "no onnx": ("BundleError", manifest_change(no_onnx)),
    "no graph": ("BundleError", no_graph),
    "exchanged graphs": ("ManifestError", manifest_change(exchanged)),
}


@pytest.fixture(scope="module")
def opened(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Return, by case, a spoilt bundle and what JavaScript says of it; one process opens them all."""
    folder = tmp_path_factory.mktemp("spoilt")
    source = Bundle.open(golden / "image")
    paths = {name: folder / name.replace(" ", "-") / "bundle" for name in CASES}
    for name, (_, spoil) in CASES.items():
        spoil(copy(source, paths[name]))
    result = conformance("--open", *paths.values())
    assert result.returncode == 0, result.stderr
    answers = map(json.loads, result.stdout.splitlines())
    return {name: (paths[name], answer) for name, answer in zip(CASES, answers, strict=True)}


@pytest.mark.parametrize("name", CASES)
def test_bundles_are_opened_and_refused_as_by_python(opened: dict[str, tuple[Path, dict[str, Any]]], name: str) -> None:
    path, answer = opened[name]
    try:
        Runtime.open(path, device="cpu", threads=1)
        said = None
    except SdkitError as error:
        said = type(error).__name__
    assert (said, answer["error"]) == (CASES[name][0], CASES[name][0]), answer["message"]
    assert "\n" not in answer["message"]


def test_messages_say_what_is_wrong_and_where(opened: dict[str, tuple[Path, dict[str, Any]]]) -> None:
    for name, words in {
        "changed graph": "decoder.onnx is not the file that was exported (its bytes changed)",
        "missing file": "static.onnx is missing, though the manifest names it",
        "parent": "the manifest points outside the bundle, to '../golden.npz'; do not use this bundle",
        "wrong version": "manifest.json has version 2; this sdkit reads version 1",
        "unknown key": "unknown field 'licence' - at $",
        "wrong type": "Expected int, got string - at $.steps",
        "exchanged graphs": "graph 'static' has other inputs or outputs than the manifest says",
    }.items():
        path, answer = opened[name]
        assert words in answer["message"]
        assert answer["message"].startswith(str(path))


BAD_CALLS = """
import { Runtime, DataError, ConfigError } from "%(module)s";
const ort = await import("%(engine)s");
ort.env.wasm.numThreads = 1;
const rt = await Runtime.open(process.argv[1], { ort });
const [good, element] = [new Uint8Array(2 * 3 * 768), [3, 16, 16]];
const tries = {
  dtype: () => rt.encode({ data: new Float32Array(good), shape: [2, 3, ...element] }),
  shape: () => rt.encode({ data: good, shape: [2, 3, 3, 16, 8] }),
  size: () => rt.encode({ data: good, shape: [1, 3, ...element] }),
  steps: () => rt.encode({ data: good, shape: [6, 1, ...element] }),
  empty: () => rt.encode({ data: good, shape: [0, 3, ...element] }),
  pairs: () => rt.swap({ data: good, shape: [2, 3, ...element] }, { data: good, shape: [3, 2, ...element] }),
  codes: async () => rt.decode({ static: rt.drawStatic(2), dynamic: await rt.drawDynamic(3, 4) }),
  count: () => rt.generate(0),
  seed: () => rt.generate(1, 4, { seed: -1 }),
  large: () => rt.generate(1, 4, { seed: 2 ** 60 }),
  batch: () => Runtime.open(process.argv[1], { ort, batchSize: 0 }),
  streams: async () => rt.stream(0),
  rows: () => rt.stream(2).reset([2]),
  element: () => rt.stream(2).push({ data: good.slice(768), shape: [1, ...element] }),
  values: () => rt.stream(1).push({ data: new Float32Array(768), shape: [1, ...element] }),
  bidirectional: async () => new Runtime({ ...rt.manifest, causal: false }, ort, rt.sessions, 2).stream(),
  middle: async () => new Runtime({ ...rt.manifest, anchor: "middle" }, ort, rt.sessions, 2).stream(),
  old: async () => new Runtime({ ...rt.manifest, graphs: {} }, ort, rt.sessions, 2).stream(),
};
for (const [name, call] of Object.entries(tries)) {
  const error = await call().then(() => null, (reason) => reason);
  console.log(JSON.stringify([name, error?.name ?? null, error?.message ?? ""]));
}
const stream = rt.stream(2);
const two = (part) => ({ data: new Uint8Array(1536).fill(part * 100 + 9), shape: [2, ...element] });
const kept = await stream.push(two(0)).then(() => stream.state);
const pushed = await Promise.all([stream.push(two(1)), stream.push(two(2))]);
stream.state = kept;
const again = [await stream.push(two(1)), await stream.push(two(2))];
const text = (steps) => steps.map((step) => String(step.dynamic.data)).join();
const moves = text(pushed.slice(0, 1)) !== text(pushed.slice(1));
console.log(JSON.stringify(["kept", text(pushed) === text(again), moves]));
const same = { data: good, shape: [2, 3, ...element] };
const many = await Promise.all([rt.encode(same), rt.encode(same), rt.reconstruct(same)]);
console.log(JSON.stringify(["at once", String(many[0].static.data) === String(many[1].static.data), good.length]));
"""


def test_bad_arguments_are_refused_and_calls_may_overlap(golden: Path) -> None:
    module = (SOURCES / "sdkit.mjs").as_uri()
    code = BAD_CALLS % {"module": module, "engine": (engine() / "dist" / "ort.node.min.mjs").as_uri()}
    command = [node(), "--input-type=module", "-e", code, str(golden / "image")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    answers = {line[0]: line[1:] for line in map(json.loads, result.stdout.splitlines())}
    assert answers.pop("at once") == [True, 2 * 3 * 768]
    assert answers.pop("kept") == [True, True]
    config = {"count", "seed", "large", "batch", "streams", "rows", "bidirectional", "middle", "old"}
    assert {name: answer[0] for name, answer in answers.items()} == {
        name: "ConfigError" if name in config else "DataError" for name in answers
    }
    assert len(answers) == 18
    rt = Runtime.open(golden / "image", device="cpu", threads=1)
    for name, change in {
        "bidirectional": {"causal": False},
        "middle": {"anchor": "middle"},
        "old": {"state_size": 0},
    }.items():
        with pytest.raises(SdkitError) as said:
            rt.online._replace(**change).require()  # type: ignore[arg-type]
        assert answers[name][1] == str(said.value)
    assert answers["rows"][1] == "rows = [2]: there are 2 streams, 0 to 1"
    assert answers["shape"][1] == "x has shape (2, 3, 3, 16, 8); expected (B, T, 3, 16, 16) uint8"
    assert "nothing is cast silently" in answers["dtype"][1]
    assert "bigint beyond 2^53" in answers["large"][1]
