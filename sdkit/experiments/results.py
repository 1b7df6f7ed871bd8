"""A finished table: its rows, its parts and where it was written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sdkit.evaluation.downstream.tasks import Figures


@dataclass
class RowResult:
    """A row of a finished table."""

    title: str
    kind: str
    """`model`, `control` or `baseline`."""
    values: dict[str, list[float]] = field(default_factory=dict)
    """One value a seed, by figure."""
    intervals: dict[str, Any] = field(default_factory=dict)
    """Bootstrap over the test split, of the first seed."""
    runs: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """Method, variant, epochs and all settings of a model, and under `changed` those that are not at their default."""
    minutes: float = 0.0
    """Minutes of training, all seeds together."""
    printed: Mapping[str, str] = field(default_factory=dict)
    """What the paper prints."""

    def add(self, figures: Figures) -> None:
        """Append the figures of one seed."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value)

    def cell(self, name: str) -> str:
        """Return mean ± standard deviation over seeds, or what there is."""
        values = self.values.get(name, [])
        if not values:
            return ""
        mean = float(np.mean(values))
        return f"{mean:.3f}" if len(set(values)) == 1 else f"{mean:.3f} ± {np.std(values, ddof=1):.3f}"


@dataclass
class PartResult:
    """The columns of a finished table that come from one data set."""

    data: str
    task: str
    columns: dict[str, str]
    rows: list[RowResult]
    notes: list[str]
    counts: dict[str, int]


@dataclass
class TableResult:
    """A finished table."""

    name: str
    title: str
    seeds: list[int]
    epochs: int | None
    """Number of epochs asked for; None for the presets' own."""
    chosen: list[str]
    """Rows asked for; none for the table's own."""
    only: str | None
    """The data set asked for; None for all."""
    parts: list[PartResult]
    skipped: dict[str, str]
    """Why data sets are left out."""
    json_path: Path
    markdown_path: Path
