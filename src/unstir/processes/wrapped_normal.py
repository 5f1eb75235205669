r"""The wrapped normal distribution: a normal variable modulo a period.

In units of the period, with the distance :math:`d` from the centre and the deviation :math:`\rho`, its density is

.. math::
    f(d) = \sum_k \frac{e^{-(d+k)^2/2\rho^2}}{\sqrt{2\pi}\rho} = 1 + 2\sum_{k\ge1} e^{-2\pi^2\rho^2k^2}\cos 2\pi k d.

The two sums are Jacobi's theta function before and after his imaginary transformation. The first converges fast
where the normal is narrow, the second where it is wide; at :math:`\rho^2 = 1/2\pi`, where they do equally well,
nine terms of the one and four of the other reach the precision of float64.

Reference: Mardia and Jupp, Directional statistics (2000), section 3.5.7.
"""

import math

import torch
from torch import Tensor

SELF_DUAL = 1 / math.sqrt(2 * math.pi)
_NARROWEST = 1e-150  # periods: what is narrower counts as this wide, so that points have a density
_DIRECT_TERMS = 4  # windings on either side
_FOURIER_TERMS = 4
UNIFORM = 1.5  # periods: from this deviation on the density is uniform to 1e-19
_WINDINGS = 18  # of a deviation of sqrt(2) UNIFORM, on either side, reach beyond eight deviations


def wrap(x: Tensor, period: Tensor | float) -> Tensor:
    """``x`` modulo the period, in [0, period)."""
    period = torch.as_tensor(period, device=x.device).to(x.dtype)
    wrapped = torch.remainder(x, period)
    return torch.where(wrapped >= period, torch.zeros_like(wrapped), wrapped)  # rounding may reach the period


def shortest(x: Tensor, period: Tensor | float) -> Tensor:
    """The shortest signed distance that ``x`` stands for, in [-period/2, period/2]; its derivative is one."""
    return x - torch.round(x.detach() / period) * period


def log_density(distance: Tensor, deviation: Tensor, period: Tensor | float = 1.0) -> Tensor:
    """The log-density at a distance from the centre, in nats; distances and deviation in the period's unit.

    ``deviation`` broadcasts against ``distance`` and may be infinite (uniform). Differentiable; float64.
    """
    d, rho = _in_periods(distance, deviation, period)
    narrow = _direct(d, rho)[0] - rho.clamp(_NARROWEST, SELF_DUAL).log() - math.log(2 * math.pi) / 2
    wide = torch.log1p(_fourier(d, rho)[0])
    return torch.where(rho < SELF_DUAL, narrow, wide) - torch.as_tensor(period, dtype=d.dtype, device=d.device).log()


def score(distance: Tensor, deviation: Tensor, period: Tensor | float = 1.0) -> Tensor:
    """The derivative of ``log_density`` in the distance, with full relative precision at every deviation."""
    d, rho = _in_periods(distance, deviation, period)
    narrow = _direct(d, rho)[1]
    series, slope = _fourier(d, rho)
    return torch.where(rho < SELF_DUAL, narrow, slope / (1 + series)) / period


def largest_deviation_from_uniform(deviation: Tensor, period: Tensor | float = 1.0) -> Tensor:
    """sup over x of abs(period * density - 1): how far the law still is from uniform."""
    rho = (torch.as_tensor(deviation, dtype=torch.float64) / period).to(torch.float64)
    peak = log_density(torch.zeros_like(rho), rho)
    return torch.where(rho < SELF_DUAL, torch.expm1(peak), _fourier(torch.zeros_like(rho), rho)[0])


def _in_periods(distance: Tensor, deviation: Tensor, period: Tensor | float) -> tuple[Tensor, Tensor]:
    d = distance.double() / period
    rho = deviation.to(device=d.device, dtype=torch.float64) / period
    return shortest(d, 1.0), rho


def _direct(d: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    """The logarithm of the first sum without its factor, and its derivative."""
    variance = rho.clamp(_NARROWEST, SELF_DUAL).square()[..., None]
    away = d[..., None] + torch.arange(-_DIRECT_TERMS, _DIRECT_TERMS + 1, device=d.device)
    logs = -away.square() / (2 * variance)
    return torch.logsumexp(logs, -1), -(logs.softmax(-1) * away / variance).sum(-1)


def _fourier(d: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
    """The second sum less one, and its derivative."""
    order = torch.arange(1, _FOURIER_TERMS + 1, device=d.device, dtype=torch.float64)
    factors = 2 * (-2 * (math.pi * rho.clamp(min=SELF_DUAL)[..., None] * order).square()).exp()
    angle = 2 * math.pi * d[..., None] * order
    return (factors * angle.cos()).sum(-1), -(2 * math.pi * order * factors * angle.sin()).sum(-1)


def product(
    first: Tensor, first_deviation: Tensor, second: Tensor, second_deviation: Tensor, period: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The law in proportion to the product of two wrapped normal densities: a mixture over windings.

    With :math:`y \sim WN(a, v)` and :math:`b = y + \sqrt{w}\,\epsilon` on the circle, the distance from a to b was
    :math:`b - a + kP` with weight :math:`e^{-(b-a+kP)^2/2(v+w)}`, and given k, y is normal as on the line. Returns
    the log-shares of the windings (..., k), their centres (..., k) in units of the data, and the one deviation
    (...). A factor wider than ``UNIFORM`` periods counts as uniform, which is exact to 1e-19.
    """
    a, b = first.double(), second.double()
    period = torch.as_tensor(period, dtype=torch.float64, device=a.device)
    v, w = (
        (deviation.to(device=a.device, dtype=torch.float64) / period).clamp(max=UNIFORM).square()
        for deviation in (first_deviation, second_deviation)
    )
    total = (v + w).clamp(min=1e-300)
    free, blind = v >= UNIFORM**2, w >= UNIFORM**2
    gain = torch.where(blind, 0.0, torch.where(free, 1.0, v / total))
    variance = torch.where(blind, v, torch.where(free, w, v * w / total))
    windings = torch.arange(-_WINDINGS, _WINDINGS + 1, device=a.device, dtype=torch.float64)
    distance = shortest((b - a) / period, 1.0)[..., None] + windings
    logs = (-distance.square() / (2 * total[..., None])).log_softmax(-1)
    centres = a[..., None] + gain[..., None] * distance * period[..., None]
    shape = torch.broadcast_shapes(a.shape, b.shape, total.shape)
    return (
        logs.expand(*shape, len(windings)),
        centres.expand(*shape, len(windings)),
        (variance.sqrt() * period).expand(shape),
    )
