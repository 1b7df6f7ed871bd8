"""GLR, decoupling global and local representations: one static code a series, dynamic codes under a Gaussian process.

s ~ N(0, I) with q(s | x) of variance 1, whose mean an LSTM reads, in training from a random contiguous part of the
series and at use from all of it; d, half of it under Cauchy and half under RBF kernels, each d_t read from its own
element with a bidiagonal precision factor over time. A counterfactual term decodes the dynamic codes with a static code
s' of the prior and wants s' back, not s, when the result is encoded again. Differences from the release: element
networks and likelihood are those of every method here, so the LSTM reads windows, not time steps; weights are relative
to sums, and those of the divergences rise from 0 in a warm-up; the exponent of the counterfactual term is bounded; of
each decoded series only the part that is encoded again is decoded.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sdkit.methods.base import Batch, Choice, Code, Facts, Losses, Method, Range, SplitSettings, Term
from sdkit.methods.graphs import (
    WHOLE_SEQUENCE,
    CorrelatedPosteriorGraph,
    DecoderGraph,
    EncoderGraph,
    MarginalsGraph,
    ProcessGraph,
    join,
)
from sdkit.methods.parts import gp
from sdkit.methods.parts.gaussian import Gaussian, kl_to_standard
from sdkit.methods.parts.process import ProcessPrior, TimePath
from sdkit.runtime.contract import DYNAMIC_POSTERIOR
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

LARGEST_EXPONENT = 10.0
"""Bound of the exponent of the counterfactual term, a log-ratio of densities, which has none of its own."""


class GlrSettings(SplitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of GLR."""

    static_size: int = 32
    """Width S of the static code."""
    dynamic_size: int = 32
    """Number D of Gaussian processes, one for each dimension of the dynamic code."""
    hidden_size: int = 128
    """Width of the LSTM of the static code, and of the layers of both posteriors."""
    part: float = 0.5
    """Share of a series that the static code is read from in training, more than 0 and at most 1."""
    static_weight: float = 1.0
    """Weight of the divergence of the static code, relative to the likelihood summed over a sequence."""
    dynamic_weight: float = 1.0
    """Weight of the divergence of the dynamic codes, relative to the likelihood summed over a sequence."""
    counterfactual: float = 1.0
    """Weight of the counterfactual term, relative to the likelihood summed over a sequence; 0 leaves it out."""
    warmup: float = 0.2
    """Share of the training, from 0 to less than 1, in which the weights of the divergences rise from 0."""
    length_scale: float = 2.0
    """Length scale of the first processes of either kernel, in steps."""
    scales: int = 4
    """Number of length scales of either kernel, each half of the one before."""
    cauchy_variance: float = 0.5
    """Variance of the Cauchy kernels; that of the RBF kernels is 1."""
    max_steps: int = 0
    """Largest T that the prior draws; the length of the longest training sequence when 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "hidden_size", "scales")
        self.require_at_least(0, "static_weight", "dynamic_weight", "counterfactual", "max_steps")
        self.require_at_least(1e-3, "length_scale", "cauchy_variance")
        if not 0 < self.part <= 1:
            raise ConfigError(f"part = {self.part}; it must be more than 0 and at most 1")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup = {self.warmup}; it must be at least 0 and less than 1")


class GlobalPath(nn.Module):
    """Mean of q(s | x): the last output of an LSTM over the features, and a layer."""

    def __init__(self, features: int, width: int, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, width, batch_first=True)
        self.hidden = nn.Linear(width, width)
        self.mean = nn.Linear(width, size)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, T, G) of any number of steps to the mean (B, S)."""
        hidden, _ = self.lstm(features)
        return self.mean(torch.relu(self.hidden(hidden[:, -1])))  # type: ignore[no-any-return]


class Glr(Method):
    """A static code of unit variance from a part of the series, and Gaussian processes over time."""

    name = "glr"
    title = "static code from a random part of the series, dynamic codes under Gaussian processes"
    reference = "Sana Tonekaboni et al.: Decoupling local and global representations of time series, AISTATS 2022"
    Settings = GlrSettings
    terms = (
        Term("nll", "NLL", "likelihood"),
        Term("kl_s", "KL of the static code", "divergence", "static"),
        Term("kl_gp", "KL from the Gaussian processes", "divergence", "dynamic"),
        Term("counterfactual", "Counterfactual ratio", "other"),
    )
    lower_when_collapsed: ClassVar[Mapping[Code, str]] = MappingProxyType(
        {"static": "lower static_weight", "dynamic": "lower dynamic_weight"}
    )

    def __init__(self, settings: GlrSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        s = settings
        self.static_path = GlobalPath(self.features, s.hidden_size, s.static_size)
        self.dynamic_path = TimePath(self.features, s.hidden_size, 1, s.dynamic_size)
        half = s.dynamic_size - s.dynamic_size // 2
        cauchy = gp.Group("cauchy", half, s.length_scale, s.scales, s.cauchy_variance)
        rbf = gp.Group("rbf", s.dynamic_size - half, s.length_scale, s.scales)
        self.prior = ProcessPrior((cauchy, rbf), self.max_steps)

    @property
    def max_steps(self) -> int:
        """Largest T that the prior draws."""
        return self.settings.max_steps or max(self.facts.steps, 2)

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reason why it cannot run online."""
        return {"stream": WHOLE_SEQUENCE}

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return the widths of the codes, the weights of the divergences and of the counterfactual term, the part."""
        return {
            **super().search(element),
            "static_weight": Range(1e-2, 1e1),
            "dynamic_weight": Range(1e-1, 4.0),
            "counterfactual": Choice((0.0, 1.0, 10.0)),
            "part": Choice((0.3, 0.6)),
        }

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return NLL + w_s KL_s + w_d KL[q(d | x) || GP] + w_c counterfactual, sums averaged over the batch.

        w_s and w_d rise from 0 during the warm-up.
        """
        features = self.encode(batch.x)
        # The recurrent part and the processes are cheap and sum over steps, so they run in float32 in every precision.
        with torch.autocast(batch.x.device.type, enabled=False):
            static = self.static_posterior(self.random_part(features.float()))
            mean, diagonal, coupling = self.dynamic_path(features.float())
            s, d = static.sample(), mean + gp.draw(torch.randn_like(mean), diagonal, coupling)
            kl_s, kl_gp = kl_to_standard(static).mean(), self.prior.kl(mean, diagonal, coupling).mean()
        decoded = self.decode(join(s, d))
        with torch.autocast(batch.x.device.type, enabled=False):
            nll = self.nll(decoded, batch.x).sum(1).mean()
        weights = self.settings
        loss = nll + self.rise(batch.progress) * (weights.static_weight * kl_s + weights.dynamic_weight * kl_gp)
        terms = {"nll": nll, "kl_s": kl_s, "kl_gp": kl_gp}
        if weights.counterfactual:
            terms["counterfactual"] = self.counterfactual(s, d)
            loss = loss + weights.counterfactual * terms["counterfactual"]
        return Losses(loss, terms, static.mean, mean)

    @property
    def settled(self) -> float:
        """Share of the training after which the divergences have their full weight."""
        return float(self.settings.warmup)

    def rise(self, progress: float) -> float:
        """Return the share of their weight that the divergences have, where `progress` of the training is done.

        Smooth processes have kernels that are nearly singular: at full weight from the start, their divergence of
        hundreds of nats presses all means to 0 before the decoder has learned to use them.
        """
        return min(1.0, progress / self.settings.warmup) if self.settings.warmup else 1.0

    def static_posterior(self, features: Tensor) -> Gaussian:
        """Return q(s | x) = N(mean, I), (B, S), from features of a part (B, L, G)."""
        mean = self.static_path(features)
        return Gaussian(mean, torch.zeros_like(mean))

    def counterfactual(self, s: Tensor, d: Tensor) -> Tensor:
        """Return exp(log q(s | x') - log q(s' | x')), x' decoded from d and s' ~ N(0, I), a mean over B and S.

        Args:
            s: static codes (B, S) that x' is to show nothing of.
            d: dynamic codes (B, T, D), of which a random part is decoded.
        """
        other = torch.randn_like(s)
        decoded = self.decode(join(other, self.random_part(d)))
        features = self.encode(self.drawn(decoded))
        with torch.autocast(s.device.type, enabled=False):
            return counterfactual_ratio(s, other, self.static_path(features.float())).mean()

    def drawn(self, decoded: tuple[Tensor, ...]) -> Tensor:
        """Return a draw from the likelihood in data units, (B, L, *element); its mean where it has no deviation."""
        units: tuple[Tensor, ...] = self.decoder.in_units(decoded)  # type: ignore[operator]
        return units[0] if len(units) == 1 else units[0] + units[1] * torch.randn_like(units[0])

    def random_part(self, values: Tensor) -> Tensor:
        """Return a contiguous part (B, L, ...) of values (B, T, ...), at a place of its own in each sequence."""
        count, steps = values.shape[:2]
        length = max(1, round(self.settings.part * steps))
        start = torch.randint(steps - length + 1, (count, 1), device=values.device)
        rows = torch.arange(count, device=values.device)[:, None]
        return values[rows, start + torch.arange(length, device=values.device)]

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs, including that of correlated samples of the posterior."""
        return {
            "encoder": EncoderGraph(self),
            "static": UnitStaticGraph(self.static_path),
            "dynamic": MarginalsGraph(self.dynamic_path),
            "decoder": DecoderGraph(self),
            "prior": ProcessGraph(self.prior),
            DYNAMIC_POSTERIOR: CorrelatedPosteriorGraph(self.dynamic_path),
        }


def counterfactual_ratio(s: Tensor, other: Tensor, mean: Tensor) -> Tensor:
    """Return q(s) / q(other) of each dimension (B, S) under q = N(mean, I), at most exp(LARGEST_EXPONENT)."""
    exponent = 0.5 * ((other - mean).square() - (s - mean).square())
    return exponent.clamp(max=LARGEST_EXPONENT).exp()


class UnitStaticGraph(nn.Module):
    """features (B, T, G) -> static_mean (B, S), static_std (B, S) of 1."""

    inputs, outputs = ("features",), ("static_mean", "static_std")

    def __init__(self, path: GlobalPath) -> None:
        super().__init__()
        self.path = path

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features of all steps to the distribution of the static code."""
        mean = self.path(features)
        return mean, torch.ones_like(mean)


METHOD = Glr
