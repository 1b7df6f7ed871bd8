"""A method whose graphs use all that the contract has, and a conformance set of its bundles.

It is no model of anything: static and dynamic codes come from a few layers, so that a host that skips a graph, feeds a
wrong tensor or draws by the wrong formula gives other numbers.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdkit import methods
from sdkit.export.proof.cases import SEED, graph_inputs, run_verbs, sample, scale_of
from sdkit.methods.base import Batch, Losses, Method, Settings, Term
from sdkit.methods.graphs import DecoderGraph, EncoderGraph
from sdkit.runtime.bundles.bundle import Bundle
from sdkit.runtime.contract import DYNAMIC_POSTERIOR, STATIC_PRIOR, VERBS
from sdkit.runtime.element import Array, Element
from sdkit.runtime.runtime import Runtime
from tests.export.runs import lively_model, quick_export, write_run
from tests.tiny import IMAGE

MAX_STEPS = 8
"""T that the prior draws at most."""
CONTEXT_SIZE = 3
REASON = "its {verb} is left out on purpose"
BUNDLES: dict[str, dict[str, Any]] = {
    "whole": {"refused": ("stream",)},
    "no-static": {"refused": ("swap", "resample_static", "stream"), "correlated": False},
    "no-encoder": {"refused": tuple(verb for verb in VERBS if verb not in ("decode", "generate"))},
}
"""Settings by name: every feature; the verbs of a method without a static code, dynamic codes drawn step by step
from a distribution that depends on the drawn static code; a method that can only generate."""
COUNT, STEPS = 3, 4


class EverySettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the method."""

    refused: tuple[str, ...] = ("stream",)
    """Verbs that the model has not."""
    correlated: bool = True
    """Whether the posterior's steps are correlated."""


class StaticGraph(nn.Module):
    """features (B, T, G) -> static_mean, static_std (B, S) and context (B, C)."""

    inputs, outputs = ("features",), ("static_mean", "static_std", "context")

    def __init__(self, model: "EveryFeature") -> None:
        super().__init__()
        self.head, self.spread, self.context = model.static_head, model.static_spread, model.context_head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        whole = features.mean(1)
        return self.head(whole), torch.exp(0.3 * self.spread(whole)), torch.tanh(self.context(whole))


class DynamicGraph(nn.Module):
    """features, static (B, S), context (B, C) -> dynamic_mean, dynamic_std (B, T, D): the codes depend on s."""

    inputs, outputs = ("features", "static", "context"), ("dynamic_mean", "dynamic_std")

    def __init__(self, model: "EveryFeature") -> None:
        super().__init__()
        self.head, self.spread = model.dynamic_head, model.dynamic_spread

    def forward(self, features: Tensor, static: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        given = torch.cat([static, context], 1).unsqueeze(1).expand(-1, features.shape[1], -1)
        known = torch.cat([features, given], 2)
        return self.head(known), torch.exp(0.3 * self.spread(known))


class DynamicPosteriorGraph(nn.Module):
    """noise (B, T, D), features, context, static -> dynamic (B, T, D) whose steps are correlated."""

    inputs, outputs = ("noise", "features", "context", "static"), ("dynamic",)

    def __init__(self, model: "EveryFeature") -> None:
        super().__init__()
        self.marginal = DynamicGraph(model)

    def forward(self, noise: Tensor, features: Tensor, context: Tensor, static: Tensor) -> tuple[Tensor]:
        mean, std = self.marginal(features, static, context)
        return (mean + std * torch.cumsum(noise, 1),)


class PriorGraph(nn.Module):
    """noise (B, T, D) -> dynamic, dynamic_mean (B, T, D): a Gaussian process of at most `MAX_STEPS` steps."""

    inputs, outputs = ("noise",), ("dynamic", "dynamic_mean")

    def __init__(self, model: "EveryFeature") -> None:
        super().__init__()
        self.factor, self.level = model.factor, model.level

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        steps = noise.shape[1]
        mean = self.level.expand(noise.shape[0], steps, -1)
        return mean + self.factor[:steps, :steps] @ noise, mean + 0 * noise


class StaticPriorGraph(nn.Module):
    """noise (B, S) -> static (B, S): no N(0, I)."""

    inputs, outputs = ("noise",), ("static",)

    def __init__(self, model: "EveryFeature") -> None:
        super().__init__()
        self.flow = model.flow

    def forward(self, noise: Tensor) -> tuple[Tensor]:
        return (noise + torch.tanh(self.flow(noise)),)


class EveryFeature(Method):
    """Dynamic codes that depend on the static code, priors of both codes, a posterior of correlated steps, a limit."""

    name = "every_feature"
    title = "all that the contract has"
    reference = "nowhere"
    Settings = EverySettings
    terms: ClassVar[tuple[Term, ...]] = (Term("nll", "data", "likelihood"),)
    factor: Tensor
    """Cholesky factor of the prior's covariance over steps, (MAX_STEPS, MAX_STEPS)."""

    def __init__(self, settings: Any, facts: Any) -> None:
        super().__init__(settings, facts)
        wide, known = settings.static_size, self.features + settings.static_size + CONTEXT_SIZE
        self.static_head, self.static_spread = nn.Linear(self.features, wide), nn.Linear(self.features, wide)
        self.context_head = nn.Linear(self.features, CONTEXT_SIZE)
        self.dynamic_head, self.dynamic_spread = (nn.Linear(known, settings.dynamic_size) for _ in range(2))
        self.flow = nn.Linear(wide, wide)
        distance = (torch.arange(MAX_STEPS)[:, None] - torch.arange(MAX_STEPS)).double()
        kernel = 1 / (1 + distance**2 / 4) + 1e-3 * torch.eye(MAX_STEPS)
        self.register_buffer("factor", torch.linalg.cholesky(kernel).float().contiguous())
        self.level = nn.Parameter(torch.randn(1, 1, settings.dynamic_size))

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        return {verb: REASON.format(verb=verb) for verb in settings.refused}

    @property
    def max_steps(self) -> int | None:
        return MAX_STEPS

    @property
    def context_size(self) -> int:
        return CONTEXT_SIZE

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        raise NotImplementedError("it is never trained")

    def graphs(self) -> dict[str, nn.Module]:
        made = {"decoder": DecoderGraph(self), "prior": PriorGraph(self), STATIC_PRIOR: StaticPriorGraph(self)}
        if "encode" in self.settings.refused:
            return made
        coders = {
            "encoder": EncoderGraph(self),
            "static": StaticGraph(self),
            "dynamic": DynamicGraph(self),
        }
        posterior = {DYNAMIC_POSTERIOR: DynamicPosteriorGraph(self)} if self.settings.correlated else {}
        return {**coders, **posterior, **made}


METHOD = EveryFeature


@contextmanager
def known() -> Iterator[None]:
    """Let `methods.find` know the method, as if a package had registered it."""
    point = EntryPoint(METHOD.name, f"{__name__}:METHOD", methods.GROUP)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "_registered", lambda: iter([point]))
        yield


def export(folder: Path, name: str, element: Element = IMAGE, **changes: Any) -> Bundle:
    """Export a tiny model of the settings of a name; the run lies beside the bundle."""
    with known():
        model = lively_model(method=METHOD.name, element=element, **BUNDLES[name], **changes)
        return quick_export(write_run(folder.with_name(f"{folder.name}-run"), model), folder)


def make_set(folder: Path) -> Path:
    """Write a conformance set of all bundles; results are of the Python runtime."""
    about = {name: _describe(folder, export(folder / name, name)) for name in BUNDLES}
    (folder / "golden.json").write_text(json.dumps({"bundles": about, "noise": []}))
    return folder


def _describe(folder: Path, bundle: Bundle) -> dict[str, Any]:
    rt = Runtime.open(bundle.path, device="cpu", threads=1)
    inputs = inputs_of(rt)
    results = run_verbs(rt, inputs)
    return {
        "folder": bundle.path.name,
        "seed": str(SEED),
        "first": "0",
        "count": COUNT,
        "steps": STEPS,
        "inputs": {name: _write(folder, bundle.path.name, name, value) for name, value in inputs.items()},
        "outputs": {
            name: {**_write(folder, bundle.path.name, name, value), "atol": _allowed(name), "rtol": 0.0}
            for name, value in results.items()
        },
        "refused": {verb: f"this model cannot {verb}: {reason}" for verb, reason in rt.abilities.refusals.items()},
    }


def inputs_of(rt: Runtime) -> dict[str, Array]:
    """Return what the verbs of a bundle are run on; sequences only where it takes them."""
    made = graph_inputs(rt, COUNT, STEPS, scale_of(rt.manifest))
    names = ("x", "other", "static", "dynamic") if "encode" in rt.abilities.verbs else ("static", "dynamic")
    return {name: made[name] for name in names}


def clips(rt: Runtime, steps: int) -> Array:
    """Return three sequences (3, T, *element) of a bundle's element."""
    return sample(rt.element, COUNT, steps, 7, scale_of(rt.manifest))


def _allowed(result: str) -> float:
    return 1e-5 if result.rpartition("/")[2] in ("static", "dynamic") else 0.0255


def _write(folder: Path, bundle: str, name: str, value: Array) -> dict[str, Any]:
    file = f"{bundle}.{name}.bin".replace("()", "").replace("(", "-").replace(")", "").replace("/", "-")
    (folder / file).write_bytes(np.ascontiguousarray(value).tobytes())
    return {"file": file, "dtype": str(value.dtype), "shape": list(value.shape)}
