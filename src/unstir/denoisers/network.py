r"""A network made into a denoiser."""

import torch
from torch import Tensor, nn

from unstir.core.catalogue import find
from unstir.core.errors import InputError
from unstir.core.state import apply_mask, expand
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes.gaussian import GaussianProcess


class NetworkDenoiser(Denoiser):
    r"""A network with its preconditioning: :math:`E[x_0|x_t] = a\,x_t + b\,F(c\,x_t, n_t)`.

    a and b come from the parameterisation (see ``parameterisations.py``);
    :math:`c = (\alpha^2\sigma_d^2+\sigma^2)^{-1/2}` gives the input unit variance, and
    :math:`n_t = \tfrac14\log(\sigma/\alpha)`, kept within [-3, 3], tells the noise level. The network is a
    module called as ``network(x, n, drop, **condition)`` that returns a tensor like x.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), section 5.
    """

    def __init__(
        self, network: nn.Module, process: GaussianProcess, parameterisation: str = "edm", sigma_data: float = 1.0
    ) -> None:
        super().__init__()
        if not sigma_data > 0:
            raise InputError(f"sigma_data, the data's standard deviation, must be positive; seen {sigma_data}")
        self.network = network
        self.process = process
        self.parameterisation = parameterisation
        self.sigma_data = float(sigma_data)
        self._coefficients = find("parameterisations", parameterisation).load()

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """The point belief at the network's estimate of E[x_0 | x_t]."""
        t = torch.as_tensor(t, dtype=torch.float64, device=xt.device).expand(len(xt))
        schedule = self.process.schedule
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        a, b = self._coefficients(alpha, sigma, self.sigma_data)
        scale = ((alpha * self.sigma_data).square() + sigma.square()).rsqrt()
        level = (-schedule.log_snr(t) / 8).clamp(-3, 3)
        output = self.network(expand(scale, xt) * xt, level.to(xt.dtype), drop, **condition)
        mean = expand(a, xt) * xt + expand(b, xt) * output.to(xt.dtype)
        return PointPosterior(apply_mask(mean, condition.get("mask")))
