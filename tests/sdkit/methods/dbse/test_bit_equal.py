"""The losses and gradients of DBSE are those of the code before methods stood behind an interface.

`bit_equal.json` holds them as hexadecimal floats, made once by that code. On the processor that they were made on they
are equal to the bit; on others the order of sums differs, and with it the last bits of float32, so the test allows a
relative difference of 1e-6 of a term (the largest found among the instruction sets of one processor was 3e-7) and of
1e-5 of a gradient's norm.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods.dbse.settings import VARIANTS
from sdkit.runtime.element import Array, Element
from tests.tiny import IMAGE, sequences, tiny_batch, tiny_model

EXPECTED: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("bit_equal.json").read_text())
WEIGHTS: dict[str, Any] = {"alpha": 0.3, "beta_static": 0.7, "beta_dynamic": 0.05}
KINDS: dict[str, tuple[Element, dict[str, Any]]] = {
    "image": (IMAGE, {}),
    "series": (
        Element("series", (4, 3), "float32"),
        {
            "encoder_widths": (5, 6, 7),
            "decoder_widths": (7, 6, 5),
            "feature_mean": (0.2, 0.5, 0.9),
            "feature_std": (0.3, 0.5, 1.1),
        },
    ),
    "spectrum": (
        Element("spectrum", (6,), "float32"),
        {
            "encoder_widths": (9, 8),
            "decoder_widths": (8, 9),
            "feature_mean": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6),
            "feature_std": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        },
    ),
}
PARTS = ("encoder", "decoder", "static_path", "dynamic_path", "prior")


def data(kind: str) -> Array:
    """Return sequences (6, 5, *element); a fifth of a series is not observed."""
    x = sequences(6, 5, KINDS[kind][0], seed=7)
    if kind == "series":
        x[np.random.default_rng(8).random(x.shape) < 0.2] = np.nan
    return x


def found(kind: str, variant: str, likelihood: str) -> dict[str, float]:
    """Return loss, terms and the gradient's norm in each part of a model, at fixed seeds."""
    element, changes = KINDS[kind]
    options = {"likelihood": likelihood, **WEIGHTS, **changes}
    model = tiny_model(variant, 3, element=element, initialised=False, **options).train()
    torch.manual_seed(11)
    losses = model(tiny_batch(data(kind)))
    torch.autograd.backward(losses.loss)
    values = {"loss": losses.loss.item(), **{name: term.item() for name, term in losses.terms.items()}}
    for part in PARTS:
        gradients = [p.grad.double().flatten() for p in getattr(model, part).parameters()]
        values[f"gradient of {part}"] = torch.cat(gradients).norm().item()
    return values


def test_every_kind_and_variant_is_there() -> None:
    cases = {f"{kind} {variant} sum" for kind in KINDS for variant in VARIANTS}
    assert set(EXPECTED) == cases | {f"series {variant} mean" for variant in VARIANTS}


@pytest.mark.parametrize("case", EXPECTED)
def test_losses_are_those_of_before(case: str) -> None:
    values = found(*case.split())
    expected = {name: float.fromhex(value) for name, value in EXPECTED[case].items()}
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=1e-5 if name.startswith("gradient") else 1e-6), name
