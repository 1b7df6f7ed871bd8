"""Minibatch-weighted sampling: known answers at both ends of its range."""

import math

import pytest
import torch

from sdkit.methods.parts.gaussian import Gaussian
from sdkit.methods.parts.mutual_information import mutual_information

B, T, N = 6, 3, 9000


def posteriors(apart: float, *shape: int, log_variance: float = 0.0) -> Gaussian:
    means = apart * torch.arange(B, dtype=torch.float64).reshape(B, *(1 for _ in shape)).expand(B, *shape)
    return Gaussian(means, torch.full_like(means, log_variance))


@pytest.mark.parametrize(("static", "dynamic"), [(0.0, 0.0), (0.0, 100.0), (100.0, 0.0)])
def test_is_log_n_where_a_code_ignores_the_data(static: float, dynamic: float) -> None:
    torch.manual_seed(0)
    q, r = posteriors(static, 4), posteriors(dynamic, T, 5)
    found = mutual_information(q, q.sample(), r, r.sample(), count=N)
    assert found.item() == pytest.approx(math.log(N), abs=1e-9)


def test_is_log_bn_where_both_codes_tell_all_sequences_apart() -> None:
    torch.manual_seed(0)
    q, r = posteriors(100.0, 4), posteriors(100.0, T, 5)
    assert mutual_information(q, q.sample(), r, r.sample(), count=N).item() == pytest.approx(math.log(B * N), abs=1e-9)


def test_equals_the_densities_of_torch() -> None:
    torch.manual_seed(1)
    q, r = posteriors(0.7, 4, log_variance=-0.3), posteriors(0.4, T, 5, log_variance=0.2)
    s, d = q.sample(), r.sample()
    normal = torch.distributions.Normal
    static = normal(q.mean, q.std).log_prob(s.unsqueeze(1)).sum(-1)  # type: ignore[no-untyped-call]
    dynamic = normal(r.mean, r.std).log_prob(d.unsqueeze(1)).sum(-1)  # type: ignore[no-untyped-call]
    joint = torch.logsumexp(static.unsqueeze(-1) + dynamic, 1)
    expected = joint - torch.logsumexp(static, 1).unsqueeze(-1) - torch.logsumexp(dynamic, 1) + math.log(B)
    assert mutual_information(q, s, r, d).item() == pytest.approx(expected.mean().item())


def test_legacy_densities_square_the_variance() -> None:
    torch.manual_seed(2)
    q, r = posteriors(0.7, 4, log_variance=-0.8), posteriors(0.4, T, 5, log_variance=0.6)
    s, d = q.sample(), r.sample()
    squared = [Gaussian(part.mean, 2 * part.log_variance) for part in (q, r)]
    found = mutual_information(q, s, r, d, legacy_density=True)
    assert found.item() == pytest.approx(mutual_information(squared[0], s, squared[1], d).item())
    assert found.item() != pytest.approx(mutual_information(q, s, r, d).item())
