"""`sdkit swap`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.options import Backend, BatchSize, BundleOption, Compression, Device, Force, Resume, Threads
from sdkit.cli.screen import reporter, say


def swap(
    a: Annotated[Path, typer.Argument(help="Sequence file.")],
    b: Annotated[Path, typer.Argument(help="Sequence file; its sequences are paired with a's by position.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("swap.h5"),
    picture: Annotated[Path | None, typer.Option(help="Picture of the first pairs; OUTPUT.png by default.")] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Do not draw a picture.")] = False,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=1, help="Number of pairs, the first of the files; all by default."),
    ] = None,
    bundle: BundleOption = None,
    device: Device = "auto",
    backend: Backend = "onnx",
    threads: Threads = None,
    batch_size: BatchSize = None,
    compression: Compression = "gzip",
    force: Force = False,
    resume: Resume = False,
) -> None:
    """Join the static code of each sequence with the dynamic codes of another, both ways."""
    from sdkit.cli.opening import open_runtime
    from sdkit.figures.draw import check_drawable
    from sdkit.figures.render import render_swap
    from sdkit.runtime.errors import ConfigError, SdkitError
    from sdkit.runtime.storage.output import check_output

    rt = open_runtime(bundle, device, backend, threads, batch_size)
    target = picture or output.with_suffix(".png")
    draw = not no_picture
    if draw:
        try:
            check_drawable(rt.element)
        except SdkitError as error:
            if picture is not None:
                raise
            draw = False  # the picture was not requested, so the swap goes on without it
            say(f"no picture: {error}")
    if draw:
        if target.suffix.lower() != ".png":
            raise ConfigError(f"--picture {target}: a picture ends in .png")
        if target == output:
            raise ConfigError(f"{output} is both output and picture; end the output in .h5, or pass --no-picture")
        check_output(target, force=force, folder=False)
    path = rt.swap_file(
        a, b, output, count=count, compression=compression, force=force, resume=resume, reporter=reporter()
    )
    say(f"wrote {path}")
    if draw:
        say(f"drew {render_swap(a, b, path, target, force=force)}")
