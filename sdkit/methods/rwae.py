"""R-WAE, the recurrent Wasserstein autoencoder: the codes as a whole follow the prior, not those of each sequence.

An LSTM over the features gives h_t; s is read from h_T, and d_t from a second LSTM over [h_t, d_{t-1}], so that
q(d_t | d_<t, x_<=t) has the form of the prior p(d_t | d_<t). The decoder is recurrent too. Instead of divergences of
each posterior the loss has discrepancies (MMD) between samples over the batch: of s and N(0, I), and at each step of
d_t and draws of the prior that follow the same d_<t. Information of a code about its own sequence costs nothing.

Of the two forms of the paper this is the one with MMD; nothing is adversarial, and there is no weak supervision. Codes
at use are means, and so are those that are fed back; samples come from the graph `dynamic_posterior`.
"""

import dataclasses
import math
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sdkit.elements import Network
from sdkit.methods.base import Batch, Facts, Losses, Method, Range, SplitSettings, Term
from sdkit.methods.graphs import WHOLE_SEQUENCE, RecurrentPriorGraph, join
from sdkit.methods.parts.gaussian import Gaussian, GaussianHead
from sdkit.methods.parts.mmd import mmd
from sdkit.methods.parts.recurrent_prior import RecurrentPrior
from sdkit.runtime.contract import DYNAMIC_POSTERIOR
from sdkit.runtime.element import Element


class RwaeSettings(SplitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of R-WAE."""

    static_weight: float = 100.0
    """Weight of the discrepancy of the static codes, relative to the likelihood summed over a sequence."""
    dynamic_weight: float = 10.0
    """Weight of the discrepancies of the dynamic codes, summed over steps."""
    hidden_size: int = 256
    """Width of the LSTM layers of the posteriors and of the decoder."""
    prior_hidden_size: int = 256
    """Width of the stacked LSTM layers of the prior."""
    prior_layers: int = 2
    """Number of LSTM layers of the prior."""
    initial_std: float = 0.1
    """Standard deviation of the posteriors before training: at 1 they would equal the prior at once, ignoring the data,
    and only a weak gradient would lead away from there."""
    smallest_std: float = 1e-2
    """Smallest standard deviation of the prior of a dynamic code: nothing else in the loss would hold it up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "static_weight", "dynamic_weight")
        self.require_at_least(1, "hidden_size", "prior_hidden_size", "prior_layers")
        self.require_at_least(1e-5, "initial_std", "smallest_std")


class FeedbackPath(nn.Module):
    """Posterior q(d_t | d_<t, x_<=t): an LSTM over [h_t, d_{t-1}], and a head; the first d_{t-1} is 0."""

    def __init__(self, features: int, width: int, size: int) -> None:
        super().__init__()
        self.width, self.size = width, size
        self.lstm = nn.LSTM(features + size, width, batch_first=True)
        self.head = GaussianHead(width, size)

    def forward(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return samples, means and log-variances (B, T, D), each step fed the sample of the one before it.

        Restricted to what TorchScript compiles.

        Args:
            features: (B, T, H).
            noise: standard normal, (B, T, D); with zeros, samples are means.
        """
        h = torch.zeros(1, features.size(0), self.width, dtype=features.dtype, device=features.device)
        c = torch.zeros_like(h)
        d = torch.zeros_like(noise[:, :1])
        samples: list[Tensor] = []
        means: list[Tensor] = []
        log_variances: list[Tensor] = []
        for t in range(features.size(1)):
            hidden, (h, c) = self.lstm(torch.cat([features[:, t : t + 1], d], 2), (h, c))
            mean, log_variance = self.head(hidden)
            d = mean + torch.exp(0.5 * log_variance) * noise[:, t : t + 1]
            samples.append(d)
            means.append(mean)
            log_variances.append(log_variance)
        return torch.cat(samples, 1), torch.cat(means, 1), torch.cat(log_variances, 1)


class Rwae(Method):
    """A recurrent autoencoder whose codes are held to the prior by discrepancies over the batch."""

    name = "rwae"
    title = "recurrent Wasserstein autoencoder; discrepancies over the batch instead of divergences"
    reference = (
        "Jun Han, Martin Renqiang Min, Ligong Han, Li Erran Li, Xuan Zhang: Disentangled recurrent Wasserstein "
        "autoencoder, ICLR 2021"
    )
    Settings = RwaeSettings
    terms = (
        Term("nll", "NLL", "likelihood"),
        Term("mmd_s", "Discrepancy of the static codes", "other"),
        Term("mmd_d", "Discrepancy of the dynamic codes", "other"),
    )
    lower_when_collapsed = MappingProxyType({"static": "lower static_weight", "dynamic": "lower dynamic_weight"})

    def __init__(self, settings: RwaeSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        width = settings.hidden_size
        self.trunk = nn.LSTM(self.features, width, batch_first=True)
        self.features = width
        self.static_head = GaussianHead(width, settings.static_size)
        self.dynamic_path = FeedbackPath(width, width, settings.dynamic_size)
        self.recurrence = nn.LSTM(settings.static_size + settings.dynamic_size, width, batch_first=True)
        self.prior = RecurrentPrior(settings.dynamic_size, settings.prior_hidden_size, settings.prior_layers)
        self.prior.head.low = max(self.prior.head.low, 2 * math.log(settings.smallest_std))

    def initialise(self) -> None:
        """Draw the weights of a new model, whose posteriors are narrower than their priors."""
        super().initialise()
        for head in (self.static_head, self.dynamic_path.head):
            nn.init.constant_(head.log_variance.bias, 2 * math.log(self.settings.initial_std))

    @classmethod
    def network(cls, settings: Any, facts: Facts) -> Network:
        """Return the settings of the element networks; the decoder takes the state of the recurrent decoder."""
        return dataclasses.replace(super().network(settings, facts), code_size=settings.hidden_size)

    def decode(self, codes: Tensor) -> tuple[Tensor, ...]:
        """Return the parameters of the likelihood of codes (B, T, S + D), which the decoder reads in order."""
        with torch.autocast(codes.device.type, enabled=False):
            hidden, _ = self.recurrence(codes.float())
        return super().decode(hidden)

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return SSE or NLL, averaged over the batch, and the weighted discrepancies over the batch."""
        features = self.encode(batch.x)
        with torch.autocast(batch.x.device.type, enabled=False):
            hidden, _ = self.trunk(features.float())
            static = Gaussian(*self.static_head(hidden[:, -1]))
            noise = hidden.new_empty(*hidden.shape[:2], self.settings.dynamic_size).normal_()
            d, mean, _ = self.dynamic_path(hidden, noise)
            s = static.sample()
            mmd_s = mmd(s, torch.randn_like(s))
            # By step, over the batch: (T, B, D).
            mmd_d = mmd(d.transpose(0, 1), self.prior(d).sample().transpose(0, 1)).sum()
        decoded = self.decode(join(s, d))
        with torch.autocast(batch.x.device.type, enabled=False):
            nll = self.nll(decoded, batch.x).sum(1).mean()
        loss = nll + self.settings.static_weight * mmd_s + self.settings.dynamic_weight * mmd_d
        return Losses(loss, {"nll": nll, "mmd_s": mmd_s, "mmd_d": mmd_d}, static.mean, mean)

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs, including that of samples of the posterior."""
        return {
            "encoder": RecurrentEncoderGraph(self),
            "static": LastGraph(self.static_head),
            "dynamic": MeansGraph(self.dynamic_path),
            "decoder": RecurrentDecoderGraph(self),
            "prior": RecurrentPriorGraph(self.prior),
            DYNAMIC_POSTERIOR: SamplesGraph(self.dynamic_path),
        }

    @classmethod
    def refusals(cls, settings: Any) -> dict[str, str]:
        """Return the reason why it cannot run online."""
        return {"stream": WHOLE_SEQUENCE}

    @classmethod
    def search(cls, element: Element) -> dict[str, Any]:
        """Return the widths of the codes and the weights of the discrepancies."""
        return {
            **super().search(element),
            "static_weight": Range(10.0, 1e4),
            "dynamic_weight": Range(10.0, 1e4),
        }


class RecurrentEncoderGraph(nn.Module):
    """x (B, T, *element) -> features (B, T, H), the states of the LSTM over the features of elements."""

    inputs, outputs = ("x",), ("features",)

    def __init__(self, method: Rwae) -> None:
        super().__init__()
        self.encoder, self.trunk = method.encoder, method.trunk

    def forward(self, x: Tensor) -> Tensor:
        """Map data to features."""
        # The initial state is computed from an input of the graph, so that B stays free.
        zero = torch.zeros(1, x.shape[0], self.trunk.hidden_size, device=x.device)
        return self.trunk(self.encoder(x), (zero, zero))[0]  # type: ignore[no-any-return]


class LastGraph(nn.Module):
    """features (B, T, H) -> static_mean (B, S), static_std (B, S), from the last step."""

    inputs, outputs = ("features",), ("static_mean", "static_std")

    def __init__(self, head: GaussianHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to the distribution of the static code."""
        found = Gaussian(*self.head(features[:, -1]))
        return found.mean, found.std


class MeansGraph(nn.Module):
    """features (B, T, H) -> dynamic_mean (B, T, D), dynamic_std (B, T, D), each step fed the mean of the one before."""

    inputs, outputs = ("features",), ("dynamic_mean", "dynamic_std")
    compiled = True

    def __init__(self, path: FeedbackPath) -> None:
        super().__init__()
        self.path, self.size = path, path.size

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features to the distributions of the dynamic codes."""
        size = (features.size(0), features.size(1), self.size)
        silence = torch.zeros(size, dtype=features.dtype, device=features.device)
        _, mean, log_variance = self.path(features, silence)
        return mean, torch.exp(0.5 * log_variance)


class SamplesGraph(nn.Module):
    """features (B, T, H), noise (B, T, D) -> dynamic (B, T, D), each step fed the sample of the one before."""

    inputs, outputs = ("features", "noise"), ("dynamic",)
    compiled = True

    def __init__(self, path: FeedbackPath) -> None:
        super().__init__()
        self.path = path

    def forward(self, features: Tensor, noise: Tensor) -> Tensor:
        """Map features and noise to dynamic codes."""
        samples: Tensor = self.path(features, noise)[0]
        return samples


class RecurrentDecoderGraph(nn.Module):
    """static (B, S), dynamic (B, T, D) -> x (B, T, *element) float32 in data units, and x_std where there is one."""

    inputs = ("static", "dynamic")

    def __init__(self, method: Rwae) -> None:
        super().__init__()
        self.recurrence, self.decoder = method.recurrence, method.decoder
        self.outputs: tuple[str, ...] = method.decoder.outputs  # type: ignore[assignment]

    def forward(self, static: Tensor, dynamic: Tensor) -> tuple[Tensor, ...]:
        """Map codes to data."""
        zero = torch.zeros(1, static.shape[0], self.recurrence.hidden_size, device=static.device)
        hidden, _ = self.recurrence(join(static, dynamic), (zero, zero))
        return self.decoder.in_units(self.decoder(hidden))  # type: ignore[operator, no-any-return]


METHOD = Rwae
