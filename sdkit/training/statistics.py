"""Mean and standard deviation of each feature over the observed training values."""

import numpy as np
from numpy.typing import NDArray

from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.training.data import equal_lengths

Values = NDArray[np.float64]


def feature_statistics(file: SequenceFile, index: Indices) -> tuple[Values, Values]:
    """Return mean and unbiased standard deviation (F,), in data units, of the last axis of some sequences.

    Values that were not observed (NaN), and those beyond a sequence's length, do not count. A feature that was
    never observed, or never changes, gets a standard deviation of 1.
    """
    count, mean, squares = 0.0, 0.0, 0.0
    for _, x in equal_lengths(file, index, 256):
        values = x.reshape(-1, x.shape[-1]).astype(np.float64)
        seen = ~np.isnan(values)
        n = seen.sum(0)
        part = np.where(seen, values, 0.0).sum(0) / np.maximum(n, 1)
        spread = np.where(seen, (values - part) ** 2, 0.0).sum(0)
        # Chan's update joins the moments of two parts without the cancellation of a sum of squares.
        total = np.maximum(count + n, 1)
        squares = squares + spread + (part - mean) ** 2 * count * n / total
        mean = mean + (part - mean) * n / total
        count = count + n
    variance = squares / np.maximum(np.asarray(count) - 1, 1)
    return np.asarray(mean), np.where(variance > 0, np.sqrt(variance), 1.0)
