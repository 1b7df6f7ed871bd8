"""Methods that use every part of the contract which a host must know, and no method of sdkit need have at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdkit import methods
from sdkit.methods.base import Batch, Losses, Method, Settings, Term
from sdkit.methods.graphs import DecoderGraph, EncoderGraph, RecurrentPriorGraph, join
from sdkit.methods.parts.gaussian import Gaussian, GaussianHead, kl_to_standard
from sdkit.methods.parts.recurrent_prior import RecurrentPrior
from tests.hosts.golden import SERIES

CONTEXT, MAX_STEPS, PRIOR_WIDTH = 3, 6, 7
CONFORMANCE = {"patchwork": {"method": "patchwork", **SERIES}, "generator": {"method": "generator"}}
"""Bundles of a conformance set, as in `golden.BUNDLES`."""


class PatchworkSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of both methods."""

    static_size: int = 5
    """S."""


class Patchwork(Method):
    """A static code with a prior of its own, dynamic codes that depend on it and are drawn with correlated noise."""

    name, title, reference = "patchwork", "every part of the contract", "none"
    Settings = PatchworkSettings
    terms = (
        Term("nll", "NLL", "likelihood"),
        Term("kl_static", "KL of the static code", "divergence", "static"),
        Term("kl_dynamic", "KL of the dynamic codes", "divergence", "dynamic"),
    )

    def __init__(self, settings: Any, facts: Any) -> None:
        super().__init__(settings, facts)
        s, d = settings.static_size, settings.dynamic_size
        self.static_path, self.context = GaussianHead(self.features, s), nn.Linear(self.features, CONTEXT)
        self.dynamic_path = GaussianHead(self.features + CONTEXT + s, d)
        self.static_prior, self.prior = nn.Linear(s, s), RecurrentPrior(d, PRIOR_WIDTH)

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        features = self.encode(batch.x)
        static = Gaussian(*self.static_path(features.mean(1)))
        s = static.sample()
        dynamic = Gaussian(*self.dynamic_path(self.beside(features, self.context(features[:, 0]), s)))
        nll = self.nll(self.decode(join(s, dynamic.sample())), batch.x).sum(1).mean()
        costs = kl_to_standard(static).mean(), kl_to_standard(dynamic).sum(1).mean()
        terms = {"nll": nll, "kl_static": costs[0], "kl_dynamic": costs[1]}
        return Losses(nll + costs[0] + costs[1], terms, static.mean, dynamic.mean)

    @staticmethod
    def beside(features: Tensor, context: Tensor, static: Tensor) -> Tensor:
        """Return (B, T, C + S + G): what is known of a sequence beside the features of each step."""
        return join(torch.cat([context, static], 1), features)

    def graphs(self) -> dict[str, nn.Module]:
        return {
            "encoder": EncoderGraph(self),
            "static": StaticGraph(self),
            "dynamic": DynamicGraph(self),
            "decoder": DecoderGraph(self),
            "prior": PriorGraph(self),
            "static_prior": StaticPriorGraph(self),
            "dynamic_posterior": DynamicPosteriorGraph(self),
        }

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        return {"swap": "its dynamic codes are those of one static code", **super().refusals(settings)}

    @property
    def max_steps(self) -> int:
        return MAX_STEPS

    @property
    def context_size(self) -> int:
        return CONTEXT


class Generator(Patchwork):
    """A method that only generates."""

    name, title = "generator", "a prior and a decoder"

    def graphs(self) -> dict[str, nn.Module]:
        return {"decoder": DecoderGraph(self), "prior": RecurrentPriorGraph(self.prior)}

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        verbs = ("encode", "reconstruct", "swap", "resample_static", "resample_dynamic", "stream")
        return dict.fromkeys(verbs, "it has no encoder")

    @property
    def max_steps(self) -> None:  # type: ignore[override]
        return None

    @property
    def context_size(self) -> int:
        return 0


class StaticGraph(nn.Module):
    """features (B, T, G) -> static_mean, static_std (B, S), context (B, C)."""

    inputs, outputs = ("features",), ("static_mean", "static_std", "context")

    def __init__(self, model: Patchwork) -> None:
        super().__init__()
        self.path, self.context = model.static_path, model.context

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        static = Gaussian(*self.path(features.mean(1)))
        return static.mean, static.std, self.context(features[:, 0])


class DynamicGraph(nn.Module):
    """static (B, S), features (B, T, G), context (B, C) -> dynamic_mean, dynamic_std (B, T, D).

    The order of the inputs is not that of the contract: a host feeds a graph by name.
    """

    inputs, outputs = ("static", "features", "context"), ("dynamic_mean", "dynamic_std")

    def __init__(self, model: Patchwork) -> None:
        super().__init__()
        self.path = model.dynamic_path

    def forward(self, static: Tensor, features: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        dynamic = Gaussian(*self.path(Patchwork.beside(features, context, static)))
        return dynamic.mean, dynamic.std


class DynamicPosteriorGraph(nn.Module):
    """noise (B, T, D), features, static -> dynamic (B, T, D): each step's noise has part of the step's before."""

    inputs, outputs = ("noise", "features", "static", "context"), ("dynamic",)

    def __init__(self, model: Patchwork) -> None:
        super().__init__()
        self.path = model.dynamic_path

    def forward(self, noise: Tensor, features: Tensor, static: Tensor, context: Tensor) -> Tensor:
        dynamic = Gaussian(*self.path(Patchwork.beside(features, context, static)))
        before = torch.cat([torch.zeros_like(noise[:, :1]), noise[:, :-1]], 1)
        return dynamic.mean + dynamic.std * (0.6 * noise + 0.8 * before)


class StaticPriorGraph(nn.Module):
    """noise (B, S) -> static (B, S): a Gaussian that is neither centred nor diagonal."""

    inputs, outputs = ("noise",), ("static",)

    def __init__(self, model: Patchwork) -> None:
        super().__init__()
        self.map = model.static_prior

    def forward(self, noise: Tensor) -> Tensor:
        return self.map(noise) + 1.0  # type: ignore[no-any-return]


class PriorGraph(nn.Module):
    """noise (B, T, D) -> dynamic (B, T, D), without the optional means."""

    inputs, outputs = ("noise",), ("dynamic",)

    def __init__(self, model: Patchwork) -> None:
        super().__init__()
        self.scale = model.prior.head.mean.weight.shape[0]

    def forward(self, noise: Tensor) -> Tensor:
        return noise.cumsum(1) / self.scale


@contextmanager
def installed() -> Iterator[None]:
    """Let sdkit find these methods, as if a package beside it had registered them."""
    points = [EntryPoint(kind.name, f"{__name__}:{kind.__name__}", methods.GROUP) for kind in (Patchwork, Generator)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "entry_points", lambda group: points if group == methods.GROUP else [])
        yield
