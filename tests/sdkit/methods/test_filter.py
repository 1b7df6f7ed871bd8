"""The filter gives the posterior's codes from the elements seen so far, beside a model that it leaves alone."""

from typing import Any

import numpy as np
import pytest
import torch
from sdkit.methods.dbse.config import ModelConfig
from sdkit.methods.dbse.losses import objective
from sdkit.methods.dbse.model import SplitModel

from sdkit.methods.graphs import verbs
from sdkit.methods.parts.gaussian import Gaussian, kl
from tests.tiny import sequences, tiny_config, tiny_model

ALONE: dict[str, Any] = {"alpha": 0.0, "beta_static": 0.1, "beta_dynamic": 0.1}


def gradients(model: SplitModel, alpha: float) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    terms = objective(model(torch.from_numpy(sequences())), model.config, **{**ALONE, "alpha": alpha})
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(terms.loss, parameters, allow_unused=True)
    return {n: torch.zeros_like(p) if g is None else g for n, p, g in zip(names, parameters, found, strict=True)}


@pytest.mark.parametrize("variant", ["paper", "filter"])
def test_codes_do_not_wait_for_what_follows(variant: str) -> None:
    v = verbs(tiny_model(variant))
    x = sequences(3, 7)
    whole = v.encode(x)
    for t in range(2, 7):
        np.testing.assert_allclose(v.encode(x[:, :t]).dynamic, whole.dynamic[:, :t], atol=1e-5)
    assert tiny_config(variant).causal


def test_the_posterior_does_wait() -> None:
    v = verbs(tiny_model("release"))
    x = sequences(3, 7)
    assert np.abs(v.encode(x[:, :4]).dynamic - v.encode(x).dynamic[:, :4]).max() > 1e-3
    assert not tiny_config("release").causal


def test_codes_are_the_filters() -> None:
    model = tiny_model("filter")
    x = torch.from_numpy(sequences())
    with torch.no_grad():
        assert model.filter_path is not None
        expected = model.filter_path(model.encoder(x))
        given = model(x).filter
    np.testing.assert_allclose(verbs(model).encode(x.numpy()).dynamic, expected.mean.numpy(), atol=1e-6)
    assert given is not None
    torch.testing.assert_close(given.mean, expected.mean)


def test_without_alpha_the_rest_of_the_model_learns_what_the_release_variant_learns() -> None:
    with_filter = tiny_model("filter")
    plain = SplitModel(tiny_config("release")).eval()
    plain.load_state_dict({k: v for k, v in with_filter.state_dict().items() if not k.startswith("filter_path")})
    for p in (with_filter, plain):
        p.train()
    # The draws of the filter come last, so both models see the same noise.
    found, expected = gradients(with_filter, 0.0), gradients(plain, 0.0)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    assert all(found[name].abs().max() > 0 for name in found if name.startswith("filter_path"))


def test_alpha_teaches_decoder_and_static_path_to_decode_the_anchor_from_the_filters_code() -> None:
    model = tiny_model("filter")
    torch.manual_seed(0)
    output = model(torch.from_numpy(sequences()))
    terms = objective(output, model.config, **{**ALONE, "alpha": 0.5})
    base = objective(output._replace(nll_filter=torch.zeros(3)), model.config, **{**ALONE, "alpha": 0.5})
    assert terms.nll_filter.item() > 0
    assert (terms.loss - base.loss).item() == pytest.approx(0.5 * terms.nll_filter.item(), rel=1e-4)


def test_divergence_is_from_the_posterior_to_the_filter() -> None:
    model = tiny_model("filter")
    output = model(torch.from_numpy(sequences()))
    assert output.filter is not None
    expected = kl(Gaussian(*output.dynamic), output.filter).sum(1).mean()
    terms = objective(output, model.config, **ALONE)
    assert terms.kl_filter.item() == pytest.approx(expected.item())
    same = objective(output._replace(filter=output.dynamic), model.config, **ALONE)
    assert same.kl_filter.item() == pytest.approx(0, abs=1e-5)


def test_a_filter_learns_a_posterior() -> None:
    """What the elements so far do tell, a filter learns to tell: here the posterior is causal itself."""
    torch.manual_seed(0)
    config = tiny_config("paper", filter=True, anchor_dynamic="inferred")
    model = SplitModel(config)
    x = torch.from_numpy(sequences(8, 4))
    assert model.filter_path is not None
    optimizer = torch.optim.Adam(model.filter_path.parameters(), 0.02)
    first = last = 0.0
    for step in range(150):
        terms = objective(model(x), config, alpha=0.0, beta_static=0.0, beta_dynamic=1.0)
        optimizer.zero_grad()
        torch.autograd.backward([terms.kl_filter])
        optimizer.step()
        first, last = (terms.kl_filter.item() if step == 0 else first), terms.kl_filter.item()
    assert last < 0.1 * first


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_other_variants_have_no_filter(variant: str) -> None:
    model = tiny_model(variant)
    output = model(torch.from_numpy(sequences()))
    terms = objective(output, model.config, **ALONE)
    assert output.filter is None
    assert (terms.kl_filter.item(), terms.nll_filter.item()) == (0, 0)
    assert not any("filter" in name for name in model.state_dict())


def test_a_filter_beside_a_constant_anchor_has_no_code_there() -> None:
    config = ModelConfig(
        **{**{f: getattr(tiny_config("paper"), f) for f in ModelConfig.__struct_fields__}, "filter": True}
    )
    model = SplitModel(config).eval()
    codes = verbs(model).encode(sequences())
    assert not codes.dynamic[:, 0].any()
    assert codes.dynamic[:, 1:].any()
    assert config.variant == "custom"
