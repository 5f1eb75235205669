r"""The isotropic Gaussian on the rotations, IGSO(3): the heat kernel of SO(3), at all noise levels.

It is the law at time :math:`\sigma^2` of Brownian motion with the generator :math:`\tfrac12\Delta`, in the metric in
which a rotation's length is its angle in radians: for small :math:`\sigma` the rotation vector is
:math:`N(0, \sigma^2 I_3)`. Densities refer to Haar measure of total mass one, so that the uniform law has the density
one, and depend on the angle :math:`\omega \in [0, \pi]` alone, which has the density
:math:`f(\omega)(1-\cos\omega)/\pi`:

.. math::
    f(\omega) = \sum_{l\ge0} (2l+1) e^{-l(l+1)\sigma^2/2} \frac{\sin(l+\frac12)\omega}{\sin\frac\omega2}
    = \frac{\sqrt{2\pi}\,e^{\sigma^2/8}}{\sigma^3 \sin\frac\omega2} \sum_k (-1)^k (\omega-2\pi k)
    e^{-(\omega-2\pi k)^2/2\sigma^2}.

The second sum is the Poisson sum of the first; it converges fast where the law is narrow, and has full relative
precision in the far tail as well. From a deviation of 1.5 on the first is taken, in which the score at both ends of the
angle keeps its digits: it is a sum of sines, and cancels nothing.

Reference: Nikolayev, Savyolov, Normal distribution on the rotation group SO(3) (1997); Leach, Schmon, Degiacomi,
Willcocks, Denoising diffusion probabilistic models on SO(3) for rotational alignment (2022).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

WIDE = 1.5  # radians: from here on the first sum is taken
UNIFORM = 10.0  # radians: from this deviation on the density is uniform to 1e-42
_NARROWEST = 1e-150  # what is narrower counts as this wide, so that points have a density
_WINDINGS = 2
_DEGREES = 6
_TINY = 1e-100


def log_density(angle: Tensor, deviation: Tensor) -> Tensor:
    """log f in nats at an angle from the centre; the deviation, in radians, broadcasts and may be infinite.

    Float64 and differentiable in both.
    """
    omega, sigma = angle.double().clamp(max=math.pi), deviation.to(angle.device).double()
    if bool((sigma >= WIDE).all()):  # half of the work, and the same to the bit
        return (1 + _sum(_cosines(sigma), omega, torch.cos)).log()
    narrow = sigma.clamp(_NARROWEST, WIDE)
    direct = (
        narrow.square() / 8
        + math.log(2 * math.sqrt(2 * math.pi))
        - 3 * narrow.log()
        - log_sinc_half(omega)
        - (omega / narrow).square() / 2
        + windings(omega, narrow).log()
    )
    if bool((sigma < WIDE).all()):
        return direct
    return torch.where(sigma < WIDE, direct, (1 + _sum(_cosines(sigma), omega, torch.cos)).log())


def score(angle: Tensor, deviation: Tensor) -> Tensor:
    """The derivative of ``log_density`` in the angle, with full relative precision at every deviation."""
    omega, sigma = torch.broadcast_tensors(angle.double().clamp(max=math.pi), deviation.to(angle.device).double())
    narrow = sigma.clamp(_NARROWEST, WIDE)
    direct = -omega / narrow.square() + _inverse_less_half_cotangent(omega) + _windings_slope(omega, narrow)
    orders = torch.arange(_DEGREES + 1, device=omega.device, dtype=torch.float64)
    factors = _cosines(sigma)
    series = -_sum(factors * orders, omega, torch.sin) / (1 + _sum(factors, omega, torch.cos))
    return torch.where(sigma < WIDE, direct, series)


def largest_deviation_from_uniform(deviation: Tensor | float) -> Tensor:
    """sup over rotations of abs(f - 1), which is at no angle: how far the law still is from uniform."""
    sigma = torch.as_tensor(deviation, dtype=torch.float64)
    peak = torch.expm1(log_density(torch.zeros_like(sigma), sigma))
    return torch.where(sigma < WIDE, peak, _sum(_cosines(sigma), torch.zeros_like(sigma), torch.cos))


def windings(angle: Tensor, deviation: Tensor) -> Tensor:
    r"""The second sum over its leading term :math:`\omega e^{-\omega^2/2\sigma^2}`, for sigma up to ``WIDE``.

    It is one but for windings round the group: 2 at the angle pi for narrow laws.
    """
    omega = angle.clamp(min=_TINY)
    variance = deviation.square()
    total = torch.ones_like(omega * variance)
    for k in range(1, _WINDINGS + 1):
        near = (-2 * math.pi * k * (math.pi * k - omega) / variance).exp()
        beyond = -torch.expm1(-4 * math.pi * k * omega / variance)  # 1 - far/near
        total = total + (-1) ** k * near * ((2 - beyond) - 2 * math.pi * k * (beyond / omega))
    return total


def log_far_share(angle: Tensor, deviation: Tensor) -> Tensor:
    r"""log of :math:`(2\pi-\omega)e^{-(2\pi-\omega)^2/2\sigma^2}` over the leading term, angles in (0, 2 pi)."""
    return ((2 * math.pi - angle) / angle).log() - 2 * math.pi * (math.pi - angle) / deviation.square()


def log_sinc_half(angle: Tensor) -> Tensor:
    """log of sin(w/2)/(w/2)."""
    half = angle.clamp(min=1e-6) / 2
    return torch.where(angle < 1e-5, -angle.square() / 24, (half.sin() / half).log())


def _cosines(sigma: Tensor) -> Tensor:
    """f = 1 + sum_m c_m cos(m w): the c_0 - 1, c_1, ... (..., degrees + 1)."""
    degree = torch.arange(1, _DEGREES + 1, device=sigma.device, dtype=torch.float64)
    wide = sigma.clamp(WIDE, UNIFORM)[..., None]
    terms = (2 * degree + 1) * (-degree * (degree + 1) * wide.square() / 2).exp()
    tails = terms.flip(-1).cumsum(-1).flip(-1)  # over l >= m
    return torch.cat((tails[..., :1], 2 * tails), -1)


def _sum(factors: Tensor, angle: Tensor, wave: Callable[[Tensor], Tensor]) -> Tensor:
    orders = torch.arange(factors.shape[-1], device=angle.device, dtype=torch.float64)
    return (factors * wave(orders * angle[..., None])).sum(-1)


def _inverse_less_half_cotangent(omega: Tensor) -> Tensor:
    """1/w - cot(w/2)/2, the slope of -log sinc."""
    safe = omega.clamp(min=0.1)
    # the Bernoulli numbers' series; its first omitted term is below 1e-17 of the first at 0.1
    square = omega.square()
    series = omega / 12 * (1 + square / 60 * (1 + square / 42 * (1 + square / 40 * (1 + square / 39.6))))
    return torch.where(omega < 0.1, series, 1 / safe - 0.5 / (safe / 2).tan())


def _windings_slope(omega: Tensor, sigma: Tensor) -> Tensor:
    """The derivative of the logarithm of ``windings``."""
    variance = sigma.square()
    total = torch.zeros_like(omega)
    for k in range(1, _WINDINGS + 1):
        rate = 2 * math.pi * k / variance
        x = rate * omega
        near = (-rate * (math.pi * k - omega)).exp()
        far = (-rate * (math.pi * k + omega)).exp()
        small = x.clamp(max=1.0)
        factorial, series = 1.0, torch.zeros_like(x)
        for n in range(1, 10):  # of (x cosh x - sinh x)/x^3
            factorial *= 2 * n * (2 * n + 1)
            series = series + 2 * n * small.square() ** (n - 1) / factorial
        plain = (near * (x - 1) + far * (x + 1)) / 2 / omega.clamp(min=_TINY).square()
        close = rate.square() * small * series * (-math.pi * k * rate).exp()
        twist = torch.where(x < 1, torch.nan_to_num(close, nan=0.0), plain)
        total = total + (-1) ** k * (rate * near * -torch.expm1(-2 * x) - 4 * math.pi * k * twist)
    return total / windings(omega, sigma)
