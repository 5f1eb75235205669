"""Couplings of two Gaussians that are known in closed form: optimal transport and Schrödinger's bridge."""

from typing import Any

import torch
from torch import Tensor


def schrodinger_coupling(first: Any, second: Any, sigma: float) -> Tensor:
    r"""The cross-covariance E[dx_0 dx_1^T] of two Gaussians at the ends of Schrödinger's bridge, float64 (d, d).

    Of all couplings of N(., A) and N(., B) it is the nearest, in relative entropy, to Brownian motion of the deviation
    ``sigma`` in one unit of time: the off-diagonal block of its precision is :math:`-I/\sigma^2`.
    :math:`C=\tfrac12(A^{1/2}DA^{-1/2}-\sigma^2I)` with :math:`D=(4A^{1/2}BA^{1/2}+\sigma^4I)^{1/2}`; for ``sigma`` = 0
    it is the optimal transport. ``first`` A must be regular.

    Reference: Bunne et al., The Schrödinger bridge between Gaussian measures has a closed form (2023), eq. 5.
    """
    first, second = (torch.as_tensor(given, dtype=torch.float64) for given in (first, second))
    values, basis = torch.linalg.eigh(first)
    root, inverse = ((basis * values**power) @ basis.mT for power in (0.5, -0.5))
    middle, turned = torch.linalg.eigh(4 * root @ second @ root + sigma**4 * torch.eye(len(first), dtype=torch.float64))
    square = (turned * middle.clamp(min=0).sqrt()) @ turned.mT
    return (root @ square @ inverse - sigma**2 * torch.eye(len(first), dtype=torch.float64)) / 2


def transport_cost(first: Any, second: Any) -> float:
    """The least E|x_0 - x_1|^2 of two centred Gaussians with these covariances: tr A + tr B - 2 tr (A B)^(1/2).

    Reference: Dowson, Landau, The Fréchet distance between multivariate normal distributions (1982).
    """
    first, second = (torch.as_tensor(given, dtype=torch.float64) for given in (first, second))
    return (first.trace() + second.trace() - 2 * schrodinger_coupling(first, second, 0.0).trace()).item()
