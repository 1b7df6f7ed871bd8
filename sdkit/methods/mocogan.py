"""MoCoGAN: sequences are generated from a static code and a recurrent path of dynamic codes, against two critics.

s ~ N(0, I) is fixed for a sequence, d_t = GRU(eps_t, d_{t-1}) with eps_t ~ N(0, I) and d_0 = 0, and the shared
decoder maps [s, d_t] to x_t. One critic sees a single element, drawn anew for each sequence, the other the whole
sequence. There is no encoder: the model generates and decodes, and keeps no code of a given sequence.

Differences from the release: d_0 is 0, not noise, so that T rows of noise give T steps; there are no category codes,
which would be weak supervision; the critics are the element encoders of every method here, with a layer on top, and
two convolutions over time in place of convolutions over time and space whose kernels fit no sequence of 8 elements;
there is no weight decay. Where the decoder has a standard deviation the critics see draws, and where values of the data
were not observed, those of generated sequences are hidden too: gaps would give them away.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdkit import elements
from sdkit.elements import ElementDecoder
from sdkit.elements.standard import observed
from sdkit.methods.base import Batch, Choice, Facts, Losses, Method, Range, SplitSettings, Term
from sdkit.methods.graphs import DecoderGraph, join
from sdkit.runtime.element import Element

NO_ENCODER = "its method has no encoder"
SLOPE = 0.2
CRITIC, GENERATOR = "critic", "generator"


class MocoganSettings(SplitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of MoCoGAN."""

    static_size: int = 50
    """Width S of the static code."""
    dynamic_size: int = 10
    """Width D of the dynamic code of a step, and of the noise that moves it."""
    hidden_size: int = 128
    """Width of the convolutions over time of the critic of sequences."""
    sequence_weight: float = 1.0
    """Weight of the critic of sequences, relative to that of elements, in the loss of the generator."""
    critic_rate: float = 1.0
    """Learning rate of the critics, relative to that of the generator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "hidden_size")
        self.require_at_least(1e-6, "critic_rate")
        self.require_at_least(0, "sequence_weight")


class Motion(nn.Module):
    """noise (B, T, D) -> dynamic codes (B, T, D): a GRU whose state is the code, 0 before the first step."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(size, size, batch_first=True)

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise to dynamic codes."""
        # Computed from the input, so that B stays free in an exported graph.
        start = torch.zeros_like(noise[:, 0]).unsqueeze(0)
        return self.gru(noise, start)[0]  # type: ignore[no-any-return]


class OverTime(nn.Module):
    """features (B, T, G) -> logits (B,): two convolutions over time, padded so that any T will do, and their mean."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(features, width, 3, padding=1)
        self.second = nn.Conv1d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Map features of all elements to a logit of each sequence."""
        seen = F.leaky_relu(self.first(features.transpose(1, 2)), SLOPE)
        seen = F.leaky_relu(self.second(seen), SLOPE)
        return self.head(seen.mean(2)).squeeze(1)  # type: ignore[no-any-return]


class Mocogan(Method):
    """A generator with a static and a dynamic code, against a critic of elements and one of sequences."""

    name = "mocogan"
    title = "adversarial generator of static and dynamic codes; no encoder"
    reference = "Sergey Tulyakov et al.: MoCoGAN: Decomposing motion and content for video generation, CVPR 2018"
    Settings = MocoganSettings
    terms = (
        Term("critic_elements", "critic of elements", "other"),
        Term("critic_sequences", "critic of sequences", "other"),
        Term("generator_elements", "generator against the critic of elements", "other"),
        Term("generator_sequences", "generator against the critic of sequences", "other"),
    )
    training_defaults = MappingProxyType({"learning_rate": 2e-4, "adam_beta1": 0.5})
    phases = (CRITIC, GENERATOR)

    def __init__(self, settings: MocoganSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        # The encoder that every method has is that of the critic of elements; nothing of either critic is exported.
        self.element_head = nn.Linear(self.features, 1)
        self.sequence_encoder = cast(nn.Module, elements.build(self.network(settings, facts))[0])
        self.over_time = OverTime(self.features, settings.hidden_size)
        self.motion = Motion(settings.dynamic_size)

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reason why it takes no sequences."""
        verbs = ("encode", "reconstruct", "swap", "resample_static", "resample_dynamic", "stream")
        return dict.fromkeys(verbs, NO_ENCODER)

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return the widths of the codes and the pace of the critics; no range: its losses compare no two values."""
        return {
            "static_size": Choice((16, 50, 128)),
            "dynamic_size": Choice((5, 10, 20)),
            "critic_rate": Choice((0.2, 0.5, 1.0)),
        }

    @property
    def settled(self) -> float:
        """1: the loss of a game selects no epoch, so the last is taken."""
        return 1.0

    def phase_parameters(self, phase: str) -> Iterable[nn.Parameter]:
        """Return the parameters of the critics, or of the generator."""
        return (p for module in self._modules_of(phase) for p in module.parameters())

    def phase_rate(self, phase: str) -> float:
        """Return the relative learning rate of the critics, or 1."""
        return self.settings.critic_rate if phase == CRITIC else 1.0

    def forward(self, batch: Batch, phase: str = CRITIC) -> Losses:
        """Return the binary cross-entropies of a phase, means over the batch.

        In the phase of the critics generated sequences are constants, in that of the generator the critics are.
        """
        if phase == GENERATOR:
            with _constant(self._modules_of(CRITIC)):
                element, sequence = self.criticise(self.made_like(batch.x))
            tricked = (_cross_entropy(element, True), _cross_entropy(sequence, True))
            loss = tricked[0] + self.settings.sequence_weight * tricked[1]
            return Losses(loss, {"generator_elements": tricked[0], "generator_sequences": tricked[1]})
        with torch.no_grad():
            made = self.made_like(batch.x)
        # Apart from each other, so that batch norm takes its statistics of the one or of the other.
        true, false = self.criticise(batch.x), self.criticise(made)
        told = [_cross_entropy(yes, True) + _cross_entropy(no, False) for yes, no in zip(true, false, strict=True)]
        return Losses(told[0] + told[1], {"critic_elements": told[0], "critic_sequences": told[1]})

    def made_like(self, x: Tensor) -> Tensor:
        """Return generated sequences as the critics see them, with the shape and the gaps of data (B, T, *element)."""
        with torch.autocast(x.device.type, enabled=False):
            noise = torch.randn(*x.shape[:2], self.settings.dynamic_size, device=x.device)
            d = self.motion(noise)
        s = torch.randn(len(x), self.settings.static_size, device=x.device)
        decoder = cast(ElementDecoder, self.decoder)
        found = dict(zip(decoder.outputs, decoder.in_units(self.decode(join(s, d))), strict=True))
        made = found["x"]
        if "x_std" in found:
            made = made + found["x_std"] * torch.randn_like(made)
        # A critic would tell data from draws by their gaps alone.
        return torch.where(observed(x), made, torch.nan) if x.is_floating_point() else made

    def criticise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (B,) of a random element of each sequence, and those of the sequences."""
        rows, steps = torch.arange(len(x), device=x.device), torch.randint(x.shape[1], (len(x),), device=x.device)
        element, sequence = self.encode(x[rows, steps].unsqueeze(1)), self.sequence_encoder(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.element_head(element.float()).flatten(), self.over_time(sequence.float())

    def graphs(self) -> dict[str, nn.Module]:
        """Return the two graphs of a model that only generates."""
        return {"decoder": DecoderGraph(self), "prior": MotionGraph(self.motion)}

    def _modules_of(self, phase: str) -> tuple[nn.Module, ...]:
        if phase == GENERATOR:
            return self.motion, self.decoder
        return self.encoder, self.element_head, self.sequence_encoder, self.over_time


@contextmanager
def _constant(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let what is computed within pass gradients through modules, but leave none in their parameters."""
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


def _cross_entropy(logits: Tensor, real: bool) -> Tensor:
    """Return the cost of taking all for real, or all for generated: -ln sigmoid(l), or -ln(1 - sigmoid(l))."""
    return F.softplus(-logits if real else logits).mean()


class MotionGraph(nn.Module):
    """noise (B, T, D) -> dynamic (B, T, D): a path of the generator's own GRU."""

    inputs, outputs = ("noise",), ("dynamic",)

    def __init__(self, motion: Motion) -> None:
        super().__init__()
        self.motion = motion

    def forward(self, noise: Tensor) -> tuple[Tensor]:
        """Map noise to sampled dynamic codes."""
        return (self.motion(noise),)


METHOD = Mocogan
