"""Vectors of features, such as poses, sensors or embeddings: linear layers, step by step, and a Gaussian likelihood.

The likelihood has a learnt standard deviation, as that of series: features of one vector differ in how well they can be
known from the codes (a joint that rests, a noisy sensor), a squared error weighs them all alike, and who works with
robots or motion asks how sure a decoded value is; it leaves as `x_std`. Its bounds, in standard deviations of the
feature over the training data, are ours: 2 at most, so that a decoder which knows nothing can say so (the data have 1;
series have 0.5), and 0.01 at least, since features that are computed rather than measured, or rest for long, would
otherwise reward a standard deviation of 0 without end.
"""

import torch
from torch import Tensor, nn

from sdkit.elements import gaussian
from sdkit.elements.linear import LinearEncoder, blocks
from sdkit.elements.network import ElementDecoder, Network
from sdkit.elements.standard import Standard

ENCODER_WIDTHS, DECODER_WIDTHS = (128, 128), (128, 128)
"""Widths of the layers: ours; between those of series (10 features) and of spectra (201 bins)."""
CODE_SIZES = (16, 32, 64)
"""Widths of codes in a search: ours, likewise."""
SMALLEST_STD, LARGEST_STD = 0.01, 2.0
"""Of the likelihood, in standardised units."""

Encoder = LinearEncoder


class Decoder(ElementDecoder):
    """Linear layers with leaky ReLU; mean and std heads."""

    outputs = ("x", "x_std")

    def __init__(self, network: Network) -> None:
        super().__init__()
        features = network.element.shape[-1]
        widths = (network.code_size, *network.decoder_widths)
        self.standard = Standard(network)
        self.layers = nn.Sequential(*blocks(widths))
        self.mean = nn.Linear(widths[-1], features)
        self.std = nn.Linear(widths[-1], features)

    def forward(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Map (B, T, code_size) to mean and standard deviation, both (B, T, F), standardised."""
        hidden = self.layers(codes)
        share = torch.sigmoid(self.std(hidden))
        return self.mean(hidden), SMALLEST_STD + (LARGEST_STD - SMALLEST_STD) * share

    def in_units(self, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return mean and standard deviation in data units."""
        mean, std = parameters
        return gaussian.in_units(self.standard, mean, std)

    def nll(self, parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Return (B, T): the Gaussian negative log-likelihood of the observed standardised values, summed."""
        mean, std = parameters
        return gaussian.nats(self.standard, mean, std, x).sum(2)
