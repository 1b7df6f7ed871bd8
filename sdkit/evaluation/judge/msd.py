"""The two-factor intervention scores of MSD-Benchmark (arXiv 2510.17313), under their names there.

There, for each group g of factors, static and dynamic, the codes of g are kept and all others are replaced: by those of
another sequence (swap) or by draws from the prior (sample). A judge sees the decoded sequence; a_g(f) is the share of
sequences judged to have their own label of factor f. A factor of g should survive (a = 1), any other should fall to
guessing (a = 1 / C):

    on = mean over g and f in g of |a_g(f) - 1|        off = mean over g and f not in g of |a_g(f) - 1 / C_f|
    score = 1 - (on + off) / 2

Differences from it: the model itself defines which code is static and which dynamic, where the explorer there assigns
the dimensions of one latent; codes kept are posterior means; partners are drawn from the whole split and are never the
sequence itself, where the benchmark permutes each batch. Scores are derived from the tables of `swapping` and
`generation`, so nothing is computed twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdkit.evaluation.judge.generation import ProtocolScores, Spread
from sdkit.evaluation.judge.swapping import SwapScores
from sdkit.runtime.errors import ConfigError
from sdkit.runtime.storage.swap_file import SWAPPED

SWAP, SAMPLE = "intervention_two_factor_swap", "intervention_two_factor_sample"
"""Names of the scores in MSD-Benchmark."""
GROUPS = ("static", "dynamic")


@dataclass(frozen=True)
class Intervention:
    """One intervention score and the figures behind it."""

    name: str
    score: Spread
    """Score from 0 to 1 over repeats; high is good."""
    on: float
    """Mean shortfall of the factors that were kept."""
    off: float
    """Mean distance from guessing of the factors that were replaced."""
    accuracies: dict[str, dict[str, float]]
    """Accuracies a_g(f), by kept group and factor; the mean over repeats."""


def two_factor_swap(swaps: SwapScores) -> Intervention:
    """Return the swap score of a table of judged swaps.

    The static group is kept in a's static code with b's dynamic codes, the dynamic group in the other swap; both are
    judged against a.
    """
    kept = dict(zip(GROUPS, SWAPPED, strict=True))
    accuracies = {
        group: {name: factor.directions[kept[group]].of_a for name, factor in swaps.factors.items()} for group in GROUPS
    }
    kinds = {name: factor.kind for name, factor in swaps.factors.items()}
    chance = {name: factor.chance for name, factor in swaps.factors.items()}
    return _intervention(SWAP, [accuracies], kinds, chance)


def two_factor_sample(static_kept: ProtocolScores, dynamic_kept: ProtocolScores) -> Intervention:
    """Return the sample score of the two tables of `generation`, with one value for each repeat.

    Raises:
        ConfigError: tables of other protocols, factors or numbers of repeats.
    """
    names = (static_kept.protocol, dynamic_kept.protocol)
    fits = static_kept.repeats == dynamic_kept.repeats and set(static_kept.factors) == set(dynamic_kept.factors)
    if names != ("static_kept", "dynamic_kept") or not fits:
        raise ConfigError(
            f"the sample score takes the tables static_kept and dynamic_kept of the same factors and repeats, not "
            f"{names[0]} with {static_kept.repeats} and {names[1]} with {dynamic_kept.repeats} repeats"
        )
    tables = dict(zip(GROUPS, (static_kept, dynamic_kept), strict=True))
    repeats = [
        {group: {name: f.accuracy.values[r] for name, f in table.factors.items()} for group, table in tables.items()}
        for r in range(static_kept.repeats)
    ]
    kinds = {name: factor.kind for name, factor in static_kept.factors.items()}
    chance = {name: factor.chance for name, factor in static_kept.factors.items()}
    return _intervention(SAMPLE, repeats, kinds, chance)


def _intervention(
    name: str, repeats: list[dict[str, dict[str, float]]], kinds: Mapping[str, str], chance: Mapping[str, float]
) -> Intervention:
    parts = [_distances(accuracies, kinds, chance) for accuracies in repeats]
    scores = [1.0 - (on + off) / 2.0 for on, off in parts]
    on, off = (float(value) for value in np.mean(parts, 0))
    mean = {group: {f: float(np.mean([r[group][f] for r in repeats])) for f in kinds} for group in GROUPS}
    return Intervention(name, Spread.of(scores), on, off, mean)


def _distances(
    accuracies: Mapping[str, Mapping[str, float]], kinds: Mapping[str, str], chance: Mapping[str, float]
) -> tuple[float, float]:
    """Return `on` and `off` of one repeat."""
    on = [1.0 - accuracies[kind][name] for name, kind in kinds.items()]
    off = [abs(accuracies[g][name] - chance[name]) for g in GROUPS for name, kind in kinds.items() if kind != g]
    return float(np.mean(on)), float(np.mean(off))
