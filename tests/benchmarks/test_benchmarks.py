"""The page of performance tells what the benchmarks left, and the benchmarks compute what they compare."""

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import sdkit
from benchmarks import common, live_stream, precision, report, training_step
from benchmarks.compare import EAGER, OURS
from benchmarks.ways import OnnxLoop, Ours, TorchLoop, Way, eager, torchscript
from sdkit.methods.base import Facts, Method
from sdkit.methods.graphs import verbs
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.config import ANY_IMAGE, Plan
from sdkit.training.run import Run
from tests.runtime.conftest import WriteSequences
from tests.tiny import sequences


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


def test_every_variant_of_a_step_takes_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    models: list[torch.nn.Module] = []
    build = Plan.build

    def keep(chosen: Plan, facts: Facts) -> Method:
        models.append(build(chosen, facts))
        return models[-1]  # type: ignore[return-value]

    monkeypatch.setattr(Plan, "build", keep)
    x = torch.from_numpy(sequences(2, 2, ANY_IMAGE))
    for switches in training_step.VARIANTS.values():
        step = training_step.step_function(*switches, x)
        before = models[-1].state_dict()["static_path.hidden.weight"].clone()
        step()
        # The first step of Adam is one learning rate long, whatever the gradient.
        moved = (models[-1].state_dict()["static_path.hidden.weight"] - before).abs()
        assert moved.median().item() == pytest.approx(2e-3, rel=1e-2)
    assert len(models) == 4


def test_autocast_gives_the_models_codes_roughly(mini: Bundle) -> None:
    exact = verbs(Run(mini.path.parent).load_model())
    cast = Verbs(precision.Autocast(exact), exact.element, exact.widths, abilities=exact.abilities)
    x = sequences(3, 5)
    found, wanted = cast.encode(x), exact.encode(x)
    away = np.abs(found.dynamic - wanted.dynamic).max()
    assert 0 < away < 0.1 * np.abs(wanted.dynamic).max()
    assert {part.dtype for part in (found.static, found.dynamic, cast.decode(wanted))} == {np.dtype(np.float32)}


def test_streams_are_measured_beside_whole_sequences(mini: Bundle) -> None:
    rt = Runtime.open(mini.path, device="cpu", threads=1)
    times, difference = live_stream.measure(rt, sequences(2, 6), 2)
    assert {name: len(spent) for name, spent in times.items()} == {"push": 12, "encode": 2, "reconstruct": 2}
    assert min(min(spent) for spent in times.values()) > 0
    assert 0 <= difference < 1e-5
