from typing import Any

import pytest

from sdkit import methods
from sdkit.methods.dbse.settings import VARIANTS, DbseSettings
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError
from sdkit.training.config import (
    TRAIN_KEYS,
    Plan,
    TrainConfig,
    check_preset,
    describe_settings,
    explain_settings,
    parse_override,
    plan,
    preset,
    preset_kind,
    presets,
)
from tests.tiny import tiny_facts

IMAGE_64 = Element("image", (3, 64, 64), "uint8")
ELEMENTS = {
    "image": IMAGE_64,
    "series": Element("series", (4, 3), "float32"),
    "spectrum": Element("spectrum", (6,), "float32"),
    "vector": Element("vector", (6,), "float32"),
}
TABLE_5 = {
    "mug": (0.05, 0.01, 1.5e-3, 128, 128, 128),
    "sprites": (0.2, 0.2, 2e-3, 128, 256, 256),
}
"""alpha, beta, learning rate, batch size, static and dynamic size, as the paper prints them."""


DBSE_KEYS = DbseSettings.__struct_fields__


def dbse(found: Plan) -> DbseSettings:
    assert isinstance(found.settings, DbseSettings)
    return found.settings


@pytest.mark.parametrize("name", presets())
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_preset_makes_a_model_of_64x64(name: str, variant: str) -> None:
    found = plan(IMAGE_64, preset_name=name, variant=variant)
    assert (found.method.name, found.variant) == ("dbse", variant)
    assert found.train.epochs >= 1


@pytest.mark.parametrize("name", presets())
def test_sections_of_presets_hold_what_they_are_named_after(name: str) -> None:
    sections = preset(name)
    variants = {
        f"{method}.{variant}": method for method in methods.names() for variant in methods.find(method).variants
    }
    assert set(sections) <= {"shared", "train", *methods.names(), *variants}
    assert set(sections["train"]) <= set(TRAIN_KEYS)
    known = {method: methods.find(method).Settings.__struct_fields__ for method in methods.names()}
    assert set(sections["shared"]) <= {key for keys in known.values() for key in keys}
    for section in set(sections) - {"shared", "train"}:
        method = variants.get(section, section)
        assert set(sections[section]) <= {*known[method], *TRAIN_KEYS}
        # A variant's section adds to what makes it the variant, and does not change that.
        switches = methods.find(method).variants.get(section.removeprefix(f"{method}."), {})
        assert method == section or not set(sections[section]) & set(switches)


@pytest.mark.parametrize("name", TABLE_5)
def test_presets_hold_table_5(name: str) -> None:
    found = plan(IMAGE_64, preset_name=name)
    settings, train = dbse(found), found.train
    sizes = (settings.static_size, settings.dynamic_size)
    assert (settings.alpha, settings.beta, train.learning_rate, train.batch_size, *sizes) == TABLE_5[name]
    assert settings.betas == (TABLE_5[name][1],) * 2
    assert train.epochs <= 1000
    assert settings.encoder_widths == (32, 64, 128, 256, 128)
    assert settings.decoder_widths == (256, 128, 64, 32)


def test_sprites_are_divided_by_256_as_in_the_benchmark() -> None:
    assert plan(IMAGE_64, preset_name="sprites").settings.pixel_scale == 256.0
    assert plan(IMAGE_64, preset_name="mug").settings.pixel_scale == 255.0


@pytest.mark.parametrize(
    ("element", "encoder", "decoder"),
    [
        (IMAGE_64, (32, 64, 128, 256, 128), (256, 128, 64, 32)),
        (Element("series", (4, 2), "float32"), (32, 64, 32), (32, 64, 32)),
        (Element("spectrum", (9,), "float32"), (256, 256), (256, 256)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_without_preset_settings_are_the_defaults_with_the_kinds_widths(
    element: Element, encoder: tuple[int, ...], decoder: tuple[int, ...]
) -> None:
    found = plan(element, variant="paper")
    assert found == Plan(
        methods.find("dbse"), DbseSettings(encoder_widths=encoder, decoder_widths=decoder), TrainConfig()
    )


@pytest.mark.parametrize(("kind", "shape", "variant"), [("image", (3, 16, 16), "filter"), ("series", (4, 2), "paper")])
def test_the_variant_is_the_methods_choice_for_the_element(kind: Any, shape: Any, variant: str) -> None:
    element = Element(kind, shape, "float32")
    assert plan(element).variant == methods.find("dbse").default_variant(element) == variant


def test_a_plan_builds_its_model() -> None:
    found = plan(IMAGE_64, variant="release", overrides={"static_size": 3, "encoder_widths": (4, 4, 4, 4, 4)})
    model = found.build(tiny_facts(IMAGE_64))
    assert isinstance(model, found.method)
    assert (model.settings, model.facts.element) == (found.settings, IMAGE_64)
    assert (model.widths.static_size, model.widths.features) == (3, model.features)


def test_later_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    sections = {
        "shared": {"alpha": 0.6, "layers": 5, "bidirectional": True, "static_size": 9, "no_setting_of_dbse": 1},
        "train": {"epochs": 7},
        "dbse": {"alpha": 0.7, "batch_size": 5},
        "another": {"alpha": 0.8},
        "dbse.release": {"dynamic_size": 12, "batch_size": 6},
        "dbse.filter": {"dynamic_size": 13},
    }
    monkeypatch.setattr("sdkit.training.config.preset", lambda name: sections)
    overrides = {"static_size": 11, "subtract": "none"}
    found = plan(IMAGE_64, preset_name="sprites", variant="release", overrides=overrides)
    settings = dbse(found)
    assert settings.alpha == 0.7  # the method's section of the preset, over what it shares, over the default
    assert (found.train.epochs, found.train.batch_size) == (7, 6)  # the preset's; methods and variants may have theirs
    assert (settings.layers, settings.anchor_dynamic) == (2, "inferred")  # the variant's, over the preset's
    assert (settings.static_size, settings.subtract) == (11, "none")  # the override, over preset and variant
    assert settings.dynamic_size == 12  # the variant's section of the preset
    assert settings.encoder_widths == (32, 64, 128, 256, 128)  # the default
    assert plan(IMAGE_64, preset_name="sprites", variant="paper").train.batch_size == 5


def test_a_section_of_a_variant_stands_within_its_methods() -> None:
    sections = preset("sprites")
    assert "ssm" not in sections["skd"]
    assert sections["skd.ssm"]["dynamic_size"] == 14
    by_variant = {v: plan(IMAGE_64, method="skd", preset_name="sprites", variant=v) for v in ("skd", "ssm")}
    sizes = {v: (p.settings.dynamic_size, p.train.gradient_clip, p.variant) for v, p in by_variant.items()}
    assert sizes == {"skd": (32, 1.0, "skd"), "ssm": (14, 5.0, "ssm")}


def test_a_methods_own_defaults_of_training_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = {"gradient_clip": 5.0, "learning_rate": 1e-4}
    monkeypatch.setattr(methods.find("dbse"), "training_defaults", defaults)
    monkeypatch.setattr("sdkit.training.config.preset", lambda name: {"train": {"learning_rate": 3e-4}})
    train = plan(IMAGE_64, preset_name="sprites").train
    assert (train.gradient_clip, train.learning_rate) == (5.0, 3e-4)


@pytest.mark.parametrize(
    ("wrong", "right", "arguments"),
    [
        ("spirtes", "sprites", {"preset_name": "spirtes"}),
        ("realease", "release", {"variant": "realease"}),
        ("bta", "beta", {"overrides": {"bta": 1.0}}),
        ("encoder_width", "encoder_widths", {"overrides": {"encoder_width": (4,)}}),
        ("dbs", "dbse", {"method": "dbs"}),
    ],
)
def test_unknown_names_get_a_suggestion(wrong: str, right: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"unknown \w+ '{wrong}'( of dbse)? \(did you mean '{right}'\?\)"):
        plan(IMAGE_64, **arguments)


def test_unknown_names_without_a_likeness_list_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'xyz'; there are: air-quality, .*, timit"):
        plan(IMAGE_64, preset_name="xyz")
    with pytest.raises(ConfigError, match=r"unknown method 'xyz'; there are: .*dbse"):
        plan(IMAGE_64, method="xyz")
    with pytest.raises(ConfigError, match=r"unknown variant 'xyz' of dbse; there are: paper, release, filter"):
        plan(IMAGE_64, variant="xyz")
    with pytest.raises(ConfigError, match=r"unknown setting 'element'"):
        plan(IMAGE_64, overrides={"element": IMAGE_64})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 1),
        ("epochs", 0),
        ("epochs", 2.5),
        ("seed", -1),
        ("swap_every", -1),
        ("gradient_clip", -1.0),
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
        plan(IMAGE_64, overrides={name: value})


def test_precision_is_checked_in_python_too() -> None:
    with pytest.raises(ConfigError, match="precision"):
        TrainConfig(precision="half")  # type: ignore[arg-type]


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
    overrides = dict(map(parse_override, ("encoder_widths=[4, 6]", "subtract=none", "beta=1", "epochs=3")))
    found = plan(IMAGE_64, overrides=overrides)
    settings = dbse(found)
    assert (settings.encoder_widths, settings.subtract, settings.beta, found.train.epochs) == ((4, 6), "none", 1.0, 3)


@pytest.mark.parametrize("method", methods.names())
def test_described_settings_are_all_there(method: str) -> None:
    lines = [line.partition(" = ")[0] for line in describe_settings(method)]
    assert lines == [*methods.find(method).Settings.__struct_fields__, *TRAIN_KEYS]


@pytest.mark.parametrize("method", methods.names())
def test_every_setting_is_explained(method: str) -> None:
    notes = explain_settings(method)
    assert [
        name for name in (*methods.find(method).Settings.__struct_fields__, *TRAIN_KEYS) if not notes.get(name)
    ] == []


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_for_one_kind(name: str) -> None:
    kind = preset_kind(name)
    check_preset(name, ELEMENTS[kind], "x.h5")
    for other in set(ELEMENTS) - {kind}:
        with pytest.raises(ConfigError, match=rf"preset '{name}' is for elements of kind {kind}; x\.h5 holds {other} "):
            check_preset(name, ELEMENTS[other], "x.h5")


def test_described_settings_are_of_the_presets_kind() -> None:
    lines = dict(line.split(" = ", 1) for line in describe_settings(preset_name="series"))
    assert lines["encoder_widths"] == "(32, 64, 32)"
    assert lines["filter"] == "False"  # a series has another variant than images by default


def test_described_settings_are_of_the_preset_and_the_variant() -> None:
    lines = dict(line.split(" = ", 1) for line in describe_settings("dbse", "sprites", "paper"))
    assert list(lines) == [*DBSE_KEYS, *TRAIN_KEYS]
    assert (lines["pixel_scale"], lines["batch_size"], lines["subtract"]) == ("256.0", "128", "hidden")
    assert lines["encoder_widths"] == "(32, 64, 128, 256, 128)"
    assert dict(line.split(" = ", 1) for line in describe_settings())["pixel_scale"] == "255.0"
