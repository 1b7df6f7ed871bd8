"""Views of sequences: the same content in another order, and the same motion in another appearance.

What a change of appearance is depends on the kind of element. It is drawn once a sequence and constant in time, so that
what moves, moves as before. All draws are those of torch's global generator.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sdkit.methods.base import Facts

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""
JITTER, HUE = 0.8, 0.2
"""Largest change of brightness, contrast and saturation, as a share; of the hue, as a share of a circle."""
JITTERED, GREYED, BLURRED = 0.8, 0.2, 0.5
"""Shares of sequences whose colours are jittered, that lose their colours, and that are blurred."""
SIGMA = (0.1, 2.0)
"""Range of the standard deviation of a blur, in pixels."""
SCALE, SHIFT = 0.2, 0.2
"""Largest change of a feature's deviation, as a share, and of its mean, in deviations."""
GAIN, KNOTS = 6.0, 8
"""Largest gain of a bin in dB, and the number of values between which a curve of gains is linear."""


def reordered(features: Tensor) -> Tensor:
    """Return features of elements (B, T, G) in a random order of their steps, another one in each sequence."""
    order = torch.rand(features.shape[:2], device=features.device).argsort(1)
    return features.gather(1, order.unsqueeze(-1).expand_as(features))


def reappeared(x: Tensor, facts: Facts, strength: float = 1.0) -> Tensor:
    """Return sequences (B, T, *element) whose appearance is changed, float32 in data units.

    Images change brightness, contrast, saturation and hue, lose their colours or are blurred; bins of a spectrum get a
    gain; other features another mean and deviation. A value that was not observed stays NaN.

    Args:
        x: sequences in data units.
        facts: facts about the training data: the element, and its features' means and deviations.
        strength: factor of all changes, or their probability where they have no size; 0 changes nothing.
    """
    traits = facts.element.traits
    change: Callable[[Tensor, Facts, float], Tensor] = _affine
    if traits.pictorial:
        change = _photographed
    elif traits.spectral:
        change = _amplified
    return change(x.float(), facts, strength)


def _photographed(x: Tensor, facts: Facts, strength: float) -> Tensor:
    """Return images (B, T, C, H, W) under another camera: all changes of colour are one affine map of the channels."""
    matrix, offset = _colours(x, strength)
    pixels = torch.einsum("bij,btjhw->btihw", matrix, x) + offset[:, None, :, None, None]
    return _blurred(pixels.clamp(0.0, facts.element.high), strength)


def _colours(x: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Return the matrix (B, C, C) and the offset (B, C) of a change of colours."""
    count, channels = len(x), x.shape[2]
    weights = x.new_tensor(LUMA if channels == len(LUMA) else (1 / channels,) * channels)
    changed = (_chance(x, JITTERED) * strength).unsqueeze(1)
    brightness, contrast, saturation = ((1 + changed * JITTER * _even(x, count, 1)).clamp_min(0) for _ in range(3))
    eye = torch.eye(channels, dtype=x.dtype, device=x.device).expand(count, -1, -1)
    matrix = eye
    if channels == len(LUMA):
        grey = weights.expand(channels, -1)  # the map of a pixel to its brightness, in every channel
        kept = saturation * (1 - _chance(x, GREYED * min(strength, 1.0)).unsqueeze(1))
        turned = _turn(changed.squeeze(1) * HUE * _even(x, count))
        matrix = grey + kept.unsqueeze(-1) * (turned @ (eye - grey))
    mean = (x.mean((1, 3, 4)) * weights).sum(-1, keepdim=True)  # of a sequence, which contrast leaves as it is
    matrix = (brightness * contrast).unsqueeze(-1) * matrix
    return matrix, (brightness * (1 - contrast) * mean).expand(-1, channels)


def _turn(turns: Tensor) -> Tensor:
    """Return the rotations (B, 3, 3) of colours about the axis of greys by shares (B,) of a circle."""
    angle = (2 * math.pi * turns)[:, None, None]
    axis = torch.full((3, 3), 1 / 3, dtype=turns.dtype, device=turns.device)
    cross = turns.new_tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    eye = torch.eye(3, dtype=turns.dtype, device=turns.device)
    return angle.cos() * eye + angle.sin() * cross + (1 - angle.cos()) * axis


def _blurred(x: Tensor, strength: float) -> Tensor:
    """Return images (B, T, C, H, W) of which some sequences are blurred by a Gaussian of three by three pixels."""
    chosen = _chance(x, BLURRED * min(strength, 1.0)).nonzero().squeeze(1)
    low, high = SIGMA
    sigma = low + (high - low) * torch.rand(len(chosen), device=x.device)
    beside = torch.exp(-0.5 / sigma.square())
    beside = (beside / (1 + 2 * beside))[:, None, None, None, None]
    some = x[chosen]
    for axis in (-2, -1):
        padded = torch.cat([some.narrow(axis, 0, 1), some, some.narrow(axis, some.shape[axis] - 1, 1)], axis)
        before, after = padded.narrow(axis, 0, some.shape[axis]), padded.narrow(axis, 2, some.shape[axis])
        some = torch.lerp(some, 0.5 * (before + after), 2 * beside)
    return x.index_copy(0, chosen, some)


def _amplified(x: Tensor, facts: Facts, strength: float) -> Tensor:
    """Return spectra (B, T, F) behind another channel: a smooth curve of gains over the bins."""
    knots = strength * GAIN * _even(x, len(x), 1, KNOTS)
    gain = torch.nn.functional.interpolate(knots, x.shape[-1], mode="linear", align_corners=True)
    unit = next(iter(facts.element.units), "").lower()
    if unit.startswith("db"):
        return x + gain
    if unit.startswith("log"):  # natural, of a magnitude
        return x + gain * (math.log(10) / 20)
    return x * 10 ** (gain / 20)


def _affine(x: Tensor, facts: Facts, strength: float) -> Tensor:
    """Return features (B, T, ..., F) with another deviation and mean each."""
    features = x.shape[-1]
    mean = x.new_tensor(facts.feature_mean or (0.0,) * features)
    std = x.new_tensor(facts.feature_std or (1.0,) * features)
    shape = (len(x), *(1 for _ in x.shape[1:-1]), features)
    scale = 1 + strength * SCALE * _even(x, *shape)
    shift = strength * SHIFT * _even(x, *shape)
    return mean + scale * (x - mean) + shift * std


def _even(x: Tensor, *shape: int) -> Tensor:
    """Return draws from -1 to 1."""
    return 2 * torch.rand(shape, device=x.device) - 1


def _chance(x: Tensor, share: float) -> Tensor:
    """Return 1 for a share of the sequences, drawn at random, and 0 for the others, (B,)."""
    return (torch.rand(len(x), device=x.device) < share).float()
