"""Tiny models and sequences, made in milliseconds."""

from typing import Any

import numpy as np
import torch
from sdkit.methods.dbse.config import VARIANTS, ModelConfig
from sdkit.methods.dbse.model import SplitModel

from sdkit.runtime.element import Array, Element

IMAGE = Element("image", (3, 16, 16), "uint8", ("grey level",))
TINY: dict[str, Any] = {
    "static_size": 5,
    "dynamic_size": 4,
    "hidden_size": 6,
    "prior_hidden_size": 7,
    "encoder_widths": (4, 6, 8),
    "decoder_widths": (8, 6, 4),
}
TINY_64 = {**TINY, "encoder_widths": (4, 4, 6, 6, 8), "decoder_widths": (8, 6, 4, 4)}
"""The same for 64x64 puppets."""


def tiny_config(variant: str = "paper", element: Element = IMAGE, **changes: Any) -> ModelConfig:
    """Return the config of a tiny model of a variant, with switches changed."""
    return ModelConfig(element, **{**TINY, **VARIANTS[variant], **changes})


def tiny_model(variant: str = "paper", seed: int = 0, **changes: Any) -> SplitModel:
    """Return a tiny model with lively random weights, in evaluation mode."""
    torch.manual_seed(seed)
    model = SplitModel(tiny_config(variant, **changes))
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1 and "lstm" not in name:
                value.mul_(2.0)  # default weights give codes so small that a wrong one would pass unseen
    return model.eval()


def sequences(count: int = 3, steps: int = 5, element: Element = IMAGE, seed: int = 0) -> Array:
    """Return (B, T, *element) random sequences."""
    rng = np.random.default_rng(seed)
    if element.dtype == "uint8":
        return rng.integers(0, 256, (count, steps, *element.shape), np.uint8)
    return rng.random((count, steps, *element.shape), np.float32)
