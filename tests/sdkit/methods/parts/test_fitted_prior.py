"""The prior that is fitted after training."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sdkit.methods.base import Batch
from sdkit.methods.graphs import verbs
from sdkit.methods.parts.fitted_prior import COMPONENTS, FittedPrior, FittedPriorGraph
from sdkit.runtime.contract import STATIC_PRIOR
from sdkit.runtime.errors import ConfigError
from tests.tiny import sequences, tiny_model


def clusters(count: int = 4000, seed: int = 0) -> Tensor:
    """Return codes (N, 3) of two narrow clusters, a quarter of them in the second."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, generator=draw)
    second = torch.arange(count) % 4 == 0
    centre = torch.where(second[:, None], torch.tensor([-2.0, -2.0, -2.0]), torch.tensor([3.0, 0.0, 0.0]))
    return centre + noise * torch.where(second[:, None], 0.5, 0.1)


def fitted(codes: Tensor) -> FittedPrior:
    prior = FittedPrior(codes.shape[1])
    prior.fit(codes)
    return prior


def test_it_finds_the_clusters_and_draws_them() -> None:
    codes = clusters()
    prior = fitted(codes)
    assert sorted(prior.weights.tolist()) == pytest.approx([0.25, 0.75], abs=1e-3)
    noise = torch.randn(100_000, 3, generator=torch.Generator().manual_seed(1))
    drawn = FittedPriorGraph(prior)(noise)
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), atol=0.03, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T), atol=0.05, rtol=0.02)
    near = ((drawn - torch.tensor([3.0, 0.0, 0.0])).norm(dim=1) < 1).float().mean()
    assert float(near) == pytest.approx(0.75, abs=0.01)
    # Within a cluster draws are normal, although the noise has chosen the cluster as well.
    first = (drawn[drawn[:, 0] > 1][:, 0] - 3.0) / drawn[drawn[:, 0] > 1][:, 0].std()
    assert float((first.abs() < 1).float().mean()) == pytest.approx(0.683, abs=0.01)


def test_one_cluster_is_one_gaussian() -> None:
    codes = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.tensor([3.0, 1.0, 1.0, 0.1])
    )
    prior = fitted(codes)
    assert prior.weights.tolist() == [1.0]
    drawn = FittedPriorGraph(prior)(torch.randn(50_000, 4, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(drawn.std(0), codes.std(0), atol=0.1, rtol=0.05)


def test_few_codes_are_enough_for_a_gaussian_and_one_is_not() -> None:
    assert len(fitted(torch.randn(3, 8)).weights) == 1
    assert not fitted(torch.randn(1, 8)).fitted
    for asked in ("fitted", "standard"):  # a prior that is not fitted has no graph
        assert STATIC_PRIOR not in tiny_model(static_prior=asked).graphs()
    assert len(fitted(torch.ones(40, 2)).weights) in COMPONENTS  # codes that are all the same


def test_weights_carry_it_and_those_without_it_open() -> None:
    prior, other = fitted(clusters()), FittedPrior(3)
    other.load_state_dict(prior.state_dict())
    noise = torch.randn(5, 3)
    torch.testing.assert_close(FittedPriorGraph(other)(noise), FittedPriorGraph(prior)(noise))
    other.load_state_dict({})
    assert not other.fitted


@pytest.mark.parametrize("method", ["dbse", "dsvae"])
def test_static_codes_are_drawn_from_it_unless_the_standard_prior_is_asked_for(method: str) -> None:
    model = tiny_model(method=method, static_prior="fitted")
    x = torch.from_numpy(sequences(64))
    standard = verbs(model)
    assert not standard.fitted
    with torch.no_grad():
        model.finish([Batch(part, torch.arange(len(part))) for part in torch.chunk(x, 2)])
    run = verbs(model)
    assert STATIC_PRIOR in model.graphs()
    assert run.fitted
    codes = run.encode(x.numpy()).static
    drawn = run.draw_static(4000, seed=0)
    np.testing.assert_allclose(drawn.mean(0), codes.mean(0), atol=0.1 * codes.std(0).max())
    np.testing.assert_allclose(drawn.std(0), codes.std(0), rtol=0.15, atol=0.05 * codes.std(0).max())
    plain = run.drawing_from("standard")
    np.testing.assert_array_equal(plain.draw_static(7, seed=3), standard.draw_static(7, seed=3))
    np.testing.assert_array_equal(plain.generate(2, 3, seed=1), standard.generate(2, 3, seed=1))
    assert not np.array_equal(run.generate(2, 3, seed=1), standard.generate(2, 3, seed=1))


def test_other_priors_are_named() -> None:
    with pytest.raises(ConfigError, match="static_prior = 'mine'; choose one of fitted, standard"):
        tiny_model(method="dsvae").settings.__class__(static_prior="mine")
    with pytest.raises(ConfigError, match="unknown static_prior 'mine'; choose fitted or standard"):
        verbs(tiny_model()).drawing_from("mine")  # type: ignore[arg-type]  # what a caller without types may do
