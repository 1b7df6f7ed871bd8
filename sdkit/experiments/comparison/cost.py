"""Cost of a training step: methods take turns in one process, so that other work on the machine meets all alike."""

import time
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch

from sdkit.experiments.comparison.entries import Entry
from sdkit.methods.base import Batch, Facts, Method
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.training.config import Plan
from sdkit.training.data import equal_lengths
from sdkit.training.device import bf16_available, keep_freed_memory
from sdkit.training.statistics import feature_statistics

ROUNDS, STEPS = 5, 3
"""Number of turns of each method that are counted, after one that warms up, and number of steps of a turn."""


def measure_costs(
    file: SequenceFile, train: Indices, plans: Sequence[tuple[Entry, Plan]], reporter: Reporter
) -> dict[str, float]:
    """Return the median seconds of an optimiser step by entry, on the CPU, in the precision that training takes."""
    keep_freed_memory()
    stats = feature_statistics(file, train) if file.element.traits.standardised else ((), ())
    facts = Facts(file.element, file.steps, len(train), *(tuple(float(v) for v in part) for part in stats))
    takers = [_Taker(entry, found, facts, file, train) for entry, found in plans]
    reporter.start("cost of a step", (1 + ROUNDS) * len(takers))
    for turn in range(1 + ROUNDS):
        for taker in takers:
            taker.take(STEPS, counted=turn > 0)
            reporter.advance()
    reporter.finish()
    return {taker.name: float(np.median(taker.seconds)) for taker in takers}


class _Taker:
    """A model that takes steps."""

    def __init__(self, entry: Entry, found: Plan, facts: Facts, file: SequenceFile, train: Indices) -> None:
        self.name, self.seconds = entry.name, list[float]()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model: Method = found.build(facts).train()
        if found.train.channels_last:
            self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        rate = found.train.learning_rate
        self.adams = {phase: torch.optim.Adam(self.model.phase_parameters(phase), rate) for phase in self.model.phases}
        self.bf16 = found.train.precision != "float32" and bf16_available(torch.device("cpu"))
        self.batches = cycle(_batches(file, train, found.train.batch_size))

    def take(self, count: int, *, counted: bool) -> None:
        """Take steps, and note the seconds of each where they count."""
        for batch in islice(self.batches, count):
            started = time.perf_counter()
            for phase, adam in self.adams.items():
                with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                    losses = self.model(batch, phase)
                adam.zero_grad(set_to_none=True)
                losses.loss.backward()
                adam.step()
            if counted:
                self.seconds.append(time.perf_counter() - started)


def _batches(file: SequenceFile, train: Indices, size: int) -> list[Batch]:
    """Return a few full batches of the most frequent length."""
    found: list[Batch] = []
    for rows, x in equal_lengths(file, train, min(size, len(train))):
        where: Any = np.searchsorted(train, rows)
        found.append(Batch(torch.from_numpy(x), torch.from_numpy(where)))
        if len(found) == STEPS:
            break
    most = max(len(batch.x) for batch in found)
    return [batch for batch in found if len(batch.x) == most]
