"""Speed of bundles of every precision beside PyTorch, on arrays in memory: encode, decode and swap.

    python -m benchmarks.precision RUN [--data FILE.h5] [--count 32] [--rounds 9] [--threads 1] [--clock processor]

RUN is a run of images; its bundles are exported to a temporary folder. `eager` is the model in PyTorch, float32,
unchanged; `bf16` the same in bfloat16 autocast with channels_last weights. The ways take turns by round, so that a
machine whose speed drifts treats them alike; `--clock processor` counts this process's processor time instead of
elapsed time, for machines that others use too (threads: 1).
"""

import argparse
import contextlib
import json
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import sdkit
from sdkit.export.card import NOTES
from sdkit.methods.graphs import verbs
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.run import find_run

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}
Ways = dict[str, Callable[[], object]]


class Autocast:
    """A backend that runs another's graphs in bfloat16 autocast; outputs of a graph are float32 again."""

    name = "torch"

    def __init__(self, inner: Verbs) -> None:
        self.inner, self.device, self.ports = inner.backend, inner.backend.device, inner.backend.ports

    def run(self, graph: str, inputs: Any) -> dict[str, Array]:
        """Run one graph."""
        module = self.inner.graphs[graph]  # type: ignore[attr-defined]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            found = module(*(torch.from_numpy(inputs[name]) for name in module.inputs))
        found = found if isinstance(found, tuple) else (found,)
        return {name: value.float().numpy() for name, value in zip(module.outputs, found, strict=True)}


def measure(ways: Ways, rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Return the median seconds of each way."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for name, way in ways.items():
            start = clock()
            way()
            seconds[name].append(clock() - start)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def main() -> None:
    """Print elements a second of every way, and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, help="sequences; the run's training data by default")
    parser.add_argument("--count", type=int, default=32, help="number of sequences in a call")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    run = find_run(given.run)
    file = SequenceFile(given.data or run.config.data.path)
    x, y = (np.ascontiguousarray(file.read(slice(i * given.count, (i + 1) * given.count))) for i in range(2))
    tried: dict[str, Verbs] = {"eager": verbs(run.load_model())}
    last = verbs(run.load_model().to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    tried["bf16"] = Verbs(Autocast(last), last.element, last.widths, abilities=last.abilities)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for precision in ("float32", *reversed(NOTES)):
            bundle = sdkit.export_bundle(
                run,
                folder / precision,
                precision=precision,  # type: ignore[arg-type]
                calibration=None if precision == "float32" else file.path,
            )
            size = sum(path.stat().st_size for path in bundle.path.glob("*.onnx"))
            print(f"{precision}: {size / 1e6:.1f} MB of graphs")
            tried[precision] = sdkit.Runtime.open(
                bundle.path, device="cpu", threads=given.threads, batch_size=given.count
            )
        codes = tried["eager"].encode(x)
        found = {
            verb: measure(
                {name: _call(verb, one, x, y, codes) for name, one in tried.items()}, given.rounds, CLOCKS[given.clock]
            )
            for verb in ("encode", "decode", "swap")
        }
    elements = x.shape[0] * x.shape[1]
    print(f"{given.clock} clock, B = {x.shape[0]}, T = {x.shape[1]}, {given.threads} threads, median of {given.rounds}")
    for verb, seconds in found.items():
        work = elements * (2 if verb == "swap" else 1)
        rates = "  ".join(f"{name} {work / value:,.0f}" for name, value in seconds.items())
        ratios = "  ".join(f"{name} {seconds[name] / seconds['int8']:.2f}" for name in seconds if name != "int8")
        print(f"{verb}, elements a second: {rates}\n{'':8}int8 is faster than: {ratios}")
    if given.json:
        about = {"machine": platform.processor() or platform.machine(), "torch": torch.__version__, "seconds": found}
        given.json.write_text(json.dumps(about, indent=1) + "\n")


def _call(verb: str, one: Verbs, x: Array, y: Array, codes: Codes) -> Callable[[], object]:
    if verb == "swap":
        return lambda: one.swap(x, y)
    return (lambda: one.encode(x)) if verb == "encode" else (lambda: one.decode(codes))


if __name__ == "__main__":
    main()
