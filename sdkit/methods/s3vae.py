"""S3VAE, the self-supervised sequential variational autoencoder: labels that the data give of themselves.

A triplet loss asks that the static code of a sequence stay the same when its elements are shuffled, and differ from
that of another sequence. Heads on the dynamic codes predict labels of motion, which keeps motion in them; the heads
serve training alone. The mutual information of the codes is held down. Posteriors come from one bidirectional LSTM, the
prior is an LSTM.

Shuffled are the features, since the encoder sees each element by itself. The labels of images come from differences of
frames and their gradients in place of a library of optical flow; those of series and vectors are ours.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sdkit.methods.base import Batch, Facts, Range, Term
from sdkit.methods.gaussian import GaussianMethod, Pass
from sdkit.methods.parts.motion import labels_of
from sdkit.methods.parts.views import reordered
from sdkit.methods.trunk import TrunkMethod, TrunkSettings
from sdkit.runtime.element import Element

MARGIN = 1.0
"""Distance by which another sequence's static code must be farther than that of the shuffled sequence."""


class S3vaeSettings(TrunkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of S3VAE."""

    information_weight: float = 0.01
    """Weight of the estimated mutual information between the two codes."""
    triplet_weight: float = 100.0
    """Weight of the triplet loss on the means of the static code."""
    motion_weight: float = 0.1
    """Weight of the errors of the labels of motion, each summed over a sequence."""
    motion_width: int = 64
    """Width of the hidden layer of the heads that predict the labels of motion."""
    motion_threshold: float = 0.005
    """Mean absolute difference, of pixels in [0, 1], from which on a cell of an image moves."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "triplet_weight", "motion_weight", "motion_threshold")
        self.require_at_least(1, "motion_width")


class S3vae(TrunkMethod):
    """A recurrent trunk, a triplet loss on the static code, and labels of motion predicted from the dynamic codes."""

    name = "s3vae"
    title = "triplets of shuffled and other sequences, labels of motion"
    reference = (
        "Yizhe Zhu, Martin Renqiang Min, Asim Kadav, Hans Peter Graf: S3VAE: Self-supervised sequential VAE for "
        "representation disentanglement and data generation, CVPR 2020"
    )
    Settings = S3vaeSettings
    terms = (
        *GaussianMethod.terms,
        Term("triplet", "Triplet loss of the static code", "other"),
        Term("information", "Mutual information of the codes", "other"),
        Term("area", "Error of the cells that move", "other"),
        Term("direction", "Error of their directions", "other"),
        Term("volume", "Error of the volume", "other"),
        Term("change", "Error of the sign of changes", "other"),
    )

    def __init__(self, settings: S3vaeSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.labels = labels_of(facts.element, settings.dynamic_size, settings.motion_width, settings.motion_threshold)

    def extra(self, found: Pass, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted triplet loss, mutual information and errors of labels, and all of them unweighted."""
        weights = self.settings
        errors = {name: label(found.d, batch.x).mean() for name, label in self.labels.items()}
        terms = {"triplet": self.triplet(found), "information": self.information(found), **errors}
        added = weights.triplet_weight * terms["triplet"] + weights.information_weight * terms["information"]
        return added + weights.motion_weight * torch.stack(list(errors.values())).sum(), terms

    def triplet(self, found: Pass) -> Tensor:
        """Return the triplet loss of the static means: the shuffled sequence against the next one of the batch."""
        shuffled, _ = self.infer(reordered(found.elements))
        mean = found.static.mean
        return functional.triplet_margin_loss(mean, shuffled.mean, mean.roll(1, 0), margin=MARGIN)

    @classmethod
    def search(cls, element: Element) -> dict[str, Any]:
        """Return the widths and weights of the template, and the weights of the method's own terms."""
        return {
            **super().search(element),
            "triplet_weight": Range(10.0, 1000.0),
            "motion_weight": Range(0.1, 100.0),
            "information_weight": Range(0.01, 1.0),
        }


METHOD = S3vae
