"""Maximum mean discrepancy: known answers by hand, and in expectation."""

import pytest
import torch

from sdkit.methods.parts.mmd import SCALES, kernel, mmd


def value(squared_distance: float, dimensions: int) -> float:
    """Return the kernel at a distance, written out."""
    return sum(2 * dimensions * c / (2 * dimensions * c + squared_distance) for c in SCALES)


def test_kernel_of_points() -> None:
    a, b = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    expected = [[value(0, 2), value(1, 2), value(25, 2)], [value(25, 2), value(18, 2), value(0, 2)]]
    assert kernel(a, b).tolist() == [pytest.approx(row, rel=1e-6) for row in expected]
    assert value(0, 2) == len(SCALES)


def test_two_draws_by_hand() -> None:
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0], [5.0]])
    expected = value(1, 1) + value(4, 1) - value(25, 1) - value(4, 1)  # the pairs (0, 3) and (1, 5) are left out
    assert mmd(a, b).item() == pytest.approx(expected, rel=1e-6)


def test_three_draws_equal_the_sum_over_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))

    def k(x: torch.Tensor, y: torch.Tensor) -> float:
        return value(float((x - y).square().sum()), 4)

    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    total = sum(k(a[i], a[j]) + k(b[i], b[j]) - k(a[i], b[j]) - k(a[j], b[i]) for i, j in pairs)
    assert mmd(a, b).item() == pytest.approx(total / 6, rel=1e-9)


def estimates(count: int, shift: float, tie: float = 0.0) -> torch.Tensor:
    """Return many estimates between N(0, I) and N(shift, I), draws of equal number correlated by `tie`."""
    generator = torch.Generator().manual_seed(0)
    a, fresh = (torch.randn(4000, count, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    return mmd(a, tie * a + (1 - tie**2) ** 0.5 * fresh + shift)


@pytest.mark.parametrize("count", [2, 5, 20])
@pytest.mark.parametrize("tie", [0.0, 0.9])
def test_is_zero_in_expectation_for_equal_laws_even_where_draws_are_paired(count: int, tie: float) -> None:
    found = estimates(count, 0.0, tie)
    assert found.min() < 0 < found.max()
    assert abs(found.mean()) < 4 * found.std() / len(found) ** 0.5


def test_expectation_does_not_depend_on_the_number_of_draws_and_grows_with_the_distance() -> None:
    few, many, far = estimates(2, 0.7), estimates(20, 0.7), estimates(20, 1.5)
    assert abs(few.mean() - many.mean()) < 4 * few.std() / len(few) ** 0.5
    assert 0.05 < many.mean() < far.mean()


def test_each_of_several_laws_is_compared_by_itself() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(2, 5, 6, 3, generator=generator) for _ in range(2))
    found = mmd(a, b)
    assert found.shape == (2, 5)
    torch.testing.assert_close(found[1, 3], mmd(a[1, 3], b[1, 3]))


def test_one_draw_says_nothing() -> None:
    assert mmd(torch.zeros(1, 3), torch.ones(1, 3)).item() == 0


@pytest.mark.parametrize(("shift", "scale"), [(2.0, 1.0), (0.0, 3.0), (0.0, 0.3)])
def test_gradients_move_the_draws_towards_the_other_law(shift: float, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    a = (scale * torch.randn(512, 2, generator=generator) + shift).requires_grad_()
    (gradient,) = torch.autograd.grad(mmd(a, torch.randn(512, 2, generator=generator)), a)
    before, after = a.detach(), a.detach() - 10 * gradient
    assert after.mean(0).norm() < before.mean(0).norm() or shift == 0
    assert (after.square().mean() - 1).abs() < (before.square().mean() - 1).abs()
