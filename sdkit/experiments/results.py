"""A finished table: its rows, its parts and the files it was written to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sdkit.evaluation.downstream.tasks import Figures
from sdkit.experiments.copied import Copied


@dataclass
class RowResult:
    """A row of a finished table."""

    title: str
    kind: str
    """Kind of the row: `baseline`, `control`, `model` of the paper's method, or `reimplemented`, of another method over
    the same element networks."""
    values: dict[str, list[float]] = field(default_factory=dict)
    """Values by figure, one for each seed."""
    intervals: dict[str, Any] = field(default_factory=dict)
    """Intervals over the test split, for the first seed."""
    runs: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    """Method, variant, epochs and all settings of a model, and under `changed` those that are not at their default."""
    minutes: float = 0.0
    """Minutes of training, all seeds together."""
    printed: Mapping[str, str] = field(default_factory=dict)
    """Figures that the paper prints."""
    notes: list[str] = field(default_factory=list)
    """Remarks on figures whose meaning differs from that in other rows."""

    @property
    def trained(self) -> bool:
        """Whether it is a model with runs and settings of its own."""
        return self.kind in ("model", "reimplemented")

    def add(self, figures: Figures) -> None:
        """Append the figures of one seed."""
        for name, value in figures.items():
            self.values.setdefault(name, []).append(value)

    def cell(self, name: str) -> str:
        """Return mean ± standard deviation over seeds, as far as there are values."""
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
    left_out: dict[str, str] = field(default_factory=dict)
    """Reasons why other methods have no row, by title."""
    copied: list[Copied] = field(default_factory=list)
    """Rows that publications print: nothing of them is measured here, and they rank with no other row."""


@dataclass
class TableResult:
    """A finished table."""

    name: str
    title: str
    seeds: list[int]
    epochs: int | None
    """Number of epochs requested; None for the presets' own."""
    chosen: list[str]
    """Names of the requested rows; empty for the table's own."""
    only: str | None
    """Name of the requested data set; None for all."""
    parts: list[PartResult]
    skipped: dict[str, str]
    """Reasons why data sets are left out."""
    json_path: Path
    markdown_path: Path
    peers: bool = False
    """Whether rows of other methods were requested."""
