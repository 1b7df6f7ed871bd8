"""Small sequence files, made in milliseconds."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.element import Array, Element
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter
from tests.tiny import IMAGE, sequences

TINY_IMAGE = Element("image", (1, 2, 2), "uint8")


def write(
    path: Path,
    x: Array,
    element: Element = IMAGE,
    *,
    name: str = "",
    labels: NDArray[np.int64] | None = None,
    kinds: str = "",
    lengths: Iterable[int] | None = None,
    splits: Mapping[str, Iterable[int]] | None = None,
) -> Path:
    """Write sequences; `kinds` has a letter a column of labels, s for a static and d for a dynamic factor."""
    values = tuple(map(str, range(100)))
    factors = tuple(Factor(f"f{i}", "static" if k == "s" else "dynamic", values) for i, k in enumerate(kinds))
    with SequenceWriter(path, SequenceMeta(element, name, factors), compression="none") as writer:
        writer.write(x, labels=labels)
        if lengths is not None:
            writer.put("lengths", np.fromiter(lengths, np.int64))
        writer.splits(splits or {})
    return path


def numbered(count: int, steps: int = 3) -> Array:
    """Return (B, T, 1, 2, 2) uint8: sequence i holds i, but for its last pixel, which holds the step."""
    x = np.empty((count, steps, 1, 2, 2), np.uint8)
    x[:] = np.arange(count).reshape(-1, 1, 1, 1, 1)
    x[..., 1, 1] = np.arange(steps).reshape(1, -1, 1)
    return x


def random_file(path: Path, count: int = 26, steps: int = 4, name: str = "random") -> Path:
    """Write random images of the tiny element."""
    return write(path, sequences(count, steps), name=name)
