"""The posterior of a dynamic code that sees its own element alone, which DSVAE (factorised) and VAE share."""

import torch
from torch import Tensor, nn

from sdkit.methods.parts.gaussian import GaussianHead


class ElementPath(nn.Module):
    """Posterior q(d_t | x_t): one hidden layer over the features of the element."""

    def __init__(self, features: int, width: int, size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, width)
        self.head = GaussianHead(width, size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, T, G) to mean and log-variance (B, T, D)."""
        return self.head(torch.tanh(self.hidden(features)))  # type: ignore[no-any-return]
