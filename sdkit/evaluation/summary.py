"""An evaluation in a few lines: each figure with one to compare it with."""

from typing import Any

from sdkit.evaluation.base import Line as Line
from sdkit.evaluation.protocols import PROTOCOLS


def summary(results: dict[str, Any]) -> list[Line]:
    """Return the lines of the result of `evaluate`; skipped protocols have none."""
    found = [(protocol, protocol.get(results)) for protocol in PROTOCOLS]
    return [line for protocol, entry in found if entry is not None for line in protocol.lines(entry)]
