"""Mutual information of the two codes, estimated within a minibatch."""

import math

import torch
from torch import Tensor

from sdkit.methods.parts.gaussian import Gaussian

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def mutual_information(
    static: Gaussian, s: Tensor, dynamic: Gaussian, d: Tensor, *, count: int = 1, legacy_density: bool = False
) -> Tensor:
    """Return the estimate of I(s; d_t) by minibatch-weighted sampling, averaged over steps and batch, in nats.

    With q_ij = log q(s_i | x_j) and r_ijt = log q(d_it | x_j) it is the mean of
    LSE_j(q_ij + r_ijt) - LSE_j q_ij - LSE_j r_ijt + log(B count), and lies between log(count), where a code does not
    depend on the data, and log(B count), where both tell all sequences of the batch apart. Gradients vanish at both
    ends. The releases take the size of the training set for `count`, an offset without effect on the gradients.

    Args:
        static: posteriors, (B, S).
        s: a sample of each, (B, S).
        dynamic: posteriors, (B, T, D).
        d: a sample of each, (B, T, D).
        count: N of the offset log(B N).
        legacy_density: evaluate N(mean, exp(2 log_variance)) instead of the density of the posterior.
    """
    q = _log_density(s, static, legacy_density)
    r = torch.stack(
        [
            _log_density(d[:, t], Gaussian(dynamic.mean[:, t], dynamic.log_variance[:, t]), legacy_density)
            for t in range(d.shape[1])
        ],
        -1,
    )
    joint = torch.logsumexp(q.unsqueeze(-1) + r, 1)
    apart = torch.logsumexp(q, 1).unsqueeze(-1) + torch.logsumexp(r, 1)
    return (joint - apart).mean() + math.log(len(s) * count)


def _log_density(z: Tensor, q: Gaussian, legacy: bool) -> Tensor:
    """Return log q(z_i | x_j), (B, B), of samples (B, n) under posteriors (B, n)."""
    log_std = q.log_variance if legacy else 0.5 * q.log_variance
    scaled = (z.unsqueeze(1) - q.mean) * torch.exp(-log_std)
    return (-0.5 * scaled.square() - log_std - HALF_LOG_TWO_PI).sum(-1)
