"""Subjects of a data set: one folder each, and each in one split only."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from sdkit.runtime.errors import ConfigError, DataError, MissingFileError

LEAST = 3
"""Least number of subjects, one for each split."""


def folders(root: str | Path, expected: str) -> list[Path]:
    """Return the folders in `root` in the order of their names; hidden ones do not count.

    Args:
        root: folder to search.
        expected: expected contents, for the message.

    Raises:
        MissingFileError: `root` is not a folder, or there is none in it.
    """
    root = Path(root)
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise MissingFileError(f"{root} {problem}; expected a folder of {expected}")
    found = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise MissingFileError(f"{root} holds no folders; expected {expected}")
    return found


def deal(names: Iterable[str], *, seed: int, test_fraction: float, val_fraction: float) -> dict[str, str]:
    """Return the split of each name: `train`, `val` or `test`.

    The sorted names are permuted by a generator of this seed; test takes its share from the front, val the next, train
    the rest. Shares are rounded to whole names, and every split gets at least one.

    Raises:
        ConfigError: fractions that are not positive or leave nothing for training.
        DataError: fewer than three names.
    """
    if min(test_fraction, val_fraction) <= 0 or test_fraction + val_fraction >= 1:
        raise ConfigError(
            f"test_fraction = {test_fraction:g} and val_fraction = {val_fraction:g}; expected two positive numbers "
            "whose sum is below 1"
        )
    ordered = sorted(names)
    count = len(ordered)
    if count < LEAST:
        raise DataError(f"{count} cannot be parted into train, val and test; at least {LEAST} are needed")
    test = min(max(1, round(test_fraction * count)), count - 2)
    val = min(max(1, round(val_fraction * count)), count - test - 1)
    sides = ["test"] * test + ["val"] * val + ["train"] * (count - test - val)
    order = np.random.default_rng(seed).permutation(count)
    return {ordered[i]: side for i, side in zip(order, sides, strict=True)}
