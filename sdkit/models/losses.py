"""The objective (paper Eqs. 5 to 7), minimised.

One convention throughout: likelihood and divergences are summed over an element's values, over code dimensions and over
steps, then averaged over the batch; all terms are nats a sequence. `alpha` and `beta` are relative to that sum. Table 5
states the time series' beta for a likelihood that is averaged over the observed values; `per_value` divides by their
number, the only place where the two differ. The paper prints a plus sign before beta KL in a maximum (Eq. 7); the sign
here is the one that regularises.
"""

from typing import NamedTuple

from torch import Tensor

from sdkit.models.config import ModelConfig
from sdkit.models.gaussian import Gaussian, kl, kl_to_standard
from sdkit.models.model import Output


class Terms(NamedTuple):
    """Terms of the objective, each a scalar: the batch mean in nats a sequence, unweighted save `loss`."""

    loss: Tensor
    nll: Tensor
    """Steps other than the anchor."""
    nll_anchor: Tensor
    kl_static: Tensor
    kl_dynamic: Tensor
    kl_filter: Tensor
    """From the filter's codes to the posterior's; 0 where there is no filter."""
    nll_filter: Tensor
    """The anchor under the filter's code; 0 likewise."""


def objective(
    output: Output,
    config: ModelConfig,
    *,
    alpha: float,
    beta_static: float,
    beta_dynamic: float,
    per_value: bool = False,
) -> Terms:
    """Return the loss and its terms.

    loss = sum_{t != a} NLL(x_t) + w NLL(x_a) + beta_s KL_s + beta_d KL_d, with w = alpha where d_a = 0 (Eq. 5). Where
    the anchor's code is inferred the anchor is a step like any other and alpha adds to it, w = 1 + alpha, as in the
    published code. A filter adds beta_d KL[posterior || filter], which trains the filter alone, and alpha times the
    anchor's likelihood under its code: what x_a looks like must not wait for what follows. With `per_value` the
    likelihood is divided by the mean number of observed values a sequence.
    """
    anchor = config.anchor_index(output.nll.shape[1])
    nll_anchor = output.nll[:, anchor].mean()
    nll = output.nll.sum(1).mean() - nll_anchor
    kl_static = kl_to_standard(output.static).mean()
    kl_dynamic = kl(output.dynamic, output.prior).sum(1).mean()
    weight = alpha if config.anchor_dynamic == "zero" else 1.0 + alpha
    values = output.values.sum(1).float().mean().clamp_min(1.0) if per_value else 1.0
    loss = (nll + weight * nll_anchor) / values + beta_static * kl_static + beta_dynamic * kl_dynamic
    kl_filter, nll_filter = _filter_terms(output)
    loss = loss + beta_dynamic * kl_filter + alpha * nll_filter / values
    return Terms(loss, nll, nll_anchor, kl_static, kl_dynamic, kl_filter, nll_filter)


def _filter_terms(output: Output) -> tuple[Tensor, Tensor]:
    zero = output.nll.new_zeros(())
    if output.filter is None:
        return zero, zero
    posterior = Gaussian(output.dynamic.mean.detach(), output.dynamic.log_variance.detach())
    kl_filter = kl(posterior, output.filter).sum(1).mean()
    return kl_filter, zero if output.nll_filter is None else output.nll_filter.mean()
