"""Time of a graph by operator, from ONNX Runtime's profiler."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.bundles.specs import TensorSpec
from sdkit.runtime.device import usable_processors
from sdkit.runtime.element import Array
from sdkit.runtime.errors import BundleError, first_line

SUFFIX = "_kernel_time"
"""Ending of the profiler's events that hold the time of an operator itself."""
CONTAINERS = ("Loop", "Scan", "If")
"""Operators that run others, whose events lie within their own."""


class Operator(msgspec.Struct, frozen=True):
    """All operators of a type in a graph."""

    type: str
    milliseconds: float
    """Time in one run of the graph."""
    share: float
    """Share of the time of all operators of the graph."""
    calls: float
    """Number of calls in one run of the graph."""


class GraphProfile(msgspec.Struct, frozen=True):
    """A graph's time."""

    graph: str
    milliseconds: float
    """Time of one run: the sum over operators."""
    operators: tuple[Operator, ...]
    """Operators, the slowest first."""


def profile_graphs(
    bundle: Bundle, x: Array, *, device: str = "cpu", threads: int | None = None, runs: int = 10
) -> list[GraphProfile]:
    """Return the operators of every ONNX graph of a bundle by time.

    Args:
        bundle: an opened bundle.
        x: (B, T, *element), input of the encoder; the other graphs get random values of the same B and T.
        device: `cpu` or `cuda:N`.
        threads: number of threads of one operator; the processors this process may use when None.
        runs: number of runs of each graph; the first, in which memory is allocated, is not counted.

    Raises:
        BundleError: no ONNX graphs, or one that cannot be run.
    """
    found = []
    for graph, spec in bundle.manifest.graphs.items():
        file = bundle.graph_file(graph, "onnx")
        inputs = {tensor.name: x if tensor.name == "x" else _values(tensor, x) for tensor in spec.inputs}
        try:
            events = _profile(bundle.graph_bytes(graph, "onnx"), inputs, device, threads, runs)
        except Exception as error:  # onnxruntime's own exceptions share no base but Exception
            raise BundleError(f"{file} cannot be profiled: {first_line(error)}") from error
        found.append(summarise(graph, events, runs))
    return found


def summarise(graph: str, events: list[Mapping[str, Any]], runs: int) -> GraphProfile:
    """Return a graph's operators from the events of `runs` runs and one before them, which is left out.

    The time of Loop, Scan and If is their own, without the operators inside.
    """
    begun = sorted(int(event["ts"]) for event in events if event.get("name") == "model_run")
    first = begun[1] if len(begun) > 1 else 0
    spent: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    around: list[tuple[int, str]] = []
    nodes = [e for e in events if e.get("cat") == "Node" and str(e["name"]).endswith(SUFFIX) and int(e["ts"]) >= first]
    for event in sorted(nodes, key=lambda e: (int(e["ts"]), -int(e["dur"]))):
        kind, began, took = str(event["args"]["op_name"]), int(event["ts"]), int(event["dur"])
        while around and around[-1][0] < began + took:
            around.pop()
        spent[kind] += took
        calls[kind] += 1
        if around:
            spent[around[-1][1]] -= took
        if kind in CONTAINERS:
            around.append((began + took, kind))
    times = {kind: max(0.0, microseconds) / 1e3 / runs for kind, microseconds in spent.items()}
    total = sum(times.values())
    ordered = sorted(times, key=lambda kind: times[kind], reverse=True)
    operators = tuple(Operator(kind, times[kind], times[kind] / (total or 1), calls[kind] / runs) for kind in ordered)
    return GraphProfile(graph, total, operators)


def _profile(
    model: bytes, inputs: Mapping[str, Array], device: str, threads: int | None, runs: int
) -> list[Mapping[str, Any]]:
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="sdkit-profile-") as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or usable_processors()
        options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        providers: list[Any] = ["CPUExecutionProvider"]
        if device != "cpu":
            providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)}))
        session = onnxruntime.InferenceSession(model, options, providers=providers)
        for _ in range(runs + 1):
            session.run(None, dict(inputs))
        events: list[Mapping[str, Any]] = json.loads(Path(session.end_profiling()).read_text("utf-8"))
        return events


def _values(tensor: TensorSpec, x: Array) -> Array:
    sizes = {"B": x.shape[0], "T": x.shape[1]}
    shape = tuple(sizes.get(axis, 1) if isinstance(axis, str) else axis for axis in tensor.shape)
    return np.random.default_rng(0).standard_normal(shape).astype(tensor.dtype)
