"""The JavaScript host computes and refuses what the Python runtime does; run by node."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sdkit.runtime import contract, kinds
from sdkit.runtime.bundles.bundle import Bundle, file_spec
from sdkit.runtime.bundles.manifest import Manifest
from sdkit.runtime.bundles.specs import TensorSpec
from sdkit.runtime.errors import CapabilityError, ConfigError, SdkitError
from sdkit.runtime.runtime import Runtime
from tests.export.runs import copy, reseal
from tests.hosts.bad import edit
from tests.hosts.every_method import MODELS, clips
from tests.hosts.golden import KEPT, make_int8_conformance
from tests.hosts.web import SOURCES, engine, node

Spoil = Callable[[Bundle], None]


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest) -> Path:
    """Return the folder of the conformance bundles and arrays."""
    node(), engine()
    return request.getfixturevalue("conformance_set")  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def every(request: pytest.FixtureRequest) -> Path:
    """Return the folder of a set of bundles of every method."""
    node(), engine()
    return request.getfixturevalue("set_of_every_method")  # type: ignore[no-any-return]


def conformance(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [node(), str(SOURCES / "conformance.mjs"), "--onnxruntime-web", str(engine()), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def evaluate(code: str, *arguments: object) -> Any:
    """Return what a program in JavaScript prints, a line of JSON each."""
    command = [node(), "--input-type=module", "-e", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def names_of(folder: Path) -> set[str]:
    """Return the names of all results of a set."""
    about = json.loads((folder / "golden.json").read_text())
    found = {f"noise{i} {what}" for i in range(len(about["noise"])) for what in ("raw", "normal")}
    for name, bundle in about["bundles"].items():
        found |= {f"{name} {result}" for result in bundle["outputs"]}
        found |= {f"{name} refusals"} if "refused" in bundle else set()
    return found


def agreeing(result: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^ok +(\S+ \S+) +largest difference \S+ ", result.stdout, re.MULTILINE)


def test_tables_are_those_of_python() -> None:
    names = "TENSORS, WIDTHS, MEANS, GRAPHS, VERBS, KINDS, STEP, STATIC_PRIOR, DYNAMIC_POSTERIOR"
    code = f'import {{ {names} }} from "{(SOURCES / "contract.mjs").as_uri()}";'
    (found,) = evaluate(f"{code} console.log(JSON.stringify({{ {names} }}))")
    for name in ("TENSORS", "WIDTHS", "MEANS"):
        assert list(found[name].items()) == listed(getattr(contract, name)), name
    for name in ("STEP", "STATIC_PRIOR", "DYNAMIC_POSTERIOR"):
        assert found[name] == getattr(contract, name)
    assert list(found["GRAPHS"]) == list(contract.GRAPHS)
    for name, graph in contract.GRAPHS.items():
        theirs = {"optional": [], "axes": {}, **found["GRAPHS"][name]}
        assert (theirs["inputs"], theirs["outputs"]) == (list(graph.inputs), list(graph.outputs)), name
        assert (theirs["optional"], [*theirs["axes"].items()]) == (list(graph.optional), listed(graph.axes)), name
    assert list(found["VERBS"].items()) == [(name, list(verb.graphs)) for name, verb in contract.VERBS.items()]
    traits = ("pictorial", "windowed", "incomplete")
    assert found["KINDS"] == {
        kind.name: {
            "axes": list(kind.axes),
            "dtypes": list(kind.dtypes),
            **{name: getattr(kind, name) for name in traits},
        }
        for kind in kinds.kinds()
    }


def listed(table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, list(value) if isinstance(value, tuple) else value) for name, value in table.items()]


@pytest.mark.parametrize("which", ["made anew", "kept", "every method"])
def test_every_verb_and_the_noise_agree_with_python(which: str, golden: Path, every: Path) -> None:
    folder = {"made anew": golden, "kept": KEPT, "every method": every}[which]
    result = conformance(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    found = agreeing(result)
    assert sorted(found) == sorted(names_of(folder))
    assert "all results agree" in result.stdout
    if which == "every method":
        assert {f"{name} refusals" for name in MODELS} <= set(found)
        assert {"skd swap()/a_with_b", "gpvae encode(seed)/dynamic", "generator generate()/x"} <= set(found)
        assert not {name for name in found if name.startswith(("gpvae swap", "generator encode"))}


def test_a_set_without_refusals_runs_and_a_wrong_refusal_is_noticed(every: Path, tmp_path: Path) -> None:
    shutil.copytree(every, tmp_path / "set")
    about = json.loads((every / "golden.json").read_text())
    bundles = {name: about["bundles"][name] for name in ("skd", "gpvae", "generator", "dsvae")}
    about |= {"bundles": bundles, "noise": []}
    del bundles["dsvae"]["refused"]
    bundles["skd"]["refused"]["stream"] += "!"
    bundles["generator"]["refused"]["decode"] = "this model cannot decode: it can"
    bundles["gpvae"]["limit"]["steps"] -= 1
    (tmp_path / "set" / "golden.json").write_text(json.dumps(about))
    result = conformance(tmp_path / "set")
    assert result.returncode == 1
    assert re.findall(r"^BAD +(.*?) +largest difference (\S+) ", result.stdout, re.MULTILINE) == [
        ("skd refusals", "NaN"),
        ("gpvae refusals", "NaN"),
        ("generator refusals", "NaN"),
    ]
    assert "dsvae refusals" not in result.stdout


def test_a_bundle_of_8_bit_graphs_runs(golden: Path, tmp_path: Path) -> None:
    result = conformance(make_int8_conformance(tmp_path / "int8").parent)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all results agree" in result.stdout


def test_a_wrong_result_is_noticed(golden: Path, tmp_path: Path) -> None:
    about = json.loads((golden / "golden.json").read_text())
    spoilt = tmp_path / "spoilt"
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


def tensors(graph: str, **changes: tuple[TensorSpec, ...]) -> Spoil:
    """Let a graph have other inputs or outputs."""

    def change(manifest: Manifest) -> dict[str, Any]:
        return {"graphs": {**manifest.graphs, graph: msgspec.structs.replace(manifest.graphs[graph], **changes)}}

    return manifest_change(change)


def renamed(graph: str, side: str, old: str, new: str) -> Spoil:
    """Let a tensor of a graph have another name."""

    def change(bundle: Bundle) -> None:
        found = getattr(bundle.manifest.graphs[graph], side)
        changed = tuple(msgspec.structs.replace(t, name=new) if t.name == old else t for t in found)
        tensors(graph, **{side: changed})(bundle)

    return change


def verbs(capabilities: tuple[str, ...], refusals: dict[str, str]) -> Spoil:
    return manifest_change(lambda manifest: {"capabilities": capabilities, "refusals": refusals})


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
    return {
        "settings": {
            **manifest.settings,
            "numbers": list(numbers),
            "text": 'é\u2028\x01\t"\\/',
            "none": [None, {}, []],
        },
        "feature_mean": (0.0, 1e22, -3.0),
        "feature_std": (1e-6, 120.5, 1e15),
    }


def short_floats(bundle: Bundle) -> None:
    """Let another program write floats as integers where it can."""
    reseal(bundle, feature_mean=(7.0, -0.5, 2.5))
    text_change("7.0", "7")(bundle)


def rewritten(bundle: Bundle) -> None:
    """Let another program write the same manifest: spaces and the order of keys are not content."""
    values = json.loads((bundle.path / "manifest.json").read_text("utf-8"))
    values = {key: values[key] for key in sorted(values)}
    (bundle.path / "manifest.json").write_text(json.dumps(values, indent=3), "utf-8")


def old(change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> Spoil:
    """Return a change of the manifest of format 1."""

    def spoil(bundle: Bundle) -> None:
        edit(change, seal=seal)(bundle.path)

    return spoil


def use_step(manifest: dict[str, Any], width: int | str) -> None:
    (state,) = (t for t in manifest["graphs"]["dynamic_step"]["inputs"] if t["name"] == "state")
    state["shape"] = ["B", width]


def edit_widths(**widths: int) -> Spoil:
    return manifest_change(lambda manifest: {"widths": msgspec.structs.replace(manifest.widths, **widths)})


def of_bytes(bundle: Bundle) -> None:
    """Let the element be a vector of bytes."""
    edit(lambda m: m["element"].update(kind="vector", shape=[768]))(bundle.path)


def without_context(bundle: Bundle) -> None:
    """Let the static graph return no context, which the dynamic graph takes."""
    kept = tuple(t for t in bundle.manifest.graphs["static"].outputs if t.name != "context")
    tensors("static", outputs=kept)(bundle)


SHAPE = ("B", "T", 3, 16, 16)
VERBS = tuple(contract.VERBS)
CASES: dict[str, tuple[str | None, Spoil]] = {
    "untouched": (None, lambda bundle: None),
    "awkward values": (None, manifest_change(awkward)),
    "rewritten": (None, rewritten),
    "short floats": (None, short_floats),
    "no manifest": ("MissingFileError", lambda bundle: (bundle.path / "manifest.json").unlink()),
    "not json": ("ManifestError", text_change("{", "[")),
    "not utf-8": ("ManifestError", replaced("manifest.json", b"\xff\xfe{}")),
    "other json": ("ManifestError", replaced("manifest.json", b"[]")),
    "unknown key": ("ManifestError", text_change('"steps"', '"licence": "MIT", "steps"')),
    "unknown key inside": ("ManifestError", text_change('"dynamic_size"', '"more": 1, "dynamic_size"')),
    "missing key": ("ManifestError", text_change('"steps": 5,', "")),
    "wrong type": ("ManifestError", text_change('"steps": 5', '"steps": "5"')),
    "wrong type of a limit": ("ManifestError", text_change('"max_steps": null', '"max_steps": 1.5')),
    "wrong type of a statistic": ("ManifestError", text_change('"feature_std": []', '"feature_std": [null]')),
    "float for int": ("ManifestError", text_change('"steps": 5', '"steps": 5.0')),
    "list for an object": ("ManifestError", text_change('"refusals": {}', '"refusals": []')),
    "wrong kind": ("ManifestError", text_change('"image"', '"video"')),
    "wrong axes": ("ManifestError", text_change('"image"', '"spectrum"')),
    "wrong dtype of a kind": ("ManifestError", of_bytes),
    "dtype that there is not": ("ManifestError", text_change('"dtype": "uint8"', '"dtype": "int16"')),
    "changed value": ("ManifestError", text_change('"steps": 5', '"steps": 6')),
    "float of the settings": ("ManifestError", text_change("255.0", "255")),
    "missing graph": ("ManifestError", manifest_change(without_prior)),
    "unknown graph": ("ManifestError", manifest_change(another_graph)),
    "unknown verb": ("ManifestError", verbs((*VERBS, "dream"), {})),
    "verb of no mention": ("ManifestError", verbs(VERBS[1:], {})),
    "verb had and refused": ("ManifestError", verbs(VERBS, {"swap": "it is tired"})),
    "unknown input": ("ManifestError", renamed("decoder", "inputs", "static", "x")),
    "missing output": ("ManifestError", renamed("static", "outputs", "static_std", "context")),
    "unknown output": ("ManifestError", renamed("decoder", "outputs", "x", "noise")),
    "wrong shape": ("ManifestError", tensors("encoder", inputs=(TensorSpec("x", "uint8", ("B", "T", 3)),))),
    "no free axis": ("ManifestError", tensors("encoder", inputs=(TensorSpec("x", "uint8", (1,)),))),
    "wrong dtype": ("ManifestError", tensors("encoder", inputs=(TensorSpec("x", "float32", SHAPE),))),
    "context from nowhere": ("ManifestError", without_context),
    "no state": ("ManifestError", edit_widths(state=0)),
    "wrong version": ("BundleVersionError", manifest_change(lambda manifest: {"version": 3})),
    "no version": ("BundleVersionError", text_change('"version": 2', '"version": null')),
    "version of another type": ("BundleVersionError", text_change('"version": 2', '"version": true')),
    "version of a fraction": ("BundleVersionError", text_change('"version": 2', '"version": 2.0')),
    "versions": ("BundleVersionError", text_change('"version": 2', '"version": [1, 2]')),
    "version of another format": ("ManifestError", text_change('"version": 2', '"version": 1')),
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
"""Of a bundle of format 2: the error that it must be refused with, and what is done to it."""
OLD_CASES: dict[str, tuple[str | None, Spoil]] = {
    "untouched": (None, lambda bundle: None),
    "without a step graph": (None, old(lambda m: m["graphs"].pop("dynamic_step"))),
    "bidirectional": (None, old(lambda m: m.update(causal=False))),
    "middle": (None, old(lambda m: m.update(anchor="middle"))),
    "missing key": ("ManifestError", old(lambda m: m.pop("anchor"))),
    "key of format 2": ("ManifestError", old(lambda m: m.update(method="dbse"))),
    "no truth": ("ManifestError", old(lambda m: m.update(causal=1))),
    "changed value": ("ManifestError", old(lambda m: m.update(steps=6), seal=False)),
    "missing graph": ("ManifestError", old(lambda m: m["graphs"].pop("prior"))),
    "graph of format 2": ("ManifestError", old(lambda m: m["graphs"].update(static_prior=m["graphs"]["prior"]))),
    "state of a free width": ("ManifestError", old(lambda m: use_step(m, "K"))),
    "state of no width": ("ManifestError", old(lambda m: use_step(m, 0))),
    "newer version": ("ManifestError", old(lambda m: m.update(version=2))),
}
"""The same of a bundle of format 1."""
OF_SERIES = ("awkward values", "short floats")
"""Cases about statistics of features, which images have not."""
Opened = dict[str, tuple[Path, dict[str, Any]]]


def open_all(source: Bundle, folder: Path, cases: dict[str, tuple[str | None, Spoil]]) -> Opened:
    """Return, by case, a spoilt bundle and what JavaScript says of it; one process opens them all."""
    paths = {name: folder / name.replace(" ", "-") / "bundle" for name in cases}
    for name, (_, spoil) in cases.items():
        of = Bundle.open(source.path.parent / "series") if name in OF_SERIES else source
        spoil(copy(of, paths[name]))
    result = conformance("--open", *paths.values())
    assert result.returncode == 0, result.stderr
    answers = map(json.loads, result.stdout.splitlines())
    return {name: (paths[name], answer) for name, answer in zip(cases, answers, strict=True)}


@pytest.fixture(scope="module")
def opened(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    return open_all(Bundle.open(golden / "image"), tmp_path_factory.mktemp("spoilt"), CASES)


@pytest.fixture(scope="module")
def old_opened(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    node(), engine()
    return open_all(of_format_1(), tmp_path_factory.mktemp("old"), OLD_CASES)


def of_format_1() -> Bundle:
    """Return a kept bundle that was written in format 1."""
    bundles = [Bundle.open(path.parent) for path in sorted(KEPT.glob("*/manifest.json"))]
    return next(bundle for bundle in bundles if bundle.manifest.version == 1)


OTHER_WORDS = ("is not JSON", "cannot be loaded by onnxruntime")
"""What messages of Python and JavaScript have in common where the rest is of a parser or an engine."""


def check_answer(path: Path, answer: dict[str, Any], expected: str | None) -> None:
    """Compare what JavaScript says of a bundle with what Python says, word for word."""
    try:
        every_session(path)
        said, message = None, ""
    except SdkitError as error:
        said, message = type(error).__name__, str(error)
    assert (said, answer["error"]) == (expected, expected), answer["message"]
    shared = next((words for words in OTHER_WORDS if words in message), None)
    if "is not an ONNX graph" in message:  # which Python sees before an engine does
        file = message.partition(" is not an ONNX graph")[0]
        assert answer["message"].startswith(f"{file} cannot be loaded by onnxruntime")
    elif shared is None:
        assert answer["message"] == message
    else:
        assert answer["message"].partition(shared)[:2] == message.partition(shared)[:2]
    assert "\n" not in answer["message"]


def every_session(path: Path) -> None:
    """Load every graph, as JavaScript does when it opens a bundle."""
    rt = Runtime.open(path, device="cpu", threads=1)
    for graph in rt.manifest.graphs:
        rt.backend._session(graph)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", CASES)
def test_bundles_are_opened_and_refused_as_by_python(opened: Opened, name: str) -> None:
    check_answer(*opened[name], CASES[name][0])


@pytest.mark.parametrize("name", OLD_CASES)
def test_bundles_of_format_1_are_opened_and_refused_as_by_python(old_opened: Opened, name: str) -> None:
    check_answer(*old_opened[name], OLD_CASES[name][0])


def test_messages_say_what_is_wrong_and_where(opened: Opened) -> None:
    for name, words in {
        "changed graph": "decoder.onnx is not the file that was exported (its bytes changed)",
        "parent": "the manifest points outside the bundle, to '../golden.npz'; do not use this bundle",
        "wrong version": "manifest.json has version 3; this sdkit reads versions 1 and 2",
        "wrong type": "Expected `int`, got `str` - at `$.steps`",
        "verb of no mention": "names the verbs decode, reconstruct",
        "missing graph": "expected encoder, static, dynamic, decoder, prior, dynamic_step, and any of static_prior",
        "wrong shape": "the shape ('B', 'T', 3); expected ('B', 'T', 3, 16, 16)",
        "exchanged graphs": "graph 'static' has other inputs or outputs than the manifest says",
    }.items():
        path, answer = opened[name]
        assert words in answer["message"]
        assert answer["message"].startswith(str(path))


UPGRADED = """
import { Bundle, Runtime } from "%(module)s";
for (const path of process.argv.slice(1)) console.log(JSON.stringify((await Bundle.open(path)).manifest));
"""


def test_manifests_of_format_1_become_those_of_today(old_opened: Opened) -> None:
    paths = [old_opened[name][0] for name, (error, _) in OLD_CASES.items() if error is None]
    answers = evaluate(UPGRADED % {"module": (SOURCES / "sdkit.mjs").as_uri()}, *paths)
    for path, found in zip(paths, answers, strict=True):
        manifest = Bundle.open(path).manifest
        assert found == json.loads(msgspec.json.encode(manifest))
        assert (found["version"], found["method"], found["widths"]["context"] > 0) == (1, "dbse", True)


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
  codes: async () => rt.decode({ static: await rt.drawStatic(2), dynamic: await rt.drawDynamic(3, 4) }),
  count: () => rt.generate(0),
  seed: () => rt.generate(1, 4, { seed: -1 }),
  large: () => rt.generate(1, 4, { seed: 2 ** 60 }),
  batch: () => Runtime.open(process.argv[1], { ort, batchSize: 0 }),
  streams: async () => rt.stream(0),
  rows: () => rt.stream(2).reset([2]),
  element: () => rt.stream(2).push({ data: good.slice(768), shape: [1, ...element] }),
  values: () => rt.stream(1).push({ data: new Float32Array(768), shape: [1, ...element] }),
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
    code = BAD_CALLS % {"module": (SOURCES / "sdkit.mjs").as_uri(), "engine": engine_module()}
    answers = {line[0]: line[1:] for line in evaluate(code, golden / "image")}
    assert answers.pop("at once") == [True, 2 * 3 * 768]
    assert answers.pop("kept") == [True, True]
    config = {"count", "seed", "large", "batch", "streams", "rows"}
    assert {name: answer[0] for name, answer in answers.items()} == {
        name: "ConfigError" if name in config else "DataError" for name in answers
    }
    assert len(answers) == 15
    assert answers["rows"][1] == "rows = [2]: there are 2 streams, 0 to 1"
    assert answers["shape"][1] == "x has shape (2, 3, 3, 16, 8); expected (B, T, 3, 16, 16) uint8"
    assert "nothing is cast silently" in answers["dtype"][1]
    assert "bigint beyond 2^53" in answers["large"][1]


def engine_module() -> str:
    """Return the address of onnxruntime-web for node."""
    return (engine() / "dist" / "ort.node.min.mjs").as_uri()


REFUSED = """
import { CapabilityError, ConfigError, Runtime } from "%(module)s";
const ort = await import("%(engine)s");
ort.env.wasm.numThreads = 1;
const rt = await Runtime.open(process.argv[1], { ort });
const most = rt.manifest.max_steps;
const long = { data: new Uint8Array((most + 1) * 768), shape: [1, most + 1, ...rt.element.shape] };
const tries = {
  swap: () => rt.swap(long, long),
  resample_static: () => rt.resampleStatic(long),
  stream: async () => rt.stream(),
  generate: () => rt.generate(1, most + 1),
  resample_dynamic: () => rt.resampleDynamic(long),
  draw: () => rt.drawDynamic(1, most + 1),
  few: () => rt.generate(1, 1),
};
for (const [name, call] of Object.entries(tries)) {
  const error = await call().then(() => null, (reason) => reason);
  const kinds = [error instanceof CapabilityError, error instanceof ConfigError];
  console.log(JSON.stringify([name, error.name, error.message, kinds]));
}
console.log(JSON.stringify([(await rt.generate(1, most)).shape, (await rt.reconstruct(long)).shape]));
"""


def test_verbs_that_a_model_has_not_and_steps_that_its_prior_draws_not_are_refused_in_the_words_of_python(
    every: Path,
) -> None:
    path = every / "gpvae"
    code = REFUSED % {"module": (SOURCES / "sdkit.mjs").as_uri(), "engine": engine_module()}
    *answers, shapes = evaluate(code, path)
    rt = Runtime.open(path, device="cpu", threads=1)
    most = rt.manifest.max_steps
    assert most == 5
    x = clips(rt, most + 1)[:1]
    calls: dict[str, Callable[[], object]] = {
        "swap": lambda: rt.swap(x, x),
        "resample_static": lambda: rt.resample_static(x),
        "stream": rt.stream,
        "generate": lambda: rt.generate(1, most + 1),
        "resample_dynamic": lambda: rt.resample_dynamic(x),
        "draw": lambda: rt.draw_dynamic(1, most + 1, 0),
        "few": lambda: rt.generate(1, 1),
    }
    for (name, error, message, (refused, config)), call in zip(answers, calls.values(), strict=True):
        with pytest.raises(ConfigError) as said:
            call()
        assert (error, message) == (type(said.value).__name__, str(said.value)), name
        assert (refused, config) == (isinstance(said.value, CapabilityError), True)
    assert [line[0] for line in answers] == list(calls)
    assert answers[0][2] == "this model cannot swap: its method has no static code"
    assert shapes == [[1, most, 3, 16, 16], [1, most + 1, 3, 16, 16]]
