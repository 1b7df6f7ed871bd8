import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from sdkit.elements import Network, default_widths
from sdkit.elements.series import LARGEST_STD, Decoder, Encoder
from sdkit.elements.standard import observed
from sdkit.methods.base import Method
from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError
from tests.tiny import tiny_model

ELEMENT = Element("series", (4, 3), "float32", ("mmHg", "degC", "%"))
MEAN, STD = (120.0, 37.0, 50.0), (20.0, 0.5, 10.0)


WIDTHS: dict[str, Any] = {"encoder_widths": (32, 64, 32), "decoder_widths": (32, 64, 32)}


def network(**changes: Any) -> Network:
    return Network(ELEMENT, 9, **{**WIDTHS, "feature_mean": MEAN, "feature_std": STD, **changes})


def model(**changes: Any) -> Method:
    facts = {"feature_mean": MEAN, "feature_std": STD}
    return tiny_model(element=ELEMENT, **{**WIDTHS, **facts, **changes})


def windows(batch: int = 2, steps: int = 3, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(batch, steps, *ELEMENT.shape, generator=torch.Generator().manual_seed(seed))
    return torch.tensor(MEAN) + torch.tensor(STD) * noise


def test_layers_are_those_of_the_appendix() -> None:
    encoder, decoder = Encoder(Network(Element("series", (4, 10), "float32"), 9, **WIDTHS)), Decoder(network())
    linear = [layer for layer in encoder.modules() if isinstance(layer, torch.nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(10, 32), (32, 64), (64, 32)]
    assert encoder.features == 32
    sizes = [
        (layer.in_features, layer.out_features) for layer in decoder.modules() if isinstance(layer, torch.nn.Linear)
    ]
    assert sizes == [(9, 32), (32, 64), (64, 32), (32, 3), (32, 3)]
    assert (decoder.lstm.input_size, decoder.lstm.hidden_size, decoder.lstm.num_layers) == (32, 32, 1)
    assert default_widths("series") == ((32, 64, 32), (32, 64, 32))


def test_an_element_is_encoded_alone() -> None:
    encoder = Encoder(network())
    x = windows()
    features = encoder(x)
    assert features.shape == (2, 3, 32)
    for t in range(3):
        torch.testing.assert_close(encoder(x[:, t : t + 1])[:, 0], features[:, t])


def test_a_missing_value_is_its_features_mean() -> None:
    encoder = Encoder(network())
    x = windows()
    missing, filled = x.clone(), x.clone()
    missing[0, 1, 2, 1] = math.nan
    filled[0, 1, 2, 1] = MEAN[1]
    torch.testing.assert_close(encoder(missing), encoder(filled))
    assert not torch.allclose(encoder(missing)[0, 1], encoder(x)[0, 1])


def test_units_do_not_matter() -> None:
    torch.manual_seed(0)
    celsius = model()
    factors, offsets = np.asarray((1.0, 1.8, 0.01), np.float32), np.asarray((0.0, 32.0, 0.0), np.float32)
    mean = tuple(float(m * f + o) for m, f, o in zip(MEAN, factors, offsets, strict=True))
    fahrenheit = model(feature_mean=mean, feature_std=tuple(float(s) for s in STD * factors))
    fahrenheit.load_state_dict(celsius.state_dict())
    x = windows().numpy()
    y = (x * factors + offsets).astype(np.float32)
    found, expected = verbs(fahrenheit).encode(y), verbs(celsius).encode(x)
    np.testing.assert_allclose(found.static, expected.static, atol=2e-5)
    np.testing.assert_allclose(found.dynamic, expected.dynamic, atol=2e-5)
    back = (verbs(fahrenheit).reconstruct(y) - offsets) / factors
    np.testing.assert_allclose(back, verbs(celsius).reconstruct(x), rtol=1e-3, atol=2e-3)


def test_the_likelihood_is_that_of_the_observed_values() -> None:
    decoder = Decoder(network())
    x = windows()
    x[0, 1, 2, 1] = x[1, 2, 0, 0] = math.nan
    parameters = decoder(torch.randn(2, 3, 9))
    mean, std = decoder.in_units(parameters)
    density = norm.logpdf(x.numpy(), mean.detach().numpy(), std.detach().numpy()) + np.log(
        STD
    )  # of standardised values
    expected = -np.nansum(density, (2, 3))
    np.testing.assert_allclose(decoder.nll(parameters, x).detach().numpy(), expected, rtol=1e-3)


def test_unobserved_values_have_no_gradient() -> None:
    x = windows()
    x[:, :, :, 1] = math.nan
    assert observed(x).flatten(2).sum(2).tolist() == [[8] * 3] * 2
    encoder, decoder = Encoder(network()), Decoder(network())
    codes = torch.cat([encoder(x)[..., :5], torch.randn(2, 3, 4)], -1)
    torch.autograd.backward(decoder.nll(decoder(codes), x).sum())
    found = [p.grad for part in (encoder, decoder) for p in part.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in found)
    grad = decoder.mean.weight.grad
    assert grad is not None
    assert grad[1].abs().max() == 0
    assert grad[0].abs().max() > 0


def test_std_is_bounded_and_in_units() -> None:
    decoder = Decoder(network())
    _, std = decoder.in_units(decoder(100 * torch.randn(8, 3, 9)))
    assert (std > 0).all()
    assert (std <= LARGEST_STD * torch.tensor(STD)).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder_widths": (32,)}, "a series decoder needs 2 or more"),
        ({"feature_std": (1.0,)}, "feature_std has 1 values for 3 features"),
    ],
)
def test_widths_that_do_not_fit(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        model(**changes)
