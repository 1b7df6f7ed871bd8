import math

import pytest
import torch

from sdkit.elements import Network
from sdkit.elements.spectrum import Decoder, Encoder
from sdkit.runtime.element import Element

NETWORK = Network(
    Element("spectrum", (6,), "float32", ("magnitude",)),
    code_size=5,
    feature_mean=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
    feature_std=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0),
    encoder_widths=(8, 5),
    decoder_widths=(7, 9),
)


def test_a_frame_is_encoded_alone() -> None:
    encoder = Encoder(NETWORK)
    x = torch.rand(2, 4, 6)
    features = encoder(x)
    assert features.shape == (2, 4, 5)
    assert encoder.features == 5
    changed = x.clone()
    changed[:, 1:] = torch.rand(2, 3, 6)
    torch.testing.assert_close(encoder(changed)[:, 0], features[:, 0])
    assert not torch.allclose(encoder(changed)[:, 1], features[:, 1])


def test_decoded_bins_are_in_units() -> None:
    decoder = Decoder(NETWORK)
    parameters = decoder(torch.randn(2, 4, 5))
    (x,) = decoder.in_units(parameters)
    assert decoder.outputs == ("x",)
    torch.testing.assert_close(x[..., 5], parameters[0][..., 5] * 6 + 5)


def test_the_likelihood_is_the_squared_error_of_standardised_bins() -> None:
    decoder = Decoder(NETWORK)
    x = torch.tensor([[[1.0, 3.0, 2.0, 3.0, 4.0, math.nan]]])  # standardised 1, 1, 0, 0, 0 and one not observed
    mean = torch.tensor([[[0.0, 1.0, 2.0, 0.0, 0.0, 9.0]]])
    assert decoder.nll((mean,), x).item() == pytest.approx(1 + 0 + 4)
