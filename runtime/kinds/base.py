"""What every kind of element says of itself."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of element."""

    name: str
    axes: tuple[str, ...]
    """Names of the axes of an element, such as (C, H, W)."""
    standardised: bool = True
    """Whether models work on values less their features' means, in standard deviations; pixels have a scale of their
    own."""
    pictorial: bool = False
    """Whether an element is a picture of pixels."""
    windowed: bool = False
    """Whether an element spans several steps of time."""
    incomplete: bool = True
    """Whether values may be missing, as NaN."""
