import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from sdkit.elements import Network, code_sizes, default_widths
from sdkit.elements.vector import DECODER_WIDTHS, ENCODER_WIDTHS, LARGEST_STD, SMALLEST_STD, Decoder, Encoder
from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError
from tests.tiny import tiny_model

ELEMENT = Element("vector", (3,), "float32", ("m", "rad", "m/s"), ("height", "knee", "speed"))
MEAN, STD = (1.7, 0.4, 0.0), (0.1, 0.5, 3.0)


def network(**changes: Any) -> Network:
    given = {"encoder_widths": (8, 5), "decoder_widths": (7, 9), "feature_mean": MEAN, "feature_std": STD}
    return Network(ELEMENT, 4, **{**given, **changes})


def vectors(batch: int = 2, steps: int = 6, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(batch, steps, 3, generator=torch.Generator().manual_seed(seed))
    return torch.tensor(MEAN) + torch.tensor(STD) * noise


def test_widths_are_those_of_the_kind() -> None:
    assert default_widths("vector") == (ENCODER_WIDTHS, DECODER_WIDTHS)
    assert min(code_sizes("vector")) >= 1
    encoder, decoder = Encoder(network()), Decoder(network())
    sizes = [
        [(m.in_features, m.out_features) for m in part.modules() if isinstance(m, torch.nn.Linear)]
        for part in (encoder, decoder)
    ]
    assert sizes == [[(3, 8), (8, 5)], [(4, 7), (7, 9), (9, 3), (9, 3)]]
    assert encoder.features == 5


def test_a_step_is_encoded_alone() -> None:
    encoder, x = Encoder(network()), vectors()
    features = encoder(x)
    changed = x.clone()
    changed[:, 1:] = vectors(seed=1)[:, 1:]
    torch.testing.assert_close(encoder(changed)[:, 0], features[:, 0])
    assert not torch.allclose(encoder(changed)[:, 1], features[:, 1])


def test_a_missing_value_is_its_features_mean() -> None:
    encoder, x = Encoder(network()), vectors()
    missing, filled = x.clone(), x.clone()
    missing[0, 1, 2] = math.nan
    filled[0, 1, 2] = MEAN[2]
    torch.testing.assert_close(encoder(missing), encoder(filled))
    assert not torch.allclose(encoder(missing)[0, 1], encoder(x)[0, 1])


def test_the_likelihood_is_that_of_the_observed_values() -> None:
    decoder, x = Decoder(network()), vectors()
    x[0, 1, 2] = x[1, 5, 0] = math.nan
    parameters = decoder(torch.randn(2, 6, 4))
    mean, std = (part.detach().numpy() for part in decoder.in_units(parameters))
    density = norm.logpdf(x.numpy(), mean, std) + np.log(STD)  # of standardised values
    found = decoder.nll(parameters, x).detach().numpy()
    assert found.shape == (2, 6)
    np.testing.assert_allclose(found, -np.nansum(density, 2), rtol=1e-4)


@pytest.mark.parametrize(("bias", "bound"), [(-1e3, SMALLEST_STD), (1e3, LARGEST_STD)])
def test_std_stays_within_its_bounds_and_is_in_units(bias: float, bound: float) -> None:
    decoder = Decoder(network())
    assert decoder.outputs == ("x", "x_std")
    torch.nn.init.constant_(decoder.std.bias, bias)
    with torch.no_grad():
        _, std = decoder.in_units(decoder(torch.randn(2, 8, 4)))
    torch.testing.assert_close(std, torch.tensor(STD).expand(2, 8, 3) * bound)


def test_a_decoder_that_knows_nothing_can_say_so() -> None:
    """The best fit of a constant to standardised data, mean 0 and standard deviation 1, is within reach."""
    decoder, x = Decoder(network()), vectors(64, 8)
    with torch.no_grad():
        for head, bias in ((decoder.mean, 0.0), (decoder.std, math.log((1 - SMALLEST_STD) / (LARGEST_STD - 1)))):
            head.weight.zero_()
            head.bias.fill_(bias)
    found = decoder.nll(decoder(torch.randn(64, 8, 4)), x).mean().item() / 3
    assert found == pytest.approx(0.5 * (1 + math.log(2 * math.pi)), abs=0.05)


def test_data_that_are_known_exactly_have_a_likelihood_that_ends() -> None:
    decoder = Decoder(network())
    torch.nn.init.constant_(decoder.std.bias, -1e3)
    parameters = decoder(torch.randn(2, 6, 4))
    x = decoder.in_units(parameters)[0].detach()
    found = decoder.nll(parameters, x)
    least = 3 * (math.log(SMALLEST_STD) + 0.5 * math.log(2 * math.pi))
    torch.testing.assert_close(found, torch.full((2, 6), least), atol=1e-3, rtol=1e-4)
    torch.autograd.backward(found.sum())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_units_do_not_matter() -> None:
    factor, offset = np.asarray([100.0, 57.3, 3.6], np.float32), np.asarray([0.0, 1.0, -5.0], np.float32)
    widths: dict[str, Any] = {"encoder_widths": (8, 8), "decoder_widths": (8, 8)}
    first = tiny_model(element=ELEMENT, feature_mean=MEAN, feature_std=STD, **widths)
    mean, std = (tuple(map(float, values)) for values in (np.asarray(MEAN) * factor + offset, np.asarray(STD) * factor))
    second = tiny_model(element=ELEMENT, feature_mean=mean, feature_std=std, **widths)
    x = vectors().numpy()
    one, other = verbs(first), verbs(second)
    codes, same = one.encode(x), other.encode(x * factor + offset)
    np.testing.assert_allclose(same.dynamic, codes.dynamic, atol=2e-5)
    found, expected = other.decode_outputs(codes), one.decode_outputs(codes)
    np.testing.assert_allclose(found["x"], expected["x"] * factor + offset, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["x_std"], expected["x_std"] * factor, rtol=1e-4)


def test_facts_of_other_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="feature_mean has 2 values for 3 features"):
        Decoder(network(feature_mean=(0.0, 1.0)))
