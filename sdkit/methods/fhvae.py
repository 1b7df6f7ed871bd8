"""FHVAE, the factorised hierarchical variational autoencoder: a mean for each sequence, two codes for each segment.

A segment is a few consecutive elements (`segment_steps`). Sequence i has a mean mu_i ~ N(0, I); each of its segments
has z2 ~ N(mu_i, 1/4 I), what the segments of a sequence share, and z1 ~ N(0, I), all else. q(z2 | x) is an LSTM over
the segment's features, q(z1 | x, z2) another over [g_t, z2]. In training mu_i is a row of a table, and a discriminative
term asks of each z2 that it tells its own sequence from all others. A sequence that is not in the table has the
posterior of its mean, N(sum z2 / (n + 1/4), 1/4 / (n + 1/4)), n being the number of its segments: this is the static
code, and z1, repeated over the steps of its segment, is the dynamic code. The table is part of the weights of a run,
and of no graph.

Differences from the release: element networks and likelihood are those of every method here; segments follow each other
without overlap and the last one may be shorter; where a segment is a single element, the decoder has no LSTM, since
there are no steps to vary over. A row of a large table learns slowly by Adam, whose steps have no scale, since its own
sequence comes once an epoch: rows are stored in units of `table_rate`.
"""

from collections.abc import Mapping
from math import log
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sdkit.elements import Network
from sdkit.methods.base import Batch, Choice, Code, Facts, Losses, Method, Range, SplitSettings, Term
from sdkit.methods.graphs import join
from sdkit.methods.parts.gaussian import Gaussian, GaussianHead, kl_to_standard
from sdkit.runtime.contract import DYNAMIC_POSTERIOR
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

VARIANCE = 0.25
"""Variance of the codes z2 of a sequence's segments about the sequence's mean."""


class FhvaeSettings(SplitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of FHVAE."""

    static_size: int = 32
    """Width S of the static code, the mean of a sequence's codes z2."""
    dynamic_size: int = 32
    """Width D of the dynamic code, the code z1 of a segment."""
    hidden_size: int = 256
    """Width of the LSTMs of both posteriors, and of the decoder's where it has one."""
    segment_steps: int = 1
    """Number of elements of a segment; 1 suits windows of a series and frames of a video, 20 frames of a spectrum."""
    alpha: float = 10.0
    """Weight of the discriminative term."""
    beta: float = 1.0
    """Weight of the divergences, relative to the likelihood summed over a sequence."""
    table_rate: float = 10.0
    """Factor on the learning rate of the table."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "hidden_size", "segment_steps")
        self.require_at_least(0, "alpha", "beta")
        if self.table_rate <= 0:
            raise ConfigError(f"table_rate = {self.table_rate}; it must be positive")


def over_segments(lstm: nn.LSTM, x: Tensor, steps: int) -> Tensor:
    """Return the outputs (B, T, H) of an LSTM over x (B, T, K) that starts anew at each segment of `steps` steps.

    The last segment may be shorter. It is padded behind, which changes no output before the padding.
    """
    count = (x.shape[1] + steps - 1) // steps
    padded = nn.functional.pad(x, (0, 0, 0, steps - 1))[:, : count * steps]
    segments = padded.reshape(-1, steps, lstm.input_size)
    # The initial state is computed from an input of the graph, so that B stays free.
    zero = torch.zeros(1, segments.shape[0], lstm.hidden_size, dtype=x.dtype, device=x.device)
    hidden, _ = lstm(segments, (zero, zero))
    hidden = hidden.reshape(x.shape[0], -1, lstm.hidden_size)
    return hidden[:, : x.shape[1]]  # type: ignore[no-any-return]


def last_of_segments(x: Tensor, steps: int) -> Tensor:
    """Return the last step of each segment, (B, N, K), of x (B, T, K)."""
    return torch.cat([x[:, steps - 1 : -1 : steps], x[:, -1:]], 1)


def over_steps(x: Tensor, steps: int, like: Tensor) -> Tensor:
    """Return values (B, T, K) of steps from values (B, N, K) of segments, for as many steps as `like` (B, T, ...)."""
    if steps == 1:
        return x
    repeated = x.unsqueeze(2).expand(-1, -1, steps, -1)
    return repeated.reshape(x.shape[0], -1, x.shape[2])[:, : like.shape[1]]


def mean_posterior(z2: Tensor) -> Gaussian:
    """Return the posterior (B, S) of a sequence's mean, given the codes (B, N, S) of its segments."""
    count = z2.shape[1] + VARIANCE
    mean = z2.sum(1) / count
    return Gaussian(mean, torch.log(VARIANCE / count * torch.ones_like(mean)))


class SegmentPath(nn.Module):
    """Posterior of a segment's code: a head on the last output of an LSTM over the segment's steps."""

    def __init__(self, inputs: int, width: int, size: int, steps: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(inputs, width, batch_first=True)
        self.head = GaussianHead(width, size)
        self.steps = steps

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, T, K) to mean and log-variance (B, N, size)."""
        hidden = over_segments(self.lstm, features, self.steps)
        return self.head(last_of_segments(hidden, self.steps))  # type: ignore[no-any-return]


class Pass(NamedTuple):
    """Posteriors of the segments of a batch, and a sample of each."""

    shared: Gaussian
    """q(z2 | x), (B, N, S)."""
    own: Gaussian
    """q(z1 | x, z2), (B, N, D)."""
    z2: Tensor
    z1: Tensor


class Fhvae(Method):
    """A static code that is a sequence's mean, and a dynamic code for each of its segments."""

    name = "fhvae"
    title = "a mean for each sequence, told from all others; codes of segments"
    reference = "Hsu et al.: Unsupervised learning of disentangled representations from sequential data, NIPS 2017"
    Settings = FhvaeSettings
    terms = (
        Term("nll", "NLL", "likelihood"),
        Term("kl_s", "KL of the segments' shared codes", "divergence", "static"),
        Term("mean", "log prior of the sequence's mean", "divergence", "static"),
        Term("kl_d", "KL of the segments' own codes", "divergence", "dynamic"),
        Term("discriminative", "log probability of the own sequence", "other"),
    )
    lower_when_collapsed: ClassVar[Mapping[Code, str]] = MappingProxyType({"static": "lower beta, or raise alpha"})

    def __init__(self, settings: FhvaeSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        s, d, width, steps = settings.static_size, settings.dynamic_size, settings.hidden_size, settings.segment_steps
        self.shared_path = SegmentPath(self.features, width, s, steps)
        self.own_path = SegmentPath(self.features + s, width, d, steps)
        self.features = s + 2 * d  # hosts see the posteriors as the features
        self.segment_lstm = nn.LSTM(s + d, width, batch_first=True) if steps > 1 else None
        self.table = nn.Parameter(torch.zeros(max(1, facts.count), s))

    @classmethod
    def network(cls, settings: FhvaeSettings, facts: Facts) -> Network:
        """Return the element networks, whose decoder takes the codes, or the output of an LSTM over a segment."""
        codes = settings.static_size + settings.dynamic_size if settings.segment_steps == 1 else settings.hidden_size
        return Network(
            facts.element, codes, settings.encoder_widths, settings.decoder_widths,
            settings.pixel_scale, facts.feature_mean, facts.feature_std,
        )  # fmt: skip

    @classmethod
    def refusals(cls, settings: FhvaeSettings) -> dict[str, str]:
        """Return the reason why it cannot run online."""
        return {"stream": "its static code is read from all segments of a sequence, known only at its end"}

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return the widths of the codes and the weights."""
        return {
            "static_size": Choice((16, 32)),
            "dynamic_size": Choice((16, 32)),
            "alpha": Choice((0.0, 1.0, 10.0)),
            "beta": Range(1e-2, 2.0),
        }

    @property
    def means(self) -> Tensor:
        """The table: the mean of each training sequence, (N, S)."""
        means: Tensor = self.settings.table_rate * self.table
        return means

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return NLL + beta (KL(z1) + KL(z2) - log p(mu)) - alpha log p(i | z2), summed over segments.

        In evaluation, where sequences are not those of the table, mu is the mean of its posterior and the
        discriminative term is left out.
        """
        features = self.encode(batch.x)
        with torch.autocast(batch.x.device.type, enabled=False):
            found = self.posterior(features.float())
            static = mean_posterior(found.shared.mean)
            mean = self.means[batch.rows] if self.training else static.mean
            terms = self._divergences(found, mean)
            if self.training:
                terms["discriminative"] = self._discriminative(found.shared.mean, batch.rows)
            codes = self.segment_codes(found.z2, found.z1, features)
        decoded = self.decode(codes)
        with torch.autocast(batch.x.device.type, enabled=False):
            nll = self.nll(decoded, batch.x).sum(1).mean()
        loss = nll + self.settings.beta * (terms["kl_s"] + terms["mean"] + terms["kl_d"])
        if self.training:
            loss = loss + self.settings.alpha * terms["discriminative"]
        return Losses(loss, {"nll": nll, **terms}, static.mean, found.own.mean)

    def posterior(self, features: Tensor) -> Pass:
        """Return the posteriors of the segments' codes and a sample of each, from features (B, T, G)."""
        shared = Gaussian(*self.shared_path(features))
        z2 = shared.sample()
        own = Gaussian(*self.own_path(with_shared(features, z2, self.settings.segment_steps)))
        return Pass(shared, own, z2, own.sample())

    def segment_codes(self, z2: Tensor, z1: Tensor, like: Tensor) -> Tensor:
        """Return the decoder's input (B, T, K), from codes (B, N, S) and (B, N, D) of segments."""
        codes = over_steps(torch.cat([z2, z1], -1), self.settings.segment_steps, like)
        return (
            codes if self.segment_lstm is None else over_segments(self.segment_lstm, codes, self.settings.segment_steps)
        )

    def _divergences(self, found: Pass, mean: Tensor) -> dict[str, Tensor]:
        """Return the cost of the codes of a sequence, given its mean (B, S), up to a constant."""
        # KL[N(m, v) || N(mu, 1/4)] = KL[N(2 (m - mu), 4 v) || N(0, 1)]
        scaled = Gaussian(
            (found.shared.mean - mean.unsqueeze(1)) / VARIANCE**0.5, found.shared.log_variance - log(VARIANCE)
        )
        return {
            "kl_s": kl_to_standard(scaled).sum(1).mean(),
            "mean": 0.5 * mean.square().sum(-1).mean(),
            "kl_d": kl_to_standard(found.own).sum(1).mean(),
        }

    def _discriminative(self, z2: Tensor, rows: Tensor) -> Tensor:
        """Return -log p(i | z2) of codes (B, N, S), summed over segments: a softmax over all rows of the table."""
        means = self.means
        # |z2|^2 is the same for all rows, so that it cancels.
        logits = (2 * z2 @ means.T - means.square().sum(1)) / (2 * VARIANCE)
        chosen = rows.unsqueeze(1).expand(-1, z2.shape[1])
        cost = nn.functional.cross_entropy(logits.flatten(0, 1), chosen.flatten(), reduction="sum")
        return cost / len(z2)

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs; samples of segments of several steps need one of their own."""
        graphs = {
            "encoder": SegmentsGraph(self),
            "static": MeanGraph(self.settings),
            "dynamic": OwnGraph(self.settings),
            "decoder": SegmentDecoderGraph(self),
            "prior": SegmentNoiseGraph(self.settings),
        }
        return graphs if self.segment_lstm is None else {**graphs, DYNAMIC_POSTERIOR: SegmentSampleGraph(self.settings)}


def with_shared(features: Tensor, z2: Tensor, steps: int) -> Tensor:
    """Return [g_t, z2] of every step, from features (B, T, G) and codes (B, N, S) of segments."""
    return torch.cat([features, over_steps(z2, steps, features)], -1)


class SegmentsGraph(nn.Module):
    """x (B, T, *element) -> features (B, T, S + 2 D).

    They are the mean of z2 of the step's segment, and mean and log-variance of z1 given that mean.
    """

    inputs, outputs = ("x",), ("features",)

    def __init__(self, method: Fhvae) -> None:
        super().__init__()
        self.encoder, self.shared, self.own = method.encoder, method.shared_path, method.own_path
        self.steps = method.settings.segment_steps

    def forward(self, x: Tensor) -> Tensor:
        """Map data to the posteriors of the segments' codes."""
        features = self.encoder(x)
        # The exporter takes the axes of an image's features for constants; those of the graph's input are free.
        features = features.reshape(x.shape[0], x.shape[1], features.shape[2])
        z2, _ = self.shared(features)
        mean, log_variance = self.own(with_shared(features, z2, self.steps))
        return over_steps(torch.cat([z2, mean, log_variance], -1), self.steps, features)


class MeanGraph(nn.Module):
    """features (B, T, S + 2 D) -> static_mean (B, S), static_std (B, S): the posterior of the sequence's mean."""

    inputs, outputs = ("features",), ("static_mean", "static_std")

    def __init__(self, settings: FhvaeSettings) -> None:
        super().__init__()
        self.size, self.steps = settings.static_size, settings.segment_steps

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map the segments' codes z2 to the distribution of the static code."""
        z2 = features[:, :: self.steps, : self.size]
        # The number of segments is a sum, so that no exporter takes it for a constant.
        count = torch.ones_like(z2).sum(1) + VARIANCE
        return z2.sum(1) / count, torch.sqrt(VARIANCE / count)


class OwnGraph(nn.Module):
    """features (B, T, S + 2 D) -> dynamic_mean (B, T, D), dynamic_std (B, T, D), equal within a segment."""

    inputs, outputs = ("features",), ("dynamic_mean", "dynamic_std")

    def __init__(self, settings: FhvaeSettings) -> None:
        super().__init__()
        self.parts = [settings.static_size, settings.dynamic_size, settings.dynamic_size]

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map the segments' posteriors to the distributions of the dynamic codes."""
        _, mean, log_variance = torch.split(features, self.parts, -1)
        return mean, torch.exp(0.5 * log_variance)


class SegmentSampleGraph(nn.Module):
    """features (B, T, S + 2 D), noise (B, T, D) -> dynamic (B, T, D).

    The sample of a segment is drawn with the noise of its first step.
    """

    inputs, outputs = ("features", "noise"), ("dynamic",)

    def __init__(self, settings: FhvaeSettings) -> None:
        super().__init__()
        self.own, self.steps = OwnGraph(settings), settings.segment_steps

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Map the segments' posteriors and noise to dynamic codes."""
        mean, std = self.own(features)
        drawn: Tensor = mean + std * over_steps(noise[:, :: self.steps], self.steps, noise)
        return drawn


class SegmentNoiseGraph(nn.Module):
    """noise (B, T, D) -> dynamic (B, T, D), dynamic_mean (B, T, D) of 0.

    The code of a segment is the noise of its first step.
    """

    inputs, outputs = ("noise",), ("dynamic", "dynamic_mean")

    def __init__(self, settings: FhvaeSettings) -> None:
        super().__init__()
        self.steps = settings.segment_steps

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Map noise to dynamic codes."""
        mean = torch.zeros_like(noise)
        # A sum, since an exporter may remove a graph's input that is its output too.
        return mean + over_steps(noise[:, :: self.steps], self.steps, noise), mean


class SegmentDecoderGraph(nn.Module):
    """static (B, S), dynamic (B, T, D) -> x (B, T, *element) float32 in data units, and x_std where there is one."""

    inputs = ("static", "dynamic")

    def __init__(self, method: Fhvae) -> None:
        super().__init__()
        self.lstm, self.decoder, self.steps = method.segment_lstm, method.decoder, method.settings.segment_steps
        self.outputs: tuple[str, ...] = method.decoder.outputs  # type: ignore[assignment]

    def forward(self, static: Tensor, dynamic: Tensor) -> tuple[Tensor, ...]:
        """Map codes to data; segments begin at every `segment_steps`-th step."""
        codes = join(static, dynamic)
        if self.lstm is not None:
            codes = over_segments(self.lstm, codes, self.steps)
        return self.decoder.in_units(self.decoder(codes))  # type: ignore[operator, no-any-return]


METHOD = Fhvae
