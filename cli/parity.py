"""The parity table."""

from typing import TYPE_CHECKING

from sdkit.cli.screen import out

if TYPE_CHECKING:
    from sdkit.export.parity import Report


def print_report(report: "Report") -> None:
    """Print one line a result: largest differences over all cases, tolerance, verdict; a table a candidate."""
    from rich.table import Table
    from rich.text import Text

    for candidate in dict.fromkeys(row.candidate for row in report.rows):
        lines = [line for line in report.lines() if line.candidate == candidate]
        sizes = " ".join(f"({b},{t})" for b, t in dict.fromkeys(size for line in lines for size in line.sizes))
        table = Table(title=f"{candidate} against {report.reference}, (B,T) = {sizes}", title_justify="left", box=None)
        table.add_column("result", no_wrap=True)
        for name in ("max |a-b|", "relative", "allowed"):
            table.add_column(name, justify="right", no_wrap=True)
        table.add_column("")
        for line in lines:
            allowed = f"{line.atol:.3g} + {line.rtol:g}|x|"
            verdict = Text("ok", "green") if line.ok else Text("DIFFERS", "bold red")
            table.add_row(line.result, f"{line.max_abs:.1e}", f"{line.max_rel:.1e}", allowed, verdict)
        out.print(table)
