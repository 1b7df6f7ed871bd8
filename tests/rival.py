"""A method that differs from every other where an interface can: two phases, a `finish`, no prior and no context."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from sdkit.methods.base import Batch, Facts, Losses, Method, SplitSettings, Term
from sdkit.methods.graphs import DecoderGraph, EncoderGraph, join
from sdkit.runtime.contract import VERBS

NO_PRIOR = "it has no prior"


class RivalSettings(SplitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the made-up method."""

    strength: float = 0.5
    """Weight of the critic's opinion."""


class Static(nn.Module):
    """features (B, T, G) -> static_mean and static_std (B, S): the mean of what the steps say."""

    inputs, outputs = ("features",), ("static_mean", "static_std")

    def __init__(self, rival: "Rival") -> None:
        super().__init__()
        self.head, self.centre = rival.static_head, rival.centre

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to the static code's distribution, whose std is a constant."""
        mean = self.head(features.mean(1)) - self.centre
        return mean, 0.1 + torch.zeros_like(mean)


class Dynamic(nn.Module):
    """features (B, T, G), static (B, S) -> dynamic_mean and dynamic_std (B, T, D)."""

    inputs, outputs = ("features", "static"), ("dynamic_mean", "dynamic_std")

    def __init__(self, rival: "Rival") -> None:
        super().__init__()
        self.head = rival.dynamic_head

    def forward(self, features: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to the dynamic codes' distribution, given the static code."""
        mean = self.head(join(static, features))
        return mean, 0.1 + torch.zeros_like(mean)


class Rival(Method):
    """The static code is a mean over steps, the dynamic codes are told it, and a critic looks at both."""

    name, title, reference = "rival", "made up for tests", "nowhere"
    Settings = RivalSettings
    terms = (Term("nll", "NLL", "likelihood"), Term("critic", "loss of the critic", "other"))
    phases = ("model", "critic")

    def __init__(self, settings: RivalSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.static_head = nn.Linear(self.features, settings.static_size)
        self.dynamic_head = nn.Linear(settings.static_size + self.features, settings.dynamic_size)
        self.critic = nn.Linear(settings.static_size, 1)
        self.centre: Tensor
        self.sequences: Tensor
        self.register_buffer("centre", torch.zeros(settings.static_size))
        self.register_buffer("sequences", torch.zeros((), dtype=torch.int64))

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return that there is no prior, and no stream."""
        return {
            **super().refusals(settings),
            **dict.fromkeys(("generate", "resample_static", "resample_dynamic"), NO_PRIOR),
        }

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return the loss of a phase."""
        features = self.encode(batch.x)
        static, _ = Static(self)(features)
        opinion = self.critic(static if phase == "model" else static.detach())
        if phase == "critic":
            loss = (opinion - batch.rows.float().unsqueeze(1)).square().mean()
            return Losses(loss, {"critic": loss})
        dynamic, _ = Dynamic(self)(features, static)
        nll = self.nll(self.decode(join(static, dynamic)), batch.x).sum(1).mean()
        return Losses(nll + self.settings.strength * opinion.mean(), {"nll": nll}, static, dynamic)

    def phase_parameters(self, phase: str) -> Iterable[nn.Parameter]:
        """Return the critic's parameters, or all others."""
        return (p for name, p in self.named_parameters() if name.startswith("critic") == (phase == "critic"))

    def finish(self, batches: Iterable[Batch]) -> None:
        """Move the static codes' mean to 0, and count the sequences that it was taken over."""
        self.centre.zero_()
        found = torch.cat([Static(self)(self.encode(batch.x))[0] for batch in batches])
        self.centre.copy_(found.mean(0))
        self.sequences.fill_(len(found))

    def graphs(self) -> dict[str, nn.Module]:
        """Return four graphs."""
        return {
            "encoder": EncoderGraph(self),
            "static": Static(self),
            "dynamic": Dynamic(self),
            "decoder": DecoderGraph(self),
        }


REFUSED = tuple(verb for verb in VERBS if verb in Rival.refusals(None))
