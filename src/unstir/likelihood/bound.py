r"""The evidence lower bound of Gaussian diffusion, term by term, in discrete and in continuous time.

With :math:`\rho=\alpha^2/\sigma^2` the signal-to-noise ratio and :math:`\hat x` the belief's mean,

.. math:: -\log p(x_0) \le KL(q(x_T|x_0)\|p(x_T)) + \sum KL(q(x_s|x_t,x_0)\|p(x_s|x_t)) + E[-\log p(x_0|x_1)],

where the prior's term is :math:`\rho_T|x_0|^2/2` and a step's, for a point belief,
:math:`(\rho_s-\rho_t)E|x_0-\hat x_t|^2/2`; many steps make the sum :math:`\tfrac12\int E|x_0-\hat x_\rho|^2 d\rho`.

What a squared error shares with that of the linear denoiser of normal data, whose mean is known in closed form, is
taken off and added exactly (a control variate), which leaves means as they are and much less to chance.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand
from unstir.denoisers.base import Denoiser, evaluating
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior
from unstir.exact.base import ExactDenoiser
from unstir.likelihood.bits import Bound, sum_per_sample
from unstir.likelihood.reconstruction import Reconstruction, Seen, gaussian_reconstruction
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.base import Schedule
from unstir.theory.reverse_time import times_between

__all__ = ["continuous_bound", "discrete_bound"]

Spacing = Literal["log-snr", "logistic", "time"]
_Place = Callable[[Tensor], tuple[Tensor, Tensor]]
_NODES = 1025
_WIDTH = 2.0  # of the logistic law: about that of log-SNR over which a belief sharpens


def discrete_bound(
    denoiser: Denoiser,
    x0: Tensor,
    seeds: Seeds,
    times: Tensor | int = 100,
    *,
    draws: int = 2,
    condition: Mapping[str, Tensor] | None = None,
    reconstruction: Reconstruction = gaussian_reconstruction,
    mean_only: bool = False,
    log_snr: tuple[float | int, float | int] = (-14.0, 12.0),
    data_variance: float | int | None = None,
    differentiable: bool = False,
) -> Bound:
    r"""The bound of ancestral sampling on given time steps: prior, each step's divergence, and reconstruction.

    ``x0`` (batch, *shape) is clean data, ``seeds`` one address a row. ``times`` fall from the noisiest to the last
    noisy one (a final 0, as grids have it, is left out: there the reconstruction ends), or are a number of steps,
    even between the two ``log_snr``. The model is the bridge q(x_s|x_t,x_0) with x_0 from the belief: of a point,
    with the bridge's own variance; of independent Gaussians, wider by theirs (closed form both); of an exact
    denoiser, the true reversal, log p(x_s|x_t) - log q(x_s|x_t,x_0) = log p(x_0|x_t) - log p(x_0|x_s), with which the
    bound is tight for any steps. ``mean_only`` takes no more of a belief than its mean.

    Each of the ``draws`` takes a call for every noisy time, with fresh noise. ``reconstruction`` as in
    ``reconstruction.py``; ``condition`` has one row a sample, its ``mask`` is honoured. ``data_variance`` is that of
    the control variate, by default the denoiser's ``sigma_data`` squared, or one: it matters to the standard error
    only. With ``differentiable`` gradients reach x_0 and the network, at the cost of memory for all calls.

    Raises InputError for another process than Gaussian noise, or for a belief that is neither a point, nor Gaussian,
    nor an exact denoiser's; NonFiniteError for a bound that is not finite.

    Reference: Sohl-Dickstein et al., Deep unsupervised learning using nonequilibrium thermodynamics (2015); Ho, Jain,
    Abbeel (2020), eq. 5; Kingma, Salimans, Poole, Ho, Variational diffusion models (2021), eq. 11 to 14.
    """
    sweep = _Sweep(denoiser, x0, seeds, condition, mean_only, data_variance, draws)
    if isinstance(times, int):
        times = times_between(sweep.schedule, *log_snr, times)
    times = _checked(times)
    levels = sweep.schedule.log_snr(times)
    exact = isinstance(denoiser, ExactDenoiser) and not mean_only

    def steps(draw: Seeds) -> tuple[Tensor, Tensor]:
        if exact:  # one noise for all levels: neighbouring terms are then alike, and all but the ends cancel
            path = [sweep.see(t, draw) for t in times]
            told = torch.stack([seen.belief.log_prob(seen.x0).double() for seen in path], 1)
            return told.diff(dim=1), reconstruction(path[-1])
        terms = [
            sweep.step(sweep.see(t, draw.at("step", number)), (levels[number + 1].exp() - levels[number].exp()))
            for number, (t, _) in enumerate(pairwise(times))
        ]
        last = sweep.see(times[-1], draw.at("reconstruction"))
        stacked = torch.stack(terms, 1) if terms else x0.new_zeros(len(x0), 0, dtype=torch.float64)
        return stacked, sweep.reconstruct(last, reconstruction)

    with evaluating(denoiser), torch.set_grad_enabled(differentiable):
        return sweep.collect(levels, [steps(seeds.at("bound", draw)) for draw in range(draws)])


def continuous_bound(
    denoiser: Denoiser,
    x0: Tensor,
    seeds: Seeds,
    levels: int = 32,
    *,
    draws: int = 2,
    condition: Mapping[str, Tensor] | None = None,
    reconstruction: Reconstruction = gaussian_reconstruction,
    spacing: Spacing = "logistic",
    mean_only: bool = False,
    log_snr: tuple[float | int, float | int] = (-14.0, 12.0),
    data_variance: float | int | None = None,
    differentiable: bool = False,
) -> Bound:
    r"""The bound of infinitely many steps: prior, an integral over log-SNR in strata, and reconstruction.

    :math:`\tfrac12\int\rho\,E|x_0-\hat x|^2 d\lambda` between the two ``log_snr`` (kept within the schedule's reach),
    the same for every schedule. Each of the ``draws`` takes one call in each of ``levels`` strata, at an even place
    in it, neighbours with opposite noise. By ``spacing`` the strata are evenly wide in log-SNR, in time, or
    (``"logistic"``) half of them so in log-SNR and half in a logistic law of it about that of the data's variance:
    most where the belief sharpens, and nowhere less than half as many as by even steps. With an exact denoiser the
    bound is -log p(x_0), sample by sample, but for what the two ends leave out. All else is as in ``discrete_bound``.

    Reference: Kingma, Salimans, Poole, Ho, Variational diffusion models (2021), eq. 17 and 18, appendix I; Kong,
    Brekelmans, Ver Steeg, Information-theoretic diffusion (2023), eq. 8 and 9.
    """
    if levels < 1 or spacing not in ("log-snr", "logistic", "time"):
        raise InputError(
            "the bound needs 1 level at least, and a spacing that is 'log-snr', 'logistic' or 'time'; seen "
            f"{levels} and {spacing!r}"
        )
    sweep = _Sweep(denoiser, x0, seeds, condition, mean_only, data_variance, draws)
    ends = sweep.schedule.log_snr(times_between(sweep.schedule, *log_snr, 1))
    place = _placing(sweep.schedule, spacing, ends, -math.log(sweep.variance))
    edges = place(torch.arange(levels + 1, dtype=torch.float64) / levels)[0]
    whole = sweep.linear_integral(edges)

    def strata(draw: Seeds) -> tuple[Tensor, Tensor]:
        terms = []
        for number in range(levels):
            level, slope = place((number + draw.at("level", number).uniform()) / levels)
            t = sweep.schedule.time(level)
            seen = sweep.see(t, draw.at("noise", number // 2), mirrored=number % 2 == 1)
            excess = seen.squared_error - sweep.linear_error(seen)
            terms.append(whole[:, number] + (slope * level.exp()).to(x0.device) * excess / (2 * levels))
        last = sweep.see(sweep.schedule.time(ends[1]), draw.at("reconstruction"))
        return torch.stack(terms, 1), sweep.reconstruct(last, reconstruction)

    with evaluating(denoiser), torch.set_grad_enabled(differentiable):
        return sweep.collect(edges, [strata(seeds.at("bound", draw)) for draw in range(draws)])


class _Sweep:
    """What both bounds need of a denoiser and its data."""

    def __init__(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        seeds: Seeds,
        condition: Mapping[str, Tensor] | None,
        mean_only: bool,
        data_variance: float | int | None,
        draws: int,
    ) -> None:
        process = denoiser.process
        if process.space != "euclidean" or not isinstance(process, GaussianProcess) or not isinstance(x0, Tensor):
            raise InputError(
                f"this bound is of Gaussian noise on one tensor; seen {type(process).__name__} and a state of the type "
                f"{type(x0).__name__}"
            )
        if not x0.is_floating_point() or x0.ndim < 1 or len(x0) != len(seeds) or draws < 1:
            raise InputError(
                f"clean data is a real tensor (batch, *shape) with one seed a row, and 1 draw at least is needed; seen "
                f"{x0.dtype} of shape {tuple(x0.shape)}, {len(seeds)} seeds and {draws} draws"
            )
        condition = dict(condition or {})
        for name, rows in condition.items():
            if not rows.ndim or len(rows) != len(x0):
                raise InputError(f"the condition {name!r} needs one row for each of {len(x0)} samples")
        self.whole = isinstance(denoiser, ExactDenoiser)
        self.process, self.schedule = process, process.schedule
        self.denoiser, self.seeds, self.mean_only, self.draws = denoiser.given(condition), seeds, mean_only, draws
        self.mask = condition.get("mask")
        self.x0 = apply_mask(x0, self.mask)
        given = getattr(denoiser, "sigma_data", 1.0) ** 2 if data_variance is None else data_variance
        if not 0 < given < math.inf:
            raise InputError(f"the data's variance must be positive; seen {given}")
        self.variance = float(given)
        self.elements = sum_per_sample(torch.ones_like(self.x0), self.mask)
        self.norm = sum_per_sample(self.x0.double().square(), self.mask)

    def see(self, t: Tensor, seeds: Seeds, mirrored: bool = False) -> Seen:
        """The data in fresh noise, and the belief about it; ``mirrored`` with the opposite noise."""
        xt = self.process.noise(self.x0, t, seeds, self.mask)
        alpha, sigma = self.schedule.alpha(t).to(xt.device), self.schedule.sigma(t).to(xt.device)
        if mirrored:
            xt = 2 * expand(alpha, xt) * self.x0 - xt
        belief = self.denoiser(xt, t)
        if self.mean_only or (not self.whole and isinstance(belief, PointPosterior)):
            belief = PointPosterior(belief.mean)
        elif not self.whole and not isinstance(belief, GaussianPosterior):
            raise InputError(
                f"a bound knows what steps follow from a point, from Gaussians or from an exact denoiser; seen "
                f"{type(belief).__name__} of {type(self.denoiser).__name__}: take its mean alone with mean_only=True"
            )
        return Seen(self.x0, xt, belief, alpha, sigma, self.mask)

    def step(self, seen: Seen, gained: Tensor) -> Tensor:
        """The divergence of one step in which the SNR grows by ``gained``, (batch,)."""
        gained = gained.to(seen.xt.device)
        if isinstance(seen.belief, GaussianPosterior):
            wider = gained * seen.belief.variance.double()
            squared = gained * (seen.x0.double() - seen.belief.mean.double()).square()
            return seen.total((squared - wider) / (1 + wider) + wider.log1p()) / 2
        return gained * (seen.squared_error - self.linear_error(seen) + self._linear_mean(seen.snr)) / 2

    def reconstruct(self, seen: Seen, reconstruction: Reconstruction) -> Tensor:
        """The last term, with the control variate where it is a squared error, or nearly one."""
        told = reconstruction(seen)
        if reconstruction is gaussian_reconstruction:
            told = told + seen.snr * (self._linear_mean(seen.snr) - self.linear_error(seen)) / 2
        return told

    def linear_error(self, seen: Seen) -> Tensor:
        """The squared error of the linear denoiser for normal data of the control's variance."""
        gain = seen.alpha * self.variance / (seen.alpha.square() * self.variance + seen.sigma.square())
        return seen.total((self.x0.double() - expand(gain, self.x0.double()) * seen.xt.double()).square())

    def _linear_mean(self, snr: Tensor) -> Tensor:
        """Its mean over the noise."""
        return (self.norm + self.elements * self.variance**2 * snr) / (1 + self.variance * snr).square()

    def linear_integral(self, log_snr: Tensor) -> Tensor:
        """Half the integral of that mean over the SNR between neighbouring levels, (batch, levels - 1)."""
        seen = self.variance * log_snr.to(self.x0.device).exp()
        shrunk = 1 / (1 + seen)
        rising = self.elements[:, None] * (seen.log1p() + shrunk) - self.norm[:, None] * shrunk / self.variance
        return rising.diff(dim=1) / 2

    def collect(self, log_snr: Tensor, terms: list[tuple[Tensor, Tensor]]) -> Bound:
        """The bound out of every draw's transitions and reconstruction."""
        transitions = torch.stack([transition for transition, _ in terms])
        reconstruction = torch.stack([last for _, last in terms])
        totals = transitions.sum(2) + reconstruction
        prior = log_snr[0].to(self.x0.device).exp() * self.norm / 2
        if len(bad := (~(prior + totals).isfinite().all(0)).nonzero().flatten().tolist()):
            raise NonFiniteError(
                f"the bound of {len(bad)} of {len(prior)} samples is not finite, the first in row {bad[0]}; check the "
                "denoiser at both ends of log-SNR, or take less wide ones (log_snr=..., or other times)"
            )
        spread = totals.std(0) if len(terms) > 1 else torch.full_like(prior, math.nan)
        error = spread / math.sqrt(len(terms))
        return Bound(prior, transitions.mean(0), reconstruction.mean(0), error, log_snr, self.elements, len(terms))


def _placing(schedule: Schedule, spacing: Spacing, ends: Tensor, centre: float) -> _Place:
    """From a share of the way, in [0, 1], to the log-SNR there and its derivative."""
    first, last = ends
    if spacing == "time":
        start, end = schedule.time(ends)

        def by_time(share: Tensor) -> tuple[Tensor, Tensor]:
            t = torch.lerp(start, end, share)
            return schedule.log_snr(t), schedule.log_snr_derivative(t) * (end - start)

        return by_time
    if spacing == "log-snr":
        return lambda share: (torch.lerp(first, last, share), (last - first).expand(share.shape))
    # the density is constant between nodes: quickly inverted, and as exact a weight as any other
    nodes = torch.lerp(first, last, torch.linspace(0, 1, _NODES, dtype=torch.float64))
    reached = ((nodes - centre) / _WIDTH).sigmoid()
    passed = ((nodes - first) / (last - first) + (reached - reached[0]) / (reached[-1] - reached[0])) / 2

    def by_logistic(share: Tensor) -> tuple[Tensor, Tensor]:
        cell = (torch.searchsorted(passed, share, right=True) - 1).clamp(0, _NODES - 2)
        slope = (nodes[cell + 1] - nodes[cell]) / (passed[cell + 1] - passed[cell])
        return nodes[cell] + slope * (share - passed[cell]), slope

    return by_logistic


def _checked(times: Tensor) -> Tensor:
    """Falling noisy times; a clean end is left out."""
    given = times.double()
    if given.ndim == 1 and len(given) > 1 and given[-1] == 0:
        given = given[:-1]
    if given.ndim != 1 or not len(given) or not bool((given.diff() < 0).all()) or given[-1] <= 0 or given[0] > 1:
        raise InputError(f"times fall from at most 1 to the last noisy one (or to 0); seen {times.tolist()}")
    return given
