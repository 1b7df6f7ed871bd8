"""The static path, the dynamic path and the prior (paper section 4): all that lies between encoder and decoder."""

import torch
from torch import Tensor, nn

from sdkit.models.config import ModelConfig
from sdkit.models.gaussian import Gaussian, GaussianHead

State = tuple[Tensor, Tensor]
"""Hidden and cell state of an LSTM, both (layers, B, H)."""


class StaticPath(nn.Module):
    """q(s | x_a): from the anchor's features alone (Eq. 4)."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(features, config.hidden_size)
        self.head = GaussianHead(config.hidden_size, config.static_size)

    def forward(self, features: Tensor) -> tuple[Tensor, Gaussian]:
        """Return the static hidden vector s~ (B, H) and the posterior of s (B, S), from features (B, T, G)."""
        anchor = features[:, self.config.anchor_index(features.shape[1])]
        static_hidden = torch.tanh(self.hidden(anchor))
        return static_hidden, Gaussian(*self.head(static_hidden))


class DynamicPath(nn.Module):
    """q(d_t | s, d_<t, x_<=t): an LSTM over the features, less the static hidden vector (Eq. 8)."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(
            features, config.hidden_size, config.layers, batch_first=True, bidirectional=config.bidirectional
        )
        self.directions = 2 if config.bidirectional else 1
        self.head = GaussianHead(config.hidden_size * self.directions, config.dynamic_size)

    def forward(self, features: Tensor, static_hidden: Tensor) -> Gaussian:
        """Return the posterior of the free steps, (B, T - 1, D) where the anchor's code is 0 and (B, T, D) elsewhere.

        Args:
            features: (B, T, G).
            static_hidden: (B, H).
        """
        anchor = features[:, self.config.anchor_index(features.shape[1])]
        return self.advance(free_steps(self.config, features), anchor, static_hidden)[0]

    def advance(
        self, features: Tensor, anchor: Tensor, static_hidden: Tensor, state: State | None = None
    ) -> tuple[Gaussian, State]:
        """Return the posterior of steps that follow a state, and the state after them.

        Args:
            features: of these steps, (B, T', G).
            anchor: features of the anchor, (B, G).
            static_hidden: (B, H).
            state: of the LSTM before them; zeros when None.
        """
        if self.config.subtract == "features":
            features = features - anchor.unsqueeze(1)
        hidden, state = self.lstm(features, state)
        if self.config.subtract == "hidden":
            # Each direction of a bidirectional LSTM has width H, so s~ leaves both.
            hidden = hidden - static_hidden.repeat(1, self.directions).unsqueeze(1)
        return Gaussian(*self.head(hidden)), state


class FilterPath(nn.Module):
    """q(d_t | x_1:t): a causal LSTM over the features, fitted to the posterior that sees the whole sequence."""

    def __init__(self, config: ModelConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(features, config.hidden_size, config.layers, batch_first=True)
        self.head = GaussianHead(config.hidden_size, config.dynamic_size)

    def forward(self, features: Tensor) -> Gaussian:
        """Return the filtered distribution of the free steps (B, T', D), from features (B, T, G)."""
        hidden, _ = self.lstm(features)
        return Gaussian(*self.head(free_steps(self.config, hidden)))

    def advance(self, features: Tensor, state: State) -> tuple[Gaussian, State]:
        """Return the filtered distribution of steps (B, T', G) that follow a state, and the state after them."""
        hidden, state = self.lstm(features, state)
        return Gaussian(*self.head(hidden)), state


class Prior(nn.Module):
    """p(d_t | d_<t): stacked LSTM layers and two linear heads; the first input is 0."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.layers, self.width = config.prior_layers, config.prior_hidden_size
        self.lstm = nn.LSTM(config.dynamic_size, self.width, self.layers, batch_first=True)
        self.head = GaussianHead(self.width, config.dynamic_size)

    def forward(self, dynamic: Tensor) -> Gaussian:
        """Return p(d_t | d_<t) of every free step, given the codes of the free steps, both (B, T', D)."""
        before = torch.cat([torch.zeros_like(dynamic[:, :1]), dynamic[:, :-1]], 1)
        hidden, _ = self.lstm(before)
        return Gaussian(*self.head(hidden))


def free_steps(config: ModelConfig, sequence: Tensor) -> Tensor:
    """Return the steps that have a dynamic code of their own: all, or all but the anchor; (B, T, ...) in."""
    if config.anchor_dynamic == "inferred":
        return sequence
    anchor = config.anchor_index(sequence.shape[1])
    return torch.cat([sequence[:, :anchor], sequence[:, anchor + 1 :]], 1)


def all_steps(config: ModelConfig, free: Tensor) -> Tensor:
    """Return (B, T, D): the free steps with 0 at the anchor where its code is the constant 0."""
    if config.anchor_dynamic == "inferred":
        return free
    anchor = config.anchor_index(free.shape[1] + 1)
    return torch.cat([free[:, :anchor], torch.zeros_like(free[:, :1]), free[:, anchor:]], 1)
