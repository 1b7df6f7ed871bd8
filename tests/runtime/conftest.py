"""The runtime of a tiny bundle, and files that it takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.runtime import Runtime
from sdkit.runtime.storage.sequences import Factor, SequenceMeta, SequenceWriter
from tests.tiny import IMAGE, sequences

FACTORS = (Factor("colour", "static", ("red", "green", "blue")), Factor("motion", "dynamic", ("walk", "wave")))


@pytest.fixture
def rt(mini: Bundle) -> Runtime:
    """Return the tiny model's runtime, with batches smaller than the files of these tests."""
    return Runtime.open(mini.path, device="cpu", threads=1, batch_size=4)


WriteSequences = Callable[..., Path]


@pytest.fixture
def write_sequences(tmp_path: Path) -> WriteSequences:
    """Return a function that writes a labelled file of random sequences and returns its path."""

    def write(name: str = "in.h5", count: int = 11, steps: int = 5, seed: int = 0, ragged: bool = False) -> Path:
        rng = np.random.default_rng(seed)
        meta = SequenceMeta(IMAGE, "blocks", FACTORS, rate=8.0, source="made up", licence="CC0-1.0")
        labels = rng.integers(0, 2, (count, 2))
        extra: dict[str, Any] = {"lengths": 2 + np.arange(count) % (steps - 1)} if ragged else {}
        with SequenceWriter(tmp_path / name, meta) as writer:
            targets = rng.random((count, steps, 1), np.float32)
            writer.write(sequences(count, steps, seed=seed), labels=labels, targets=targets, **extra)
            order = rng.permutation(count)
            writer.splits({"train": order[:6], "val": order[6:8], "test": order[8:]})
        return tmp_path / name

    return write


class Log:
    """A reporter that keeps what it is told, and may interrupt once so many units are done."""

    def __init__(self, interrupt: bool = False, interrupt_at: int | None = None) -> None:
        self.interrupt_at = 1 if interrupt else interrupt_at
        self.notes: list[str] = []
        self.stages: list[str] = []
        self.total = self.done = self.finished = 0

    def start(self, what: str, total: int) -> None:
        self.stages.append(what)
        self.total += total

    def advance(self, count: int = 1, **fields: float) -> None:
        self.done += count
        if self.interrupt_at is not None and self.done >= self.interrupt_at:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.notes.append(message)

    def finish(self) -> None:
        self.finished += 1
