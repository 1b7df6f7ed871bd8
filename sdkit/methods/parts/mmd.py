"""Maximum mean discrepancy: how far two laws are apart, from a sample of each, without any density.

The kernel is a sum of inverse multiquadratics, C / (C + |a - b|^2), over several scales.
"""

import torch
from torch import Tensor

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Scales c of the kernels, C = 2 n c in n dimensions: 2 n is the mean squared distance of two draws from N(0, I)."""


def mmd(a: Tensor, b: Tensor) -> Tensor:
    """Return the unbiased estimate of the squared discrepancy of two laws, of shape (...).

    It is the mean over i != j of k(a_i, a_j) + k(b_i, b_j) - k(a_i, b_j) - k(a_j, b_i). Its expectation is 0 where the
    laws are equal, so it may be negative. The pair of a_i and b_i is left out, so a_i and b_i may depend on each other.
    One draw says nothing of a law: the estimate from it is 0.

    Args:
        a: B draws from the one law, (..., B, n).
        b: as many from the other, (..., B, n).
    """
    count = a.shape[-2]
    across = kernel(a, b)
    total = kernel(a, a) + kernel(b, b) - across - across.transpose(-2, -1)
    others = 1 - torch.eye(count, dtype=a.dtype, device=a.device)
    return (total * others).sum((-2, -1)) / max(count * (count - 1), 1)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """Return the kernel (..., B, M) of points (..., B, n) and (..., M, n); each scale adds at most 1."""
    lengths = a.square().sum(-1).unsqueeze(-1) + b.square().sum(-1).unsqueeze(-2)
    distance = (lengths - 2 * a @ b.transpose(-2, -1)).clamp_min(0)
    widths = [2.0 * a.shape[-1] * scale for scale in SCALES]
    return torch.stack([width / (width + distance) for width in widths]).sum(0)
