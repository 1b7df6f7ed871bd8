"""Settings of the networks of elements, and the interface that methods expect of them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

from torch import Tensor, nn

from sdkit.runtime.element import Element


@dataclass(frozen=True)
class Network:
    """Everything that determines an encoder and a decoder."""

    element: Element
    code_size: int
    """Width of the decoder's input for a step, usually S + D."""
    encoder_widths: tuple[int, ...] = ()
    decoder_widths: tuple[int, ...] = ()
    pixel_scale: float = 255.0
    """Divisor of uint8 pixels."""
    feature_mean: tuple[float, ...] = ()
    """Mean of each feature (F,) over the training data; 0 when empty."""
    feature_std: tuple[float, ...] = ()
    """Standard deviation of each feature (F,) over the training data; 1 when empty."""

    def with_defaults(self, encoder_widths: tuple[int, ...], decoder_widths: tuple[int, ...]) -> "Network":
        """Return a copy with these widths where it has none."""
        return replace(
            self,
            encoder_widths=self.encoder_widths or encoder_widths,
            decoder_widths=self.decoder_widths or decoder_widths,
        )


class ElementEncoder(nn.Module, ABC):
    """Encoder of elements to features, each element by itself."""

    features: int
    """Number G of features of an element."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, *element) in data units to (B, T, G)."""


class ElementDecoder(nn.Module, ABC):
    """Decoder of codes to elements, each by itself, with their likelihood."""

    outputs: tuple[str, ...]
    """Names of the tensors that `in_units` returns: `x`, and perhaps `x_std`."""

    @abstractmethod
    def forward(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Map (B, T, code_size) to the parameters of the likelihood."""

    @abstractmethod
    def in_units(self, parameters: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the parameters in data units, float32, named by `outputs`."""

    @abstractmethod
    def nll(self, parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Return the negative log-likelihood (B, T) of data (B, T, *element) in nats, up to a constant."""
