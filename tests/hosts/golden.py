"""What every host must reproduce: small bundles, and inputs and results of the Python runtime as raw arrays.

    python -m tests.hosts.golden FOLDER          a set of both graph formats
    python -m tests.hosts.golden --kept          the one in tests/conformance, anew: ONNX graphs alone

`BUNDLES` lists what is made. tests/conformance/README.md says what is in a set and how a host is held against it.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sdkit.export.bundle import Formats
from sdkit.export.proof import parity
from sdkit.export.proof.cases import run_stream, sample, scale_of
from sdkit.runtime.bundles.bundle import Bundle, file_spec
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array, Element
from sdkit.runtime.errors import CapabilityError, ConfigError
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.runtime import Runtime
from tests.export.runs import lively_model, quick_export, write_data, write_run
from tests.hosts.bad import sealed

KEPT = Path(__file__).parents[1] / "conformance"
SEED, FIRST, COUNT, STEPS = 2**64 - 3, 2**33 + 7, 3, 3
LENGTHS = (4, 5)
"""T of the inputs `x` and `other`: swap joins codes of different lengths."""
RESET_ROWS, RESET_AFTER = (1,), 2
"""Streams of `stream(reset)` that begin anew, and after how many pushes."""
RESOLUTION = 1e-6
"""Relative tolerance of decoded data: some steps of float32, which at 150 mmHg are not small beside 0.5 °C."""
SERIES: dict[str, Any] = {
    "element": Element("series", (4, 3), "float32", ("mmHg", "°C", "%"), ("pressure", "temperature", "humidity")),
    "feature_mean": (120.0, 37.0, 50.0),
    "feature_std": (20.0, 0.5, 10.0),
    "encoder_widths": (8, 6),
    "decoder_widths": (6, 8),
}
VECTOR: dict[str, Any] = {
    "element": Element("vector", (3,), "float32", ("m", "rad", "N"), ("place", "angle", "force")),
    "feature_mean": (1.0, 0.5, -20.0),
    "feature_std": (2.0, 0.5, 10.0),
    "encoder_widths": (8, 6),
    "decoder_widths": (6, 8),
}
BUNDLES: Mapping[str, Mapping[str, Any]] = {
    "image": {"variant": "filter"},
    "series": SERIES,
    "dsvae": {"method": "dsvae", "static_prior": "fitted", **SERIES},
    "skd": {"method": "skd", **SERIES},
    "gpvae": {"method": "gpvae", **SERIES},
    "vae": {"method": "vae", **SERIES},
    "glr": {"method": "glr", **SERIES},
    "fhvae": {"method": "fhvae", "segment_steps": 2, **SERIES},
    "mocogan": {"method": "mocogan", **SERIES},
    "vector": VECTOR,
}
"""The bundles of a set by name, and of which model each is: the arguments of `lively_model`."""
FORMAT1: Mapping[str, Any] = {"variant": "paper", "initialised": False}
"""The same of the bundle `format1`, which sdkit wrote while manifests had format 1. It is kept as it is and copied into
every set: old bundles run in every host."""
NOISES = (
    (0, Purpose.STATIC_PRIOR, 0, (5,)),
    (20, Purpose.DYNAMIC_PRIOR, 3, (4, 3)),
    (SEED, Purpose.STATIC_POSTERIOR, FIRST, (7,)),
    (2**53 + 1, Purpose.DYNAMIC_POSTERIOR, 2**63, (2, 5)),
)


def make_conformance(
    folder: Path, *, torchscript: bool = True, bundles: Mapping[str, Mapping[str, Any]] = BUNDLES
) -> Path:
    """Write the bundles, the arrays and golden.json into a new folder, and return the path of golden.json.

    Args:
        folder: to write.
        torchscript: whether bundles hold TorchScript graphs too, and all their files; else ONNX graphs and a card.
        bundles: those that are made, besides `format1`.
    """
    (folder / "arrays").mkdir(parents=True)
    files: dict[bytes, str] = {}
    described = {"format1": _copy_format1(folder, files)}
    if torchscript:
        _add_torchscript(folder / "format1")
    for name, model in bundles.items():
        bundle = export(folder / name, model, "all" if torchscript else "onnx")
        described[name] = _describe(folder, name, bundle, files)
        if not torchscript:
            _slim(bundle)
    noise = [_noise(folder, f"noise{i}", *case) for i, case in enumerate(NOISES)]
    target = folder / "golden.json"
    target.write_text(json.dumps({"bundles": described, "noise": noise}, indent=1) + "\n")
    return target


def make_int8_conformance(folder: Path) -> Path:
    """Write the same of one bundle of 8-bit graphs.

    Results are held to a tenth of their largest value: they depend a little on the batch, and on how a host's kernels
    round, while those of a host that takes int8 for something else are all wrong.
    """
    (folder / "arrays").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        run = write_run(Path(place) / "run", lively_model())
        data = write_data(Path(place) / "data.h5", run.config.facts.element)
        bundle = quick_export(run, folder / "int8", precision="int8", calibration=data)
    target = folder / "golden.json"
    target.write_text(json.dumps({"bundles": {"int8": _describe(folder, "int8", bundle, {})}, "noise": []}, indent=1))
    return target


def export(path: Path, model: Mapping[str, Any], format: Formats) -> Bundle:
    """Export a tiny model."""
    with tempfile.TemporaryDirectory() as place:
        return quick_export(write_run(Path(place) / "run", lively_model(**model)), path, format=format)


def with_torchscript(folder: Path) -> Path:
    """Write the kept set with bundles that hold TorchScript graphs too; results are the kept ones."""
    make_conformance(folder)
    shutil.rmtree(folder / "arrays")
    shutil.copytree(KEPT / "arrays", folder / "arrays")
    shutil.copyfile(KEPT / "golden.json", folder / "golden.json")
    return folder


def remake() -> None:
    """Make the kept set anew."""
    with tempfile.TemporaryDirectory() as place:
        made = make_conformance(Path(place) / "made", torchscript=False).parent
        for path in KEPT.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
        shutil.copytree(made, KEPT, dirs_exist_ok=True)


def _copy_format1(folder: Path, files: dict[bytes, str]) -> dict[str, Any]:
    """Copy the kept bundle of format 1 and its arrays into a set, and return its part of golden.json."""
    shutil.copytree(KEPT / "format1", folder / "format1")
    about: dict[str, Any] = json.loads((KEPT / "golden.json").read_text("utf-8"))["bundles"]["format1"]
    for array in (*about["inputs"].values(), *about["outputs"].values()):
        shutil.copyfile(KEPT / array["file"], folder / array["file"])
        files[(KEPT / array["file"]).read_bytes()] = array["file"]
    return about


def _add_torchscript(bundle: Path) -> None:
    """Add the TorchScript graphs of the same model to a bundle of format 1, and keep its format."""
    file = bundle / "manifest.json"
    manifest = json.loads(file.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as place:
        made = export(Path(place) / "bundle", FORMAT1, "torchscript")
        for name, graph in manifest["graphs"].items():
            source = made.graph_file(name, "torchscript")
            shutil.copyfile(source, bundle / source.name)
            graph["files"]["torchscript"] = msgspec.to_builtins(file_spec(bundle, source.name))
    file.write_text(sealed(manifest), "utf-8")


def _slim(bundle: Bundle) -> None:
    """Leave a bundle its ONNX graphs and its card."""
    manifest = bundle.manifest
    graphs = {
        name: msgspec.structs.replace(graph, files={"onnx": graph.files["onnx"]})
        for name, graph in manifest.graphs.items()
    }
    slim = msgspec.structs.replace(manifest, graphs=graphs, files={"card": manifest.files["card"]})
    named = {file.path for graph in graphs.values() for file in graph.files.values()}
    named |= {file.path for file in slim.files.values()}
    for path in bundle.path.iterdir():
        if path.name not in named:
            path.unlink()
    (bundle.path / "manifest.json").write_bytes(slim.to_json())


def _describe(folder: Path, name: str, bundle: Bundle, files: dict[bytes, str]) -> dict[str, Any]:
    # Batches of two show that a host's own batch size changes nothing.
    rt = Runtime.open(bundle.path, device="cpu", threads=1, batch_size=2)
    data = scale_of(bundle.manifest)
    inputs = {
        key: sample(rt.element, COUNT, steps, i, data)
        for i, (key, steps) in enumerate(zip(("x", "other"), LENGTHS, strict=True), 1)
    }
    codes = _codes(rt, inputs["x"])
    inputs |= {"static": codes.static, "dynamic": codes.dynamic}
    outputs = {}
    for result, value in expected(rt, inputs).items():
        allowed, decoded = tolerance(result, rt.element), result.rpartition("/")[2] not in ("static", "dynamic")
        # Decoded series are compared in standard deviations of the feature that varies least.
        unit = float(data.std.min()) if decoded and data is not None else 1.0
        exact = result.startswith("cast")
        allowance = (0.0, 0.0) if exact else (allowed.atol * unit, allowed.rtol)
        if bundle.manifest.precision == "int8":
            allowance = 0.1 * float(np.abs(value.astype(np.float64)).max()), 0.0
        outputs[result] = {
            **_write(folder, f"{name}.{result}", value, files),
            "atol": allowance[0],
            "rtol": allowance[1],
            "scale": unit * rt.element.high if decoded else 1.0,
        }
    return {
        "folder": name,
        "seed": str(SEED),
        "first": str(FIRST),
        "count": COUNT,
        "steps": STEPS,
        "reset": {"rows": list(RESET_ROWS), "after": RESET_AFTER},
        "inputs": {key: _write(folder, f"{name}.{key}", value, files) for key, value in inputs.items()},
        "outputs": outputs,
        "refused": refused(rt, inputs),
        **_limit(rt),
    }


def _codes(rt: Runtime, x: Array) -> Codes:
    """Return codes of sequences, or some of the prior where the model cannot encode."""
    if "encode" in rt.abilities.verbs:
        return rt.encode(x)
    return Codes(rt.draw_static(COUNT, SEED), rt.draw_dynamic(COUNT, LENGTHS[0], SEED))


def _limit(rt: Runtime) -> dict[str, Any]:
    """Return what is refused because the prior draws fewer steps; nothing where it draws any number."""
    if rt.abilities.max_steps is None:
        return {}
    steps = rt.abilities.max_steps + 1
    return {"limit": {"steps": steps, "message": too_long(rt, steps)}}


def too_long(rt: Runtime, steps: int) -> str:
    """Return what the runtime says of more steps than the prior draws."""
    try:
        rt.generate(1, steps)
    except ConfigError as error:
        return str(error)
    return ""


def refused(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, str]:
    """Return what the runtime says of each verb that the model has not."""
    found = {}
    for verb, results in RESULTS.items():
        try:
            if verb not in rt.abilities.verbs:
                results(rt, inputs)
        except CapabilityError as error:
            found[verb] = str(error)
    return found


def expected(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what every host must give; of streams it is what encode and reconstruct give of the whole sequences."""
    results = found(rt, inputs)
    if "decode()/x" in results:
        results["cast()/x"] = rt.element.cast(results["decode()/x"])
    if "stream" in rt.abilities.verbs:
        whole = {name: results[f"encode()/{name}"] for name in ("static", "dynamic")}
        whole["x"] = results["reconstruct()/x"]
        for verb, values in (("stream()", whole), ("stream(reset)", _reset(rt, inputs["x"], whole))):
            results |= {f"{verb}/{name}": value for name, value in values.items()}
    return results


def _reset(rt: Runtime, x: Array, whole: Mapping[str, Array]) -> dict[str, Array]:
    """Return what is known of whole sequences, of which some begin anew as others."""
    reset = {name: value.copy() for name, value in whole.items()}
    for row in RESET_ROWS:
        before, after = rt.encode(x[row : row + 1, :RESET_AFTER]), rt.encode(x[row : row + 1, RESET_AFTER:])
        reset["static"][row] = after.static[0]
        reset["dynamic"][row] = np.concatenate([before.dynamic[0], after.dynamic[0]])
        reset["x"][row] = np.concatenate([rt.decode(before)[0], rt.decode(after)[0]])
    return reset


def found(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what the Python runtime gives of each verb that it has, but for `cast()/x`, of an array of the set."""
    results: dict[str, Array] = {}
    for verb in rt.abilities.verbs:
        results |= RESULTS[verb](rt, inputs)
    return results


def _encode(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, Array]:
    codes, sampled = rt.encode(inputs["x"]), rt.encode(inputs["x"], seed=SEED, first=FIRST)
    return {
        "encode()/static": codes.static,
        "encode()/dynamic": codes.dynamic,
        "encode(seed)/static": sampled.static,
        "encode(seed)/dynamic": sampled.dynamic,
    }


def _decode(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, Array]:
    decoded = rt.decode_outputs(Codes(inputs["static"], inputs["dynamic"]))
    return {f"decode()/{name}": value for name, value in decoded.items()}


def _swap(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, Array]:
    ab, ba = rt.swap(inputs["x"], inputs["other"])
    return {"swap()/a_with_b": ab, "swap()/b_with_a": ba}


RESULTS: Mapping[str, Callable[[Runtime, Mapping[str, Array]], dict[str, Array]]] = {
    "encode": _encode,
    "decode": _decode,
    "reconstruct": lambda rt, inputs: {"reconstruct()/x": rt.reconstruct(inputs["x"])},
    "swap": _swap,
    "generate": lambda rt, _: {"generate()/x": rt.generate(COUNT, STEPS, seed=SEED, first=FIRST)},
    "resample_static": lambda rt, inputs: {
        "resample_static()/x": rt.resample_static(inputs["x"], seed=SEED, first=FIRST)
    },
    "resample_dynamic": lambda rt, inputs: {
        "resample_dynamic()/x": rt.resample_dynamic(inputs["x"], seed=SEED, first=FIRST)
    },
    "stream": lambda rt, inputs: {**run_stream(rt, inputs["x"]), **_reset_stream(rt, inputs["x"])},
}
"""The results of each verb."""


def _reset_stream(rt: Runtime, x: Array) -> dict[str, Array]:
    stream = rt.stream(len(x))
    steps = []
    for t in range(x.shape[1]):
        if t == RESET_AFTER:
            stream.reset(list(RESET_ROWS))
        steps.append(stream.push(x[:, t]))
    return {
        "stream(reset)/static": steps[-1].static,
        "stream(reset)/dynamic": np.stack([step.dynamic for step in steps], 1),
        "stream(reset)/x": np.stack([step.x for step in steps], 1),
    }


def tolerance(result: str, element: Element) -> parity.Tolerance:
    """Return what a host may be off: as much as at export, but of codes nothing for their size."""
    decoded = result.rpartition("/")[2] not in ("static", "dynamic")
    return parity.Tolerance(parity.tolerance(result, element).atol, RESOLUTION if decoded else 0.0)


def read(folder: Path, about: Mapping[str, Any]) -> Array:
    """Return an array of a set."""
    dtype = np.dtype(about["dtype"]).newbyteorder("<")
    return np.fromfile(folder / about["file"], dtype).reshape(about["shape"]).astype(about["dtype"])


def _noise(folder: Path, name: str, seed: int, purpose: Purpose, first: int, shape: tuple[int, ...]) -> dict[str, Any]:
    normal = standard_normal(seed, purpose, first, (2, *shape))
    raw = philox(seed, purpose, first, int(np.prod(shape)) + 1 & ~1)
    return {
        "seed": str(seed),
        "purpose": int(purpose),
        "first": str(first),
        "raw": _write(folder, f"{name}.raw", raw),
        "normal": _write(folder, f"{name}.normal", normal),
    }


def philox(seed: int, purpose: Purpose, first: int, count: int) -> Array:
    """Return the Philox outputs behind the noise of sequence number `first`, (count,) uint64."""
    generator = np.random.Philox(
        key=np.array([seed, purpose], np.uint64), counter=np.array([0, first, 0, 0], np.uint64)
    )
    return generator.random_raw(count)


def _write(folder: Path, name: str, value: Array, files: dict[bytes, str] | None = None) -> dict[str, Any]:
    """Write an array, or name the file that holds the same bytes."""
    content = value.astype(value.dtype.newbyteorder("<")).tobytes()
    named = "arrays/" + name.replace("()", "").replace("(", "-").replace(")", "").replace("/", "-") + ".bin"
    file = named if files is None else files.setdefault(content, named)
    if file == named:
        (folder / file).write_bytes(content)
    return {"file": file, "dtype": str(value.dtype), "shape": list(value.shape)}


def main(words: Sequence[str]) -> None:
    """Make a set."""
    if list(words) == ["--kept"]:
        remake()
    elif len(words) == 1:
        print(make_conformance(Path(words[0])))
    else:
        raise SystemExit("usage: python -m tests.hosts.golden FOLDER | --kept")


if __name__ == "__main__":
    main(sys.argv[1:])
