"""Dynamic codes that are Gaussian processes over time, which GP-VAE and GLR share: their prior and their posterior."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sdkit.methods.parts import gp


class ProcessPrior(nn.Module):
    """Independent Gaussian processes over the steps, one for each dimension of the dynamic code.

    Args:
        groups: kernels of the dimensions, in order.
        max_steps: largest T that is drawn; a divergence may be of longer sequences.
    """

    def __init__(self, groups: Sequence[gp.Group], max_steps: int) -> None:
        super().__init__()
        self.groups = tuple(groups)
        # Determined by the settings, so not part of the weights. A batch of longer sequences computes its own.
        self.factors: Tensor
        self.register_buffer("factors", self._factors(max_steps), persistent=False)

    def kl(self, mean: Tensor, diagonal: Tensor, coupling: Tensor) -> Tensor:
        """Return KL[q || prior] in nats, (B,), of the posterior that a `TimePath` returns, each (B, T, D)."""
        steps = mean.shape[1]
        factors = self.factors if steps <= self.factors.shape[1] else self._factors(steps).to(mean.device)
        return gp.kl_to_process(mean, diagonal, coupling, factors[:, :steps, :steps])

    def _factors(self, steps: int) -> Tensor:
        return gp.joined_factors(self.groups, steps).float()


class TimePath(nn.Module):
    """Posterior q(d | x_1:T): a convolution over time, a layer, and three heads."""

    def __init__(self, features: int, width: int, window: int, size: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(features, width, window, padding=window // 2)
        self.hidden = nn.Linear(width, width)
        self.mean, self.diagonal, self.coupling = (nn.Linear(width, size) for _ in range(3))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map features (B, T, G) to mean, diagonal and super-diagonal of the precision factor, all (B, T, D)."""
        seen = torch.relu(self.convolution(features.transpose(1, 2))).transpose(1, 2)
        seen = torch.relu(self.hidden(seen))
        diagonal = 1.0 + nn.functional.softplus(self.diagonal(seen))
        coupling = nn.functional.softplus(self.coupling(seen))
        return self.mean(seen), diagonal, coupling
