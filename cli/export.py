"""`sdkit export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdkit.cli.options import Force, Json
from sdkit.cli.screen import print_json, reporter, say


def export(
    run: Annotated[Path | None, typer.Argument(help="Run to export; SDKIT_RUN or the newest by default.")] = None,
    format_: Annotated[Literal["onnx", "torchscript", "all"], typer.Option("--format", help="Of the graphs.")] = "onnx",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Bundle; RUN/bundle by default.")] = None,
    opset: Annotated[int, typer.Option(help="Of ONNX, 17 to 20.")] = 18,
    weights: Annotated[Literal["best", "last"], typer.Option(help="best: lowest validation loss.")] = "best",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Export a run as a bundle of graphs, proven equal to the model."""
    import sdkit
    from sdkit.cli.parity import print_report
    from sdkit.export.parity import read_report

    bundle = sdkit.export_bundle(
        run,
        output,
        format=format_,
        opset=opset,
        weights=weights,
        force=force,
        reporter=reporter(),
    )
    report = read_report(bundle)
    if as_json:
        print_json({"bundle": str(bundle.path), **report.summary()})
    else:
        print_report(report)
    say(f"exported {bundle.path}; next: sdkit swap a.h5 b.h5")
