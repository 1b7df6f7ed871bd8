"""The Koopman operator of codes: known answers."""

import math

import pytest
import torch

from sdkit.methods.parts import koopman


def random_operator(size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    drawn: torch.Tensor = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return drawn / math.sqrt(size)


def test_least_squares_finds_the_operator_that_made_the_data() -> None:
    made = random_operator(6)
    z = torch.randn(200, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = koopman.operator(z, z @ made)
    assert torch.allclose(found, made, atol=1e-4)
    by_size = [torch.linalg.eigvals(m).abs().sort().values for m in (found, made)]
    assert torch.allclose(by_size[0], by_size[1], atol=1e-4)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_static_space_is_a_projection_that_commutes_with_the_operator(seed: int, count: int) -> None:
    made = random_operator(7, seed)
    right, left = koopman.split(made, count)
    assert torch.allclose(right @ left, torch.eye(7, dtype=torch.float64), atol=1e-8)
    projection = right[:, :count] @ left[:count]
    assert torch.allclose(projection @ projection, projection, atol=1e-8)
    if len(koopman.static_modes(torch.linalg.eigvals(made), count)) == count:
        assert torch.allclose(projection @ made, made @ projection, atol=1e-8)


def test_modes_nearest_one_are_static_and_pairs_stay_together() -> None:
    pair = 0.95 * torch.exp(1j * torch.tensor(0.05, dtype=torch.float64))
    eigenvalues = torch.stack(
        [torch.tensor(0.2 + 0j), pair, torch.tensor(1.0 + 0j), pair.conj(), torch.tensor(0.5 + 0j)]
    )
    assert set(koopman.static_modes(eigenvalues, 1)) == {2}
    assert set(koopman.static_modes(eigenvalues, 3)) == {1, 2, 3}
    # A pair does not fit beside the first; the nearest real one is taken in its place.
    assert set(koopman.static_modes(eigenvalues, 2)) == {2, 4}


def test_a_space_is_divided_where_only_pairs_are_left() -> None:
    turn = torch.tensor([[0.8, 0.3], [-0.3, 0.8]], dtype=torch.float64)
    made = torch.block_diag(turn, 0.5 * turn)  # type: ignore[no-untyped-call]
    right, left = koopman.split(made, 1)
    assert right.shape == left.shape == (4, 4)
    assert torch.allclose(right @ left, torch.eye(4, dtype=torch.float64), atol=1e-8)
    assert right[2:, 0].abs().max() < 1e-8  # the static direction lies in the plane of the nearest pair
