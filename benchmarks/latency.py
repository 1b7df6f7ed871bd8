"""Encode of one sequence against eager PyTorch, and the first use of a bundle in a fresh process.

    python -m benchmarks.latency [--run RUN] [--calls 200] [--rounds 5]

Calls are made in blocks that take turns. A fresh process imports sdkit.runtime, opens the bundle and encodes a
sequence; beside it another process does the same with PyTorch: import, model, weights, a sequence.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import sdkit
from benchmarks.common import make_run, model_options, parser, puppets, save, say, table
from benchmarks.ways import TorchLoop, eager
from sdkit.runtime.measure.fresh_process import in_fresh_process

BLOCK = 20
"""Number of calls of a way before the next has its turn."""
EAGER = """
import time
began = time.monotonic()
import sys, numpy, torch
from sdkit.methods.graphs import verbs
from sdkit.training.run import find_run
model = verbs(find_run(sys.argv[1]).load_model())
model.encode(numpy.zeros((1, 8, 3, 64, 64), numpy.uint8))
print(time.monotonic() - began)
"""


def milliseconds(run: sdkit.Run, x: np.ndarray[Any, Any], calls: int, threads: int | None) -> dict[str, list[float]]:
    """Return milliseconds of each call by way."""
    torch_loop = TorchLoop(eager(run.load_model()), 1, "none")
    last = TorchLoop(eager(run.load_model(), channels_last=True), 1, "none")
    rt = sdkit.Runtime.open(run.bundle, device="cpu", threads=threads)
    tensor = torch.from_numpy(x)
    ways: dict[str, Callable[[], object]] = {
        "PyTorch eager": lambda: torch_loop.codes(tensor),
        "PyTorch channels_last": lambda: last.codes(tensor),
        "sdkit": lambda: rt.encode(x),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for start in range(0, calls, BLOCK):
        for name, work in ways.items():
            for number in range(min(BLOCK, calls - start) + 2):
                began = time.perf_counter()
                work()
                if number >= 2:  # in the first two the caches hold another way's data
                    times[name].append(1e3 * (time.perf_counter() - began))
    return times


def starts(run: sdkit.Run, rounds: int, threads: int | None) -> tuple[list[dict[str, Any]], list[float]]:
    """Return the times of fresh processes: sdkit's by part, and PyTorch's in total."""
    ours, eagers = [], []
    opening = {"device": "cpu", "threads": threads}
    for number in range(rounds):
        ours.append(in_fresh_process("start", bundle=str(run.bundle), opening=opening))
        command = [sys.executable, "-W", "ignore", "-c", EAGER, str(run.path)]
        eagers.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        say(f"start-up {number + 1} of {rounds}: sdkit {ours[-1]['total']:.2f} s, PyTorch {eagers[-1]:.2f} s")
    return ours, eagers


def main() -> None:
    made = parser(__doc__, "latency", rounds=5)
    model_options(made)
    made.add_argument("--calls", type=int, default=200)
    arguments = made.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run = make_run(arguments.work, arguments.run)
    x = sdkit.SequenceFile(puppets(arguments.work, 1000)).read(slice(0, 1))
    times = milliseconds(run, x, arguments.calls, arguments.threads)
    ours, eagers = starts(run, arguments.rounds, arguments.threads)
    p50 = {name: float(np.median(spent)) for name, spent in times.items()}
    rows = [
        (name, f"{p50[name]:.2f}", f"{np.percentile(spent, 95):.2f}", f"{p50['PyTorch eager'] / p50[name]:.2f}")
        for name, spent in times.items()
    ]
    print(table(("encode, B = 1, T = 8", "p50 ms", "p95 ms", "times eager"), rows) + "\n")
    parts = ("import_runtime", "open_bundle", "first_encode", "total")
    middle = [f"{np.median([start[part] for start in ours]):.3f}" for part in parts]
    head = ("fresh process, s", "import", "open bundle", "first encode", "total")
    print(table(head, [("sdkit", *middle), ("PyTorch eager", "", "", "", f"{np.median(eagers):.3f}")]))
    loaded = sorted({name for start in ours for name in start["loaded"]})
    print(f"\nloaded by sdkit without need: {', '.join(loaded) or 'nothing'}")
    settings = {"calls": arguments.calls, "threads": arguments.threads}
    save(
        arguments.json,
        "latency",
        {"settings": settings, "milliseconds": times, "starts": ours, "starts_of_pytorch": eagers},
    )


if __name__ == "__main__":
    main()
