"""Tiny models and sequences, made in milliseconds."""

from typing import Any

import msgspec
import numpy as np
import torch

from sdkit.methods import find
from sdkit.methods.base import Batch, Facts, Method
from sdkit.runtime.element import Array, Element
from sdkit.training.config import Plan, TrainConfig

IMAGE = Element("image", (3, 16, 16), "uint8", ("grey level",))
TINY: dict[str, Any] = {
    "static_size": 5,
    "dynamic_size": 4,
    "hidden_size": 6,
    "prior_hidden_size": 7,
    "static_prior": "standard",
    "encoder_widths": (4, 6, 8),
    "decoder_widths": (8, 6, 4),
}
TINY_64 = {**TINY, "encoder_widths": (4, 4, 6, 6, 8), "decoder_widths": (8, 6, 4, 4)}
"""The same for 64x64 puppets."""
FACTS = ("feature_mean", "feature_std", "steps", "count")


def tiny_plan(variant: str | None = None, method: str = "dbse", **changes: Any) -> Plan:
    """Return the plan of a tiny model of a variant, with settings changed."""
    chosen = find(method)
    variant = variant or next(iter(chosen.variants), "")
    values = {**TINY, **chosen.variants.get(variant, {}), **changes}
    known = {name: value for name, value in values.items() if name in chosen.Settings.__struct_fields__}
    if unknown := set(changes) - set(known):
        raise KeyError(unknown)
    return Plan(chosen, msgspec.convert(msgspec.to_builtins(known), chosen.Settings), TrainConfig())


def tiny_facts(element: Element = IMAGE, **facts: Any) -> Facts:
    """Return facts about data that nobody measured."""
    return Facts(element, **{"steps": 5, "count": 30, **facts})


def tiny_model(
    variant: str | None = None,
    seed: int = 0,
    method: str = "dbse",
    element: Element = IMAGE,
    *,
    initialised: bool = True,
    **changes: Any,
) -> Method:
    """Return a tiny model with lively random weights, in evaluation mode; `changes` are settings or facts.

    Without `initialised` it has the weights that its layers draw for themselves, as files from before the models drew
    their own have them.
    """
    facts = tiny_facts(element, **{name: changes.pop(name) for name in FACTS if name in changes})
    plan = tiny_plan(variant, method, **changes)
    torch.manual_seed(seed)
    model = plan.build(facts) if initialised else plan.method(plan.settings, facts)
    with torch.no_grad():
        for name, value in model.named_parameters():
            # The layers' own weights give codes so small that a wrong one would pass unseen.
            if value.ndim > (2 if initialised else 1) and "lstm" not in name:
                value.mul_(2.0)
            elif initialised and value.ndim == 1:
                value.add_(0.1 * torch.randn_like(value))  # biases that start at 0 would not be missed
    return model.eval()


def tiny_batch(x: Array) -> Batch:
    """Return sequences (B, T, *element) as a batch."""
    return Batch(torch.from_numpy(x), torch.arange(len(x)))


def sequences(count: int = 3, steps: int = 5, element: Element = IMAGE, seed: int = 0) -> Array:
    """Return (B, T, *element) random sequences."""
    rng = np.random.default_rng(seed)
    if element.dtype == "uint8":
        return rng.integers(0, 256, (count, steps, *element.shape), np.uint8)
    return rng.random((count, steps, *element.shape), np.float32)
