"""Standardisation inside the model, so that data come in and go out in their own units and NaN means 'not observed'."""

import torch
from torch import Tensor, nn

from sdkit.elements.network import Network
from sdkit.runtime.errors import ConfigError


class Standard(nn.Module):
    """The data's mean and standard deviation of each feature, over the observed training values.

    Raises:
        ConfigError: the number of means or deviations is not that of the features.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        features = network.element.shape[-1]
        for name in ("feature_mean", "feature_std"):
            count = len(getattr(network, name))
            if count not in (0, features):
                raise ConfigError(f"{name} has {count} values for {features} features")
        self.mean: Tensor
        self.std: Tensor
        # Determined by the facts about the data, so not part of the weights.
        self.register_buffer("mean", torch.tensor(network.feature_mean or (0.0,) * features), persistent=False)
        self.register_buffer("std", torch.tensor(network.feature_std or (1.0,) * features), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise (..., F) data; a value that was not observed becomes 0, its feature's mean."""
        standard = (x.float() - self.mean) / self.std
        return torch.where(torch.isnan(standard), torch.zeros_like(standard), standard)

    def in_units(self, standard: Tensor) -> Tensor:
        """Return standardised values (..., F) in data units."""
        return standard.float() * self.std + self.mean


def observed(x: Tensor) -> Tensor:
    """Return which values were observed, as bool; all of them where the dtype has no NaN."""
    return ~torch.isnan(x) if x.is_floating_point() else torch.ones_like(x, dtype=torch.bool)
