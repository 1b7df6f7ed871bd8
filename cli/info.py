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
    """Report what a bundle holds, after checking its files."""
    from sdkit.runtime.describe import describe_bundle

    facts = describe_bundle(bundle)
    if as_json:
        print_json(facts)
        return
    rows = {
        name: text
        for key, value in facts.items()
        for name, text in (value.items() if isinstance(value, dict) else ((key, value),))
    }
    width = max(len(name) for name in rows) + 2
    for name, text in rows.items():
        out.print(f"{name:<{width}}{text}", markup=False)
