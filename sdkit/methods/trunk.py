"""The template of methods that read both codes from one bidirectional LSTM over the features: C-DSVAE, SPYL, S3VAE.

The trunk is part of the graph `encoder`, so that the graphs `static` and `dynamic` do not run it twice. It sees the
whole sequence, in both directions: nothing is padded, and none of these methods runs element by element.
"""

from typing import Any

import torch
from torch import Tensor, nn

from sdkit.methods.gaussian import GaussianMethod, GaussianSettings, Pass
from sdkit.methods.parts.gaussian import Gaussian, GaussianHead
from sdkit.methods.parts.mutual_information import mutual_information


class TrunkSettings(GaussianSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings that methods with a recurrent trunk share."""

    information_weight: float = 1.0
    """Weight of the estimated mutual information between the two codes."""
    legacy_density: bool = False
    """Whether the densities of that estimate take the log-variance for the logarithm of the standard deviation, as the
    released codes of C-DSVAE, SPYL and S3VAE do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "information_weight")


class EndsPath(nn.Module):
    """Posterior q(s | x_1:T): a head on the trunk's last forward and first backward output."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.head = GaussianHead(2 * width, size)
        self.width = width

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map the trunk's output (B, T, 2H) to mean and log-variance (B, S)."""
        ends = torch.cat([features[:, -1, : self.width], features[:, 0, self.width :]], -1)
        return self.head(ends)  # type: ignore[no-any-return]


class StepsPath(nn.Module):
    """Posterior q(d_t | x_1:T): a forward RNN over the trunk's output, and a head."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(2 * width, width, batch_first=True)
        self.head = GaussianHead(width, size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map the trunk's output (B, T, 2H) to mean and log-variance (B, T, D)."""
        hidden, _ = self.rnn(features)
        return self.head(hidden)  # type: ignore[no-any-return]


class TrunkMethod(GaussianMethod):
    """A variational method whose posteriors share a bidirectional LSTM; neither sees the other code."""

    def paths(self, settings: Any, features: int) -> tuple[nn.Module, nn.Module]:
        """Build the trunk, and return the paths over its output."""
        width = settings.hidden_size
        self.trunk = nn.LSTM(features, width, batch_first=True, bidirectional=True)
        self.features = 2 * width
        return EndsPath(width, settings.static_size), StepsPath(width, settings.dynamic_size)

    def posterior(self, features: Tensor) -> Pass:
        """Return the posteriors and a sample of each, from features of elements (B, T, G)."""
        found = super().posterior(self.trunk(features)[0])
        return found._replace(elements=features)

    def infer(self, features: Tensor) -> tuple[Gaussian, Gaussian]:
        """Return the posteriors of both codes from features of elements (B, T, G), of a view for example."""
        with torch.autocast(features.device.type, enabled=False):
            hidden = self.trunk(features.float())[0]
            return Gaussian(*self.static_path(hidden)), Gaussian(*self.dynamic_path(hidden))

    def information(self, found: Pass) -> Tensor:
        """Return the estimated mutual information of the codes in nats, averaged over steps."""
        with torch.autocast(found.s.device.type, enabled=False):
            return mutual_information(
                found.static, found.s, found.dynamic, found.d, legacy_density=self.settings.legacy_density
            )

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs over the model's own layers."""
        return {**super().graphs(), "encoder": TrunkEncoderGraph(self)}

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reason why it cannot run online."""
        return {"stream": "its codes are read from the whole sequence, which is not known before its last element"}


class TrunkEncoderGraph(nn.Module):
    """x (B, T, *element) -> features (B, T, 2H), the output of the trunk."""

    inputs, outputs = ("x",), ("features",)

    def __init__(self, method: TrunkMethod) -> None:
        super().__init__()
        self.encoder, self.trunk = method.encoder, method.trunk

    def forward(self, x: Tensor) -> Tensor:
        """Map data to features."""
        # The initial state is computed from an input of the graph, so that B stays free.
        zero = torch.zeros(2, x.shape[0], self.trunk.hidden_size, device=x.device)
        return self.trunk(self.encoder(x), (zero, zero))[0]  # type: ignore[no-any-return]
