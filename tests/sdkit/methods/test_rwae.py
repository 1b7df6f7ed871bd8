"""R-WAE: what its codes and its decoder depend on, and its objective."""

from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods.graphs import join, verbs
from sdkit.methods.parts.gaussian import Gaussian
from sdkit.methods.parts.mmd import mmd
from sdkit.methods.rwae import Rwae
from sdkit.runtime.codes import Codes
from sdkit.runtime.noise import Purpose, standard_normal
from tests.tiny import sequences, tiny_batch, tiny_model


def model(**changes: Any) -> Rwae:
    found = tiny_model(method="rwae", **changes)
    assert isinstance(found, Rwae)
    return found


def test_dynamic_codes_see_no_later_element_and_the_static_code_sees_all() -> None:
    run, x = verbs(model()), sequences(2, 5)
    for step in range(5):
        other = x.copy()
        other[:, step] = 255 - other[:, step]
        a, b = run.encode(x), run.encode(other)
        moved = np.abs(a.dynamic - b.dynamic).max((0, 2)) > 1e-6
        assert moved.tolist() == [False] * step + [True] * (5 - step)
        assert np.abs(a.static - b.static).max() > 1e-6


def test_each_code_is_fed_the_one_before_it() -> None:
    path = model().dynamic_path
    torch.manual_seed(0)
    features, noise = torch.randn(3, 5, 6), torch.randn(3, 5, 4)
    with torch.no_grad():
        samples, mean, log_variance = path(features, noise)
        torch.testing.assert_close(samples, mean + torch.exp(0.5 * log_variance) * noise)
        before = torch.cat([torch.zeros(3, 1, 4), samples[:, :-1]], 1)
        hidden, _ = path.lstm(torch.cat([features, before], 2))
        torch.testing.assert_close(mean, path.head(hidden)[0])
        torch.testing.assert_close(log_variance, path.head(hidden)[1])
        noise[:, 2] += 1
        moved = (path(features, noise)[1] - mean).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [False, False, False, True, True]


def test_means_are_fed_means_and_draws_are_fed_draws() -> None:
    run, x = verbs(model()), sequences(2, 5)
    features = run.backend.run("encoder", {"x": x})["features"]
    silent = run.backend.run("dynamic_posterior", {"features": features, "noise": np.zeros((2, 5, 4), np.float32)})
    np.testing.assert_allclose(run.encode(x).dynamic, silent["dynamic"], atol=1e-6)
    drawn = run.encode(x, seed=7).dynamic
    noise = standard_normal(7, Purpose.DYNAMIC_POSTERIOR, 0, drawn.shape)
    given = run.backend.run("dynamic_posterior", {"features": features, "noise": noise})
    np.testing.assert_allclose(drawn, given["dynamic"], atol=1e-6)


def test_an_element_is_decoded_from_its_code_and_earlier_ones() -> None:
    run, x = verbs(model()), sequences(2, 5)
    codes = run.encode(x)
    other = codes.dynamic.copy()
    other[:, 2] += 1
    found = [run.decode(Codes(codes.static, dynamic)).astype(float) for dynamic in (codes.dynamic, other)]
    moved = np.abs(found[1] - found[0]).max((0, 2, 3, 4)) > 0
    assert moved.tolist() == [False, False, True, True, True]


def test_the_decoder_graph_is_the_decoder_of_the_loss() -> None:
    found = model()
    torch.manual_seed(0)
    s, d = torch.randn(2, 5), torch.randn(2, 6, 4)
    with torch.no_grad():
        (pixels,) = found.decode(join(s, d))
        torch.testing.assert_close(found.graphs()["decoder"](s, d)[0], 255 * pixels)


def test_loss_is_likelihood_and_weighted_discrepancies() -> None:
    found, batch = model(static_weight=3.0, dynamic_weight=7.0), tiny_batch(sequences(6, 5))
    torch.manual_seed(1)
    with torch.no_grad():
        terms = (losses := found(batch)).terms
        torch.manual_seed(1)
        features = found.graphs()["encoder"](batch.x)
        noise = torch.randn(6, 5, 4)
        d = found.dynamic_path(features, noise)[0]
        s = Gaussian(*found.static_head(features[:, -1])).sample()
        assert terms["mmd_s"].item() == pytest.approx(mmd(s, torch.randn(6, 5)).item(), rel=1e-4)
        taught = found.prior(d).sample()
        steps = [mmd(d[:, t], taught[:, t]).item() for t in range(5)]
        assert terms["mmd_d"].item() == pytest.approx(sum(steps), rel=1e-4)
        nll = found.nll(found.decode(join(s, d)), batch.x).sum(1).mean()
    assert terms["nll"].item() == pytest.approx(nll.item(), rel=1e-5)
    assert losses.loss.item() == pytest.approx((nll + 3 * terms["mmd_s"] + 7 * terms["mmd_d"]).item(), rel=1e-5)


def test_no_discrepancy_is_measured_on_one_sequence() -> None:
    terms = model()(tiny_batch(sequences(1, 5))).terms
    assert (terms["mmd_s"].item(), terms["mmd_d"].item()) == (0, 0)


@pytest.mark.parametrize("smallest", [0.3, 0.01])
def test_the_deviation_of_the_prior_has_a_floor_in_the_loss_and_in_the_graph(smallest: float) -> None:
    found = model(smallest_std=smallest)
    with torch.no_grad():
        found.prior.head.log_variance.bias.fill_(-100.0)
        assert found.prior(torch.randn(2, 5, 4)).std.numpy() == pytest.approx(smallest)
        drawn, mean = found.graphs()["prior"](torch.ones(2, 5, 4))
    assert (drawn - mean).numpy() == pytest.approx(smallest, rel=1e-4)


@pytest.mark.parametrize("initial", [0.5, 0.05])
def test_posteriors_begin_with_a_small_deviation(initial: float) -> None:
    run = verbs(model(initial_std=initial))
    features = run.backend.run("encoder", {"x": sequences(8, 5)})["features"]
    for code in ("static", "dynamic"):
        assert run.backend.run(code, {"features": features})[f"{code}_std"].mean() == pytest.approx(initial, rel=0.5)


def test_the_prior_is_trained_by_the_discrepancy_alone() -> None:
    for weight, reached in ((0.0, False), (1.0, True)):
        found = model(dynamic_weight=weight)
        found(tiny_batch(sequences(6, 5))).loss.backward()
        assert any(bool(value.grad.any()) for value in found.prior.parameters() if value.grad is not None) is reached


def test_loops_compile_and_take_any_number_of_steps() -> None:
    found = model()
    for name in ("dynamic", "dynamic_posterior"):
        graph = found.graphs()[name].eval()
        script = torch.jit.script(graph)
        for steps in (2, 7):
            given = [torch.randn(3, steps, 6), torch.randn(3, steps, 4)][: len(graph.inputs)]  # type: ignore[arg-type]
            with torch.no_grad():
                torch.testing.assert_close(script(*given), graph(*given))
