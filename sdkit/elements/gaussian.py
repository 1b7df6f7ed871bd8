"""Gaussian likelihood with a learned standard deviation, shared by decoders of features."""

import math

import torch
from torch import Tensor

from sdkit.elements.standard import Standard, observed


def in_units(standard: Standard, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return standardised mean and standard deviation (..., F) in data units, float32."""
    return standard.in_units(mean), std.float() * standard.std


def nats(standard: Standard, mean: Tensor, std: Tensor, x: Tensor) -> Tensor:
    """Return the negative log-likelihood of each standardised value, shape (..., F) of x; 0 where it was not observed.

    Args:
        standard: standardisation of the features.
        mean, std: (..., F) standardised.
        x: (..., F) in data units, NaN where not observed.
    """
    mean, std = mean.float(), std.float()
    error = (standard(x) - mean) / std
    found = 0.5 * error.square() + std.log() + 0.5 * math.log(2 * math.pi)
    return torch.where(observed(x), found, torch.zeros_like(found))
