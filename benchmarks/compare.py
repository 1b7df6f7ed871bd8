"""Encode, swap and generate, HDF5 to HDF5: PyTorch and ONNX Runtime as users write them beside sdkit.

    python -m benchmarks.compare [--verbs encode swap generate] [--count 1024] [--data x.h5] [--run RUN]
        [--bundle int8=PATH ...] [--rounds 3] [--no-compile]

All ways run on the same file and the same weights of the sprites preset, in one process, and take turns round by round.
Swap takes half of the sequences, as pairs of a file with itself; generate draws as many as encode takes.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

import sdkit
from benchmarks.common import (
    Times,
    make_run,
    medians,
    model_options,
    parser,
    puppets,
    repeat,
    save,
    say,
    table,
    take_turns,
)
from benchmarks.ways import Modules, OnnxLoop, Ours, TorchLoop, Way, compiled, eager, torchscript
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.training.device import bf16_available

EAGER = "PyTorch eager"
FLOAT32 = (EAGER, "PyTorch channels_last", "PyTorch compile", "PyTorch compile, channels_last", "TorchScript")
"""Names of PyTorch's ways in float32."""
OURS = "sdkit"
MOST_COMPILE = 240.0
"""Largest number of seconds that torch.compile may take for a verb before it is left out."""


def all_ways(arguments: argparse.Namespace, run: sdkit.Run) -> dict[str, Callable[[], Way]]:
    """Return a function for each way that creates it; nothing is loaded yet."""
    size, compression, workers = arguments.batch, arguments.compression, arguments.workers
    bundle = Bundle.open(run.bundle)

    def torch_way(modules: Modules, bf16: bool = False) -> Way:
        return TorchLoop(modules, size, compression, bf16=bf16, workers=workers)

    ways: dict[str, Callable[[], Way]] = {
        EAGER: lambda: torch_way(eager(run.load_model())),
        "PyTorch channels_last": lambda: torch_way(eager(run.load_model(), channels_last=True)),
        "PyTorch bf16": lambda: torch_way(eager(run.load_model()), bf16=True),
        "PyTorch bf16, channels_last": lambda: torch_way(eager(run.load_model(), channels_last=True), bf16=True),
        "PyTorch compile": lambda: torch_way(compiled(eager(run.load_model()))),
        "PyTorch compile, channels_last": lambda: torch_way(compiled(eager(run.load_model(), channels_last=True))),
        "TorchScript": lambda: torch_way(torchscript(bundle)),
        "ONNX Runtime, naive": lambda: OnnxLoop(bundle, size, compression, arguments.threads),
        OURS: lambda: Ours(sdkit.Runtime.open(bundle.path, device="cpu", threads=arguments.threads), compression),
    }
    for given in arguments.bundle:
        name, _, path = given.partition("=")
        if not path:
            raise SystemExit(f"--bundle {given}: expected NAME=PATH")
        ways[f"{OURS} {name}"] = lambda path=path: Ours(  # type: ignore[misc]
            sdkit.Runtime.open(path, device="cpu", threads=arguments.threads), compression
        )
    return ways


def left_out(name: str, arguments: argparse.Namespace) -> str:
    """Return the reason why a way cannot run here, or an empty text."""
    if "bf16" in name and not bf16_available(torch.device("cpu")):
        return "this processor has no bf16 instructions"
    if "compile" in name and not arguments.compile:
        return "--no-compile"
    return ""


def measure(
    verb: str, makers: dict[str, Callable[[], Way]], data: Path, few: Path, arguments: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """Return seconds of a verb by way and round, how far results are from eager PyTorch's, and what was left out.

    Args:
        verb: `encode`, `swap` or `generate`.
        makers: functions that create the ways, by name.
        data: file that is encoded, or swapped with itself.
        few: file of two batches, for the first run of each way, which compiles and allocates.
        arguments: arguments of the command line.
        folder: folder for outputs.
    """
    target = folder / f"{verb}.h5"
    with h5py.File(data) as file:
        count, steps = (int(n) for n in file["data"].shape[:2])

    def go(way: Way, source: Path, number: int) -> None:
        target.unlink(missing_ok=True)
        if verb == "encode":
            way.encode(source, target)
        elif verb == "swap":
            way.swap(source, source, target)
        else:
            way.generate(target, number, steps)

    ways: dict[str, Way] = {}
    skipped: dict[str, str] = {}
    first: dict[str, np.ndarray[Any, Any]] = {}
    differences: dict[str, float] = {}
    for name, make in makers.items():
        reason = left_out(name, arguments)
        if reason:
            skipped[name] = reason
            continue
        say(f"{verb}: first run of {name}")
        began = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ways[name] = make()
                go(ways[name], few, 2 * arguments.batch)
        except Exception as error:
            if "compile" not in name:
                raise
            skipped[name] = f"torch.compile failed: {type(error).__name__}"
            ways.pop(name, None)
            continue
        if (took := time.perf_counter() - began) > MOST_COMPILE:
            skipped[name] = f"the first run took {took:.0f} s"
            ways.pop(name)
            continue
        if verb != "generate":  # every way draws its own noise
            with h5py.File(target) as file:
                found = {key: np.asarray(file[key][:], np.float32) for key in sorted(file) if file[key].ndim > 1}
            first = first or found
            differences[name] = max(float(np.abs(found[key] - first[key]).max()) for key in first)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times = take_turns({name: lambda way=way: go(way, data, count) for name, way in ways.items()}, arguments.rounds)  # type: ignore[misc]
    return {"sequences": count, "steps": steps, "seconds": times, "difference": differences, "skipped": skipped}


def report(verb: str, found: dict[str, Any]) -> str:
    """Return a table: frames encoded or written a second; times as fast as eager and as the best float32 PyTorch."""
    times: Times = found["seconds"]
    middle = medians(times)
    best = min((middle[name] for name in FLOAT32 if name in middle), default=float("nan"))
    unit = "codes" if verb == "encode" else "grey levels"
    rows = []
    for name, seconds in middle.items():
        spread = f"{min(times[name]):.2f} to {max(times[name]):.2f}"
        away = found["difference"].get(name)
        elements = f"{(2 if verb == 'swap' else 1) * found['sequences'] * found['steps'] / seconds:,.0f}"
        ratios = f"{middle[EAGER] / seconds:.2f}", f"{best / seconds:.2f}"
        rows.append((name, elements, *ratios, spread, "-" if away is None else f"{away:.2g}"))
    rows += [(name, "-", "-", "-", f"left out: {reason}", "-") for name, reason in found["skipped"].items()]
    pairs = "pairs" if verb == "swap" else "sequences"
    title = f"{verb}, {found['sequences']:,} {pairs} of {found['steps']} frames\n\n"
    head = (
        "way",
        "frames/s",
        "times eager",
        "times the best float32 PyTorch",
        "seconds",
        f"furthest from eager, {unit}",
    )
    return title + table(head, rows)


def main() -> None:
    made = parser(__doc__, "compare")
    model_options(made)
    made.add_argument("--verbs", nargs="+", default=["encode", "swap", "generate"])
    made.add_argument("--data", type=Path, help="sequence file (64x64 RGB); puppets when not given")
    made.add_argument(
        "--count", type=int, default=1024, help="number of sequences, a multiple of --batch (%(default)s)"
    )
    made.add_argument(
        "--batch", type=int, default=64, help="batch size of every way but sdkit, which chooses its own (%(default)s)"
    )
    made.add_argument("--workers", type=int, default=0, help="workers of the DataLoader (%(default)s)")
    made.add_argument(
        "--compression", choices=("gzip", "none"), default="gzip", help="compression of the outputs (%(default)s)"
    )
    made.add_argument("--bundle", action="append", default=[], metavar="NAME=PATH", help="further bundle for sdkit")
    made.add_argument("--no-compile", dest="compile", action="store_false", help="leave torch.compile out")
    arguments = made.parse_args()
    if arguments.count % (2 * arguments.batch):
        made.error(f"--count must be a multiple of {2 * arguments.batch}: torch.compile takes batches of one size")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    run = make_run(arguments.work, arguments.run)
    base = arguments.data or puppets(arguments.work, 1000)
    makers = all_ways(arguments, run)
    verbs = {}
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        folder = Path(temporary)
        for verb in arguments.verbs:
            count = arguments.count // 2 if verb == "swap" else arguments.count
            data, few = folder / f"{count}.h5", folder / "few.h5"
            for path, number in ((data, count), (few, 2 * arguments.batch)):
                if not path.exists():
                    repeat(base, path, number)
            verbs[verb] = measure(verb, makers, data, few, arguments, folder)
            print(report(verb, verbs[verb]) + "\n", flush=True)
    settings = {name: getattr(arguments, name) for name in ("batch", "workers", "compression", "threads", "rounds")}
    settings["data"] = "puppets" if arguments.data is None else arguments.data.name
    settings["bundles"] = [given.partition("=")[0] for given in arguments.bundle]
    save(arguments.json, "compare", {"settings": settings, "verbs": verbs})


if __name__ == "__main__":
    main()
