"""The interface of a method: settings, terms of the objective, a loss, graphs, and the verbs that it has.

A method is one module of this folder, which holds a subclass of `Method` under the name `METHOD`; a package that is
installed beside sdkit registers one under the entry-point group `sdkit.methods`. Training, evaluation, tuning, export
and every host know no method by name.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, cast

import msgspec
from torch import Tensor, nn

from sdkit import elements
from sdkit.elements import ElementDecoder, ElementEncoder, Network
from sdkit.elements.initialise import initialise
from sdkit.runtime.bundles.specs import Widths
from sdkit.runtime.capabilities import Abilities
from sdkit.runtime.contract import STEP
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

Code = Literal["static", "dynamic"]


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Facts about the training data: measured when training starts, kept in config.json."""

    element: Element
    steps: int = 0
    """Length T of the longest sequence."""
    count: int = 0
    """Number N of sequences of the training split."""
    feature_mean: tuple[float, ...] = ()
    """Mean of each feature (F,) over the observed training values, in data units; empty for images."""
    feature_std: tuple[float, ...] = ()
    """Standard deviation of each feature (F,) over the observed training values, in data units; empty for images."""


class Batch(NamedTuple):
    """Input of a loss."""

    x: Tensor
    """Sequences (B, T, *element) in data units; NaN where a value was not observed."""
    rows: Tensor
    """Positions (B,) int64 of the sequences in the split, for methods that keep values for each sequence."""
    progress: float = 1.0
    """Share of the training's optimiser steps that are done, from 0 to 1, for methods that train in stages."""


class Term(NamedTuple):
    """A term of the objective, as curves, tables and searches use it."""

    name: str
    title: str
    kind: Literal["likelihood", "divergence", "other"]
    """`likelihood` terms sum to the negative log-likelihood and `divergence` terms to the cost of the codes, both in
    nats a sequence and unweighted; together they are the negative evidence lower bound."""
    code: Code | None = None
    """Code of a divergence; None for other terms."""


class Losses(NamedTuple):
    """The loss that a training step minimises, and its terms."""

    loss: Tensor
    """Loss to minimise, a scalar."""
    terms: dict[str, Tensor]
    """Unweighted scalars by name of the term."""
    static: Tensor | None = None
    """Posterior means of the static code (B, S), from which active units are counted; None where there is none."""
    dynamic: Tensor | None = None
    """Posterior means of the dynamic codes (B, T', D), used in the same way; None where there are none."""


class Range(NamedTuple):
    """Values from low to high, searched on a logarithmic scale."""

    low: float
    high: float


class Choice(NamedTuple):
    """A few values to choose from."""

    values: tuple[Any, ...]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that determines a model except the data; a method adds fields of its own."""

    dynamic_size: int = 256
    """Width D of the dynamic code of a step."""
    encoder_widths: tuple[int, ...] = ()
    """Channels (images) or features (other kinds) of the encoder's layers; the kind's own when empty."""
    decoder_widths: tuple[int, ...] = ()
    """Channels or features of the decoder's hidden layers; the kind's own when empty."""
    pixel_scale: float = 255.0
    """Divisor of uint8 pixels; the Sprites benchmark divides by 256."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{field.name} = {value}; it must be finite")
        self.require_at_least(1, "dynamic_size")
        for name in ("encoder_widths", "decoder_widths"):
            if min(getattr(self, name), default=1) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; expected one or more positive widths")
        if self.pixel_scale <= 0:
            raise ConfigError(f"pixel_scale = {self.pixel_scale}; it must be positive")

    def require_at_least(self, least: float, *names: str) -> None:
        """Raise ConfigError if a field of these names is smaller; None passes."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} = {value}; it must be at least {least}")

    def require_choice(self, name: str, choices: Iterable[str]) -> None:
        """Raise ConfigError unless a field has one of these values."""
        if getattr(self, name) not in (known := tuple(choices)):
            raise ConfigError(f"{name} = {getattr(self, name)!r}; choose one of {', '.join(known)}")


class SplitSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of methods that have a static code."""

    static_size: int = 256
    """Width S of the static code."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "static_size")


class Method(nn.Module, ABC):
    """A model of sequences with a static code s and dynamic codes d_1:T, or with one of the two.

    Every method is built over the same element networks, so that methods are compared and not encoders.

    Args:
        settings: settings, an instance of the class's own `Settings`.
        facts: facts about the training data.
    """

    name: ClassVar[str]
    """Name on the command line and in the manifest."""
    title: ClassVar[str]
    """Title: a few words that describe the method."""
    reference: ClassVar[str]
    """Publication of the method."""
    Settings: ClassVar[type[Settings]] = Settings
    terms: ClassVar[tuple[Term, ...]]
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    """Settings by name of the variant; the first is the default unless `default_variant` says otherwise."""
    training_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Settings of training that the method changes unless a preset or a user sets them."""
    phases: ClassVar[tuple[str, ...]] = ("model",)
    """Names of the optimiser steps of each batch, in order; adversarial methods have several."""
    lower_when_collapsed: ClassVar[Mapping[Code, str]] = MappingProxyType({})
    """Advice for a collapsed code, by code: the end of a warning, such as `lower beta`."""

    def __init__(self, settings: Any, facts: Facts) -> None:
        super().__init__()
        self.settings, self.facts = settings, facts
        encoder, decoder = elements.build(self.network(settings, facts))
        self.encoder, self.decoder = cast(nn.Module, encoder), cast(nn.Module, decoder)
        self.features: int = encoder.features

    def initialise(self) -> None:
        """Draw the weights of a new model; called once, when all of its layers are there."""
        initialise(self)

    @classmethod
    def network(cls, settings: Any, facts: Facts) -> Network:
        """Return the settings of the element networks; the decoder takes [s, d_t], or d_t where there is no s."""
        return Network(
            facts.element,
            code_size=getattr(settings, "static_size", 0) + settings.dynamic_size,
            encoder_widths=settings.encoder_widths,
            decoder_widths=settings.decoder_widths,
            pixel_scale=settings.pixel_scale,
            feature_mean=facts.feature_mean,
            feature_std=facts.feature_std,
        )

    @abstractmethod
    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return the loss of a batch; called as forward, so that autocast and data parallelism wrap it."""

    @abstractmethod
    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs over the model's own layers, by name; `methods.graphs` has those that methods share.

        Each is a module with the attributes `inputs` and `outputs`, names of `runtime.contract.TENSORS`.
        """

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reasons for the verbs that the model does not have, by verb; it has all others."""
        return {"stream": "its method does not run element by element"}

    @property
    def max_steps(self) -> int | None:
        """Largest T that the prior draws; None where it draws any."""
        return None

    @property
    def settled(self) -> float:
        """Share of the training after which the loss is that of the last stage.

        Losses compare with each other only from there on, so the best epoch is chosen among the later ones; the last
        epoch is taken where it is 1.
        """
        return 0.0

    def finish(self, batches: Iterable[Batch]) -> None:
        """Complete a model whose training has ended: fit what has no gradient, on batches of the training split.

        Results go into buffers of the model and so into its weights. It is called without gradients, in
        evaluation mode; during training with a few batches, so that pictures can be drawn, and at the end
        with all of them.
        """

    @property
    def finishes(self) -> bool:
        """Whether `finish` has anything to do."""
        return type(self).finish is not Method.finish

    def phase_parameters(self, phase: str) -> Iterable[nn.Parameter]:
        """Return the parameters that a phase trains."""
        return self.parameters()

    def phase_rate(self, phase: str) -> float:
        """Return the learning rate of a phase, relative to that of the training."""
        return 1.0

    @classmethod
    def default_variant(cls, element: Element) -> str:
        """Return the variant that is trained by default; empty where the method has none."""
        return next(iter(cls.variants), "")

    @classmethod
    def variant_of(cls, settings: Any) -> str:
        """Return the name of the variant with these settings; `custom` where none has them, empty without variants."""
        for name, switches in cls.variants.items():
            if all(getattr(settings, key) == value for key, value in switches.items()):
                return name
        return "custom" if cls.variants else ""

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return the settings that `sdkit tune` searches, besides the learning rate."""
        sizes = Choice(elements.code_sizes(element.kind))
        return {name: sizes for name in ("static_size", "dynamic_size") if name in cls.Settings.__struct_fields__}

    @classmethod
    def superseded(cls, given: Collection[str]) -> frozenset[str]:
        """Return the settings of a search that have no effect where settings of these names are given."""
        return frozenset()

    @classmethod
    def term_of(cls, code: Code) -> str | None:
        """Return the name of a code's divergence; None where it has none."""
        return next((term.name for term in cls.terms if term.kind == "divergence" and term.code == code), None)

    @property
    def widths(self) -> Widths:
        """Widths that a host needs."""
        step = self.graphs().get(STEP)
        return Widths(
            self.static_size,
            self.settings.dynamic_size,
            self.features,
            self.context_size,
            0 if step is None else cast(int, step.state_size),
        )

    @property
    def static_size(self) -> int:
        """Width S; 1 where the method has no static code, which hosts then see as a constant 0."""
        return int(getattr(self.settings, "static_size", 1))

    @property
    def context_size(self) -> int:
        """Width C of the static graph's output `context`; 0 where it has none."""
        return 0

    @property
    def abilities(self) -> Abilities:
        """The verbs that the model has, and a reason for each of the others."""
        return Abilities(self.name, self.refusals(self.settings), self.max_steps)

    def decode(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Return the parameters of the likelihood of codes (B, T, S + D)."""
        return cast(ElementDecoder, self.decoder)(codes)  # type: ignore[no-any-return]

    def nll(self, parameters: tuple[Tensor, ...], x: Tensor) -> Tensor:
        """Return the negative log-likelihood (B, T) of data in nats, up to a constant."""
        return cast(ElementDecoder, self.decoder).nll(parameters, x)

    def encode(self, x: Tensor) -> Tensor:
        """Return the features (B, T, G) of data (B, T, *element)."""
        return cast(ElementEncoder, self.encoder)(x)  # type: ignore[no-any-return]
