"""Encode throughput of the C++ host beside Python's, in one run, the two by turns on the same bundle.

python examples/cpp/speed.py BUNDLE PROGRAM [-b BATCH] [-t STEPS] [-r ROUNDS]

PROGRAM is the built sdkit-conformance. Both run the same libonnxruntime, on as many threads.
"""

import argparse
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np

from sdkit.runtime.runtime import Runtime


def cpp_seconds(program: str, bundle: str, batch: int, steps: int, repeats: int) -> list[float]:
    """Return the seconds of each call of the C++ host."""
    import onnxruntime

    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    command = [program, "speed", bundle, str(batch), str(steps), str(repeats)]
    environment = {**os.environ, "SDKIT_ONNXRUNTIME": str(library)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [float(line) for line in result.stdout.splitlines()]


def python_seconds(rt: Runtime, batch: int, steps: int, repeats: int) -> list[float]:
    """Return the seconds of each call of the Python runtime."""
    x = np.zeros((batch, steps, *rt.element.shape), rt.element.dtype)
    rt.encode(x)  # the first call makes the library's plans
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        rt.encode(x)
        seconds.append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    """Measure by turns, so that a busy machine disturbs both alike, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("program")
    parser.add_argument("-b", "--batch", type=int, default=64)
    parser.add_argument("-t", "--steps", type=int, default=8)
    parser.add_argument("-r", "--rounds", type=int, default=5)
    given = parser.parse_args()
    rt = Runtime.open(given.bundle, device="cpu", batch_size=given.batch)
    size = (given.batch, given.steps, 3)
    python, cpp = [], []
    for _ in range(given.rounds):
        python += python_seconds(rt, *size)
        cpp += cpp_seconds(given.program, given.bundle, *size)
    for name, seconds in (("Python", python), ("C++", cpp)):
        middle, best = (given.batch / pick for pick in (statistics.median(seconds), min(seconds)))
        print(f"{name:7} {middle:8.1f} sequences/s median, {best:8.1f} best of {len(seconds)}")


if __name__ == "__main__":
    main()
