"""Windows of a multivariate series: the encoder and decoder of appendix A.4, and a pooling over the window.

The appendix encodes time step by time step, while an element, which has one dynamic code, is a window of W steps. A GRU
pools the window's encoded steps to one feature vector; its state never leaves the window, so an element's features
depend on that element alone. The decoder's LSTM is unrolled over the W steps on zeros, so that decoding is repeatable.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from sdkit.elements import gaussian
from sdkit.elements.network import ElementDecoder, ElementEncoder, Network
from sdkit.elements.standard import Standard
from sdkit.runtime.errors import ConfigError

ENCODER_WIDTHS, DECODER_WIDTHS = (32, 64, 32), (32, 64, 32)
"""Widths of the layers: appendix A.4."""
CODE_SIZES = (8, 16, 32)
"""Widths of codes in a search (appendix A.3)."""
LARGEST_STD = 0.5
"""Largest standard deviation of the likelihood, in standardised units: a sigmoid is multiplied by it."""


class Encoder(ElementEncoder):
    """Linear layers with ReLU on each step, then a GRU over the window whose last state is g_t; G = last width."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        widths = (network.element.shape[-1], *network.encoder_widths)
        self.features = widths[-1]
        self.standard = Standard(network)
        self.layers = nn.Sequential(*[_block(a, b) for a, b in pairwise(widths)])
        self.pool = nn.GRU(self.features, self.features, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, W, F) in data units, NaN where not observed, to (B, T, G)."""
        steps = self.layers(self.standard(x.flatten(0, 1)))
        _, last = self.pool(steps)
        return last[0].reshape(x.shape[0], x.shape[1], -1)  # type: ignore[no-any-return]


class Decoder(ElementDecoder):
    """Codes to the initial state of an LSTM, unrolled over the window; two layers with ReLU; mean and std heads.

    `decoder_widths` are the LSTM's width and those of the layers after it.
    """

    outputs = ("x", "x_std")

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.steps, features = network.element.shape
        if len(network.decoder_widths) < 2:
            raise ConfigError(
                f"decoder_widths = {network.decoder_widths}; a series decoder needs 2 or more: the LSTM's, then layers'"
            )
        width = network.decoder_widths[0]
        self.standard = Standard(network)
        self.state = nn.Linear(network.code_size, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.layers = nn.Sequential(*[_block(a, b) for a, b in pairwise(network.decoder_widths)])
        self.mean = nn.Linear(network.decoder_widths[-1], features)
        self.std = nn.Linear(network.decoder_widths[-1], features)

    def forward(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Map (B, T, S + D) to mean and standard deviation, both (B, T, W, F), standardised."""
        state = torch.tanh(self.state(codes.flatten(0, 1)))
        zeros = torch.zeros_like(state).unsqueeze(1).repeat(1, self.steps, 1)
        hidden, _ = self.lstm(zeros, (state.unsqueeze(0), state.unsqueeze(0)))
        hidden = self.layers(hidden)
        size = (codes.shape[0], codes.shape[1], *hidden.shape[1:-1], -1)
        return self.mean(hidden).reshape(size), (LARGEST_STD * torch.sigmoid(self.std(hidden))).reshape(size)

    def in_units(self, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return mean and standard deviation in data units."""
        mean, std = parameters
        return gaussian.in_units(self.standard, mean, std)

    def nll(self, parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Return (B, T): the Gaussian negative log-likelihood of the observed standardised values, summed."""
        mean, std = parameters
        return gaussian.nats(self.standard, mean, std, x).sum((2, 3))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU())
