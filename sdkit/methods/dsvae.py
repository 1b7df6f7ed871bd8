"""DSVAE, the disentangled sequential variational autoencoder: both codes are inferred from the whole sequence.

s ~ N(0, I), d_t ~ N(mu(d_<t), sigma^2(d_<t)) by an LSTM, x_t ~ p(x_t | s, d_t). The variant `full` infers the dynamic
codes from the sequence and the static code, `factorised` each from its own element. Differences from public ports: the
prior is fed the posterior's samples in training, as the objective requires; the heads are linear, without an activation
that would bound the log-variance below; the element networks are those of every method here. The images' likelihood is
the squared error (variance 1/2); with SSE/2 the same `beta` would weigh twice as much.
"""

from types import MappingProxyType

import torch
from torch import Tensor, nn

from sdkit.methods.base import Facts
from sdkit.methods.gaussian import GaussianMethod, GaussianSettings
from sdkit.methods.graphs import WHOLE_SEQUENCE
from sdkit.methods.parts.element_path import ElementPath
from sdkit.methods.parts.gaussian import GaussianHead


class DsvaeSettings(GaussianSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of DSVAE."""

    factorised: bool = False
    """Whether a dynamic code is inferred from its own element alone, and not from the sequence and the static code."""


class StaticPath(nn.Module):
    """Posterior q(s | x_1:T): last forward and first backward output of a bidirectional LSTM over the features."""

    def __init__(self, features: int, width: int, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, width, batch_first=True, bidirectional=True)
        self.head = GaussianHead(2 * width, size)
        self.width = width

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, T, G) to mean and log-variance (B, S)."""
        hidden, _ = self.lstm(features)
        ends = torch.cat([hidden[:, -1, : self.width], hidden[:, 0, self.width :]], -1)
        return self.head(ends)  # type: ignore[no-any-return]


class FullDynamicPath(nn.Module):
    """Posterior q(d_t | x_1:T, s): a bidirectional LSTM over [g_t, s], then a forward RNN."""

    def __init__(self, features: int, static: int, width: int, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features + static, width, batch_first=True, bidirectional=True)
        self.rnn = nn.RNN(2 * width, width, batch_first=True)
        self.head = GaussianHead(width, size)

    def forward(self, features: Tensor, static: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, T, G) and a static code (B, S) to mean and log-variance (B, T, D)."""
        repeated = static.unsqueeze(1).expand(-1, features.shape[1], -1)
        hidden, _ = self.lstm(torch.cat([features, repeated], -1))
        hidden, _ = self.rnn(hidden)
        return self.head(hidden)  # type: ignore[no-any-return]


class Dsvae(GaussianMethod):
    """Both codes are inferred from the whole sequence."""

    name = "dsvae"
    title = "static code from the whole sequence, recurrent prior"
    reference = "Yingzhen Li, Stephan Mandt: Disentangled sequential autoencoder, ICML 2018"
    Settings = DsvaeSettings
    variants = MappingProxyType({"full": {"factorised": False}, "factorised": {"factorised": True}})

    def __init__(self, settings: DsvaeSettings, facts: Facts) -> None:
        if not settings.factorised:
            self.dynamic_inputs = ("features", "static")  # type: ignore[misc]
        super().__init__(settings, facts)

    def paths(self, settings: DsvaeSettings, features: int) -> tuple[nn.Module, nn.Module]:
        """Return the static path and the dynamic path of the variant."""
        s, d, width = settings.static_size, settings.dynamic_size, settings.hidden_size
        static = StaticPath(features, width, s)
        if settings.factorised:
            return static, ElementPath(features, width, d)
        return static, FullDynamicPath(features, s, width, d)

    @classmethod
    def refusals(cls, settings: DsvaeSettings) -> dict[str, str]:
        """Return the reason why it cannot run online."""
        return {"stream": WHOLE_SEQUENCE}


METHOD = Dsvae
