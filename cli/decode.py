"""`sdkit decode`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.hints import wrote
from sdkit.cli.options import Backend, BatchSize, BundleOption, Compression, Device, Force, Resume, Threads
from sdkit.cli.screen import reporter, say


def decode(
    source: Annotated[Path, typer.Argument(help="Code file, as `sdkit encode` writes it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Sequence file to write.")] = Path("decoded.h5"),
    bundle: BundleOption = None,
    device: Device = "auto",
    backend: Backend = "onnx",
    threads: Threads = None,
    batch_size: BatchSize = None,
    compression: Compression = "gzip",
    force: Force = False,
    resume: Resume = False,
) -> None:
    """Decode codes and write the sequences."""
    from sdkit.cli.opening import open_runtime

    rt = open_runtime(bundle, device, backend, threads, batch_size)
    path = rt.decode_file(source, output, compression=compression, force=force, resume=resume, reporter=reporter())
    say(wrote(path, rt.element))
