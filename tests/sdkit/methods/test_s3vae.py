"""S3VAE: its triplets, its labels by kind of element, and its objective."""

from typing import Any

import pytest
import torch

from sdkit.export.proof.cases import sample
from sdkit.methods.parts.mutual_information import mutual_information
from sdkit.methods.parts.views import reordered
from sdkit.methods.s3vae import S3vae
from sdkit.runtime.element import Element
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import sequences, tiny_batch, tiny_model

LABELS = {"image": ["area", "direction"], "spectrum": ["volume"], "series": ["change"], "vector": ["change"]}


def model(kind: str = "image", **changes: Any) -> S3vae:
    found = tiny_model(method="s3vae", element=changes.pop("element", ELEMENTS[kind]), **changes)
    assert isinstance(found, S3vae)
    return found


def test_a_static_code_that_depends_on_the_order_pays_for_it() -> None:
    found = model()
    batch = tiny_batch(sequences(4, 5))
    with torch.no_grad():
        passed = found.posterior(found.encode(batch.x))
        torch.manual_seed(3)
        other, _ = found.infer(reordered(passed.elements))
        mean = passed.static.mean
        near = (mean - other.mean + 1e-6).norm(dim=1)
        far = (mean - mean[[3, 0, 1, 2]] + 1e-6).norm(dim=1)
        torch.manual_seed(3)
        triplet = found.triplet(passed)
    assert near.min() > 0
    assert triplet.item() == pytest.approx((1 + near - far).clamp_min(0).mean().item(), rel=1e-5)


def test_equal_sequences_without_an_order_pay_the_margin() -> None:
    found = model()
    x = sequences(1, 1).repeat(4, 0).repeat(5, 1)
    with torch.no_grad():
        assert found.triplet(found.posterior(found.encode(torch.from_numpy(x)))).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", LABELS)
def test_each_kind_has_labels_of_its_own(kind: str) -> None:
    found = model(kind)
    losses = found(tiny_batch(sample(ELEMENTS[kind], 4, 5, 3)))
    assert set(losses.terms) == {"nll", "kl_s", "kl_d", "triplet", "information", *LABELS[kind]}
    assert all(losses.terms[name] > 0 for name in LABELS[kind])


def test_decibels_are_taken_for_decibels() -> None:
    assert model(element=Element("spectrum", (3,), "float32", ("dB",))).labels["volume"].decibels
    assert not model("spectrum").labels["volume"].decibels


def test_loss_is_the_sum_of_its_weighted_terms() -> None:
    found = model(beta=0.5, triplet_weight=3.0, motion_weight=0.7, information_weight=0.2)
    terms = (losses := found(tiny_batch(sequences(4, 5)))).terms
    expected = terms["nll"] + 0.5 * (terms["kl_s"] + terms["kl_d"]) + 3 * terms["triplet"]
    expected = expected + 0.2 * terms["information"] + 0.7 * (terms["area"] + terms["direction"])
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("legacy", [False, True])
def test_legacy_density_reaches_the_estimate(legacy: bool) -> None:
    found = model(legacy_density=legacy)
    with torch.no_grad():
        passed = found.posterior(found.encode(tiny_batch(sequences(4, 5)).x))
        expected = mutual_information(passed.static, passed.s, passed.dynamic, passed.d, legacy_density=legacy)
        assert found.information(passed).item() == pytest.approx(expected.item(), rel=1e-6)


def test_labels_train_the_dynamic_codes_and_leave_the_static_code_alone() -> None:
    found = model().train()
    passed = found.posterior(found.encode(tiny_batch(sequences(4, 5)).x))
    sum(label(passed.d, torch.from_numpy(sequences(4, 5))).sum() for label in found.labels.values()).backward()
    assert any(value.grad is not None and value.grad.any() for value in found.dynamic_path.parameters())
    assert all(value.grad is None for value in found.static_path.parameters())


def test_no_graph_holds_the_labels() -> None:
    found = model()
    heads = {id(value) for value in found.labels.parameters()}
    graphs = {id(value) for graph in found.graphs().values() for value in graph.parameters()}
    assert heads
    assert not heads & graphs
