"""SKD, the structured Koopman autoencoder: codes are coordinates of the modes of a linear operator in time.

An encoder LSTM gives z_t of width k = S + D. An operator C with z_{t+1} = z_t C is fitted to each batch by least
squares; modes whose eigenvalue is 1 are static, and the loss requires this of S of them and not of the others. After
training one operator is fitted to the whole training split (`finish`), so that the codes of a sequence do not depend on
its neighbours, and two real bases follow from it: s is the mean over time of z_t R_s, d_t = z_t R_d. Both are
deterministic: their standard deviations are 0.

The variant `ssm` is SSM-SKD: while training, each sequence has an operator of its own, with one static mode, and the
predictions are decoded to the data and not to their reconstruction. In use it has the one operator of `finish`, so that
the graphs are those of `skd`; its paper fits one to each sequence then, too.

Additions of ours, since the paper has no priors: a Gaussian fitted to s and a linear Gaussian recursion
d_{t+1} = d_t A + b + e_t fitted to d. Other differences from the release: S counts eigenvalues, not conjugate pairs; a
swap joins one s for each sequence, not one for each step; the reconstruction error is the likelihood of the shared
element networks per value, which for images is the mean squared error.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdkit.elements import ElementDecoder, Network
from sdkit.elements.standard import observed
from sdkit.methods.base import Batch, Choice, Facts, Losses, Method, Range, SplitSettings, Term
from sdkit.methods.parts import koopman
from sdkit.runtime.contract import STATIC_PRIOR
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

JITTER = 1e-6
"""Addition to the diagonal of a covariance, relative to its mean, before its Cholesky factor is computed."""


class SkdSettings(SplitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of SKD; the width of the operator is static_size + dynamic_size."""

    static_size: int = 8
    """Number S of static modes of the operator, those whose eigenvalue is to be 1."""
    dynamic_size: int = 32
    """Number D of all other modes."""
    hidden_size: int = 80
    """Width of the LSTM of the decoder."""
    dropout: float = 0.2
    """Share of the code's values that are dropped before decoding while training."""
    reconstruction_weight: float = 15.0
    """Weight of the mean likelihood over values."""
    prediction_weight: float = 1.0
    """Weight of the squared errors of the operator's predictions, in data and in codes."""
    eigenvalue_weight: float = 1.0
    """Weight of the two terms of the eigenvalues."""
    threshold: float = 0.5
    """Real part below which the eigenvalue of a dynamic mode costs nothing."""
    per_sequence: bool = False
    """Whether an operator with one static mode is fitted to each sequence while training, and not one to a batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.per_sequence and self.static_size != 1:
            raise ConfigError(f"static_size = {self.static_size}; the operator of a sequence has 1 static mode (ssm)")
        self.require_at_least(1, "hidden_size")
        self.require_at_least(0, "reconstruction_weight", "prediction_weight", "eigenvalue_weight", "dropout")


class Skd(Method):
    """Codes are coordinates of a linear operator's modes: those of eigenvalue 1 are static."""

    name = "skd"
    title = "modes of a linear operator in time; deterministic codes"
    reference = "Berman et al.: Multifactor sequential disentanglement via structured Koopman autoencoders, ICLR 2023"
    Settings = SkdSettings
    terms = (
        Term("nll", "NLL", "likelihood"),
        Term("prediction_data", "error of predicted data", "other"),
        Term("prediction_codes", "squared error of predicted codes", "other"),
        Term("eigenvalues_static", "distance of static eigenvalues from 1", "other"),
        Term("eigenvalues_dynamic", "excess of dynamic eigenvalues", "other"),
    )
    variants = MappingProxyType({"skd": {"per_sequence": False}, "ssm": {"per_sequence": True, "static_size": 1}})
    # Gradients of eigenvalues grow without bound where two of them meet, and the objective wants S of them at 1.
    training_defaults = MappingProxyType({"gradient_clip": 1.0})

    right: Tensor
    """Bases [R_s R_d] of the static and the dynamic modes, (k, k)."""
    left: Tensor
    """Inverse of `right`, (k, k): L_s over L_d."""
    static_prior_mean: Tensor
    static_prior_factor: Tensor

    def __init__(self, settings: SkdSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        s, d = settings.static_size, settings.dynamic_size
        self.width = s + d
        self.encoder_lstm = nn.LSTM(self.features, self.width, batch_first=True)
        self.features = self.width  # hosts see z as the features
        self.decoder_lstm = nn.LSTM(self.width, settings.hidden_size, batch_first=True)
        self.dropout = nn.Dropout(settings.dropout)
        # Results of `finish`; until then a basis of unit vectors and standard normal priors.
        for name, value in _unfitted(s, d).items():
            self.register_buffer(name, value)

    @classmethod
    def network(cls, settings: SkdSettings, facts: Facts) -> Network:
        """Return the element networks, whose decoder takes the decoder LSTM's output."""
        return Network(
            facts.element, settings.hidden_size, settings.encoder_widths, settings.decoder_widths,
            settings.pixel_scale, facts.feature_mean, facts.feature_std,
        )  # fmt: skip

    @classmethod
    def refusals(cls, settings: SkdSettings) -> dict[str, str]:
        """Return the reason why it cannot run online."""
        return {"stream": "its static code is a mean over the whole sequence, known only at its end"}

    @classmethod
    def search(cls, element: Element) -> dict[str, Range | Choice]:
        """Return the widths, the weight of the eigenvalues and their threshold."""
        return {
            "static_size": Choice((1, 4, 8)),
            "dynamic_size": Choice((8, 16, 32, 48)),
            "eigenvalue_weight": Choice((0.1, 0.25, 1.0)),
            "threshold": Choice((0.275, 0.5, 0.75)),
        }

    def forward(self, batch: Batch, phase: str = "model") -> Losses:
        """Return the weighted sum of likelihood, prediction errors and terms of the eigenvalues.

        Errors are means over all values; `nll` is reported as a sum over a sequence, as that of other methods.
        """
        z = self.trajectory(batch.x)
        with torch.autocast(batch.x.device.type, enabled=False):
            predicted, still, moving = self._fit_each(z) if self.settings.per_sequence else self._fit(z)
        reconstructed = self.decoded(self.dropout(z))
        foreseen = self.decoded(predicted)
        with torch.autocast(batch.x.device.type, enabled=False):
            nll = self.nll(reconstructed, batch.x).sum(1)
            values = observed(batch.x).flatten(1).sum(1).float().mean().clamp_min(1.0)
            in_data = (reconstructed[0].float() - foreseen[0].float()).square().mean()
            if self.settings.per_sequence:
                in_data = self.nll(foreseen, batch.x).sum(1).mean() / values
            in_codes = (z - predicted).square().mean()
        s = self.settings
        share = 0.5 if s.per_sequence else 1.0
        loss = (
            s.reconstruction_weight * nll.mean() / values
            + share * s.prediction_weight * (in_data + in_codes)
            + s.eigenvalue_weight * (still + moving)
        )
        terms = {
            "nll": nll.mean(),
            "prediction_data": in_data,
            "prediction_codes": in_codes,
            "eigenvalues_static": still,
            "eigenvalues_dynamic": moving,
        }
        codes = z.detach() @ self.right
        return Losses(loss, terms, codes[..., : s.static_size].mean(1), codes[..., s.static_size :])

    def trajectory(self, x: Tensor) -> Tensor:
        """Return z (B, T, k) float32 of data (B, T, *element)."""
        features = self.encode(x)
        with torch.autocast(x.device.type, enabled=False):
            z, _ = self.encoder_lstm(features.float())
        return z  # type: ignore[no-any-return]

    def decoded(self, z: Tensor) -> tuple[Tensor, ...]:
        """Return the parameters of the likelihood of z (B, T, k)."""
        with torch.autocast(z.device.type, enabled=False):
            hidden, _ = self.decoder_lstm(z)
        return self.decode(hidden)

    def finish(self, batches: Iterable[Batch]) -> None:
        """Fit one operator to the training split, its bases, and the priors of both codes."""
        moments = _Moments(self.width)
        for batch in batches:
            moments.add(self.trajectory(batch.x).double().cpu())
        for name, value in moments.fitted(self.settings.static_size).items():
            getattr(self, name).copy_(value)

    def graphs(self) -> dict[str, nn.Module]:
        """Return the graphs, including the prior of the static code."""
        return {
            "encoder": TrajectoryGraph(self),
            "static": StaticGraph(self),
            "dynamic": DynamicGraph(self),
            "decoder": ModesDecoderGraph(self),
            "prior": LinearPriorGraph(self),
            STATIC_PRIOR: StaticPriorGraph(self),
        }

    def _fit(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the predictions (B, T, k) of an operator that is fitted to the batch, and its eigenvalue terms."""
        matrix = koopman.operator(z[:, :-1].flatten(0, 1), z[:, 1:].flatten(0, 1))
        return torch.cat([z[:, :1], z[:, :-1] @ matrix.float()], 1), *self._eigenvalue_terms(matrix)

    def _fit_each(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the predictions of an operator for each sequence, and the means of their eigenvalue terms."""
        predicted, eigenvalues = koopman.fit_each(z)
        distance = (eigenvalues - 1).abs()
        static = F.one_hot(distance.argmin(1), eigenvalues.shape[1]).bool()
        real = eigenvalues[~static].real
        excess = torch.where(real > self.settings.threshold, real, torch.zeros_like(real)).sum()
        count = len(z) * (self.width - 1)  # those of 0, which are not among them, cost nothing
        return predicted.float(), distance[static].square().mean().float(), (excess / count).float()

    def _eigenvalue_terms(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean |lambda - 1|^2 of the static modes, and the mean excess of the other modes over the threshold."""
        eigenvalues = torch.linalg.eigvals(matrix)
        chosen = koopman.static_modes(eigenvalues.cpu(), self.settings.static_size)
        static = torch.zeros(len(eigenvalues), dtype=torch.bool, device=eigenvalues.device)
        static[chosen] = True
        distance = (eigenvalues[static] - 1).abs().square()
        real = eigenvalues[~static].real
        excess = torch.where(real > self.settings.threshold, real, torch.zeros_like(real))
        return tuple(v.sum().float() / max(1, len(v)) for v in (distance, excess))  # type: ignore[return-value]


def _unfitted(s: int, d: int) -> dict[str, Tensor]:
    """Return the buffers of a model that has not been fitted yet."""
    return {
        "right": torch.eye(s + d),
        "left": torch.eye(s + d),
        "static_prior_mean": torch.zeros(s),
        "static_prior_factor": torch.eye(s),
        "first_mean": torch.zeros(d),
        "first_factor": torch.eye(d),
        "transition": torch.zeros(d, d),
        "drift": torch.zeros(d),
        "step_factor": torch.eye(d),
    }


class _Moments:
    """Sums over sequences (B, T, k) float64, from which operator, bases and priors follow."""

    def __init__(self, width: int) -> None:
        def zeros(size: int) -> Tensor:
            return torch.zeros(size, size, dtype=torch.float64)

        self.now, self.pairs = zeros(width + 1), torch.zeros(width + 1, width, dtype=torch.float64)
        self.following, self.first, self.whole = zeros(width), zeros(width + 1), zeros(width + 1)

    def add(self, z: Tensor) -> None:
        """Add sequences."""
        now, following = _with_one(z[:, :-1].flatten(0, 1)), z[:, 1:].flatten(0, 1)
        first, whole = _with_one(z[:, 0]), _with_one(z.mean(1))
        self.now += now.T @ now
        self.pairs += now.T @ following
        self.following += following.T @ following
        self.first += first.T @ first
        self.whole += whole.T @ whole

    def fitted(self, count: int) -> Mapping[str, Tensor]:
        """Return the buffers of a model with S = `count`."""
        right, left = koopman.split(koopman.solve(self.now[:-1, :-1], self.pairs[:-1]), count)
        static, dynamic = right[:, :count], right[:, count:]
        static_mean, static_factor = _gaussian(self.whole, static)
        first_mean, first_factor = _gaussian(self.first, dynamic)
        transition, drift, step_factor = self._recursion(dynamic)
        return {
            "right": right,
            "left": left,
            "static_prior_mean": static_mean,
            "static_prior_factor": static_factor,
            "first_mean": first_mean,
            "first_factor": first_factor,
            "transition": transition,
            "drift": drift,
            "step_factor": step_factor,
        }

    def _recursion(self, basis: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return A, b and the factor of the covariance of e_t: least squares in the coordinates of a basis (k, D)."""
        d = basis.shape[1]
        onto = torch.zeros(len(self.now), d + 1, dtype=torch.float64)
        onto[:-1, :-1], onto[-1, -1] = basis, 1.0
        square, cross = onto.T @ self.now @ onto, onto.T @ self.pairs @ basis
        found = koopman.solve(square, cross)
        residual = basis.T @ self.following @ basis - found.T @ cross - cross.T @ found + found.T @ square @ found
        transition = found[:-1]
        # A recursion that grows would leave the codes' range within a few steps.
        radius = torch.linalg.eigvals(transition).abs().max().clamp_min(1.0)
        return transition / radius, found[-1], _factor(residual / self.now[-1, -1].clamp_min(1.0))


def _with_one(z: Tensor) -> Tensor:
    return torch.cat([z, torch.ones_like(z[:, :1])], 1)


def _gaussian(moments: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and Cholesky factor in the coordinates of a basis, from moments (k + 1, k + 1) of [z, 1]."""
    count = moments[-1, -1].clamp_min(1.0)
    mean = moments[-1, :-1] @ basis / count
    return mean, _factor(basis.T @ moments[:-1, :-1] @ basis / count - torch.outer(mean, mean))


def _factor(covariance: Tensor) -> Tensor:
    """Return L with L L' = covariance, of which rounding may have left some directions slightly negative."""
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.T))
    floor = JITTER * values.clamp_min(0).mean().clamp_min(1e-12)
    factor: Tensor = torch.linalg.cholesky(vectors @ torch.diag(values.clamp_min(float(floor))) @ vectors.T)
    return factor


def _zeros(given: Tensor, lstm: nn.LSTM) -> tuple[Tensor, Tensor]:
    """Return an LSTM's zero initial state, computed from an input of the graph, so that B stays free."""
    zero = torch.zeros(1, given.shape[0], lstm.hidden_size, device=given.device)
    return zero, zero


class TrajectoryGraph(nn.Module):
    """x (B, T, *element) -> features (B, T, k): z itself, from which both codes are read."""

    inputs, outputs = ("x",), ("features",)

    def __init__(self, method: Skd) -> None:
        super().__init__()
        self.encoder, self.lstm = method.encoder, method.encoder_lstm

    def forward(self, x: Tensor) -> Tensor:
        """Map data to codes of width k."""
        z, _ = self.lstm(self.encoder(x), _zeros(x, self.lstm))
        return z  # type: ignore[no-any-return]


class StaticGraph(nn.Module):
    """features (B, T, k) -> static_mean (B, S), static_std (B, S) of 0."""

    inputs, outputs = ("features",), ("static_mean", "static_std")

    basis: Tensor

    def __init__(self, method: Skd) -> None:
        super().__init__()
        self.register_buffer("basis", method.right[:, : method.settings.static_size])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean over time of the static coordinates."""
        static = (features @ self.basis).mean(1)
        return static, torch.zeros_like(static)


class DynamicGraph(nn.Module):
    """features (B, T, k) -> dynamic_mean (B, T, D), dynamic_std (B, T, D) of 0."""

    inputs, outputs = ("features",), ("dynamic_mean", "dynamic_std")

    basis: Tensor

    def __init__(self, method: Skd) -> None:
        super().__init__()
        self.register_buffer("basis", method.right[:, method.settings.static_size :])

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the dynamic coordinates."""
        dynamic = features @ self.basis
        return dynamic, torch.zeros_like(dynamic)


class ModesDecoderGraph(nn.Module):
    """static (B, S), dynamic (B, T, D) -> x (B, T, *element) float32 in data units, and x_std where there is one."""

    inputs = ("static", "dynamic")

    static_modes: Tensor
    dynamic_modes: Tensor

    def __init__(self, method: Skd) -> None:
        super().__init__()
        s = method.settings.static_size
        self.register_buffer("static_modes", method.left[:s])
        self.register_buffer("dynamic_modes", method.left[s:])
        self.lstm, self.decoder = method.decoder_lstm, method.decoder
        self.outputs = cast(ElementDecoder, method.decoder).outputs

    def forward(self, static: Tensor, dynamic: Tensor) -> tuple[Tensor, ...]:
        """Map codes to data."""
        z = (static @ self.static_modes).unsqueeze(1) + dynamic @ self.dynamic_modes
        hidden, _ = self.lstm(z, _zeros(dynamic, self.lstm))
        return self.decoder.in_units(self.decoder(hidden))  # type: ignore[operator, no-any-return]


class LinearPriorGraph(nn.Module):
    """noise (B, T, D) -> dynamic (B, T, D): d_1 ~ N(m, F F'), d_{t+1} = d_t A + b + e_t, e_t ~ N(0, E E')."""

    inputs, outputs = ("noise",), ("dynamic",)
    compiled = True

    first_mean: Tensor
    first_factor: Tensor
    transition: Tensor
    drift: Tensor
    step_factor: Tensor

    def __init__(self, method: Skd) -> None:
        super().__init__()
        for name in ("first_mean", "first_factor", "transition", "drift", "step_factor"):
            self.register_buffer(name, getattr(method, name))

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise to sampled dynamic codes."""
        first = noise[:, 0] @ self.first_factor.t() + self.first_mean
        steps = noise @ self.step_factor.t() + self.drift
        d = first
        samples: list[Tensor] = [first.unsqueeze(1)]
        for t in range(1, noise.size(1)):
            d = d @ self.transition + steps[:, t]
            samples.append(d.unsqueeze(1))
        return torch.cat(samples, 1)


class StaticPriorGraph(nn.Module):
    """noise (B, S) -> static (B, S), drawn from the Gaussian that was fitted to the training split."""

    inputs, outputs = ("noise",), ("static",)

    mean: Tensor
    factor: Tensor

    def __init__(self, method: Skd) -> None:
        super().__init__()
        self.register_buffer("mean", method.static_prior_mean)
        self.register_buffer("factor", method.static_prior_factor)

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise to sampled static codes."""
        return noise @ self.factor.t() + self.mean


METHOD = Skd
