"""The exact denoiser of trajectories of a linear-Gaussian chain."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.kalman import LinearChain
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule

__all__ = ["LinearChainDenoiser"]


class LinearChainDenoiser(GaussianDenoiser):
    r"""Trajectories of a chain :math:`x_{k+1}=Ax_k+b+w_k`, :math:`w_k\sim N(0,Q)`: a Gaussian over all times at once.

    A sample has the shape (n, length): n numbers along so many times. :math:`x_0\sim N(m_0,P_0)`, then
    :math:`m_{k+1}=Am_k+b`, :math:`P_{k+1}=AP_kA^T+Q`, and :math:`Cov[x_j,x_k]=A^{j-k}P_k` for j >= k. A ``shift`` (n,)
    and ``scale`` (n,) tell of the encoded trajectory (x - shift)/scale. All else is as in ``GaussianDenoiser``; given
    measurements it is what the Rauch–Tung–Striebel smoother computes (``kalman.py``).

    Raises InputError for a length below 1, and as ``LinearChain``.

    Reference: Rauch, Tung, Striebel, Maximum likelihood estimates of linear dynamic systems (1965); Särkkä, Bayesian
    filtering and smoothing (2013), section 4.3 and 8.2.
    """

    def __init__(
        self, chain: LinearChain, length: int, process: GaussianProcess, shift: Any = 0.0, scale: Any = 1.0
    ) -> None:
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise InputError(f"a trajectory has 1 time at least; seen {length!r}")
        size = len(chain.mean)
        shift, scale = (torch.as_tensor(each, dtype=torch.float64).expand(size) for each in (shift, scale))
        if not bool((scale > 0).all()):
            raise InputError(f"the scale of an encoding is positive; seen {scale.tolist()}")
        means, blocks = trajectory_moments(chain, length)
        encoded = ((means - shift) / scale).T
        # (time, n, time, n) to (n, time, n, time): a sample's elements go number by number
        covariance = (blocks / scale[:, None, None] / scale).permute(1, 0, 3, 2).reshape(size * length, size * length)
        super().__init__(encoded, (covariance + covariance.T) / 2, process)
        self.chain = chain

    @classmethod
    def examples(cls) -> Mapping[str, "LinearChainDenoiser"]:
        """One number; a damped turn of two that has settled; a step without noise in one direction."""
        alone = LinearChain([[0.8]], [0.3], [[0.2]], [1.0], [[0.5]])
        turning = LinearChain.stationary([[0.8, -0.4], [0.4, 0.8]], [0.1, 0.0], [[0.3, 0.1], [0.1, 0.2]])
        planar = LinearChain([[1.0, 0.5], [0.0, 0.9]], [0.0, 0.0], [[0.0, 0.0], [0.0, 0.2]], [0.0, 1.0], torch.eye(2))
        return {
            "one number": cls(alone, 4, GaussianProcess()),
            "a turn, encoded": cls(turning, 5, GaussianProcess(EDMSchedule(sigma_max=20.0)), [0.1, -0.2], [1.5, 0.8]),
            "pushed in one direction": cls(planar, 3, GaussianProcess()),
        }


def trajectory_moments(chain: LinearChain, length: int) -> tuple[Tensor, Tensor]:
    """Means (length, n) and covariances (length, n, length, n) of a chain's first ``length`` states."""
    means, variances = [chain.mean], [chain.covariance]
    for _ in range(length - 1):
        means.append(chain.transition @ means[-1] + chain.offset)
        variances.append(chain.transition @ variances[-1] @ chain.transition.T + chain.noise)
    size = len(chain.mean)
    joint = torch.zeros(length, size, length, size, dtype=torch.float64)
    for early in range(length):
        block = variances[early]
        for late in range(early, length):
            joint[late, :, early], joint[early, :, late] = block, block.T
            block = chain.transition @ block
    return torch.stack(means), joint
