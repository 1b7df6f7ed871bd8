"""An evaluation in a few lines: each figure beside what it should be compared with."""

from typing import Any

from sdkit.evaluation.base import Line as Line
from sdkit.evaluation.protocols import PROTOCOLS


def summary(results: dict[str, Any]) -> list[Line]:
    """Return the lines of what `evaluate` returns; what was skipped has none."""
    found = [(protocol, protocol.get(results)) for protocol in PROTOCOLS]
    return [line for protocol, entry in found if entry is not None for line in protocol.lines(entry)]
