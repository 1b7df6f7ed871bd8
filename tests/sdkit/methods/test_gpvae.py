"""GP-VAE: known answers of its posterior and its prior, and the verbs that it has not."""

from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods.gpvae import Gpvae
from sdkit.methods.graphs import verbs
from sdkit.methods.parts import gp
from sdkit.runtime.errors import CapabilityError, ConfigError
from tests.tiny import sequences, tiny_batch, tiny_model


def model(**changes: Any) -> Gpvae:
    found = tiny_model(method="gpvae", **changes)
    assert isinstance(found, Gpvae)
    return found


def test_prior_draws_have_the_covariance_of_the_kernel() -> None:
    run = verbs(model(length_scale=2.0, scales=2))
    drawn = run.draw_dynamic(20_000, 5, seed=1)
    for i, scale in enumerate(gp.length_scales(4, 2.0, 2)):
        expected = gp.kernel_matrix("cauchy", 5, scale).numpy()
        assert np.allclose(np.cov(drawn[..., i].T), expected, atol=0.05)


def test_shorter_draws_begin_like_longer_ones() -> None:
    run = verbs(model())
    noise = np.random.default_rng(0).standard_normal((2, 5, 4)).astype(np.float32)
    whole = run.backend.run("prior", {"noise": noise})["dynamic"]
    part = run.backend.run("prior", {"noise": noise[:, :3]})["dynamic"]
    assert np.allclose(whole[:, :3], part, atol=1e-6)


def test_samples_of_the_posterior_are_correlated_and_have_the_marginals() -> None:
    found = model()
    run = verbs(found)
    x = np.repeat(sequences(1, 5), 20_000, 0)
    run.batch_size = 20_000
    # A sequence often: samples of one posterior.
    features = run.backend.run("encoder", {"x": x[:1]})["features"].repeat(len(x), 0)
    noise = np.random.default_rng(0).standard_normal((len(x), 5, 4)).astype(np.float32)
    drawn = run.backend.run("dynamic_posterior", {"features": features, "noise": noise})["dynamic"]
    marginals = run.backend.run("dynamic", {"features": features[:1]})
    assert np.allclose(drawn.mean(0), marginals["dynamic_mean"][0], atol=0.03)
    assert np.allclose(drawn.std(0), marginals["dynamic_std"][0], rtol=0.03)
    assert np.abs(np.corrcoef(drawn[:, 0, 0], drawn[:, 1, 0])[0, 1]) > 0.05


def test_drawn_codes_are_those_of_the_graph() -> None:
    run = verbs(model())
    x = sequences(2, 5)
    drawn, mean = run.encode(x, seed=3), run.encode(x)
    assert np.array_equal(drawn.static, np.zeros((2, 1), np.float32))
    assert not np.allclose(drawn.dynamic, mean.dynamic)


def test_verbs_that_need_a_static_code_are_refused_in_one_line() -> None:
    run = verbs(model())
    x = sequences(2, 5)
    for call in (lambda: run.swap(x, x), lambda: run.resample_static(x)):
        with pytest.raises(CapabilityError, match=r"this model cannot \w+: its method has no static code"):
            call()
    with pytest.raises(CapabilityError, match=r"this model cannot stream: .*later"):
        run.stream()


def test_prior_draws_no_more_steps_than_it_was_made_for() -> None:
    run = verbs(model())
    assert run.generate(1, 5).shape == (1, 5, 3, 16, 16)
    with pytest.raises(ConfigError, match="at most 5 steps, not 6"):
        run.generate(1, 6)
    with pytest.raises(ConfigError, match="at most 5 steps, not 7"):
        run.resample_dynamic(sequences(1, 7))
    assert verbs(model(max_steps=9)).generate(1, 9).shape[1] == 9


def test_longer_sequences_are_encoded_and_have_a_loss() -> None:
    found = model()
    losses = found(tiny_batch(sequences(2, 9)))
    assert torch.isfinite(losses.loss)
    assert verbs(found).reconstruct(sequences(2, 9)).shape == (2, 9, 3, 16, 16)


def test_loss_is_likelihood_and_weighted_divergence() -> None:
    found = model(beta=0.3).train()
    losses = found(tiny_batch(sequences(4, 5)))
    assert losses.loss.item() == pytest.approx((losses.terms["nll"] + 0.3 * losses.terms["kl_gp"]).item(), rel=1e-6)
    losses.loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in found.parameters())
