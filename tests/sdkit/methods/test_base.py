"""What a method is given by its base class."""

from typing import Any

import numpy as np
import pytest
import torch

from sdkit.methods import find, names
from sdkit.methods.base import Method, Settings
from sdkit.methods.graphs import verbs
from sdkit.runtime.element import Element
from sdkit.runtime.errors import CapabilityError, ConfigError
from tests.rival import REFUSED, Rival, RivalSettings
from tests.tiny import IMAGE, sequences, tiny_batch, tiny_facts, tiny_model


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("static_size", 0, "static_size = 0; it must be at least 1"),
        ("dynamic_size", -3, "dynamic_size = -3; it must be at least 1"),
        ("encoder_widths", (4, 0), r"encoder_widths = \(4, 0\); expected one or more positive widths"),
        ("decoder_widths", (-1,), r"decoder_widths = \(-1,\); expected one or more positive widths"),
        ("pixel_scale", 0.0, "pixel_scale = 0.0; it must be positive"),
        ("pixel_scale", float("inf"), "pixel_scale = inf; it must be finite"),
        ("strength", float("nan"), "strength = nan; it must be finite"),
    ],
)
def test_settings_that_cannot_be(name: str, value: Any, words: str) -> None:
    values: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=f"^{words}$"):
        RivalSettings(**values)


def test_a_choice_is_one_of_those_there_are() -> None:
    class Chosen(Settings, frozen=True, kw_only=True):
        colour: str = "red"

    Chosen().require_choice("colour", ("red", "green"))
    with pytest.raises(ConfigError, match=r"^colour = 'blue'; choose one of red, green$"):
        Chosen(colour="blue").require_choice("colour", ("red", "green"))


def test_none_is_no_small_number() -> None:
    class Optional(Settings, frozen=True, kw_only=True):
        weight: float | None = None

    Optional().require_at_least(0, "weight")
    with pytest.raises(ConfigError, match=r"^weight = -1\.0; it must be at least 0$"):
        Optional(weight=-1.0).require_at_least(0, "weight")


@pytest.mark.parametrize("element", [IMAGE, Element("series", (4, 2), "float32"), Element("spectrum", (6,), "float32")])
def test_every_method_searches_settings_that_it_has(element: Element) -> None:
    for name in names():
        method = find(name)
        known, space = set(method.Settings.__struct_fields__), method.search(element)
        assert {"static_size", "dynamic_size"} & known <= set(space) <= known


def test_without_variants_there_is_no_name_of_one() -> None:
    assert (Rival.default_variant(IMAGE), Rival.variant_of(RivalSettings())) == ("", "")


def test_only_a_model_that_fits_something_is_finished() -> None:
    assert tiny_model("paper", static_prior="fitted").finishes
    assert not tiny_model("paper", static_prior="standard").finishes
    assert not tiny_model(method="vae").finishes
    assert tiny_model(method="skd").finishes


def test_terms_are_found_by_their_code() -> None:
    assert [find("dbse").term_of(code) for code in ("static", "dynamic")] == ["kl_static", "kl_dynamic"]
    assert Rival.term_of("static") is None


@pytest.fixture
def model(rival: type[Rival]) -> Method:
    return tiny_model(method="rival")


def test_widths_of_a_model_without_context_and_stream(model: Method) -> None:
    assert (model.widths.static_size, model.widths.dynamic_size, model.widths.features) == (5, 4, 32)
    assert (model.widths.context, model.widths.state, model.max_steps) == (0, 0, None)


def test_verbs_that_a_method_has_not_are_refused_with_its_reason(model: Method) -> None:
    v, x = verbs(model), sequences(2, 3)
    assert v.encode(x).dynamic.shape == (2, 3, 4)
    assert v.reconstruct(x).shape == x.shape
    calls: dict[str, Any] = {
        "generate": lambda: v.generate(2, 3),
        "resample_static": lambda: v.resample_static(x),
        "resample_dynamic": lambda: v.resample_dynamic(x),
        "stream": lambda: v.stream(2),
    }
    assert tuple(calls) == REFUSED
    for verb, call in calls.items():
        with pytest.raises(CapabilityError, match=f"^this model cannot {verb}: "):
            call()


def test_dynamic_codes_that_depend_on_the_static_code_are_given_the_one_that_is_used(model: Method) -> None:
    """Of means that is the mean, of samples it is the sample."""
    v, x = verbs(model), sequences(2, 3)
    with torch.no_grad():
        graphs = model.graphs()
        features = graphs["encoder"](torch.from_numpy(x))
        static_mean, _ = graphs["static"](features)
        expected, _ = graphs["dynamic"](features, static_mean)
    np.testing.assert_allclose(v.encode(x).dynamic, expected.numpy(), atol=1e-6)
    sampled = v.encode(x, seed=3)
    with torch.no_grad():
        mean, std = graphs["dynamic"](features, torch.from_numpy(sampled.static))
    apart = (sampled.dynamic - mean.numpy()) / std.numpy()
    assert 0.3 < apart.std() < 2
    assert np.abs(sampled.static - v.encode(x).static).max() > 0.01


def test_a_batch_has_positions(model: Method) -> None:
    """The critic of the made-up method learns the rows."""
    batch = tiny_batch(sequences(3, 4))
    torch.manual_seed(0)
    losses = [model(batch._replace(rows=batch.rows + shift), "critic").loss.item() for shift in (0, 10)]
    assert losses[1] > losses[0] + 50


def test_facts_reach_the_networks() -> None:
    element = Element("spectrum", (2,), "float32")
    facts = tiny_facts(element, feature_mean=(5.0, -3.0), feature_std=(2.0, 0.5))
    model = Rival(RivalSettings(static_size=2, dynamic_size=2, encoder_widths=(4, 4), decoder_widths=(4, 4)), facts)
    x = torch.zeros(1, 2, 2)
    (mean, *_) = model.graphs()["decoder"](torch.zeros(1, 2), torch.zeros(1, 2, 2))
    assert mean.shape == x.shape
    torch.testing.assert_close(model.decoder.standard.mean, torch.tensor([5.0, -3.0]))
