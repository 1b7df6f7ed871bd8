"""Pictures of swapped sequences during training."""

from pathlib import Path

import numpy as np

from sdkit.figures.axis_scales import read_scales
from sdkit.figures.draw import draw_swap
from sdkit.figures.style import save
from sdkit.methods.base import Method
from sdkit.methods.graphs import verbs
from sdkit.training.data import Batches

PAIRS = 4


def draw_swaps(model: Method, batches: Batches, folder: Path, epoch: int) -> None:
    """Write folder/epoch-NNNN.png: the same few pairs every time; nothing for images that are neither grey nor RGB."""
    element = model.facts.element
    if "swap" in model.abilities.refusals or not element.drawable:
        return
    # Evenly spaced over the split, so that the pairs differ whatever the file's order.
    rows = np.unique(np.linspace(0, len(batches.index) - 1, 2 * PAIRS).round().astype(np.int64))
    x = batches.file.read(batches.index[rows])
    if batches.lengths is not None:
        x = x[:, : int(batches.lengths[rows].min())]
    half = len(x) // 2
    a, b = x[:half], x[half : 2 * half]
    if half:
        folder.mkdir(exist_ok=True)
        scales = read_scales(batches.file.scales(), element)
        picture = draw_swap(a, b, *verbs(model).swap(a, b), element, scales=scales, note=f"Mean codes, epoch {epoch}.")
        save(picture, folder / f"epoch-{epoch:04d}.png")
