"""Spectrum frames: linear layers frame by frame, as the paper's claim of a single-element static code asks.

The published code encodes audio with a recurrent network over the whole piece, so that its first features have seen
every frame; ours see one.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from sdkit.models.config import ModelConfig
from sdkit.models.elements.standard import Standard, observed

SLOPE = 0.2


class Encoder(nn.Module):
    """Linear layers with leaky ReLU on one frame; G = last width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        widths = (config.element.shape[-1], *config.encoder_widths)
        self.features = widths[-1]
        self.standard = Standard(config)
        self.layers = nn.Sequential(*[_block(a, b) for a, b in pairwise(widths)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, F) in data units to (B, T, G)."""
        return self.layers(self.standard(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Linear layers with leaky ReLU to the mean of a Gaussian of variance 1/2 on standardised bins."""

    outputs = ("x",)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        bins = config.element.shape[-1]
        widths = (config.static_size + config.dynamic_size, *config.decoder_widths)
        self.standard = Standard(config)
        self.layers = nn.Sequential(*[_block(a, b) for a, b in pairwise(widths)], nn.Linear(widths[-1], bins))

    def forward(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Map (B, T, S + D) to the mean, (B, T, F), standardised."""
        return (self.layers(codes),)

    def in_units(self, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the mean in data units."""
        return (self.standard.in_units(parameters[0]),)

    def nll(self, parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Return (B, T): the squared error of the observed standardised bins, summed."""
        error = (self.standard(x) - parameters[0].float()).square()
        return torch.where(observed(x), error, torch.zeros_like(error)).sum(2)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LeakyReLU(SLOPE))
