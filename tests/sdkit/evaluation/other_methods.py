"""Small methods unlike the paper's: without a static code, with deterministic codes, without an encoder."""

from collections.abc import Iterable, Iterator
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdkit import methods
from sdkit.elements import Network
from sdkit.methods.base import Batch, Choice, Facts, Losses, Method, Range, Settings, Term
from sdkit.methods.graphs import DecoderGraph, EncoderGraph, join
from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.contract import STATIC_PRIOR
from sdkit.runtime.element import Element

S, D = 3, 4
NO_STATIC = "its method has no static code"
NO_ENCODER = "its method has no encoder"


class OneCodeSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of `OneCode`."""

    dynamic_size: int = D
    beta: float = 1.0
    """Weight of the divergence."""
    prior_kind: str = "white"
    """A setting whose values are words."""


class Through(nn.Module):
    """A graph that is one function."""

    def __init__(self, inputs: tuple[str, ...], outputs: tuple[str, ...], call: Any) -> None:
        super().__init__()
        self.inputs, self.outputs, self.call = inputs, outputs, call

    def forward(self, *inputs: Tensor) -> Any:
        return self.call(*inputs)


class OneCode(Method):
    """A variational autoencoder of each element; hosts see a static code that is one constant 0."""

    name = "one-code"
    title = "a code a step, and none of the sequence"
    reference = "nowhere"
    Settings = OneCodeSettings
    terms = (Term("misfit", "NLL", "likelihood"), Term("cost", "KL", "divergence", "dynamic"))

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.mean, self.spread = nn.Linear(self.features, D), nn.Linear(self.features, D)

    @classmethod
    def network(cls, settings: Any, facts: Facts) -> Network:
        widths = (settings.encoder_widths, settings.decoder_widths, settings.pixel_scale)
        return Network(facts.element, D, *widths, facts.feature_mean, facts.feature_std)

    @property
    def widths(self) -> Widths:
        return Widths(1, D, self.features)

    @property
    def max_steps(self) -> int | None:
        return self.facts.steps

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        return {**super().refusals(settings), "swap": NO_STATIC, "resample_static": NO_STATIC}

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        return {"prior_kind": Choice(("white", "pink")), "beta": Range(0.01, 10.0)}

    def posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(features), torch.exp(0.1 * self.spread(features))

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        mean, std = self.posterior(self.encode(batch.x))
        decoded = self.decode(mean + std * torch.randn_like(std))
        misfit = self.nll(decoded, batch.x).sum(1).mean()
        cost = (0.5 * (mean**2 + std**2 - 1) - std.log()).sum((1, 2)).mean()
        return Losses(misfit + self.settings.beta * cost, {"misfit": misfit, "cost": cost}, None, mean)

    def graphs(self) -> dict[str, nn.Module]:
        def static(features: Tensor) -> tuple[Tensor, Tensor]:
            zero = torch.zeros_like(features[:, 0, :1])
            return zero, zero

        def decode(_: Tensor, dynamic: Tensor) -> Any:
            return self.decoder.in_units(self.decode(dynamic))  # type: ignore[operator]

        outputs = self.decoder.outputs
        return {
            "encoder": EncoderGraph(self),
            "static": Through(("features",), ("static_mean", "static_std"), static),
            "dynamic": Through(("features",), ("dynamic_mean", "dynamic_std"), self.posterior),
            "decoder": Through(("static", "dynamic"), outputs, decode),  # type: ignore[arg-type]
            "prior": Through(("noise",), ("dynamic",), lambda noise: (noise,)),
        }


class FixedSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of `Fixed`."""

    static_size: int = S
    dynamic_size: int = D


class Fixed(Method):
    """An autoencoder of both codes, neither of which has a spread; static codes are drawn around what training gave."""

    name = "fixed"
    title = "codes without a spread"
    reference = "nowhere"
    Settings = FixedSettings
    terms = (Term("misfit", "NLL", "likelihood"), Term("size", "size of the codes", "other"))

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.static_head = nn.Linear(self.features, settings.static_size)
        self.dynamic_head = nn.Linear(self.features, settings.dynamic_size)
        self.register_buffer("centre", torch.full((settings.static_size,), torch.nan))

    def codes(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.static_head(features.mean(1)), self.dynamic_head(features - features.mean(1, keepdim=True))

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        s, d = self.codes(self.encode(batch.x))
        misfit, size = self.nll(self.decode(join(s, d)), batch.x).sum(1).mean(), s.square().sum(1).mean()
        return Losses(misfit + 0.01 * size, {"misfit": misfit, "size": size}, s, d)

    def finish(self, batches: Iterable[Batch]) -> None:
        self.centre = torch.cat([self.codes(self.encode(batch.x))[0] for batch in batches]).mean(0)

    def graphs(self) -> dict[str, nn.Module]:
        def spreadless(code: int) -> Any:
            def call(features: Tensor) -> tuple[Tensor, Tensor]:
                mean = self.codes(features)[code]
                return mean, torch.zeros_like(mean)

            return call

        return {
            "encoder": EncoderGraph(self),
            "static": Through(("features",), ("static_mean", "static_std"), spreadless(0)),
            "dynamic": Through(("features",), ("dynamic_mean", "dynamic_std"), spreadless(1)),
            "decoder": DecoderGraph(self),
            "prior": Through(("noise",), ("dynamic",), lambda noise: (noise,)),
            STATIC_PRIOR: Through(("noise",), ("static",), lambda noise: (self.centre + noise,)),
        }


class Dreamer(Method):
    """Generates and does nothing else."""

    name = "dreamer"
    title = "sequences out of noise"
    reference = "nowhere"
    Settings = FixedSettings
    terms = (Term("contest", "adversarial loss", "other"),)

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        blind = ("encode", "reconstruct", "swap", "resample_static", "resample_dynamic")
        return {**super().refusals(settings), **dict.fromkeys(blind, NO_ENCODER)}

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        codes = torch.randn(*batch.x.shape[:2], self.settings.static_size + self.settings.dynamic_size)
        contest = self.decode(codes)[0].mean().square()
        return Losses(contest, {"contest": contest})

    def graphs(self) -> dict[str, nn.Module]:
        return {
            "decoder": DecoderGraph(self),
            "prior": Through(("noise",), ("dynamic",), lambda noise: (noise,)),
        }


OTHERS: tuple[type[Method], ...] = (OneCode, Fixed, Dreamer)


def register(patch: pytest.MonkeyPatch) -> None:
    """Let `find` know the methods, as if a package had registered them."""

    def registered() -> Iterator[EntryPoint]:
        for method in OTHERS:
            yield EntryPoint(method.name, f"{__name__}:{method.__name__}", methods.GROUP)

    patch.setattr(methods, "_registered", registered)


def model_of(method: type[Method], element: Element, steps: int = 5, **settings: Any) -> Method:
    """Return a model of random weights, completed on random data, in evaluation mode."""
    torch.manual_seed(0)
    widths = {"encoder_widths": (4, 6, 8), "decoder_widths": (8, 6, 4)} if element.traits.pictorial else {}
    model = method(method.Settings(**{**widths, **settings}), Facts(element, steps, 30)).eval()
    if model.finishes:
        with torch.no_grad():
            model.finish([Batch(torch.rand(4, 3, *element.shape), torch.arange(4))])
    return model
