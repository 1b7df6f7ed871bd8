"""The template of variational methods: Gaussian posteriors of both codes, recurrent prior, likelihood, divergences.

A subclass builds two modules, the static path and the dynamic path; forward pass, objective and graphs are those of
`GaussianMethod`. A method that adds terms overrides `extra`.
"""

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, get_args

import torch
from torch import Tensor, nn

from sdkit.methods.base import Batch, Code, Facts, Losses, Method, Range, SplitSettings, Term
from sdkit.methods.graphs import DecoderGraph, EncoderGraph, RecurrentPriorGraph, join
from sdkit.methods.parts.fitted_prior import FitsStaticPrior
from sdkit.methods.parts.gaussian import Gaussian, kl, kl_to_standard
from sdkit.methods.parts.recurrent_prior import RecurrentPrior
from sdkit.runtime.contract import StaticPrior
from sdkit.runtime.element import Element


class GaussianSettings(SplitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that methods of this template share."""

    beta: float = 1.0
    """Weight of both divergences, relative to the likelihood summed over a sequence."""
    hidden_size: int = 256
    """Width H of the recurrent layers of the posteriors."""
    prior_hidden_size: int = 256
    """Width of the stacked LSTM layers of the prior."""
    prior_layers: int = 2
    """Number of LSTM layers of the prior."""
    static_prior: StaticPrior = "standard"
    """Prior that static codes are drawn from: `standard`, the method's N(0, I), or `fitted`, a mixture of Gaussians
    that is fitted to the codes of the training split once training is over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "beta")
        self.require_at_least(1, "hidden_size", "prior_hidden_size", "prior_layers")
        self.require_choice("static_prior", get_args(StaticPrior))


class Pass(NamedTuple):
    """Results of a forward pass, for terms that a subclass adds."""

    elements: Tensor
    """Features (B, T, G) float32, each of one element."""
    features: Tensor
    """Input of the paths (B, T, G') float32: the features, or what a recurrent trunk makes of them."""
    static: Gaussian
    """Posterior q(s | x), (B, S)."""
    dynamic: Gaussian
    """Posterior q(d_t | ...), (B, T, D)."""
    s: Tensor
    """Sample of the static code, (B, S)."""
    d: Tensor
    """Sample of the dynamic codes, (B, T, D)."""


class GaussianMethod(FitsStaticPrior, Method):
    """A sequential variational autoencoder with one Gaussian static code and a Gaussian dynamic code a step."""

    terms: ClassVar[tuple[Term, ...]] = (
        Term("nll", "NLL", "likelihood"),
        Term("kl_s", "KL of the static code", "divergence", "static"),
        Term("kl_d", "KL of the dynamic codes", "divergence", "dynamic"),
    )
    lower_when_collapsed: ClassVar[Mapping[Code, str]] = MappingProxyType(
        {"static": "lower beta, or dynamic_size: wide dynamic codes leave nothing to it", "dynamic": "lower beta"}
    )
    dynamic_inputs: ClassVar[tuple[str, ...]] = ("features",)
    """Inputs of the dynamic path: `features`, and perhaps `static`, the static code."""

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.static_path, self.dynamic_path = self.paths(settings, self.features)
        self.prior = RecurrentPrior(settings.dynamic_size, settings.prior_hidden_size, settings.prior_layers)
        self.fitted_prior = self.new_prior(settings)

    @abstractmethod
    def paths(self, settings: Any, features: int) -> tuple[nn.Module, nn.Module]:
        """Return the static path, (B, T, G) to mean and log-variance (B, S), and the dynamic path.

        The dynamic path takes the inputs that `dynamic_inputs` names, and returns mean and log-variance (B, T, D).
        """

    def extra(self, found: Pass, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted addition of a subclass to the loss, and its terms by name.

        It runs in the precision of the training, so that what it encodes and decodes costs no more than the rest.
        """
        return found.s.new_zeros(()), {}

    def divergence(self, kl_s: Tensor, kl_d: Tensor) -> Tensor:
        """Return the weighted divergences of both codes; a subclass may weigh one more than the other."""
        weighted: Tensor = self.settings.beta * (kl_s + kl_d)
        return weighted

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return SSE or NLL + beta (KL_s + KL_d), each summed over a sequence and averaged over the batch."""
        features = self.encode(batch.x)
        # The recurrent part is cheap and sums over steps, so it runs in float32 in every precision.
        with torch.autocast(batch.x.device.type, enabled=False):
            found = self.posterior(features.float())
            prior = self.prior(found.d)
        decoded = self.decode(join(found.s, found.d))
        with torch.autocast(batch.x.device.type, enabled=False):
            nll = self.nll(decoded, batch.x).sum(1).mean()
            kl_s, kl_d = kl_to_standard(found.static).mean(), kl(found.dynamic, prior).sum(1).mean()
        extra, terms = self.extra(found, batch)
        loss = nll + self.divergence(kl_s, kl_d) + extra
        return Losses(loss, {"nll": nll, "kl_s": kl_s, "kl_d": kl_d, **terms}, found.static.mean, found.dynamic.mean)

    def posterior(self, features: Tensor) -> Pass:
        """Return the posteriors and a sample of each, from features (B, T, G)."""
        static = Gaussian(*self.static_path(features))
        pool = {"features": features, "static": static.sample()}
        dynamic = Gaussian(*self.dynamic_path(*(pool[name] for name in self.dynamic_inputs)))
        return Pass(features, features, static, dynamic, pool["static"], dynamic.sample())

    def static_means(self, x: Tensor) -> Tensor:
        """Return the means of the static codes (B, S) of data (B, T, *element)."""
        return self.posterior(self.encode(x).float()).static.mean

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs over the model's own layers."""
        return {
            "encoder": EncoderGraph(self),
            "static": PosteriorGraph(self.static_path, "static", ("features",)),
            "dynamic": PosteriorGraph(self.dynamic_path, "dynamic", self.dynamic_inputs),
            "decoder": DecoderGraph(self),
            "prior": RecurrentPriorGraph(self.prior),
            **self.prior_graphs(),
        }

    @classmethod
    def search(cls, element: Element) -> dict[str, Any]:
        """Return the widths of the codes and the weight of the divergences."""
        return {"beta": Range(1e-2, 2.0), **super().search(element)}


class PosteriorGraph(nn.Module):
    """A path as a graph: mean and standard deviation of a code."""

    def __init__(self, path: nn.Module, code: str, inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.path, self.inputs, self.outputs = path, inputs, (f"{code}_mean", f"{code}_std")

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Map features, and perhaps the static code, to the distribution of a code."""
        found = Gaussian(*self.path(*inputs))
        return found.mean, found.std
