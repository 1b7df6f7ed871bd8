import re
from typing import Any

import msgspec
import pytest

from sdkit.methods import find
from sdkit.methods.dbse.settings import VARIANTS, DbseSettings
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError
from tests.sdkit.methods.dbse.tiny import tiny_settings
from tests.tiny import IMAGE

SERIES, SPECTRUM = Element("series", (2, 1), "float32"), Element("spectrum", (9,), "float32")


def variant_of(settings: DbseSettings) -> str:
    return find("dbse").variant_of(settings)


def test_defaults_are_the_printed_model() -> None:
    settings = DbseSettings()
    assert (settings.subtract, settings.anchor_dynamic, settings.anchor) == ("hidden", "zero", "first")
    assert (settings.bidirectional, settings.layers, settings.filter) == (False, 1, False)
    assert (settings.alpha, settings.betas, settings.likelihood) == (0.2, (0.2, 0.2), "sum")
    assert (settings.encoder_widths, settings.decoder_widths) == ((), ())  # the kind's own
    assert variant_of(settings) == "paper"


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_know_their_name_whatever_the_widths(variant: str) -> None:
    assert variant_of(tiny_settings(variant)) == variant
    assert variant_of(tiny_settings(variant, anchor="last", static_size=3, alpha=0.7)) == variant


@pytest.mark.parametrize("change", [{"subtract": "none"}, {"anchor_dynamic": "inferred"}, {"layers": 2}])
def test_other_switches_are_custom(change: dict[str, Any]) -> None:
    assert variant_of(tiny_settings(**change)) == "custom"


def test_images_take_the_filter_by_default_and_all_else_the_printed_model() -> None:
    dbse = find("dbse")
    assert [dbse.default_variant(element) for element in (IMAGE, SERIES, SPECTRUM)] == ["filter", "paper", "paper"]


def test_causal() -> None:
    assert tiny_settings("paper").causal
    assert not tiny_settings("release").causal
    assert tiny_settings("release", bidirectional=False).causal
    assert tiny_settings("filter").causal


@pytest.mark.parametrize(
    ("anchor", "positions"), [("first", [0, 0, 0, 0]), ("middle", [1, 1, 2, 2]), ("last", [1, 2, 3, 4])]
)
def test_anchor_index(anchor: str, positions: list[int]) -> None:
    settings = tiny_settings(anchor=anchor)
    assert [settings.anchor_index(steps) for steps in (2, 3, 4, 5)] == positions


def test_betas() -> None:
    assert DbseSettings(beta=0.3).betas == (0.3, 0.3)
    assert DbseSettings(beta=0.3, beta_static=0.0).betas == (0.0, 0.3)
    assert DbseSettings(beta=0.3, beta_static=1.0, beta_dynamic=2.0).betas == (1.0, 2.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("static_size", "dynamic_size", "hidden_size", "prior_hidden_size")),
        ("prior_layers", 0),
        ("layers", -1),
        ("decoder_widths", (8, 0)),
        ("pixel_scale", 0.0),
        ("pixel_scale", float("nan")),
        ("alpha", -0.1),
        ("alpha", float("nan")),
        ("beta", float("inf")),
        ("beta_static", -1.0),
        ("beta_dynamic", float("nan")),
        ("subtract", "hiden"),
        ("anchor_dynamic", "0"),
        ("anchor", "second"),
        ("likelihood", "median"),
    ],
)
def test_impossible_values_name_the_setting(name: str, value: Any) -> None:
    values: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError, match=rf"^{name} = "):
        DbseSettings(**values)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"variant": "paper"}, None),
        ({"variant": "filter"}, None),
        ({"variant": "release"}, r"its LSTM is bidirectional, .*; the variants paper and filter can"),
        ({"anchor": "middle"}, r"its static code is read from the middle element, .*; causal variants with anchor"),
        ({"anchor": "last"}, r"its static code is read from the last element"),
        ({"variant": "release", "bidirectional": False}, None),
    ],
    ids=str,
)
def test_what_cannot_run_online_says_why(changes: dict[str, Any], reason: str | None) -> None:
    refusals = find("dbse").refusals(tiny_settings(**changes))
    if reason is None:
        assert refusals == {}
    else:
        assert list(refusals) == ["stream"]
        assert re.match(reason, refusals["stream"])


def test_json_round_trip_and_unknown_keys() -> None:
    settings = tiny_settings("release", anchor="middle", beta_static=0.0)
    data = msgspec.json.encode(settings)
    assert msgspec.json.decode(data, type=DbseSettings) == settings
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.json.decode(data[:-1] + b',"colour":1}', type=DbseSettings)
