"""Guidance of several samples at once, away from one another."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import tensors_of
from unstir.denoisers.base import Denoiser
from unstir.guidance.base import Strength
from unstir.guidance.energy import EnergyGuidance

__all__ = ["DeterminantalGuidance", "ParticleRepulsion"]

_RIDGE = 1e-3  # what a group of equals keeps of its determinant


class _Apart(EnergyGuidance):
    """Groups of ``rows`` consecutive rows of a batch, whose believed clean samples are compared by a kernel."""

    conditional = False

    def __init__(
        self,
        denoiser: Denoiser,
        strength: Strength = 1.0,
        sigma_min: float | int = 0.0,
        sigma_max: float | int | None = None,
        rows: int = 4,
        bandwidth: float | int | None = None,
        features: Callable[[Any], Tensor] | None = None,
        through: bool = False,
        deviation: float | int = 1.0,
    ) -> None:
        if rows < 2:
            raise InputError(f"a group of samples that keep apart has two at least; seen {rows}")
        if bandwidth is not None and not 0 < bandwidth < math.inf:
            raise InputError(f"the kernel's width is positive and finite, in the features' unit; seen {bandwidth}")
        super().__init__(
            denoiser,
            self._alike,
            strength,
            sigma_min,
            sigma_max,
            through=through,
            deviation=deviation,
            rows=rows,
        )
        self.bandwidth, self.features = bandwidth, features

    @classmethod
    def examples(cls) -> Mapping[str, Any]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def _kernel(self, x0: Any) -> Tensor:
        """exp(-d^2/(2 h^2)) of all pairs, float64 (groups, rows, rows)."""
        groups = len(tensors_of(x0)[0])
        flat = [part.flatten(0, 1) for part in tensors_of(x0)]
        if self.features is None:
            described = torch.cat([part.flatten(1) for part in flat], 1)
        else:
            state = {name: part.flatten(0, 1) for name, part in x0.items()} if isinstance(x0, Mapping) else flat[0]
            described = self.features(state)
            if len(described) != groups * self.rows:
                raise InputError(f"features come one row a sample, {groups * self.rows}; seen {tuple(described.shape)}")
        described = described.double().reshape(groups, self.rows, -1)
        width = self.deviation * math.sqrt(described.shape[-1]) if self.bandwidth is None else float(self.bandwidth)
        apart = described[:, :, None] - described[:, None]
        return (-apart.square().sum(-1) / (2 * width**2)).exp()

    @abstractmethod
    def _alike(self, x0: Any) -> Tensor:
        """The energy of each group, (groups,)."""


class ParticleRepulsion(_Apart):
    r"""Samples that repel one another: the energy :math:`\sum_{i<j}k(x_i,x_j)` within groups, k a Gaussian kernel.

    Groups are ``rows`` consecutive rows of a batch, which must be a multiple of it: **a draw then depends on its
    group**, and on nothing else. The kernel compares the believed clean samples by their ``features`` (a function to
    (batch, ...); the elements, and the probabilities of tokens, by default), :math:`e^{-d^2/2h^2}` with ``bandwidth``
    h; by default the data's ``deviation`` times the root of the number of features. Each sample by itself no longer has
    the law of the data: the groups are spread more evenly over it than chance would, towards its rims. ``through``,
    which sends the gradient through the denoiser, is off by default: see ``EnergyGuidance``.

    Raises InputError for groups of one, and a batch that cannot be parted.

    Reference: Corso et al., Particle guidance: non-i.i.d. diverse sampling with diffusion models (2024), section 4.
    """

    def _alike(self, x0: Any) -> Tensor:
        kernel = self._kernel(x0)
        return (kernel.flatten(1).sum(1) - self.rows) / 2


class DeterminantalGuidance(_Apart):
    r"""Samples as a determinantal point process has them: the energy :math:`-\log\det(K+\epsilon I)` within groups.

    K is the kernel of ``ParticleRepulsion`` between the group's believed clean samples, of which all options are the
    same. The determinant is the squared volume that the samples' features span: it sees sets that are poor as a whole
    (all on one line), where pairs tell little. :math:`\epsilon` = 0.001 keeps equals apart from infinity.

    Raises InputError for groups of one, and a batch that cannot be parted.

    Reference: Kulesza, Taskar, Determinantal point processes for machine learning (2012), section 2; Corso et al.,
    Particle guidance: non-i.i.d. diverse sampling with diffusion models (2024), section 4.
    """

    def _alike(self, x0: Any) -> Tensor:
        kernel = self._kernel(x0)
        ridge = _RIDGE * torch.eye(self.rows, dtype=kernel.dtype, device=kernel.device)
        return -torch.linalg.cholesky(kernel + ridge).diagonal(dim1=1, dim2=2).log().sum(1) * 2
