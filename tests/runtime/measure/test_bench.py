"""Measurements are whole and agree with each other; nothing is said of how fast anything is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError, DataError, SdkitError
from sdkit.runtime.measure import bench as module
from sdkit.runtime.measure.bench import Bench, bench, draw
from sdkit.runtime.measure.fresh_process import in_fresh_process
from sdkit.runtime.measure.operators import profile_graphs, summarise
from sdkit.runtime.storage.chunks import batches as chunks_of_rows
from sdkit.runtime.storage.chunks import read_whole
from sdkit.runtime.storage.parts import Part
from tests.runtime.conftest import Log, WriteSequences
from tests.tiny import sequences


@pytest.fixture
def quick(mini: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Return a function that measures little of the tiny bundle, without processes of their own."""
    monkeypatch.setattr(module, "MOST_CALLS", 3)
    told = {"opened": 50.0, "peak": 60.0}
    start = dict.fromkeys(("interpreter", "import_runtime", "open_bundle", "first_encode", "total"), 0.1)

    def process(task: str, **arguments: Any) -> dict[str, Any]:
        json.dumps(arguments)
        return dict(told) if task == "verb" else {**start, "loaded": []}

    monkeypatch.setattr(module, "in_fresh_process", process)

    def run(data: Path | None = None, **options: Any) -> Bench:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        settings: dict[str, Any] = {"device": "cpu", "threads": 1, "batch_size": 4, "rounds": 1, "folder": scratch}
        found = bench(mini.path, data, **{**settings, **options})
        assert list(scratch.iterdir()) == []
        return found

    return run


def agrees(found: Bench, verb: str) -> None:
    """Check that the figures of a verb follow from each other."""
    speed = found.verbs[verb]
    rates = {"read": speed.read, "compute": speed.compute, "write": speed.write}
    there = {name: rate for name, rate in rates.items() if rate is not None}
    assert min(there.values()) > 0
    assert speed.bound == min(there.values()) == there[speed.bounded_by]
    assert speed.sequences_a_second == pytest.approx(speed.sequences / speed.seconds)
    assert speed.elements_a_second == pytest.approx(speed.elements / speed.seconds)
    assert speed.fraction == pytest.approx(speed.sequences_a_second / speed.bound)
    assert (speed.read is None) == (verb == "generate")


def test_drawn_data(quick: Callable[..., Bench]) -> None:
    log = Log()
    found = quick(count=10, rounds=2, reporter=log)
    assert set(found.verbs) == {"encode", "swap", "generate"}
    for verb in found.verbs:
        agrees(found, verb)
    assert [found.verbs[verb].sequences for verb in found.verbs] == [10, 20, 10]
    assert [found.verbs[verb].elements for verb in found.verbs] == [50, 100, 50]
    assert (found.data, found.steps, found.batch_size, found.device) == ("drawn", 5, 4, "cpu")
    assert 0 < found.latency.p50_ms <= found.latency.p95_ms
    assert found.latency.calls == 3
    assert found.profile is None
    assert log.finished == len(log.stages) == 5
    assert log.done == 2 * (4 + 4 + 3) + 3 + 3 + 2
    assert msgspec.json.decode(msgspec.json.encode(found), type=Bench) == found


def test_a_number_of_sequences_is_chosen(quick: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    found = quick(seconds=1e-9)
    assert {verb: speed.sequences for verb, speed in found.verbs.items()} == {"encode": 16, "swap": 32, "generate": 16}
    monkeypatch.setattr(module, "MOST_BYTES", 6 * 5 * 3 * 16 * 16)
    assert quick(seconds=60).verbs["generate"].sequences == 6


@pytest.mark.parametrize("ragged", [False, True])
def test_a_file(quick: Callable[..., Bench], write_sequences: WriteSequences, ragged: bool) -> None:
    source = write_sequences(ragged=ragged)
    before = source.read_bytes()
    found = quick(source, count=11)
    for verb in found.verbs:
        agrees(found, verb)
    lengths = 2 + np.arange(11) % 4 if ragged else np.full(11, 5)
    assert found.verbs["encode"].elements == lengths.sum()
    assert found.verbs["swap"].elements == 2 * lengths.sum()
    assert found.verbs["generate"].elements == 55
    assert source.read_bytes() == before
    assert quick(source).verbs["encode"].sequences == 11  # all of a file that has too few


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_the_first_sequences_of_a_file_are_stored_as_they_were(
    quick: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str | None
) -> None:
    path, seen = tmp_path / "all.h5", []
    x = sequences(11, 5)
    with h5py.File(path, "w") as file:
        chunks = None if compression is None else (2, *x.shape[1:])
        file.create_dataset("data", data=x, chunks=chunks, compression=compression)
        file["lengths"] = np.full(11, 4)

    def look(data: Part, index: Any, size: int) -> Any:
        seen.append((data.shape, data.chunks, data.compression))
        np.testing.assert_array_equal(read_whole(data), x[:7])
        return chunks_of_rows(data, index, size)

    monkeypatch.setattr(module, "batches", look)
    assert quick(path, count=7).verbs["encode"].elements == 28
    assert set(seen) == {((7, *x.shape[1:]), chunks, compression or "none")}


def test_torchscript_graphs(quick: Callable[..., Bench]) -> None:
    found = quick(count=4, backend="torchscript")
    assert found.backend == "torchscript"
    for verb in found.verbs:
        agrees(found, verb)


def test_kept_sequences_are_used_again(quick: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 1)
    found = quick(count=10)
    for verb in found.verbs:
        agrees(found, verb)


@pytest.mark.parametrize(
    ("element", "facts"),
    [
        (Element("image", (3, 20, 12), "uint8"), {}),
        (Element("image", (1, 16, 16), "float32"), {}),
        (Element("series", (4, 2), "float32"), {"feature_mean": [100.0, -5.0], "feature_std": [1.0, 0.1]}),
        (Element("spectrum", (2,), "float32"), {}),
    ],
)
def test_drawn_sequences_are_of_the_element(mini: Bundle, element: Element, facts: dict[str, Any]) -> None:
    manifest = msgspec.structs.replace(mini.manifest, element=element, **facts)
    x = draw(manifest, 6, 3)
    assert x.shape == (6, 3, *element.shape)
    element.check(x)
    np.testing.assert_array_equal(draw(manifest, 6, 3), x)
    assert (draw(manifest, 6, 3, seed=1) != x).any()
    if facts:
        np.testing.assert_allclose(x.mean((0, 1, 2)), facts["feature_mean"], atol=1)


def test_bad_input(quick: Callable[..., Bench], write_sequences: WriteSequences, tmp_path: Path) -> None:
    source = write_sequences()
    with pytest.raises(ConfigError, match=r"--count 12: .*in\.h5 holds 11"):
        quick(source, count=12)
    with pytest.raises(ConfigError, match="--profile: only ONNX"):
        quick(profile=True, backend="torchscript")
    with pytest.raises(ConfigError, match="rounds = 0"):
        quick(rounds=0)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros((4, 5, 3, 8, 8), np.uint8)
    with pytest.raises(
        DataError, match=r"other\.h5 holds image \(3, 8, 8\) uint8; the model takes image \(3, 16, 16\)"
    ):
        quick(tmp_path / "other.h5")


def test_a_fresh_process(mini: Bundle, tmp_path: Path, write_sequences: WriteSequences) -> None:
    opening = {"device": "cpu", "threads": 1}
    told = in_fresh_process("start", bundle=str(mini.path), opening=opening)
    parts = ("import_runtime", "open_bundle", "first_encode")
    assert told["total"] == pytest.approx(sum(told[part] for part in parts))
    assert told["interpreter"] > 0
    assert told["loaded"] == []
    arguments = {"source": str(write_sequences()), "target": str(tmp_path / "codes.h5")}
    told = in_fresh_process("verb", bundle=str(mini.path), opening=opening, name="encode", arguments=arguments)
    assert (tmp_path / "codes.h5").is_file()
    assert told["peak"] is None or 10 < told["opened"] <= told["peak"] < 2000
    with pytest.raises(SdkitError, match=r"process that measures 'verb' failed: .*codes\.h5 exists already"):
        in_fresh_process("verb", bundle=str(mini.path), opening=opening, name="encode", arguments=arguments)


def test_torchscript_graphs_load_torch(mini: Bundle) -> None:
    told = in_fresh_process("start", bundle=str(mini.path), opening={"device": "cpu", "backend": "torchscript"})
    assert "torch" in told["loaded"]


def test_a_profile_names_the_operators_of_every_graph(mini: Bundle) -> None:
    found = profile_graphs(mini, sequences(2, 5), threads=1, runs=3)
    assert [graph.graph for graph in found] == list(mini.manifest.graphs)
    for graph in found:
        assert sum(operator.share for operator in graph.operators) == pytest.approx(1)
        assert sum(operator.milliseconds for operator in graph.operators) == pytest.approx(graph.milliseconds)
        times = [operator.milliseconds for operator in graph.operators]
        assert times == sorted(times, reverse=True)
    kinds = {graph.graph: {operator.type: operator.calls for operator in graph.operators} for graph in found}
    assert kinds["encoder"]["Conv"] == 3
    assert "LSTM" in kinds["dynamic"]


def test_operators_inside_a_loop_are_not_counted_twice() -> None:
    def node(kind: str, began: int, took: int) -> dict[str, Any]:
        return {
            "cat": "Node", "name": f"{kind}_kernel_time", "ts": began, "dur": took, "args": {"op_name": kind}
        }  # fmt: skip

    def run(began: int) -> list[dict[str, Any]]:
        return [
            {"cat": "Session", "name": "model_run", "ts": began, "dur": 900},
            node("Conv", began, 100),
            {"cat": "Node", "name": "Conv_fence_before", "ts": began, "dur": 999, "args": {"op_name": "Conv"}},
            node("Loop", began + 100, 500),
            node("LSTM", began + 110, 200),
            node("LSTM", began + 320, 200),
            node("Add", began + 600, 50),
        ]

    slow_first = [{**event, "dur": 7 * int(event["dur"])} for event in run(0)]
    found = summarise("prior", [*slow_first, *run(10_000), *run(20_000)], 2)
    assert [operator.type for operator in found.operators] == ["LSTM", "Conv", "Loop", "Add"]
    assert [operator.milliseconds for operator in found.operators] == pytest.approx([0.4, 0.1, 0.1, 0.05])
    assert [operator.calls for operator in found.operators] == [2, 1, 1, 1]
    assert found.milliseconds == pytest.approx(0.65)
    assert found.operators[0].share == pytest.approx(0.4 / 0.65)
