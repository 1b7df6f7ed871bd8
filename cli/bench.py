"""`sdkit bench`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdkit.cli.options import Backend, BatchSize, Compression, Device, Json, Threads
from sdkit.cli.screen import out, print_json, reporter

if TYPE_CHECKING:
    from sdkit.runtime.measure.bench import Bench
    from sdkit.runtime.measure.operators import GraphProfile

WIDE = 92
"""Number of columns of a screen from which a table has the rate of elements, too."""
SHOWN = 8
"""Number of operators of a graph in the table; --json has all."""


def bench(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle or run; the newest run's bundle by default.")] = None,
    data: Annotated[Path | None, typer.Option(help="Sequence file; random sequences when left out.")] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=1, help="Number of sequences of each verb; two seconds' worth by default."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of every measurement; medians are printed.")] = 3,
    profile: Annotated[bool, typer.Option("--profile", help="Print the time of each graph by operator, too.")] = False,
    device: Device = "auto",
    backend: Backend = "onnx",
    threads: Threads = None,
    batch_size: BatchSize = None,
    compression: Compression = "gzip",
    folder: Annotated[Path | None, typer.Option(help="Folder for temporary files, on the disk to measure.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a bundle on this machine: rates and what bounds them, latency, memory, start-up."""
    import msgspec

    from sdkit.runtime.measure.bench import bench as measure

    found = measure(
        bundle, data, device=device, backend=backend, threads=threads, batch_size=batch_size, count=count,
        rounds=rounds, profile=profile, compression=compression, folder=folder, reporter=reporter(),
    )  # fmt: skip
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    _print(found)
    for graph in found.profile or ():
        _print_profile(graph)


def _print(found: "Bench") -> None:
    from rich.table import Table

    machine = found.machine
    out.print(
        f"{found.bundle}: {found.backend} on {found.device}, B = {found.batch_size}, T = {found.steps}, "
        f"{found.element}, data {found.data}\n"
        f"{machine['processors']} processors ({machine['processor']}), load {machine['load']} before",
        markup=False,
    )
    table = Table(title="sequences a second, HDF5 to HDF5, and of each part alone", title_justify="left", box=None)
    table.add_column("verb", no_wrap=True)
    names = ["count", "rate", "elements/s", "read", "compute", "write", "bound by", "reached"]
    wide = out.width >= WIDE
    for name in names if wide else [name for name in names if name != "elements/s"]:
        table.add_column(name, justify="right", no_wrap=True)
    for verb, speed in found.verbs.items():
        elements = (speed.elements_a_second,) if wide else ()
        rates = (speed.sequences_a_second, *elements, speed.read, speed.compute, speed.write)
        figures = ["-" if rate is None else f"{rate:,.0f}" for rate in rates]
        table.add_row(verb, f"{speed.sequences:,}", *figures, speed.bounded_by, _reached(speed.fraction))
    out.print(table)
    latency, start = found.latency, found.start_up
    peaks = ", ".join(f"{verb} {_mib(memory.peak)}" for verb, memory in found.memory.items())
    out.print(f"latency    encode of one sequence: p50 {latency.p50_ms:.2f} ms, p95 {latency.p95_ms:.2f} ms")
    out.print(f"memory     peak of a fresh process: {peaks}; with open graphs {_mib(found.memory['encode'].opened)}")
    out.print(
        f"start-up   {start.total:.2f} s in a fresh process: import {start.import_runtime:.2f}, "
        f"open {start.open_bundle:.2f}, first encode {start.first_encode:.2f}; "
        f"loaded without need: {', '.join(start.loaded) or 'nothing'}"
    )


def _print_profile(graph: "GraphProfile") -> None:
    from rich.table import Table

    table = Table(title=f"{graph.graph}: {graph.milliseconds:.2f} ms a run", title_justify="left", box=None)
    table.add_column("operator", no_wrap=True)
    for name in ("ms", "share", "calls"):
        table.add_column(name, justify="right", no_wrap=True)
    for operator in graph.operators[:SHOWN]:
        row = (f"{operator.milliseconds:.3f}", f"{operator.share:.1%}", f"{operator.calls:g}")
        table.add_row(operator.type, *row)
    out.print(table)


def _reached(fraction: float) -> str:
    """Return the share of the bound; above it are only the errors of measuring the parts alone."""
    return "all" if fraction >= 1 else f"{fraction:.0%}"


def _mib(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f} MiB"
