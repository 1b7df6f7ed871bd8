"""What every host must reproduce: two small bundles, and inputs and results of the Python runtime as raw arrays.

    python -m tests.hosts.golden FOLDER          a set of both formats
    python -m tests.hosts.golden --kept          the one in tests/conformance, anew: ONNX graphs alone

tests/conformance/README.md says what is in a set and how a host is held against it.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sdkit.export.proof import parity
from sdkit.export.proof.cases import run_stream, sample, scale_of
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array, Element
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.runtime import Runtime
from tests.export.runs import lively_model, quick_export, write_data, write_run

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
NOISES = (
    (0, Purpose.STATIC_PRIOR, 0, (5,)),
    (20, Purpose.DYNAMIC_PRIOR, 3, (4, 3)),
    (SEED, Purpose.STATIC_POSTERIOR, FIRST, (7,)),
    (2**53 + 1, Purpose.DYNAMIC_POSTERIOR, 2**63, (2, 5)),
)


def make_conformance(folder: Path, *, torchscript: bool = True) -> Path:
    """Write the bundles, the arrays and golden.json into a new folder, and return the path of golden.json.

    Args:
        folder: to write.
        torchscript: whether bundles hold TorchScript graphs too, and all their files; else ONNX graphs and a card.
    """
    (folder / "arrays").mkdir(parents=True)
    bundles = {}
    for name, changes in (("image", {}), ("series", SERIES)):
        bundle = export(folder / name, changes)
        bundles[name] = _describe(folder, name, bundle)
        if not torchscript:
            _slim(bundle)
    noise = [_noise(folder, f"noise{i}", *case) for i, case in enumerate(NOISES)]
    target = folder / "golden.json"
    target.write_text(json.dumps({"bundles": bundles, "noise": noise}, indent=1) + "\n")
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
    target.write_text(json.dumps({"bundles": {"int8": _describe(folder, "int8", bundle)}, "noise": []}, indent=1))
    return target


def export(path: Path, changes: Mapping[str, Any]) -> Bundle:
    """Export a tiny model in both formats."""
    with tempfile.TemporaryDirectory() as place:
        return quick_export(write_run(Path(place) / "run", lively_model(**changes)), path, format="all")


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


def _describe(folder: Path, name: str, bundle: Bundle) -> dict[str, Any]:
    # Batches of two show that a host's own batch size changes nothing.
    rt = Runtime.open(bundle.path, device="cpu", threads=1, batch_size=2)
    data = scale_of(bundle.manifest)
    inputs = {
        key: sample(rt.element, COUNT, steps, i, data)
        for i, (key, steps) in enumerate(zip(("x", "other"), LENGTHS, strict=True), 1)
    }
    codes = rt.encode(inputs["x"])
    inputs |= {"static": codes.static, "dynamic": codes.dynamic}
    files: dict[bytes, str] = {}
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
    }


def expected(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what every host must give; of streams it is what encode and reconstruct give of the whole sequences."""
    results = found(rt, inputs)
    results["cast()/x"] = rt.element.cast(results["decode()/x"])
    x = inputs["x"]
    anew = {
        row: (rt.encode(x[row : row + 1, :RESET_AFTER]), rt.encode(x[row : row + 1, RESET_AFTER:]))
        for row in RESET_ROWS
    }
    whole = {name: results[f"encode()/{name}"] for name in ("static", "dynamic")} | {"x": results["reconstruct()/x"]}
    reset = {name: value.copy() for name, value in whole.items()}
    for row, (before, after) in anew.items():
        reset["static"][row] = after.static[0]
        reset["dynamic"][row] = np.concatenate([before.dynamic[0], after.dynamic[0]])
        reset["x"][row] = np.concatenate([rt.decode(before)[0], rt.decode(after)[0]])
    for verb, values in (("stream()", whole), ("stream(reset)", reset)):
        results |= {f"{verb}/{name}": value for name, value in values.items()}
    return results


def found(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return what the Python runtime gives, but for `cast()/x`, which is of an array of the set."""
    x = inputs["x"]
    codes, sampled = rt.encode(x), rt.encode(x, seed=SEED, first=FIRST)
    decoded = rt.decode_outputs(Codes(inputs["static"], inputs["dynamic"]))
    ab, ba = rt.swap(x, inputs["other"])
    return {
        "encode()/static": codes.static,
        "encode()/dynamic": codes.dynamic,
        "encode(seed)/static": sampled.static,
        "encode(seed)/dynamic": sampled.dynamic,
        **{f"decode()/{name}": value for name, value in decoded.items()},
        "reconstruct()/x": rt.reconstruct(x),
        "swap()/a_with_b": ab,
        "swap()/b_with_a": ba,
        "generate()/x": rt.generate(COUNT, STEPS, seed=SEED, first=FIRST),
        "resample_static()/x": rt.resample_static(x, seed=SEED, first=FIRST),
        "resample_dynamic()/x": rt.resample_dynamic(x, seed=SEED, first=FIRST),
        **run_stream(rt, x),
        **_reset_stream(rt, x),
    }


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
