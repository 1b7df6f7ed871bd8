"""Labels of motion: known answers for squares that move, tones that grow and features that rise."""

import math

import pytest
import torch
from torch import Tensor

from sdkit.methods.parts.motion import (
    STILL,
    Area,
    Change,
    Direction,
    Label,
    Volume,
    changes,
    directions,
    moving,
    volumes,
)

SIDE, CELL = 48, 16
NAN = math.nan


def square(*corners: tuple[int, int], grey: float = 0.9) -> Tensor:
    """Return frames (1, T, 1, SIDE, SIDE) of a bright square of 6 pixels whose upper left corner, (y, x), moves."""
    x = torch.full((1, len(corners), 1, SIDE, SIDE), 0.1)
    for t, (top, left) in enumerate(corners):
        x[0, t, 0, top : top + 6, left : left + 6] = grey
    return x


def test_the_cell_of_a_moving_square_moves_and_no_other() -> None:
    found = moving(square((5, 21), (5, 22), (5, 22)), 0.005)
    assert found.shape == (1, 2, 9)
    assert found[0].nonzero().tolist() == [[0, 1]]


def test_a_cell_moves_above_the_threshold_only() -> None:
    x = square((5, 21), (5, 22))  # two edges of 6 pixels change by 0.8 in a cell of 256
    change = 2 * 6 * 0.8 / CELL**2
    assert moving(x, 0.99 * change).sum() == 1
    assert moving(x, 1.01 * change).sum() == 0


@pytest.mark.parametrize("grey", [0.9, 0.0])
@pytest.mark.parametrize("pixels", [1, 2])
@pytest.mark.parametrize(
    ("down", "right", "direction"),
    [(0, 1, 0), (1, 1, 1), (1, 0, 2), (1, -1, 3), (0, -1, 4), (-1, -1, 5), (-1, 0, 6), (-1, 1, 7)],
)
def test_direction_is_that_of_the_square(down: int, right: int, direction: int, pixels: int, grey: float) -> None:
    x = square((20, 37), (20 + pixels * down, 37 + pixels * right), grey=grey)
    found = directions(x, moving(x, 0.001))
    assert found[0, 0].tolist() == [STILL] * 5 + [direction] + [STILL] * 3


def test_cells_have_directions_of_their_own() -> None:
    x = torch.maximum(square((5, 5), (5, 6)), square((37, 37), (36, 37)))
    assert directions(x, moving(x, 0.005))[0, 0].tolist() == [0, *[STILL] * 7, 6]


def test_a_picture_that_becomes_brighter_as_a_whole_moves_nowhere() -> None:
    x = torch.full((1, 2, 3, SIDE, SIDE), 0.25)
    x[:, 1] = 0.5
    moves = moving(x, 0.005)
    assert moves.all()
    assert (directions(x, moves) == STILL).all()


def test_a_square_whose_channels_cancel_in_grey_moves() -> None:
    red, green = square((5, 21), (5, 22)), square((5, 21), (5, 22), grey=-0.7)
    x = torch.cat([red, green], 2)
    assert directions(x, moving(x, 0.005))[0, 0, 1] == 0


def test_volume_is_the_logarithm_of_the_energy() -> None:
    loud = torch.tensor([[[3.0, 4.0], [30.0, 40.0]], [[5.0, 0.0], [50.0, NAN]]])  # energies 25 and 2500
    torch.testing.assert_close(volumes(loud, decibels=False), torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))


def test_volume_of_decibels_is_that_of_their_energies() -> None:
    magnitudes = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(0)) + 0.1
    torch.testing.assert_close(
        volumes(20 * magnitudes.log10(), decibels=True), volumes(magnitudes, decibels=False), rtol=1e-4, atol=1e-5
    )


def test_volume_is_unknown_where_nothing_was_observed_and_finite_in_silence() -> None:
    found = volumes(torch.tensor([[[1.0, 1.0], [NAN, NAN], [0.0, 0.0]]]), decibels=False)
    assert torch.isnan(found[0]).tolist() == [False, True, False]
    assert found[0, 0] == pytest.approx(1.0)
    assert found[0, 2] == pytest.approx(-1.0)
    assert volumes(torch.full((2, 3, 4), 0.5), decibels=False).tolist() == [[0.0] * 3] * 2


def test_changes_are_signs_and_gaps_have_none() -> None:
    x = torch.tensor([[[1.0, 2.0, 0.0], [3.0, 2.0, NAN], [-1.0, 2.5, 1.0]]])
    assert changes(x).tolist() == [[[1, 0, 0], [-1, 1, 0]]]


def test_changes_of_windows_are_those_of_the_observed_means() -> None:
    x = torch.tensor([[[[1.0, NAN], [3.0, NAN]], [[NAN, 1.0], [1.5, 1.0]], [[9.0, 2.0], [NAN, NAN]]]])
    assert changes(x).tolist() == [[[-1, 0], [1, 1]]]


def certain(label: Label, outputs: Tensor) -> Label:
    """Return a label whose head returns these values whatever the code."""
    with torch.no_grad():
        for value in label.head.parameters():
            value.zero_()
        last = list(label.head.parameters())[-1]
        last.copy_(outputs)
    return label


def test_an_ignorant_head_pays_the_logarithm_of_the_choices() -> None:
    x, d = 255 * square((5, 21), (5, 22), (5, 23)), torch.zeros(1, 3, 4)
    area = certain(Area(4, 8, 255.0, 0.005), torch.zeros(9))
    assert area(d, x).item() == pytest.approx(2 * 9 * math.log(2))
    direction = certain(Direction(4, 8, 255.0, 0.005), torch.zeros(72))
    assert direction(d, x).item() == pytest.approx(2 * math.log(8))  # the one moving cell, twice
    change = certain(Change(4, 8, 3), torch.zeros(3))
    assert change(d, torch.tensor([[[1.0, 2.0, 0.0], [3.0, 2.0, NAN], [-1.0, 2.5, 1.0]]])).item() == pytest.approx(
        3 * math.log(2)
    )


def test_a_head_that_knows_pays_nothing() -> None:
    x, d = 255 * square((5, 21), (5, 22), (5, 23)), torch.zeros(1, 3, 4)
    where = torch.full((9,), -40.0)
    where[1] = 40
    assert certain(Area(4, 8, 255.0, 0.005), where)(d, x).item() == pytest.approx(0, abs=1e-6)
    rightwards = torch.zeros(9, 8)
    rightwards[1, 0] = 40
    assert certain(Direction(4, 8, 255.0, 0.005), rightwards.flatten())(d, x).item() == pytest.approx(0, abs=1e-6)
    rising = certain(Change(4, 8, 1), torch.tensor([40.0]))
    assert rising(d, torch.tensor([[[1.0], [2.0], [5.0]]])).item() == pytest.approx(0, abs=1e-6)


def test_volume_costs_its_squared_error_where_it_is_known() -> None:
    label = certain(Volume(4, 8, decibels=False), torch.tensor([1.0]))
    x = torch.tensor([[[1.0, 1.0], [NAN, NAN], [0.0, 0.0]]])
    assert label(torch.zeros(1, 3, 4), x).item() == pytest.approx(4.0)
