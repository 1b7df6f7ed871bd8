"""The prior and the posterior of codes that are Gaussian processes: known answers."""

import pytest
import torch

from sdkit.methods.parts import gp
from sdkit.methods.parts.process import ProcessPrior, TimePath

GROUPS = (gp.Group("cauchy", 3, 2.0, 2, 0.5), gp.Group("rbf", 0, 2.0), gp.Group("rbf", 2, 1.5))


def test_factors_of_groups_follow_each_other() -> None:
    found = gp.joined_factors(GROUPS, 6)
    assert found.shape == (5, 6, 6)
    assert torch.equal(found[:3], gp.factors("cauchy", 6, 2.0, 2, 3, 0.5))
    assert torch.equal(found[3:], gp.factors("rbf", 6, 1.5, 1, 2))


@pytest.mark.parametrize("steps", [2, 6, 9])
def test_divergence_is_from_the_processes_of_as_many_steps(steps: int) -> None:
    torch.manual_seed(0)
    prior, path = ProcessPrior(GROUPS, 6), TimePath(4, 8, 3, 5)
    mean, diagonal, coupling = path(torch.randn(2, steps, 4))
    expected = gp.kl_to_process(mean, diagonal, coupling, gp.joined_factors(GROUPS, steps).float())
    torch.testing.assert_close(prior.kl(mean, diagonal, coupling), expected, rtol=1e-4, atol=1e-3)


def test_factors_are_no_weights() -> None:
    assert not ProcessPrior(GROUPS, 6).state_dict()


@pytest.mark.parametrize(("window", "seen"), [(1, [2]), (3, [1, 2, 3])])
def test_a_step_sees_the_window(window: int, seen: list[int]) -> None:
    torch.manual_seed(0)
    features = torch.randn(1, 5, 4, requires_grad=True)
    mean, diagonal, coupling = TimePath(4, 64, window, 5)(features)
    assert (diagonal > 1).all()
    assert (coupling > 0).all()
    mean[:, 2].sum().backward()
    assert features.grad is not None
    assert features.grad[0].abs().sum(1).nonzero().flatten().tolist() == seen
