"""Growth of time and memory of encode with the number of sequences N, the batch size B and the length T.

    python -m benchmarks.growth [--run RUN] [--sequences 1000 3000 10000] [--batches 1 8 64] [--steps 4 8 16]

Every point is an `encode_file` in a separate process, which reports its peak memory.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import longer, make_run, model_options, parser, puppets, save, say, table
from sdkit.runtime.measure.fresh_process import in_fresh_process

FRAMES = 8000
"""Number of frames of a point of B or T."""


def point(bundle: Path, data: Path, folder: Path, threads: int | None, batch_size: int | None) -> dict[str, Any]:
    """Return seconds and memory of an encode of a file in a fresh process."""
    opening = {"device": "cpu", "threads": threads, "batch_size": batch_size}
    arguments = {"source": str(data), "target": str(folder / "codes.h5"), "force": True}
    return in_fresh_process("verb", bundle=str(bundle), opening=opening, name="encode", arguments=arguments)


def best_of(rounds: int, *arguments: Any) -> dict[str, Any]:
    """Return the fastest of some rounds, and the largest memory of any."""
    found = [point(*arguments) for _ in range(rounds)]
    return {**min(found, key=lambda one: float(one["seconds"])), "peak": max(one["peak"] or 0 for one in found)}


def main() -> None:
    made = parser(__doc__, "growth", rounds=1)
    model_options(made)
    made.add_argument("--sequences", type=int, nargs="+", default=[1000, 3000, 10000])
    made.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64, 128])
    made.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    arguments = made.parse_args()
    bundle = make_run(arguments.work, arguments.run).bundle
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        for name, axis in axes(arguments, Path(temporary)).items():
            found[name] = []
            for value, data, count, steps, batch in axis:
                say(f"{name} = {value}")
                told = best_of(arguments.rounds, bundle, data, Path(temporary), arguments.threads, batch)
                found[name].append({"value": value, "sequences": count, "frames": count * steps, **told})
            print(report(name, found[name]) + "\n", flush=True)
    save(arguments.json, "growth", {"settings": {"threads": arguments.threads}, "axes": found})


def axes(arguments: argparse.Namespace, folder: Path) -> dict[str, list[tuple[int, Path, int, int, int | None]]]:
    """Return the points of each axis: value, file, N, T, and B where it is not chosen."""
    work, usual = arguments.work, FRAMES // 8
    long = {
        steps: (longer(puppets(work, FRAMES // steps), folder / f"steps-{steps}.h5", steps), FRAMES // steps)
        for steps in arguments.steps
    }
    return {
        "N": [(count, puppets(work, count), count, 8, None) for count in arguments.sequences],
        "B": [(batch, puppets(work, usual), usual, 8, batch) for batch in arguments.batches],
        "T": [(steps, path, count, steps, None) for steps, (path, count) in long.items()],
    }


def report(name: str, points: list[dict[str, Any]]) -> str:
    """Return a table of an axis."""
    rows = [
        (
            f"{point['value']:,}",
            f"{point['frames']:,}",
            f"{point['seconds']:.2f}",
            f"{point['frames'] / point['seconds']:,.0f}",
            f"{point['peak']:.0f}",
        )
        for point in points
    ]
    return table((name, "frames", "seconds", "frames/s", "peak MiB"), rows)


if __name__ == "__main__":
    main()
