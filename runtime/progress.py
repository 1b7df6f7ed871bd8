"""Progress reports of long work, which does not know how they are shown: a bar, plain lines, or not at all."""

from typing import Protocol


class Reporter(Protocol):
    """Receiver of progress reports; the command line implements it with a bar or with plain lines."""

    def start(self, what: str, total: int) -> None:
        """Begin a stage of `total` units."""

    def advance(self, count: int = 1, **fields: float) -> None:
        """Report that `count` more units are done, with figures to show beside the bar."""

    def note(self, message: str) -> None:
        """Print one line that stays."""

    def finish(self) -> None:
        """End the stage, whether it went well or not."""


class Quiet:
    """A reporter that prints nothing."""

    def start(self, what: str, total: int) -> None:
        """Do nothing."""

    def advance(self, count: int = 1, **fields: float) -> None:
        """Do nothing."""

    def note(self, message: str) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
