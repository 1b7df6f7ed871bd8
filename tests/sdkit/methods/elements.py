"""An element of every kind that there is, small."""

from sdkit.runtime.element import Element
from sdkit.runtime.kinds import find, names

SIZES = {"C": 3, "H": 16, "W": 16, "F": 3}
"""Axes by name; three halvings of an image must come out even."""


def element_of(kind: str) -> Element:
    """Return a small element of a kind."""
    traits = find(kind)
    shape = tuple(SIZES[axis] for axis in traits.axes)
    return Element(kind, shape, "uint8" if traits.pictorial else "float32")


ELEMENTS = {kind: element_of(kind) for kind in names()}
