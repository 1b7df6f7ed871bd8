"""`sdkit reproduce`."""

from typing import TYPE_CHECKING, Annotated

import typer

from sdkit.cli.options import Device, Json
from sdkit.cli.screen import out, reporter, say

if TYPE_CHECKING:
    from sdkit.experiments.results import PartResult, TableResult

MAIN = 4
"""Number of columns on the screen beside the divergences."""


def _tables() -> list[str]:
    from sdkit.experiments.tables import TABLES

    return list(TABLES)


def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="Table of the paper, such as table3-icu; see --list.", autocompletion=_tables)
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="DATA=PATH: source of the data set, or a sequence file; PATH alone for a table with one data "
            "set. Made files are kept under runs/data."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of independent runs of representation and heads.")] = 3,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Number of epochs of every row; the preset's by default.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Rows to run, separated by commas; the table's own by default.")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Train the other methods of the table too; as long again for each.")
    ] = False,
    only: Annotated[str | None, typer.Option(help="Run only this one of the table's data sets.")] = None,
    device: Device = "auto",
    show: Annotated[bool, typer.Option("--list", help="List tables, their data sets and rows, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Reproduce a table of the paper beside baselines and controls; finished parts are not repeated."""
    import sdkit

    make = sdkit.reproduce  # what is not installed is reported before anything that needs it is imported
    if show or name is None:
        _list()
        return
    from sdkit.experiments.report import as_json as json_text
    from sdkit.experiments.reproduce import sources_of

    result = make(
        name,
        sources=sources_of(name, source or []),
        seeds=seeds,
        epochs=epochs,
        rows=rows.split(",") if rows else None,
        peers=peers,
        only=only,
        device=device,
        reporter=reporter(),
    )
    if as_json:
        typer.echo(json_text(result), nl=False)
    else:
        for part in result.parts:
            _show(result, part)
            _show_copied(part)
    say(f"all figures, intervals and settings: {result.markdown_path} and {result.json_path}")


def _show(result: "TableResult", part: "PartResult") -> None:
    """Print the main columns of a part; the files have them all."""
    from rich.table import Table

    from sdkit.experiments.report import KINDS, sentences
    from sdkit.experiments.reproduce import COSTS

    columns = [
        *[name for name in part.columns if name not in COSTS][:MAIN],
        *[name for name in list(COSTS)[:2] if name in part.columns],
    ]
    counts = ", ".join(f"{count} {name}" for name, count in part.counts.items())
    seeds = len(result.seeds)
    table = Table(title=f"{result.title}: {part.data} ({counts}), {seeds} seed{'s' * (seeds > 1)}")
    table.add_column("row", overflow="fold", min_width=18)
    for name in columns:
        table.add_column(part.columns[name], overflow="fold", justify="right")
    for kind, title in KINDS.items():
        rows = [row for row in part.rows if row.kind == kind]
        if rows:
            table.add_section()
            table.add_row(title, style="bold")
        for row in rows:
            table.add_row(row.title, *[row.cell(name) for name in columns])
            if row.printed:
                table.add_row("  the paper prints", *[row.printed.get(name, "") for name in columns], style="italic")
    out.print(table)
    for sentence in sentences(part):
        out.print(sentence, markup=False)


def _show_copied(part: "PartResult") -> None:
    """Print the figures that publications print, apart from those that are measured."""
    from rich.table import Table

    from sdkit.experiments.report import APART, COPIED, copied_notes, copied_table

    if not part.copied:
        return
    titles, rows = copied_table(part)
    table = Table(title=f"{COPIED}: {part.data}")
    for title in titles:
        table.add_column(title, overflow="fold", justify="left" if title in (titles[0], titles[-1]) else "right")
    for row in rows:
        table.add_row(*row, style="italic")
    out.print(table)
    for sentence in (APART, *copied_notes(part)):
        out.print(sentence, markup=False)


def _list() -> None:
    from rich.table import Table

    from sdkit.experiments.tables import TABLES

    table = Table(title="tables of the paper")
    table.add_column("name", no_wrap=True)
    for column in ("what", "data sets", "models", "other methods (--peers)"):
        table.add_column(column, overflow="fold")
    for key, entry in TABLES.items():
        models = dict.fromkeys(row for part in entry.parts for row in part.rows)
        peers = dict.fromkeys(row for part in entry.parts for row in part.peers)
        data = dict.fromkeys(part.data for part in entry.parts)
        table.add_row(key, entry.title, *(", ".join(names) for names in (data, models, peers)))
    out.print(table)
