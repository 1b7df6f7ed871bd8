"""SKD: known answers of the operator that is fitted after training, and of the priors that sdkit adds."""

from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods.base import Batch
from sdkit.methods.graphs import verbs
from sdkit.methods.skd import Skd, SkdSettings, _Moments
from sdkit.runtime.codes import Codes
from sdkit.runtime.element import Array
from sdkit.runtime.errors import ConfigError
from tests.tiny import sequences, tiny_batch, tiny_model


def finished(parts: int = 1) -> Skd:
    """Return a tiny model whose operator is fitted to 32 sequences, given in one or several batches."""
    model = tiny_model(method="skd", static_size=3)
    assert isinstance(model, Skd)
    x = torch.from_numpy(sequences(32, 6))
    with torch.no_grad():
        model.finish(Batch(part, torch.arange(len(part))) for part in torch.chunk(x, parts))
    return model


def simulated(steps: int = 40, count: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Return sequences of a known operator with two constant directions, and the operator."""
    generator = torch.Generator().manual_seed(3)
    turn = 0.7 * torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
    still = torch.block_diag(torch.eye(2, dtype=torch.float64), turn)  # type: ignore[no-untyped-call]
    basis = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    made = torch.linalg.inv(basis) @ still @ basis
    z = [torch.randn(count, 4, generator=generator, dtype=torch.float64)]
    noise = torch.zeros(4, dtype=torch.float64)
    for _ in range(steps - 1):
        noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
        kick = torch.cat([torch.zeros_like(noise), noise], 1) @ basis
        z.append(z[-1] @ made + 0.1 * kick)
    return torch.stack(z, 1), made


def test_fitted_bases_separate_what_stands_still() -> None:
    z, _ = simulated()
    moments = _Moments(4)
    moments.add(z)
    found = moments.fitted(2)
    static = z @ found["right"][:, :2]
    assert float(static.var(1).max()) < 1e-3 * float(static.mean(1).var())
    dynamic = z @ found["right"][:, 2:]
    assert float(dynamic[:, 20:].mean(1).var()) < 0.1 * float(dynamic[:, 20:].var())


def test_prior_recursion_has_the_moments_of_the_codes() -> None:
    z, _ = simulated()
    moments = _Moments(4)
    moments.add(z)
    found = moments.fitted(2)
    d = z @ found["right"][:, 2:]
    drawn = torch.randn(20_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    sampled = drawn @ found["first_factor"].T + found["first_mean"]
    assert torch.allclose(sampled.T.cov(), d[:, 0].T.cov(), rtol=0.1, atol=0.05 * float(d[:, 0].var()))
    residual = d[:, 1:] - d[:, :-1] @ found["transition"] - found["drift"]
    expected = found["step_factor"] @ found["step_factor"].T
    assert torch.allclose(residual.flatten(0, 1).T.cov(), expected, rtol=0.02, atol=1e-3 * float(expected.max()))


def test_operator_does_not_depend_on_how_the_data_are_cut_into_batches() -> None:
    one, four = finished(1), finished(4)
    projections = [m.right[:, :3] @ m.left[:3] for m in (one, four)]
    assert torch.allclose(projections[0], projections[1], atol=1e-4)
    assert torch.allclose(one.right @ one.left, torch.eye(7), atol=1e-4)


def test_codes_are_deterministic_and_independent_of_neighbours() -> None:
    run = verbs(finished())
    x = sequences(4, 6, seed=9)
    all_codes, alone = run.encode(x), run.encode(x[:1])
    assert np.allclose(all_codes.static[:1], alone.static, atol=1e-6)
    drawn = run.encode(x, seed=5)
    assert np.array_equal(drawn.static, all_codes.static)
    assert np.array_equal(drawn.dynamic, all_codes.dynamic)


def test_swap_with_oneself_is_reconstruction_and_static_prior_is_fitted() -> None:
    model = finished()
    run = verbs(model)
    x = sequences(3, 6, seed=9)
    assert np.allclose(run.swap(x, x)[0], run.reconstruct(x), atol=1e-4)
    drawn = run.draw_static(4000, seed=1)
    codes = run.encode(sequences(32, 6))
    assert np.allclose(drawn.mean(0), codes.static.mean(0), atol=0.1 * codes.static.std())
    assert np.allclose(drawn.std(0), codes.static.std(0), rtol=0.1)


def test_decoder_adds_the_two_parts() -> None:
    model = finished()
    x = torch.from_numpy(sequences(2, 6))
    with torch.no_grad():
        z = model.trajectory(x)
        codes = z @ model.right
        still = codes[..., :3].mean(1)
        rebuilt = (still @ model.left[:3]).unsqueeze(1) + codes[..., 3:] @ model.left[3:]
        expected = model.decoded(rebuilt)[0] * 255
    found = verbs(model).decode(Codes(still.numpy(), codes[..., 3:].numpy()))
    assert np.allclose(found, expected.numpy(), atol=1e-3)


def test_terms_and_gradients() -> None:
    model = tiny_model(method="skd", static_size=3).train()
    losses = model(tiny_batch(sequences(8, 6)))
    losses.loss.backward()
    assert set(losses.terms) == {term.name for term in model.terms}
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def each(**changes: Any) -> Skd:
    """Return a tiny model of the variant `ssm`, in evaluation mode."""
    model = tiny_model("ssm", method="skd", static_size=1, **changes)
    assert isinstance(model, Skd)
    return model


def losses_of(model: Skd, x: Array) -> dict[str, float]:
    with torch.no_grad():
        found = model(tiny_batch(x))
    return {"loss": float(found.loss), **{name: float(value) for name, value in found.terms.items()}}


@pytest.mark.parametrize("steps", [3, 12])
def test_the_loss_of_ssm_is_the_mean_over_sequences_and_that_of_skd_is_not(steps: int) -> None:
    x = sequences(4, steps)
    for variant, alone in (("ssm", True), ("skd", False)):
        model = tiny_model(variant, method="skd", static_size=1)
        assert isinstance(model, Skd)
        whole, single = losses_of(model, x), [losses_of(model, x[i : i + 1]) for i in range(4)]
        for name in ("loss", "eigenvalues_static", "eigenvalues_dynamic"):
            mean = float(np.mean([found[name] for found in single]))
            near = abs(whole[name] - mean) <= 1e-4 * abs(mean) + 1e-7
            assert near or not alone, name
        assert alone or not near


def test_the_loss_of_ssm_has_half_the_weight_of_the_errors_of_predictions() -> None:
    model, x = each(prediction_weight=3.0, eigenvalue_weight=0.5, reconstruction_weight=2.0), sequences(4, 12)
    found = losses_of(model, x)
    values = 12 * 3 * 16 * 16
    expected = (
        2.0 * found["nll"] / values
        + 3.0 / 2 * (found["prediction_data"] + found["prediction_codes"])
        + 0.5 * (found["eigenvalues_static"] + found["eigenvalues_dynamic"])
    )
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


def test_ssm_compares_decoded_predictions_with_the_data() -> None:
    found = losses_of(each(), sequences(4, 3))
    # Two pairs of steps are predicted exactly by an operator of width 5, so both errors are the reconstruction's.
    assert found["prediction_codes"] < 1e-8
    assert found["prediction_data"] == pytest.approx(found["nll"] / (3 * 3 * 16 * 16), rel=1e-3)


def test_a_sequence_that_stands_still_has_a_static_eigenvalue_and_no_other() -> None:
    model = each(threshold=0.5)
    still = torch.randn(3, 1, model.width).expand(3, 8, model.width)
    predicted, static, dynamic = model._fit_each(still)
    torch.testing.assert_close(predicted, still, atol=1e-4, rtol=1e-4)
    assert float(static) == pytest.approx(0.0, abs=1e-6)
    assert float(dynamic) == pytest.approx(0.0, abs=1e-6)


def test_eigenvalues_of_ssm_cost_what_they_are_off() -> None:
    model = each(threshold=0.5)
    assert model.width == 5
    # Turns and shrinks two planes and shrinks an axis: eigenvalues .9, .7 +- .2i and .1 +- .6i.
    planes = [torch.tensor([[a, b], [-b, a]], dtype=torch.float64) for a, b in ((0.7, 0.2), (0.1, 0.6))]
    made = torch.block_diag(torch.tensor([[0.9]], dtype=torch.float64), *planes)  # type: ignore[no-untyped-call]
    z = [torch.ones(2, 1, 5, dtype=torch.float64)]
    for _ in range(11):
        z.append(z[-1] @ made)
    _, static, dynamic = model._fit_each(torch.cat(z, 1))
    # The nearest to 1 is .9; of the other four, the real parts of two lie above the threshold.
    assert float(static) == pytest.approx(0.1**2, rel=0.05)
    assert float(dynamic) == pytest.approx((0.7 + 0.7) / 4, rel=0.02)


@pytest.mark.parametrize("steps", [2, 5, 12])
def test_every_parameter_of_ssm_learns_from_sequences_of_any_length(steps: int) -> None:
    model = each().train()
    losses = model(tiny_batch(sequences(8, steps)))
    losses.loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_operator_of_a_sequence_has_one_static_mode() -> None:
    assert (SkdSettings(per_sequence=True, static_size=1).static_size, Skd.variant_of(SkdSettings())) == (1, "skd")
    with pytest.raises(ConfigError, match="static_size = 2; the operator of a sequence has 1 static mode"):
        SkdSettings(per_sequence=True, static_size=2)
