"""`sdkit render`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.options import Force, Split
from sdkit.cli.screen import say


def render(
    source: Annotated[Path, typer.Argument(help="Sequence file, or swap file of `sdkit swap`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG or GIF to write; SOURCE.png by default.")
    ] = None,
    split: Split = "all",
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Number of sequences to draw.")] = 8,
    first: Annotated[int, typer.Option(min=0, help="Number of sequences to skip.")] = 0,
    scale: Annotated[
        int, typer.Option(min=1, max=16, help="Pixels of the picture for each pixel of the data; images only.")
    ] = 1,
    rate: Annotated[
        float | None, typer.Option(help="Frames a second of a GIF; the file's rate by default, else 8.")
    ] = None,
    force: Force = False,
) -> None:
    """Draw sequences: a captioned PNG of any kind of element, or a GIF in which all images play at once."""
    import sdkit

    target = output or source.with_suffix(".png")
    path = sdkit.render(source, target, split=split, count=count, first=first, scale=scale, rate=rate, force=force)
    say(f"drew {path}")
