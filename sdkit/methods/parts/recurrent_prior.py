"""The recurrent prior p(d_t | d_<t) that the DSVAE family shares."""

import torch
from torch import Tensor, nn

from sdkit.methods.parts.gaussian import Gaussian, GaussianHead


class RecurrentPrior(nn.Module):
    """Prior p(d_t | d_<t): stacked LSTM layers and two linear heads; the first input is 0.

    Args:
        size: width D of a dynamic code.
        width: width of the LSTM layers.
        layers: number of LSTM layers.
    """

    def __init__(self, size: int, width: int, layers: int = 2) -> None:
        super().__init__()
        self.layers, self.width = layers, width
        self.lstm = nn.LSTM(size, self.width, self.layers, batch_first=True)
        self.head = GaussianHead(self.width, size)

    def forward(self, dynamic: Tensor) -> Gaussian:
        """Return p(d_t | d_<t) of every step, given the codes of the steps, both (B, T, D)."""
        before = torch.cat([torch.zeros_like(dynamic[:, :1]), dynamic[:, :-1]], 1)
        hidden, _ = self.lstm(before)
        return Gaussian(*self.head(hidden))
