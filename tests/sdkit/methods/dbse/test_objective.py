from typing import Any

import pytest
import torch
from torch import Tensor

from sdkit.methods.base import Losses
from sdkit.methods.dbse.objective import TERMS, Output, objective
from sdkit.methods.parts.gaussian import Gaussian
from tests.sdkit.methods.dbse.tiny import tiny_settings

NLL = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])


def standard(mean: Tensor) -> Gaussian:
    return Gaussian(mean, torch.zeros_like(mean))


VALUES = torch.tensor([[4, 4, 4], [4, 2, 0]])

OUTPUT = Output(
    NLL,
    VALUES,
    # KL = mean^2 / 2 summed over the code: 0.5 and 4.5 + 2, so 3.5 in the mean.
    standard(torch.tensor([[1.0, 0.0], [3.0, 2.0]])),
    # Likewise by step: 0.5, 2 and 0, 0, so 1.25 in the mean of the sums.
    standard(torch.tensor([[[1.0], [2.0]], [[5.0], [6.0]]])),
    standard(torch.tensor([[[0.0], [0.0]], [[5.0], [6.0]]])),
)


def losses(alpha: float = 0.0, beta_static: float = 0.0, beta_dynamic: float = 0.0, **changes: Any) -> Losses:
    weights: dict[str, Any] = {"alpha": alpha, "beta_static": beta_static, "beta_dynamic": beta_dynamic}
    return objective(OUTPUT, tiny_settings(**weights, **changes))


@pytest.mark.parametrize(
    ("anchor", "nll", "nll_anchor"), [("first", 27.0, 4.5), ("middle", 22.5, 9.0), ("last", 13.5, 18.0)]
)
def test_terms_are_sums_over_steps_and_means_over_the_batch(anchor: str, nll: float, nll_anchor: float) -> None:
    found = losses(alpha=0.5, beta_static=0.1, beta_dynamic=0.01, anchor=anchor)
    assert list(found.terms) == [term.name for term in TERMS][:4]  # the last two are of a filter
    assert [term.item() for term in found.terms.values()] == pytest.approx([nll, nll_anchor, 3.5, 1.25])
    assert found.loss.item() == pytest.approx(nll + 0.5 * nll_anchor + 0.35 + 0.0125)


@pytest.mark.parametrize(("alpha", "zero", "inferred"), [(0.0, 27.0, 31.5), (1.0, 31.5, 36.0), (0.2, 27.9, 32.4)])
def test_alpha_is_the_weight_of_a_zero_anchor_and_an_extra_of_an_inferred_one(
    alpha: float, zero: float, inferred: float
) -> None:
    assert losses(alpha).loss.item() == pytest.approx(zero)
    assert losses(alpha, anchor_dynamic="inferred").loss.item() == pytest.approx(inferred)


def test_the_likelihood_can_be_averaged_over_the_observed_values() -> None:
    found = losses(alpha=0.5, beta_static=0.1, beta_dynamic=0.01, likelihood="mean")
    assert found.loss.item() == pytest.approx((27.0 + 0.5 * 4.5) / 9 + 0.35 + 0.0125)
    assert found.terms == losses(0.5, 0.1, 0.01).terms  # the terms stay nats a sequence


def test_divergences_have_weights_of_their_own() -> None:
    assert losses(beta_static=2.0).loss.item() == pytest.approx(27.0 + 7.0)
    assert losses(beta_dynamic=2.0).loss.item() == pytest.approx(27.0 + 2.5)


def test_weights_leave_the_terms_as_they_are() -> None:
    heavy, light = losses(3.0, 4.0, 5.0), losses()
    assert heavy.terms == light.terms


def test_divergences_raise_the_loss() -> None:
    output = OUTPUT._replace(
        static=standard(OUTPUT.static.mean.clone().requires_grad_()),
        dynamic=standard(OUTPUT.dynamic.mean.clone().requires_grad_()),
    )
    loss = objective(output, tiny_settings(alpha=0.0, beta=0.1)).loss
    torch.autograd.backward(loss)
    # The sign that regularises: a step downhill brings the posterior to the prior.
    torch.testing.assert_close(output.static.mean.grad, 0.05 * OUTPUT.static.mean)
    torch.testing.assert_close(output.dynamic.mean.grad, 0.05 * (OUTPUT.dynamic.mean - OUTPUT.prior.mean))


def test_posterior_means_are_handed_on_for_the_count_of_active_units() -> None:
    found = losses()
    assert found.static is OUTPUT.static.mean
    assert found.dynamic is OUTPUT.dynamic.mean
