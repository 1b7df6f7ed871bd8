import pytest
import torch
from torch.distributions import Normal, kl_divergence

from sdkit.methods.parts.gaussian import LOG_VARIANCE_RANGE, Gaussian, GaussianHead, kl, kl_to_standard


def gaussian(seed: int, *shape: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(torch.randn(shape, generator=generator) * 2, torch.randn(shape, generator=generator))


def normal(g: Gaussian) -> Normal:
    return Normal(g.mean, (0.5 * g.log_variance).exp())


def test_kl_to_standard_is_that_of_torch() -> None:
    q = gaussian(0, 3, 4, 5)
    expected = kl_divergence(normal(q), Normal(0.0, 1.0)).sum(-1)
    torch.testing.assert_close(kl_to_standard(q), expected)
    assert kl_to_standard(q).shape == (3, 4)


def test_kl_is_that_of_torch_and_has_a_direction() -> None:
    q, p = gaussian(1, 3, 4, 5), gaussian(2, 3, 4, 5)
    torch.testing.assert_close(kl(q, p), kl_divergence(normal(q), normal(p)).sum(-1))
    assert (kl(q, p) - kl(p, q)).abs().min() > 1e-3


def test_kl_of_equals_is_zero() -> None:
    q = gaussian(3, 6, 5)
    torch.testing.assert_close(kl(q, q), torch.zeros(6))
    standard = Gaussian(torch.zeros(2, 5), torch.zeros(2, 5))
    torch.testing.assert_close(kl_to_standard(standard), torch.zeros(2))
    torch.testing.assert_close(kl(q, Gaussian(torch.zeros(6, 5), torch.zeros(6, 5))), kl_to_standard(q))


def test_std_and_sample() -> None:
    g = Gaussian(torch.full((20_000, 2), 3.0), torch.tensor([0.0, 2.0]).expand(20_000, 2))
    torch.testing.assert_close(g.std[0], torch.tensor([1.0, 2.718281828]))
    torch.manual_seed(0)
    noise = torch.randn(20_000, 2)
    torch.manual_seed(0)
    torch.testing.assert_close(g.sample(), 3.0 + noise * torch.tensor([1.0, 2.718281828]))


def test_sample_passes_gradients_to_mean_and_log_variance() -> None:
    g = Gaussian(torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True))
    torch.manual_seed(0)
    sample = g.sample()
    torch.autograd.backward(sample.sum())
    torch.testing.assert_close(g.mean.grad, torch.ones(4))
    torch.testing.assert_close(g.log_variance.grad, 0.5 * sample.detach())


@pytest.mark.parametrize(("scale", "limit"), [(1e4, LOG_VARIANCE_RANGE[1]), (-1e4, LOG_VARIANCE_RANGE[0])])
def test_head_clamps_log_variance_only(scale: float, limit: float) -> None:
    head = GaussianHead(3, 2)
    with torch.no_grad():
        head.mean.weight.fill_(scale)
        head.log_variance.weight.fill_(scale)
    mean, log_variance = head(torch.ones(4, 3))
    torch.testing.assert_close(mean, 3 * scale + head.mean.bias.expand(4, 2))
    torch.testing.assert_close(log_variance, torch.full((4, 2), limit))
    assert torch.isfinite(Gaussian(mean, log_variance).std.half()).all()


def test_head_is_linear_within_the_range() -> None:
    head, hidden = GaussianHead(3, 2), torch.linspace(-1, 1, 12).view(4, 3)
    mean, log_variance = head(hidden)
    torch.testing.assert_close(mean, hidden @ head.mean.weight.T + head.mean.bias)
    torch.testing.assert_close(log_variance, hidden @ head.log_variance.weight.T + head.log_variance.bias)
