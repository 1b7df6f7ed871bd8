"""C-DSVAE, the contrastively disentangled sequential VAE: each code is compared with that of a view which keeps it.

Both posteriors read one bidirectional LSTM. s is contrasted with the static code of the same steps in another order,
the dynamic codes with those of the same motion in another appearance, each against the rest of the batch. Differences
from the release: the first view is made of features of elements, which need no second encoding, and neither is decoded;
s has linear heads; the information is estimated with the posteriors' densities unless `legacy_density` is set. Views of
series, vectors and spectra are ours, and so are colour and blur of images: the release has its views as data. In
training, changed images pass through the batch norms as data do, and enter their running statistics.
"""

from typing import Any

import torch
from torch import Tensor

from sdkit.methods.base import Batch, Choice, Term
from sdkit.methods.gaussian import GaussianMethod, Pass
from sdkit.methods.parts.contrast import nt_xent
from sdkit.methods.parts.views import reappeared, reordered
from sdkit.methods.trunk import TrunkMethod, TrunkSettings
from sdkit.runtime.element import Element


class CdsvaeSettings(TrunkSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of C-DSVAE."""

    static_contrast_weight: float = 10.0
    """Weight of the contrast of the static code with that of the same steps in another order."""
    dynamic_contrast_weight: float = 10.0
    """Weight of the contrast of the dynamic codes with those of the same motion in another appearance."""
    temperature: float = 0.5
    """Divisor of the cosine similarities of codes."""
    jitter_strength: float = 1.0
    """Factor of the changes of appearance; 0 changes nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(0, "static_contrast_weight", "dynamic_contrast_weight", "jitter_strength")
        self.require_at_least(1e-3, "temperature")


class Cdsvae(TrunkMethod):
    """Codes are contrasted with those of views that keep what the code is to hold."""

    name = "cdsvae"
    title = "codes contrasted with those of reordered and recoloured views"
    reference = (
        "Junwen Bai, Weiran Wang, Carla Gomes: Contrastively disentangled sequential variational autoencoder, "
        "NeurIPS 2021"
    )
    Settings = CdsvaeSettings
    terms = (
        *GaussianMethod.terms,
        Term("contrast_s", "contrast of the static code", "other"),
        Term("contrast_d", "contrast of the dynamic codes", "other"),
        Term("information", "mutual information of the codes", "other"),
    )

    def extra(self, found: Pass, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return both weighted contrasts and the weighted information, and these three terms."""
        settings: CdsvaeSettings = self.settings
        with torch.autocast(batch.x.device.type, enabled=False):
            changed = reappeared(batch.x, self.facts, settings.jitter_strength)
        changed = self.encode(changed)
        count = len(changed)
        with torch.autocast(batch.x.device.type, enabled=False):
            hidden = self.trunk(torch.cat([reordered(found.elements), changed.float()]))[0]
            static, dynamic = self.static_path(hidden[:count])[0], self.dynamic_path(hidden[count:])[0]
            contrast_s = nt_xent(found.static.mean, static, settings.temperature)
            contrast_d = nt_xent(found.dynamic.mean.flatten(1), dynamic.flatten(1), settings.temperature)
        information = self.information(found)
        added = (
            settings.static_contrast_weight * contrast_s
            + settings.dynamic_contrast_weight * contrast_d
            + settings.information_weight * information
        )
        return added, {"contrast_s": contrast_s, "contrast_d": contrast_d, "information": information}

    @classmethod
    def search(cls, element: Element) -> dict[str, Any]:
        """Return the weights, the widths of the codes and the strength of the changes of appearance."""
        return {
            **super().search(element),
            "static_contrast_weight": Choice((1.0, 3.0, 10.0, 30.0)),
            "dynamic_contrast_weight": Choice((1.0, 3.0, 10.0, 30.0)),
            "information_weight": Choice((0.0, 1.0, 10.0)),
            "jitter_strength": Choice((0.5, 1.0)),
        }


METHOD = Cdsvae
