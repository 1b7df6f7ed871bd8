"""Compares this checkout of sdkit with another one, side by side: a training step, encode and swap.

    git worktree add ../before REVISION
    python -m benchmarks.against ../before [--rounds 5]

Both do the same work in separate processes, which take turns, so that a machine whose speed drifts treats them
alike. Printed are medians over rounds and the ratio of this checkout to the other, above 1 where it is slower; on a
machine that others share the ratio of the fastest rounds says more.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parents[1]
CLIPS = 1000
WORK = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import sdkit
folder, turn = sys.argv[1:]
run = sdkit.train("puppets.h5", name=f"{folder}-{turn}", epochs=2, swap_every=0, device="cpu")
bundle = sdkit.export_bundle(run, force=True)
rt = sdkit.Runtime.open(bundle.path, device="cpu")
def seconds(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
rt.encode_file("puppets.h5", "codes.h5", force=True)
encode = min(seconds(lambda: rt.encode_file("puppets.h5", "codes.h5", force=True)) for _ in range(3))
swap = min(seconds(lambda: rt.swap_file("puppets.h5", "puppets.h5", "swap.h5", force=True)) for _ in range(3))
print(json.dumps({"epoch of training": run.metrics()[-1]["seconds"], "encode": encode, "swap": swap}))
"""


def measure(checkout: Path, folder: Path, turn: int) -> dict[str, float]:
    """Return the seconds of each kind of work in one process of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", WORK, "old" if checkout != HERE else "new", str(turn)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    if result.returncode:
        raise SystemExit(f"{checkout}: {result.stderr}")
    found: dict[str, float] = json.loads(result.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    other = arguments.other.resolve()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run(
            [sys.executable, "-m", "sdkit.cli", "data", "make", "puppets", "--count", str(CLIPS), "-o", "puppets.h5"],
            check=True, capture_output=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(HERE)},
        )  # fmt: skip
        rounds: dict[Path, list[dict[str, float]]] = {other: [], HERE: []}
        for turn in range(arguments.rounds):
            # The order changes from round to round, so that neither always follows the other.
            for checkout in list(rounds)[:: 1 if turn % 2 == 0 else -1]:
                rounds[checkout].append(measure(checkout, folder, turn))
                print(f"round {turn + 1}, {checkout.name}: {rounds[checkout][-1]}", flush=True)
    for work in rounds[HERE][0]:
        seconds = {checkout: [one[work] for one in found] for checkout, found in rounds.items()}
        old, new = (statistics.median(seconds[checkout]) for checkout in (other, HERE))
        least = min(seconds[HERE]) / min(seconds[other])
        print(f"{work}: {old:.3f} s before, {new:.3f} s now, ratio {new / old:.3f}; of the fastest rounds {least:.3f}")


if __name__ == "__main__":
    main()
