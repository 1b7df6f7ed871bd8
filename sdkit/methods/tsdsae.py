"""TS-DSAE, the two-stage disentangled sequential autoencoder: a static code that is learnt before the dynamic codes.

s ~ N(0, I), d_t ~ N(mu(d_<t), sigma^2(d_<t)) by an LSTM, x_t ~ p(x_t | s, d_t). q(s | x) reads the mean over time of an
MLP on each element, whatever their order; q(d_t | x_t) reads the element alone. In the first stage the path and the
prior of the dynamic codes keep their random weights, so that s is all that can explain the data. In the second all is
trained, with two devices against a static code that becomes useless: the prior of a sequence's s is its posterior at
the end of the first stage, from a copy of the weights of then; and codes of pairs of sequences are exchanged, decoded
and encoded again, whereupon each must be found where it came from.

Differences from the release: the element encoder, shared by both paths, learns in the first stage too, by the static
path; both exchanges use one permutation of the batch, and each code is compared with that of the sequence that gave it,
where the release mixes the permutations up; divergences are sums over the dimensions, of the static code too.
"""

from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from sdkit.elements import ElementDecoder
from sdkit.methods.base import Batch, Choice, Facts, Losses, Range, Term
from sdkit.methods.gaussian import GaussianMethod, GaussianSettings, Pass
from sdkit.methods.graphs import join
from sdkit.methods.parts.gaussian import Gaussian, GaussianHead, kl
from sdkit.methods.parts.snapshot import Snapshot
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError


class TsdsaeSettings(GaussianSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of TS-DSAE."""

    static_size: int = 16
    """Width S of the static code."""
    dynamic_size: int = 16
    """Width D of the dynamic code of a step."""
    hidden_size: int = 64
    """Width of the two layers of each path."""
    prior_hidden_size: int = 32
    """Width of the stacked LSTM layers of the prior."""
    first_stage: float = 0.1
    """Share of the training that is the first stage; 0 leaves it out, and the prior of s is N(0, I) throughout."""
    swap_weight: float = 1.0
    """Weight of the divergences of codes that were exchanged, decoded and encoded again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "first_stage", "swap_weight")
        if self.first_stage >= 1:
            raise ConfigError(f"first_stage = {self.first_stage}; it must be below 1, or no dynamic code is learnt")


class ElementLayers(nn.Sequential):
    """Two layers with tanh on the features of each element."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())


class MeanPath(nn.Module):
    """Posterior q(s | x_1:T): a head on the mean over time of two layers on each element."""

    def __init__(self, features: int, width: int, size: int) -> None:
        super().__init__()
        self.layers, self.head = ElementLayers(features, width), GaussianHead(width, size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, T, G) to mean and log-variance (B, S)."""
        return self.head(self.layers(features).mean(1))  # type: ignore[no-any-return]


class StepPath(nn.Module):
    """Posterior q(d_t | x_t): a head on two layers on the element."""

    def __init__(self, features: int, width: int, size: int) -> None:
        super().__init__()
        self.layers, self.head = ElementLayers(features, width), GaussianHead(width, size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, T, G) to mean and log-variance (B, T, D)."""
        return self.head(self.layers(features))  # type: ignore[no-any-return]


class Tsdsae(GaussianMethod):
    """The static code is learnt first, and the dynamic codes beside it."""

    name = "tsdsae"
    title = "static code learnt first, then kept by its own prior and by swaps"
    reference = (
        "Yin-Jyun Luo, Sebastian Ewert, Simon Dixon: Towards robust unsupervised disentanglement of sequential data: "
        "a case study using music audio, IJCAI 2022"
    )
    Settings = TsdsaeSettings
    terms = (
        *GaussianMethod.terms,
        Term("kl_first", "KL of the static code from that of the first stage", "other"),
        Term("swap_s", "KL of static codes after swaps", "other"),
        Term("swap_d", "KL of dynamic codes after swaps", "other"),
    )
    lower_when_collapsed = MappingProxyType(
        {
            "static": "lower beta or dynamic_size, or raise first_stage",
            "dynamic": "lower beta, swap_weight or first_stage",
        }
    )

    def __init__(self, settings: TsdsaeSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.first = Snapshot(self.encoder, self.static_path) if settings.first_stage else None

    def paths(self, settings: TsdsaeSettings, features: int) -> tuple[nn.Module, nn.Module]:
        """Return the static path and the dynamic path."""
        width = settings.hidden_size
        return MeanPath(features, width, settings.static_size), StepPath(features, width, settings.dynamic_size)

    @property
    def settled(self) -> float:
        """Share of the training that is the first stage."""
        return float(self.settings.first_stage)

    @property
    def second(self) -> bool:
        """Whether the model is in its second stage."""
        return self.first is None or bool(self.first.taken)

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reason why it cannot run online."""
        return {"stream": "its static code is a mean over the whole sequence, known only at its end"}

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return what every method of the template has, the length of the first stage and the weight of the swaps."""
        return {**super().search(element), "first_stage": Choice((0.1, 0.3)), "swap_weight": Choice((0.1, 1.0))}

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return NLL + beta (KL_s + KL_d) in the first stage, without gradients for path and prior of d.

        In the second stage it is NLL + beta (KL[q(s | x) || q_first(s | x)] + KL_d) + swap_weight (swap_s + swap_d).
        """
        begins = self.training and not self.second and batch.progress >= self.settings.first_stage
        if self.first is not None and begins:
            self.first.take(self.encoder, self.static_path)
        return super().forward(batch, phase)

    def posterior(self, features: Tensor) -> Pass:
        """Return the posteriors and a sample of each; in the first stage the dynamic codes have no gradient."""
        found = super().posterior(features)
        if self.second:
            return found
        return found._replace(dynamic=Gaussian(*(part.detach() for part in found.dynamic)), d=found.d.detach())

    def divergence(self, kl_s: Tensor, kl_d: Tensor) -> Tensor:
        """Return the weighted divergences: in the first stage d has no gradient, in the second s has another term."""
        if not self.second:
            kl_d = kl_d.detach()
        elif self.first is not None:
            kl_s = torch.zeros_like(kl_s)
        weighted: Tensor = self.settings.beta * (kl_s + kl_d)
        return weighted

    def extra(self, found: Pass, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return what the second stage adds, and its terms, which are 0 in the first."""
        kl_first = swap_s = swap_d = found.s.new_zeros(())
        if self.second:
            swap_s, swap_d = self.swaps(found)
            if self.first is not None:
                kl_first = self.from_first(found.static, batch.x)
        added = self.settings.beta * kl_first + self.settings.swap_weight * (swap_s + swap_d)
        return added, {"kl_first": kl_first, "swap_s": swap_s, "swap_d": swap_d}

    def from_first(self, static: Gaussian, x: Tensor) -> Tensor:
        """Return the divergence of posteriors of s (B, S) from those at the end of the first stage."""
        assert self.first is not None
        encoder, path = self.first.copies
        with torch.no_grad():
            features = encoder(x)
        with torch.autocast(x.device.type, enabled=False):
            with torch.no_grad():
                prior = Gaussian(*path(features.float()))
            return kl(static, prior).mean()

    def swaps(self, found: Pass) -> tuple[Tensor, Tensor]:
        """Return the divergences of codes that were decoded in exchanged pairs and encoded again from the originals.

        Each is the sum of two: of sequences whose static code was exchanged, and of those whose dynamic codes were.
        """
        own = torch.arange(len(found.s), device=found.s.device)
        other = torch.randperm(len(own), device=own.device)
        from_s, from_d = torch.cat([other, own]), torch.cat([own, other])
        decoded = cast(ElementDecoder, self.decoder).in_units(self.decode(join(found.s[from_s], found.d[from_d])))[0]
        features = self.encode(decoded)
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            static, dynamic = Gaussian(*self.static_path(features)), Gaussian(*self.dynamic_path(features))
            # Originals have no gradient: while the decoder ignores a code, they would learn to be all the same.
            swap_s = kl(static, Gaussian(*(part[from_s].detach() for part in found.static)))
            swap_d = kl(dynamic, Gaussian(*(part[from_d].detach() for part in found.dynamic))).sum(1)
        return 2.0 * swap_s.mean(), 2.0 * swap_d.mean()


METHOD = Tsdsae
