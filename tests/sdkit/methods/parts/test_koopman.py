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


def test_each_sequence_gets_the_operator_that_made_it() -> None:
    generator = torch.Generator().manual_seed(5)
    made = torch.linalg.qr(torch.randn(3, 4, 4, generator=generator, dtype=torch.float64))[0]
    z = [torch.randn(3, 1, 4, generator=generator, dtype=torch.float64)]
    for _ in range(7):
        z.append(z[-1] @ made)
    found = koopman.fit_each(torch.cat(z, 1))
    torch.testing.assert_close(found.predicted, torch.cat(z, 1), atol=1e-3, rtol=1e-3)
    for mine, true in zip(found.eigenvalues, torch.linalg.eigvals(made), strict=True):
        far = (mine[:, None] - true[None]).abs()
        assert float(far.min(0).values.max()) < 1e-3
        assert float(far.min(1).values.max()) < 1e-3


@pytest.mark.parametrize("steps", [2, 4, 9])
def test_few_steps_are_fitted_by_the_smallest_operator(steps: int) -> None:
    generator = torch.Generator().manual_seed(6)
    z = torch.randn(2, steps, 9, generator=generator, dtype=torch.float64)
    found = koopman.fit_each(z)
    smallest = torch.linalg.pinv(z[:, :-1]) @ z[:, 1:]
    torch.testing.assert_close(found.predicted[:, 1:], z[:, :-1] @ smallest, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found.predicted, z, atol=1e-3, rtol=1e-3)  # so few steps are fitted exactly
    assert found.eigenvalues.shape == (2, steps - 1)
    for mine, all_of_them in zip(found.eigenvalues, torch.linalg.eigvals(smallest), strict=True):
        largest = all_of_them[all_of_them.abs().argsort(descending=True)[: steps - 1]]  # the others are 0
        assert float((mine[:, None] - largest[None]).abs().min(0).values.max()) < 1e-3


def test_operators_of_sequences_are_those_of_each_alone() -> None:
    generator = torch.Generator().manual_seed(7)
    z = torch.randn(4, 12, 3, generator=generator, dtype=torch.float64)
    together = koopman.fit_each(z)
    for i in range(4):
        matrix = koopman.operator(z[i, :-1], z[i, 1:])
        torch.testing.assert_close(together.predicted[i, 1:], z[i, :-1] @ matrix)
        torch.testing.assert_close(together.eigenvalues[i].abs().sum(), torch.linalg.eigvals(matrix).abs().sum())
