"""Swaps of the same few pairs by every method of a comparison, for one picture of all of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sdkit.evaluation.base import BOTH_CODES
from sdkit.figures.axis_scales import read_scales
from sdkit.figures.draw import draw_rows
from sdkit.figures.style import save
from sdkit.runtime.element import Array
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.runtime.verbs.arrays import Verbs

PAIRS = 3


def shown_pairs(file: SequenceFile, test: Indices) -> tuple[Array, Array]:
    """Return pairs (P, T, *element) of test sequences, evenly spaced over the split, so that they differ."""
    rows = np.unique(np.linspace(0, len(test) - 1, 2 * PAIRS).round().astype(np.int64))
    chosen = np.sort(test)[rows]
    x, lengths = file.read(chosen), file.lengths()
    if lengths is not None:
        x = x[:, : int(lengths[chosen].min())]
    half = len(x) // 2
    return x[:half], x[half : 2 * half]


def swapped(verbs: Verbs, file: SequenceFile, test: Indices) -> Array | None:
    """Return static a with dynamic b of the shown pairs (P, T, *element), in the data's dtype; None without swaps."""
    if BOTH_CODES in verbs.abilities.refusals or not file.element.drawable:
        return None
    a, b = shown_pairs(file, test)
    return file.element.cast(verbs.swap(a, b)[0])


def draw_swaps_of(found: Mapping[str, Array], file: SequenceFile, test: Indices, path: Path, *, note: str) -> None:
    """Draw the swaps of methods by name, one method a row, below the sequences that they are made of."""
    a, b = shown_pairs(file, test)
    rows = {"static from": a, "dynamic from": b, **found}
    # Frames of several pairs stand side by side; lines and spectra of two sequences would run into one another.
    count = len(a) if file.element.traits.pictorial else 1
    strips = [(name, np.concatenate(list(x[:count]))) for name, x in rows.items()]
    pairs = f"{count} pairs side by side" if count > 1 else "One pair"
    scales = read_scales(file.scales(), file.element)
    save(draw_rows(strips, file.element, scales=scales, note=f"{pairs} of test sequences, mean codes. {note}"), path)
