"""`sdkit info`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.options import Json
from sdkit.cli.screen import out, print_json


def info(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle or run; the newest run's bundle by default.")] = None,
    as_json: Json = False,
) -> None:
    """Tell what a bundle holds, after checking its files."""
    from sdkit.runtime.describe import describe_bundle

    facts = describe_bundle(bundle)
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            for name, text in value.items():
                out.print(f"{name:<14}{text}", markup=False)
        else:
            out.print(f"{key:<14}{value}", markup=False)
