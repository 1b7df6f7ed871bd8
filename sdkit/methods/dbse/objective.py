"""The objective of DBSE (paper Eqs. 5 to 7), which is minimised.

One convention throughout: likelihood and divergences are summed over an element's values, over code dimensions and over
steps, then averaged over the batch; all terms are nats a sequence. `alpha` and `beta` are relative to that sum. Table 5
states the time series' beta for a likelihood that is averaged over the observed values; `likelihood = mean` divides by
their number, the only place where the two differ. The paper prints a plus sign before beta KL in a maximum (Eq. 7); the
sign here is the one that regularises.
"""

from typing import NamedTuple

from torch import Tensor

from sdkit.methods.base import Losses, Term
from sdkit.methods.dbse.settings import DbseSettings
from sdkit.methods.parts.gaussian import Gaussian, kl, kl_to_standard

TERMS = (
    Term("nll", "NLL of the steps", "likelihood"),
    Term("nll_anchor", "NLL of the anchor", "likelihood"),
    Term("kl_static", "KL of the static code", "divergence", "static"),
    Term("kl_dynamic", "KL of the dynamic codes", "divergence", "dynamic"),
    Term("kl_filter", "KL from filter to posterior", "other"),
    Term("nll_filter", "NLL of the anchor, filter's code", "other"),
)


class Output(NamedTuple):
    """Inputs of the objective from a forward pass; free steps are those with a posterior of their own."""

    nll: Tensor
    """Negative log-likelihood (B, T) in nats."""
    values: Tensor
    """Numbers (B, T) of observed values of each element."""
    static: Gaussian
    """Posterior q(s | x_a), (B, S)."""
    dynamic: Gaussian
    """Posterior q(d_t | ...) of the free steps, (B, T', D)."""
    prior: Gaussian
    """Prior p(d_t | d_<t) of the free steps, given sampled codes, (B, T', D)."""
    filter: Gaussian | None = None
    """Filter q(d_t | x_1:t) of the free steps, (B, T', D); None without a filter."""
    nll_filter: Tensor | None = None
    """Negative log-likelihood (B,) in nats of the anchor, decoded from the filter's code; None without a filter."""


def objective(output: Output, settings: DbseSettings) -> Losses:
    """Return the loss and its terms.

    loss = sum_{t != a} NLL(x_t) + w NLL(x_a) + beta_s KL_s + beta_d KL_d, with w = alpha where d_a = 0 (Eq. 5). Where
    the anchor's code is inferred the anchor is a step like any other and alpha adds to it, w = 1 + alpha, as in the
    published code. A filter adds beta_d KL[posterior || filter], which trains the filter alone, and alpha times the
    anchor's likelihood under its code: x_a must be decodable before later ones. With `likelihood = mean` the
    likelihood is divided by the mean number of observed values a sequence.
    """
    alpha, (beta_static, beta_dynamic) = settings.alpha, settings.betas
    anchor = settings.anchor_index(output.nll.shape[1])
    nll_anchor = output.nll[:, anchor].mean()
    nll = output.nll.sum(1).mean() - nll_anchor
    kl_static = kl_to_standard(output.static).mean()
    kl_dynamic = kl(output.dynamic, output.prior).sum(1).mean()
    weight = alpha if settings.anchor_dynamic == "zero" else 1.0 + alpha
    mean = settings.likelihood == "mean"
    values = output.values.sum(1).float().mean().clamp_min(1.0) if mean else 1.0
    loss = (nll + weight * nll_anchor) / values + beta_static * kl_static + beta_dynamic * kl_dynamic
    kl_filter, nll_filter = _filter_terms(output)
    loss = loss + beta_dynamic * kl_filter + alpha * nll_filter / values
    terms = {"nll": nll, "nll_anchor": nll_anchor, "kl_static": kl_static, "kl_dynamic": kl_dynamic}
    if output.filter is not None:
        terms |= {"kl_filter": kl_filter, "nll_filter": nll_filter}
    return Losses(loss, terms, output.static.mean, output.dynamic.mean)


def _filter_terms(output: Output) -> tuple[Tensor, Tensor]:
    zero = output.nll.new_zeros(())
    if output.filter is None:
        return zero, zero
    posterior = Gaussian(output.dynamic.mean.detach(), output.dynamic.log_variance.detach())
    kl_filter = kl(posterior, output.filter).sum(1).mean()
    return kl_filter, zero if output.nll_filter is None else output.nll_filter.mean()
