"""The search space: the settings that a method names, and the learning rate."""

from collections.abc import Collection, Mapping
from typing import Any

from sdkit.methods.base import Choice, Method, Range
from sdkit.runtime.element import Element

Space = Mapping[str, Range | Choice]

LEARNING_RATE = "learning_rate"
LEARNING_RATES = Choice((1e-3, 1.5e-3, 2e-3))
"""Learning rates of the paper's appendix A.3."""


def search_space(method: type[Method], element: Element, fixed: Collection[str] = ()) -> Space:
    """Return the search space of a method for a kind of element, without fixed settings and those that these replace.

    Ranges come first, then the learning rate, then choices: the order in which a sampler draws them.
    """
    found = {LEARNING_RATE: LEARNING_RATES, **method.search(element)}
    order = sorted(found, key=lambda name: (not isinstance(found[name], Range), name != LEARNING_RATE))
    unused = {*fixed, *method.superseded(fixed)}
    return {name: found[name] for name in order if name not in unused}


def ranges(space: Space) -> tuple[str, ...]:
    """Return the settings that are searched over a range, on a logarithmic scale."""
    return tuple(name for name, values in space.items() if isinstance(values, Range))


def contains(values: Range | Choice, value: Any) -> bool:
    """Return whether a value can be drawn."""
    if isinstance(values, Choice):
        return value in values.values
    return value is not None and values.low <= value <= values.high


def described(values: Range | Choice) -> str:
    """Return text such as `0.0001 to 1`, or `8 or 16 or 32`."""
    return " to ".join(map(shown, values)) if isinstance(values, Range) else " or ".join(map(shown, values.values))


def shown(value: Any) -> str:
    """Return the value of a setting as text; numbers without needless digits."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:g}" if number else str(value)
