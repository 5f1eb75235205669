r"""Between a guess of clean data and a measurement of it: the law :math:`N(x;c,w^2)\,p(y|x)/Z`, its peak and its draws.

Linear maps with normal noise have both in closed form: along the singular directions of the operator where its
decomposition is known, else by conjugate gradients in the space of measured values, which never needs a matrix.
Everything else that can be differentiated goes by its gradients, sample by sample: steps uphill that no sample takes
unless it rises, and Langevin steps with Metropolis' test, whose size is found for each sample.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import expand
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.conjugate_gradients import conjugate_gradients
from unstir.inverse.operators.base import LinearOperator

_DENSE = 1024  # elements of a sample, up to which a matrix is decomposed where the operator knows no better way
_NOTHING = 1e-7  # of the largest singular value: below, nothing is measured
_ITERATIONS, _TOLERANCE = 100, 1e-7  # of conjugate gradients
_PROBES, _PROBE = 4, 1e-3  # of the slope's slope, and their length in units of the width
_ACCEPTED = 0.574  # the best share for Langevin steps with Metropolis' test


def positive(what: str, value: Any, whole: bool = False) -> None:
    """Refuses an option that is no finite positive number (a whole one)."""
    kinds = int if whole else float | int
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
        raise InputError(f"{what} is a positive {'whole ' if whole else ''}number; seen {value!r}")


def check_likelihood(measurement: Measurement, name: str) -> None:
    """Refuses an exact reading of what is no linear map: it has neither a closed form nor a likelihood."""
    if not measurement.linear_gaussian and getattr(measurement.noise, "deviation", 1.0) == 0:
        raise InputError(
            f"{name} needs a likelihood where the operator is not linear, and an exact reading has none; "
            "say a small deviation of the noise"
        )


def nearest(measurement: Measurement, centre: Tensor, width: Tensor | float, steps: int) -> Tensor:
    r"""The x where :math:`\log p(y|x) - |x-c|^2/(2w^2)` is largest; of the shape and dtype of the centre c.

    ``width`` w, () or (batch,), in the data's unit. ``steps`` uphill where there is no closed form.

    Reference: Parikh, Boyd, Proximal algorithms (2014), section 6.1.
    """
    c, w = centre.double(), _width(width, centre)
    if not measurement.linear_gaussian:
        return _uphill(_log_density(measurement, c, w), c, w, steps).to(centre.dtype)
    operator, noise = _linear(measurement)
    if not decomposable(operator):
        away = measurement.residual(c)
        return (c + _pulled(operator, away, w, noise)).to(centre.dtype)
    modes, gain, _ = _modes(measurement, c, w, False)
    return (c + operator.decomposition.modes_to_samples(gain * modes)).to(centre.dtype)


def drawn(
    measurement: Measurement, centre: Tensor, width: Tensor | float, seeds: Seeds, steps: int, spared: bool = False
) -> Tensor:
    r"""A draw from the law in proportion to :math:`N(x;c,w^2)\,p(y|x)`, one a sample; exact in closed form.

    ``steps`` of Langevin where there is none, from a draw of N(c, w^2): what is not measured is then right from the
    start. With ``spared`` the noise along the singular value s has the variance :math:`\max(\tau^2-w^2s^2, 0)` in the
    place of :math:`\tau^2`, for those who take x for data to which noise of width w was added; asked for only where
    ``decomposable``.

    Reference: Orieux, Féron, Giovannelli, Sampling high-dimensional Gaussian distributions for general linear inverse
    problems (2012), section II, for draws by conjugate gradients; Roberts, Rosenthal, Optimal scaling of discrete
    approximations to Langevin diffusions (1998).
    """
    c, w = centre.double(), _width(width, centre)
    fresh = seeds.at("width").normal_like(c)
    if not measurement.linear_gaussian:
        log_density = _log_density(measurement, c, w)
        return _langevin(log_density, c + w * fresh, w, seeds, steps).to(centre.dtype)
    operator, noise = _linear(measurement)
    if not decomposable(operator):
        start = c + w * fresh
        away = measurement.residual(start)
        away = away + noise * seeds.at("reading").normal_like(away)
        return (start + _pulled(operator, away, w, noise)).to(centre.dtype)
    parts = operator.decomposition
    modes, gain, left = _modes(measurement, c, w, spared)
    moved = gain * modes + left.sqrt() * parts.samples_to_modes(fresh)
    return (c + parts.modes_to_samples(moved)).to(centre.dtype)


def decomposable(operator: LinearOperator) -> bool:
    """Whether the singular directions are at hand: the operator knows them, or a sample is small."""
    knows = type(operator).decomposition is not LinearOperator.decomposition
    return knows or math.prod(operator.shape) <= _DENSE


def largest_value(operator: LinearOperator) -> float:
    """The largest singular value; by thirty power iterations, a bound from below, where they are not at hand."""
    if decomposable(operator):
        return float(operator.decomposition.values.max())
    vector = Seeds.range(0, 1).at("largest singular value").normal(operator.shape, torch.float64)
    size = vector.norm()
    for _ in range(30):
        vector = operator.adjoint(operator(vector / size))
        size = vector.norm()
    return float(size.sqrt())


def _width(width: Tensor | float, like: Tensor) -> Tensor:
    return expand(torch.as_tensor(width, dtype=torch.float64), like.double())


def _rows(flags: Tensor, like: Tensor) -> Tensor:
    """Flags (batch,) in the shape (batch, 1, ...)."""
    return flags.reshape(-1, *(1,) * (like.ndim - 1))


def _linear(measurement: Measurement) -> tuple[LinearOperator, float]:
    operator: Any = measurement.operator
    return operator, float(measurement.noise.deviation)  # type: ignore[attr-defined]


def _modes(measurement: Measurement, centre: Tensor, width: Tensor, spared: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Along the singular directions: how far the centre is from the reading, the gain, and the variance left.

    The first is s (u - s z), with which the gain w^2/(w^2 s^2 + noise^2) has no quotient that could overflow.
    """
    operator, noise = _linear(measurement)
    parts = operator.decomposition
    told = parts.values.to(centre.device)
    values = centre.new_zeros(math.prod(operator.shape))
    values[: len(told)] = torch.where(told > told.max() * _NOTHING, told, 0.0)
    read = torch.zeros_like(values)
    reading = parts.measured_to_modes(measurement.reading.to(centre)[None])[0, : len(told)]
    read[: len(told)] = reading
    square = width.reshape(-1, 1).square()
    variance = torch.full_like(values, noise**2) - (square * values.square() if spared else 0.0)
    variance = variance.clamp(min=0)
    total = square * values.square() + variance
    seen = (total > 0) & (values > 0)
    gain = torch.where(seen, square / torch.where(seen, total, 1.0), 0.0)
    left = torch.where(seen, square * variance / torch.where(seen, total, 1.0), square)
    away = values * (read - values * parts.samples_to_modes(centre))
    return away, gain, left


def _pulled(operator: LinearOperator, away: Tensor, width: Tensor, noise: float) -> Tensor:
    """w^2 A^T (w^2 A A^T + noise^2)^-1 r."""
    square = width.square() if width.ndim == 0 else width.reshape(-1, *(1,) * (away.ndim - 1)).square()
    # in units of w^2: the residual's size then says when to stop, whatever the widths
    found = conjugate_gradients(
        lambda v: operator(operator.adjoint(v)) + noise**2 / square * v, away, _ITERATIONS, _TOLERANCE
    )
    return operator.adjoint(found)


_LogDensity = Callable[[Tensor], tuple[Tensor, Tensor]]


def _log_density(measurement: Measurement, centre: Tensor, width: Tensor) -> _LogDensity:
    """The logarithm of the law (batch,), up to a constant, and its slope; impossible states have minus infinity."""

    def at(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            given = x.detach().requires_grad_()
            value = measurement.log_likelihood(given)
            value = value - ((given - centre) / width).flatten(1).square().sum(1) / 2
            (slope,) = torch.autograd.grad(value.sum(), given)
        value = torch.nan_to_num(value.detach(), nan=-math.inf, posinf=-math.inf, neginf=-math.inf)
        return value, torch.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)

    return at


def _curvature(at: _LogDensity, x: Tensor, slope: Tensor, width: Tensor) -> Tensor:
    """About the largest curvature of each sample, (batch,), by power iterations with differences of slopes."""
    direction, length = slope, _PROBE * width
    least = width.expand(len(x), *(1,) * (x.ndim - 1)).flatten().square().reciprocal()
    found = least
    for _ in range(_PROBES):
        size = direction.flatten(1).norm(dim=1)
        unit = torch.where(expand(size, x) > 0, direction / expand(size, x), 1 / math.sqrt(x[0].numel()))
        direction = (at(x + length * unit)[1] - slope) / length
        found = torch.maximum(found, direction.flatten(1).norm(dim=1))
    return found


def _uphill(at: _LogDensity, x: Tensor, width: Tensor, steps: int) -> Tensor:
    """Gradient steps of each sample's own size, taken where they rise, halved where they do not."""
    value, slope = at(x)
    size = _curvature(at, x, slope, width).reciprocal()
    for _ in range(steps):
        tried = x + expand(size, x) * slope
        there, slope_there = at(tried)
        rises = (there >= value) & there.isfinite()
        x, slope = (torch.where(_rows(rises, x), *pair) for pair in ((tried, x), (slope_there, slope)))
        value = torch.where(rises, there, value)
        size = size * torch.where(rises, 1.2, 0.5)
    return x


def _langevin(at: _LogDensity, x: Tensor, width: Tensor, seeds: Seeds, steps: int) -> Tensor:
    """Langevin steps with Metropolis' test; their size follows each sample's own acceptance, ever less."""
    value, slope = at(x)
    log_size = -_curvature(at, x, slope, width).log()
    most = 2 * width.expand(len(x), *(1,) * (x.ndim - 1)).flatten().log()  # a draw that forgets where it was
    for number in range(steps):
        address = seeds.at("langevin", number)
        size = expand(log_size.exp(), x)
        noise = address.at("move").normal_like(x)
        tried = x + size * slope + (2 * size).sqrt() * noise
        there, slope_there = at(tried)
        back = (x - tried - size * slope_there).flatten(1).square().sum(1) / (4 * log_size.exp())
        ratio = there - value - back + noise.flatten(1).square().sum(1) / 2
        # from where the measurement is impossible the prior alone leads, until it is possible
        ratio = torch.where(value.isinf(), 0.0, torch.nan_to_num(ratio, nan=-math.inf, neginf=-math.inf))
        chance = ratio.clamp(max=0).exp()
        taken = address.at("test").uniform().to(x.device) < chance
        x, slope = (torch.where(_rows(taken, x), *pair) for pair in ((tried, x), (slope_there, slope)))
        value = torch.where(taken, there, value)
        told = torch.where(value.isinf(), 0.0, chance - _ACCEPTED)
        log_size = torch.minimum(log_size + 2 * told / math.sqrt(1 + number), most)
    return x
