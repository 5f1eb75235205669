r"""Exact draws of isotropic Gaussians on SO(3), and of the product of two of them: what lies between two rotations.

The product :math:`f_v(\omega)\,f_w(d)`, with the angles :math:`\omega` from the first centre and d from the second,
is drawn by rejection from one of two laws that lie above it everywhere. Five tries at most are needed on average,
whatever the deviations and however far from each other the centres are:

* where one factor is wide, or the centres lie as near as the noise: a draw of the narrower factor, kept with the
  chance f/f(0) of the wider;
* else in bipolar coordinates. Since dx is in proportion to :math:`\sin\frac\omega2\sin\frac d2\,d\omega\,dd`, both
  angles have the law :math:`h_v(\omega)h_w(d)` on :math:`|\omega-\Omega| < d < \omega+\Omega`, with
  :math:`h_v(\omega) = f_v(\omega)\sin\frac\omega2` the alternating sum of :math:`x e^{-x^2/2v}` over
  :math:`x = \omega - 2\pi k`. Its first two terms are the same law in flat space, by way of either side of the group:
  :math:`\omega` is drawn as the length of a normal vector, d by inverting its Rayleigh law.

All draws are addressed: try k of a sample is always the same.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from unstir.core.errors import NonFiniteError
from unstir.core.seeds import Seeds
from unstir.processes import quaternions
from unstir.processes.isotropic_gaussian import UNIFORM, WIDE, log_density, log_far_share, log_sinc_half, windings

_MOST_TRIES = 2_000  # a chance of acceptance of a fifth fails that often once in 10^190
_TURN = 2 * math.pi
Propose = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def draw(centre: Tensor, deviation: Tensor, seeds: Seeds) -> Tensor:
    """Draws of the isotropic Gaussian about unit quaternions (batch, ..., 4); the deviation broadcasts."""
    return draw_product(centre, deviation, centre, torch.full_like(deviation, torch.inf), seeds)


def draw_product(
    first: Tensor, first_deviation: Tensor, second: Tensor, second_deviation: Tensor, seeds: Seeds
) -> Tensor:
    """Draws in proportion to the product of two isotropic Gaussians, as unit quaternions (batch, ..., 4).

    Centres are unit quaternions (batch, ..., 4), deviations broadcast to (batch, ...), zero for a point (of two points
    the first is taken) and infinite for uniform. What is not finite comes back as NaN.
    """
    elements = torch.broadcast_shapes(first.shape[:-1], second.shape[:-1], first_deviation.shape)
    a, b = (centre.double().expand(*elements, 4).reshape(-1, 4) for centre in (first, second))
    v, w = (
        deviation.to(a.device).double().expand(elements).reshape(-1)
        for deviation in (first_deviation, second_deviation)
    )
    known = torch.where((v == 0)[:, None], a, b)
    lost = ~((a.sum(1) + b.sum(1)).isfinite() & (v >= 0) & (w >= 0))
    known = torch.where(lost[:, None], torch.nan, known)
    v, w = v.clamp(max=UNIFORM), w.clamp(max=UNIFORM)

    def propose(chosen: Tensor, normals: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        return _try(a[chosen], v[chosen], b[chosen], w[chosen], normals, uniforms)

    shape = (elements[0], math.prod(elements[1:]))
    pending = ((v > 0) & (w > 0) & ~lost).reshape(shape)
    return until_accepted(propose, known.reshape(*shape, 4), pending, seeds).reshape(*elements, 4)


def until_accepted(propose: Propose, filled: Tensor, pending: Tensor, seeds: Seeds) -> Tensor:
    """Rejection for every element where ``pending`` (batch, n); elsewhere ``filled`` (batch, n, ...) stays.

    ``propose`` is called with the flat numbers of elements, and four normal and five uniform numbers for each; it
    returns a candidate and the logarithm of the chance to keep it.
    """
    batch, count = pending.shape
    result, pending, seeds = filled.flatten(0, 1).clone(), pending.clone(), seeds.to(filled.device)
    for number in range(_MOST_TRIES):
        rows = pending.any(1).nonzero().flatten()
        if not len(rows):
            return result.reshape(filled.shape)
        at, chosen = seeds[rows].at("try", number), pending[rows]
        normals = at.at("normal").normal((count, 4), torch.float64)[chosen]
        uniforms = at.at("uniform").uniform((count, 5))[chosen]
        places = pending.flatten().nonzero().flatten()
        candidate, log_chance = propose(places, normals, uniforms)
        kept = uniforms[:, 0].log() < log_chance
        result[places[kept]] = candidate[kept]
        pending.view(batch * count)[places[kept]] = False
    raise NonFiniteError(f"{int(pending.sum())} draws were refused {_MOST_TRIES} times: the state is not finite")


def _try(a: Tensor, v: Tensor, b: Tensor, w: Tensor, normals: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Each element by the envelope that is tight for it."""
    away = quaternions.angle_between(a, b)
    by_narrower = (torch.maximum(v, w) >= WIDE) | (away <= (v.square() + w.square()).sqrt())
    candidate, log_chance = torch.empty_like(a), torch.empty_like(v)
    for where, tried in ((by_narrower, _from_narrower), (~by_narrower, _from_flat_space)):
        if bool(where.any()):
            given = (part[where] for part in (a, v, b, w, normals, uniforms))
            candidate[where], log_chance[where] = tried(*given)
    return candidate, log_chance


def _from_narrower(
    a: Tensor, v: Tensor, b: Tensor, w: Tensor, normals: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    nearer = v <= w
    narrow, wide = torch.minimum(v, w), torch.maximum(v, w)
    centre, other = (torch.where(nearer[:, None], *pair) for pair in ((a, b), (b, a)))
    # a rotation vector that is normal, its law brought down to the narrow one; beyond a whole turn it is refused
    vector = narrow[:, None] * normals[:, :3]
    length = quaternions.length(vector)
    angle = torch.minimum(length, _TURN - length).clamp(min=1e-100)
    ratio = log_far_share(angle, narrow) + ((_TURN - angle) / angle).log()
    log_chance = (
        windings(angle, narrow.clamp(max=WIDE)).log() + log_sinc_half(angle) - torch.nn.functional.softplus(ratio)
    )
    log_chance = torch.where(length < _TURN, log_chance, -torch.inf)
    near = quaternions.multiply(centre, quaternions.exponential(vector))
    # a wide law is had from the uniform one
    anywhere = quaternions.normalised(normals)
    candidate = torch.where((narrow < WIDE)[:, None], near, anywhere)
    peak = torch.zeros_like(narrow)
    of_uniform = log_density(quaternions.angle_between(centre, anywhere), narrow) - log_density(peak, narrow)
    log_chance = torch.where(narrow < WIDE, log_chance, of_uniform)
    of_wide = log_density(quaternions.angle_between(other, candidate), wide) - log_density(peak, wide)
    return candidate, log_chance + of_wide


def _from_flat_space(
    a: Tensor, v: Tensor, b: Tensor, w: Tensor, normals: Tensor, uniforms: Tensor
) -> tuple[Tensor, Tensor]:
    _, choice, side, place, turn = uniforms.unbind(-1)
    away, axis = quaternions.angle_and_axis(quaternions.multiply(quaternions.inverse(a), b))
    variance, rest = v.square(), w.square()
    total = variance + rest
    # the way from a to b, or the one round the group
    round_log = log_far_share(away, total.sqrt())
    goes_round = choice.log() < round_log - torch.nn.functional.softplus(round_log)
    course = torch.where(goes_round, _TURN - away, away)
    spread = v * w / total.sqrt()
    length = torch.stack(
        (course * variance / total + spread * normals[:, 0], spread * normals[:, 1], spread * normals[:, 2]), -1
    )
    radius = quaternions.length(length)
    inside = radius < _TURN
    omega = torch.minimum(radius, _TURN - radius).clamp(min=1e-100)
    excess, log_chance = _excess(omega, away, variance, rest, side, place)
    # one less the cosine between the directions to the candidate and to b
    low = (omega - away).abs()
    shortfall = 2 * (low / 2 + excess / 4).sin() * (excess / 4).sin() / ((omega / 2).sin() * (away / 2).sin())
    shortfall = shortfall.clamp(0, 2)
    across = (shortfall * (2 - shortfall)).sqrt()[:, None]
    first, second = quaternions.beside(axis)
    turned = (_TURN * turn).cos()[:, None] * first + (_TURN * turn).sin()[:, None] * second
    direction = (1 - shortfall)[:, None] * axis + across * turned
    candidate = quaternions.multiply(a, quaternions.exponential(omega[:, None] * direction))
    return candidate, torch.where(inside, log_chance, -torch.inf)


def _excess(
    omega: Tensor, away: Tensor, variance: Tensor, rest: Tensor, side: Tensor, place: Tensor
) -> tuple[Tensor, Tensor]:
    r"""By how much the distance from the second centre exceeds the least possible, and the log-chance to keep the pair.

    With :math:`E(x) = e^{-x^2/2w}`, :math:`G_0(\omega) = E(\omega-\Omega) - E(\omega+\Omega)` and :math:`G_1` the same
    for :math:`2\pi-\Omega`, the radius has been drawn from :math:`H(\omega)(G_0+G_1)(\omega)` and the same at
    :math:`2\pi-\omega`, H being the first term of h; all is told in units of :math:`E(\omega-\Omega)`.
    """
    back, round_ = _TURN - omega, _TURN - away
    far = (-2 * (math.pi - away) * (math.pi - omega) / rest).exp()
    straight = -torch.expm1(-2 * omega * away / rest)  # G_0 at omega
    crossing = far * -torch.expm1(-2 * omega * round_ / rest)  # G_1 at omega
    straight_back = far * -torch.expm1(-2 * back * away / rest)
    crossing_back = -torch.expm1(-2 * back * round_ / rest)
    folded = log_far_share(omega, variance.sqrt()).exp()
    envelope = straight + crossing + folded * (straight_back + crossing_back)
    # d follows d E(d) from |omega - Omega| to omega + Omega, or the same for 2 pi - d; both are inverted
    beyond = torch.where(omega < away, crossing, straight_back)
    share = beyond / (straight + beyond)
    low, reach = (omega - away).abs(), omega + away
    short = _TURN - reach
    added = -2 * rest * torch.log1p(place * torch.expm1(-2 * omega * away / rest))
    near = (low.square() + added).sqrt()
    width = -2 * torch.minimum(omega, away) * (_TURN - torch.maximum(omega, away)) / rest
    other = (short.square() - 2 * rest * torch.log1p(place * torch.expm1(width))).sqrt()
    angle = torch.where(side < share, _TURN - other, near)
    shorter = torch.minimum(angle, _TURN - angle).clamp(min=1e-100)
    log_chance = (
        windings(omega, variance.sqrt()).log()
        + ((straight + beyond) / envelope).log()
        + windings(shorter, rest.sqrt()).log()
        - torch.nn.functional.softplus(log_far_share(shorter, rest.sqrt()))
    )
    return torch.where(side < share, angle - low, added / (near + low).clamp(min=1e-300)), log_chance
