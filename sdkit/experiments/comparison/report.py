"""A comparison as JSON, as tables in Markdown, and as a figure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from sdkit import methods
from sdkit.evaluation.statistics import holm, paired
from sdkit.experiments.comparison.columns import Direction
from sdkit.experiments.comparison.entries import Folder, Row, Terms, Tuned
from sdkit.figures.comparison import Point, draw_comparison

LEVEL = 0.05
"""Family-wise error at which a difference counts."""
QUALITY = ("swap: all right", "swap: static right")
LEAKS = ("swap: static leaked", "leakage into d", "leakage into s")


@dataclass
class Comparison:
    """A comparison, perhaps not complete yet."""

    path: Path
    """Folder of the results."""
    terms: Terms
    rows: list[Row]
    costs: dict[str, float]
    """Seconds of an optimiser step by entry, measured in turn."""
    tuned: dict[str, Tuned]
    """Searches by entry."""

    @property
    def entries(self) -> list[str]:
        """Names of the entries that have rows, in their order."""
        return list(dict.fromkeys(row.entry for row in self.rows))

    @property
    def reference(self) -> str:
        """Name of the entry that the others are tested against: the default method, else the first."""
        return methods.DEFAULT if methods.DEFAULT in self.entries else self.entries[0]

    @property
    def columns(self) -> list[str]:
        """Names of the figures that some row has, in the order of the evaluation."""
        return list(dict.fromkeys(name for row in self.rows for name in row.figures))

    @property
    def main(self) -> list[str]:
        """Names of the figures of the short table."""
        return list(dict.fromkeys(name for row in self.rows for name, figure in row.figures.items() if figure.main))

    def values(self, entry: str, column: str) -> dict[int, float]:
        """Return the values of a figure by seed."""
        return {
            row.seed: row.figures[column].value for row in self.rows if row.entry == entry and column in row.figures
        }

    def mean(self, entry: str, column: str) -> float | None:
        """Return the mean of a figure over seeds; None where there is none."""
        values = list(self.values(entry, column).values())
        return float(np.mean(values)) if values else None

    def beside(self, column: str) -> float | None:
        """Return the value without a model, the mean over rows; None where there is none."""
        found = [row.figures[column].beside for row in self.rows if column in row.figures]
        values = [value for value in found if value is not None]
        return float(np.mean(values)) if values else None

    def better(self, column: str) -> Direction:
        """Return whether more of a figure is better, or less, or neither."""
        return next(row.figures[column].better for row in self.rows if column in row.figures)


class Difference(NamedTuple):
    """Difference of an entry from the reference, over the seeds that both have."""

    entry: str
    column: str
    difference: float
    low: float
    high: float
    p: float
    """p-value of the paired t test, by Holm over the entries of the column."""
    pairs: int

    @property
    def counts(self) -> bool:
        """Whether the difference is more than noise."""
        return self.p < LEVEL


def differences(found: Comparison, column: str) -> list[Difference]:
    """Return the differences of all other entries from the reference, tested together."""
    base = found.values(found.reference, column)
    tests = []
    for entry in found.entries:
        values = found.values(entry, column)
        seeds = sorted(set(base) & set(values))
        if entry != found.reference and len(seeds) > 1:
            tests.append((entry, paired([values[s] for s in seeds], [base[s] for s in seeds])))
    adjusted = holm([test.p for _, test in tests])
    return [
        Difference(entry, column, test.difference, test.low, test.high, p, test.count)
        for (entry, test), p in zip(tests, adjusted, strict=True)
    ]


def write(found: Comparison, folder: Folder) -> None:
    """Write comparison.json and comparison.md into the folder."""
    folder.write_text("comparison.json", as_json(found))
    folder.write_text("comparison.md", as_markdown(found))


def as_json(found: Comparison) -> str:
    """Return everything: terms, rows, costs, searches and tests."""
    tests = [test._asdict() for column in found.main for test in differences(found, column)]
    whole = {
        "terms": found.terms,
        "reference": found.reference,
        "rows": found.rows,
        "costs": found.costs,
        "tuned": found.tuned,
        "differences": tests,
    }
    return json.dumps(msgspec.to_builtins(whole), indent=1, allow_nan=False) + "\n"


def as_markdown(found: Comparison) -> str:
    """Return the tables: main figures, tests against the reference, cost, all figures, settings."""
    terms, main = found.terms, found.main
    seeds = sorted({row.seed for row in found.rows})
    lines = [f"# {terms.data}: {len(found.entries)} methods", "", f"`{command(found)}`", ""]
    lines += [
        f"{terms.steps} optimiser steps each, in whole epochs; {_search(terms)}; {len(seeds)} "
        f"seed{'s' * (len(seeds) > 1)}. Mean ± standard deviation over seeds; ↑ more is better, ↓ less is better. "
        f"**Bold**: better than `{found.reference}` by more than noise (paired t test over seeds, Holm over the "
        f"methods of a column, p < {LEVEL}); *italic*: worse by more than noise.",
        "",
        *_table(found, main),
        *_notes(found),
        "",
        "## Cost",
        "",
        *_costs(found),
        "",
        f"## Differences from {found.reference}",
        "",
        *(_differences(found, main) or ["One seed: nothing can be tested."]),
        "",
        "## All figures",
        "",
        *_transposed(found),
        "",
        "## Settings",
        "",
        *_settings(found),
        *_on_onnx(found),
        *_failures(found),
    ]
    return "\n".join(lines).rstrip() + "\n"


def command(found: Comparison) -> str:
    """Return the command that makes the comparison."""
    terms = found.terms
    names = [f"{row.method}:{row.variant}" if row.entry != row.method else row.method for row in found.rows]
    listed = ",".join(dict.fromkeys(names))
    seeds = len({row.seed for row in found.rows})
    words = ["sdkit compare", f"{terms.data}.h5", f"--methods {listed}", f"--steps {terms.steps}"]
    words += [f"--trials {terms.trials}" if terms.trials else "", f"--seeds {seeds}"]
    words += [f"--set {name}={value}" for name, value in terms.overrides.items()]
    return " ".join(word for word in words if word)


def draw(found: Comparison) -> Path | None:
    """Draw quality against leakage and cost against quality; None where the data allow no such figures."""
    columns = found.main
    graded = [c for c in columns if found.better(c) == "up"]
    quality = next((c for c in QUALITY if c in columns), graded[0] if graded else None)
    leak = next((c for c in LEAKS if c in columns), None)
    if quality is None:
        return None
    points = [
        Point(
            entry,
            list(found.values(entry, quality).values()),
            list(found.values(entry, leak).values()) if leak else [],
            found.costs[entry] / found.costs[found.reference],
        )
        for entry in found.entries
        if found.values(entry, quality)
    ]
    path = found.path / "comparison.png"
    about = f"{found.terms.data}: {found.terms.steps} steps each; bars span the seeds."
    draw_comparison(
        points, path, quality=quality, leak=leak or "", reference=found.reference, guess=found.beside(quality),
        note=about,
    )  # fmt: skip
    return path


def _search(terms: Terms) -> str:
    if not terms.trials:
        return "settings of the preset, without a search"
    return f"the best of {terms.trials} trials of a fifth of the steps by validation {terms.objective}"


def _table(found: Comparison, columns: Sequence[str]) -> list[str]:
    arrows: Mapping[Direction, str] = {"up": " ↑", "down": " ↓", "none": ""}
    titles = [f"{column}{arrows[found.better(column)]}" for column in columns]
    lines = [_line("method", titles), "|---" * (len(columns) + 1) + "|"]
    tests = {(test.entry, test.column): test for column in columns for test in differences(found, column)}
    for entry in found.entries:
        cells = []
        for column in columns:
            text, test = cell(found, entry, column), tests.get((entry, column))
            if test is not None and test.counts and found.better(column) != "none":
                mark = "**" if (test.difference > 0) == (found.better(column) == "up") else "*"
                text = f"{mark}{text}{mark}"
            cells.append(text)
        lines.append(_line(f"`{entry}`", cells))
    lines.append(_line("without a model", [_number(found.beside(column)) for column in columns]))
    return lines


def cell(found: Comparison, entry: str, column: str) -> str:
    """Return mean ± standard deviation over seeds as text; a dash where there is no value."""
    values = list(found.values(entry, column).values())
    if not values:
        return "-"
    spread = f" ± {_number(float(np.std(values, ddof=1)))}" if len(values) > 1 else ""
    return f"{_number(float(np.mean(values)))}{spread}"


def _costs(found: Comparison) -> list[str]:
    lines = [
        _line("method", ["ms a step", f"of `{found.reference}`", "minutes a model", "parameters"]),
        "|---" * 5 + "|",
    ]
    for entry in found.entries:
        rows = [row for row in found.rows if row.entry == entry and not row.failed]
        minutes = np.mean([row.seconds for row in rows]) / 60 if rows else None
        seconds = found.costs[entry]
        cells = [f"{1e3 * seconds:.1f}", f"{seconds / found.costs[found.reference]:.2f}"]
        cells += ["-", "-"] if minutes is None else [f"{minutes:.1f}", f"{rows[0].parameters:,}"]
        lines.append(_line(f"`{entry}`", cells))
    return [*lines, "", "Steps are timed in turn in one process; minutes depend on what else the machine did."]


def _differences(found: Comparison, columns: Sequence[str]) -> list[str]:
    tests = [t for column in columns if found.better(column) != "none" for t in differences(found, column)]
    if not tests:
        return []
    lines = ["| figure | method | difference | 95 % interval | p (Holm) |", "|---|---|---|---|---|"]
    for test in tests:
        cells = [f"`{test.entry}`", f"{test.difference:+.3f}", f"{test.low:+.3f} to {test.high:+.3f}", f"{test.p:.3f}"]
        lines.append(_line(test.column, cells))
    return lines


def _transposed(found: Comparison) -> list[str]:
    lines = [_line("figure", [*(f"`{e}`" for e in found.entries), "without a model"])]
    lines += ["|---" * (len(found.entries) + 2) + "|"]
    for column in found.columns:
        cells = [_number(found.mean(entry, column)) for entry in found.entries]
        lines.append(_line(column, [*cells, _number(found.beside(column))]))
    return lines


def _settings(found: Comparison) -> list[str]:
    lines = []
    for entry in found.entries:
        row = next(row for row in found.rows if row.entry == entry)
        tuned = found.tuned.get(entry)
        searched = ", ".join(f"{name} {_short(value)}" for name, value in (tuned.settings if tuned else {}).items())
        said = f"searched: {searched}" if searched else (tuned.reason if tuned else "the preset's settings")
        whole = ", ".join(f"{name} {_short(value)}" for name, value in row.settings.items())
        rate = f"learning_rate {_short(row.train['learning_rate'])}, batch_size {row.train['batch_size']}"
        lines.append(f"- `{entry}`: {row.steps} steps in {row.epochs} epochs; {said}. All: {rate}, {whole}.")
    return lines


def _on_onnx(found: Comparison) -> list[str]:
    """Return a table of the figures measured on ONNX graphs beside those of the models, if there are any."""
    rows = [row for row in found.rows if row.onnx]
    if not rows:
        return []
    cells = ["figures", "equal to 3 decimals", "largest difference", "of", "training model", "ONNX graphs"]
    lines = [
        "",
        "## On ONNX graphs",
        "",
        "Seed 0. Each model was exported, proven, and its graphs evaluated alike.",
        "",
    ]
    lines += [_line("method", cells), "|---" * (len(cells) + 1) + "|"]
    for row in rows:
        pairs = {name: (row.figures[name].value, value) for name, value in row.onnx.items() if name in row.figures}
        same = sum(_number(model) == _number(graphs) for model, graphs in pairs.values())
        name, (model, graphs) = max(pairs.items(), key=lambda pair: abs(pair[1][1] - pair[1][0]))
        cells = [f"{len(pairs)}", f"{same}", f"{abs(graphs - model):.1e}", name, f"{model:.6g}", f"{graphs:.6g}"]
        lines.append(_line(f"`{row.entry}`", cells))
    return lines


def _notes(found: Comparison) -> list[str]:
    lines = _grouped((row.entry, row.notes) for row in found.rows)
    return ["", *lines] if lines else []


def _failures(found: Comparison) -> list[str]:
    lines = [f"- `{row.entry}`, seed {row.seed}: no model, {row.failed}." for row in found.rows if row.failed]
    lines += _grouped((row.entry, row.skipped) for row in found.rows)
    return ["", "## Left out", "", *lines] if lines else []


def _grouped(said: Iterable[tuple[str, Mapping[str, str]]]) -> list[str]:
    """Return a line for each remark, with the entries that it holds for."""
    entries: dict[tuple[str, str], dict[str, None]] = {}
    for entry, remarks in said:
        for name, remark in remarks.items():
            entries.setdefault((name, remark), {})[entry] = None
    return [f"- {name}: {remark} ({', '.join(f'`{e}`' for e in of)})." for (name, remark), of in entries.items()]


def _line(title: str, cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in (title, *cells)) + " |"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
