"""The training model: encoder, static path, dynamic path, decoder and prior, put together as in the paper's Fig. 1."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from sdkit.models import elements
from sdkit.models.config import ModelConfig
from sdkit.models.elements.standard import observed
from sdkit.models.gaussian import Gaussian
from sdkit.models.paths import DynamicPath, FilterPath, Prior, StaticPath, all_steps


class Output(NamedTuple):
    """What a training step needs; free steps are those with a posterior of their own."""

    nll: Tensor
    """(B, T) nats."""
    values: Tensor
    """(B, T) observed values of each element."""
    static: Gaussian
    """q(s | x_a), (B, S)."""
    dynamic: Gaussian
    """q(d_t | ...) of the free steps, (B, T', D)."""
    prior: Gaussian
    """p(d_t | d_<t) of the free steps, given sampled codes, (B, T', D)."""
    filter: Gaussian | None = None
    """q(d_t | x_1:t) of the free steps, (B, T', D), where there is a filter."""
    nll_filter: Tensor | None = None
    """(B,) nats of the anchor, decoded from the filter's code."""


class SplitModel(nn.Module):
    """A sequence model that splits x_1:T into one static code s and dynamic codes d_1:T."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = elements.build(config)
        self.encoder, self.decoder = cast(nn.Module, encoder), cast(nn.Module, decoder)
        self.static_path = StaticPath(config, encoder.features)
        self.dynamic_path = DynamicPath(config, encoder.features)
        self.prior = Prior(config)
        self.filter_path = FilterPath(config, encoder.features) if config.filter else None
        self.features = encoder.features

    def posterior(self, x: Tensor) -> tuple[Gaussian, Gaussian]:
        """Return q(s | x_a) (B, S) and q(d_t | ...) of the free steps (B, T', D), from (B, T, *element)."""
        return self._posterior(self.encoder(x))

    def _posterior(self, features: Tensor) -> tuple[Gaussian, Gaussian]:
        # The recurrent part is cheap and sums over steps, so it runs in float32 whatever the convolutions run in.
        with torch.autocast(features.device.type, enabled=False):
            features = features.float()
            static_hidden, static = self.static_path(features)
            return static, self.dynamic_path(features, static_hidden)

    def forward(self, x: Tensor) -> Output:
        """Encode, sample by the reparametrisation trick and decode; (B, T, *element) in data units."""
        features = self.encoder(x)
        static, dynamic = self._posterior(features)
        s, d = static.sample(), dynamic.sample()
        with torch.autocast(x.device.type, enabled=False):
            prior = self.prior(d)
        codes = join(s, all_steps(self.config, d))
        nll = self.decoder.nll(self.decoder(codes), x)  # type: ignore[operator]
        output = Output(nll, observed(x).flatten(2).sum(2), static, dynamic, prior)
        return output if self.filter_path is None else self._filtered(output, x, features, s)

    def _filtered(self, output: Output, x: Tensor, features: Tensor, s: Tensor) -> Output:
        """Add the filter's distribution, and what the anchor's likelihood is under its code there."""
        assert self.filter_path is not None
        with torch.autocast(x.device.type, enabled=False):
            # The posterior teaches and the encoder serves it alone: neither bends to what a filter can see.
            found = self.filter_path(features.detach().float())
        if self.config.anchor_dynamic == "zero":
            return output._replace(filter=found)
        anchor = self.config.anchor_index(x.shape[1])
        here = slice(anchor, anchor + 1)
        d = found.mean[:, here] + found.std[:, here] * torch.randn_like(found.mean[:, here])
        decoded = self.decoder(join(s, d))
        return output._replace(filter=found, nll_filter=self.decoder.nll(decoded, x[:, here])[:, 0])  # type: ignore[operator]


def join(static: Tensor, dynamic: Tensor) -> Tensor:
    """Return [s, d_t], (B, T, S + D), from (B, S) and (B, T, D)."""
    repeated = static.unsqueeze(1).expand(-1, dynamic.shape[1], -1)
    return torch.cat([repeated, dynamic], -1)
