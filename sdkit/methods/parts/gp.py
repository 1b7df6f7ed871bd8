"""Gaussian processes over integer steps: kernels and their factors, and Gaussians with a bidiagonal precision factor.

A stationary kernel's Cholesky factor of T_max steps begins with that of any T <= T_max, so that one stored factor draws
sequences of every length.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Kernel = Literal["cauchy", "rbf"]
JITTER = 1e-3
"""Addition to the diagonal of a kernel matrix, which is ill-conditioned where the length scale exceeds a step."""


def kernel_matrix(kernel: Kernel, steps: int, length_scale: float, variance: float = 1.0) -> Tensor:
    """Return the kernel matrix (T, T) float64 of steps 0 to T - 1.

    Cauchy: variance / (1 + (i - j)^2 / l^2); RBF: variance exp(-(i - j)^2 / (2 l^2)); either with `JITTER`.
    """
    position = torch.arange(steps, dtype=torch.float64)
    ratio = (position[:, None] - position).square() / length_scale**2
    values = variance / (1 + ratio) if kernel == "cauchy" else variance * torch.exp(-0.5 * ratio)
    return values + JITTER * torch.eye(steps, dtype=torch.float64)


def length_scales(size: int, longest: float, scales: int) -> list[float]:
    """Return a length scale for each of `size` dimensions: groups of equal size, halved from group to group."""
    return [longest / 2 ** (i * scales // size) for i in range(size)]


def factors(kernel: Kernel, steps: int, longest: float, scales: int, size: int, variance: float = 1.0) -> Tensor:
    """Return the Cholesky factors (D, T, T) float64 of the kernel matrices of D dimensions."""
    matrices = [kernel_matrix(kernel, steps, scale, variance) for scale in length_scales(size, longest, scales)]
    found: Tensor = torch.linalg.cholesky(torch.stack(matrices))
    return found


class Group(NamedTuple):
    """Dimensions whose processes have a kernel of the same form."""

    kernel: Kernel
    size: int
    """Number of dimensions; a group of none is left out."""
    longest: float
    """Length scale of the first of them, in steps."""
    scales: int = 1
    """Number of length scales, each half of the one before."""
    variance: float = 1.0
    """Variance of the kernel."""


def joined_factors(groups: Iterable[Group], steps: int) -> Tensor:
    """Return the Cholesky factors (D, T, T) float64 of the dimensions of all groups, in order."""
    return torch.cat([factors(g.kernel, steps, g.longest, g.scales, g.size, g.variance) for g in groups if g.size])


def draw(noise: Tensor, diagonal: Tensor, coupling: Tensor) -> Tensor:
    """Return e = U'^-1 noise of the same shape (B, T, D), which has the precision U U'.

    U is upper bidiagonal: `diagonal` b_t > 0 and super-diagonal `coupling` c_t, of which the last is not used. Then e
    follows forwards: e_t = (noise_t - c_{t-1} e_{t-1}) / b_t. Restricted to what TorchScript compiles.
    """
    e = noise[:, 0] / diagonal[:, 0]
    found = [e]
    for t in range(1, noise.size(1)):
        e = (noise[:, t] - coupling[:, t - 1] * e) / diagonal[:, t]
        found.append(e)
    return torch.stack(found, 1)


def variances(diagonal: Tensor, coupling: Tensor) -> Tensor:
    """Return the marginal variances (B, T, D): v_t = (1 + c_{t-1}^2 v_{t-1}) / b_t^2."""
    v = 1.0 / (diagonal[:, 0] * diagonal[:, 0])
    found = [v]
    for t in range(1, diagonal.size(1)):
        c = coupling[:, t - 1]
        v = (1.0 + c * c * v) / (diagonal[:, t] * diagonal[:, t])
        found.append(v)
    return torch.stack(found, 1)


def kl_to_process(mean: Tensor, diagonal: Tensor, coupling: Tensor, factor: Tensor) -> Tensor:
    """Return KL[N(mean, (U U')^-1) || N(0, K)] in nats, (B,), summed over steps and dimensions.

    Args:
        mean, diagonal, coupling: (B, T, D).
        factor: L of K = L L', (D, T, T).
    """
    steps = mean.shape[1]
    transposed = torch.diag_embed(diagonal.transpose(1, 2))
    transposed = transposed + torch.diag_embed(coupling.transpose(1, 2)[..., :-1], offset=-1)  # U', lower
    eye = torch.eye(steps, dtype=mean.dtype, device=mean.device).expand_as(transposed)
    spread = torch.linalg.solve_triangular(transposed, eye, upper=False)  # U'^-1
    whitened = torch.linalg.solve_triangular(factor, spread, upper=False)
    shifted = torch.linalg.solve_triangular(factor, mean.transpose(1, 2).unsqueeze(-1), upper=False)
    log_kernel = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # log |K|, (D,)
    trace, distance = whitened.square().sum((-2, -1)), shifted.square().sum((-2, -1))
    total: Tensor = trace + distance - steps + log_kernel + 2 * diagonal.log().sum(1)
    return 0.5 * total.sum(-1)
