"""Shared parts of the benchmarks: model and data to run on, turns, the machine's description, JSON and tables."""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import sdkit
from sdkit.runtime.measure.machine import describe_machine
from sdkit.runtime.storage.sequences import SequenceMeta, SequenceWriter

RESULTS = Path(__file__).parent / "results"
WORK = Path("build") / "benchmarks"
BASE = 1000
"""Number of puppets that are drawn; larger files repeat them."""
TRAINED_ON = 330
PACKAGES = ("torch", "onnx", "hdf5plugin")
Times = dict[str, list[float]]


def parser(description: str | None, name: str, *, rounds: int | None = 3) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark.

    Args:
        description: the module's docstring.
        name: name of the benchmark; its JSON goes to results/NAME.json.
        rounds: default number of rounds; None for a benchmark without rounds.
    """
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, default=RESULTS / f"{name}.json", help="file for the numbers (%(default)s)")
    if rounds is not None:
        made.add_argument("--rounds", type=int, default=rounds)
    return made


def model_options(made: argparse.ArgumentParser) -> None:
    """Add the options of benchmarks that run a model of the sprites preset."""
    made.add_argument("--run", type=Path, help="run with a bundle in both formats; trained briefly when not given")
    made.add_argument("--work", type=Path, default=WORK, help="folder for models and files (%(default)s)")
    made.add_argument(
        "--threads", type=int, help="threads of one operator, in every library; the processors by default"
    )


def make_run(
    work: Path, given: Path | None = None, *, name: str = "sprites", settings: Mapping[str, Any] | None = None
) -> sdkit.Run:
    """Return a run with a bundle in both formats: the one given, else one trained for an epoch and kept in `work`.

    Speed depends on widths, not on what was learned; after an epoch the decoded data compress about as pictures do.

    Args:
        work: folder for models and files.
        given: run to use; when None, one is trained.
        name: name of the run that is trained.
        settings: settings of model and training that differ from the sprites preset's.
    """
    if given is not None:
        return sdkit.find_run(given.resolve())
    work.mkdir(parents=True, exist_ok=True)
    run = work / "runs" / name
    if not (run / "bundle" / "manifest.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        data = puppets(work, TRAINED_ON).resolve()
        with contextlib.chdir(work), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one epoch is too short to learn much, which causes warnings
            say(f"training and exporting {run}")
            made = sdkit.train(data, preset="sprites", name=name, epochs=1, swap_every=0, **(settings or {}))
            sdkit.export_bundle(made, format="all")
    return sdkit.find_run(run.resolve())


def puppets(work: Path, count: int) -> Path:
    """Return a file of `count` sequences (8, 3, 64, 64): repeated puppets, in gzip chunks as sdkit writes them."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"puppets-{count}.h5"
    if not path.exists():
        if count <= BASE:
            sdkit.make_dataset("puppets", path, count=count)
        else:
            repeat(puppets(work, BASE), path, count)
    return path


def repeat(source: Path, target: Path, count: int) -> None:
    """Write `count` sequences: those of `source` repeated, chunk by chunk as they are stored there."""
    partial = target.with_suffix(".part")
    with h5py.File(source) as old, h5py.File(partial, "w") as new:
        data = old["data"]
        rows = data.chunks[0]
        copied = new.create_dataset(
            "data",
            (count, *data.shape[1:]),
            data.dtype,
            chunks=data.chunks,
            compression=data.compression,
            compression_opts=data.compression_opts,
        )
        chunks = [data.id.read_direct_chunk((row, 0, 0, 0, 0)) for row in range(0, len(data) // rows * rows, rows)]
        for number, row in enumerate(range(0, count, rows)):
            mask, raw = chunks[number % len(chunks)]
            copied.id.write_direct_chunk((row, 0, 0, 0, 0), raw, mask)
        new.attrs.update({**old.attrs, "classes": "{}"})
    partial.replace(target)


def longer(source: Path, target: Path, steps: int) -> Path:
    """Write the sequences of `source` with T = `steps`, their elements repeated."""
    if not target.exists():
        file = sdkit.SequenceFile(source)
        index = np.arange(steps) % file.steps
        with SequenceWriter(target, SequenceMeta(file.element)) as writer:
            for _, x in file.batches(64):
                writer.write(np.ascontiguousarray(x[:, index]))
    return target


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> Times:
    """Return seconds of each way, round by round, so that a machine whose speed drifts treats them alike."""
    times: Times = {name: [] for name in ways}
    for number in range(rounds):
        for name, work in ways.items():
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
        say(f"round {number + 1} of {rounds}: " + ", ".join(f"{name} {t[-1]:.3g} s" for name, t in times.items()))
    return times


def medians(times: Times) -> dict[str, float]:
    """Return the median of each way."""
    return {name: statistics.median(spent) for name, spent in times.items()}


class Others:
    """Average number of processors kept busy by other processes since this was made; available on Linux only."""

    def __init__(self) -> None:
        self.began, self.busy, self.own = time.monotonic(), _busy(), _own()

    def average(self) -> float | None:
        """Return the average, or None where it is not available."""
        busy = _busy()
        if self.busy is None or busy is None:
            return None
        spent = busy - self.busy - (_own() - self.own)
        return round(max(0.0, spent / (time.monotonic() - self.began)), 2)


def _busy() -> float | None:
    """Return the seconds for which all processors have been busy."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, irq, softirq, *_ = map(int, stat.read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Return the processor seconds of this process and of the child processes that have ended."""
    return sum(os.times()[:4])


others = Others()
"""Load by other processes since the benchmark was started."""


def save(path: Path, module: str, found: Mapping[str, Any]) -> None:
    """Write the results, with the command and the machine, as JSON.

    `others` of the machine is the average number of processors that other processes kept busy meanwhile.
    """
    import torch

    from sdkit.training.device import bf16_available

    machine: dict[str, Any] = {
        **describe_machine(*PACKAGES),
        "others": others.average(),
        "torch_threads": torch.get_num_threads(),
        "bf16_instructions": bf16_available(torch.device("cpu")),
    }
    command = " ".join(["python -m", f"benchmarks.{module}", *_shown(sys.argv[1:])])
    path.parent.mkdir(parents=True, exist_ok=True)
    machine.pop("load")  # mostly the benchmark's own
    text = json.dumps({"command": command, "machine": machine, **found}, indent=1)
    path.write_text(text + "\n", "utf-8")
    say(f"wrote {path}")


def _shown(arguments: Sequence[str]) -> list[str]:
    """Return arguments without folders, which mean nothing on another machine."""
    return [Path(text).name if Path(text).is_absolute() else text for text in arguments]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table; numbers must be formatted already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def say(message: str) -> None:
    """Print progress to stderr."""
    print(message, file=sys.stderr, flush=True)
