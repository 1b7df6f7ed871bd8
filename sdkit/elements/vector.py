"""Vectors of features, such as poses, sensors or embeddings: linear layers, step by step, and a Gaussian likelihood.

The likelihood has a learned standard deviation, as that of series: features of one vector differ in how precisely the
codes determine them (a joint that rests, a noisy sensor), a squared error weighs them all alike, and users of robot or
motion data need the uncertainty of a decoded value, which is the output `x_std`. Its bounds, in standard deviations of
the feature over the training data, are chosen here: 2 at most, so that a decoder without information can state it (the
data have 1; series have 0.5), and 0.01 at least, since features that are computed rather than measured, or rest for
long, would otherwise reward ever smaller standard deviations.
"""

import torch
from torch import Tensor, nn

from sdkit.elements import gaussian
from sdkit.elements.linear import LinearEncoder, blocks
from sdkit.elements.network import ElementDecoder, Network
from sdkit.elements.standard import Standard

ENCODER_WIDTHS, DECODER_WIDTHS = (128, 128), (128, 128)
"""Widths of the layers, chosen here between those of series (10 features) and of spectra (201 bins)."""
CODE_SIZES = (16, 32, 64)
"""Widths of codes in a search, chosen here between those of series and of spectra."""
SMALLEST_STD, LARGEST_STD = 0.01, 2.0
"""Bounds of the standard deviation of the likelihood, in standardised units."""

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
