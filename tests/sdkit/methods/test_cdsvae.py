"""C-DSVAE: its contrasts are those of the views, and its objective is their weighted sum."""

import math
from typing import Any

import msgspec
import pytest
import torch

from sdkit.methods.cdsvae import Cdsvae, CdsvaeSettings
from sdkit.methods.graphs import verbs
from sdkit.methods.parts.contrast import nt_xent
from sdkit.runtime.errors import ConfigError
from tests.sdkit.methods.elements import ELEMENTS
from tests.tiny import sequences, tiny_batch, tiny_model

WEIGHTS = {
    "beta": 0.5,
    "static_contrast_weight": 3.0,
    "dynamic_contrast_weight": 2.0,
    "information_weight": 0.7,
}


def model(**changes: Any) -> Cdsvae:
    found = tiny_model(method="cdsvae", **changes)
    assert isinstance(found, Cdsvae)
    return found


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    losses = model(**WEIGHTS)(tiny_batch(sequences(6, 5)))
    terms = losses.terms
    expected = (
        terms["nll"]
        + 0.5 * (terms["kl_s"] + terms["kl_d"])
        + 3.0 * terms["contrast_s"]
        + 2.0 * terms["contrast_d"]
        + 0.7 * terms["information"]
    )
    assert losses.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert set(terms) == {term.name for term in Cdsvae.terms}
    assert 0 < terms["contrast_s"] < math.log(11) + 4  # cosines lie between -1 and 1, divided by 1/2


def test_dynamic_contrast_without_a_change_of_appearance_compares_codes_with_themselves() -> None:
    found = model(jitter_strength=0.0)
    losses = found(tiny_batch(sequences(6, 5)))
    assert losses.dynamic is not None
    d = losses.dynamic.flatten(1)
    assert losses.terms["contrast_d"].item() == pytest.approx(nt_xent(d, d).item(), rel=1e-4)
    torch.manual_seed(0)
    changed = model(jitter_strength=1.0)(tiny_batch(sequences(6, 5)))
    assert changed.terms["contrast_d"].item() > losses.terms["contrast_d"].item()


def test_static_contrast_compares_with_the_same_steps_in_another_order() -> None:
    found, x = model(), sequences(6, 5)
    still = tiny_batch(x[:, :1].repeat(5, 1))  # any order of equal steps is the same
    losses = found(still)
    assert losses.static is not None
    alone = nt_xent(losses.static, losses.static).item()
    assert losses.terms["contrast_s"].item() == pytest.approx(alone, rel=1e-4)
    moving = found(tiny_batch(x))
    assert moving.static is not None
    assert moving.terms["contrast_s"].item() > nt_xent(moving.static, moving.static).item()


@pytest.mark.parametrize(("term", "reached"), [("contrast_s", "static"), ("contrast_d", "dynamic")])
def test_each_contrast_teaches_the_path_of_its_own_code(term: str, reached: str) -> None:
    found = model().train()
    losses = found(tiny_batch(sequences(6, 5)))
    slopes = torch.autograd.grad(losses.terms[term], list(found.parameters()), allow_unused=True)
    touched = {
        name.partition(".")[0]
        for (name, _), slope in zip(found.named_parameters(), slopes, strict=True)
        if slope is not None
    }
    assert touched == {"encoder", "trunk", f"{reached}_path"}


@pytest.mark.parametrize("kind", ELEMENTS)
def test_a_single_sequence_has_nothing_to_contrast_with(kind: str) -> None:
    terms = model(element=ELEMENTS[kind])(tiny_batch(sequences(1, 4, ELEMENTS[kind]))).terms
    assert terms["contrast_s"].item() == pytest.approx(0.0, abs=1e-6)
    assert terms["contrast_d"].item() == pytest.approx(0.0, abs=1e-6)


def test_both_codes_see_the_whole_sequence() -> None:
    run, x = verbs(model()), sequences(2, 5)
    other = x.copy()
    other[:, 4] = 255 - other[:, 4]
    assert abs(run.encode(other).static - run.encode(x).static).max() > 1e-5
    assert (abs(run.encode(other).dynamic - run.encode(x).dynamic).max((0, 2)) > 1e-7).all()


def test_legacy_densities_change_the_information_alone() -> None:
    terms = []
    for legacy in (False, True):
        found = model(legacy_density=legacy)
        torch.manual_seed(2)
        terms.append(found(tiny_batch(sequences(6, 5))).terms)
    differing = {name for name in terms[0] if terms[0][name].item() != terms[1][name].item()}
    assert differing == {"information"}


@pytest.mark.parametrize("name", ["static_contrast_weight", "dynamic_contrast_weight", "jitter_strength"])
def test_weights_are_not_negative(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} = -1"):
        msgspec.structs.replace(CdsvaeSettings(), **{name: -1.0})


def test_half_precision_changes_the_networks_of_elements_alone() -> None:
    found = model()
    losses = []
    for half in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses.append(found(tiny_batch(sequences(6, 5))))
    for name, full in losses[0].terms.items():
        assert losses[1].terms[name].dtype == torch.float32
        assert losses[1].terms[name].item() == pytest.approx(full.item(), rel=0.05, abs=0.05)
