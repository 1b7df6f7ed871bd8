"""`sdkit doctor`."""

import dataclasses

import typer

from sdkit.cli.options import Json
from sdkit.cli.screen import out, print_json

STYLES = {"ok": "green", "note": "yellow", "problem": "red"}


def doctor(as_json: Json = False) -> None:
    """Report what this installation can do; the exit code is 1 when something is broken."""
    import sdkit

    findings = sdkit.doctor()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    width = max(len(finding.subject) for finding in findings) + 2
    for finding in [] if as_json else findings:
        out.print(f"[{STYLES[finding.status]}]{finding.status:<8}[/] {finding.subject:<{width}}", end="")
        out.print(finding.text, markup=False)
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)
