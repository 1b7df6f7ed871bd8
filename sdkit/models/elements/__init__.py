"""One file a kind of element, named after the kind; the core finds it by that name and knows nothing else of it.

A file `<kind>.py` holds two classes, both built from a `ModelConfig` alone:

`Encoder(nn.Module)`
    `features`: G; `forward(x)`: (B, T, *element) in data units -> (B, T, G), element by element, never across steps.
`Decoder(nn.Module)`
    `forward(codes)`: (B, T, S + D) -> the likelihood's parameters, a tuple of tensors; `outputs`: names of what
    `in_units(parameters)` returns, the first of them `x` (B, T, *element) float32 in data units;
    `nll(parameters, x)`: (B, T) negative log-likelihood in nats, up to a constant.
"""

import importlib
from typing import TYPE_CHECKING, Protocol

from sdkit.models.config import ModelConfig
from sdkit.runtime.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


class ElementEncoder(Protocol):
    """What the core asks of an encoder."""

    features: int

    def __call__(self, x: "Tensor") -> "Tensor":
        """Map (B, T, *element) in data units to (B, T, G)."""


class ElementDecoder(Protocol):
    """What the core asks of a decoder."""

    outputs: tuple[str, ...]

    def __call__(self, codes: "Tensor") -> "tuple[Tensor, ...]":
        """Map (B, T, S + D) to the parameters of the likelihood."""

    def in_units(self, parameters: "tuple[Tensor, ...]") -> "tuple[Tensor, ...]":
        """Return the parameters in data units, float32, named by `outputs`."""

    def nll(self, parameters: "tuple[Tensor, ...]", x: "Tensor") -> "Tensor":
        """Return (B, T) nats of (B, T, *element) data."""


def build(config: ModelConfig) -> tuple[ElementEncoder, ElementDecoder]:
    """Return the encoder and decoder of the config's kind of element.

    Raises:
        ConfigError: no file for this kind, or widths that do not fit the element's shape.
    """
    kind = config.element.kind
    try:
        module = importlib.import_module(f"{__name__}.{kind}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{kind}":
            raise
        raise ConfigError(f"this sdkit has no encoder and decoder for elements of kind '{kind}'") from error
    return module.Encoder(config), module.Decoder(config)
