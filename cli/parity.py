"""The parity table."""

from typing import TYPE_CHECKING

from sdkit.cli.screen import out

if TYPE_CHECKING:
    from sdkit.export.proof.parity import Errors, Report


def print_report(report: "Report") -> None:
    """Print a table for each candidate, with largest differences over all cases, tolerance and verdict by result."""
    from rich.table import Table
    from rich.text import Text

    for candidate in dict.fromkeys(row.candidate for row in report.rows):
        lines = [line for line in report.lines() if line.candidate == candidate]
        sizes = " ".join(f"({b},{t})" for b, t in dict.fromkeys(size for line in lines for size in line.sizes))
        table = Table(title=f"{candidate} against {report.reference}, (B,T) = {sizes}", title_justify="left", box=None)
        table.add_column("result", no_wrap=True)
        for name in ("max |a-b|", "relative", *(["rms"] if report.precision != "float32" else []), "allowed"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("")
        for line in lines:
            rms = [f"{line.rms_rel:.1e}"] if report.precision != "float32" else []
            verdict = Text("ok", "green") if line.ok else Text("DIFFERS", "bold red")
            table.add_row(line.result, f"{line.max_abs:.1e}", f"{line.max_rel:.1e}", *rms, line.allowed, verdict)
        out.print(table)
    if report.errors is not None:
        _print_errors(report.precision, report.errors)
    for name, metric in report.metrics.items():
        out.print(f"{name}: {metric.value:.4g}, in float32 {metric.reference:.4g}", markup=False)


def _print_errors(precision: str, errors: "Errors") -> None:
    from rich.table import Table

    title = f"{precision} against float32 on {errors.sequences} held-out sequences of {errors.data}"
    table = Table(title=title, title_justify="left", box=None)
    table.add_column("result", no_wrap=True)
    for name in ("mean", "rms", "max"):
        table.add_column(f"{name}, relative", justify="right", no_wrap=True)
    for line in errors.lines:
        table.add_row(line.result, *(f"{100 * part:.2f} %" for part in (line.mean_rel, line.rms_rel, line.max_rel)))
    out.print(table)
