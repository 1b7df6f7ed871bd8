"""Terms of the objective on a split: the likelihood of unseen sequences, and the cost of the codes."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sdkit.evaluation.base import UNDEFINED, Case, EvaluationProtocol, Line, Needs, number
from sdkit.evaluation.stage import stage
from sdkit.methods.base import Batch, Code, Method
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import Indices, SequenceFile
from sdkit.training.data import equal_lengths

BATCH_SIZE = 64


@dataclass(frozen=True)
class Likelihood:
    """Means over sequences, in nats a sequence, with codes sampled once from the posterior."""

    sequences: int
    values: float
    """Number of observed values of a sequence."""
    nll: float | None
    """Sum of the terms of kind `likelihood`; up to a constant for images and spectra. None where there is no such
    term."""
    static_divergence: float | None
    """Sum of the terms of kind `divergence` of the static code. None where there is no such term."""
    dynamic_divergence: float | None
    """Sum of the terms of kind `divergence` of the dynamic codes, summed over steps. A collapsed code has a divergence
    near 0, which its means hide. None where there is no such term."""
    terms: Mapping[str, float]
    """All terms of the method, by name."""

    @property
    def nll_value(self) -> float | None:
        """Negative log-likelihood for each observed value."""
        return None if self.nll is None else self.nll / self.values


def likelihood(
    model: Method, file: SequenceFile, index: Indices, *, seed: int = 0, reporter: Reporter | None = None
) -> Likelihood:
    """Return the terms of the objective on some sequences; the model's mode and the random state are restored.

    For an adversarial method these are the terms of its first phase.

    Args:
        model: model in PyTorch.
        file: sequence file.
        index: indices (N,) of the sequences; positions in it are the rows that the method receives.
        seed: seed of the samples of the codes.
        reporter: receives the progress.
    """
    training, sums = model.training, Counter[str]()
    values, position = 0, {row: i for i, row in enumerate(index.tolist())}
    model.eval()
    try:
        with (
            stage(reporter, "measuring the likelihood", len(index)) as shown,
            torch.no_grad(),
            torch.random.fork_rng(),
        ):
            torch.manual_seed(seed)
            for rows, x in equal_lengths(file, index, BATCH_SIZE):
                places = torch.tensor([position[row] for row in rows.tolist()])
                losses = model(Batch(torch.from_numpy(x), places), model.phases[0])
                for name, term in losses.terms.items():
                    sums[name] += len(rows) * float(term)  # type: ignore[assignment]
                values += int(x.size - np.isnan(x).sum())
                shown.advance(len(rows))
    finally:
        model.train(training)
    terms = {name: total / len(index) for name, total in sums.items()}
    return Likelihood(
        sequences=len(index),
        values=values / len(index),
        nll=_sum(terms, (term.name for term in model.terms if term.kind == "likelihood")),
        static_divergence=_sum(terms, _divergences(model, "static")),
        dynamic_divergence=_sum(terms, _divergences(model, "dynamic")),
        terms=terms,
    )


class LikelihoodProtocol(EvaluationProtocol):
    """Terms of the objective; for runs only, since a bundle holds no objective."""

    name = section = "likelihood"
    needs = Needs(model=True)

    def unmet(self, case: Case) -> str:
        """Return why there is no likelihood: it is a bundle, or its method has none."""
        model = case.subject.model
        if model is not None and not any(term.kind in ("likelihood", "divergence") for term in model.terms):
            return f"the objective of its method ({model.name}) has no likelihood"
        return super().unmet(case)

    def run(self, case: Case) -> dict[str, Any]:
        """Return the terms on the test split; those that the method does not have are left out."""
        assert case.subject.model is not None
        found = likelihood(case.subject.model, case.file, case.parts.test, seed=case.seed, reporter=case.reporter)
        return {name: value for name, value in vars(found).items() if value is not None}

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield likelihood and divergences, then all terms."""
        if "nll" in found:
            yield Line(self.section, "NLL", f"{number(found['nll'], 2)} nats a sequence")
        for code in ("static", "dynamic"):
            if f"{code}_divergence" in found:
                cost = number(found[f"{code}_divergence"], 2)
                yield Line(self.section, f"KL {code}", f"{cost} nats a sequence", "near 0: collapsed")
        values = {name: UNDEFINED if value is None else f"{value:.4g}" for name, value in found["terms"].items()}
        terms = ", ".join(f"{name} {value}" for name, value in values.items())
        yield Line(self.section, "terms of the objective", terms)


def _divergences(model: Method, code: Code) -> Iterator[str]:
    return (term.name for term in model.terms if term.kind == "divergence" and term.code == code)


def _sum(terms: Mapping[str, float], names: Iterator[str]) -> float | None:
    found = [terms[name] for name in names if name in terms]
    return sum(found) if found else None
