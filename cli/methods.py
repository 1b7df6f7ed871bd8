"""`sdkit methods`."""

from typing import Annotated

import typer
from rich.text import Text

from sdkit.cli.options import Json
from sdkit.cli.screen import out, print_json


def methods(
    name: Annotated[str | None, typer.Argument(help="Method to describe; all by default.")] = None,
    as_json: Json = False,
) -> None:
    """List the methods that can be trained, their variants and their verbs."""
    from sdkit.methods.listing import describe

    found = describe(name)
    if as_json:
        print_json(found)
        return
    for about in found:
        out.print(Text.assemble((about["name"], "bold"), f"  {about['title']}"))
        out.print(f"  variants: {', '.join(about['variants']) or 'none'}", markup=False)
        out.print(f"  verbs: {', '.join(about['verbs'])}", markup=False)
        for verb, reason in about["refusals"].items():
            out.print(f"  no {verb}: {reason}", markup=False)
        out.print(f"  {about['reference']}", markup=False, style="dim")
