"""TS-DSAE: what its codes depend on, its two stages, and codes that are swapped and read again."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdkit.methods.base import Batch, Losses
from sdkit.methods.graphs import join, verbs
from sdkit.methods.parts.gaussian import Gaussian, kl, kl_to_standard
from sdkit.methods.tsdsae import Tsdsae
from sdkit.runtime.errors import CapabilityError, ConfigError
from tests.tiny import sequences, tiny_batch, tiny_model

FROZEN = ("dynamic_path.", "prior.")


def model(**changes: Any) -> Tsdsae:
    found = tiny_model(method="tsdsae", **changes)
    assert isinstance(found, Tsdsae)
    return found


def batch(progress: float = 1.0, count: int = 4) -> Batch:
    return tiny_batch(sequences(count, 5))._replace(progress=progress)


def backward(found: Tsdsae, given: Batch) -> Losses:
    found.zero_grad()
    losses: Losses = found(given)
    losses.loss.backward()  # type: ignore[no-untyped-call]
    return losses


def first(found: Tsdsae) -> dict[str, Tensor]:
    """Return the weights of the copy from the first stage."""
    assert found.first is not None
    return {name: value.clone() for name, value in found.first.copies.state_dict().items()}


def test_static_code_is_the_same_in_every_order_of_the_elements() -> None:
    run, x = verbs(model()), sequences(2, 5)
    np.testing.assert_allclose(run.encode(x[:, [3, 0, 4, 1, 2]]).static, run.encode(x).static, atol=1e-6)
    other = x.copy()
    other[:, 2] = 255 - other[:, 2]
    assert np.abs(run.encode(other).static - run.encode(x).static).max() > 1e-4


def test_dynamic_codes_see_their_own_element_alone() -> None:
    run, x = verbs(model()), sequences(2, 5)
    other = x.copy()
    other[:, 2] = 255 - other[:, 2]
    same = np.abs(run.encode(other).dynamic - run.encode(x).dynamic).max((0, 2)) < 1e-6
    assert same.tolist() == [True, True, False, True, True]


def test_first_stage_trains_neither_path_nor_prior_of_the_dynamic_codes() -> None:
    found = model(first_stage=0.3).train()
    losses = backward(found, batch(0.29))
    assert not found.second
    for name, value in found.named_parameters():
        assert (value.grad is None) == name.startswith(FROZEN), name
    assert {losses.terms[name].item() for name in ("kl_first", "swap_s", "swap_d")} == {0.0}
    expected = losses.terms["nll"] + losses.terms["kl_s"] + losses.terms["kl_d"]
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_second_stage_trains_everything() -> None:
    found = model(first_stage=0.3, beta=0.5, swap_weight=0.2).train()
    losses = backward(found, batch(0.3))
    assert found.second
    assert all(value.grad is not None for value in found.parameters())
    terms = losses.terms
    assert min(terms["swap_s"].item(), terms["swap_d"].item()) > 0
    expected = terms["nll"] + 0.5 * (terms["kl_first"] + terms["kl_d"]) + 0.2 * (terms["swap_s"] + terms["swap_d"])
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_prior_of_the_second_stage_is_the_posterior_when_the_first_one_ended() -> None:
    found, given = model(first_stage=0.3).train(), batch(0.2)
    optimizer = torch.optim.Adam(found.parameters(), 0.01)
    for _ in range(3):
        backward(found, given)
        optimizer.step()
    ended = {
        **{f"0.{name}": value.clone() for name, value in found.encoder.state_dict().items()},
        **{f"1.{name}": value.clone() for name, value in found.static_path.state_dict().items()},
    }
    assert any(not torch.equal(value, first(found)[name]) for name, value in ended.items())
    for progress in (0.3, 0.6, 0.9):
        backward(found, given._replace(progress=progress))
        optimizer.step()
    kept = first(found)
    assert all(torch.equal(value, kept[name]) for name, value in ended.items())
    # Batch norm uses what it has learnt in evaluation, as the copy always does.
    found.eval()
    with torch.no_grad():
        losses = found(given)
        now = Gaussian(*found.static_path(found.encode(given.x)))
        then = model(first_stage=0.3)
        then.encoder.load_state_dict({name[2:]: value for name, value in kept.items() if name.startswith("0.")})
        then.static_path.load_state_dict({name[2:]: value for name, value in kept.items() if name.startswith("1.")})
        prior = Gaussian(*then.static_path(then.encode(given.x)))
    assert losses.terms["kl_first"].item() == pytest.approx(kl(now, prior).mean().item(), rel=1e-4)
    assert losses.terms["kl_s"].item() == pytest.approx(kl_to_standard(now).mean().item(), rel=1e-4)


def test_evaluation_takes_no_copy_and_follows_the_weights() -> None:
    found = model(first_stage=0.3)
    with torch.no_grad():
        found(batch(1.0))
    assert not found.second
    found.train()(batch(1.0))
    other = model(first_stage=0.3, seed=1)
    other.load_state_dict(found.state_dict())
    assert other.second
    assert all(torch.equal(value, first(found)[name]) for name, value in first(other).items())


def test_no_first_stage_leaves_the_standard_prior() -> None:
    found = model(first_stage=0.0).train()
    losses = backward(found, batch(0.0))
    assert found.second
    assert losses.terms["kl_first"].item() == 0.0
    expected = sum(losses.terms[name].item() for name in ("nll", "kl_s", "kl_d", "swap_s", "swap_d"))
    assert losses.loss.item() == pytest.approx(expected, rel=1e-6)


def test_codes_after_a_swap_are_compared_with_those_of_their_own_donors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A three-cycle, in which a permutation and its inverse differ."""
    found, x = model(), torch.from_numpy(sequences(3, 5))
    order = torch.tensor([1, 2, 0])
    monkeypatch.setattr(torch, "randperm", lambda count, **_: order)
    with torch.no_grad():
        passed = found.posterior(found.encode(x))
        swap_s, swap_d = found.swaps(passed)
        expected_s = expected_d = 0.0
        for own, other in enumerate([1, 2, 0]):
            for giver_s, giver_d in ((other, own), (own, other)):
                made = found.decode(join(passed.s[giver_s : giver_s + 1], passed.d[giver_d : giver_d + 1]))[0]
                features = found.encode(made * found.settings.pixel_scale)
                q_s = Gaussian(*(part[giver_s : giver_s + 1] for part in passed.static))
                q_d = Gaussian(*(part[giver_d : giver_d + 1] for part in passed.dynamic))
                expected_s += kl(Gaussian(*found.static_path(features)), q_s).item() / 3
                expected_d += kl(Gaussian(*found.dynamic_path(features)), q_d).sum().item() / 3
    assert swap_s.item() == pytest.approx(expected_s, rel=1e-4)
    assert swap_d.item() == pytest.approx(expected_d, rel=1e-4)


def test_swaps_leave_the_codes_that_they_compare_with_alone() -> None:
    found = model(first_stage=0.0)
    passed = found.posterior(found.encode(torch.from_numpy(sequences(3, 5))))
    swap_s, swap_d = found.swaps(passed._replace(s=passed.s.detach(), d=passed.d.detach()))
    originals = (*passed.static, *passed.dynamic)
    given = torch.autograd.grad(swap_s + swap_d, originals, allow_unused=True)
    assert [gradient is None for gradient in given] == [True] * 4


def test_the_copy_is_not_exported() -> None:
    found = model()
    names = {name for graph in found.graphs().values() for name, _ in graph.named_buffers()}
    assert not any("copies" in name for name in names)


def test_live_streams_are_refused() -> None:
    with pytest.raises(CapabilityError, match=r"this model cannot stream: .*known only at its end"):
        verbs(model()).stream()


@pytest.mark.parametrize("setting", [{"first_stage": -0.1}, {"first_stage": 1.0}, {"swap_weight": -1.0}])
def test_wrong_settings_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Tsdsae.Settings(**setting)
