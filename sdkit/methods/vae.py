"""VAE: one code for each element, independent of all others; no static code. The floor of every comparison.

d_t ~ N(0, I), q(d_t | x_t) is a diagonal Gaussian, x_t ~ p(x_t | d_t). Elements are windows for series and frames for
videos, so what the code of a step tells of the sequence is what one element tells. Nothing links steps: the model runs
online, and its samples are sequences of unrelated elements. Differences from the baseline that published rows come
from: element networks and likelihood are those of every method here, decoding is repeatable (there the decoder is fed
noise), the deviation is the exponential of half a log-variance, not a softplus, and `beta` is relative to the sums.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sdkit.methods.base import Batch, Choice, Code, Facts, Losses, Method, Range, Settings, Term
from sdkit.methods.gaussian import PosteriorGraph
from sdkit.methods.graphs import NO_STATIC, DynamicDecoderGraph, EncoderGraph, NoStaticGraph, StandardPriorGraph
from sdkit.methods.parts.element_path import ElementPath
from sdkit.methods.parts.gaussian import Gaussian, kl_to_standard
from sdkit.runtime.contract import STEP
from sdkit.runtime.element import Element


class VaeSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of VAE."""

    hidden_size: int = 256
    """Width of the layer between the features and the posterior."""
    beta: float = 1.0
    """Weight of the divergence, relative to the likelihood summed over a sequence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "hidden_size")
        self.require_at_least(0, "beta")


class Vae(Method):
    """An independent code for each element; no static code."""

    name = "vae"
    title = "an independent code for each element; no static code"
    reference = "Diederik Kingma, Max Welling: Auto-encoding variational Bayes, ICLR 2014"
    Settings = VaeSettings
    terms = (Term("nll", "NLL", "likelihood"), Term("kl_d", "KL of the codes", "divergence", "dynamic"))
    lower_when_collapsed: ClassVar[Mapping[Code, str]] = MappingProxyType({"dynamic": "lower beta"})

    def __init__(self, settings: VaeSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.path = ElementPath(self.features, settings.hidden_size, settings.dynamic_size)

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reason for the verbs that need a static code."""
        return {"swap": NO_STATIC, "resample_static": NO_STATIC}

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return the width of the codes and the weight of the divergence."""
        return {**super().search(element), "beta": Range(1e-2, 4.0)}

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return NLL + beta sum_t KL[q(d_t | x_t) || N(0, I)], summed over a sequence and averaged over the batch."""
        features = self.encode(batch.x)
        with torch.autocast(batch.x.device.type, enabled=False):
            found = Gaussian(*self.path(features.float()))
            kl = kl_to_standard(found).sum(1).mean()
        decoded = self.decode(found.sample())
        with torch.autocast(batch.x.device.type, enabled=False):
            nll = self.nll(decoded, batch.x).sum(1).mean()
        return Losses(nll + self.settings.beta * kl, {"nll": nll, "kl_d": kl}, None, found.mean)

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs, including that of live streams."""
        return {
            "encoder": EncoderGraph(self),
            "static": NoStaticGraph(),
            "dynamic": PosteriorGraph(self.path, "dynamic", ("features",)),
            "decoder": DynamicDecoderGraph(self),
            "prior": StandardPriorGraph(),
            STEP: ElementStepGraph(self.path),
        }


class ElementStepGraph(nn.Module):
    """The codes of the next element of a live stream, which depend on that element alone.

    element_features (B, 1, G), state (B, 1) -> static_mean (B, 1) of 0, dynamic_mean and dynamic_std (B, 1, D), and
    next_state (B, 1). A host keeps a state for every stream; this one says no more than whether the stream has begun.
    """

    inputs, outputs = ("element_features", "state"), ("static_mean", "dynamic_mean", "dynamic_std", "next_state")
    state_size = 1

    def __init__(self, path: ElementPath) -> None:
        super().__init__()
        self.path = path

    def forward(self, element_features: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map features to the distribution of the element's code."""
        found = Gaussian(*self.path(element_features))
        # Each output depends on an input, so that no exporter removes one.
        return 0.0 * state, found.mean, found.std, 0.0 * state + 1.0


METHOD = Vae
