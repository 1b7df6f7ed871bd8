"""The filter gives the posterior's codes from the elements seen so far, beside a model that it leaves alone."""

from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods.base import Losses
from sdkit.methods.dbse.method import Dbse
from sdkit.methods.dbse.objective import Output, objective
from sdkit.methods.graphs import verbs
from sdkit.methods.parts.gaussian import Gaussian, kl
from tests.sdkit.methods.dbse.tiny import tiny_dbse, tiny_settings
from tests.tiny import sequences, tiny_batch

BETAS: dict[str, Any] = {"beta_static": 0.1, "beta_dynamic": 0.1}


def output_of(model: Dbse) -> Output:
    torch.manual_seed(0)
    return model.output(torch.from_numpy(sequences()))


def losses(output: Output, alpha: float = 0.0) -> Losses:
    return objective(output, tiny_settings("filter", alpha=alpha, **BETAS))


def gradients(model: Dbse) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(model(tiny_batch(sequences())).loss, parameters, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)}


@pytest.mark.parametrize("variant", ["paper", "filter"])
def test_codes_do_not_wait_for_what_follows(variant: str) -> None:
    v = verbs(tiny_dbse(variant))
    x = sequences(3, 7)
    whole = v.encode(x)
    for t in range(2, 7):
        np.testing.assert_allclose(v.encode(x[:, :t]).dynamic, whole.dynamic[:, :t], atol=1e-5)


def test_the_posterior_does_wait() -> None:
    v = verbs(tiny_dbse("release"))
    x = sequences(3, 7)
    assert np.abs(v.encode(x[:, :4]).dynamic - v.encode(x).dynamic[:, :4]).max() > 1e-3


def test_codes_are_the_filters() -> None:
    model = tiny_dbse("filter")
    x = torch.from_numpy(sequences())
    with torch.no_grad():
        assert model.filter_path is not None
        expected = model.filter_path(model.encode(x))
        given = model.output(x).filter
    np.testing.assert_allclose(verbs(model).encode(x.numpy()).dynamic, expected.mean.numpy(), atol=1e-6)
    assert given is not None
    torch.testing.assert_close(given.mean, expected.mean)


def test_without_alpha_the_rest_of_the_model_learns_what_the_release_variant_learns() -> None:
    with_filter, plain = (tiny_dbse(variant, alpha=0.0, **BETAS) for variant in ("filter", "release"))
    weights = {name: value for name, value in with_filter.state_dict().items() if not name.startswith("filter_path")}
    plain.load_state_dict(weights)
    # The draws of the filter come last, so both models see the same noise.
    found, expected = (gradients(model.train()) for model in (with_filter, plain))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    assert all(found[name].abs().max() > 0 for name in found if name.startswith("filter_path"))


def test_alpha_teaches_decoder_and_static_path_to_decode_the_anchor_from_the_filters_code() -> None:
    output = output_of(tiny_dbse("filter"))
    assert output.nll_filter is not None
    found = losses(output, alpha=0.5)
    without = losses(output._replace(nll_filter=torch.zeros(3)), alpha=0.5)
    nll = found.terms["nll_filter"].item()
    assert nll == pytest.approx(output.nll_filter.mean().item())
    assert nll > 0
    assert (found.loss - without.loss).item() == pytest.approx(0.5 * nll, rel=1e-4)


def test_divergence_is_from_the_posterior_to_the_filter() -> None:
    output = output_of(tiny_dbse("filter"))
    assert output.filter is not None
    expected = kl(Gaussian(*output.dynamic), output.filter).sum(1).mean()
    assert losses(output).terms["kl_filter"].item() == pytest.approx(expected.item())
    same = losses(output._replace(filter=output.dynamic))
    assert same.terms["kl_filter"].item() == pytest.approx(0, abs=1e-5)


def test_a_filter_learns_a_posterior() -> None:
    """What the elements so far do tell, a filter learns to tell: here the posterior is causal itself."""
    weights: dict[str, Any] = {"alpha": 0.0, "beta_static": 0.0, "beta_dynamic": 1.0}
    torch.manual_seed(0)
    model = tiny_dbse("paper", filter=True, anchor_dynamic="inferred", **weights)
    batch = tiny_batch(sequences(8, 4))
    assert model.filter_path is not None
    optimizer = torch.optim.Adam(model.filter_path.parameters(), 0.02)
    divergences = []
    for _ in range(150):
        found = model(batch).terms["kl_filter"]
        optimizer.zero_grad()
        torch.autograd.backward([found])
        optimizer.step()
        divergences.append(found.item())
    assert divergences[-1] < 0.1 * divergences[0]


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_other_variants_have_no_filter(variant: str) -> None:
    model = tiny_dbse(variant)
    output = output_of(model)
    assert output.filter is None
    assert not {"kl_filter", "nll_filter"} & set(losses(output).terms)
    assert not any("filter" in name for name in model.state_dict())


def test_a_filter_beside_a_constant_anchor_has_no_code_there() -> None:
    model = tiny_dbse("paper", filter=True)
    codes = verbs(model).encode(sequences())
    assert not codes.dynamic[:, 0].any()
    assert codes.dynamic[:, 1:].any()
    assert model.variant_of(model.settings) == "custom"
