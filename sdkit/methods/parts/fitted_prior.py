"""A prior of the static code that is fitted after training, to the codes of the training split.

The static codes of a data set seldom fill N(0, I): their divergence is many nats where a few would name the sequence,
so most draws from N(0, I) lie where the decoder never was. A mixture of Gaussians that is fitted to the codes once
training is over draws where the codes are, and changes nothing else of the model (ex-post density estimation: Ghosh et
al., From variational to deterministic autoencoders, ICLR 2020, arXiv 1903.12436).
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sdkit.runtime.contract import STATIC_PRIOR

COMPONENTS = (1, 2, 4, 8, 16)
"""Numbers of components K that are tried; the Bayesian information criterion chooses."""
RIDGE = 3e-3
"""Addition to the variances, relative to their mean."""
STRIPES = 16.0
"""Number of stripes in a unit of the noise, each of which holds all components; a power of 2, so that hosts agree."""


class FittedPrior(nn.Module):
    """A mixture of Gaussians over the static code (B, S), with as many components as the codes support.

    Its arrays are part of the model's weights. Weights from before it was there leave it as it is: not fitted.

    Args:
        size: width S of the static code.
    """

    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self._resize(0, size)

    @property
    def fitted(self) -> bool:
        """Whether there is a mixture to draw from."""
        return len(self.weights) > 0

    def fit(self, codes: Tensor) -> None:
        """Fit the mixture to codes (N, S); fewer than two leave it not fitted.

        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        x: Any = codes.detach().cpu().numpy().astype(np.float64)
        if len(x) < 2:
            return
        found = _mixture(x)
        self._resize(len(found.weights_), x.shape[1])
        self.weights.copy_(torch.from_numpy(found.weights_))
        self.means.copy_(torch.from_numpy(found.means_))
        self.factors.copy_(torch.from_numpy(np.linalg.cholesky(found.covariances_)))

    def _resize(self, components: int, size: int) -> None:
        device = self.weights.device if "weights" in self._buffers else None
        self.register_buffer("weights", torch.zeros(components, device=device))
        self.register_buffer("means", torch.zeros(components, size, device=device))
        self.register_buffer("factors", torch.zeros(components, size, size, device=device))

    def adapt(self, shape: tuple[int, ...]) -> None:
        """Make room for as many components as weights of this shape have; sizes that cannot be leave none."""
        count = shape[0] if len(shape) == 1 and shape[0] in COMPONENTS else 0
        self._resize(count, self.means.shape[1])

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *given: Any) -> None:
        """Take the mixture's size from the weights that are loaded; nothing is missing where they have none."""
        found = state.get(f"{prefix}weights")
        self.adapt(() if found is None else tuple(found.shape))
        if self.fitted:
            super()._load_from_state_dict(state, prefix, *given)


def _mixture(x: Any) -> Any:
    """Return the mixture of codes (N, S) with the least Bayesian information criterion."""
    from sdkit.runtime.extras import need

    need("train", "sklearn", what="a fitted prior")
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    best, least = None, np.inf
    for count in COMPONENTS:
        if len(x) < 2 * count * x.shape[1] and count > 1:
            break  # a component has more numbers than codes
        mixture = GaussianMixture(count, reg_covar=RIDGE * x.var(0).mean() + 1e-12, max_iter=50, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(x)
        criterion = mixture.bic(x)
        if criterion < least:
            best, least = mixture, criterion
    return best


class FittedPriorGraph(nn.Module):
    """noise (B, S) -> static (B, S), drawn from the mixture that was fitted to the training split.

    The noise is all that a host gives, so it also chooses the component: by where its first value lies in a stripe of
    width 1 / STRIPES, within which its density hardly changes. The choice is exact in float32, and equal in all hosts.
    """

    inputs, outputs = ("noise",), ("static",)

    upper: Tensor
    means: Tensor
    factors: Tensor

    def __init__(self, prior: FittedPrior) -> None:
        super().__init__()
        self.register_buffer("upper", torch.cumsum(prior.weights, 0)[:-1])
        self.register_buffer("means", prior.means)
        self.register_buffer("factors", prior.factors)

    def forward(self, noise: Tensor) -> Tensor:
        """Map noise to sampled static codes."""
        if len(self.means) == 1:
            return noise @ self.factors[0].t() + self.means[0]
        position = noise[:, :1] * STRIPES
        chosen = (position - torch.floor(position) >= self.upper).long().sum(1)
        drawn = torch.matmul(self.factors[chosen], noise.unsqueeze(2)).squeeze(2)
        return drawn + self.means[chosen]


class FitsStaticPrior(nn.Module):
    """A method whose setting `static_prior` says whether a prior is fitted; name it before `Method` among the bases."""

    fitted_prior: FittedPrior | None
    """The prior; None where static codes are drawn from N(0, I) alone."""

    @abstractmethod
    def static_means(self, x: Tensor) -> Tensor:
        """Return the means of the static codes (B, S) of data (B, T, *element)."""

    def new_prior(self, settings: Any) -> FittedPrior | None:
        """Return the prior that the settings ask for, not fitted yet."""
        return FittedPrior(settings.static_size) if settings.static_prior == "fitted" else None

    def adapt(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Make room for a fitted prior, or for none where the weights are from before there was one."""
        if self.fitted_prior is not None:
            self.fitted_prior.adapt(shapes.get("fitted_prior.weights", ()))

    @property
    def finishes(self) -> bool:
        """Whether a prior is fitted."""
        return self.fitted_prior is not None

    def finish(self, batches: Iterable[Any]) -> None:
        """Fit the prior to the static codes of batches, if one is asked for."""
        if self.fitted_prior is not None:
            self.fitted_prior.fit(torch.cat([self.static_means(batch.x) for batch in batches]))

    def prior_graphs(self) -> dict[str, nn.Module]:
        """Return the graph of the fitted prior by its name; nothing where there is none to draw from."""
        prior = self.fitted_prior
        return {} if prior is None or not prior.fitted else {STATIC_PRIOR: FittedPriorGraph(prior)}
