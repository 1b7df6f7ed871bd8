"""Linear layers with leaky ReLU, step by step: the encoder of elements with one axis of features."""

from itertools import pairwise

from torch import Tensor, nn

from sdkit.elements.network import ElementEncoder, Network
from sdkit.elements.standard import Standard

SLOPE = 0.2


class LinearEncoder(ElementEncoder):
    """Linear layers with leaky ReLU on one element (F,); G = last width."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        widths = (network.element.shape[-1], *network.encoder_widths)
        self.features = widths[-1]
        self.standard = Standard(network)
        self.layers = nn.Sequential(*blocks(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, F) in data units, NaN where not observed, to (B, T, G)."""
        return self.layers(self.standard(x))  # type: ignore[no-any-return]


def blocks(widths: tuple[int, ...]) -> list[nn.Module]:
    """Return a linear layer with leaky ReLU from each width to the next."""
    return [nn.Sequential(nn.Linear(a, b), nn.LeakyReLU(SLOPE)) for a, b in pairwise(widths)]
