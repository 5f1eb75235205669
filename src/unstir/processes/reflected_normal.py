r"""The reflected normal distribution: a normal variable folded into an interval as by mirrors at both ends.

With the width :math:`W`, unfolding an interval and its mirror image gives a circle of period :math:`2W`, and the
reflected normal about :math:`c` at :math:`x` is the wrapped normal of that period at :math:`x - c` and at
:math:`x + c`. Everything here is told relative to the lower end: places in [0, W].

Reference: Lou and Ermon, Reflected diffusion models (2023), section 4.2 (the method of images); Mardia and Jupp,
Directional statistics (2000), section 3.5.7, for the wrapped normal.
"""

import math

import torch
from torch import Tensor

from unstir.processes import wrapped_normal

_NARROW = 0.6  # of the width: to here the mean is summed over mirrors, from here over Fourier modes
_MIRRORS = 7  # on either side: nine deviations and more, at the widest
_IMAGES = 5  # on either side
_MODES = 5
_ODD = 2 * torch.arange(6, dtype=torch.float64) + 1  # exp(-(11 * 0.6 * pi)^2 / 2) is 1e-93


def fold(y: Tensor, width: Tensor | float) -> Tensor:
    """A place on the line in the interval [0, width], as mirrors at both ends show it."""
    width = torch.as_tensor(width, dtype=y.dtype, device=y.device)
    turned = wrapped_normal.wrap(y, 2 * width)
    return torch.minimum(turned, 2 * width - turned)


def log_density(x: Tensor, centre: Tensor, deviation: Tensor, width: Tensor | float) -> Tensor:
    """The log-density at ``x`` of a normal about ``centre`` reflected at both ends, in nats; float64, differentiable.

    ``deviation`` broadcasts and may be infinite (uniform).
    """
    x, centre = x.double(), centre.double()
    return torch.logaddexp(
        wrapped_normal.log_density(x - centre, deviation, 2 * width),
        wrapped_normal.log_density(x + centre, deviation, 2 * width),
    )


def score(x: Tensor, centre: Tensor, deviation: Tensor, width: Tensor | float) -> Tensor:
    r"""The derivative of ``log_density`` in ``x``, with full relative precision at every deviation and place.

    Places are told from the nearer end, where the score vanishes. With the images :math:`a = c + 2kW` it is
    :math:`(\sum_a w_a a\tanh(xa/\rho^2) - x)/\rho^2`, weights in proportion to
    :math:`e^{-a^2/2\rho^2}\cosh(xa/\rho^2)`, where the normal is narrow; where it is wide, a Fourier series.
    """
    width = torch.as_tensor(width, dtype=torch.float64, device=x.device)
    x, c = x.double() / width, centre.double() / width
    rho = deviation.to(device=x.device, dtype=torch.float64) / width
    far = x > 0.5
    x, c = torch.where(far, 1 - x, x)[..., None], torch.where(far, 1 - c, c)[..., None]
    variance = rho.clamp(1e-150, 2 * wrapped_normal.SELF_DUAL).square()[..., None]
    images = c + 2 * torch.arange(-_IMAGES, _IMAGES + 1, device=x.device)
    size = images.abs()
    logs = -(size - x).square() / (2 * variance) + torch.log1p((-2 * x * size / variance).exp())
    direct = ((logs.softmax(-1) * size * (x * size / variance).tanh()).sum(-1) - x[..., 0]) / variance[..., 0]
    order = math.pi * torch.arange(1, _MODES + 1, device=x.device, dtype=torch.float64)
    factors = 2 * (-(rho.clamp(min=2 * wrapped_normal.SELF_DUAL)[..., None] * order).square() / 2).exp()
    factors = factors * (order * c).cos()
    series = -(factors * order * (order * x).sin()).sum(-1) / (1 + (factors * (order * x).cos()).sum(-1))
    slope = torch.where(rho < 2 * wrapped_normal.SELF_DUAL, direct, series) / width
    return torch.where(far, -slope, slope)


def mean(centre: Tensor, deviation: Tensor, width: Tensor | float) -> Tensor:
    r"""The mean of a normal about ``centre`` (any place on the line) reflected at both ends, float64.

    Folding is a triangular wave. Where the normal is narrow it is taken as a sum of kinks,
    :math:`\sum_k (-1)^k |y - kW|`, whose means are elementary; where it is wide, as its Fourier series.
    """
    width = torch.as_tensor(width, dtype=torch.float64, device=centre.device)
    c = fold(centre.double(), width) / width
    rho = deviation.to(device=c.device, dtype=torch.float64) / width
    narrow = rho.clamp(1e-150, _NARROW)[..., None]
    kinks = torch.arange(-_MIRRORS, _MIRRORS + 1, device=c.device)
    signs = 1.0 - 2.0 * (kinks % 2)
    away = c[..., None] - kinks
    bent = (
        away * torch.special.erf(away / (math.sqrt(2) * narrow))
        + narrow * math.sqrt(2 / math.pi) * (-(away / narrow).square() / 2).exp()
    )
    direct = (signs * bent).sum(-1) - (signs * kinks.abs()).sum()
    odd = _ODD.to(c.device)
    shrunk = (-(math.pi * odd * rho.clamp(min=_NARROW)[..., None]).square() / 2).exp()
    modes = shrunk * (math.pi * odd * c[..., None]).cos()
    series = 0.5 - 4 / math.pi**2 * (modes / odd.square()).sum(-1)
    return torch.where(rho < _NARROW, direct, series) * width


def largest_deviation_from_uniform(deviation: Tensor, width: Tensor | float) -> Tensor:
    """sup over x and centre of abs(width * density - 1); it is met at the ends."""
    return wrapped_normal.largest_deviation_from_uniform(deviation, 2 * width)


def product(
    first: Tensor, first_deviation: Tensor, second: Tensor, second_deviation: Tensor, width: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    """The law in proportion to the product of two reflected normal densities, before it is folded.

    It is a mixture over the mirror images of ``second``. Returns log-shares (..., k), centres (..., k), on the line,
    and the one deviation (...); a draw of that mixture, folded, has the law.
    """
    parts = [
        wrapped_normal.product(first, first_deviation, image, second_deviation, 2 * width)
        for image in (second, -second)
    ]
    # of an infinite deviation any finite one that counts as uniform does as well: their squares are added
    widest = 10 * torch.as_tensor(width, dtype=torch.float64, device=first.device)
    total = torch.hypot(
        *(
            torch.minimum(deviation.to(device=first.device, dtype=torch.float64), widest)
            for deviation in (first_deviation, second_deviation)
        )
    )
    weights = [
        wrapped_normal.log_density(image.double() - first.double(), total, 2 * width) for image in (second, -second)
    ]
    weighted = torch.stack(weights, -1).log_softmax(-1)
    shares = torch.cat([part[0] + weighted[..., index, None] for index, part in enumerate(parts)], -1)
    return shares, torch.cat([part[1] for part in parts], -1), parts[0][2]
