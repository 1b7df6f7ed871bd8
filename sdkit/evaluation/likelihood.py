"""The objective's terms on a split: what a model reaches on sequences that it has not seen, and what its codes cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdkit.evaluation.judge.classifier import stage
from sdkit.methods.dbse.losses import objective
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.training.data import equal_lengths

if TYPE_CHECKING:
    from sdkit.methods.dbse.model import SplitModel

BATCH_SIZE = 64


@dataclass(frozen=True)
class Likelihood:
    """Means over sequences, in nats a sequence, with codes sampled once from the posterior (paper Eqs. 5 and 6)."""

    sequences: int
    values: float
    """Observed values."""
    nll: float
    """Of the steps other than the anchor; up to a constant for images and spectra."""
    nll_anchor: float
    kl_static: float
    kl_dynamic: float
    """Summed over steps. A collapsed code has a divergence near 0, which its means hide."""


def likelihood(
    model: "SplitModel", file: SequenceFile, index: Indices, *, seed: int = 0, reporter: Reporter | None = None
) -> Likelihood:
    """Return the terms of the objective on some sequences; the model's mode and the random state stay as they are."""
    training = model.training
    sums = np.zeros(5)
    model.eval()
    try:
        with (
            stage(reporter, "measuring the likelihood", len(index)) as told,
            torch.no_grad(),
            torch.random.fork_rng(),
        ):
            torch.manual_seed(seed)
            for rows, x in equal_lengths(file, index, BATCH_SIZE):
                output = model(torch.from_numpy(x))
                terms = objective(output, model.config, alpha=1.0, beta_static=1.0, beta_dynamic=1.0)
                values = float(output.values.sum(1).float().mean())
                sums += len(rows) * np.array([values, *(float(t) for t in terms[1:5])])
                told.advance(len(rows))
    finally:
        model.train(training)
    return Likelihood(len(index), *(float(s) for s in sums / len(index)))
