r"""A network's belief about vectors, pictures and everything else that Gaussian noise is added to."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.catalogue import find
from unstir.core.errors import InputError, unknown
from unstir.core.state import apply_mask, expand
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.posteriors import LearnedGaussianPosterior, PointPosterior
from unstir.denoisers.variances import linear_variance
from unstir.processes.base import Process
from unstir.processes.bridge import BridgeProcess

__all__ = ["NetworkDenoiser"]

VARIANCES = ("none", "learned")
_FAINTEST = 1e-10  # of b^2: beyond, float32 has lost what there would be to learn
_WIDEST = 10.0  # a learned variance lies within e^-10 and e^10 of the linear one


class NetworkDenoiser(LearnedDenoiser):
    r"""A network with its preconditioning, under Gaussian noise: :math:`E[x_0|x_t] = a\,x_t + b\,F(c\,x_t, n_t)`.

    a and b come from the parameterisation (see ``parameterisations.py``);
    :math:`c = (\alpha^2\sigma_d^2+\sigma^2)^{-1/2}` gives the input unit variance, and
    :math:`n_t = \tfrac14\log(\sigma/\alpha)`, kept within [-3, 3], tells the noise level. The network is a
    module called as ``network(x, n, drop, **condition)`` that returns a tensor like x.

    With ``variance`` = ``learned`` the network returns twice the channels (the catalogue's are built for that with
    ``outputs=2``): F and then G, which tells the belief's variance as
    :math:`\frac{\sigma_d^2\sigma^2}{\alpha^2\sigma_d^2+\sigma^2}\exp(10\tanh(G/10))`: that of the best linear
    estimate at first, since networks start at zero, and never out of reach of the gradient.

    With ``around``, the name of a condition c of the state's shape (a regression's mean, the last state), the belief
    is centred there: what is learned is the residual :math:`x_0-c`, whose noisy state is :math:`x_t-\alpha c`, and c
    is added to its mean; ``sigma_data`` is that of the residual. The network is not shown c. Where it is absent it
    counts as zero. ``drop`` forgets what the network is told and leaves c as it is: c says how the state is read, as a
    mask does, and without it the network would meet states of another scale than its own.

    The state is given to the network as it is (``layout`` as-it-is), or laid out like any other part's.

    Raises InputError for options that are not known and, when called, for an output of another shape.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), section 5;
    Nichol, Dhariwal, Improved denoising diffusion probabilistic models (2021), section 3.1, for the variance.
    """

    def __init__(
        self,
        network: nn.Module | None,
        process: Process,
        parameterisation: str = "edm",
        sigma_data: float = 1.0,
        variance: str = "none",
        layout: str = "as-it-is",
        around: str | None = None,
    ) -> None:
        super().__init__(network, process, "vector" if layout == "as-it-is" else layout)
        if around is not None and (layout != "as-it-is" or isinstance(process, BridgeProcess)):
            raise InputError(
                f"a belief is centred on a condition (around: {around}) in the layout as-it-is, and under noise that "
                "begins at the data, not under a bridge: take another layout or process, or leave `around` out"
            )
        if not sigma_data > 0:
            raise InputError(f"sigma_data, the data's standard deviation, must be positive; seen {sigma_data}")
        if variance not in VARIANCES:
            raise unknown("variance of a network's belief", variance, VARIANCES)
        self.layout = layout
        self.parameterisation = parameterisation
        self.sigma_data = float(sigma_data)
        self.variance = variance
        self.around = around
        self._coefficients = find("parameterisations", parameterisation).load()

    @classmethod
    def options_for(
        cls, process: Any, given: Mapping[str, Any], state: Any, condition: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        options = super().options_for(process, given, state, condition)
        told = condition or {}
        if (around := options.get("around")) is not None:
            if around not in told:
                raise unknown("condition that the belief is centred on (around):", str(around), told)
            state = state - centre_of(told[around], state, around)
        options["sigma_data"] = given.get("sigma_data") or deviation_of(state, told.get("mask"))
        return options

    @property
    def numbers(self) -> int:
        """One for each element, two where a variance is learned."""
        return 2 if self.variance == "learned" else 1

    def network_size(self, shape: Any) -> tuple[tuple[int, ...], int]:
        if self.layout == "as-it-is":
            return tuple(shape), self.numbers
        return super().network_size(shape)

    def loss_weight(self, t: Tensor) -> Tensor:
        """1/b^2, by which the squared error of x_0 becomes that of the network's output F."""
        _, b = self._coefficients(self.process.schedule.alpha(t), self.process.schedule.sigma(t), self.sigma_data)
        return b.square().clamp(min=_FAINTEST).reciprocal()

    def inputs(self, xt: Tensor, t: Tensor) -> Tensor:
        """The state, brought to unit variance."""
        scaled = self.seen(xt, t)
        return scaled if self.layout == "as-it-is" else self._laid(scaled[..., None])

    def forward(
        self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor
    ) -> PointPosterior | LearnedGaussianPosterior:
        """The belief at the network's estimate of E[x_0 | x_t]: a point, or a Gaussian where a variance is learned."""
        if self.layout != "as-it-is":
            return super().forward(xt, t, drop, **condition)  # type: ignore[return-value]
        centre = condition.pop(self.around, None) if self.around else None
        mask = condition.get("mask")
        if centre is not None:
            # a padded or missing place is zero in the state, and may hold anything here
            centre = apply_mask(centre_of(centre, xt, str(self.around)), mask)
            alpha = self.process.schedule.alpha(torch.as_tensor(t, dtype=torch.float64, device=xt.device))
            xt = xt - expand(alpha, xt) * centre
        told, level, t = self.told(xt, t)
        output = self.network(told, level, drop, **condition)  # type: ignore[misc]
        belief = self.believe(output, xt, t, mask)
        return belief if centre is None else dataclasses.replace(belief, mean=belief.mean + centre)

    def beginning(self, noise: Tensor, t: Tensor, **condition: Tensor) -> Tensor:
        """The noise about the centre, where the noisy law lies: about zero a far centre would draw the samples away."""
        centre = condition.get(self.around) if self.around else None
        if centre is None:
            return noise
        centre = apply_mask(centre_of(centre, noise, str(self.around)), condition.get("mask"))
        return noise + self.process.schedule.alpha(t.to(noise.device)).to(noise.dtype) * centre

    def seen(self, xt: Tensor, t: Tensor) -> Tensor:
        schedule = self.process.schedule
        scale = ((schedule.alpha(t) * self.sigma_data).square() + schedule.sigma(t).square()).rsqrt()
        return expand(scale, xt) * xt

    def features(self, xt: Tensor, t: Tensor) -> Tensor:
        return xt[..., None] if self.layout == "parts" else super().features(xt, t)

    def width_out(self, xt: Tensor) -> int:
        return xt.shape[-1] * self.numbers if self.layout == "as-it-is" else super().width_out(xt)

    def believe(
        self, output: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None
    ) -> PointPosterior | LearnedGaussianPosterior:
        if self.layout != "as-it-is":
            return super().believe(output, xt, t, mask)  # type: ignore[return-value]
        output = output.to(xt.dtype)
        output, spread = _halves(output, xt) if self.variance == "learned" else (output, None)
        return self._belief(output, spread, xt, t, mask)

    def read(
        self, numbers: Tensor, xt: Tensor, t: Tensor, mask: Tensor | None
    ) -> PointPosterior | LearnedGaussianPosterior:
        first, *second = numbers.to(xt.dtype).unbind(-1)
        return self._belief(first, second[0] if second else None, xt, t, mask)

    def _belief(
        self, output: Tensor, told: Tensor | None, xt: Tensor, t: Tensor, mask: Tensor | None
    ) -> PointPosterior | LearnedGaussianPosterior:
        schedule = self.process.schedule
        a, b = self._coefficients(schedule.alpha(t), schedule.sigma(t), self.sigma_data)
        mean = apply_mask(expand(a, xt) * xt + expand(b, xt) * output, mask)
        if told is None:
            return PointPosterior(mean)
        # a variance of zero has no logarithm: at no noise at all it is the smallest that the precision knows
        smallest = torch.finfo(xt.dtype).tiny * torch.tensor(_WIDEST).exp().item() ** 2
        linear = expand(linear_variance(schedule.log_snr(t), self.sigma_data), xt).clamp(min=smallest)
        variance = linear * (_WIDEST * (told / _WIDEST).tanh()).exp()
        return LearnedGaussianPosterior(mean, variance, linear)


def deviation_of(x0: Tensor, mask: Tensor | None = None) -> float:
    """The standard deviation over all elements of clean data, of those where ``mask`` is True; four digits.

    Raises InputError if all of them are the same.
    """
    values = x0.double() if mask is None else x0.double()[mask]
    deviation = values.std(correction=0).item() if values.numel() else 0.0
    if deviation == 0:
        raise InputError("all values of the data are the same; there is nothing to learn")
    return float(f"{deviation:.4g}")


def centre_of(centre: Tensor, state: Tensor, name: str) -> Tensor:
    """The condition that a belief is centred on, in the state's precision; InputError for another shape."""
    if centre.shape != state.shape:
        raise InputError(
            f"the condition {name!r}, on which the belief is centred, must be of the state's shape "
            f"{tuple(state.shape)}; seen {tuple(centre.shape)}"
        )
    return centre.to(state)


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
