"""What every host must reproduce: two small bundles, and inputs and results of the Python runtime as raw arrays.

    FOLDER/image/, FOLDER/series/   bundles, both formats: uint8 images; series with NaN and the decoder output x_std
    FOLDER/arrays/*.bin             arrays, little-endian, row-major, without a header
    FOLDER/golden.json              what they are; seeds and numbers of sequences are decimal text: they have 64 bits

golden.json:

    {"bundles": {NAME: {"folder", "seed", "first", "count", "steps", "inputs": {"x", "other", "static", "dynamic"},
                        "outputs": {RESULT: ARRAY and "atol", "rtol"}}},
     "noise": [{"seed", "purpose", "first", "raw": ARRAY uint64, "normal": ARRAY}]}

An ARRAY is {"file", "dtype", "shape"}. A RESULT is named `verb()/part`: every verb that draws takes `seed` and `first`
(encode only as `encode(seed)`), generate takes `count` and `steps`, decode works on `static` and `dynamic`, and cast on
the result `decode()/x`. A result fits when |a - b| <= atol + rtol |b|. Of noise, `normal` holds sequence number `first`
and the one after it, `raw` the Philox outputs behind the first of them, bit for bit.

`python -m tests.hosts.golden FOLDER` makes them.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdkit.export.cases import sample, scale_of
from sdkit.export.parity import tolerance
from sdkit.runtime.bundle import Bundle
from sdkit.runtime.element import Array, Element
from sdkit.runtime.noise import Purpose, standard_normal
from sdkit.runtime.runtime import Runtime
from tests.export.runs import lively_model, quick_export, write_data, write_run

SEED, FIRST, COUNT, STEPS = 2**64 - 3, 2**33 + 7, 3, 6
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


def make_conformance(folder: Path) -> Path:
    """Write the bundles, the arrays and golden.json into a folder, and return the path of golden.json."""
    (folder / "arrays").mkdir(parents=True)
    bundles = {
        name: _describe(folder, name, _export(folder / name, changes))
        for name, changes in (("image", {}), ("series", SERIES))
    }
    noise = [_noise(folder, f"noise{i}", *case) for i, case in enumerate(NOISES)]
    target = folder / "golden.json"
    target.write_text(json.dumps({"bundles": bundles, "noise": noise}, indent=1))
    return target


def make_int8_conformance(folder: Path) -> Path:
    """Write the same of one bundle of 8-bit graphs.

    Results are held to a tenth of their largest value: they depend a little on the batch, and on how a host's kernels
    round, while those of a host that takes int8 for something else are all wrong.
    """
    (folder / "arrays").mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        run = write_run(Path(place) / "run", lively_model())
        data = write_data(Path(place) / "data.h5", run.config.model.element)
        bundle = quick_export(run, folder / "int8", precision="int8", calibration=data)
    target = folder / "golden.json"
    target.write_text(json.dumps({"bundles": {"int8": _describe(folder, "int8", bundle)}, "noise": []}, indent=1))
    return target


def _export(path: Path, changes: Mapping[str, Any]) -> Bundle:
    with tempfile.TemporaryDirectory() as place:
        return quick_export(write_run(Path(place) / "run", lively_model(**changes)), path, format="all")


def _describe(folder: Path, name: str, bundle: Bundle) -> dict[str, Any]:
    # Batches of two show that a host's own batch size changes nothing.
    rt = Runtime.open(bundle.path, device="cpu", threads=1, batch_size=2)
    scale = scale_of(bundle.manifest.model)
    inputs = {"x": sample(rt.element, COUNT, 5, 1, scale), "other": sample(rt.element, COUNT, 7, 2, scale)}
    codes = rt.encode(inputs["x"])
    inputs |= {"static": codes.static, "dynamic": codes.dynamic}
    smallest = 1.0 if scale is None else float(scale.std.min())
    outputs = {}
    for result, value in _results(rt, inputs).items():
        allowed = tolerance(result, rt.element)
        unit = 1.0 if result.startswith("encode") else smallest  # decoded series are compared in standard deviations
        exact = result.startswith("cast")
        about = {"atol": 0.0, "rtol": 0.0} if exact else {"atol": allowed.atol * unit, "rtol": allowed.rtol}
        if bundle.manifest.precision == "int8":
            about = {"atol": 0.1 * float(np.abs(value.astype(np.float64)).max()), "rtol": 0.0}
        outputs[result] = {**_write(folder, f"{name}.{result}", value), **about}
    return {
        "folder": name,
        "seed": str(SEED),
        "first": str(FIRST),
        "count": COUNT,
        "steps": STEPS,
        "inputs": {key: _write(folder, f"{name}.{key}", value) for key, value in inputs.items()},
        "outputs": outputs,
    }


def _results(rt: Runtime, inputs: Mapping[str, Array]) -> dict[str, Array]:
    x = inputs["x"]
    codes, sampled = rt.encode(x), rt.encode(x, seed=SEED, first=FIRST)
    decoded = rt.decode_outputs(codes)
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
        "cast()/x": rt.element.cast(decoded["x"]),
    }


def _noise(folder: Path, name: str, seed: int, purpose: Purpose, first: int, shape: tuple[int, ...]) -> dict[str, Any]:
    normal = standard_normal(seed, purpose, first, (2, *shape))
    generator = np.random.Philox(
        key=np.array([seed, purpose], np.uint64), counter=np.array([0, first, 0, 0], np.uint64)
    )
    raw = generator.random_raw(int(np.prod(shape)) + 1 & ~1)
    return {
        "seed": str(seed),
        "purpose": int(purpose),
        "first": str(first),
        "raw": _write(folder, f"{name}.raw", raw),
        "normal": _write(folder, f"{name}.normal", normal),
    }


def _write(folder: Path, name: str, value: Array) -> dict[str, Any]:
    file = "arrays/" + name.replace("()", "").replace("(seed)", "-seed").replace("/", "-") + ".bin"
    value.astype(value.dtype.newbyteorder("<")).tofile(folder / file)
    return {"file": file, "dtype": str(value.dtype), "shape": list(value.shape)}


if __name__ == "__main__":
    print(make_conformance(Path(sys.argv[1])))
