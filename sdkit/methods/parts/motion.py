"""Labels of motion that are computed from the data themselves, and heads that predict them from the dynamic codes.

Images have labels by cell of a grid: whether the cell moves, and where to. The direction is that of the gradient flow
(least squares over the cell's pixels of I_x u + I_y v + I_t = 0), so that no library of optical flow is needed. Spectra
have the volume of each frame; other elements the sign of each feature's change. A label of a change belongs to the
later of its two steps, so the first step has none.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdkit.runtime.element import Element

GRID = 3
"""Cells of an image along each side."""
DIRECTIONS = 8
"""Number of directions: 0 right, 1 right and down, 2 down, ... 7 right and up."""
STILL = -1
"""Label of a cell that has no direction."""
BLUR, STRIDE = 5, 2
"""Side in pixels of the means that images are replaced by before their flow, and the distance of one from the next: so
the gradient reaches as far as things move."""
RIDGE = 1e-3
"""Addition to the diagonal of the least squares, relative to its mean: edges of one direction determine no flow along
themselves."""
SMALLEST_ENERGY = 1e-10
"""Energy of a frame that is taken for silence."""
DECIBEL = "dB"
"""Unit of spectra on a logarithmic scale."""


def moving(x: Tensor, threshold: float) -> Tensor:
    """Return which cells move, bool (B, T - 1, GRID * GRID), row by row.

    Args:
        x: images (B, T, C, H, W) in [0, 1].
        threshold: mean absolute difference of a cell's pixels from which on it moves.
    """
    return _cells((x[:, 1:] - x[:, :-1]).abs()) > threshold


def directions(x: Tensor, moves: Tensor) -> Tensor:
    """Return the direction of each cell, int64 (B, T - 1, GRID * GRID); `STILL` where it does not move.

    A cell that changes without a gradient, as one that becomes brighter as a whole, has no direction either.

    Args:
        x: images (B, T, C, H, W) in [0, 1].
        moves: which cells move, as `moving` returns it.
    """
    flow_x, flow_y = _flow(x)
    turn = torch.atan2(flow_y, flow_x) / (2 * math.pi / DIRECTIONS)
    found = turn.round().long() % DIRECTIONS
    known = moves & (flow_x.square() + flow_y.square() > 0)
    return torch.where(known, found, STILL)


def volumes(x: Tensor, *, decibels: bool) -> Tensor:
    """Return the logarithm of each frame's energy, (B, T), standardised over the batch; NaN where no bin was observed.

    Args:
        x: spectra (B, T, F) in data units; NaN where a value was not observed.
        decibels: whether the units are decibels, else the energy of a bin is its square.
    """
    unseen = torch.isnan(x)
    energy = 10 ** (x / 10) if decibels else x.square()
    energy = energy.masked_fill(unseen, 0.0).sum(-1)
    volume = energy.clamp_min(SMALLEST_ENERGY).log()
    seen = ~unseen.all(-1)
    count = seen.sum().clamp_min(1)
    mean = volume[seen].sum() / count
    std = ((volume[seen] - mean).square().sum() / count).sqrt()
    return ((volume - mean) / std.clamp_min(1e-6)).masked_fill(~seen, torch.nan)


def changes(x: Tensor) -> Tensor:
    """Return the sign of each feature's change, (B, T - 1, F) of -1, 0 and 1.

    It is 0 where a feature keeps its value, and where the step or the one before it was not observed.

    Args:
        x: values (B, T, F), or windows (B, T, W, F), which stand for the mean of their observed steps.
    """
    values = x.nanmean(2) if x.ndim == 4 else x
    return torch.nan_to_num(values[:, 1:] - values[:, :-1]).sign()


def _cells(values: Tensor) -> Tensor:
    """Return the means (B, T, GRID * GRID) of values (B, T, C, H, W) over channels and the pixels of a cell."""
    return functional.adaptive_avg_pool2d(values.mean(2), GRID).flatten(2)


def _flow(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the flow of each cell, rightwards and downwards, both (B, T - 1, GRID * GRID)."""
    smooth = functional.avg_pool2d(x.flatten(0, 1), BLUR, STRIDE, BLUR // 2, count_include_pad=False)
    smooth = smooth.reshape(*x.shape[:3], *smooth.shape[2:])
    middle, change = (smooth[:, 1:] + smooth[:, :-1]) / 2, smooth[:, 1:] - smooth[:, :-1]
    padded = functional.pad(middle.flatten(0, 1), (1, 1, 1, 1), mode="replicate")
    padded = padded.reshape(*middle.shape[:2], *padded.shape[1:])
    right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    xx, xy, yy = _cells(right * right), _cells(right * down), _cells(down * down)
    xt, yt = _cells(right * change), _cells(down * change)
    ridge = RIDGE * (xx + yy) / 2
    xx, yy = xx + ridge, yy + ridge
    determinant = (xx * yy - xy * xy).clamp_min(torch.finfo(x.dtype).tiny)
    return (xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant


class Label(nn.Module, ABC):
    """A label of motion, and a head that predicts it from the dynamic code of its step.

    Args:
        size: width D of a dynamic code.
        width: width of the head's hidden layer.
        outputs: number of values that the head returns.
    """

    def __init__(self, size: int, width: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, outputs))

    @abstractmethod
    def forward(self, d: Tensor, x: Tensor) -> Tensor:
        """Return the error (B,) of the prediction, summed over a sequence.

        Args:
            d: dynamic codes (B, T, D).
            x: data (B, T, *element) in data units.
        """


class Area(Label):
    """Whether each cell of an image moves: cross-entropy."""

    def __init__(self, size: int, width: int, high: float, threshold: float) -> None:
        super().__init__(size, width, GRID * GRID)
        self.high, self.threshold = high, threshold

    def forward(self, d: Tensor, x: Tensor) -> Tensor:
        """Return the error (B,)."""
        moves = moving(x.float() / self.high, self.threshold)
        logits = self.head(d[:, 1:]).float()
        return functional.binary_cross_entropy_with_logits(logits, moves.float(), reduction="none").sum((1, 2))


class Direction(Label):
    """Direction in which each moving cell of an image moves: cross-entropy over eight directions."""

    def __init__(self, size: int, width: int, high: float, threshold: float) -> None:
        super().__init__(size, width, GRID * GRID * DIRECTIONS)
        self.high, self.threshold = high, threshold

    def forward(self, d: Tensor, x: Tensor) -> Tensor:
        """Return the error (B,)."""
        pixels = x.float() / self.high
        target = directions(pixels, moving(pixels, self.threshold))
        logits = self.head(d[:, 1:]).float().reshape(*target.shape, DIRECTIONS)
        error = functional.cross_entropy(logits.flatten(0, 2), target.flatten(), ignore_index=STILL, reduction="none")
        return error.reshape(target.shape).sum((1, 2))


class Volume(Label):
    """Volume of each frame of a spectrum: squared error."""

    def __init__(self, size: int, width: int, *, decibels: bool) -> None:
        super().__init__(size, width, 1)
        self.decibels = decibels

    def forward(self, d: Tensor, x: Tensor) -> Tensor:
        """Return the error (B,)."""
        target = volumes(x.float(), decibels=self.decibels)
        seen = ~torch.isnan(target)
        error = (self.head(d).float().squeeze(-1) - torch.nan_to_num(target)).square()
        return torch.where(seen, error, 0.0).sum(1)


class Change(Label):
    """Whether each feature rises or falls: cross-entropy where it does either."""

    def __init__(self, size: int, width: int, features: int) -> None:
        super().__init__(size, width, features)

    def forward(self, d: Tensor, x: Tensor) -> Tensor:
        """Return the error (B,)."""
        sign = changes(x.float())
        logits = self.head(d[:, 1:]).float()
        error = functional.binary_cross_entropy_with_logits(logits, (sign > 0).float(), reduction="none")
        return (error * sign.abs()).sum((1, 2))


def labels_of(element: Element, size: int, width: int, threshold: float) -> nn.ModuleDict:
    """Return the labels of motion that an element has, by name.

    Args:
        element: the data's element.
        size: width D of a dynamic code.
        width: width of the heads' hidden layer.
        threshold: mean absolute difference, of pixels in [0, 1], from which on a cell of an image moves.
    """
    if element.traits.pictorial:
        high = element.high
        return nn.ModuleDict(
            {"area": Area(size, width, high, threshold), "direction": Direction(size, width, high, threshold)}
        )
    if element.traits.spectral:
        return nn.ModuleDict({"volume": Volume(size, width, decibels=DECIBEL in element.units)})
    return nn.ModuleDict({"change": Change(size, width, element.features)})
