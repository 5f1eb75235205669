"""A network's belief about compositions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unstir.core.errors import InputError
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.simplex import LogisticNormalPosterior
from unstir.processes.simplex import SimplexProcess

__all__ = ["SimplexDenoiser"]

_NARROWEST = 1e-3  # of the best linear estimate's error
_SPREAD = 1.0  # of that error: how far apart components start


class SimplexDenoiser(LearnedDenoiser):
    r"""A mixture of ``components`` logistic-normal laws for every composition; those of one sample are independent.

    In log-ratios, of each component the network tells a shift, deviations (through a softplus) and a weight. They are
    told in the error :math:`b = \sigma s(\alpha^2s^2+\sigma^2)^{-1/2}` of the best linear estimate
    :math:`\alpha s^2(\alpha^2s^2+\sigma^2)^{-1}z_t` for data of deviation s = ``sigma_data``, and relative to it: where
    there is no noise, the belief is the state. The loss is the negative log-density of the log-ratios, in nats each.

    Reference: Bishop, Mixture density networks (1994); Karras et al., Elucidating the design space of diffusion models
    (2022), section 5, for the scales.
    """

    process: SimplexProcess

    def __init__(
        self,
        network: nn.Module | None,
        process: SimplexProcess,
        layout: str = "vector",
        components: int = 4,
        sigma_data: float = 1.0,
    ) -> None:
        super().__init__(network, process, layout)
        if components < 1:
            raise InputError(f"a mixture has at least 1 component; seen {components}")
        if not sigma_data > 0:
            raise InputError(f"sigma_data, the log-ratios' standard deviation, must be positive; seen {sigma_data}")
        self.components = components
        self.sigma_data = float(sigma_data)

    @property
    def numbers(self) -> int:
        """Shifts and deviations of all log-ratios, and a weight, of each component."""
        return (2 * (self.process.parts - 1) + 1) * self.components

    def read(self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None) -> LogisticNormalPosterior:
        z = self.process.coordinates(xt)
        size = z.shape[-1]
        told = numbers.double().unflatten(-1, (self.components, 2 * size + 1))
        schedule = self.process.schedule
        # all that depends on the time alone, beside components and log-ratios
        alpha, sigma = (value.reshape(-1, *(1,) * (told.ndim - 1)) for value in (schedule.alpha(t), schedule.sigma(t)))
        total = (alpha * self.sigma_data).square() + sigma.square()
        error = (sigma * self.sigma_data * total.rsqrt()).clamp(min=torch.finfo(xt.dtype).eps)
        # components start apart, for else they would all learn the same
        steps = torch.arange(self.components, device=xt.device, dtype=torch.float64)[:, None]
        apart = _SPREAD * (1.7 * steps + torch.arange(size, device=xt.device) * 2.4).sin() * (steps > 0)
        centres = alpha * self.sigma_data**2 / total * z[..., None, :] + error * (told[..., :size] + apart)
        deviations = error * (_NARROWEST + F.softplus(told[..., size : 2 * size]))
        return LogisticNormalPosterior(
            torch.zeros(len(xt), 1, dtype=torch.float64, device=xt.device),
            told[..., -1].log_softmax(-1)[:, None],
            centres[:, None],
            deviations[:, None],
            self.process,
            xt.dtype,
        )
