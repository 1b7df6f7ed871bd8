"""The graphs of DBSE that depend on the anchor: static and dynamic path, prior, and the step of a live stream."""

from typing import Final, Protocol

import torch
from torch import Tensor, nn

from sdkit.methods.dbse.paths import DynamicPath, FilterPath, State, StaticPath, all_steps
from sdkit.methods.dbse.settings import DbseSettings
from sdkit.methods.graphs import RecurrentPriorGraph
from sdkit.methods.parts.recurrent_prior import RecurrentPrior


class Parts(Protocol):
    """Parts of a DBSE model that its graphs are built from."""

    settings: DbseSettings
    features: int
    """G."""
    static_path: StaticPath
    dynamic_path: DynamicPath
    filter_path: FilterPath | None
    prior: RecurrentPrior


class StaticGraph(nn.Module):
    """features (B, T, G) -> static_mean (B, S), static_std (B, S), context (B, H): the static hidden vector."""

    inputs, outputs = ("features",), ("static_mean", "static_std", "context")

    def __init__(self, model: Parts) -> None:
        super().__init__()
        self.path = model.static_path

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map features to the posterior of the static code."""
        hidden, static = self.path(features)
        return static.mean, static.std, hidden


class DynamicGraph(nn.Module):
    """features (B, T, G), context (B, H) -> dynamic_mean and dynamic_std (B, T, D), both 0 at a zero anchor."""

    inputs, outputs = ("features", "context"), ("dynamic_mean", "dynamic_std")

    def __init__(self, model: Parts) -> None:
        super().__init__()
        self.path, self.filter, self.settings = model.dynamic_path, model.filter_path, model.settings

    def forward(self, features: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to the dynamic codes' distribution: the filter's where there is one, else the posterior."""
        dynamic = self.path(features, context) if self.filter is None else self.filter(features)
        return all_steps(self.settings, dynamic.mean), all_steps(self.settings, dynamic.std)


class PriorGraph(RecurrentPriorGraph):
    """noise (B, T, D) -> dynamic (B, T, D) and dynamic_mean (B, T, D); both 0 at a zero anchor.

    The rollout is that of any recurrent prior, over the free steps. The flags are constants, so that no branch is
    exported.
    """

    zero_anchor: Final[bool]
    middle: Final[bool]
    last: Final[bool]

    def __init__(self, model: Parts) -> None:
        super().__init__(model.prior)
        self.zero_anchor = model.settings.anchor_dynamic == "zero"
        self.middle, self.last = model.settings.anchor == "middle", model.settings.anchor == "last"

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Map noise to sampled dynamic codes and their means."""
        anchor = 0
        if self.middle:
            anchor = noise.size(1) // 2
        if self.last:
            anchor = noise.size(1) - 1
        free = noise
        if self.zero_anchor:
            free = torch.cat([noise[:, :anchor], noise[:, anchor + 1 :]], 1)
        sampled, means = self.rollout(free)
        if self.zero_anchor:
            zero = torch.zeros_like(noise[:, :1])
            sampled = torch.cat([sampled[:, :anchor], zero, sampled[:, anchor:]], 1)
            means = torch.cat([means[:, :anchor], zero, means[:, anchor:]], 1)
        return sampled, means


class DynamicStepGraph(nn.Module):
    """One element of a live stream: its codes from its features, the anchor's features and the LSTM's state.

    element_features (B, 1, G), state (B, K) -> static_mean (B, S), dynamic_mean and dynamic_std (B, 1, D), and
    next_state (B, K).

    A row of the state is all that is kept of a stream's past: 1 once it has begun, the anchor's features (G), then the
    LSTM's hidden and cell state (layers * H each). A row of zeros begins a stream: the graph itself detects which
    element is an anchor, so a host has no special case. The price is that the static code is computed at every step
    from the anchor's features: three small linear layers. A single tensor, batch axis first, also lets a host keep,
    move and restart streams by their rows.
    """

    inputs, outputs = ("element_features", "state"), ("static_mean", "dynamic_mean", "dynamic_std", "next_state")

    def __init__(self, model: Parts) -> None:
        super().__init__()
        self.static_path, self.dynamic_path, self.filter = model.static_path, model.dynamic_path, model.filter_path
        lstm = self.dynamic_path.lstm if self.filter is None else self.filter.lstm
        self.layers, self.width = lstm.num_layers, lstm.hidden_size
        self.parts = [1, model.features, self.layers * self.width, self.layers * self.width]
        self.state_size = sum(self.parts)
        self.zero_anchor = model.settings.anchor_dynamic == "zero"

    def forward(self, element_features: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Map the next element's features and the state to the distributions of its codes and the next state."""
        flag, anchor, hidden, cell = torch.split(state, self.parts, 1)
        begun = flag > 0.5
        anchor = torch.where(begun, anchor, element_features[:, 0])
        static_hidden, static = self.static_path(anchor.unsqueeze(1))
        before = (self._layered(hidden), self._layered(cell))
        if self.filter is None:
            dynamic, after = self.dynamic_path.advance(element_features, anchor, static_hidden, before)
        else:
            dynamic, after = self.filter.advance(element_features, before)
        mean, std = dynamic.mean, dynamic.std
        if self.zero_anchor:
            free = begun.unsqueeze(1)
            mean, std = torch.where(free, mean, torch.zeros_like(mean)), torch.where(free, std, torch.zeros_like(std))
            if self.filter is None:
                # The LSTM of the dynamic path is not fed the anchor; that of a filter is.
                after = torch.where(begun, after[0], before[0]), torch.where(begun, after[1], before[1])
        kept = [torch.ones_like(flag), anchor, *self._flat(after)]
        return static.mean, mean, std, torch.cat(kept, 1)

    def _layered(self, part: Tensor) -> Tensor:
        return part.reshape(-1, self.layers, self.width).transpose(0, 1).contiguous()

    def _flat(self, state: State) -> list[Tensor]:
        return [part.transpose(0, 1).flatten(1) for part in state]
