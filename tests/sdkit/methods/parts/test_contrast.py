"""Contrastive losses: known answers, and agreement with their formulae written out."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from sdkit.methods.parts.contrast import RANKS, distances, info_nce, negatives, neighbours, nt_xent
from sdkit.methods.parts.gaussian import Gaussian

B, M, N, TAU = 5, 9, 6, 0.5


def codes(count: int, seed: int) -> Tensor:
    return torch.randn(count, N, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gaussian(count: int, seed: int) -> Gaussian:
    return Gaussian(codes(count, seed), codes(count, seed + 100))


def test_masked_nt_xent_is_the_form_that_subtracts_the_vector_itself() -> None:
    a, b = codes(B, 0), codes(B, 1)
    u = torch.cat([a, b])
    u = u / u.norm(dim=1, keepdim=True)
    total = 0.0
    for i in range(2 * B):
        pair = (i + B) % (2 * B)
        all_of_them = sum(math.exp(float(u[i] @ u[k]) / TAU) for k in range(2 * B))
        total += -float(u[i] @ u[pair]) / TAU + math.log(all_of_them - math.exp(1 / TAU))
    assert nt_xent(a, b, TAU).item() == pytest.approx(total / (2 * B))


def test_nt_xent_at_its_ends() -> None:
    same = codes(1, 2).expand(B, -1)
    assert nt_xent(same, same).item() == pytest.approx(math.log(2 * B - 1))
    apart = torch.eye(N, dtype=torch.float64)
    assert nt_xent(apart, 3 * apart, 1e-3).item() == pytest.approx(0.0, abs=1e-9)
    assert nt_xent(codes(1, 3), codes(1, 4)).item() == pytest.approx(0.0)


def test_nt_xent_pulls_a_code_to_its_own_view() -> None:
    a, b = codes(B, 5), codes(B, 6)
    a.requires_grad_()
    loss = nt_xent(a, b)
    (slope,) = torch.autograd.grad(loss, a)
    assert torch.isfinite(slope).all()
    assert nt_xent(a.detach() - 0.1 * slope, b) < loss
    assert nt_xent(b + 0.01 * codes(B, 7), b) < nt_xent(b.roll(1, 0) + 0.01 * codes(B, 7), b)


def test_info_nce_is_its_formula() -> None:
    a, p, bank = codes(B, 0), codes(B, 1), codes(M, 2)
    kept = torch.rand(B, M, generator=torch.Generator().manual_seed(3)) < 0.5
    similarity = torch.nn.functional.cosine_similarity
    total = 0.0
    for i in range(B):
        right = math.exp(float(similarity(a[i], p[i], 0)) / TAU)
        wrong = sum(math.exp(float(similarity(a[i], bank[m], 0)) / TAU) for m in range(M) if kept[i, m])
        total -= math.log(right / (right + wrong))
    assert info_nce(a, p, bank, kept, TAU).item() == pytest.approx(total / B)


def test_info_nce_at_its_ends() -> None:
    a, bank = codes(B, 0), codes(M, 1)
    assert info_nce(a, a, bank, torch.zeros(B, M, dtype=torch.bool)).item() == pytest.approx(0.0)
    same = a[:1].expand(M, -1)
    everything = torch.ones(1, M, dtype=torch.bool)
    assert info_nce(a[:1], a[:1], same, everything).item() == pytest.approx(math.log(1 + M))


def test_distances_are_the_divergences_of_torch() -> None:
    q, p = gaussian(B, 0), gaussian(M, 1)
    expected = kl_divergence(
        Normal(q.mean.unsqueeze(1), q.std.unsqueeze(1)), Normal(p.mean.unsqueeze(0), p.std.unsqueeze(0))
    ).sum(-1)
    torch.testing.assert_close(distances(q, p), expected)
    torch.testing.assert_close(distances(q, q).diagonal(), torch.zeros(B, dtype=torch.float64))


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize(("size", "count"), [(9, 4), (9, 9), (1, 1), (12, 3)])
def test_every_anchor_has_as_many_negatives_as_asked_for(ranks: str, size: int, count: int) -> None:
    distance = torch.rand(B, size, generator=torch.Generator().manual_seed(0))
    kept = negatives(distance, count, ranks)  # type: ignore[arg-type]
    assert kept.shape == (B, size)
    assert kept.sum(1).tolist() == [count] * B


def test_which_candidates_are_negatives() -> None:
    distance = torch.tensor([[4.0, 8.0, 2.0, 1.0, 7.0, 3.0, 6.0, 0.0, 5.0]])

    def ranked(ranks: str) -> set[float]:
        return set(distance[negatives(distance, 3, ranks)].tolist())  # type: ignore[arg-type]

    assert ranked("soft") == {8.0, 7.0, 6.0}
    assert ranked("semi") == {5.0, 4.0, 3.0}
    torch.manual_seed(0)
    seen = set[float]().union(*(ranked("hard") for _ in range(50)))
    assert seen == {8.0, 7.0, 6.0, 5.0, 4.0, 3.0}


def test_neighbours_are_others_of_the_nearest_third() -> None:
    torch.manual_seed(0)
    place = torch.arange(7.0)
    distance = (place[:, None] - place).abs() + 0.1 * (place[:, None] > place)
    drawn = torch.stack([neighbours(distance) for _ in range(60)])
    assert [set(drawn[:, i].tolist()) for i in range(7)] == [
        {1, 2}, {0, 2}, {1, 3}, {2, 4}, {3, 5}, {4, 6}, {4, 5},
    ]  # fmt: skip
    assert neighbours(torch.zeros(1, 1)).tolist() == [0]
