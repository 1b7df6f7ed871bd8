"""DBSE as a method: encoder, static path, dynamic path, decoder and prior, connected as in the paper's Fig. 1."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sdkit.elements.standard import observed
from sdkit.methods.base import Batch, Choice, Code, Facts, Losses, Method, Range
from sdkit.methods.dbse.graphs import DynamicGraph, DynamicStepGraph, PriorGraph, StaticGraph
from sdkit.methods.dbse.objective import TERMS, Output, objective
from sdkit.methods.dbse.paths import DynamicPath, FilterPath, StaticPath, all_steps
from sdkit.methods.dbse.settings import VARIANTS, DbseSettings
from sdkit.methods.graphs import DecoderGraph, EncoderGraph, join
from sdkit.methods.parts.fitted_prior import FitsStaticPrior
from sdkit.methods.parts.gaussian import Gaussian
from sdkit.methods.parts.recurrent_prior import RecurrentPrior
from sdkit.runtime.contract import STEP
from sdkit.runtime.element import Element

WEIGHTS = Range(1e-4, 1.0)
"""Range of alpha and beta in a search; the paper has (0, 1)."""


class Dbse(FitsStaticPrior, Method):
    """Static code from a single element, subtracted from the LSTM's output; two hyper-parameters."""

    name = "dbse"
    title = "static code from one element, subtracted from the dynamic path"
    reference = "Mitigating mode collapse in sequential disentanglement via an architecture bias, ICML 2024"
    Settings = DbseSettings
    terms = TERMS
    variants = VARIANTS
    lower_when_collapsed: ClassVar[Mapping[Code, str]] = MappingProxyType(
        {"static": "lower beta_static, or raise alpha", "dynamic": "lower beta_dynamic"}
    )

    def __init__(self, settings: DbseSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.settings: DbseSettings
        self.static_path = StaticPath(settings, self.features)
        self.dynamic_path = DynamicPath(settings, self.features)
        self.prior = RecurrentPrior(settings.dynamic_size, settings.prior_hidden_size, settings.prior_layers)
        self.filter_path = FilterPath(settings, self.features) if settings.filter else None
        self.fitted_prior = self.new_prior(settings)

    @classmethod
    def default_variant(cls, element: Element) -> str:
        """Return the variant with the best swaps among those that run online.

        On images the printed model keeps the static source's pose in a swap, which `filter` does not; on other kinds
        no result speaks against the printed model (docs/results.md).
        """
        return "paper" if element.traits.standardised else "filter"

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return the search space of appendix A.3, without the learning rate."""
        return {"alpha": WEIGHTS, "beta": WEIGHTS, **super().search(element)}

    @classmethod
    def superseded(cls, given: Collection[str]) -> frozenset[str]:
        """Return beta where both codes have weights of their own."""
        return frozenset({"beta"} if {"beta_static", "beta_dynamic"} <= set(given) else ())

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reason why a model cannot run online, if it cannot."""
        if not settings.causal:
            reason = "its LSTM is bidirectional, so no dynamic code is known before the last element"
            return {"stream": f"{reason}; the variants paper and filter can, and others with bidirectional = false"}
        if settings.anchor != "first":
            reason = f"its static code is read from the {settings.anchor} element, which is not known at the beginning"
            return {"stream": f"{reason}; causal variants with anchor = first can"}
        return {}

    @property
    def context_size(self) -> int:
        """Width H."""
        return self.settings.hidden_size

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Encode, sample by the reparametrisation trick, decode, and return the objective."""
        output = self.output(batch.x)
        with torch.autocast(batch.x.device.type, enabled=False):
            return objective(output, self.settings)

    def posterior(self, x: Tensor) -> tuple[Gaussian, Gaussian]:
        """Return q(s | x_a), (B, S), and q(d_t | ...) of the free steps, (B, T', D), for data (B, T, *element)."""
        return self._posterior(self.encode(x))

    def output(self, x: Tensor) -> Output:
        """Return the inputs of the objective for data (B, T, *element)."""
        features = self.encode(x)
        static, dynamic = self._posterior(features)
        s, d = static.sample(), dynamic.sample()
        with torch.autocast(x.device.type, enabled=False):
            prior = self.prior(d)
        nll = self.nll(self.decode(join(s, all_steps(self.settings, d))), x)
        output = Output(nll, observed(x).flatten(2).sum(2), static, dynamic, prior)
        return output if self.filter_path is None else self._filtered(output, x, features, s)

    def static_means(self, x: Tensor) -> Tensor:
        """Return the means of the static codes (B, S), for which the anchors alone are encoded."""
        anchor = self.settings.anchor_index(x.shape[1])
        static: Gaussian = self.static_path(self.encode(x[:, anchor : anchor + 1]).float())[1]
        return static.mean

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs, including that of live streams where the model can run online."""
        found: dict[str, nn.Module] = {
            "encoder": EncoderGraph(self),
            "static": StaticGraph(self),
            "dynamic": DynamicGraph(self),
            "decoder": DecoderGraph(self),
            "prior": PriorGraph(self),
            **self.prior_graphs(),
        }
        return found if "stream" in self.refusals(self.settings) else {**found, STEP: DynamicStepGraph(self)}

    def _posterior(self, features: Tensor) -> tuple[Gaussian, Gaussian]:
        # The recurrent part is cheap and sums over steps, so it runs in float32 in every precision.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            static_hidden, static = self.static_path(features)
            return static, self.dynamic_path(features, static_hidden)

    def _filtered(self, output: Output, x: Tensor, features: Tensor, s: Tensor) -> Output:
        """Add the filter's distribution, and the anchor's likelihood under the filter's code."""
        assert self.filter_path is not None
        with torch.autocast(x.device.type, enabled=False):
            # The filter is fitted to the posterior, and the encoder serves the posterior alone: both are detached.
            found = self.filter_path(features.detach().float())
        if self.settings.anchor_dynamic == "zero":
            return output._replace(filter=found)
        anchor = self.settings.anchor_index(x.shape[1])
        here = slice(anchor, anchor + 1)
        d = found.mean[:, here] + found.std[:, here] * torch.randn_like(found.mean[:, here])
        return output._replace(filter=found, nll_filter=self.nll(self.decode(join(s, d)), x[:, here])[:, 0])
