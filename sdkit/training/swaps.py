"""Pictures of swapped sequences while a model learns."""

from pathlib import Path

import numpy as np

from sdkit.figures.grid import save, swap_grid
from sdkit.models.graphs import verbs
from sdkit.models.model import SplitModel
from sdkit.training.data import Batches

PAIRS = 4


def draw_swaps(model: SplitModel, batches: Batches, folder: Path, epoch: int) -> None:
    """Write folder/epoch-NNNN.png: the same few pairs every time. Only images are drawn."""
    element = model.config.element
    if not element.drawable:
        return
    folder.mkdir(exist_ok=True)
    # Evenly spaced over the split, so that the pairs differ whatever the file's order.
    rows = np.unique(np.linspace(0, len(batches.index) - 1, 2 * PAIRS).round().astype(np.int64))
    x = batches.file.read(batches.index[rows])
    if batches.lengths is not None:
        x = x[:, : int(batches.lengths[rows].min())]
    half = len(x) // 2
    a, b = x[:half], x[half : 2 * half]
    if half:
        save(swap_grid(a, b, *verbs(model).swap(a, b), element), folder / f"epoch-{epoch:04d}.png")
