"""A method that another package brings: the static code is read from the mean of the features over time."""

from torch import Tensor, nn

from sdkit.methods.base import Batch, Term
from sdkit.methods.gaussian import GaussianMethod, GaussianSettings, Pass
from sdkit.methods.parts.gaussian import GaussianHead


class MeanSettings(GaussianSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the method."""

    slowness: float = 0.1
    """Weight of the mean of the dynamic codes over time, which a static code should have told."""


class MeanPath(nn.Module):
    """q(s | x_1:T) from the mean of the features."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.head = GaussianHead(features, size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(features.mean(1))  # type: ignore[no-any-return]


class ResidualPath(nn.Module):
    """q(d_t | x_1:T) from what a step has beyond the mean."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.head = GaussianHead(features, size)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return self.head(features - features.mean(1, keepdim=True))  # type: ignore[no-any-return]


class Mean(GaussianMethod):
    """Static code from the mean of the features, dynamic codes from what is left."""

    name = "mean"
    title = "static code from the mean over time"
    reference = "nobody published it"
    Settings = MeanSettings
    terms = (*GaussianMethod.terms, Term("slow", "mean of the dynamic codes", "other"))

    def paths(self, settings: MeanSettings, features: int) -> tuple[nn.Module, nn.Module]:
        return MeanPath(features, settings.static_size), ResidualPath(features, settings.dynamic_size)

    def extra(self, found: Pass, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        slow = found.dynamic.mean.mean(1).square().sum(-1).mean()
        return self.settings.slowness * slow, {"slow": slow}

    @classmethod
    def refusals(cls, settings: MeanSettings) -> dict[str, str]:
        return {"stream": "its static code is a mean over the whole sequence"}
