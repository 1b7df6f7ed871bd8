"""The static path, the dynamic path and the prior of DBSE (paper section 4): all between encoder and decoder."""

import torch
from torch import Tensor, nn

from sdkit.methods.dbse.settings import DbseSettings
from sdkit.methods.parts.gaussian import Gaussian, GaussianHead

State = tuple[Tensor, Tensor]
"""Hidden and cell state of an LSTM, both (layers, B, H)."""


class StaticPath(nn.Module):
    """Posterior q(s | x_a) from the anchor's features alone (Eq. 4)."""

    def __init__(self, settings: DbseSettings, features: int) -> None:
        super().__init__()
        self.settings = settings
        self.hidden = nn.Linear(features, settings.hidden_size)
        self.head = GaussianHead(settings.hidden_size, settings.static_size)

    def forward(self, features: Tensor) -> tuple[Tensor, Gaussian]:
        """Return the static hidden vector s~ (B, H) and the posterior of s (B, S), from features (B, T, G)."""
        anchor = features[:, self.settings.anchor_index(features.shape[1])]
        static_hidden = torch.tanh(self.hidden(anchor))
        return static_hidden, Gaussian(*self.head(static_hidden))


class DynamicPath(nn.Module):
    """Posterior q(d_t | s, d_<t, x_<=t): an LSTM over the features, less the static hidden vector (Eq. 8)."""

    def __init__(self, settings: DbseSettings, features: int) -> None:
        super().__init__()
        self.settings = settings
        self.lstm = nn.LSTM(
            features, settings.hidden_size, settings.layers, batch_first=True, bidirectional=settings.bidirectional
        )
        self.directions = 2 if settings.bidirectional else 1
        self.head = GaussianHead(settings.hidden_size * self.directions, settings.dynamic_size)

    def forward(self, features: Tensor, static_hidden: Tensor) -> Gaussian:
        """Return the posterior of the free steps, (B, T - 1, D) where the anchor's code is 0 and (B, T, D) elsewhere.

        Args:
            features: (B, T, G).
            static_hidden: (B, H).
        """
        anchor = features[:, self.settings.anchor_index(features.shape[1])]
        return self.advance(free_steps(self.settings, features), anchor, static_hidden)[0]

    def advance(
        self, features: Tensor, anchor: Tensor, static_hidden: Tensor, state: State | None = None
    ) -> tuple[Gaussian, State]:
        """Return the posterior of steps that follow a state, and the state after them.

        Args:
            features: features of these steps, (B, T', G).
            anchor: features of the anchor, (B, G).
            static_hidden: (B, H).
            state: state of the LSTM before these steps; zeros when None.
        """
        if self.settings.subtract == "features":
            features = features - anchor.unsqueeze(1)
        hidden, state = self.lstm(features, state)
        if self.settings.subtract == "hidden":
            # Each direction of a bidirectional LSTM has width H, so s~ is subtracted from both.
            hidden = hidden - static_hidden.repeat(1, self.directions).unsqueeze(1)
        return Gaussian(*self.head(hidden)), state


class FilterPath(nn.Module):
    """Filter q(d_t | x_1:t): a causal LSTM over the features, fitted to the posterior that sees the whole sequence."""

    def __init__(self, settings: DbseSettings, features: int) -> None:
        super().__init__()
        self.settings = settings
        self.lstm = nn.LSTM(features, settings.hidden_size, settings.layers, batch_first=True)
        self.head = GaussianHead(settings.hidden_size, settings.dynamic_size)

    def forward(self, features: Tensor) -> Gaussian:
        """Return the filtered distribution of the free steps (B, T', D), from features (B, T, G)."""
        hidden, _ = self.lstm(features)
        return Gaussian(*self.head(free_steps(self.settings, hidden)))

    def advance(self, features: Tensor, state: State) -> tuple[Gaussian, State]:
        """Return the filtered distribution of steps (B, T', G) that follow a state, and the state after them."""
        hidden, state = self.lstm(features, state)
        return Gaussian(*self.head(hidden)), state


def free_steps(settings: DbseSettings, sequence: Tensor) -> Tensor:
    """Return the steps of a tensor (B, T, ...) that have a dynamic code of their own: all, or all but the anchor."""
    if settings.anchor_dynamic == "inferred":
        return sequence
    anchor = settings.anchor_index(sequence.shape[1])
    return torch.cat([sequence[:, :anchor], sequence[:, anchor + 1 :]], 1)


def all_steps(settings: DbseSettings, free: Tensor) -> Tensor:
    """Return the codes of all steps (B, T, D): the free steps, with 0 at the anchor where its code is constant."""
    if settings.anchor_dynamic == "inferred":
        return free
    anchor = settings.anchor_index(free.shape[1] + 1)
    return torch.cat([free[:, :anchor], torch.zeros_like(free[:, :1]), free[:, anchor:]], 1)
