"""Gaussian processes and bidiagonal precisions: known answers."""

import pytest
import torch

from sdkit.methods.parts import gp


def bidiagonal(steps: int = 5, size: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return b and c (1, T, D), and U (D, T, T)."""
    generator = torch.Generator().manual_seed(0)
    b = 1 + torch.rand(1, steps, size, generator=generator, dtype=torch.float64)
    c = torch.rand(1, steps, size, generator=generator, dtype=torch.float64)
    u = torch.diag_embed(b[0].T) + torch.diag_embed(c[0].T[:, :-1], offset=1)
    return b, c, u


@pytest.mark.parametrize("kernel", ["cauchy", "rbf"])
def test_factor_of_few_steps_leads_that_of_many(kernel: gp.Kernel) -> None:
    eight = gp.factors(kernel, 8, 4.0, 2, 4)
    five = gp.factors(kernel, 5, 4.0, 2, 4)
    assert torch.allclose(eight[:, :5, :5], five, atol=1e-12)


def test_length_scales_are_halved_from_group_to_group() -> None:
    assert gp.length_scales(8, 4.0, 4) == [4, 4, 2, 2, 1, 1, 0.5, 0.5]
    assert gp.length_scales(3, 4.0, 1) == [4, 4, 4]


def test_draws_have_the_covariance_of_the_precision() -> None:
    b, c, u = bidiagonal()
    noise = torch.randn(200_000, 5, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn = gp.draw(noise, b.expand_as(noise), c.expand_as(noise))
    for i in range(2):
        covariance = torch.linalg.inv(u[i] @ u[i].T)
        assert torch.allclose(drawn[..., i].T.cov(), covariance, atol=0.01)
        # Exactly, too: e = U'^-1 noise.
        assert torch.allclose(drawn[..., i] @ u[i], noise[..., i], atol=1e-9)


def test_variances_are_the_diagonal_of_the_covariance() -> None:
    b, c, u = bidiagonal()
    found = gp.variances(b, c)[0]
    for i in range(2):
        assert torch.allclose(found[:, i], torch.linalg.inv(u[i] @ u[i].T).diagonal(), atol=1e-12)


def test_divergence_is_that_of_two_gaussians() -> None:
    b, c, u = bidiagonal()
    factor = gp.factors("cauchy", 5, 2.0, 1, 2)
    mean = torch.randn(1, 5, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = 0.0
    for i in range(2):
        q = torch.distributions.MultivariateNormal(mean[0, :, i], precision_matrix=u[i] @ u[i].T)
        p = torch.distributions.MultivariateNormal(torch.zeros(5, dtype=torch.float64), scale_tril=factor[i])
        expected += float(torch.distributions.kl_divergence(q, p))
    assert gp.kl_to_process(mean, b, c, factor).item() == pytest.approx(expected, rel=1e-9)


def test_divergence_is_0_where_the_posterior_is_the_prior() -> None:
    # Of one step any covariance is bidiagonal.
    factor = gp.factors("cauchy", 1, 2.0, 1, 3, variance=0.7)
    b = (1 / factor[:, 0, 0]).view(1, 1, 3)
    zero = torch.zeros(1, 1, 3, dtype=torch.float64)
    assert gp.kl_to_process(zero, b, zero, factor).item() == pytest.approx(0, abs=1e-12)
