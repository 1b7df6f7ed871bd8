"""Views: what a change of appearance changes on each kind of element, and what it keeps."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sdkit.methods.base import Facts
from sdkit.methods.parts import views
from sdkit.methods.parts.views import GAIN, SCALE, SHIFT, reappeared, reordered
from sdkit.runtime.element import Element
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import sequences

BYTES = Element("image", (3, 16, 16), "uint8")
FLOATS = Element("image", (3, 16, 16), "float32")
BINS = 41


def facts(kind: str) -> Facts:
    element = ELEMENTS[kind]
    measured = {"feature_mean": (5.0, -1.0, 0.0), "feature_std": (2.0, 0.5, 1.0)} if element.features else {}
    return Facts(element, steps=5, count=8, **measured)


def data(element: Element, count: int = 6, steps: int = 5) -> Tensor:
    return torch.from_numpy(sequences(count, steps, element))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_reordered_steps_are_the_same_steps_in_an_order_of_each_sequence() -> None:
    features = torch.arange(24.0).reshape(4, 6, 1) + torch.tensor([0.0, 0.5])
    found = reordered(features)
    torch.testing.assert_close(found.sort(1).values, features)
    orders = found[:, :, 0] - found[:, :, 0].min(1, keepdim=True).values
    assert len({tuple(order.tolist()) for order in orders}) > 1
    assert torch.equal(found[..., 1] - found[..., 0], torch.full((4, 6), 0.5))  # a step stays whole


@pytest.mark.parametrize("kind", ELEMENTS)
def test_strength_nought_changes_nothing(kind: str) -> None:
    x = data(ELEMENTS[kind])
    found = reappeared(x, facts(kind), 0.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, x.float(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("kind", ELEMENTS)
def test_a_change_is_constant_in_time_and_another_in_each_sequence(kind: str) -> None:
    x = data(ELEMENTS[kind], 6, 1).expand(-1, 5, *ELEMENTS[kind].shape).contiguous()
    x[1:] = x[0]
    found = reappeared(x, facts(kind))
    torch.testing.assert_close(found, found[:, :1].expand_as(found))
    assert len({round(float(value), 3) for value in found.flatten(1).mean(1)}) > 3


@pytest.mark.parametrize("kind", [kind for kind, element in ELEMENTS.items() if element.traits.incomplete])
def test_what_was_not_observed_stays_so(kind: str) -> None:
    x = data(ELEMENTS[kind])
    x[:, 2, ..., 1] = math.nan
    assert torch.equal(reappeared(x, facts(kind)).isnan(), x.isnan())


@pytest.mark.parametrize("kind", ["series", "vector"])
def test_features_change_by_an_affine_map_within_its_bounds(kind: str) -> None:
    known = facts(kind)
    mean, std = (torch.tensor(getattr(known, name)) for name in ("feature_mean", "feature_std"))
    shape = (200, 2, *ELEMENTS[kind].shape)
    low, high = mean.expand(shape).clone(), mean.expand(shape).clone()
    low[:, 0], high[:, 0] = mean, mean
    high[:, 1] = mean + std
    found = (reappeared(high, known) - mean) / std
    shift, scale = found[:, 0], found[:, 1] - found[:, 0]
    assert 0.9 * SHIFT < float(shift.abs().max()) <= SHIFT + 1e-5
    assert 1 - SCALE - 1e-5 <= float(scale.min()) < 1 - 0.9 * SCALE
    assert 1 + 0.9 * SCALE < float(scale.max()) <= 1 + SCALE + 1e-5


@pytest.mark.parametrize(("unit", "factor"), [("dB", 1.0), ("log magnitude", 20 / math.log(10))])
def test_levels_are_raised_by_a_smooth_curve_of_gains(unit: str, factor: float) -> None:
    known = Facts(Element("spectrum", (BINS,), "float32", (unit,)))
    gain = factor * reappeared(torch.zeros(300, 2, BINS), known)
    assert 0.9 * GAIN < float(gain.abs().max()) <= GAIN + 1e-4
    assert float(gain.diff(dim=-1).abs().max()) <= 2 * GAIN * 7 / (BINS - 1) + 1e-4


def test_gains_of_magnitudes_are_those_of_levels() -> None:
    x = data(Element("spectrum", (BINS,), "float32")) + 0.1
    elements = [Element("spectrum", (BINS,), "float32", (unit,)) for unit in ("magnitude", "dB")]
    torch.manual_seed(3)
    magnitudes = reappeared(x, Facts(elements[0]))
    torch.manual_seed(3)
    levels = reappeared(20 * x.log10(), Facts(elements[1]))
    torch.testing.assert_close(20 * magnitudes.log10(), levels, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("element", [BYTES, FLOATS])
def test_images_stay_in_their_range(element: Element) -> None:
    found = reappeared(data(element, 40), Facts(element))
    assert float(found.min()) >= 0.0
    assert float(found.max()) <= element.high
    assert float((found - data(element, 40)).abs().mean()) > 0.05 * element.high


def test_pixels_of_either_dtype_change_alike() -> None:
    pixels = data(BYTES)
    torch.manual_seed(4)
    of_bytes = reappeared(pixels, Facts(BYTES))
    torch.manual_seed(4)
    of_floats = reappeared(pixels.float() / 255, Facts(FLOATS))
    torch.testing.assert_close(of_bytes / 255, of_floats, atol=1e-5, rtol=1e-4)


def test_a_turn_of_the_hue_keeps_greys_and_returns_after_a_circle() -> None:
    turned = views._turn(torch.tensor([0.0, 0.13, 1 / 3, 1.0]))
    grey = torch.full((3,), 0.4)
    torch.testing.assert_close(turned @ grey, grey.expand(4, -1))
    torch.testing.assert_close(turned[0], torch.eye(3))
    torch.testing.assert_close(turned[3], torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned[2] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.transpose(1, 2) @ turned, torch.eye(3).expand(4, -1, -1), atol=1e-5, rtol=0)


def test_some_sequences_lose_their_colours_and_contrast_keeps_their_brightness() -> None:
    matrix, _ = views._colours(torch.full((400, 1, 3, 2, 2), 0.5), 1.0)
    red = matrix @ torch.tensor([1.0, 0, 0])
    share = float(((red - red[:, :1]).abs().amax(1) < 1e-6).float().mean())
    assert 0.1 < share < 0.3
    x = torch.full((400, 1, 3, 2, 2), 0.5)
    matrix, offset = views._colours(x, 1.0)
    level = (matrix @ torch.full((3,), 0.5) + offset).mean(1)  # 0.5 times the brightness alone
    assert 0.1 - 1e-4 <= float(level.min()) < 0.15
    assert 0.85 < float(level.max()) <= 0.9 + 1e-4


def test_a_blur_is_a_gaussian_that_keeps_flat_pictures() -> None:
    flat = torch.full((30, 2, 3, 8, 8), 0.7)
    torch.testing.assert_close(views._blurred(flat, 1.0), flat)
    point = torch.zeros(30, 1, 1, 7, 7)
    point[..., 3, 3] = 1.0
    found = views._blurred(point, 1.0)[:, 0, 0]
    np.testing.assert_allclose(found.sum((1, 2)), 1.0, atol=1e-5)
    torch.testing.assert_close(found, found.transpose(1, 2))
    blurred = found[:, 3, 3] < 0.999
    assert 5 < int(blurred.sum()) < 25
    ratio = found[:, 3, 2] / found[:, 3, 3]
    torch.testing.assert_close(found[:, 2, 2] / found[:, 3, 3], ratio.square(), atol=1e-6, rtol=1e-4)
    assert float(ratio.max()) <= math.exp(-1 / 8) + 1e-5  # the widest blur: two pixels
    assert float(found[:, :2].abs().max()) == 0.0


@pytest.mark.parametrize("channels", [1, 2])
def test_pictures_without_three_colours_change_in_brightness_and_contrast(channels: int) -> None:
    element = Element("image", (channels, 8, 8), "uint8")
    x = data(element, 20, 2)
    found = reappeared(x, Facts(element))
    assert found.shape == x.shape
    assert float((found - x).abs().mean()) > 5
