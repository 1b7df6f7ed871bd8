"""Shape of the model: element, widths and the switches of the dynamic path."""

import math
from typing import Any, Literal, get_args

import msgspec

from sdkit.runtime.element import Element, Kind
from sdkit.runtime.errors import ConfigError

Subtract = Literal["hidden", "features", "none"]
AnchorDynamic = Literal["zero", "inferred"]
Anchor = Literal["first", "middle", "last"]

VARIANTS: dict[str, dict[str, Any]] = {
    "paper": {"subtract": "hidden", "anchor_dynamic": "zero", "bidirectional": False, "layers": 1, "filter": False},
    "release": {
        "subtract": "features",
        "anchor_dynamic": "inferred",
        "bidirectional": True,
        "layers": 2,
        "filter": False,
    },
}
VARIANTS["filter"] = {**VARIANTS["release"], "filter": True}
"""Named points in the space of switches: the model as printed, the one whose code was published with it, and the latter
with a causal filter beside it, which gives the codes."""

WIDTHS: dict[Kind, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "image": ((32, 64, 128, 256, 128), (256, 128, 64, 32)),
    "series": ((32, 64, 32), (32, 64, 32)),
    "spectrum": ((256, 256), (256, 256)),
}
"""Widths of encoder and decoder by kind of element: appendix A.4, which gives none for spectra."""


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that decides the shape of a model; the letters are those of the docstrings."""

    element: Element
    static_size: int = 256
    """S."""
    dynamic_size: int = 256
    """D."""
    hidden_size: int = 256
    """H: width of the static hidden vector and of the LSTM, equal since one is subtracted from the other (Eq. 8)."""
    prior_hidden_size: int = 256
    """Width of the two stacked LSTM layers of the prior."""
    prior_layers: int = 2
    encoder_widths: tuple[int, ...] = ()
    """Channels (images) or features (series, spectra) of the encoder's layers; `WIDTHS` of the kind when not given."""
    decoder_widths: tuple[int, ...] = ()
    """The same of the decoder's hidden layers."""
    feature_mean: tuple[float, ...] = ()
    """Of each feature of a series or spectrum (F,) over the training data, in data units; 0 when not given."""
    feature_std: tuple[float, ...] = ()
    """The same: standard deviation, 1 when not given. Measured when training starts, not set by hand."""
    pixel_scale: float = 255.0
    """uint8 pixels are divided by this; the Sprites benchmark divides by 256."""
    subtract: Subtract = "hidden"
    """What the dynamic path subtracts: the static hidden vector from the LSTM's output (Eq. 8), the anchor's features
    from the LSTM's input, or nothing."""
    anchor_dynamic: AnchorDynamic = "zero"
    """The anchor's dynamic code: the constant 0 (paper section 4), or inferred like every other step's."""
    bidirectional: bool = False
    layers: int = 1
    """Layers of the LSTM."""
    filter: bool = False
    """Train a causal LSTM beside the posterior to give its codes from the elements seen so far, and take codes from it.

    In the terms of state-space models the posterior is then a smoother, q(d_t | x_1:T), which training needs, and the
    codes are those of a filter, q(d_t | x_1:t), which can run online.
    """
    anchor: Anchor = "first"
    """The element that the static code is read from."""

    def __post_init__(self) -> None:
        for name, widths in zip(("encoder_widths", "decoder_widths"), WIDTHS[self.element.kind], strict=True):
            if not getattr(self, name):
                msgspec.structs.force_setattr(self, name, widths)
        for name in ("static_size", "dynamic_size", "hidden_size", "prior_hidden_size", "prior_layers", "layers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; it must be at least 1")
        for name in ("encoder_widths", "decoder_widths"):
            if min(getattr(self, name)) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected one or more positive widths")
        for name in ("feature_mean", "feature_std"):
            if getattr(self, name) and len(getattr(self, name)) != self.element.shape[-1]:
                raise ConfigError(f"{name} has {len(getattr(self, name))} values for {self.element.shape[-1]} features")
        if not 0 < self.pixel_scale < math.inf:
            raise ConfigError(f"pixel_scale = {self.pixel_scale}; it must be positive")
        for name, choices in (("subtract", Subtract), ("anchor_dynamic", AnchorDynamic), ("anchor", Anchor)):
            if getattr(self, name) not in get_args(choices):
                raise ConfigError(f"{name} = {getattr(self, name)!r}; choose one of {', '.join(get_args(choices))}")

    @property
    def causal(self) -> bool:
        """Whether a dynamic code depends on no later element, save the anchor."""
        return self.filter or not self.bidirectional

    @property
    def variant(self) -> str:
        """`paper`, `release`, `filter`, or `custom` for other switches."""
        for name, switches in VARIANTS.items():
            if all(getattr(self, key) == value for key, value in switches.items()):
                return name
        return "custom"

    def anchor_index(self, steps: Any) -> Any:
        """Return the anchor's position among `steps` elements; works on ints and on traced sizes alike."""
        return {"first": 0, "middle": steps // 2, "last": steps - 1}[self.anchor]
