"""How a model is trained, and where settings come from: defaults, then a preset, then a variant, then overrides."""

import math
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import resources
from typing import Any, Literal, get_args

import msgspec

from sdkit.models.config import VARIANTS, ModelConfig
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

Precision = Literal["auto", "bf16", "float32"]
Likelihood = Literal["sum", "mean"]


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides a training run but the shape of the model and the data."""

    alpha: float = 0.2
    """Weight of the anchor's likelihood (Eq. 5)."""
    beta: float = 0.2
    """Weight of both divergences (Eq. 6)."""
    beta_static: float | None = None
    """Weight of the static code's divergence, where it is not `beta`."""
    beta_dynamic: float | None = None
    """Weight of the dynamic codes' divergence, where it is not `beta`."""
    likelihood: Likelihood = "sum"
    """What alpha and beta are relative to: the likelihood summed over a sequence's observed values (images and audio in
    Table 5) or averaged over them (its time series)."""
    learning_rate: float = 1e-3
    """Of Adam; constant."""
    batch_size: int = 128
    epochs: int = 100
    seed: int = 0
    val_fraction: float = 0.05
    """Share of the training split held out by static labels (else at random) where the file has no validation split."""
    precision: Precision = "auto"
    """Of the convolutions; auto takes bf16 where the machine has the instructions. LSTMs and losses stay in float32."""
    channels_last: bool = True
    """Memory layout of the convolutions; several times faster on CPUs and GPUs alike."""
    resident_gb: float = 4.0
    """Data up to this size stay in memory, on the device; larger files are streamed in shuffled chunks."""
    swap_every: int = 4
    """Epochs between two pictures of swapped sequences; 0 draws none."""

    def __post_init__(self) -> None:
        for name in TrainConfig.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{name} = {value}; it must be finite")
        at_least = {"batch_size": 2, "epochs": 1, "seed": 0, "swap_every": 0, "alpha": 0, "beta": 0}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} = {getattr(self, name)}; it must be at least {least}")
        for name in ("beta_static", "beta_dynamic"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name} = {value}; it must be at least 0")
        if self.learning_rate <= 0:
            raise ConfigError(f"learning_rate = {self.learning_rate}; it must be positive")
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction = {self.val_fraction}; it must lie in [0, 1)")
        for name, choices in (("precision", Precision), ("likelihood", Likelihood)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(f"{name} = {getattr(self, name)!r}; choose one of {', '.join(get_args(choices))}")

    @property
    def betas(self) -> tuple[float, float]:
        """Weights of the static and the dynamic divergence."""
        static = self.beta if self.beta_static is None else self.beta_static
        dynamic = self.beta if self.beta_dynamic is None else self.beta_dynamic
        return static, dynamic


OF_THE_DATA = ("element", "feature_mean", "feature_std")
MODEL_KEYS = tuple(name for name in ModelConfig.__struct_fields__ if name not in OF_THE_DATA)
TRAIN_KEYS = TrainConfig.__struct_fields__
ANY_IMAGE = Element("image", (3, 64, 64), "uint8")
"""Stands in where settings are looked at before any data are."""


def presets() -> list[str]:
    """Return the names of the presets."""
    files = resources.files("sdkit.presets").iterdir()
    return sorted(f.name.removesuffix(".toml") for f in files if f.name.endswith(".toml"))


def preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset.

    Raises:
        ConfigError: no preset of this name.
    """
    if name not in presets():
        raise ConfigError(f"unknown preset '{name}'{_closest(name, presets())}; there are: {', '.join(presets())}")
    return tomllib.loads(resources.files("sdkit.presets").joinpath(f"{name}.toml").read_text("utf-8"))


def settings(
    element: Element,
    *,
    preset_name: str | None = None,
    variant: str = "paper",
    overrides: Mapping[str, Any] | None = None,
) -> tuple[ModelConfig, TrainConfig]:
    """Return the two configs of a run: defaults, then preset, then variant, then overrides.

    Raises:
        ConfigError: an unknown preset, variant or setting, or a value that cannot be.
    """
    if variant not in VARIANTS:
        raise ConfigError(f"unknown variant '{variant}'{_closest(variant, VARIANTS)}; there are: {', '.join(VARIANTS)}")
    values = {**(preset(preset_name) if preset_name else {}), **VARIANTS[variant], **(overrides or {})}
    known = (*MODEL_KEYS, *TRAIN_KEYS)
    for name in values:
        if name not in known:
            raise ConfigError(f"unknown setting '{name}'{_closest(name, known)}; see `sdkit train --list-settings`")
    try:
        model = msgspec.convert(
            {k: v for k, v in values.items() if k in MODEL_KEYS} | {"element": element}, ModelConfig
        )
        train = msgspec.convert({k: v for k, v in values.items() if k in TRAIN_KEYS}, TrainConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"a setting has a value that cannot be: {error}") from error
    return model, train


def describe_settings(preset_name: str | None = None, variant: str = "paper") -> list[str]:
    """Return one line a setting: its name and its value before any override."""
    model, train = settings(ANY_IMAGE, preset_name=preset_name, variant=variant)
    values = {**msgspec.to_builtins(model), **msgspec.to_builtins(train)}
    return [f"{name} = {values[name]}" for name in (*MODEL_KEYS, *TRAIN_KEYS)]


def parse_override(text: str) -> tuple[str, Any]:
    """Return name and value of `name=value`; the value is read as TOML, or else taken as text.

    Raises:
        ConfigError: no equals sign.
    """
    name, sign, value = text.partition("=")
    if not sign:
        raise ConfigError(f"--set {text}: expected name=value, such as beta=0.1")
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


def _closest(name: str, known: Iterable[str]) -> str:
    found = get_close_matches(name, list(known), n=1)
    return f" (did you mean '{found[0]}'?)" if found else ""
