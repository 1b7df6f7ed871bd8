"""Scales of the axes of figures, from the attributes of a file: the duration of a step, the distance of two bins."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from sdkit.runtime.element import Element

TIME_UNITS = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (0.001, "ms"))
SECONDS = {"day": 86400.0, "hour": 3600.0, "minute": 60.0, "second": 1.0}
LEAST, MOST = 1e-12, 1e12
"""Limits of amounts; beyond them the ticks of an axis cannot be told apart, or be computed."""
AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+?)s?")


class Scales(NamedTuple):
    """Scales of the axes; an unknown one is None, and its axis is numbered."""

    seconds: float | None = None
    """Seconds of a step: one of the W steps of a window, else an element."""
    hertz: float | None = None
    """Distance of two bins of a spectrum in hertz."""


UNKNOWN = Scales()


def read_scales(attributes: Mapping[str, Any], element: Element) -> Scales:
    """Return the scales that the attributes of a file give: `rate` (elements a second), else `step`, a text such
    as `1 hour`; `bin_spacing`, such as `40 Hz`.

    A text that is not an amount of a known unit, and an amount that no axis can show, give nothing.
    """
    rate, steps = attributes.get("rate"), element.steps
    if isinstance(rate, int | float | np.number) and LEAST < rate < MOST:
        seconds: float | None = 1 / (float(rate) * steps)
    else:
        seconds = _amount(attributes.get("step"), SECONDS)
    return Scales(seconds, _amount(attributes.get("bin_spacing"), {"Hz": 1.0, "kHz": 1000.0}))


def time_axis(count: int, seconds: float | None, what: str) -> tuple[float, str]:
    """Return the length of a step on an axis of time, and the label of the axis.

    Args:
        count: number of steps on the axis; its unit is the largest of which these last three or more.
        seconds: seconds of a step, if known.
        what: name of a step where its seconds are unknown.
    """
    if seconds is None:
        return 1.0, what
    size, name = next((unit for unit in TIME_UNITS if count * seconds >= 3 * unit[0]), TIME_UNITS[-1])
    return seconds / size, f"time ({name})"


def frequency_axis(hertz: float | None) -> tuple[float, str]:
    """Return the distance of two bins on an axis of frequency, and the label of the axis."""
    return (1.0, "bin") if hertz is None else (hertz / 1000, "frequency (kHz)")


def _amount(text: Any, units: Mapping[str, float]) -> float | None:
    found = AMOUNT.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[2] not in units or not LEAST < float(found[1]) < MOST:
        return None
    return float(found[1]) * units[found[2]]
