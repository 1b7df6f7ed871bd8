"""Batches for training: resident on the device when they fit, streamed from the file in shuffled chunks when not."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from sdkit.methods.base import Batch
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.noise import Draw, generator
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile

Order = NDArray[np.int64]
BLOCK = 64
"""Number of sequences read at a stretch when streaming."""


def split_indices(file: SequenceFile, val_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Return training and validation indices.

    The file's own `train` (else all but `test`) and `val` splits are taken. Where there is no `val`, a share of the
    training split is held out: whole static identities where labels name them, so that no identity is on both sides.

    Raises:
        ConfigError: nothing is left to train on.
    """
    train, val = file.split("train"), file.split("val")
    if train is None:
        others = [part for part in (val, file.split("test")) if part is not None]
        train = np.setdiff1d(file.select(None), np.concatenate(others) if others else np.empty(0, np.int64))
    if len(train) == 0:
        raise ConfigError(f"{file.path} has no sequence to train on: its train split is empty")
    if val is not None and len(val):
        return train, val
    groups = _identities(file)[train]
    names = generator(seed, Draw.HOLD_OUT).permutation(np.unique(groups))
    held = names[: round(val_fraction * len(names))]
    chosen = np.isin(groups, held)
    if chosen.all():
        raise ConfigError(f"val_fraction = {val_fraction} leaves no sequence of {file.path} to train on")
    return train[~chosen], train[chosen]


def _identities(file: SequenceFile) -> Order:
    labels = file.labels()
    static = [i for i, factor in enumerate(file.factors) if factor.kind == "static"]
    if labels is None or not static:
        return file.select(None)
    return np.asarray(np.unique(labels[:, static], axis=0, return_inverse=True)[1]).reshape(-1)


def equal_lengths(file: SequenceFile, index: Indices, size: int) -> Iterator[tuple[Indices, Array]]:
    """Yield (indices, sequences (B, T, *element)) of at most `size`; a batch has one length and nothing is padded."""
    lengths = file.lengths()
    if lengths is None:
        yield from file.batches(size, index)
        return
    for steps in np.unique(lengths[index]):
        for rows, x in file.batches(size, index[lengths[index] == steps]):
            yield rows, np.ascontiguousarray(x[:, :steps])


class Batches:
    """Shuffled batches (B, T, *element) of one split, in data units; a batch holds sequences of one length.

    Args:
        file: sequence file.
        index: indices of the split.
        size: number B of sequences of a batch.
        resident_bytes: largest size in bytes of a split that is loaded whole.
        device: device of the batches.
        reporter: receives the progress of loading.
        load: whether a split that is to be resident is loaded at once; without it, its batches can be counted.
    """

    def __init__(
        self,
        file: SequenceFile,
        index: Indices,
        size: int,
        *,
        resident_bytes: float,
        device: torch.device,
        reporter: Reporter,
        load: bool = True,
    ) -> None:
        self.file, self.index, self.size, self.device = file, np.sort(index), min(size, len(index)), device
        lengths = file.lengths()
        self.lengths = None if lengths is None else lengths[self.index]
        bytes_each = file.nbytes / file.count
        self.resident: torch.Tensor | None = None
        # Streaming shuffles within a window; a quarter of the budget leaves room for the batches in flight.
        self.window = max(4 * self.size, int(resident_bytes / 4 / bytes_each) // BLOCK * BLOCK)
        self.fits = bytes_each * len(index) <= resident_bytes
        if self.fits and load:
            self.resident = self._load(reporter).to(device)

    def _load(self, reporter: Reporter) -> torch.Tensor:
        out = np.empty((len(self.index), *self.file.data.shape[1:]), self.file.data.dtype)
        reporter.start("loading", len(self.index))
        for start in range(0, len(self.index), 4 * BLOCK):
            part = self.index[start : start + 4 * BLOCK]
            out[start : start + len(part)] = self.file.read(part)
            reporter.advance(len(part))
        reporter.finish()
        return torch.from_numpy(out)

    def epoch(self, seed: int, number: int, *, shuffle: bool = True) -> Iterator[Batch]:
        """Yield the batches of one epoch; the order follows from seed and number alone, so that a run can resume."""
        rng = np.random.default_rng([seed, number]) if shuffle else None
        if self.resident is not None:
            for rows in self._cut(np.arange(len(self.index)), rng):
                place = torch.from_numpy(rows).to(self.device)
                yield Batch(self._trim(self.resident[place], rows), place)
            return
        for window in self._windows(rng):
            data = torch.from_numpy(self.file.read(self.index[window]))
            for rows in self._cut(np.arange(len(window)), rng, window):
                x = data[torch.from_numpy(rows)].to(self.device)
                yield Batch(self._trim(x, window[rows]), torch.from_numpy(window[rows]).to(self.device))

    def count(self, seed: int, number: int) -> int:
        """Return the number of batches of an epoch."""
        rng = np.random.default_rng([seed, number])
        windows = [np.arange(len(self.index))] if self.fits else self._windows(rng)
        return sum(len(self._cut(np.arange(len(window)), rng, window)) for window in windows)

    def _windows(self, rng: np.random.Generator | None) -> list[Order]:
        # Whole blocks are read at a stretch and their order is shuffled; within a window every sequence is.
        blocks = [np.arange(s, min(s + BLOCK, len(self.index))) for s in range(0, len(self.index), BLOCK)]
        if rng is not None:
            blocks = [blocks[i] for i in rng.permutation(len(blocks))]
        each = max(1, self.window // BLOCK)
        windows: list[Order] = []
        for i in range(0, len(blocks), each):
            window = np.concatenate(blocks[i : i + each])
            if windows and min(len(window), len(windows[-1])) < self.size / 2:
                windows[-1] = np.concatenate([windows[-1], window])  # too few for their own batch
            else:
                windows.append(window)
        return [np.sort(window) for window in windows]

    def _cut(self, rows: Order, rng: np.random.Generator | None, window: Order | None = None) -> list[Order]:
        if rng is not None:
            rows = rng.permutation(rows)
        if self.lengths is None:
            return self._full(rows, rng)
        lengths = self.lengths[rows if window is None else window[rows]]
        batches = [batch for length in np.unique(lengths) for batch in self._full(rows[lengths == length], rng)]
        return batches if rng is None else [batches[i] for i in rng.permutation(len(batches))]

    def _full(self, rows: Order, rng: np.random.Generator | None) -> list[Order]:
        batches = [rows[i : i + self.size] for i in range(0, len(rows), self.size)]
        # Batch statistics of a few left-over sequences are noise, so training drops a last batch below half size.
        if rng is not None and len(batches) > 1 and len(batches[-1]) < self.size / 2:
            batches.pop()
        return batches

    def _trim(self, batch: torch.Tensor, rows: Order) -> torch.Tensor:
        return batch if self.lengths is None else batch[:, : int(self.lengths[rows[0]])]
