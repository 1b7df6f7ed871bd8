"""Finished tables as text: JSON for programs, Markdown for people."""

import json

from sdkit.evaluation.plain import plain
from sdkit.experiments.results import PartResult, RowResult, TableResult

KINDS = {
    "baseline": "without a model",
    "control": "controls",
    "model": "models",
    "reimplemented": "other methods, re-implemented",
}
COPIED = "Copied figures"
APART = (
    "Printed in publications and not measured here. Other networks, splits and judges lie behind them: they do not "
    "rank with the rows above."
)
REIMPLEMENTED = "other methods are re-implemented and trained here, over the element networks of the models above them"


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
    flags = ["--peers"] if result.peers else []
    return " ".join([f"sdkit reproduce {result.name} --seeds {len(result.seeds)}", *given, *flags])


def sentences(part: PartResult) -> list[str]:
    """Return the notes on a part and on its rows, and why rows are left out, as sentences."""
    of_rows = [f"{row.title}: {note}" for row in part.rows for note in row.notes]
    others = [REIMPLEMENTED] if any(row.kind == "reimplemented" for row in part.rows) else []
    left_out = [f"{title}: left out, {reason}" for title, reason in part.left_out.items()]
    return [f"{text[0].upper()}{text[1:]}." for text in (*part.notes, *others, *of_rows, *left_out)]


def copied_table(part: PartResult) -> tuple[list[str], list[list[str]]]:
    """Return titles and rows of the copied figures: row, figures and edition."""
    names = list(dict.fromkeys(name for row in part.copied for name in row.figures))
    titles = ["row", *(part.columns.get(name, name) for name in names), "copied from"]
    return titles, [[row.title, *(row.figures.get(name, "") for name in names), row.edition] for row in part.copied]


def copied_notes(part: PartResult) -> list[str]:
    """Return the notes on copied rows, as sentences."""
    return [f"{row.title}: {row.note}." for row in part.copied if row.note]


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
    lines += sentences(part)
    lines += _intervals(part)
    lines += ["", *[_settings(row) for row in part.rows if row.trained], ""]
    return lines + _copied(part)


def _copied(part: PartResult) -> list[str]:
    if not part.copied:
        return []
    titles, rows = copied_table(part)
    lines = [f"### {COPIED}: {part.data}, {part.task}", "", APART, ""]
    lines += [_row(titles[0], titles[1:]), "|---" * len(titles) + "|", *[_row(row[0], row[1:]) for row in rows], ""]
    notes = copied_notes(part)
    return [*lines, *notes, ""] if notes else lines


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
