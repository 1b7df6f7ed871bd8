"""Time of a frame in a live stream, beside whole-sequence encoding of the same frames.

    python -m benchmarks.live_stream [BUNDLE] [--frames 1000] [--streams 1] [--rounds 3] [--json results.json]

Without a bundle, one is exported from the puppets preset's model, trained for an epoch: the time depends on widths, not
on what was learned. The ways take turns round by round, so that a machine whose speed drifts treats them alike.
"""

import argparse
import contextlib
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import sdkit
from benchmarks.common import parser, save, table
from sdkit.export.proof.cases import sample, scale_of
from sdkit.runtime.element import Array

WARM_UP = 20
"""Number of frames pushed before the clock starts: sessions open and memory is allocated when a graph first runs."""


def make_bundle(folder: Path) -> Path:
    """Return a bundle of the puppets preset's model."""
    with contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch is too short to learn much, which causes warnings
        run = sdkit.train(sdkit.make_dataset("puppets", "puppets.h5", count=66), epochs=1)
        return sdkit.export_bundle(run, format="all").path.resolve()


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return milliseconds and result of a function call."""
    started = time.perf_counter()
    result = work()
    return 1e3 * (time.perf_counter() - started), result


def measure(rt: sdkit.Runtime, x: Array, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Return milliseconds of each call by way, and the largest difference between online and offline codes.

    Args:
        rt: runtime of a model that can run online.
        x: (B, T, *element).
        rounds: number of rounds of all ways.
    """
    times: dict[str, list[float]] = {"push": [], "encode": [], "reconstruct": []}
    warm = rt.stream(len(x))
    for t in range(WARM_UP):
        warm.push(x[:, t % x.shape[1]])
    rt.reconstruct(x)
    differences = []
    for _ in range(rounds):
        stream, dynamic = rt.stream(len(x)), []
        for t in range(x.shape[1]):
            spent, step = timed(lambda t=t, stream=stream: stream.push(x[:, t]))  # type: ignore[misc]
            times["push"].append(spent)
            dynamic.append(step.dynamic)
        spent, codes = timed(lambda: rt.encode(x))
        times["encode"].append(spent)
        times["reconstruct"].append(timed(lambda: rt.reconstruct(x))[0])
        differences.append(np.abs(np.stack(dynamic, 1) - codes.dynamic).max())
    return times, float(np.max(differences))


def main() -> None:
    made = parser(__doc__, "live_stream")
    made.add_argument("bundle", nargs="?", type=Path, help="bundle or run; a small one is made when not given")
    made.add_argument("--frames", type=int, default=1000)
    made.add_argument("--streams", type=int, default=1, help="number of streams that advance together")
    made.add_argument("--backend", choices=("onnx", "torchscript"), default="onnx")
    made.add_argument("--device", default="cpu")
    made.add_argument("--threads", type=int, help="threads of one operator; all processors by default")
    arguments = made.parse_args()
    if min(arguments.frames - 1, arguments.streams, arguments.rounds) < 1:
        made.error("at least 2 frames, 1 stream and 1 round")
    with tempfile.TemporaryDirectory() as folder:
        bundle = arguments.bundle or make_bundle(Path(folder))
        rt = sdkit.Runtime.open(bundle, device=arguments.device, backend=arguments.backend, threads=arguments.threads)
        rt.batch_size = max(rt.batch_size, arguments.streams)
        x = sample(rt.element, arguments.streams, arguments.frames, 0, scale_of(rt.manifest))
        times, difference = measure(rt, x, arguments.rounds)
        report(arguments, rt, times, difference)


def report(arguments: argparse.Namespace, rt: sdkit.Runtime, times: dict[str, list[float]], difference: float) -> None:
    """Print a table and write the numbers."""
    frames, streams = arguments.frames, arguments.streams
    what = f"variant {rt.manifest.variant}, {rt.element.describe()}, {streams} stream(s), {arguments.rounds} round(s)"
    print(f"{frames} frames; {what}; {rt.backend.name} on {rt.device}\n")
    names = {
        "push": (1, "push: codes and reconstruction of one frame"),
        "encode": (frames, f"encode: codes of all {frames} frames at once"),
        "reconstruct": (frames, f"reconstruct: codes and reconstruction of all {frames} frames at once"),
    }
    rows = []
    for name, (size, words) in names.items():
        p50, p95 = np.percentile(times[name], (50, 95))
        rows.append((words, f"{p50:.3f}", f"{p95:.3f}", f"{p50 / size:.3f}"))
    print(table(("call", "p50 ms", "p95 ms", "p50 ms a frame"), rows))
    ratio = np.median(times["encode"]) / np.median(times["push"])
    print(
        f"\nWithout the step graph the code of frame {frames} takes an encode of all: {ratio:.1f} times a push."
        f"\nOnline and offline codes differ by {difference:.2g} at most."
    )
    settings = {
        "frames": frames,
        "streams": streams,
        "rounds": arguments.rounds,
        "variant": rt.manifest.variant,
        "element": rt.element.describe(),
        "graphs run by": f"{rt.backend.name} on {rt.device}",
        "threads": arguments.threads,
    }
    found = {"settings": settings, "milliseconds": times, "largest_difference": difference}
    save(arguments.json, "live_stream", found)


if __name__ == "__main__":
    main()
