"""Information in the codes: active units, and the divergence of the static posterior from its prior."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sdkit.evaluation.base import BOTH_CODES, Case, EvaluationProtocol, Line, Needs, number
from sdkit.evaluation.codes.consistency import LIMIT, some_sequences
from sdkit.runtime.contract import VERBS
from sdkit.runtime.element import Array
from sdkit.runtime.engines.backend import chain
from sdkit.runtime.progress import Reporter
from sdkit.runtime.storage.sequences import SequenceFile
from sdkit.runtime.verbs.arrays import Verbs
from sdkit.training.active_units import active_units

POSTERIOR = ("static_mean", "static_std", "dynamic_mean")

Values = NDArray[np.float64]


@dataclass(frozen=True)
class CodeUse:
    """Information in the codes; figures of the static code are None where the model has none."""

    sequences: int
    active_static: int | None
    """Number of the S static units whose mean has a variance over sequences above 0.01 (Burda et al. 2016)."""
    static_size: int | None
    active_dynamic: int
    """Number of the D dynamic units whose mean has a variance over sequences and steps above 0.01."""
    dynamic_size: int
    static_divergence: float | None
    """Divergence KL[q(s | x) || N(0, I)] in nats a sequence: an upper bound of the information of s about the sequence.
    None where the code is deterministic or has another prior."""


def code_use(
    verbs: Verbs,
    file: SequenceFile,
    split: str = "test",
    *,
    seed: int = 0,
    limit: int = LIMIT,
    reporter: Reporter | None = None,
) -> CodeUse:
    """Count active units and measure the divergence of the static posterior from its prior.

    Raises:
        CapabilityError: the model cannot encode.
        ConfigError: no such split, or limit < 2.
        DataError: an empty split.
    """
    verbs.abilities.require("encode")
    parts: list[dict[str, Array]] = []
    for x in some_sequences(file, split, seed, limit, "measuring the codes", reporter):
        for start in range(0, len(x), verbs.batch_size):
            batch = {"x": x[start : start + verbs.batch_size]}
            parts.append(chain(verbs.backend, VERBS["encode"].graphs, batch, POSTERIOR))
    s, std = (np.concatenate([part[name] for part in parts]).astype(np.float64) for name in POSTERIOR[:2])
    d = np.concatenate([part["dynamic_mean"].reshape(-1, part["dynamic_mean"].shape[-1]) for part in parts])
    split_in_two = BOTH_CODES in verbs.abilities.verbs
    standard = not verbs.fitted
    return CodeUse(
        sequences=len(s),
        active_static=active_units(torch.from_numpy(s)) if split_in_two else None,
        static_size=s.shape[1] if split_in_two else None,
        active_dynamic=active_units(torch.from_numpy(d.astype(np.float64))),
        dynamic_size=d.shape[1],
        static_divergence=_divergence(s, std) if split_in_two and standard else None,
    )


class CodeUseProtocol(EvaluationProtocol):
    """Active units and the cost of the static code."""

    name = section = "codes"
    needs = Needs(verbs=("encode",))

    def run(self, case: Case) -> dict[str, Any]:
        """Encode the test split; figures of a code that the model does not have are left out."""
        found = code_use(case.declared, case.file, seed=case.seed, reporter=case.reporter)
        return {name: value for name, value in vars(found).items() if value is not None}

    def lines(self, found: Any) -> Iterator[Line]:
        """Yield the active units of each code, and the divergence."""
        for code in ("static", "dynamic"):
            if f"{code}_size" in found:
                active = f"{found[f'active_{code}']} of {found[f'{code}_size']}"
                yield Line(self.section, f"active {code} units", active)
        if "static_divergence" in found:
            cost = f"{number(found['static_divergence'], 2)} nats a sequence"
            yield Line(self.section, "KL static", cost, "near 0: collapsed")


def _divergence(mean: Values, std: Values) -> float | None:
    """Return the mean of KL[N(mean, std^2) || N(0, I)] over (N, S) posteriors; None where one has no spread."""
    if (std == 0).any():
        return None
    return float((0.5 * (mean**2 + std**2 - 1.0) - np.log(std)).sum(1).mean())
