"""GLR: what its codes are read from, its prior, and the terms of its objective."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdkit.methods.glr import LARGEST_EXPONENT, Glr, GlrSettings, counterfactual_ratio
from sdkit.methods.graphs import join, verbs
from sdkit.methods.parts import gp
from sdkit.runtime.errors import CapabilityError, ConfigError
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import sequences, tiny_batch, tiny_model

SERIES = ELEMENTS["series"]


def model(**changes: Any) -> Glr:
    found = tiny_model(method="glr", **changes)
    assert isinstance(found, Glr)
    return found


def minimise(loss: Tensor) -> None:
    loss.backward()  # type: ignore[no-untyped-call]


def test_parts_are_contiguous_and_begin_everywhere() -> None:
    found = model(part=0.4)
    steps = torch.arange(10.0).expand(500, 10).unsqueeze(-1)
    parts = found.random_part(steps)[..., 0]
    assert parts.shape == (500, 4)
    assert (parts.diff(dim=1) == 1).all()
    assert sorted(set(parts[:, 0].tolist())) == list(range(7))


@pytest.mark.parametrize(("part", "steps", "length"), [(1.0, 5, 5), (0.6, 12, 7), (0.3, 28, 8), (0.1, 2, 1)])
def test_parts_have_a_share_of_the_steps_and_at_least_one(part: float, steps: int, length: int) -> None:
    assert model(part=part).random_part(torch.zeros(3, steps, 2)).shape == (3, length, 2)


def test_part_of_all_steps_is_the_series() -> None:
    values = torch.randn(3, 5, 2)
    assert torch.equal(model(part=1.0).random_part(values), values)


def test_each_sequence_has_a_part_of_its_own() -> None:
    torch.manual_seed(0)
    steps = torch.arange(10.0).expand(50, 10).unsqueeze(-1)
    starts = model(part=0.3).random_part(steps)[:, 0, 0]
    assert len(set(starts.tolist())) > 1


def test_static_code_sees_every_element_at_use_and_has_variance_1() -> None:
    run, x = verbs(model(part=0.3)), sequences(2, 5)
    for step in range(5):
        other = x.copy()
        other[:, step] = 255 - other[:, step]
        assert np.abs(run.encode(other).static - run.encode(x).static).max() > 1e-5
    features = run.backend.run("encoder", {"x": x})["features"]
    assert np.array_equal(run.backend.run("static", {"features": features})["static_std"], np.ones((2, 5), np.float32))


def test_means_of_dynamic_codes_see_their_own_element_alone() -> None:
    run, x = verbs(model()), sequences(2, 5)
    other = x.copy()
    other[:, 2] = 255 - other[:, 2]
    same = np.abs(run.encode(other).dynamic - run.encode(x).dynamic).max((0, 2)) < 1e-6
    assert same.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("size", [4, 5, 1])
def test_prior_is_half_cauchy_and_half_rbf(size: int) -> None:
    found = model(dynamic_size=size, scales=2, length_scale=2.0)
    half = size - size // 2
    kernels = [gp.kernel_matrix("cauchy", 5, scale, 0.5) for scale in gp.length_scales(half, 2.0, 2)]
    kernels += [gp.kernel_matrix("rbf", 5, scale) for scale in gp.length_scales(size - half, 2.0, 2)]
    factors = found.prior.factors.double()
    assert torch.allclose(factors @ factors.transpose(1, 2), torch.stack(kernels), atol=1e-6)
    drawn = verbs(found).draw_dynamic(20_000, 5, seed=1)
    for i, kernel in enumerate(kernels):
        assert np.allclose(np.cov(drawn[..., i].T), kernel.numpy(), atol=0.05)


def test_ratio_is_that_of_two_densities() -> None:
    torch.manual_seed(0)
    s, other, mean = torch.randn(3, 7, 4)
    expected = torch.exp(-0.5 * (s - mean) ** 2) / torch.exp(-0.5 * (other - mean) ** 2)
    torch.testing.assert_close(counterfactual_ratio(s, other, mean), expected)
    assert counterfactual_ratio(mean, mean, mean).eq(1).all()


def test_ratio_is_small_where_the_new_code_is_found_and_bounded_where_the_old_one_is() -> None:
    old, new = torch.full((1, 1), 9.0), torch.zeros(1, 1)
    assert counterfactual_ratio(old, new, new).item() == pytest.approx(math.exp(-40.5))
    assert counterfactual_ratio(old, new, old).item() == pytest.approx(math.exp(LARGEST_EXPONENT))


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    found = model(static_weight=3.0, dynamic_weight=0.3, counterfactual=7.0).train()
    losses = found(tiny_batch(sequences(4, 5)))
    terms = losses.terms
    expected = terms["nll"] + 3 * terms["kl_s"] + 0.3 * terms["kl_gp"] + 7 * terms["counterfactual"]
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert losses.static is not None
    # Of unit variance: half the squared mean is all there is.
    assert terms["kl_s"].item() == pytest.approx(0.5 * losses.static.square().sum(1).mean().item(), rel=1e-5)


def test_weight_0_leaves_the_counterfactual_term_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    without, given = model(counterfactual=0.0), model(counterfactual=1.0)
    for found in (without, given):
        encode = found.encode

        def counted(x: Tensor, encode: Any = encode) -> Tensor:
            calls.append(1)
            return encode(x)  # type: ignore[no-any-return]

        monkeypatch.setattr(found, "encode", counted)
    assert "counterfactual" not in without(tiny_batch(sequences(4, 5))).terms
    assert len(calls) == 1
    assert "counterfactual" in given(tiny_batch(sequences(4, 5))).terms
    assert len(calls) == 3


def test_counterfactual_term_teaches_decoder_and_static_path() -> None:
    found = model(counterfactual=1.0, element=SERIES).train()
    minimise(found.counterfactual(torch.randn(8, 5), torch.randn(8, 5, 4)))
    for part in (found.decoder, found.static_path):
        assert any(p.grad is not None and p.grad.abs().max() > 0 for p in part.parameters())


def agreement(found: Glr, d: Tensor) -> float:
    """Return the mean correlation of static codes with what is read from series that were decoded from them."""
    torch.manual_seed(1)
    s = torch.randn(len(d), 2)
    with torch.no_grad():
        read = found.static_path(found.encode(found.drawn(found.decode(join(s, d)))))
    return float(np.mean([np.corrcoef(s[:, i], read[:, i])[0, 1] for i in range(2)]))


def test_training_with_the_term_makes_an_exchanged_static_code_readable() -> None:
    wide = {"hidden_size": 32, "encoder_widths": (32, 32), "decoder_widths": (32, 32)}
    found = model(element=ELEMENTS["vector"], static_size=2, part=1.0, **wide).train()
    torch.manual_seed(0)
    d = torch.randn(64, 3, 4)
    before = agreement(found, d)
    optimiser = torch.optim.Adam(found.parameters(), 3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        minimise(found.counterfactual(torch.randn(64, 2), d))
        optimiser.step()
    assert abs(before) < 0.5
    assert agreement(found, d) > 0.7


def test_values_that_were_not_observed_have_a_finite_loss() -> None:
    found = model(element=SERIES, counterfactual=1.0).train()
    x = sequences(4, 5, SERIES)
    x[:, 1] = np.nan
    x[0] = np.nan
    minimise(found(tiny_batch(x)).loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in found.parameters())


def test_longer_sequences_are_encoded_but_no_longer_ones_drawn() -> None:
    found = model()
    run = verbs(found)
    assert torch.isfinite(found(tiny_batch(sequences(2, 9))).loss)
    assert run.reconstruct(sequences(2, 9)).shape == (2, 9, 3, 16, 16)
    with pytest.raises(ConfigError, match="at most 5 steps, not 6"):
        run.generate(1, 6)
    assert verbs(model(max_steps=9)).generate(1, 9).shape[1] == 9


def test_streams_are_refused() -> None:
    with pytest.raises(CapabilityError, match=r"this model cannot stream: its static code is read from the whole"):
        verbs(model()).stream()


@pytest.mark.parametrize("part", [0.0, -0.1, 1.1])
def test_part_must_be_a_share(part: float) -> None:
    with pytest.raises(ConfigError, match="it must be more than 0 and at most 1"):
        GlrSettings(part=part)


def test_divergences_rise_to_their_weight_during_the_warm_up() -> None:
    found = model(warmup=0.2, static_weight=3.0, dynamic_weight=0.3, counterfactual=0.0)
    assert found.settled == 0.2
    batch = tiny_batch(sequences(4, 5))
    for progress, share in ((0.0, 0.0), (0.05, 0.25), (0.2, 1.0), (1.0, 1.0)):
        losses = found(batch._replace(progress=progress))
        terms = losses.terms
        expected = terms["nll"] + share * (3 * terms["kl_s"] + 0.3 * terms["kl_gp"])
        assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert model(warmup=0.0).rise(0.0) == 1.0


@pytest.mark.parametrize("warmup", [-0.1, 1.0])
def test_warm_up_must_end(warmup: float) -> None:
    with pytest.raises(ConfigError, match="it must be at least 0 and less than 1"):
        GlrSettings(warmup=warmup)
