"""`sdkit reconstruct`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.hints import wrote
from sdkit.cli.options import Backend, BatchSize, BundleOption, Compression, Device, Force, Resume, Split, Threads
from sdkit.cli.screen import reporter, say


def reconstruct(
    source: Annotated[Path, typer.Argument(help="Sequence file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Sequence file to write.")] = Path("reconstructed.h5"),
    bundle: BundleOption = None,
    split: Split = "all",
    device: Device = "auto",
    backend: Backend = "onnx",
    threads: Threads = None,
    batch_size: BatchSize = None,
    compression: Compression = "gzip",
    force: Force = False,
    resume: Resume = False,
) -> None:
    """Encode sequences, decode them again and write the result."""
    from sdkit.cli.opening import open_runtime

    rt = open_runtime(bundle, device, backend, threads, batch_size)
    path = rt.reconstruct_file(
        source, output, split=split, compression=compression, force=force, resume=resume, reporter=reporter()
    )
    say(wrote(path, rt.element))
