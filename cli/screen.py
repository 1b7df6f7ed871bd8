"""Output of the command line: progress, tables, errors. Figures go to stdout, all else to stderr."""

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress

    from sdkit.runtime.progress import Reporter

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say(message: str) -> None:
    """Print a line about the work, to stderr; of several training processes only the first prints."""
    if _first():
        err.print(message, markup=False)


def _first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def print_json(value: Any) -> None:
    """Print a value as JSON, to stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def reporter() -> "Reporter":
    """Return a progress bar on a terminal, plain lines elsewhere; of several processes only the first shows any."""
    if not _first():
        from sdkit.runtime.progress import Quiet

        return Quiet()
    return Bar() if err.is_terminal else Lines()


class Lines:
    """Progress as plain lines: one when a stage starts, then at most one every few seconds, one at the end."""

    every = 10.0

    def start(self, what: str, total: int) -> None:
        """Begin a stage."""
        self.what, self.total, self.done = what, total, 0
        self.started = self.told = time.monotonic()
        self.fields: dict[str, float] = {}
        say(self._line())

    def advance(self, count: int = 1, **fields: float) -> None:
        """Report progress."""
        self.done, self.fields = self.done + count, fields or self.fields
        if time.monotonic() - self.told >= self.every:
            self.told = time.monotonic()
            say(self._line())

    def note(self, message: str) -> None:
        """Print one line."""
        say(message)

    def finish(self) -> None:
        """Print the last line of a stage."""
        say(f"{self._line()}, {time.monotonic() - self.started:.1f} s")

    def _line(self) -> str:
        if self.total == 1:  # one piece of work is under way or done, and a count of it says nothing
            return self.what
        return f"{self.what}: {self.done}/{self.total}{'  ' if self.fields else ''}{_figures(self.fields)}"


class Bar:
    """Progress as a bar with the last figures beside it."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def start(self, what: str, total: int) -> None:
        """Begin a stage."""
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            *([MofNCompleteColumn()] if total != 1 else []),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        self._progress = Progress(*columns, console=err)
        self._progress.start()
        self._task = self._progress.add_task(what, total=None if total == 1 else total, figures="")

    def advance(self, count: int = 1, **fields: float) -> None:
        """Move the bar."""
        if self._progress is not None:
            self._progress.advance(self._task, count)
            if fields:
                self._progress.update(self._task, figures=_figures(fields))

    def note(self, message: str) -> None:
        """Print one line above the bar."""
        say(message)

    def finish(self) -> None:
        """Stop the bar, which stays on the screen."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _figures(fields: dict[str, float]) -> str:
    words = {name: " ".join("KL" if word == "kl" else word for word in name.split("_")) for name in fields}
    return "  ".join(f"{words[name]} {value:.4g}" for name, value in fields.items())
