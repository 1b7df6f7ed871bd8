from typing import Any

import msgspec
import pytest
from sdkit.methods.dbse.config import VARIANTS, ModelConfig

from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError
from tests.tiny import IMAGE, tiny_config


def test_defaults_are_the_printed_model() -> None:
    config = ModelConfig(IMAGE)
    assert (config.subtract, config.anchor_dynamic, config.anchor) == ("hidden", "zero", "first")
    assert (config.bidirectional, config.layers) == (False, 1)
    assert (config.encoder_widths, config.decoder_widths) == ((32, 64, 128, 256, 128), (256, 128, 64, 32))
    assert config.variant == "paper"


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_know_their_name_whatever_the_widths(variant: str) -> None:
    assert tiny_config(variant).variant == variant
    assert tiny_config(variant, anchor="last", static_size=3).variant == variant


@pytest.mark.parametrize("change", [{"subtract": "none"}, {"anchor_dynamic": "inferred"}, {"layers": 2}])
def test_other_switches_are_custom(change: dict[str, Any]) -> None:
    assert tiny_config(**change).variant == "custom"


def test_causal() -> None:
    assert tiny_config("paper").causal
    assert not tiny_config("release").causal
    assert tiny_config("release", bidirectional=False).causal


@pytest.mark.parametrize(
    ("anchor", "positions"), [("first", [0, 0, 0, 0]), ("middle", [1, 1, 2, 2]), ("last", [1, 2, 3, 4])]
)
def test_anchor_index(anchor: str, positions: list[int]) -> None:
    config = tiny_config(anchor=anchor)
    assert [config.anchor_index(steps) for steps in (2, 3, 4, 5)] == positions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, 0) for name in ("static_size", "dynamic_size", "hidden_size", "prior_hidden_size")),
        ("prior_layers", 0),
        ("layers", -1),
        ("decoder_widths", (8, 0)),
        ("pixel_scale", 0.0),
        ("pixel_scale", float("nan")),
        ("subtract", "hiden"),
        ("anchor_dynamic", "0"),
        ("anchor", "second"),
    ],
)
def test_impossible_values_name_the_setting(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        tiny_config(**{name: value})


def test_json_round_trip_and_unknown_keys() -> None:
    config = tiny_config("release", element=Element("image", (1, 16, 32), "float32"), anchor="middle")
    data = msgspec.json.encode(config)
    assert msgspec.json.decode(data, type=ModelConfig) == config
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.json.decode(data[:-1] + b',"colour":1}', type=ModelConfig)
