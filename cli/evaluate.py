"""`sdkit evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sdkit.cli.options import Backend, Device, Force, Json, Seed
from sdkit.cli.screen import out, print_json, reporter, say


def evaluate(
    source: Annotated[Path | None, typer.Argument(help="Run or bundle; the newest run by default.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Sequence file with a test split; the training data by default.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the results; evaluation/ in the run by default.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Number of draws of codes from the prior.")] = 5,
    seed: Seed = 0,
    backend: Backend = "onnx",
    device: Device = "auto",
    figures: Annotated[bool, typer.Option(help="Draw pictures as well.")] = True,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure a trained run, or the graphs of a bundle, in every way that the method and the labels allow."""
    import sdkit

    results = sdkit.evaluate(
        source,
        data=data,
        output=output,
        repeats=repeats,
        seed=seed,
        backend=backend,
        device=device,
        figures=figures,
        force=force,
        reporter=reporter(),
    )
    if as_json:
        print_json(results)
    else:
        _table(results)
    say(f"wrote {results['output']}")


def _table(results: dict[str, Any]) -> None:
    from rich.table import Table

    from sdkit.evaluation.summary import summary

    table = Table(title=f"{results['subject']['path']} ({results['subject']['backend']}) on {results['data']['path']}")
    for name in ("section", "figure", "value", "beside it"):
        table.add_column(name, overflow="fold")
    section = ""
    lines = summary(results)
    for line in lines:
        if line.section != section and section:
            table.add_section()
        table.add_row(line.section if line.section != section else "", line.figure, line.value, line.beside)
        section = line.section
    if lines:  # nothing can be measured of a model that only generates
        out.print(table)
    for name, reason in results["skipped"].items():
        out.print(f"{name}: skipped, {reason}", markup=False)
