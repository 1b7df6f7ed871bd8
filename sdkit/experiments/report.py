"""Finished tables as text: JSON for programs, Markdown for people."""

import json

from sdkit.evaluation.plain import plain
from sdkit.experiments.results import PartResult, RowResult, TableResult

KINDS = {"baseline": "without a model", "control": "controls", "model": "models"}


def as_json(result: TableResult) -> str:
    """Return a table with everything: figures of every seed, intervals, settings, runs."""
    return json.dumps(plain(result), indent=1, allow_nan=False) + "\n"


def as_markdown(result: TableResult) -> str:
    """Return the table with its command, the paper's figures, intervals, notes and settings."""
    lines = [f"# {result.title}", "", f"`{command(result)}`", ""]
    for part in result.parts:
        lines += _part(part, result)
    lines += [f"{data}: left out, {reason}." for data, reason in result.skipped.items()]
    return "\n".join(lines).rstrip() + "\n"


def command(result: TableResult) -> str:
    """Return the command that reproduces the table."""
    options = {"epochs": result.epochs, "rows": ",".join(result.chosen), "only": result.only}
    given = [f"--{name} {value}" for name, value in options.items() if value]
    return " ".join([f"sdkit reproduce {result.name} --seeds {len(result.seeds)}", *given])


def _part(part: PartResult, result: TableResult) -> list[str]:
    counts = ", ".join(f"{count} {name}" for name, count in part.counts.items())
    lines = [f"## {part.data}, {part.task} ({counts})", ""]
    lines += [_row("row", list(part.columns.values())), "|---" * (len(part.columns) + 1) + "|"]
    for kind, title in KINDS.items():
        rows = [row for row in part.rows if row.kind == kind]
        if rows:
            lines.append(f"| **{title}** |" + " |" * len(part.columns))
        for row in rows:
            lines.append(_row(row.title, [row.cell(name) for name in part.columns]))
            if row.printed:
                lines.append(_row(f"*the paper prints, {row.title}*", [row.printed.get(n, "") for n in part.columns]))
    seeds = len(result.seeds)
    lines += ["", f"Mean ± standard deviation over {seeds} seed{'s' * (seeds > 1)} of representation and heads."]
    lines += [f"{note[0].upper()}{note[1:]}." for note in part.notes]
    lines += _intervals(part)
    lines += ["", *[_settings(row) for row in part.rows if row.kind == "model"], ""]
    return lines


def _row(title: str, cells: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in (title, *cells)) + " |"


def _intervals(part: PartResult) -> list[str]:
    lines = []
    for row in part.rows:
        for name, interval in row.intervals.items():
            method = interval.get("method", "bootstrap")
            lines.append(
                f"- {row.title}, {part.columns[name]}, first seed: {interval['value']:.3f}, "
                f"{interval['level']:.0%} {method} interval {interval['low']:.3f} to {interval['high']:.3f}"
            )
    return ["", *lines] if lines else []


def _settings(row: RowResult) -> str:
    """Return the line of a model's settings: those that differ from the defaults of its method's variant."""
    variant = f", variant {row.settings['variant']}" if row.settings["variant"] else ""
    changed = "".join(f", {name} {value}" for name, value in row.settings["changed"].items())
    about = f"method {row.settings['method']}{variant}, epochs {row.settings['epochs']}{changed}"
    return f"- {row.title}: {about}; {row.minutes:.1f} minutes of training in all."
