"""SPYL, sample and predict your latent: views are decoded from codes and encoded again, so no kind needs its own.

The positive of a static code is read from its decoding beside dynamic codes of the prior, the positive of dynamic codes
from their decoding beside a static code of the prior; negatives are read from decoded draws of both priors. Dynamic
codes are compared by their averages over time, which are blind to order. As in the release, the recurrence of the prior
is fed its samples and the means along it are decoded, and gradients flow through the decoder and the second encoding of
positives, not through the negatives.

Differences from the release: weights are relative to the likelihood; the contrast starts after a share of the training;
before that, neither views nor negatives are made; the bank has the size of the batch, not four times that, and half of
it is kept, as 256 of 512 there; the prior is not taught by the contrasts; x is encoded once. Views pass through the
batch norms as data do, in training with the statistics of their own batch, and enter their running statistics.
"""

from types import MappingProxyType
from typing import Any, Literal, NamedTuple, cast, get_args

import torch
from torch import Tensor

from sdkit.elements import ElementDecoder
from sdkit.methods.base import Batch, Choice, Range, Term
from sdkit.methods.gaussian import GaussianMethod, Pass
from sdkit.methods.graphs import RecurrentPriorGraph, join
from sdkit.methods.parts.contrast import RANKS, Ranks, distances, info_nce, negatives, neighbours
from sdkit.methods.parts.gaussian import Gaussian
from sdkit.methods.trunk import TrunkMethod, TrunkSettings
from sdkit.runtime.element import Element
from sdkit.runtime.errors import ConfigError

Positives = Literal["predict", "batch"]


class SpylSettings(TrunkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of SPYL."""

    beta: float = 0.1
    """Weight of the divergence of the dynamic codes, relative to the likelihood summed over a sequence."""
    beta_static: float = 0.5
    """Weight of the divergence of the static code, relative to the likelihood summed over a sequence."""
    information_weight: float = 0.1
    """Weight of the estimated mutual information between the two codes."""
    contrast_weight: float = 0.1
    """Weight of the contrasts of both codes."""
    contrast_start: float = 0.05
    """Share of the training after which the contrasts count."""
    temperature: float = 0.5
    """Divisor of the cosine similarities of codes."""
    bank: int = 1
    """Number of draws of the prior for each sequence of a batch, from which negatives are chosen; the release has 4."""
    negatives: Ranks = "soft"
    """Half of the draws that are negatives of a sequence: `soft`, the farthest; `semi`, those after the farthest third;
    `hard`, random ones of the farthest two thirds. Far is a large divergence of the posteriors."""
    positives: Positives = "predict"
    """Codes that are decoded for the positive of a sequence: `predict`, its own; `batch`, a sample of one of the
    nearest third of the batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "beta_static", "contrast_weight", "contrast_start")
        self.require_at_least(1e-3, "temperature")
        self.require_at_least(1, "bank")
        self.require_choice("negatives", RANKS)
        self.require_choice("positives", get_args(Positives))
        if self.contrast_start >= 1:
            raise ConfigError(f"contrast_start = {self.contrast_start}; it must be below 1, or nothing is contrasted")


class Views(NamedTuple):
    """Codes that were read from decoded codes."""

    static: Tensor
    """Means of the static codes of sequences that were decoded from a code of each sequence, (B, S)."""
    dynamic: Tensor
    """Means over time of the dynamic codes of sequences that were decoded likewise, (B, D)."""
    bank_static: Gaussian
    """Posteriors of the static codes of decoded draws of the prior, (M, S)."""
    bank_dynamic: Gaussian
    """Averages over time of the posteriors of their dynamic codes, (M, D)."""


class Spyl(TrunkMethod):
    """Codes are contrasted with those of sequences that the model itself decodes."""

    name = "spyl"
    title = "codes contrasted with those of views that the model decodes"
    reference = (
        "Ilan Naiman, Nimrod Berman, Omri Azencot: Sample and predict your latent: modality-free sequential "
        "disentanglement via contrastive estimation, ICML 2023"
    )
    Settings = SpylSettings
    terms = (
        *GaussianMethod.terms,
        Term("contrast_s", "contrast of the static code", "other"),
        Term("contrast_d", "contrast of the dynamic codes", "other"),
        Term("information", "mutual information of the codes", "other"),
    )
    lower_when_collapsed = MappingProxyType(
        {
            "static": "lower beta_static, or dynamic_size: wide dynamic codes leave nothing to it",
            "dynamic": "lower beta",
        }
    )

    @property
    def settled(self) -> float:
        """Share of the training after which the contrasts count."""
        return float(self.settings.contrast_start)

    def divergence(self, kl_s: Tensor, kl_d: Tensor) -> Tensor:
        """Return the divergences, each with its own weight."""
        weighted: Tensor = self.settings.beta_static * kl_s + self.settings.beta * kl_d
        return weighted

    def extra(self, found: Pass, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted contrasts and information, and these three terms; contrasts are 0 before they start."""
        settings: SpylSettings = self.settings
        contrast_s = contrast_d = found.s.new_zeros(())
        if batch.progress >= settings.contrast_start:
            contrast_s, contrast_d = self.contrast(found, self.views(found))
        information = self.information(found)
        added = settings.contrast_weight * (contrast_s + contrast_d) + settings.information_weight * information
        return added, {"contrast_s": contrast_s, "contrast_d": contrast_d, "information": information}

    def contrast(self, found: Pass, views: Views) -> tuple[Tensor, Tensor]:
        """Return the contrasts of the static code and of the dynamic codes, in nats."""
        settings: SpylSettings = self.settings
        pairs = (
            (found.static, views.static, views.bank_static),
            (averaged(found.dynamic), views.dynamic, views.bank_dynamic),
        )
        losses = []
        with torch.autocast(found.s.device.type, enabled=False):
            for anchors, positives, bank in pairs:
                with torch.no_grad():
                    count = (len(bank.mean) + 1) // 2
                    kept = negatives(distances(anchors, bank), count, settings.negatives)
                losses.append(info_nce(anchors.mean, positives, bank.mean, kept, settings.temperature))
        static, dynamic = losses
        return static, dynamic

    def views(self, found: Pass) -> Views:
        """Return codes of decoded codes: positives with gradients, and a bank of negatives without."""
        count, steps, _ = found.d.shape
        size = self.settings.bank * count
        s, d = self.kept(found)
        with torch.no_grad():
            drawn = self.drawn(count + size, steps)
            static, dynamic = self.reread(torch.randn(size, s.shape[1], device=s.device), drawn[count:])
        other = torch.randn_like(s)
        positive_s, positive_d = self.reread(torch.cat([s, other]), torch.cat([drawn[:count], d]))
        return Views(positive_s.mean[:count], positive_d.mean[count:].mean(1), static, averaged(dynamic))

    def kept(self, found: Pass) -> tuple[Tensor, Tensor]:
        """Return the codes that the positives keep: (B, S) for those of s, (B, T, D) for those of d."""
        if self.settings.positives == "predict":
            return found.static.mean, found.dynamic.mean
        with torch.no_grad(), torch.autocast(found.s.device.type, enabled=False):
            mean = averaged(found.dynamic)
            near_s = neighbours(distances(found.static, found.static))
            near_d = neighbours(distances(mean, mean))
        return found.s[near_s], found.d[near_d]

    def drawn(self, count: int, steps: int) -> Tensor:
        """Return means of the prior (count, T, D) along draws of it."""
        noise = torch.randn(count, steps, self.settings.dynamic_size, device=next(self.parameters()).device)
        with torch.autocast(noise.device.type, enabled=False):
            return RecurrentPriorGraph(self.prior).rollout(noise)[1]

    def reread(self, s: Tensor, d: Tensor) -> tuple[Gaussian, Gaussian]:
        """Return the posteriors of both codes, given the decoding of codes (B, S) and (B, T, D)."""
        decoded = cast(ElementDecoder, self.decoder).in_units(self.decode(join(s, d)))[0]
        return self.infer(self.encode(decoded))

    @classmethod
    def search(cls, element: Element) -> dict[str, Any]:
        """Return the weights, the widths of the codes and the size of the bank."""
        return {
            **super().search(element),
            "beta": Range(1e-2, 1.0),
            "beta_static": Range(1e-2, 5.0),
            "contrast_weight": Range(1e-2, 10.0),
            "bank": Choice((1, 4)),
        }


def averaged(dynamic: Gaussian) -> Gaussian:
    """Return means and log-variances (B, T, D), both averaged over time, as a Gaussian (B, D)."""
    return Gaussian(dynamic.mean.mean(1), dynamic.log_variance.mean(1))


METHOD = Spyl
