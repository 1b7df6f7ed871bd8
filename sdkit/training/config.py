"""Settings of training, and where settings come from: defaults, a preset, a variant, then overrides."""

import ast
import inspect
import math
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import resources
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from sdkit import elements, methods
from sdkit.methods.base import Facts, Method, Settings
from sdkit.presets import names
from sdkit.runtime import kinds
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

Precision = Literal["auto", "bf16", "float32"]


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that determines a training run except the method and the data."""

    learning_rate: float = 1e-3
    """Learning rate of Adam, constant."""
    adam_beta1: float = 0.9
    """Decay of Adam's mean of gradients, its momentum; adversarial training takes less."""
    batch_size: int = 128
    """Number B of sequences of an optimiser step."""
    epochs: int = 100
    """Number of epochs in all."""
    seed: int = 0
    """Seed of weights, order and noise."""
    gradient_clip: float = 0.0
    """Largest norm of the gradient; 0 for no limit."""
    val_fraction: float = 0.05
    """Share of the training split held out by static labels (else at random) where the file has no validation split."""
    precision: Precision = "auto"
    """Precision of the convolutions; auto takes bf16 where the machine has the instructions. LSTMs and losses stay in
    float32."""
    channels_last: bool = True
    """Memory layout of the convolutions; several times faster on CPUs and GPUs alike."""
    resident_gb: float = 4.0
    """Size up to which data stay in memory, on the device; larger files are streamed in shuffled chunks."""
    swap_every: int = 4
    """Number of epochs between two pictures of swapped sequences; 0 draws none."""

    def __post_init__(self) -> None:
        for name in TrainConfig.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{name} = {value}; it must be finite")
        for name, least in {"batch_size": 2, "epochs": 1, "seed": 0, "swap_every": 0, "gradient_clip": 0}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} = {getattr(self, name)}; it must be at least {least}")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate = {self.learning_rate}; it must be positive")
        for name in ("val_fraction", "adam_beta1"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; it must lie in [0, 1)")
        if self.precision not in get_args(Precision):
            raise ConfigError(f"precision = {self.precision!r}; choose one of {', '.join(get_args(Precision))}")


class Plan(NamedTuple):
    """The method of a run, its settings and the settings of training."""

    method: type[Method]
    settings: Settings
    train: TrainConfig

    @property
    def variant(self) -> str:
        """Name of the variant."""
        return self.method.variant_of(self.settings)

    def build(self, facts: Facts) -> Method:
        """Return a model with new weights."""
        model = self.method(self.settings, facts)
        model.initialise()
        return model


TRAIN_KEYS = TrainConfig.__struct_fields__
SHARED, TRAIN = "shared", "train"
"""Sections of a preset besides those of methods: settings of any method that has them, and settings of training."""
ANY_IMAGE = Element("image", (3, 64, 64), "uint8")
"""Element that stands in where settings are resolved before any data are known."""


def presets() -> list[str]:
    """Return the names of the presets."""
    return names()


def preset(name: str) -> dict[str, dict[str, Any]]:
    """Return the sections of a preset; the section [skd.ssm], of a variant, has the name `skd.ssm`.

    Raises:
        ConfigError: no preset of this name.
    """
    sections: dict[str, dict[str, Any]] = {}
    for section, values in _toml(name).items():
        if section == "element":
            continue
        sections[section] = {key: value for key, value in values.items() if not isinstance(value, dict)}
        sections |= {f"{section}.{key}": value for key, value in values.items() if isinstance(value, dict)}
    return sections


def preset_kind(name: str) -> str:
    """Return the kind of elements that a preset is for.

    Raises:
        ConfigError: no preset of this name.
    """
    return str(_toml(name)["element"])


def check_preset(name: str, element: Element, where: str) -> None:
    """Raise ConfigError unless a preset is for elements of this kind.

    Args:
        name: name of the preset.
        element: element of the data.
        where: name of the data, for the message.
    """
    if (kind := preset_kind(name)) != element.kind:
        fitting = ", ".join(other for other in presets() if preset_kind(other) == element.kind)
        raise ConfigError(
            f"preset '{name}' is for elements of kind {kind}; {where} holds {element.describe()}: choose one of "
            f"{fitting}"
        )


def _toml(name: str) -> dict[str, Any]:
    if name not in presets():
        raise ConfigError(f"unknown preset '{name}'{_closest(name, presets())}; there are: {', '.join(presets())}")
    return tomllib.loads(resources.files("sdkit.presets").joinpath(f"{name}.toml").read_text("utf-8"))


def plan(
    element: Element,
    *,
    method: str | None = None,
    preset_name: str | None = None,
    variant: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan of a run: the method's defaults, then the preset's, then the variant's, then overrides.

    From a preset, the sections [shared], [train], that of the method's name and, after the variant's own settings, that
    of the variant ([skd.ssm]) are taken, in this order.

    Raises:
        ConfigError: an unknown method, preset, variant or setting, or a value out of range.
    """
    chosen = methods.find(method or methods.DEFAULT)
    sections = preset(preset_name) if preset_name else {}
    keys = chosen.Settings.__struct_fields__
    shared = {name: value for name, value in sections.get(SHARED, {}).items() if name in keys}
    values = {
        **chosen.training_defaults,
        **shared,
        **sections.get(TRAIN, {}),
        **sections.get(chosen.name, {}),
        **_switches(chosen, named := variant or chosen.default_variant(element)),
        **sections.get(f"{chosen.name}.{named}", {}),
        **(overrides or {}),
    }
    known = (*keys, *TRAIN_KEYS)
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown setting '{name}'{_closest(name, known)}; see `sdkit train --list-settings`")
    try:
        settings = msgspec.convert({k: v for k, v in values.items() if k in keys}, chosen.Settings)
        train = msgspec.convert({k: v for k, v in values.items() if k in TRAIN_KEYS}, TrainConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting has a value that cannot be: {error}") from error
    return Plan(chosen, _with_widths(settings, element), train)


def _switches(method: type[Method], variant: str) -> Mapping[str, Any]:
    if variant and variant not in method.variants:
        have = f"there are: {', '.join(method.variants)}" if method.variants else "the method has none"
        raise ConfigError(f"unknown variant '{variant}' of {method.name}{_closest(variant, method.variants)}; {have}")
    return method.variants[variant] if variant else {}


def _with_widths(settings: Settings, element: Element) -> Settings:
    """Return the settings with the kind's widths where they give none, so that a run records its own."""
    encoder, decoder = elements.default_widths(element.kind)
    widths = {
        "encoder_widths": settings.encoder_widths or encoder,
        "decoder_widths": settings.decoder_widths or decoder,
    }
    return msgspec.structs.replace(settings, **widths)


def describe_settings(
    method: str | None = None, preset_name: str | None = None, variant: str | None = None
) -> list[str]:
    """Return one line for each setting: its name and its value before any override, for the preset's kind or images."""
    found = plan(_stand_in(preset_name), method=method, preset_name=preset_name, variant=variant)
    values = {**msgspec.to_builtins(found.settings), **msgspec.to_builtins(found.train)}
    return [f"{name} = {value}" for name, value in values.items()]


def _stand_in(preset_name: str | None) -> Element:
    """Return an element of the kind that a preset is for."""
    kind = preset_kind(preset_name) if preset_name else ANY_IMAGE.kind
    return ANY_IMAGE if kind == ANY_IMAGE.kind else Element(kind, (8,) * len(kinds.find(kind).axes), "float32")


def explain_settings(method: str | None = None) -> dict[str, str]:
    """Return what each setting of a method and of training is, by name; without the sources, as `python -OO`, nothing.

    Raises:
        ConfigError: no such method.
    """
    notes: dict[str, str] = {}
    for base in (TrainConfig, *reversed(methods.find(method or methods.DEFAULT).Settings.__mro__)):
        if base.__module__.partition(".")[0] in ("builtins", "msgspec"):
            continue
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):
            continue
        assert isinstance(body, ast.ClassDef)
        for field, note in pairwise(body.body):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(note, ast.Expr)
                and isinstance(note.value, ast.Constant)
            ):
                notes[field.target.id] = " ".join(str(note.value.value).split())
    return notes


def parse_override(text: str) -> tuple[str, Any]:
    """Return name and value of `name=value`; the value is read as TOML, or as text where it is not TOML.

    Raises:
        ConfigError: no equals sign.
    """
    name, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"--set {text}: expected name=value, such as batch_size=64")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _closest(name: str, known: Iterable[str]) -> str:
    found = get_close_matches(name, list(known), n=1)
    return f" (did you mean '{found[0]}'?)" if found else ""
