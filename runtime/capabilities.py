"""Abilities of a model: verbs that a method does not have are refused in one clear line, the same in every host."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from sdkit.runtime.contract import VERBS
from sdkit.runtime.errors import CapabilityError, ConfigError


class Abilities(NamedTuple):
    """The verbs of a model."""

    method: str = ""
    refusals: Mapping[str, str] = MappingProxyType({})
    """Reasons for the verbs that the model does not have, by verb."""
    max_steps: int | None = None
    """Largest T that the prior draws; any when None."""

    @property
    def verbs(self) -> tuple[str, ...]:
        """Names of the verbs that the model has."""
        return tuple(verb for verb in VERBS if verb not in self.refusals)

    def require(self, verb: str) -> None:
        """Raise CapabilityError, with the reason, unless the model has a verb."""
        if verb in self.refusals:
            raise CapabilityError(f"this model cannot {verb}: {self.refusals[verb]}")

    def require_steps(self, steps: int) -> None:
        """Raise ConfigError unless the prior can draw so many steps."""
        if self.max_steps is not None and steps > self.max_steps:
            raise ConfigError(
                f"the prior of this model draws at most {self.max_steps} steps, not {steps}; its method "
                f"({self.method}) sets the limit when it is trained"
            )
