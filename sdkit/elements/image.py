"""Images: the convolutional encoder and decoder of appendix A.4, with strides that reach the image size.

Read literally, the appendix's decoder grows 1 -> 4 -> 7 -> 10 -> 13 -> 16 pixels. Ours begins with the same first layer
and then doubles at each: 1 -> 4 -> 8 -> 16 -> 32 -> 64, with the appendix's channels. Its last layer has no batch norm,
since a normalised sigmoid could not hold a constant background.
"""

from itertools import pairwise

from torch import Tensor, nn

from sdkit.elements.network import ElementDecoder, ElementEncoder, Network
from sdkit.runtime.errors import ConfigError

ENCODER_WIDTHS, DECODER_WIDTHS = (32, 64, 128, 256, 128), (256, 128, 64, 32)
"""Widths of the layers: appendix A.4."""
CODE_SIZES = (64, 128, 256)
"""Widths of codes in a search (appendix A.3)."""
SLOPE = 0.2


def _smallest(network: Network, layers: int) -> tuple[int, int]:
    """Return height and width after `layers` halvings."""
    _, height, width = network.element.shape
    factor = 2**layers
    if height % factor or width % factor:
        raise ConfigError(
            f"images of {height}x{width} cannot be halved {layers} times; give fewer encoder_widths or decoder_widths, "
            f"or images whose sides are multiples of {factor}"
        )
    return height // factor, width // factor


class Encoder(ElementEncoder):
    """Stride-2 convolutions with batch norm and leaky ReLU, flattened: 64x64 gives G = 128 * 2 * 2 = 512."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        widths = (network.element.shape[0], *network.encoder_widths)
        height, width = _smallest(network, len(network.encoder_widths))
        self.features = widths[-1] * height * width
        self.scale = _scale(network)
        layers = [_block(nn.Conv2d(a, b, 4, 2, 1), b) for a, b in pairwise(widths)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C, H, W) pixels in data units to (B, T, G)."""
        pixels = x.flatten(0, 1).float() / self.scale
        return self.layers(pixels).flatten(1).unflatten(0, (x.shape[0], x.shape[1]))  # type: ignore[no-any-return]


class Decoder(ElementDecoder):
    """Transposed convolutions to the element's size; the mean of a Gaussian of variance 1/2 on pixels in [0, 1]."""

    outputs = ("x",)

    def __init__(self, network: Network) -> None:
        super().__init__()
        widths = (network.code_size, *network.decoder_widths)
        first = _smallest(network, len(network.decoder_widths))
        self.scale = _scale(network)
        self.layers = nn.Sequential(
            _block(nn.ConvTranspose2d(widths[0], widths[1], first, 1, 0), widths[1]),
            *[_block(nn.ConvTranspose2d(a, b, 4, 2, 1), b) for a, b in pairwise(widths[1:])],
            nn.ConvTranspose2d(widths[-1], network.element.shape[0], 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Map (B, T, S + D) to the mean, (B, T, C, H, W) in [0, 1]."""
        pixels = self.layers(codes.flatten(0, 1)[:, :, None, None])
        return (pixels.unflatten(0, (codes.shape[0], codes.shape[1])),)

    def in_units(self, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the mean in data units."""
        return (parameters[0].float() * self.scale,)

    def nll(self, parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Return (B, T): the squared error summed over channels and pixels."""
        return (parameters[0].float() - x.float() / self.scale).square().sum((2, 3, 4))


def _scale(network: Network) -> float:
    return network.pixel_scale if network.element.dtype == "uint8" else 1.0


def _block(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.LeakyReLU(SLOPE))
