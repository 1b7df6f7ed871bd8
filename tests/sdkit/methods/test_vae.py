"""VAE: codes that see one element, a prior that links none, and the verbs that it has not."""

from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods.graphs import verbs
from sdkit.methods.parts.gaussian import Gaussian, kl_to_standard
from sdkit.methods.vae import Vae
from sdkit.runtime.contract import STEP
from sdkit.runtime.errors import CapabilityError
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import sequences, tiny_batch, tiny_model


def model(**changes: Any) -> Vae:
    found = tiny_model(method="vae", **changes)
    assert isinstance(found, Vae)
    return found


def test_a_code_sees_its_own_element_alone() -> None:
    run, x = verbs(model()), sequences(2, 5)
    other = x.copy()
    other[:, 2] = 255 - other[:, 2]
    same = np.abs(run.encode(other).dynamic - run.encode(x).dynamic).max((0, 2)) < 1e-6
    assert same.tolist() == [True, True, False, True, True]


def test_codes_follow_the_order_of_the_elements() -> None:
    run, x = verbs(model()), sequences(2, 5)
    np.testing.assert_allclose(run.encode(x[:, ::-1].copy()).dynamic, run.encode(x).dynamic[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(run.reconstruct(x[:, ::-1].copy()), run.reconstruct(x)[:, ::-1], atol=1e-3)


def test_static_code_is_a_constant_0() -> None:
    run, x = verbs(model()), sequences(2, 5)
    assert np.array_equal(run.encode(x, seed=3).static, np.zeros((2, 1), np.float32))


def test_prior_is_the_noise_itself() -> None:
    run = verbs(model())
    noise = np.random.default_rng(0).standard_normal((2, 6, 4)).astype(np.float32)
    drawn = run.backend.run("prior", {"noise": noise})
    assert np.array_equal(drawn["dynamic"], noise)
    assert not drawn["dynamic_mean"].any()


@pytest.mark.parametrize("kind", list(ELEMENTS))
def test_live_codes_are_those_of_whole_sequences(kind: str) -> None:
    element = ELEMENTS[kind]
    run, x = verbs(model(element=element)), sequences(3, 5, element)
    codes, whole = run.encode(x), run.reconstruct(x)
    stream = run.stream(3)
    for t in range(5):
        step = stream.push(x[:, t])
        np.testing.assert_allclose(step.dynamic, codes.dynamic[:, t], atol=1e-5)
        np.testing.assert_allclose(step.x, whole[:, t], atol=1e-4 * max(element.high, 1.0))
    assert (stream.state == 1).all()


def test_verbs_that_need_a_static_code_are_refused_in_one_line() -> None:
    run, x = verbs(model()), sequences(2, 5)
    for call in (lambda: run.swap(x, x), lambda: run.resample_static(x)):
        with pytest.raises(CapabilityError, match=r"this model cannot \w+: its method has no static code"):
            call()
    assert STEP in model().graphs()


def test_loss_is_likelihood_and_weighted_divergence() -> None:
    found, batch = model(beta=0.3), tiny_batch(sequences(4, 5))
    torch.manual_seed(1)
    losses = found(batch)
    torch.manual_seed(1)
    with torch.no_grad():
        posterior = Gaussian(*found.path(found.encode(batch.x)))
        nll = found.nll(found.decode(posterior.sample()), batch.x).sum(1).mean()
    terms = losses.terms
    assert terms["nll"].item() == pytest.approx(nll.item(), rel=1e-5)
    assert terms["kl_d"].item() == pytest.approx(kl_to_standard(posterior).sum(1).mean().item(), rel=1e-5)
    assert losses.loss.item() == pytest.approx((terms["nll"] + 0.3 * terms["kl_d"]).item(), rel=1e-6)


def test_a_value_that_was_not_observed_has_neither_loss_nor_weight() -> None:
    element = ELEMENTS["series"]
    found = model(element=element, feature_mean=(1.0, 2.0, 3.0), feature_std=(1.0, 2.0, 1.0))
    x = sequences(2, 5, element)
    hidden, mean = x.copy(), x.copy()
    hidden[:, 1, 2, 1], mean[:, 1, 2, 1] = np.nan, 2.0
    run = verbs(found)
    np.testing.assert_allclose(run.encode(hidden).dynamic, run.encode(mean).dynamic, atol=1e-6)
    losses = []
    for sequence in (hidden, mean):
        torch.manual_seed(0)
        losses.append(found(tiny_batch(sequence)).terms["nll"].item())
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]
