"""The page of performance tells what the benchmarks left, and the benchmarks compute what they compare."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import sdkit
from benchmarks import common, report
from benchmarks.compare import EAGER, OURS
from benchmarks.ways import OnnxLoop, Ours, TorchLoop, Way, eager, torchscript
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.runtime import Runtime
from sdkit.training.run import Run
from tests.runtime.conftest import WriteSequences


def test_the_page_is_made_from_the_results() -> None:
    page = report.PAGE.read_text("utf-8")
    assert report.written(page, report.load(common.RESULTS)) == page, "python -m benchmarks.report"


def test_results_tell_their_command_and_machine() -> None:
    for name, result in report.load(common.RESULTS).items():
        assert result["command"].startswith(f"python -m benchmarks.{name}")
        assert not any(word.startswith("/") for word in re.split("[ =]", result["command"]))
        assert {"processor", "processors", "versions", "others"} <= set(result["machine"])


def test_floors_are_judged() -> None:
    def row(found: report.Found, what: str) -> str:
        (line,) = [line for line in report.floors(found).splitlines() if line.startswith(f"| {what} |")]
        return line

    times = {EAGER: [4.0, 9.0, 4.0], "PyTorch channels_last": [2.0, 2.0, 2.0], OURS: [1.0, 1.25, 1.5]}
    found: report.Found = {"compare": {"verbs": {"encode": {"seconds": times}}}}
    assert row(found, "encode, HDF5 to HDF5, float32, against eager PyTorch").endswith("| 3 times | 3.20 times | yes |")
    assert row(found, "encode against the best float32 PyTorch variant").endswith("| 1.7 times | 1.60 times | **no** |")
    assert row(found, "swap, float32, against eager PyTorch").endswith("| not yet measured |  |")
    files = [{"gigabytes": 10, "peak": 350.0}, {"gigabytes": 1, "peak": 300.0}]
    found = {"memory": {"files": files}}
    assert row(found, "memory of encode, 10 GB against 1 GB").endswith("| +52 MB | **no** |")
    assert row(found, "memory of encode, 10 GB").endswith("| 367 MB | yes |")


def test_a_page_without_a_block_is_refused() -> None:
    with pytest.raises(ValueError, match="begin floors"):
        report.written("# Performance\n", {})


def test_text_outside_blocks_stays() -> None:
    blocks = "\n".join(f"{name}:\n<!-- begin {name} -->\nold\n<!-- end {name} -->\nafter" for name in report.BLOCKS)
    page = report.written(blocks, {})
    assert "old" not in page
    assert page.count("after") == len(report.BLOCKS)
    assert page.count("Not yet measured: `python -m benchmarks.") == len(report.BLOCKS) - 1
    assert report.written(page, {}) == page


def test_files_repeat(puppets_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "many.h5"
    common.repeat(puppets_file, target, 137)
    with h5py.File(puppets_file) as old, h5py.File(target) as new:
        whole = len(old["data"]) // old["data"].chunks[0] * old["data"].chunks[0]
        np.testing.assert_array_equal(new["data"][:], old["data"][:][np.arange(137) % whole])
        assert (new["data"].chunks, new["data"].compression) == (old["data"].chunks, "gzip")
    sdkit.SequenceFile(target).check()
    x = sdkit.SequenceFile(puppets_file).read(slice(0, 66))
    longer = sdkit.SequenceFile(common.longer(puppets_file, tmp_path / "long.h5", 11))
    np.testing.assert_array_equal(longer.read(slice(0, 66)), x[:, np.arange(11) % 8])


def test_ways_take_turns() -> None:
    order: list[str] = []
    times = common.take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert {name: len(spent) for name, spent in times.items()} == {"a": 3, "b": 3}


def test_every_way_writes_the_same(mini: Bundle, write_sequences: WriteSequences, tmp_path: Path) -> None:
    model = Run(mini.path.parent).load_model()
    ways: dict[str, Way] = {
        "eager": TorchLoop(eager(model), 4, "gzip"),
        "channels_last": TorchLoop(eager(Run(mini.path.parent).load_model(), channels_last=True), 4, "none"),
        "bf16": TorchLoop(eager(model), 4, "gzip", bf16=True),
        "torchscript": TorchLoop(torchscript(mini), 4, "gzip"),
        "onnx": OnnxLoop(mini, 4, "gzip", 1),
        "sdkit": Ours(Runtime.open(mini.path, device="cpu", threads=1), "gzip"),
    }
    source = write_sequences()
    expected: dict[str, Any] = {}
    for name, way in ways.items():
        found: dict[str, Any] = {}
        for verb in ("encode", "swap"):
            target = tmp_path / f"{name}-{verb}.h5"
            way.encode(source, target) if verb == "encode" else way.swap(source, source, target)
            with h5py.File(target) as file:
                found |= {key: file[key][:] for key in file if file[key].ndim > 1 and key not in ("labels", "targets")}
        assert set(found) == {"static", "dynamic", "static_a_dynamic_b", "static_b_dynamic_a"}
        expected = expected or found
        for key, value in found.items():
            assert value.dtype == expected[key].dtype
            codes = key in ("static", "dynamic")
            away = np.abs(value.astype(np.float64) - expected[key]).max()
            assert away <= ((0.1 if codes else 8) if name == "bf16" else (1e-4 if codes else 1))
        way.generate(tmp_path / f"{name}-new.h5", 6, 3)
        with h5py.File(tmp_path / f"{name}-new.h5") as file:
            assert file["data"].shape == (6, 3, 3, 16, 16)
            assert np.ptp(file["data"][:]) > 20


def test_json_holds_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["compare.py", "--data", "/somewhere/x.h5", "--rounds", "2"])
    common.save(tmp_path / "new" / "compare.json", "compare", {"seconds": {"a": [1.0]}})
    told = json.loads((tmp_path / "new" / "compare.json").read_text())
    assert told["command"] == "python -m benchmarks.compare --data x.h5 --rounds 2"
    assert told["seconds"] == {"a": [1.0]}
    assert told["machine"]["versions"]["torch"]
