r"""A network made into a denoiser."""

import torch
from torch import Tensor, nn

from unstir.core.catalogue import find
from unstir.core.errors import InputError, unknown
from unstir.core.state import apply_mask, expand
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import LearnedGaussianPosterior, PointPosterior
from unstir.denoisers.variances import linear_variance
from unstir.processes.gaussian import GaussianProcess

VARIANCES = ("none", "learned")
_WIDEST = 10.0  # a learned variance lies within e^-10 and e^10 of the linear one


class NetworkDenoiser(Denoiser):
    r"""A network with its preconditioning: :math:`E[x_0|x_t] = a\,x_t + b\,F(c\,x_t, n_t)`.

    a and b come from the parameterisation (see ``parameterisations.py``);
    :math:`c = (\alpha^2\sigma_d^2+\sigma^2)^{-1/2}` gives the input unit variance, and
    :math:`n_t = \tfrac14\log(\sigma/\alpha)`, kept within [-3, 3], tells the noise level. The network is a
    module called as ``network(x, n, drop, **condition)`` that returns a tensor like x.

    With ``variance`` = ``learned`` the network returns twice the channels (the catalogue's are built for that with
    ``outputs=2``): F and then G, which tells the belief's variance as
    :math:`\frac{\sigma_d^2\sigma^2}{\alpha^2\sigma_d^2+\sigma^2}\exp(10\tanh(G/10))`: that of the best linear
    estimate at first, since networks start at zero, and never out of reach of the gradient.

    Raises InputError for options that are not known and, when called, for an output of another shape.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), section 5;
    Nichol, Dhariwal, Improved denoising diffusion probabilistic models (2021), section 3.1, for the variance.
    """

    def __init__(
        self,
        network: nn.Module,
        process: GaussianProcess,
        parameterisation: str = "edm",
        sigma_data: float = 1.0,
        variance: str = "none",
    ) -> None:
        super().__init__()
        if not sigma_data > 0:
            raise InputError(f"sigma_data, the data's standard deviation, must be positive; seen {sigma_data}")
        if variance not in VARIANCES:
            raise unknown("variance of a network's belief", variance, VARIANCES)
        self.network = network
        self.process = process
        self.parameterisation = parameterisation
        self.sigma_data = float(sigma_data)
        self.variance = variance
        self._coefficients = find("parameterisations", parameterisation).load()

    def forward(
        self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor
    ) -> PointPosterior | LearnedGaussianPosterior:
        """The belief at the network's estimate of E[x_0 | x_t]: a point, or a Gaussian where a variance is learned."""
        t = torch.as_tensor(t, dtype=torch.float64, device=xt.device).expand(len(xt))
        schedule = self.process.schedule
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        a, b = self._coefficients(alpha, sigma, self.sigma_data)
        scale = ((alpha * self.sigma_data).square() + sigma.square()).rsqrt()
        level = (-schedule.log_snr(t) / 8).clamp(-3, 3)
        output = self.network(expand(scale, xt) * xt, level.to(xt.dtype), drop, **condition).to(xt.dtype)
        output, told = _halves(output, xt) if self.variance == "learned" else (output, None)
        mean = apply_mask(expand(a, xt) * xt + expand(b, xt) * output, condition.get("mask"))
        if told is None:
            return PointPosterior(mean)
        # a variance of zero has no logarithm: at no noise at all it is the smallest that the precision knows
        smallest = torch.finfo(xt.dtype).tiny * torch.tensor(_WIDEST).exp().item() ** 2
        linear = expand(linear_variance(schedule.log_snr(t), self.sigma_data), xt).clamp(min=smallest)
        variance = linear * (_WIDEST * (told / _WIDEST).tanh()).exp()
        return LearnedGaussianPosterior(mean, variance, linear)


def _halves(output: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """The two halves of an output that has twice the channels, whichever axis holds them."""
    if output.ndim == like.ndim:
        for axis in range(1, like.ndim):
            doubled = list(like.shape)
            doubled[axis] *= 2
            if list(output.shape) == doubled:
                first, second = output.chunk(2, dim=axis)
                return first, second
    raise InputError(
        f"a network that learns a variance returns twice the channels of its input {tuple(like.shape)}; seen "
        f"{tuple(output.shape)}: build it with outputs=2, or take variance: none"
    )
