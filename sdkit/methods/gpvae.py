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
from torch import nn

from sdkit.methods.base import Batch, Choice, Code, Facts, Losses, Method, Range, Settings, Term
from sdkit.methods.graphs import (
    NO_STATIC,
    CorrelatedPosteriorGraph,
    DynamicDecoderGraph,
    EncoderGraph,
    MarginalsGraph,
    NoStaticGraph,
    ProcessGraph,
)
from sdkit.methods.parts import gp
from sdkit.methods.parts.process import ProcessPrior, TimePath
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
        s = settings
        group = gp.Group(s.kernel, s.dynamic_size, s.length_scale, s.scales, s.variance)
        self.prior = ProcessPrior((group,), self.max_steps)

    @property
    def max_steps(self) -> int:
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
        with torch.autocast(batch.x.device.type, enabled=False):
            mean, diagonal, coupling = self.path(features.float())
            d = mean + gp.draw(torch.randn_like(mean), diagonal, coupling)
            kl = self.prior.kl(mean, diagonal, coupling).mean()
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
            "prior": ProcessGraph(self.prior),
            DYNAMIC_POSTERIOR: CorrelatedPosteriorGraph(self.path),
        }


METHOD = Gpvae
