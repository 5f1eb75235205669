r"""What a network predicts, and the one table that converts between the dialects.

Each parameterisation writes the clean data as :math:`x_0 = a\,x_t + b\,F` with the network's output F:

============== =================================== ========================== ===============================
name           F                                   a                          b
============== =================================== ========================== ===============================
``clean``      :math:`x_0`                         0                          1
``noise``      :math:`\epsilon`                    :math:`1/\alpha`           :math:`-\sigma/\alpha`
``score``      :math:`-\epsilon/\sigma`            :math:`1/\alpha`           :math:`\sigma^2/\alpha`
``v``          :math:`\alpha\epsilon-\sigma x_0`   :math:`\alpha/S`           :math:`-\sigma/S`
``flow``       :math:`\epsilon - x_0`              :math:`1/(\alpha+\sigma)`  :math:`-\sigma/(\alpha+\sigma)`
``edm``        EDM's unit-variance target          :math:`\alpha\sigma_d^2/D` :math:`\sigma\sigma_d/\sqrt D`
============== =================================== ========================== ===============================

with :math:`S=\alpha^2+\sigma^2` and :math:`D=\alpha^2\sigma_d^2+\sigma^2`, where :math:`\sigma_d` is
the data's standard deviation. ``noise`` and ``score`` say nothing of x_0 where alpha vanishes.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

__all__ = ["clean", "edm", "flow", "noise", "score", "v"]

Parameterisation: TypeAlias = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def clean(alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor]:
    """The clean data itself (x0-prediction).

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), section 3.2.
    """
    return torch.zeros_like(alpha), torch.ones_like(alpha)


def noise(alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor]:
    """The noise epsilon (DDPM's choice).

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), eq. 12.
    """
    return 1 / alpha, -sigma / alpha


def score(alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor]:
    """The score grad log p_t.

    Reference: Song et al., Score-based generative modeling through SDEs (2021), eq. 7.
    """
    return 1 / alpha, sigma.square() / alpha


def v(alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor]:
    """The angular velocity alpha epsilon - sigma x0, stable at both ends of time.

    Reference: Salimans and Ho, Progressive distillation (2022), appendix D.
    """
    total = alpha.square() + sigma.square()
    return alpha / total, -sigma / total


def flow(alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor]:
    """The straight line's velocity epsilon - x0 (flow matching).

    Reference: Lipman et al., Flow matching for generative modeling (2023), eq. 23.
    """
    return 1 / (alpha + sigma), -sigma / (alpha + sigma)


def edm(alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor]:
    """EDM's preconditioning: the target has unit variance at every noise level.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), table 1.
    """
    total = (alpha * sigma_data).square() + sigma.square()
    return alpha * sigma_data**2 / total, sigma * sigma_data / total.sqrt()


def convert(
    value: Tensor,
    xt: Tensor,
    alpha: Tensor,
    sigma: Tensor,
    source: Parameterisation,
    target: Parameterisation,
    sigma_data: float = 1.0,
) -> Tensor:
    """A prediction in one dialect told in another, e.g. noise to v; all shapes broadcast."""
    a, b = source(alpha, sigma, sigma_data)
    mean = a * xt + b * value
    a, b = target(alpha, sigma, sigma_data)
    return (mean - a * xt) / b
