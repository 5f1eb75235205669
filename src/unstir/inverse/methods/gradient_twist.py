"""The twist of Gaussian processes: a guess by the belief's mean and width, and a proposal along its gradient."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.denoisers.variances import VarianceTable, linear_variance, variance_of
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.twists import Seen, Twist, tempered
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.base import LinearOperator

_NOISY = 5.0  # deviations of the data: above, a trained network's slope is mostly error


@dataclass(frozen=True)
class Pulled(Seen):
    """``variance`` of the belief, float64 () or of the state's shape; ``pull``, how its mean moves given y."""

    variance: Tensor
    pull: Tensor
    wide: bool  # whether the belief has a width of its own

    def take(self, rows: Tensor) -> "Pulled":
        variance = self.variance[rows] if self.variance.ndim else self.variance
        return Pulled(self.mean[rows], self.log_twist[rows], variance, self.pull[rows], self.wide)


@dataclass(frozen=True)
class GradientTwist(Twist):
    r"""Gaussian processes: the twist's gradient pulls the proposal.

    The model's transition is :math:`N(kx_t + p\hat x_0, V)`, :math:`V = b^2 + p^2v`, with the bridge's k, p, b and v
    the belief's ``variance``: its ``own``; by the ``table``; ``tweedie``, the trace of :math:`\frac{\sigma^2}{\alpha}\,
    \partial\hat x_0/\partial x_t` over the elements, unbiased by one probe; or ``linear``, that of normal data. The
    proposal has the mean of the belief moved to :math:`\hat x_0 + \frac{\sigma^2}{\alpha}\nabla_{x_t}\log\psi_t`,
    Tweedie's formula given y, and the same variance.

    Under normal noise :math:`\psi_t = N(y; A\hat x_0, \Sigma + C_y)`. Up to ``rows`` measured values :math:`C_y` is
    Tweedie's covariance, :math:`\frac{\sigma^2}{\alpha}\,\partial(A\hat x_0)/\partial x_t\,A^T` (A linearised where it
    is not linear), one backward pass a value. That is exact for Gaussian data; but the slope of a network is multiplied
    by the noise's variance, and its error too. So no variance is taken below :math:`(1-\beta_t)` times that of normal
    data, and where the noise r, in units of the data's deviation, is far above 5, the twist counts for little, as its
    power :math:`1/(1+(r/5)^4)`. More values of a linear operator take :math:`vAA^T`, v that of normal data if the
    belief has none; all else is :math:`\beta_t\log G(\hat x_0)`.

    Reference: Wu et al. (2023), as above, section 3.2; Boys et al., Tweedie moment projected diffusions for inverse
    problems (2023), eq. 8, for the covariance; Hutchinson, A stochastic estimator of the trace (1990), for the probe.
    """

    variance: str = "auto"
    table: VarianceTable | None = None
    rows: int = 8

    def look(self, denoiser: Denoiser, x: Tensor, t: Tensor, seeds: Seeds, mask: Tensor | None) -> Pulled:
        process = denoiser.process
        project = getattr(process, "project", apply_mask)
        alpha, sigma = float(process.schedule.alpha(t)), float(process.schedule.sigma(t))
        tweedie = sigma**2 / alpha if alpha > 0 else 0.0
        with torch.enable_grad():
            given = x.detach().requires_grad_()
            belief = denoiser(given, t)
            kind = self._kind(belief, alpha)
            wide = kind in ("own", "table")
            if kind == "tweedie":
                probe = project(seeds.at("probe").normal_like(x).sign(), mask)
                (slope,) = torch.autograd.grad((belief.mean * probe).sum(), given, retain_graph=True)
                variance = tweedie * (slope.double() * probe).flatten(1).sum(1) / _freedom(process, x, mask)
                variance = expand(variance, x.double())
            else:
                variance = self._variance(kind, process, belief, t, mask)
            if alpha == 0:
                log_twist, gradient = torch.zeros(len(x), dtype=torch.float64, device=x.device), torch.zeros_like(x)
            else:
                log_twist, gradient = self._twist(given, belief.mean, tweedie, variance, wide, process, t)
        pull = project((gradient * tweedie).detach(), mask)
        return Pulled(belief.mean.detach(), log_twist.detach(), variance.detach(), pull, wide)

    def propose(
        self, process: Any, x: Tensor, seen: Pulled, t: Tensor, s: Tensor, seeds: Seeds, mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        kept, pulled, deviation = (float(value) for value in process.bridge_coefficients(t, s))
        centre = kept * x + pulled * seen.mean
        if s == 0 and not seen.wide:  # as DDPM lands: on the mean
            return centre, torch.zeros(len(x), dtype=torch.float64, device=x.device)
        # one probe may tell of a negative variance, which is kept for the sake of the mean, while the sum has a width
        width = (deviation**2 + pulled**2 * seen.variance).clamp(min=deviation**2 / 2).sqrt().expand(x.shape)
        noise = process.project(seeds.normal_like(x), mask)
        # in units of the width: what has none does not move
        moved = torch.where(width > 0, pulled * seen.pull.double() / width, 0.0)
        ratio = -(noise.double() * moved + moved.square() / 2).flatten(1).sum(1)
        return centre + width.to(x.dtype) * noise + (width * moved).to(x.dtype), ratio

    def _kind(self, belief: Posterior, alpha: float) -> str:
        kind = self.variance
        if kind == "auto":
            own = "own" if isinstance(getattr(belief, "variance", None), Tensor) else "tweedie"
            kind = own if self.table is None else "table"
        # where nothing is left of the data, the mean has no slope to ask
        return "linear" if kind == "tweedie" and alpha == 0 else kind

    def _variance(self, kind: str, process: Any, belief: Any, t: Tensor, mask: Tensor | None) -> Tensor:
        """The belief's variance, float64, () or (batch, ...)."""
        log_snr = process.schedule.log_snr(t)
        if kind == "linear":
            return linear_variance(log_snr, self.deviation).to(belief.mean.device)
        if kind == "table" and self.table is not None:
            self.table.check_shape(belief.mean)
            found = self.table(log_snr).to(belief.mean.device)
            return found.expand(belief.mean.shape) if found.ndim else found
        variance = variance_of(belief).double()
        if process.space == "centred":  # one variance for all directions of the subspace
            variance = expand(variance.flatten(1).sum(1) / _freedom(process, variance, mask), variance)
        return variance

    def _twist(
        self, x: Tensor, mean: Tensor, tweedie: float, variance: Tensor, wide: bool, process: Any, t: Tensor
    ) -> tuple[Tensor, Tensor]:
        """log psi (batch,) and its gradient in x, in which covariances are held fixed."""
        measurement, differentiable = self.potential.measurement, self.potential.differentiable
        if measurement is not None and isinstance(measurement.noise, GaussianNoise) and differentiable:
            if math.prod(measurement.operator.measured_shape) <= self.rows:
                least = (1 - self.share(process, t)) * float(
                    linear_variance(process.schedule.log_snr(t), self.deviation)
                )
                log_twist, gradient = _moments(x, mean, measurement, measurement.noise.deviation, tweedie, least)
                return self._trust(process, t) * log_twist, gradient
            if isinstance(measurement.operator, LinearOperator):
                if not wide:  # one probe varies too much to be a width
                    variance = linear_variance(process.schedule.log_snr(t), self.deviation).to(mean.device)
                own = variance.flatten(1).mean(1) if variance.ndim else variance.expand(len(x))
                log_twist = _spread(mean, measurement.operator, measurement, measurement.noise.deviation, own)
                return log_twist, _gradient(log_twist, x)
        log_twist = tempered(self.share(process, t), self.potential(mean))
        return log_twist, _gradient(log_twist, x) if differentiable else torch.zeros_like(x)

    def _trust(self, process: Any, t: Tensor) -> float:
        """The power of a twist that rests on a slope."""
        share = self.share(process, t)
        return share**2 / (share**2 + ((1 - share) / _NOISY**2) ** 2)


def _freedom(process: Any, x: Tensor, mask: Tensor | None) -> Tensor:
    """The dimensions that each sample moves in, float64 (batch,)."""
    if hasattr(process, "dimensions"):
        return process.dimensions(x, mask).clamp(min=1)
    return apply_mask(torch.ones_like(x, dtype=torch.float64), mask).flatten(1).sum(1).clamp(min=1)


def _moments(
    x: Tensor, mean: Tensor, measurement: Measurement, noise: float, tweedie: float, least: float
) -> tuple[Tensor, Tensor]:
    """log N(y; A(mean), noise^2 + C_y) and its gradient, by one backward pass for each measured value."""
    told = measurement.operator(mean).flatten(1)
    slopes = torch.stack(
        [torch.autograd.grad(value.sum(), x, retain_graph=True)[0].flatten(1) for value in told.unbind(1)], 1
    ).double()
    at = mean.detach()
    if isinstance(measurement.operator, LinearOperator):
        units = torch.eye(told.shape[1], dtype=mean.dtype, device=mean.device)
        local = measurement.operator.adjoint(units.reshape(-1, *measurement.operator.measured_shape))
        local = local.flatten(1).double().expand(len(x), -1, -1)
    else:
        there = at.requires_grad_()
        values = measurement.operator(there).flatten(1).unbind(1)
        passes = [torch.autograd.grad(value.sum(), there, retain_graph=True)[0] for value in values]
        local = torch.stack([part.flatten(1) for part in passes], 1).double()
    spread = tweedie * slopes @ local.mT
    values, basis = torch.linalg.eigh((spread + spread.mT) / 2)
    # a network's slope may tell of variances too small, or negative
    values = torch.maximum(values, least * (basis.mT @ local).square().sum(2)) + noise**2
    reading = measurement.reading.flatten().to(told.device).double()
    away = ((reading - told.detach().double())[:, None] @ basis)[:, 0]
    log_twist = -(away.square() / values + (2 * math.pi * values).log()).sum(1) / 2
    solved = (basis @ (away / values)[..., None])[..., 0]
    gradient = (solved[:, None] @ slopes)[:, 0]
    return log_twist, gradient.reshape(x.shape).to(x.dtype)


def _spread(mean: Tensor, operator: LinearOperator, measurement: Measurement, noise: float, variance: Tensor) -> Tensor:
    """log N(y; A mean, noise^2 + v A A^T), differentiable in the mean; v (batch,)."""
    parts = operator.decomposition
    modes = parts.measured_to_modes(measurement.residual(mean).flatten(1).double())
    values = torch.zeros(modes.shape[1], dtype=torch.float64, device=modes.device)
    values[: len(parts.values)] = parts.values.to(values)
    widths = noise**2 + variance[:, None].to(values.device) * values.square()
    return -(modes.square() / widths + (2 * math.pi * widths).log()).sum(1) / 2


def _gradient(values: Tensor, x: Tensor) -> Tensor:
    if not values.requires_grad:
        raise InputError(
            "the log-potential must be differentiable in the clean data; what came back has no gradient: "
            "say so (differentiable=False), or take the proposal 'candidates'"
        )
    (gradient,) = torch.autograd.grad(values.sum(), x)
    return gradient
