"""Contrastive losses over codes: NT-Xent within a batch, InfoNCE with a bank of negatives, and the choice of those."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from sdkit.methods.parts.gaussian import Gaussian

Ranks = Literal["soft", "semi", "hard"]
RANKS: tuple[str, ...] = get_args(Ranks)
"""Names of the choices of negatives."""


def nt_xent(anchors: Tensor, views: Tensor, temperature: float = 0.5) -> Tensor:
    """Return NT-Xent of codes (B, n) and those of a view of each, a scalar in nats.

    Of all 2B unit vectors u it is the mean of -u_i u_p(i) / tau + LSE_{k != i} u_i u_k / tau, where p(i) is the other
    of the pair: 0 of a single pair, log(2B - 1) where all vectors are equal.
    """
    u = nn.functional.normalize(torch.cat([anchors, views]), dim=-1)
    similarity = u @ u.T / temperature
    itself = torch.eye(len(u), dtype=torch.bool, device=u.device)
    pair = torch.arange(len(u), device=u.device).roll(len(anchors))
    return nn.functional.cross_entropy(similarity.masked_fill(itself, -torch.inf), pair)


def info_nce(anchors: Tensor, positives: Tensor, bank: Tensor, kept: Tensor, temperature: float = 0.5) -> Tensor:
    """Return InfoNCE of codes against a positive each and negatives of a bank, a scalar in nats.

    Args:
        anchors: (B, n).
        positives: (B, n), one of each anchor.
        bank: (M, n), the candidates for negatives of all anchors.
        kept: (B, M) bool: which of them are negatives of an anchor.
        temperature: tau, the divisor of cosine similarities.
    """
    a, p, m = (nn.functional.normalize(codes, dim=-1) for codes in (anchors, positives, bank))
    right = (a * p).sum(-1, keepdim=True) / temperature
    wrong = (a @ m.T / temperature).masked_fill(~kept, -torch.inf)
    first = torch.zeros(len(a), dtype=torch.int64, device=a.device)
    return nn.functional.cross_entropy(torch.cat([right, wrong], 1), first)


def distances(q: Gaussian, p: Gaussian) -> Tensor:
    """Return KL[q_i || p_j] in nats, (B, M), of every pair of Gaussians (B, n) and (M, n)."""
    precision = (-p.log_variance).exp()
    spread = (q.log_variance.exp() + q.mean.square()) @ precision.T - 2 * q.mean @ (p.mean * precision).T
    offset = (p.mean.square() * precision + p.log_variance).sum(-1)
    return 0.5 * (spread + offset - q.log_variance.sum(-1, keepdim=True) - q.mean.shape[-1])


def negatives(distance: Tensor, count: int, ranks: Ranks) -> Tensor:
    """Return which candidates of a bank are negatives of an anchor, (B, M) bool, `count` for each.

    Args:
        distance: (B, M), from each anchor to each candidate.
        count: number of negatives, at most M.
        ranks: `soft` takes the farthest, `semi` those that follow the farthest third, `hard` takes them at random
            from the farthest two thirds, or from more where those are too few.
    """
    size = distance.shape[1]
    ordered = distance.argsort(1, descending=True)
    if ranks == "hard":
        pool = max(2 * size // 3, count)
        drawn = torch.rand(len(distance), pool, device=distance.device).argsort(1)[:, :count]
        chosen = ordered.gather(1, drawn)
    else:
        first = min(size // 3, size - count) if ranks == "semi" else 0
        chosen = ordered[:, first : first + count]
    return torch.zeros_like(distance, dtype=torch.bool).scatter(1, chosen, value=True)


def neighbours(distance: Tensor) -> Tensor:
    """Return the position (B,) of another sequence for each, drawn from the nearest third; its own in a batch of one.

    Args:
        distance: (B, B), from each sequence of a batch to each.
    """
    count = len(distance)
    others = distance.clone().fill_diagonal_(torch.inf).argsort(1)
    drawn = torch.randint(max((count - 1) // 3, 1), (count, 1), device=distance.device)
    return others.gather(1, drawn).squeeze(1)
