r"""How probable angles are under a trained belief: the bound that ancestral sampling itself gives.

Ancestral sampling along times :math:`t_0 > t_1 > ... > t_K = 0` draws :math:`x_s` from
:math:`p(x_s|x_t) = \int q(x_s|x_t, y)\,b(y|x_t)\,dy`, b the belief. Of such a chain

.. math::
    -\log p(x_0) \le \mathbb{E}\Big[\log\frac{q(x_{t_0}|x_0)}{\pi(x_{t_0})}
    + \sum_{s>0} \log\frac{q(x_s|x_t,x_0)}{p(x_s|x_t)} - \log b(x_0|x_{t_{K-1}})\Big],

and as :math:`q(x_s|x_t,y) = q(x_s|y)q(x_t|x_s)/q(x_t|y)`, what is left of a term is
:math:`\log q(x_s|x_0) - \log q(x_t|x_0) - \log\int q(x_s|y)/q(x_t|y)\,b(y|x_t)\,dy`. A network's belief has independent
angles, so the integral is one over each circle, and the trapezium rule takes it to rounding.

Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), eq. 5, for the bound.
"""

import math

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import expand
from unstir.denoisers.base import Denoiser
from unstir.denoisers.circular import CircularPosterior
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.processes import wrapped_normal

_NODES = 256
_REACH = 9.0  # deviations
_BATCH = 64


@torch.no_grad()
def torus_bound(denoiser: Denoiser, x0: Tensor, times: Tensor, seeds: Seeds, terms: int = 16) -> Tensor:
    """An unbiased estimate of the bound on -log p(x_0), nats per row, float64 (batch,); uniform in turns counts zero.

    ``x0`` (batch, d) in turns. The first and last term are taken always, of those between ``terms`` for every row,
    drawn evenly spread and weighted up. ``times`` fall to 0. A belief much narrower than both the noise and a hundredth
    of a turn would fall between the nodes of the rule.
    """
    found = [
        _bound(denoiser, x0[first : first + _BATCH], times, seeds[first : first + _BATCH], terms)
        for first in range(0, len(x0), _BATCH)
    ]
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.float64)


def _bound(denoiser: Denoiser, x0: Tensor, times: Tensor, seeds: Seeds, terms: int) -> Tensor:
    process, steps = denoiser.process, len(times) - 1
    first = process.noise(x0, times[0], seeds.at("bound", "prior"))
    total = process.log_density(first, x0, times[0]) + x0.shape[1] * math.log(_period(process))
    last = process.noise(x0, times[-2], seeds.at("bound", "last"))
    total = total - denoiser(last, times[-2].expand(len(x0))).log_prob(x0) - x0.shape[1] * math.log(_period(process))
    between = steps - 1
    if between < 1:
        return total
    terms = min(terms, between)
    shift = seeds.at("bound", "which").uniform()
    for number in range(terms):
        # the places of one row are a regular lattice, shifted: each of the steps is as likely as any other
        place = (((shift + number) / terms).clamp(max=1 - 1e-12) * between).long()
        t, s = times[place], times[place + 1]
        draw = seeds.at("bound", number)
        xs = process.noise(x0, s, draw.at("to s"))
        xt = process.transition(xs, s, t, draw.at("from s to t"))
        gained = process.log_density(xs, x0, s) - process.log_density(xt, x0, t)
        total = total + (between / terms) * (gained - _log_integral(denoiser, xs, xt, s, t))
    return total


def _log_integral(denoiser: Denoiser, xs: Tensor, xt: Tensor, s: Tensor, t: Tensor) -> Tensor:
    """log of the integral of q(x_s|y)/q(x_t|y) b(y|x_t) over y, summed over the angles, (batch,)."""
    process = denoiser.process
    period = _period(process)
    here, there = (expand(process.schedule.sigma(time), xs.double()) for time in (s, t))
    # all that counts lies near x_s: a stretch about it, which for much noise is the whole circle
    half = (_REACH * here).clamp(max=period / 2)
    lattice = (2 * torch.arange(_NODES, dtype=torch.float64) + 1) / _NODES - 1
    y = xs.double()[..., None] + half[..., None] * lattice
    ratio = wrapped_normal.log_density(xs.double()[..., None] - y, here[..., None], period)
    ratio = ratio - wrapped_normal.log_density(xt.double()[..., None] - y, there[..., None], period)
    belief = marginal_density(denoiser(xt, t), y)
    return (torch.logsumexp(ratio + belief, -1) + (2 * half / _NODES).log()).sum(1)


def marginal_density(belief: CircularPosterior, y: Tensor) -> Tensor:
    """The log-density of every angle's own belief at the places y (batch, d, m), float64 of that shape."""
    if belief.log_weights.shape[1] != 1:
        raise InputError("the bound is for beliefs whose angles are independent, which is what a network tells")
    away = y[:, :, None] - belief.centres[:, 0][..., None]
    logs = wrapped_normal.log_density(away, belief.deviations[:, 0][..., None], belief.period[..., None, None])
    return torch.logsumexp(belief.log_shares[:, 0].expand(away.shape[:-1])[..., None] + logs, 2)


def exact_marginal_log_prob(law: WrappedMixtureDenoiser, xt: Tensor, t: Tensor, x0: Tensor) -> Tensor:
    """The sum over angles of the log-density of each one's own marginal of the exact belief, float64 (batch,).

    The most that a belief with independent angles can reach. Components that are the same for an angle are taken
    together, so that a chain of many costs no more than one of its links.
    """
    belief = law(xt, t)
    total = torch.zeros(len(xt), dtype=torch.float64)
    for angle in range(xt.shape[1]):
        pairs = torch.stack((law.means[:, angle], law.deviations[:, angle]), 1)
        kinds, which = pairs.unique(dim=0, return_inverse=True)
        first = torch.stack([(which == kind).nonzero()[0, 0] for kind in range(len(kinds))])
        weights = torch.zeros(len(xt), len(kinds), dtype=torch.float64)
        weights = weights.index_add_(1, which, belief.log_weights.exp()).log()
        away = x0.double()[:, angle, None, None] - belief.centres[:, first, angle]
        logs = wrapped_normal.log_density(away, belief.deviations[:, first, angle], _period(law.process))
        within = torch.logsumexp(belief.log_shares[:, first, angle] + logs, -1)
        total += torch.logsumexp(weights + within, 1)
    return total


def belief_gap(
    denoiser: Denoiser, law: WrappedMixtureDenoiser, x0: Tensor, levels: Tensor, seeds: Seeds
) -> tuple[Tensor, Tensor]:
    """What a belief loses against the exact one at each noise level, nats per angle: means and standard errors.

    Both are asked about the same noisy rows; the exact one is held to independent angles too. Each (levels,).
    """
    gaps = []
    for number, t in enumerate(levels):
        parts = []
        for first in range(0, len(x0), _BATCH):
            rows = slice(first, first + _BATCH)
            xt = denoiser.process.noise(x0[rows], t, seeds[rows].at("gap", number))
            with torch.no_grad():
                mine = denoiser(xt, t.expand(len(xt))).log_prob(x0[rows])
                parts.append((exact_marginal_log_prob(law, xt, t, x0[rows]) - mine) / x0.shape[1])
        gaps.append(torch.cat(parts))
    table = torch.stack(gaps)
    return table.mean(1), table.std(1) / math.sqrt(len(x0))


def _period(process: object) -> float:
    period = getattr(process, "period", None)
    if not isinstance(period, int | float):
        raise InputError(f"the bound is for one period for all angles; seen {period!r}")
    return float(period)
