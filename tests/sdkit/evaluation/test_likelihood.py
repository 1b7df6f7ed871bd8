from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from sdkit.evaluation.likelihood import likelihood
from sdkit.methods.base import Batch, Losses
from sdkit.runtime.element import Array
from sdkit.runtime.storage.sequences import SequenceFile
from tests.sdkit.evaluation.labelled import SERIES, series
from tests.sdkit.evaluation.other_methods import Dreamer, Fixed, OneCode, model_of
from tests.tiny import tiny_model

INDEX = np.array([0, 1, 3, 4, 6])
"""Two of three windows, then two of four, then one of three again."""


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> SequenceFile:
    return SequenceFile(series(tmp_path_factory.mktemp("likelihood") / "waves.h5", lengths=True))


@pytest.fixture(params=["paper", "release"])
def model(request: pytest.FixtureRequest) -> Any:
    return tiny_model(request.param, element=SERIES, encoder_widths=(6, 6), decoder_widths=(6, 6))


def by_hand(model: Any, groups: list[Array], seed: int) -> Array:
    """Return the five terms of all sequences together, from the Gaussians that the model gives."""
    torch.manual_seed(seed)
    terms = []
    for x in groups:
        out = model.output(torch.from_numpy(x))
        (m, s), (dm, ds), (pm, ps) = ((g.mean, g.std) for g in (out.static, out.dynamic, out.prior))
        kl_static = (0.5 * (m**2 + s**2 - 1) - s.log()).sum(1)
        kl_dynamic = (0.5 * ((dm - pm) ** 2 + ds**2 - ps**2) / ps**2 + ps.log() - ds.log()).sum((1, 2))
        values = torch.from_numpy(np.isfinite(x).sum((1, 2, 3)))
        terms += torch.stack([values, out.nll[:, 1:].sum(1), out.nll[:, 0], kl_static, kl_dynamic], 1).tolist()
    return np.asarray(np.mean(terms, 0))


def test_it_is_the_mean_of_the_terms_over_sequences(waves: SequenceFile, model: Any) -> None:
    found = likelihood(model, waves, INDEX, seed=7)
    groups = [waves.read([0, 3, 6])[:, :3], waves.read([1, 4])[:, :4]]
    with torch.no_grad():
        expected = by_hand(model, [np.ascontiguousarray(x) for x in groups], 7)
    assert found.sequences == 5
    assert found.values == (3 * 3 + 2 * 4) / 5 * 8
    told = [found.values, *found.terms.values()]
    np.testing.assert_allclose(told, expected, rtol=1e-5)
    assert min(told[3:]) > 0.01
    assert found.nll == pytest.approx(expected[1] + expected[2])
    assert found.nll_value == pytest.approx((expected[1] + expected[2]) / expected[0])
    assert [found.static_divergence, found.dynamic_divergence] == told[3:]


def test_missing_values_are_not_counted(tmp_path: Path, model: Any) -> None:
    path = series(tmp_path / "waves.h5")
    with h5py.File(path, "r+") as whole:
        whole["data"][:4, :, :2] = np.nan
    file = SequenceFile(path)
    found = likelihood(model, file, np.arange(4))
    assert found.values == 5 * 2 * 2
    assert np.isfinite(found.nll or np.nan)


@pytest.mark.parametrize("training", [True, False])
def test_it_leaves_no_trace(waves: SequenceFile, model: Any, training: bool) -> None:
    model.train(training)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = likelihood(model, waves, INDEX, seed=2)
    assert model.training == training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert likelihood(model, waves, INDEX, seed=2) == first
    assert likelihood(model, waves, INDEX, seed=3) != first


def test_a_failure_leaves_no_trace_either(waves: SequenceFile, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), "forward", fail)
    model.train()
    state = torch.random.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        likelihood(model, waves, INDEX)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_terms_are_summed_by_kind(waves: SequenceFile) -> None:
    one = likelihood(model_of(OneCode, SERIES), waves, INDEX)
    assert list(one.terms) == ["misfit", "cost"]
    assert (one.nll, one.static_divergence, one.dynamic_divergence) == (one.terms["misfit"], None, one.terms["cost"])
    fixed = likelihood(model_of(Fixed, SERIES), waves, INDEX)
    assert (fixed.nll, fixed.static_divergence, fixed.dynamic_divergence) == (fixed.terms["misfit"], None, None)
    assert fixed.terms["size"] > 0
    dreamer = likelihood(model_of(Dreamer, SERIES), waves, INDEX)
    assert (dreamer.nll, dreamer.nll_value, list(dreamer.terms)) == (None, None, ["contest"])


def test_rows_are_positions_in_the_split(waves: SequenceFile) -> None:
    seen: dict[int, np.ndarray[Any, Any]] = {}

    class Noting(Fixed):
        def forward(self, batch: Batch, phase: str = "model") -> Losses:
            seen.update(zip(batch.rows.tolist(), batch.x.numpy(), strict=True))
            return super().forward(batch, phase)

    likelihood(model_of(Noting, SERIES), waves, INDEX)
    assert sorted(seen) == list(range(len(INDEX)))
    for place, row in enumerate(INDEX):
        np.testing.assert_array_equal(seen[place], waves.read([row])[0, : len(seen[place])])


def test_an_adversarial_method_is_asked_for_its_first_phase(waves: SequenceFile) -> None:
    asked: list[str] = []

    class Phased(Dreamer):
        phases = ("generator", "critic")

        def forward(self, batch: Batch, phase: str = "model") -> Losses:
            asked.append(phase)
            return super().forward(batch, phase)

    likelihood(model_of(Phased, SERIES), waves, INDEX)
    assert set(asked) == {"generator"}
