"""`sdkit data make` and `sdkit data info`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sdkit.cli.hints import command
from sdkit.cli.options import Compression, Force, Json
from sdkit.cli.screen import out, print_json, reporter, say
from sdkit.data import MAKERS, SHARED, explain_options, maker_options
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.kinds import names

app = typer.Typer(no_args_is_help=True)

MOST_LISTED = 24
"""Number of names that are listed one by one."""

LIST = "\n\n".join(f"{name}: {source or 'drawn by sdkit, no source'}." for name, source in MAKERS.items())


@app.command(help=f"Make a data set, by name and from a source:\n\n{LIST}")
def make(
    name: Annotated[str, typer.Argument(help=f"{', '.join(MAKERS)}.")],
    source: Annotated[Path | None, typer.Argument(help="File or folder that the data set is made from.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; NAME.h5 by default.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set an option of the data set, such as validation=year; may be repeated."),
    ] = None,
    list_options: Annotated[
        bool, typer.Option("--list-options", help="List the options of the data set, their defaults and what they are.")
    ] = False,
    kind: Annotated[str | None, typer.Option(help=f"For arrays: kind of element, one of {', '.join(names())}.")] = None,
    count: Annotated[int | None, typer.Option(help="For puppets: number of sequences.")] = None,
    split: Annotated[str | None, typer.Option(help="For puppets: take characters of this split only.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="For puppets: seed of the choice and order of characters; for speech and mug: seed of the splits."
        ),
    ] = None,
    compression: Compression = "gzip",
    force: Force = False,
) -> None:
    """Make a data set."""
    import sdkit
    from sdkit.training.config import parse_override

    if list_options:
        notes = explain_options(name)
        for option, default in maker_options(name).items():
            out.print(f"{option} = {default!r}", markup=False)
            out.print(f"    {notes[option]}", markup=False)
        return
    options: dict[str, Any] = dict(parse_override(text) for text in set_ or [])
    for key in ("source", *SHARED):
        if key in options:
            raise ConfigError(f"--set {key}: '{key}' is no option of a data set; see `sdkit data make --help`")
    given = {"kind": kind, "count": count, "split": split, "seed": seed}
    options |= {key: value for key, value in given.items() if value is not None}
    path = output or Path(f"{name}.h5")
    made = sdkit.make_dataset(
        name, path, source=source, compression=compression, force=force, reporter=reporter(), **options
    )
    say(f"made {made}; next: {command(['train', made])}")


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="A sequence file.")],
    check: Annotated[bool, typer.Option("--check", help="Read every value and check it.")] = False,
    as_json: Json = False,
) -> None:
    """Report what a sequence file holds."""
    from sdkit.runtime.describe import describe_sequences

    facts = describe_sequences(path, check=check)
    if as_json:
        print_json(facts)
        return
    for key, value in _told(facts).items():
        if isinstance(value, dict):
            out.print(f"{key}:", markup=False)
            for name, text in value.items():
                out.print(f"  {name:<18}{text}", markup=False)
        else:
            out.print(f"{key:<20}{value}", markup=False)


def _told(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts on a file as texts; long lists are cut."""
    element, lengths, targets = facts["element"], facts["lengths"], facts["targets"]
    steps = f"{lengths['least']} to {lengths['most']}, stored as {facts['steps']}" if lengths else facts["steps"]
    features = [f"{f['name']} ({f['unit']})" if f["unit"] else f["name"] for f in facts["features"]]
    named = "features" if features else "units"
    told = {
        **{key: facts[key] or "-" for key in ("path", "name", "sequences")},
        "steps": steps,
        "element": f"{element['kind']} ({', '.join(map(str, element['shape']))}) {element['dtype']}",
        named: _listed(features or facts["units"]) or "-",
        "rate": f"{facts['rate']:g} elements a second" if facts["rate"] else "-",
        **{key.replace("_", " "): facts[key] for key in ("step", "bin_spacing") if facts[key]},
        "in memory": _size(facts["bytes_in_memory"]),
        "on disk": _size(facts["bytes_on_disk"]),
        **{key: facts[key] or "-" for key in ("compression", "source", "licence")},
        "splits": facts["splits"],
        "factors": {
            name: f"{factor['kind']}, {len(factor['values'])} values: {_listed(factor['values'])}"
            for name, factor in facts["factors"].items()
        },
    }
    if targets:
        told["targets"] = f"{targets['a_step']} a step" + (f": {_listed(targets['names'])}" if targets["names"] else "")
    return {**told, "checked": "every value read"} if facts["checked"] else told


def _listed(values: Sequence[str]) -> str:
    """Return the values, or the first and the last of many."""
    return ", ".join(values if len(values) <= MOST_LISTED else (*values[: MOST_LISTED - 2], "...", values[-1]))


def _size(count: int) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"
