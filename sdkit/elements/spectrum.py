"""Spectrum frames: linear layers frame by frame, as a static code from a single element requires.

The published code encodes audio with a recurrent network over the whole piece, so its first features have seen
every frame; ours see one.
"""

import torch
from torch import Tensor, nn

from sdkit.elements.linear import LinearEncoder, blocks
from sdkit.elements.network import ElementDecoder, Network
from sdkit.elements.standard import Standard, observed

ENCODER_WIDTHS, DECODER_WIDTHS = (256, 256), (256, 256)
"""Widths of the layers, chosen here; the paper gives none for spectra."""
CODE_SIZES = (64, 128, 256)
"""Widths of codes in a search (appendix A.3)."""


Encoder = LinearEncoder


class Decoder(ElementDecoder):
    """Linear layers with leaky ReLU to the mean of a Gaussian of variance 1/2 on standardised bins."""

    outputs = ("x",)

    def __init__(self, network: Network) -> None:
        super().__init__()
        bins = network.element.shape[-1]
        widths = (network.code_size, *network.decoder_widths)
        self.standard = Standard(network)
        self.layers = nn.Sequential(*blocks(widths), nn.Linear(widths[-1], bins))

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
