"""GP-VAE: dynamic codes whose prior is a Gaussian process over time, each dimension by itself; no static code.

q(d | x) is a Gaussian with a bidiagonal precision factor, computed from the features by a convolution over time.
The prior draws by one matrix product with a stored Cholesky factor, up to `max_steps`. Differences from the release:
element networks and likelihood are those of every method here, decoding is repeatable (the release feeds noise to its
decoder), and samples of the posterior are correlated in time in every host (graph `dynamic_posterior`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from sdkit.methods.base import Batch, Choice, Code, Facts, Losses, Method, Range, Settings, Term
from sdkit.methods.graphs import NO_STATIC, DynamicDecoderGraph, EncoderGraph, NoStaticGraph
from sdkit.methods.parts import gp
from sdkit.runtime.contract import DYNAMIC_POSTERIOR
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError


class GpvaeSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of GP-VAE."""

    dynamic_size: int = 32
    """Number D of Gaussian processes, one for each dimension of the dynamic code."""
    hidden_size: int = 128
    """Width of the convolution over time and of the layer after it."""
    window: int = 3
    """Number of steps that the convolution over time sees; odd."""
    beta: float = 0.2
    """Weight of the divergence, relative to the likelihood summed over a sequence."""
    kernel: gp.Kernel = "cauchy"
    """Kernel of the processes."""
    length_scale: float = 2.0
    """Length scale of the first group of processes, in steps."""
    scales: int = 4
    """Number of groups of processes; the length scale is halved from group to group."""
    variance: float = 1.0
    """Variance of the kernel."""
    max_steps: int = 0
    """Largest T that the prior draws; the length of the longest training sequence when 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "hidden_size", "window", "scales")
        self.require_at_least(0, "beta", "max_steps")
        self.require_at_least(1e-3, "length_scale", "variance")
        self.require_choice("kernel", get_args(gp.Kernel))
        if self.window % 2 == 0:
            raise ConfigError(f"window = {self.window}; it must be odd, so that a step has as many before as after it")


class TimePath(nn.Module):
    """Posterior q(d | x_1:T): a convolution over time, a layer, and three heads."""

    def __init__(self, features: int, width: int, window: int, size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(features, width, window, padding=window // 2)
        self.hidden = nn.Linear(width, width)
        self.mean, self.diagonal, self.coupling = (nn.Linear(width, size) for _ in range(3))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map features (B, T, G) to mean, diagonal and super-diagonal of the precision factor, all (B, T, D)."""
        seen = torch.relu(self.convolution(features.transpose(1, 2))).transpose(1, 2)
        seen = torch.relu(self.hidden(seen))
        diagonal = 1.0 + nn.functional.softplus(self.diagonal(seen))
        coupling = nn.functional.softplus(self.coupling(seen))
        return self.mean(seen), diagonal, coupling


class Gpvae(Method):
    """Gaussian processes over time; no static code."""

    name = "gpvae"
    title = "dynamic codes under a Gaussian process; no static code"
    reference = "Vincent Fortuin et al.: GP-VAE: Deep probabilistic time series imputation, AISTATS 2020"
    Settings = GpvaeSettings
    terms = (Term("nll", "NLL", "likelihood"), Term("kl_gp", "KL from the Gaussian process", "divergence", "dynamic"))
    training_defaults = MappingProxyType({"gradient_clip": 1e4})
    lower_when_collapsed: ClassVar[Mapping[Code, str]] = MappingProxyType({"dynamic": "lower beta"})

    def __init__(self, settings: GpvaeSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.path = TimePath(self.features, settings.hidden_size, settings.window, settings.dynamic_size)
        # Determined by the settings, so not part of the weights. A batch of longer sequences computes its own.
        self.factors: Tensor
        self.register_buffer("factors", self._factors(self.max_steps or 2), persistent=False)

    @property
    def max_steps(self) -> int | None:
        """Largest T that the prior draws."""
        return self.settings.max_steps or max(self.facts.steps, 2)

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reasons: verbs that need a static code, and a convolution that sees later steps."""
        online = "its dynamic codes are read from neighbouring steps, of which some are later"
        return {"swap": NO_STATIC, "resample_static": NO_STATIC, "stream": online}

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return the width of the codes, the weight of the divergence and the length scales."""
        return {
            **super().search(element),
            "beta": Range(1e-2, 1.0),
            "length_scale": Choice((1.0, 2.0, 4.0, 7.0)),
            "scales": Choice((1, 4)),
        }

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return NLL + beta KL[q(d | x) || GP], summed over a sequence and averaged over the batch."""
        features = self.encode(batch.x)
        steps = features.shape[1]
        with torch.autocast(batch.x.device.type, enabled=False):
            mean, diagonal, coupling = self.path(features.float())
            d = mean + gp.draw(torch.randn_like(mean), diagonal, coupling)
            factors = self.factors if steps <= self.factors.shape[1] else self._factors(steps).to(mean.device)
            kl = gp.kl_to_process(mean, diagonal, coupling, factors[:, :steps, :steps]).mean()
        decoded = self.decode(d)
        with torch.autocast(batch.x.device.type, enabled=False):
            nll = self.nll(decoded, batch.x).sum(1).mean()
        return Losses(nll + self.settings.beta * kl, {"nll": nll, "kl_gp": kl}, None, mean)

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs, including that of correlated samples of the posterior."""
        return {
            "encoder": EncoderGraph(self),
            "static": NoStaticGraph(),
            "dynamic": MarginalsGraph(self.path),
            "decoder": DynamicDecoderGraph(self),
            "prior": ProcessGraph(self.factors),
            DYNAMIC_POSTERIOR: PosteriorGraph(self.path),
        }

    def _factors(self, steps: int) -> Tensor:
        s = self.settings
        return gp.factors(s.kernel, steps, s.length_scale, s.scales, s.dynamic_size, s.variance).float()


class MarginalsGraph(nn.Module):
    """features (B, T, G) -> dynamic_mean (B, T, D), dynamic_std (B, T, D): the marginals of each step."""

    inputs, outputs = ("features",), ("dynamic_mean", "dynamic_std")
    compiled = True

    def __init__(self, path: TimePath) -> None:
        super().__init__()
        self.path = path

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to means and marginal standard deviations."""
        mean, diagonal, coupling = self.path(features)
        return mean, torch.sqrt(gp.variances(diagonal, coupling))


class PosteriorGraph(nn.Module):
    """features (B, T, G), noise (B, T, D) -> dynamic (B, T, D): a sample whose steps are correlated."""

    inputs, outputs = ("features", "noise"), ("dynamic",)
    compiled = True

    def __init__(self, path: TimePath) -> None:
        super().__init__()
        self.path = path

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Map features and noise to dynamic codes."""
        mean, diagonal, coupling = self.path(features)
        drawn: Tensor = mean + gp.draw(noise, diagonal, coupling)
        return drawn


class ProcessGraph(nn.Module):
    """noise (B, T, D) -> dynamic (B, T, D), dynamic_mean (B, T, D) of 0: a draw from the Gaussian processes."""

    inputs, outputs = ("noise",), ("dynamic", "dynamic_mean")

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        self.register_buffer("factors", factors)

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Map noise to sampled dynamic codes: (T, T) leading blocks of the factors are the factors of T steps."""
        steps = noise.shape[1]
        block = self.factors[:, :steps, :steps]  # type: ignore[index]
        drawn = torch.matmul(block, noise.permute(2, 1, 0)).permute(2, 1, 0)
        return drawn, torch.zeros_like(noise)


METHOD = Gpvae
