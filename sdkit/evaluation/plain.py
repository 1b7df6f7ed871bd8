"""Conversion of results to values that JSON holds."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 4096
"""Largest number of values of an array in evaluation.json; larger ones are predictions, not results."""


def plain(value: Any) -> Any:
    """Return dataclasses, named tuples, arrays and paths as values that JSON holds.

    Values that JSON cannot hold become None: NaN and infinity, and also arrays of more than `LARGE` values.

    >>> plain({"score": np.float32(0.5), "gap": float("nan")})
    {'score': 0.5, 'gap': None}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return plain(value.tolist()) if value.size <= LARGE else None
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
