"""DSVAE: what its codes depend on, and its objective."""

from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods.dsvae import Dsvae
from sdkit.methods.graphs import verbs
from sdkit.methods.parts.gaussian import Gaussian, kl, kl_to_standard
from sdkit.runtime.noise import Purpose, standard_normal
from tests.tiny import sequences, tiny_batch, tiny_model


def model(variant: str, **changes: Any) -> Dsvae:
    found = tiny_model(variant, method="dsvae", **changes)
    assert isinstance(found, Dsvae)
    return found


@pytest.mark.parametrize("variant", ["full", "factorised"])
def test_static_code_sees_the_whole_sequence(variant: str) -> None:
    run, x = verbs(model(variant)), sequences(2, 5)
    for step in range(5):
        other = x.copy()
        other[:, step] = 255 - other[:, step]
        assert np.abs(run.encode(other).static - run.encode(x).static).max() > 1e-5


def test_factorised_codes_see_their_own_element_alone() -> None:
    run, x = verbs(model("factorised")), sequences(2, 5)
    other = x.copy()
    other[:, 2] = 255 - other[:, 2]
    same = np.abs(run.encode(other).dynamic - run.encode(x).dynamic).max((0, 2)) < 1e-6
    assert same.tolist() == [True, True, False, True, True]


def test_full_codes_see_every_element_and_the_static_code() -> None:
    found = model("full")
    run, x = verbs(found), sequences(2, 5)
    other = x.copy()
    other[:, 4] = 255 - other[:, 4]
    assert (np.abs(run.encode(other).dynamic - run.encode(x).dynamic).max((0, 2)) > 1e-6).all()
    features = run.backend.run("encoder", {"x": x})["features"]
    for static in (np.zeros((2, 5), np.float32), np.ones((2, 5), np.float32)):
        assert run.backend.run("dynamic", {"features": features, "static": static})["dynamic_mean"].shape == (2, 5, 4)
    zeros, ones = (
        run.backend.run("dynamic", {"features": features, "static": np.full((2, 5), value, np.float32)})
        for value in (0, 1)
    )
    assert np.abs(zeros["dynamic_mean"] - ones["dynamic_mean"]).max() > 1e-5


def test_drawn_dynamic_codes_depend_on_the_drawn_static_code() -> None:
    found = model("full")
    run, x = verbs(found), sequences(2, 5)
    drawn = run.encode(x, seed=7)
    features = run.backend.run("encoder", {"x": x})["features"]
    given = run.backend.run("dynamic", {"features": features, "static": drawn.static})
    noise = standard_normal(7, Purpose.DYNAMIC_POSTERIOR, 0, drawn.dynamic.shape)
    np.testing.assert_allclose(drawn.dynamic, given["dynamic_mean"] + given["dynamic_std"] * noise, atol=1e-6)


@pytest.mark.parametrize("variant", ["full", "factorised"])
def test_loss_is_likelihood_and_weighted_divergences(variant: str) -> None:
    found, batch = model(variant, beta=0.5), tiny_batch(sequences(4, 5))
    torch.manual_seed(1)
    losses = found(batch)
    torch.manual_seed(1)
    with torch.no_grad():
        passed = found.posterior(found.encode(batch.x))
        terms = losses.terms
        assert terms["kl_s"].item() == pytest.approx(kl_to_standard(passed.static).mean().item(), rel=1e-5)
        expected = kl(passed.dynamic, Gaussian(*found.prior(passed.d))).sum(1).mean()
        assert terms["kl_d"].item() == pytest.approx(expected.item(), rel=1e-5)
    expected_loss = terms["nll"] + 0.5 * (terms["kl_s"] + terms["kl_d"])
    assert losses.loss.item() == pytest.approx(expected_loss.item(), rel=1e-6)


def test_prior_without_noise_follows_its_own_means() -> None:
    found = model("full")
    run = verbs(found)
    rolled = run.backend.run("prior", {"noise": np.zeros((2, 6, 4), np.float32)})
    np.testing.assert_allclose(rolled["dynamic"], rolled["dynamic_mean"], atol=1e-6)
    with torch.no_grad():
        taught = found.prior(torch.from_numpy(rolled["dynamic"])).mean.numpy()
    np.testing.assert_allclose(rolled["dynamic_mean"], taught, atol=1e-5)


def test_swapping_twice_changes_nothing_of_the_codes() -> None:
    run, x = verbs(model("full")), sequences(2, 5)
    a, b = run.encode(x[:1]), run.encode(x[1:])
    once = (a.static, b.dynamic), (b.static, a.dynamic)
    twice = (once[0][0], once[1][1])
    assert np.array_equal(twice[0], a.static)
    assert np.array_equal(twice[1], a.dynamic)
