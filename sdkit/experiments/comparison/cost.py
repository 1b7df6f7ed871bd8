"""Cost of a training step: methods take turns in one process, so that other work on the machine meets all alike."""

import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdkit.experiments.comparison.entries import Entry
from sdkit.methods.base import Batch
from sdkit.runtime.progress import Quiet, Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.training.config import Plan
from sdkit.training.data import Batches, split_indices
from sdkit.training.device import accelerator, keep_freed_memory
from sdkit.training.launch import new_config
from sdkit.training.loop import Trainer
from sdkit.training.run import Run

ROUNDS, STEPS = 5, 3
"""Number of turns of each method that are counted, after one that warms up, and number of steps of a turn."""


def measure_costs(file: SequenceFile, plans: Sequence[tuple[Entry, Plan]], reporter: Reporter) -> dict[str, float]:
    """Return the median seconds of an optimiser step of the training loop by entry, on the CPU.

    All methods take the same few batches, of the batch size of the first.
    """
    keep_freed_memory()
    train = plans[0][1].train
    chosen, index = accelerator("cpu"), split_indices(file, train.val_fraction, train.seed)[0]
    budget = train.resident_gb * 1e9
    batches = Batches(file, index, train.batch_size, resident_bytes=budget, device=chosen.device, reporter=reporter)
    few = list(islice(batches.epoch(train.seed, 0), STEPS))
    takers = [_Taker(entry, found, file, chosen, batches, few) for entry, found in plans]
    reporter.start("cost of a step", (1 + ROUNDS) * len(takers))
    for turn in range(1 + ROUNDS):
        for taker in takers:
            taker.take(STEPS, counted=turn > 0)
            reporter.advance()
    reporter.finish()
    return {taker.name: float(np.median(taker.seconds)) for taker in takers}


class _Taker:
    """A training that takes steps and keeps nothing."""

    def __init__(
        self, entry: Entry, found: Plan, file: SequenceFile, chosen: Any, batches: Batches, few: Sequence[Batch]
    ) -> None:
        self.name, self.seconds = entry.name, list[float]()
        config = new_config(file, found, split_indices(file, found.train.val_fraction, found.train.seed))
        with torch.random.fork_rng():
            torch.manual_seed(found.train.seed)
            model = found.build(config.facts).train()
        self.trainer = Trainer(Run(Path(entry.name)), config, Quiet(), chosen, model, batches, None)
        self.few = cycle(few)

    def take(self, count: int, *, counted: bool) -> None:
        """Take steps, and note the seconds of each where they count."""
        for batch in islice(self.few, count):
            started = time.perf_counter()
            self.trainer.step(batch)
            if counted:
                self.seconds.append(time.perf_counter() - started)
