"""FHVAE: segments of any length, the table of the training sequences, the posterior of a sequence's mean."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods import fhvae
from sdkit.methods.fhvae import Fhvae
from sdkit.methods.graphs import verbs
from sdkit.methods.parts.gaussian import Gaussian, kl
from sdkit.runtime.engines.backend import chain
from sdkit.runtime.errors import CapabilityError, ConfigError
from sdkit.runtime.runtime import Runtime
from tests.export.runs import lively_model, quick_export, write_run
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import sequences, tiny_batch, tiny_model

STEPS = 3
"""Steps of a segment, so that 5, 6 and 7 steps have a last segment of 2, 3 and 1."""


def model(steps: int = STEPS, **changes: Any) -> Fhvae:
    found = tiny_model(method="fhvae", segment_steps=steps, **changes)
    assert isinstance(found, Fhvae)
    return found


def frames(count: int, steps: int) -> Any:
    return np.random.default_rng(0).standard_normal((count, steps, 3)).astype(np.float32)


@pytest.mark.parametrize("total", [2, 3, 5, 6, 7])
def test_an_lstm_over_segments_is_one_over_each_by_itself(total: int) -> None:
    lstm, x = torch.nn.LSTM(4, 6, batch_first=True), torch.randn(2, total, 4)
    with torch.no_grad():
        found = fhvae.over_segments(lstm, x, STEPS)
        parts = [lstm(part)[0] for part in torch.split(x, STEPS, 1)]
    torch.testing.assert_close(found, torch.cat(parts, 1))
    torch.testing.assert_close(fhvae.last_of_segments(found, STEPS), torch.stack([p[:, -1] for p in parts], 1))


@pytest.mark.parametrize("total", [2, 3, 5, 6, 7])
def test_values_of_segments_are_repeated_over_their_steps(total: int) -> None:
    values = torch.arange(-(-total // STEPS)).float().reshape(1, -1, 1)
    repeated = fhvae.over_steps(values, STEPS, torch.zeros(1, total, 9))
    assert repeated.flatten().tolist() == [t // STEPS for t in range(total)]


def test_mean_posterior_is_that_of_a_gaussian_with_a_standard_prior() -> None:
    """Bayes' rule on a fine grid: N(0, 1) times the density of each code about the mean."""
    z2 = torch.tensor([0.9, 1.4, 0.2], dtype=torch.float64)
    grid = torch.linspace(-8, 8, 200_001, dtype=torch.float64)
    weight = (-0.5 * grid.square() - (z2.unsqueeze(1) - grid).square().sum(0) / (2 * 0.25)).exp()
    mean = (weight * grid).sum() / weight.sum()
    variance = (weight * (grid - mean).square()).sum() / weight.sum()
    found = fhvae.mean_posterior(z2.reshape(1, 3, 1))
    assert found.mean.item() == pytest.approx(mean.item(), rel=1e-6)
    assert found.log_variance.exp().item() == pytest.approx(variance.item(), rel=1e-6)


@pytest.mark.parametrize("steps", [1, STEPS])
def test_static_code_of_the_graphs_is_the_mean_posterior_of_the_segments(steps: int) -> None:
    found, x = model(steps, element=ELEMENTS["spectrum"]), frames(2, 7)
    backend = verbs(found).backend
    static = chain(backend, ("encoder", "static"), {"x": x}, ("static_mean", "static_std"))
    with torch.no_grad():
        shared, _ = found.shared_path(found.encode(torch.from_numpy(x)))
    assert shared.shape[1] == -(-7 // steps)
    expected = fhvae.mean_posterior(shared)
    np.testing.assert_allclose(static["static_mean"], expected.mean.numpy(), atol=1e-6)
    np.testing.assert_allclose(static["static_std"], expected.std.numpy(), atol=1e-6)


def test_codes_of_a_segment_see_that_segment_alone() -> None:
    run, x = verbs(model()), sequences(2, 7)
    other = x.copy()
    other[:, 4] = 255 - other[:, 4]
    changed = np.abs(run.encode(other).dynamic - run.encode(x).dynamic).max((0, 2)) > 1e-6
    assert changed.tolist() == [False] * 3 + [True] * 3 + [False]
    codes = run.encode(x)
    decoded = run.decode(codes)
    codes.dynamic[:, 3:6] += 1.0
    assert (np.abs(run.decode(codes) - decoded).max((0, 2, 3, 4)) > 1e-3).tolist() == changed.tolist()


def test_elements_of_a_segment_differ_where_their_codes_do_not() -> None:
    run = verbs(model())
    x = run.generate(2, 6, seed=1)
    assert np.abs(x[:, 1] - x[:, 0]).max() > 1e-3
    assert np.abs(x[:, 4] - x[:, 3]).max() > 1e-3


def test_samples_are_the_same_in_all_steps_of_a_segment() -> None:
    run, x = verbs(model()), sequences(2, 7)
    for drawn in (run.encode(x, seed=3).dynamic, run.draw_dynamic(2, 7, seed=3)):
        assert np.array_equal(drawn[:, 0], drawn[:, 2])
        assert np.array_equal(drawn[:, 3], drawn[:, 5])
        assert np.abs(drawn[:, 0] - drawn[:, 3]).max() > 1e-3
        assert np.abs(drawn[:, 6] - drawn[:, 3]).max() > 1e-3
    alone = verbs(model(1))
    assert "dynamic_posterior" not in alone.backend.ports
    drawn = alone.encode(x, seed=3).dynamic
    assert np.abs(drawn[:, 0] - drawn[:, 1]).max() > 1e-3


def test_drawn_dynamic_codes_have_the_posterior_and_the_prior_of_a_segment() -> None:
    run, x = verbs(model(element=ELEMENTS["spectrum"])), frames(1, 7).repeat(20_000, 0)
    run.batch_size = len(x)
    drawn = run.encode(x, seed=1).dynamic
    found = chain(run.backend, ("encoder", "dynamic"), {"x": x[:1]}, ("dynamic_mean", "dynamic_std"))
    assert np.allclose(drawn.mean(0), found["dynamic_mean"][0], atol=0.04)
    assert np.allclose(drawn.std(0), found["dynamic_std"][0], rtol=0.04)
    prior = run.draw_dynamic(len(x), 7, seed=1)
    assert np.allclose(prior.mean(0), 0.0, atol=0.04)
    assert np.allclose(prior.std(0), 1.0, atol=0.04)


@pytest.mark.parametrize("kind", list(ELEMENTS))
def test_segments_of_several_steps_are_exported_for_sequences_of_any_length(kind: str, tmp_path: Path) -> None:
    found = lively_model(method="fhvae", element=ELEMENTS[kind], segment_steps=STEPS)
    bundle = quick_export(write_run(tmp_path / "run", found), format="all")
    reference, run = verbs(found), Runtime.open(bundle.path, device="cpu", threads=1)
    for count, total in ((1, 2), (2, 3), (5, 8), (2, 12)):
        x = sequences(count, total, ELEMENTS[kind])
        expected, codes = reference.encode(x, seed=1), run.encode(x, seed=1)
        np.testing.assert_allclose(codes.static, expected.static, atol=1e-4)
        np.testing.assert_allclose(codes.dynamic, expected.dynamic, atol=1e-4)
        tolerance = 1e-4 * max(1.0, ELEMENTS[kind].high)
        np.testing.assert_allclose(run.decode(codes), reference.decode(expected), rtol=1e-4, atol=tolerance)


def test_the_table_is_not_exported(tmp_path: Path) -> None:
    found = lively_model(method="fhvae", count=50_000)
    assert isinstance(found, Fhvae)
    bundle = quick_export(write_run(tmp_path / "run", found))
    assert sum(file.stat().st_size for file in bundle.path.rglob("*.onnx")) < found.means.numel()


@pytest.mark.parametrize("steps", [1, STEPS])
def test_terms_are_those_of_the_definition(steps: int) -> None:
    found, batch = model(steps, alpha=3.0, beta=0.5).train(), tiny_batch(sequences(4, 5))
    with torch.no_grad():
        found.table.normal_(0.0, 0.1)
        # Batch norm moves with every pass, but normalises by the batch.
        torch.manual_seed(1)
        losses = found(batch)
        torch.manual_seed(1)
        passed = found.posterior(found.encode(batch.x))
        mean = found.means[batch.rows]
        about = mean.unsqueeze(1).expand_as(passed.shared.mean)
        expected = kl(passed.shared, Gaussian(about, torch.full_like(about, 0.25).log())).sum(1).mean()
        distances = (passed.shared.mean.unsqueeze(2) - found.means).square().sum(-1)  # (B, N, rows)
        own = (-distances / 0.5).log_softmax(-1)[torch.arange(4), :, batch.rows]
    terms = losses.terms
    assert set(terms) == {term.name for term in found.terms}
    assert terms["kl_s"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert terms["mean"].item() == pytest.approx(0.5 * mean.square().sum(1).mean().item(), rel=1e-5)
    assert terms["discriminative"].item() == pytest.approx(-own.sum(1).mean().item(), rel=1e-4)
    divergences = terms["kl_s"] + terms["mean"] + terms["kl_d"]
    weighted = terms["nll"] + 0.5 * divergences + 3.0 * terms["discriminative"]
    assert losses.loss.item() == pytest.approx(weighted.item(), rel=1e-6)


def test_a_table_of_equal_rows_tells_no_sequence_from_another() -> None:
    found = model(1, count=30).train()
    cost = found(tiny_batch(sequences(4, 5))).terms["discriminative"].item()
    assert cost == pytest.approx(5 * np.log(30), rel=1e-5)


def test_sequences_outside_the_table_have_the_mean_of_their_posterior() -> None:
    found, batch = model(1, count=3), tiny_batch(sequences(8, 5))
    with torch.no_grad():
        losses = found(batch._replace(rows=batch.rows + 1000))
        found.table.fill_(7.0)
        torch.manual_seed(0)
        again = found(batch)
    assert "discriminative" not in losses.terms
    assert losses.static is not None
    half = 0.5 * losses.static.square().sum(1).mean().item()
    assert losses.terms["mean"].item() == pytest.approx(half, rel=1e-6)
    assert again.terms["mean"].item() == pytest.approx(half, rel=1e-6)


def test_discriminative_term_learns_to_tell_sequences_apart() -> None:
    x = np.empty((6, 5, 3, 16, 16), np.uint8)
    x[:] = np.linspace(0, 255, 6).reshape(6, 1, 1, 1, 1)
    found, batch = model(1, count=6).train(), tiny_batch(x)
    optimizer = torch.optim.Adam(found.parameters(), 1e-2)
    costs = []
    for _ in range(60):
        losses = found(batch)
        optimizer.zero_grad()
        losses.loss.backward()
        optimizer.step()
        costs.append(losses.terms["discriminative"].item())
    assert costs[-1] < 0.5 * costs[0]


def test_live_streams_are_refused() -> None:
    with pytest.raises(CapabilityError, match=r"this model cannot stream: .*known only at its end"):
        verbs(model()).stream()


@pytest.mark.parametrize("setting", [{"segment_steps": 0}, {"alpha": -1.0}, {"beta": -1.0}, {"table_rate": 0.0}])
def test_wrong_settings_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Fhvae.Settings(**setting)
