"""`sdkit data make` and `sdkit data info`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sdkit.cli.options import Compression, Force, Json
from sdkit.cli.screen import out, print_json, reporter, say

app = typer.Typer(no_args_is_help=True)


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="puppets (drawn by sdkit) or sprites (from the LPC sheets).")],
    source: Annotated[Path | None, typer.Argument(help="Folder or zip that the data set is made from.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; NAME.h5 by default.")] = None,
    count: Annotated[int | None, typer.Option(help="Puppets: so many sequences.")] = None,
    split: Annotated[str | None, typer.Option(help="Puppets: characters of this split only.")] = None,
    seed: Annotated[int | None, typer.Option(help="Puppets: which characters, in which order.")] = None,
    compression: Compression = "gzip",
    force: Force = False,
) -> None:
    """Make a data set."""
    import sdkit

    options: dict[str, Any] = {"count": count, "split": split, "seed": seed}
    options = {key: value for key, value in options.items() if value is not None}
    path = output or Path(f"{name}.h5")
    made = sdkit.make_dataset(
        name, path, source=source, compression=compression, force=force, reporter=reporter(), **options
    )
    say(f"made {made}")


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A sequence file.")],
    check: Annotated[bool, typer.Option("--check", help="Read every value and check it.")] = False,
    as_json: Json = False,
) -> None:
    """Tell what a sequence file holds."""
    from sdkit.runtime.describe import describe_sequences

    facts = describe_sequences(path, check=check)
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            out.print(f"{key}:", markup=False)
            for name, text in value.items():
                out.print(f"  {name:<18}{text}", markup=False)
        else:
            out.print(f"{key:<20}{value}", markup=False)
