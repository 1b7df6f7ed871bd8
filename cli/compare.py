"""`sdkit compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sdkit.cli.options import Device, Json, settings
from sdkit.cli.screen import out, reporter, say

if TYPE_CHECKING:
    from sdkit.experiments.comparison.report import Comparison

OPTIONS = (
    "data",
    "methods",
    "steps",
    "trials",
    "seeds",
    "objective",
    "output",
    "onnx",
    "keep_runs",
    "device",
    "reporter",
)
"""Arguments of `sdkit.compare` that are not settings."""


def compare(
    data: Annotated[Path, typer.Argument(help="Sequence file with a test split.")],
    methods: Annotated[
        str, typer.Option(help="Methods, separated by commas: NAME, NAME:VARIANT, or all; see `sdkit methods`.")
    ] = "all",
    steps: Annotated[
        int, typer.Option(min=1, help="Number of optimiser steps of every model, in whole epochs.")
    ] = 1000,
    trials: Annotated[
        int, typer.Option(min=0, help="Number of trials of each method's search, of a fifth of the steps each.")
    ] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 3,
    objective: Annotated[
        Literal["elbo", "reconstruction", "loss"],
        typer.Option(help="What trials are compared by, on the validation split, as in tune."),
    ] = "elbo",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set a setting of all methods that have it, such as static_size=32."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the results, continued if it exists; runs/compare/DATA."),
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Export each method's first model, and measure its ONNX graphs as well.")
    ] = False,
    keep_runs: Annotated[bool, typer.Option("--keep-runs", help="Keep the run of every row.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Compare methods on a data set: same networks, steps, trials, judge and heads; an interrupted one goes on."""
    import sdkit

    make = sdkit.compare  # what is not installed is reported before anything that needs it is imported
    from sdkit.experiments.comparison.report import as_json as json_text

    overrides = settings(set_, OPTIONS, "`sdkit compare --help`")
    found = make(
        data, methods=methods, steps=steps, trials=trials, seeds=seeds, objective=objective, output=output,
        onnx=onnx, keep_runs=keep_runs, device=device, reporter=reporter(), **overrides,
    )  # fmt: skip
    if as_json:
        typer.echo(json_text(found), nl=False)
    else:
        _show(found)
    say(f"tables, tests and settings: {found.path / 'comparison.md'}; figure: {found.path / 'comparison.png'}")


def _show(found: "Comparison") -> None:
    """Print the main figures, a few at a time, so that a table fits a narrow screen."""
    from rich.table import Table

    from sdkit.experiments.comparison.report import cell

    seeds = len({row.seed for row in found.rows})
    title = f"{found.terms.data}: {found.terms.steps} steps, {seeds} seed{'s' * (seeds > 1)}"
    for start in range(0, len(found.main), 5):
        columns = found.main[start : start + 5]
        table = Table(title=title if not start else None)
        table.add_column("method", no_wrap=True)
        for column in columns:
            table.add_column(column, overflow="fold", justify="right")
        for entry in found.entries:
            table.add_row(entry, *[cell(found, entry, column) for column in columns])
        out.print(table)
