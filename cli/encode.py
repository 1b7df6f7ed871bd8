"""`sdkit encode`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.options import Backend, BatchSize, BundleOption, Compression, Device, Force, Resume, Split, Threads
from sdkit.cli.screen import reporter, say


def encode(
    source: Annotated[Path, typer.Argument(help="Sequence file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Code file to write.")] = Path("codes.h5"),
    bundle: BundleOption = None,
    split: Split = "all",
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of codes drawn from the posterior; its means by default.")
    ] = None,
    device: Device = "auto",
    backend: Backend = "onnx",
    threads: Threads = None,
    batch_size: BatchSize = None,
    compression: Compression = "gzip",
    force: Force = False,
    resume: Resume = False,
) -> None:
    """Encode sequences and write their static and dynamic codes."""
    from sdkit.cli.opening import open_runtime

    rt = open_runtime(bundle, device, backend, threads, batch_size)
    path = rt.encode_file(
        source, output, split=split, seed=seed, compression=compression, force=force, resume=resume, reporter=reporter()
    )
    say(f"wrote {path}")
