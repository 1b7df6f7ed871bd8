from typing import Any

import pytest
from sdkit.methods.dbse.config import VARIANTS, ModelConfig

from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError
from sdkit.training.config import (
    MODEL_KEYS,
    TRAIN_KEYS,
    TrainConfig,
    describe_settings,
    parse_override,
    preset,
    presets,
    settings,
)

IMAGE_64 = Element("image", (3, 64, 64), "uint8")
TABLE_5 = {
    "mug": (0.05, 0.01, 1.5e-3, 128, 128, 128),
    "sprites": (0.2, 0.2, 2e-3, 128, 256, 256),
}
"""alpha, beta, learning rate, batch size, static and dynamic size, as the paper prints them."""


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_preset_makes_a_model_of_64x64(name: str, variant: str) -> None:
    model, train = settings(IMAGE_64, preset_name=name, variant=variant)
    assert model.element == IMAGE_64
    assert model.variant == variant
    assert train.epochs >= 1
    assert set(preset(name)) <= {*MODEL_KEYS, *TRAIN_KEYS}


@pytest.mark.parametrize("name", TABLE_5)
def test_presets_hold_table_5(name: str) -> None:
    model, train = settings(IMAGE_64, preset_name=name)
    found = (
        train.alpha,
        train.beta,
        train.learning_rate,
        train.batch_size,
        model.static_size,
        model.dynamic_size,
    )
    assert found == TABLE_5[name]
    assert train.betas == (TABLE_5[name][1],) * 2
    assert train.epochs <= 1000
    assert model.encoder_widths == (32, 64, 128, 256, 128)
    assert model.decoder_widths == (256, 128, 64, 32)


def test_sprites_are_divided_by_256_as_in_the_benchmark() -> None:
    assert settings(IMAGE_64, preset_name="sprites")[0].pixel_scale == 256.0
    assert settings(IMAGE_64, preset_name="mug")[0].pixel_scale == 255.0


def test_without_preset_settings_are_the_defaults() -> None:
    assert settings(IMAGE_64) == (ModelConfig(IMAGE_64), TrainConfig())


def test_later_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"alpha": 0.7, "layers": 5, "bidirectional": True, "static_size": 9}
    monkeypatch.setattr("sdkit.training.config.preset", lambda name: values)
    overrides = {"static_size": 11, "subtract": "none"}
    model, train = settings(IMAGE_64, preset_name="sprites", variant="release", overrides=overrides)
    assert train.alpha == 0.7  # the preset's, over the default
    assert (model.layers, model.anchor_dynamic) == (2, "inferred")  # the variant's, over the preset's
    assert (model.static_size, model.subtract) == (11, "none")  # the override, over preset and variant
    assert model.dynamic_size == 256  # the default


@pytest.mark.parametrize(
    ("wrong", "right", "arguments"),
    [
        ("spirtes", "sprites", {"preset_name": "spirtes"}),
        ("realease", "release", {"variant": "realease"}),
        ("bta", "beta", {"overrides": {"bta": 1.0}}),
        ("encoder_width", "encoder_widths", {"overrides": {"encoder_width": (4,)}}),
    ],
)
def test_unknown_names_get_a_suggestion(wrong: str, right: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"unknown \w+ '{wrong}' \(did you mean '{right}'\?\)"):
        settings(IMAGE_64, **arguments)


def test_unknown_names_without_a_likeness_list_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'xyz'; there are: air-quality, .*, timit"):
        settings(IMAGE_64, preset_name="xyz")
    with pytest.raises(ConfigError, match=r"unknown setting 'element'"):
        settings(IMAGE_64, overrides={"element": IMAGE_64})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 1),
        ("epochs", 0),
        ("epochs", 2.5),
        ("seed", -1),
        ("swap_every", -1),
        ("alpha", -0.1),
        ("alpha", float("nan")),
        ("beta", "much"),
        ("beta", float("inf")),
        ("beta_static", -1.0),
        ("beta_dynamic", float("nan")),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("val_fraction", 1.0),
        ("val_fraction", -0.1),
        ("precision", "float64"),
        ("channels_last", "yes"),
        ("resident_gb", float("nan")),
        ("static_size", 0),
        ("layers", True),
        ("encoder_widths", [32, "x"]),
        ("subtract", "all"),
        ("anchor", 0),
    ],
)
def test_values_that_cannot_be_name_the_setting(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        settings(IMAGE_64, overrides={name: value})


def test_precision_is_checked_in_python_too() -> None:
    with pytest.raises(ConfigError, match="precision"):
        TrainConfig(precision="half")  # type: ignore[arg-type]


def test_betas() -> None:
    assert TrainConfig(beta=0.3).betas == (0.3, 0.3)
    assert TrainConfig(beta=0.3, beta_static=0.0).betas == (0.0, 0.3)
    assert TrainConfig(beta=0.3, beta_static=1.0, beta_dynamic=2.0).betas == (1.0, 2.0)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("beta=0.1", "beta", 0.1),
        ("epochs = 3", "epochs", 3),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("channels_last=false", "channels_last", False),
        ("encoder_widths=[4, 6]", "encoder_widths", [4, 6]),
        ("subtract=none", "subtract", "none"),
        ("precision = bf16", "precision", "bf16"),
        ('anchor="last"', "anchor", "last"),
        ("a=b=c", "a", "b=c"),
    ],
)
def test_parse_override(text: str, name: str, value: Any) -> None:
    found = parse_override(text)
    assert found == (name, value)
    assert type(found[1]) is type(value)


def test_parse_override_wants_an_equals_sign() -> None:
    with pytest.raises(ConfigError, match=r"--set beta: expected name=value"):
        parse_override("beta")


def test_parsed_overrides_are_settings() -> None:
    overrides = dict(map(parse_override, ("encoder_widths=[4, 6]", "subtract=none", "beta=1")))
    model, train = settings(IMAGE_64, overrides=overrides)
    assert (model.encoder_widths, model.subtract, train.beta) == ((4, 6), "none", 1.0)


def test_described_settings_are_all_there_and_of_the_preset() -> None:
    lines = dict(line.split(" = ", 1) for line in describe_settings("sprites"))
    assert list(lines) == [*MODEL_KEYS, *TRAIN_KEYS]
    assert (lines["pixel_scale"], lines["batch_size"], lines["subtract"]) == ("256.0", "128", "hidden")
    assert dict(line.split(" = ", 1) for line in describe_settings())["pixel_scale"] == "255.0"
