"""Networks of elements: one file a kind, named after it, over which every method is built.

A file `<kind>.py` holds two classes, both built from a `Network` alone, and the default widths of the kind's
networks:

`Encoder(ElementEncoder)`
    `features`: G; `forward(x)`: (B, T, *element) in data units -> (B, T, G), element by element, never across steps.
`Decoder(ElementDecoder)`
    `forward(codes)`: (B, T, code_size) -> the likelihood's parameters, a tuple of tensors; `outputs`: names of what
    `in_units(parameters)` returns, the first of them `x` (B, T, *element) float32 in data units;
    `nll(parameters, x)`: (B, T) negative log-likelihood in nats, up to a constant.
`ENCODER_WIDTHS`, `DECODER_WIDTHS`
    widths of the layers where settings give none.
`CODE_SIZES`
    widths of codes that a search chooses from.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from sdkit.runtime.errors import ConfigError

if TYPE_CHECKING:
    from sdkit.elements.network import ElementDecoder as ElementDecoder
    from sdkit.elements.network import ElementEncoder as ElementEncoder
    from sdkit.elements.network import Network as Network


def __getattr__(name: str) -> object:
    if name in ("ElementDecoder", "ElementEncoder", "Network"):
        return getattr(importlib.import_module("sdkit.elements.network"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")


def build(network: "Network") -> "tuple[ElementEncoder, ElementDecoder]":
    """Return the encoder and decoder of a kind of element.

    Raises:
        ConfigError: no file for this kind, or widths that do not fit the element's shape.
    """
    module = _module(network.element.kind)
    network = network.with_defaults(module.ENCODER_WIDTHS, module.DECODER_WIDTHS)
    return module.Encoder(network), module.Decoder(network)


def default_widths(kind: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the widths of a kind's encoder and decoder where settings give none."""
    module = _module(kind)
    return module.ENCODER_WIDTHS, module.DECODER_WIDTHS


def code_sizes(kind: str) -> tuple[int, ...]:
    """Return the widths of codes that a search chooses from."""
    return tuple(_module(kind).CODE_SIZES)


def _module(kind: str) -> ModuleType:
    try:
        return importlib.import_module(f"{__name__}.{kind}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{kind}":
            raise
        raise ConfigError(f"this sdkit has no encoder and decoder for elements of kind '{kind}'") from error
