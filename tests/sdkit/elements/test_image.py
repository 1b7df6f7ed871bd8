from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sdkit.elements import Network
from sdkit.elements.image import DECODER_WIDTHS, ENCODER_WIDTHS, Decoder, Encoder
from sdkit.runtime.element import DTypeName, Element
from sdkit.runtime.errors import ConfigError
from tests.tiny import IMAGE, sequences


def image(channels: int, height: int, width: int, dtype: DTypeName = "uint8") -> Element:
    return Element("image", (channels, height, width), dtype)


def network(element: Element = IMAGE, **changes: Any) -> Network:
    """Return what tiny networks are built from."""
    return Network(element, code_size=9, **{"encoder_widths": (4, 6, 8), "decoder_widths": (8, 6, 4), **changes})


def convolutions(module: nn.Module) -> list[tuple[int, int, tuple[int, ...], tuple[int, ...]]]:
    """Return in and out channels, kernel and stride of each convolution, in order."""
    return [
        (m.in_channels, m.out_channels, m.kernel_size, m.stride)
        for m in module.modules()
        if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)
    ]


def test_the_appendix_on_64x64() -> None:
    config = Network(image(3, 64, 64), 512).with_defaults(ENCODER_WIDTHS, DECODER_WIDTHS)
    encoder, decoder = Encoder(config), Decoder(config)
    assert encoder.features == 512
    channels = (3, 32, 64, 128, 256, 128)
    assert convolutions(encoder) == [(a, b, (4, 4), (2, 2)) for a, b in pairwise(channels)]
    assert convolutions(decoder) == [
        (512, 256, (4, 4), (1, 1)),
        (256, 128, (4, 4), (2, 2)),
        (128, 64, (4, 4), (2, 2)),
        (64, 32, (4, 4), (2, 2)),
        (32, 3, (4, 4), (2, 2)),
    ]
    assert isinstance(decoder.layers[-1], nn.Sigmoid)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in decoder.modules()) == 4


@pytest.mark.parametrize(
    ("element", "features"),
    [(image(3, 16, 16), 32), (image(1, 16, 32), 64), (image(3, 32, 8), 32), (image(1, 8, 8, "float32"), 8)],
)
def test_sizes(element: Element, features: int) -> None:
    config = network(element)
    encoder, decoder = Encoder(config).eval(), Decoder(config).eval()
    assert encoder.features == features
    x = torch.from_numpy(sequences(2, 3, element))
    assert encoder(x).shape == (2, 3, features)
    parameters = decoder(torch.randn(2, 3, 9))
    (decoded,) = decoder.in_units(parameters)
    assert decoded.shape == x.shape
    assert decoded.dtype == torch.float32
    assert decoder.nll(parameters, x).shape == (2, 3)


def test_elements_are_read_and_drawn_one_by_one() -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(network()).eval(), Decoder(network()).eval()
    x = torch.from_numpy(sequences(2, 4))
    codes = torch.randn(2, 4, 9)
    with torch.no_grad():
        for b, t in ((0, 0), (0, 3), (1, 2)):
            alone = encoder(x[b : b + 1, t : t + 1])
            torch.testing.assert_close(encoder(x)[b, t], alone[0, 0], rtol=1e-5, atol=1e-6)
            drawn = decoder(codes[b : b + 1, t : t + 1])[0]
            torch.testing.assert_close(decoder(codes)[0][b, t], drawn[0, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [255.0, 256.0])
def test_pixel_scale_goes_in_and_out(scale: float) -> None:
    torch.manual_seed(0)
    config = network(pixel_scale=scale)
    encoder, decoder = Encoder(config).eval(), Decoder(config).eval()
    as_float = Encoder(network(image(3, 16, 16, "float32"))).eval()
    as_float.load_state_dict(encoder.state_dict())
    x = torch.from_numpy(sequences(2, 3))
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), as_float(x.float() / scale))
        (mean,) = decoder(torch.randn(2, 3, 9))
        torch.testing.assert_close(decoder.in_units((mean,))[0], mean * scale)
    assert mean.min() > 0
    assert mean.max() < 1


def test_float_images_are_not_scaled() -> None:
    config = network(image(1, 16, 16, "float32"), pixel_scale=256.0)
    mean = torch.full((1, 2, 1, 16, 16), 0.25)
    decoder = Decoder(config)
    assert (decoder.in_units((mean,))[0] == 0.25).all()
    assert decoder.nll((mean,), mean + 0.5).tolist() == [[64.0, 64.0]]


def test_nll_is_the_squared_error_summed_over_channels_and_pixels() -> None:
    decoder = Decoder(network(pixel_scale=255.0))
    x = sequences(2, 3)
    mean = np.random.default_rng(4).random(x.shape, np.float32)
    expected = [[((mean[b, t] - x[b, t] / 255.0) ** 2).sum() for t in range(3)] for b in range(2)]
    found = decoder.nll((torch.from_numpy(mean),), torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    one = torch.zeros(1, 1, 3, 16, 16)
    one[0, 0, 2, 5, 7] = 0.5
    assert decoder.nll((one,), torch.zeros(1, 1, 3, 16, 16, dtype=torch.uint8)).item() == pytest.approx(0.25)


@pytest.mark.parametrize(("height", "width"), [(20, 16), (16, 12), (4, 4)])
def test_sizes_that_cannot_be_halved_are_refused(height: int, width: int) -> None:
    config = network(image(3, height, width))
    with pytest.raises(ConfigError, match=rf"{height}x{width} cannot be halved 3 times.*multiples of 8"):
        Encoder(config)
    with pytest.raises(ConfigError, match=f"{height}x{width}"):
        Decoder(config)


def test_encoder_and_decoder_may_differ_in_depth() -> None:
    config = network(encoder_widths=(4, 5), decoder_widths=(7, 6, 5, 4))
    assert Encoder(config).features == 5 * 4 * 4
    (drawn,) = Decoder(config)(torch.zeros(2, 1, 9))
    assert drawn.shape == (2, 1, *IMAGE.shape)
