"""The Koopman operator of codes in time: least squares, its static modes, and real bases of static and other modes.

Rows are steps: z_{t+1} = z_t C. With C = V diag(lambda) V^-1 the columns of V give a step's coefficients.
"""

from typing import NamedTuple

import torch
from torch import Tensor

RIDGE = 1e-6
"""Addition to the diagonal of Z'Z, relative to its mean: codes of a small batch may span less than all k dimensions."""
REAL = 1e-9
"""Largest imaginary part of an eigenvalue that counts as real."""


def operator(now: Tensor, following: Tensor) -> Tensor:
    """Return C (k, k) float64 of least ||now C - following||, from pairs of steps (M, k)."""
    now, following = now.double(), following.double()
    return solve(now.T @ now, now.T @ following)


def solve(square: Tensor, cross: Tensor) -> Tensor:
    """Return C (..., k, k) from Z'Z and Z'Y, both (..., k, k) float64."""
    ridge = RIDGE * square.diagonal(dim1=-2, dim2=-1).mean(-1).detach().clamp_min(1e-12)
    eye = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    found: Tensor = torch.linalg.solve(square + ridge[..., None, None] * eye, cross)
    return found


class Fit(NamedTuple):
    """Operators of sequences, one for each."""

    predicted: Tensor
    """z_1 and the predictions z_t C of the steps after it, (B, T, k) float64."""
    eigenvalues: Tensor
    """Eigenvalues (B, n) of C that may differ from 0, n = min(T - 1, k)."""


def fit_each(z: Tensor) -> Fit:
    """Fit an operator to each of some sequences z (B, T, k) by itself, the smallest where several fit alike.

    With T - 1 < k steps C has rank T - 1. Its k - T + 1 eigenvalues of 0 are left out, whose eigenvectors, and so the
    gradients, are no more than rounding: C = Z+ Y has the others in common with Y Z+, which is (T - 1, T - 1).
    """
    z = z.double()
    now, following = z[:, :-1], z[:, 1:]
    inverse = solve(now.mT @ now, now.mT)
    matrix = inverse @ following
    small = matrix if now.shape[1] >= now.shape[2] else following @ inverse
    return Fit(torch.cat([z[:, :1], now @ matrix], 1), torch.linalg.eigvals(small))


def static_modes(eigenvalues: Tensor, count: int) -> list[int]:
    """Return the positions of at most `count` eigenvalues (k,) nearest 1, conjugates together.

    A pair that would exceed the count is skipped for the next real one; where there is none, one fewer is returned.
    """
    distance = (eigenvalues.detach() - 1).abs()
    chosen: list[int] = []
    for unit in sorted(_units(eigenvalues.detach()), key=lambda unit: float(distance[unit[0]])):
        if len(chosen) + len(unit) <= count:
            chosen += unit
    return chosen


def _units(eigenvalues: Tensor) -> list[list[int]]:
    """Return positions of real eigenvalues by themselves, and of complex ones with their conjugates."""
    free = list(range(len(eigenvalues)))
    units: list[list[int]] = []
    while free:
        i = free.pop(0)
        unit = [i]
        if abs(complex(eigenvalues[i]).imag) > REAL and free:
            partner = min(free, key=lambda j: abs(complex(eigenvalues[j]) - complex(eigenvalues[i]).conjugate()))
            free.remove(partner)
            unit.append(partner)
        units.append(unit)
    return units


class Bases(NamedTuple):
    """A split of R^k into a static and a dynamic part: z = s L_s + d L_d with s = z R_s, d = z R_d."""

    right: Tensor
    """Matrix [R_s R_d], (k, k) float64: an orthonormal basis of each of the two spaces, side by side."""
    left: Tensor
    """Inverse of `right`, (k, k) float64: L_s over L_d."""


def split(matrix: Tensor, count: int) -> Bases:
    """Return real bases of the `count` modes of an operator nearest 1, and of the others.

    Where no set of whole modes has `count` dimensions, the plane of the nearest remaining pair is divided: one
    of its directions counts as static.

    Args:
        matrix: operator C, (k, k) float64.
        count: number of static dimensions S, at most k.
    """
    eigenvalues, vectors = torch.linalg.eig(matrix)
    still = static_modes(eigenvalues, count)
    static = _plane(vectors, still)
    moving = [i for i in range(len(eigenvalues)) if i not in still]
    if len(still) < count:
        distance = (eigenvalues - 1).abs()
        pair = min((u for u in _units(eigenvalues) if u[0] in moving), key=lambda unit: float(distance[unit[0]]))
        both = _plane(vectors, pair)
        static = torch.cat([static, both[:, :1]], 1)
        rest = [i for i in moving if i not in pair]
        dynamic = torch.cat([both[:, 1:], _plane(vectors, rest)], 1)
    else:
        dynamic = _plane(vectors, moving)
    right = torch.cat([torch.linalg.qr(static)[0], torch.linalg.qr(dynamic)[0]], 1)
    return Bases(right, torch.linalg.inv(right))


def _plane(vectors: Tensor, chosen: list[int]) -> Tensor:
    """Return a real basis (k, n) of the space of n eigenvectors, conjugates among them together."""
    if not chosen:
        return vectors.real[:, :0]
    stacked = torch.cat([vectors.real[:, chosen], vectors.imag[:, chosen]], 1)
    basis: Tensor = torch.linalg.svd(stacked, full_matrices=False)[0]
    return basis[:, : len(chosen)]
