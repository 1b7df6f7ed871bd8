"""Objectives by which trials are compared.

The loss itself is unsuitable where its weights are searched: trials differ in them, and the smallest would win.
With all weights 1 the likelihood and divergence terms are the negative evidence lower bound, nats a sequence,
which means the same whatever a trial was trained with: `elbo`. It measures how well a model describes unseen
sequences, not how well it splits them, and may be lowest where a code is not used at all; so every trial also
reports how many units of both codes are active.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from sdkit.methods.base import Method
from sdkit.runtime.errors import ConfigError

LOSS = "loss"
"""Name of the minimised value in a record of an epoch."""


class Objective(msgspec.Struct, frozen=True):
    """A sum of terms of the validation record, minimised."""

    label: str
    """Name and unit of the objective."""
    kinds: tuple[str, ...] = ()
    """Kinds of terms that are summed, unweighted; the weighted loss where there are none."""
    weightless: bool = False
    """Whether its meaning does not depend on the weights of a trial, so that ranges can be searched by it. Where it
    does, the smallest value of a range always wins."""

    def terms(self, method: type[Method]) -> tuple[str, ...]:
        """Return the names of the terms of a method that it sums."""
        return tuple(term.name for term in method.terms if term.kind in self.kinds) if self.kinds else (LOSS,)

    def value(self, method: type[Method], record: Mapping[str, Any]) -> float:
        """Return its value in the record of an epoch; a term that the run does not have counts 0."""
        return float(sum(record["val"].get(name, 0.0) for name in self.terms(method)))


OBJECTIVES = {
    "elbo": Objective("negative ELBO, nats a sequence", ("likelihood", "divergence"), weightless=True),
    "reconstruction": Objective("negative log-likelihood, nats a sequence", ("likelihood",)),
    "loss": Objective("loss"),
}
"""Objectives by name. elbo: the evidence lower bound, all weights 1; reconstruction: its likelihoods alone; loss: the
training loss. All are of the validation split, and negative, so that lower is better."""


def check_objective(name: str, method: type[Method], settings: Mapping[str, Any], open_ranges: tuple[str, ...]) -> None:
    """Raise ConfigError where trials cannot be compared by an objective.

    Args:
        name: name of the objective.
        method: method whose settings are searched.
        settings: values that a training without a search would take.
        open_ranges: settings that would be searched over a range.
    """
    objective = OBJECTIVES[name]
    if not objective.terms(method):
        kinds = " or ".join(objective.kinds)
        raise ConfigError(f"--objective {name}: the method {method.name} has no term of kind {kinds}; take loss")
    if open_ranges and not objective.weightless:
        first = open_ranges[0]
        raise ConfigError(
            f"--objective {name}: its lowest value always has the smallest {first}; set it, such as "
            f"--set {first}={settings[first]}, or take elbo"
        )
