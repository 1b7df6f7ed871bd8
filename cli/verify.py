"""`sdkit verify`."""

from pathlib import Path
from typing import Annotated

import typer

from sdkit.cli.options import Backend, Device, Json
from sdkit.cli.screen import print_json, say


def verify(
    bundle: Annotated[Path | None, typer.Argument(help="Bundle or run; the newest run's bundle by default.")] = None,
    run: Annotated[
        Path | None, typer.Option(help="Run whose weights to compare with; searched for around the bundle by default.")
    ] = None,
    device: Device = "cpu",
    backend: Backend = "onnx",
    as_json: Json = False,
) -> None:
    """Prove a bundle again on this machine: its files, then every graph and verb; TorchScript graphs on request."""
    import sdkit
    from sdkit.cli.parity import print_report

    report = sdkit.verify(bundle, run=run, device=device, backend=backend)
    if as_json:
        print_json(report.summary())
    else:
        print_report(report)
    report.require()
    say(f"verified: {len(report.rows)} results agree with {report.reference}")
