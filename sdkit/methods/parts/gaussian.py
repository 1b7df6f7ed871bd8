"""Diagonal Gaussians: the output of the two linear heads of a path, and their divergences."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

LOG_VARIANCE_RANGE = (-12.0, 12.0)
"""Range to which log-variances are clamped, in the model itself, so that a graph and the model agree and exp() stays
finite in float16 too."""


class Gaussian(NamedTuple):
    """Mean and log-variance, of equal shape."""

    mean: Tensor
    log_variance: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation."""
        return torch.exp(0.5 * self.log_variance)

    def sample(self) -> Tensor:
        """Draw by the reparametrisation trick, with torch's global generator."""
        return self.mean + self.std * torch.randn_like(self.mean)


class GaussianHead(nn.Module):
    """Two linear layers: mean and log-variance."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.mean = nn.Linear(width, size)
        self.log_variance = nn.Linear(width, size)
        self.low, self.high = LOG_VARIANCE_RANGE  # attributes, since TorchScript sees no globals

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Map (..., width) to mean and log-variance (..., size); a plain tuple, which TorchScript can compile."""
        return self.mean(hidden), self.log_variance(hidden).clamp(self.low, self.high)


def kl_to_standard(q: Gaussian) -> Tensor:
    """Return KL[q || N(0, I)] in nats, summed over the last axis."""
    return 0.5 * (q.mean.square() + q.log_variance.exp() - q.log_variance - 1.0).sum(-1)


def kl(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL[q || p] in nats, summed over the last axis."""
    variance_ratio = (q.log_variance - p.log_variance).exp()
    distance = (q.mean - p.mean).square() * (-p.log_variance).exp()
    return 0.5 * (variance_ratio + distance + p.log_variance - q.log_variance - 1.0).sum(-1)
