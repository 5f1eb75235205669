r"""Assimilation with the laws and methods of ``inverse``: by trajectories, and by cycles.

*Trajectories*: a prior over windows of states in time, learned or exact, and everything that was read in the window at
once: ``trajectories``; for windows longer than those that the prior was trained on, ``WindowedDenoiser``. *Cycles*: the
model's ensemble of the last analysis is made into a law, which the readings of one time condition: ``assimilate``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior
from unstir.domains.climate.encoding import ClimateEncoding
from unstir.domains.climate.tasks.assimilating.filters import Analyses, Forecast, Readings, cycled, sample_covariance
from unstir.exact.base import EuclideanDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.base import LinearOperator
from unstir.inverse.solving import solve
from unstir.processes.gaussian import GaussianProcess

LAWS = ("mixture", "gaussian")
_AFFINE = ("standard", "none")
_WIDTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
_LEAST, _SHARE = 20, 0.05  # of the members, whose effective number decides on a kernel's width
_ROUNDING = 1e-12  # of the largest spread: less is none
_WINDOWS = 4096  # samples times windows in one call of the network


class WindowedDenoiser(Denoiser):
    r"""A denoiser for trajectories of any length, by another's beliefs about windows of ``window`` times.

    States are (batch, channels, time, *axes). The belief about a time is that of the window in whose middle it stands
    (at both ends, of the first and the last window): exact if the noisy past and future beyond the window told nothing
    more, as for a Markov chain they nearly do not once the window is longer than the chain's memory under noise. The
    window's wide middle of ``stride`` times may be taken at once, which costs accuracy and saves as many calls.

    A state of one window is handed to the other denoiser as it is. Conditions are told to every window.

    Raises InputError for a state shorter than the window or a stride that the window does not cover.

    Reference: Rozet, Louppe, Score-based data assimilation (2023), section 3.1 and algorithm 2.
    """

    def __init__(self, denoiser: Denoiser, window: int, stride: int = 1) -> None:
        super().__init__()
        if window < 1 or not 1 <= stride <= window:
            raise InputError(f"a stride of 1 to {window}, the window's times, is needed; seen {stride}")
        self.denoiser, self.process, self.window, self.stride = denoiser, denoiser.process, window, stride

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief about the whole trajectory, a point or independent Gaussians."""
        if xt.ndim < 3 or xt.shape[2] < self.window:
            raise InputError(
                f"trajectories (batch, channels, time, ...) of at least {self.window} times are needed, the window's; "
                f"seen {tuple(xt.shape)}"
            )
        if xt.shape[2] == self.window:
            return self.denoiser(xt, t, drop, **condition)
        starts, owners, places = self._cut(xt.shape[2])
        pieces = torch.stack([xt[:, :, start : start + self.window] for start in starts], 1)
        count = len(starts)
        means, variances = [], []
        step = max(1, _WINDOWS // max(1, len(xt)))
        for first in range(0, count, step):
            some = pieces[:, first : first + step].flatten(0, 1)
            told = [
                None if each is None else each.repeat_interleave(len(some) // len(xt), 0)
                for each in (t if isinstance(t, Tensor) and t.ndim else None, drop)
            ]
            also = {name: each.repeat_interleave(len(some) // len(xt), 0) for name, each in condition.items()}
            belief = self.denoiser(some, t if told[0] is None else told[0], told[1], **also)
            means.append(belief.mean.unflatten(0, (len(xt), -1)))
            spread = getattr(belief, "variance", None)
            variances.append(None if spread is None else spread.unflatten(0, (len(xt), -1)))
        mean = _gathered(torch.cat(means, 1), owners, places)
        if any(each is None for each in variances):
            return PointPosterior(mean)
        return GaussianPosterior(mean, _gathered(torch.cat(variances, 1), owners, places))  # type: ignore[arg-type]

    def _cut(self, length: int) -> tuple[list[int], Tensor, Tensor]:
        """Where windows begin; for each time, which window tells of it, and at which place there."""
        starts = [*range(0, length - self.window, self.stride), length - self.window]
        middles = torch.tensor(starts, dtype=torch.float64) + (self.window - 1) / 2
        times = torch.arange(length)
        owners = (times[:, None] - middles).abs().argmin(1)
        return starts, owners, times - torch.tensor(starts)[owners]


def _gathered(values: Tensor, owners: Tensor, places: Tensor) -> Tensor:
    """Of (batch, windows, channels, window, *axes): each time's place in its window, (batch, channels, time, *axes)."""
    return values[:, owners.to(values.device), :, places.to(values.device)].movedim(0, 2)


class SeenOperator(LinearOperator):
    """Chosen numbers of a state, each in its own unit of noise: readings of unequal noise become those of deviation 1.

    ``seen``, boolean of the state's ``shape``; ``factors`` (m,), what each seen number is multiplied by.
    """

    linear = True

    def __init__(self, shape: tuple[int, ...], seen: Tensor, factors: Tensor) -> None:
        self._shape = tuple(shape)
        if tuple(seen.shape) != self.shape or seen.dtype != torch.bool or not bool(seen.any()):
            raise InputError(
                f"what was read is a boolean tensor {self.shape}, true somewhere; seen {tuple(seen.shape)}"
            )
        self._places = seen.flatten().nonzero()[:, 0]
        self._factors = factors.double()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one state."""
        return self._shape

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (len(self._places),)

    def __call__(self, x0: Tensor) -> Tensor:
        return x0.flatten(1)[:, self._places.to(x0.device)] * self._factors.to(x0)

    def adjoint(self, measured: Tensor) -> Tensor:
        whole = measured.new_zeros(len(measured), math.prod(self.shape))
        scaled = measured * self._factors.to(measured)
        return whole.index_copy(1, self._places.to(measured.device), scaled).reshape(-1, *self.shape)

    @classmethod
    def examples(cls) -> Mapping[str, "SeenOperator"]:
        """Two of three."""
        return {"two": cls((3,), torch.tensor([True, False, True]), torch.tensor([2.0, 0.5]))}


def measured(encoding: ClimateEncoding, values: np.ndarray, deviation: np.ndarray | float) -> Measurement:
    """Readings ``values`` (channels, *axes) of a state in the data's units, NaN where nothing was read.

    ``deviation``: of their normal noise in the data's units, a number or an array that broadcasts to ``values``; in
    the measurement each reading is told in units of its own noise. The state may be longer along ``lead`` than the
    encoding's: the scaling goes by channel.

    Raises InputError for no reading at all, noise that is not positive, or a scaling that is not a straight line: of
    such a one (sqrt, power, quantile) normal noise would not stay normal.
    """
    if bent := [each.get("method") for each in encoding.scaling.channels if each.get("method") not in _AFFINE]:
        raise InputError(
            f"readings with normal noise need a scaling that is a straight line; seen {bent[0]!r}: take "
            "data.transform: standard"
        )
    values = np.asarray(values, dtype=np.float64)
    noise = np.broadcast_to(np.asarray(deviation, dtype=np.float64), values.shape)
    seen = np.isfinite(values)
    if np.isinf(values).any() or not seen.any():
        raise InputError("readings are finite, NaN where nothing was read, and at least one is needed")
    if not (noise[seen] > 0).all() or not np.isfinite(noise[seen]).all():
        raise InputError(f"the deviation of readings is positive; seen {noise[seen].min()}")
    low = encoding.scaling.encode(torch.zeros(1, *values.shape, dtype=torch.float64))[0]
    slope = encoding.scaling.encode(torch.ones(1, *values.shape, dtype=torch.float64))[0] - low
    scaled = encoding.scaling.encode(torch.from_numpy(np.where(seen, values, 0.0))[None])[0]
    where = torch.from_numpy(seen)
    factors = 1 / (slope.abs()[where] * torch.from_numpy(noise[seen].copy()))
    return Measurement(SeenOperator(values.shape, where, factors), scaled[where] * factors, GaussianNoise(1.0))


def trajectories(
    denoiser: Denoiser,
    measurement: Measurement,
    seeds: Seeds,
    method: Any = "mmps",
    steps: int | None = None,
    window: int | None = None,
    stride: int = 1,
    condition: Mapping[str, Tensor] | None = None,
    grid: Any = None,
) -> Tensor:
    """Draws of the trajectory behind what was read, one a seed: (members, channels, time, *axes), encoded.

    ``method`` is one of the catalogue's; ``window``: the times that the denoiser was made for, where the trajectory is
    longer. Every reading of the trajectory is used, earlier and later: this smooths, and filters at its end.

    Reference: Rozet, Louppe, Score-based data assimilation (2023).
    """
    shape = tuple(measurement.operator.shape)
    prior = denoiser if window is None or shape[1] == window else WindowedDenoiser(denoiser, window, stride)
    found = solve(
        prior, measurement, method, steps=steps, grid=grid, seeds=seeds, condition=condition, batch=len(seeds)
    )
    return found.samples


@dataclass(frozen=True)
class WhiteProblem:
    """An ensemble's law and a reading of it, where both are simplest: x = ``mean`` + ``root`` z.

    ``law`` is that of z, white as a whole; each number that ``measurement`` holds is of one coordinate of z, with noise
    of deviation one. ``root`` (n, r), where r is the ensemble's rank, at most n.
    """

    law: EuclideanDenoiser
    measurement: Measurement | None
    mean: Tensor
    root: Tensor

    def states(self, z: Tensor) -> Tensor:
        """The states (m, n) of coordinates (m, r)."""
        return self.mean + z.double() @ self.root.T


def white_problem(
    ensemble: Tensor,
    operator: Tensor,
    values: Tensor,
    deviation: Tensor,
    law: str = "mixture",
    width: float | None = None,
    taper: Tensor | None = None,
    process: GaussianProcess | None = None,
) -> WhiteProblem:
    r"""The law that an ensemble (members, n) stands for, and readings of it, in coordinates that make both diagonal.

    With :math:`P=WW^T` the ensemble's covariance (times ``taper``) and :math:`R^{-1/2}HW=USV^T`, z is seen as
    :math:`U^TR^{-1/2}(y-H\bar x)=Sz+e`, x being :math:`\bar x+WVz`. ``gaussian``: z is standard normal.
    ``mixture``: a kernel of deviation ``width`` about each member, the members drawn together so that the whole stays
    white; it knows no taper. Without a width it is the least of 0.05, 0.1, ..., 0.8 with which so many members keep a
    say that their effective number after the reading is a twentieth of all, 20 at least.

    Raises InputError for another law, a width out of range, or a mixture with a taper.

    Reference: Anderson, Anderson, A Monte Carlo implementation of the nonlinear filtering problem (1999); West,
    Approximating posterior distributions by mixtures (1993), for the shrinkage; Stordal et al., Bridging the ensemble
    Kalman filter and particle filters (2011), for a width that follows the effective number; Bao, Zhang, Zhang, An
    ensemble score filter for tracking high-dimensional nonlinear dynamical systems (2023), for an ensemble's score as a
    filter's prior.
    """
    if law not in LAWS:
        raise unknown("law of an ensemble", law, LAWS)
    if law == "mixture" and taper is not None:
        raise InputError("a mixture of kernels about the members knows no taper: take law='gaussian', or no taper")
    made = GaussianProcess() if process is None else process
    ensemble = ensemble.double()
    count, mean = len(ensemble), ensemble.mean(0)
    spread, axes = torch.linalg.eigh(sample_covariance(ensemble, taper))
    wide = spread > spread[-1] * _ROUNDING  # a taper on a small ring may leave some below zero
    root = axes[:, wide] * spread[wide].sqrt()
    size = root.shape[1]
    turn, measurement = torch.eye(size, dtype=torch.float64), None
    if len(values):
        left, slopes, right = torch.linalg.svd((operator / deviation[:, None]) @ root)
        told = slopes > slopes[0] * _ROUNDING
        turn = right.T
        seen = torch.zeros(size, dtype=torch.bool)
        seen[: len(slopes)] = told
        reading = left[:, : len(slopes)].T @ ((values - operator @ mean) / deviation)
        measurement = Measurement(SeenOperator((size,), seen, slopes[told]), reading[told], GaussianNoise(1.0))
    root = root @ turn
    if law == "gaussian":
        return WhiteProblem(GaussianDenoiser(torch.zeros(size), torch.ones(size), made), measurement, mean, root)
    if width is not None and not 0 < width < 1:
        raise InputError(f"a kernel's width is a share of the ensemble's own, above 0 and below 1; seen {width}")
    z = (ensemble - mean) @ (axes[:, wide] / spread[wide].sqrt()) @ turn
    for each in _WIDTHS if width is None else (width,):
        kernels = torch.full((count,), each**2, dtype=torch.float64)
        mixture = MixtureDenoiser(torch.ones(count), math.sqrt(1 - each**2) * z, kernels, made)
        if measurement is None:
            break
        told_mixture: Any = exact_posterior(mixture, measurement)
        shares = told_mixture.weights
        if float(shares.square().sum()) * max(_LEAST, count * _SHARE) <= 1:
            break
    return WhiteProblem(mixture, measurement, mean, root)


def assimilate(
    start: Tensor,
    forecast: Forecast,
    readings: Readings,
    seeds: Seeds,
    *,
    law: str = "mixture",
    width: float | None = None,
    taper: Tensor | None = None,
    inflation: float = 1.0,
    method: Any = None,
    steps: int | None = None,
    pathwise: bool = False,
    kept: int | None = None,
) -> Analyses:
    r"""A cycling filter: forecast ensemble, its law, the law given the readings, draws of it, forecast, ...

    ``start`` (members, n) before the first reading, one of ``seeds`` a member. ``law``, ``width`` and ``taper`` as in
    ``white_problem``; ``inflation`` multiplies the forecast's distances from its mean. Without ``method`` the posterior
    is exact, draws and mean; else it is drawn by that method of the catalogue in so many ``steps``, with the ensemble's
    law as the prior, and the mean is that of the draws. ``pathwise``, of a Gaussian law without method: the members
    themselves are moved, :math:`z+S^T(SS^T+I)^{-1}(y+e-Sz)`, which draws from the same posterior and keeps what each
    member knows of the model's balance.

    Reference: Wilson et al., Efficiently sampling functions from Gaussian process posteriors (2020), section 3, for
    the pathwise draws; the others as of ``white_problem``.
    """
    if pathwise and (law != "gaussian" or method is not None):
        raise InputError("pathwise draws are of a Gaussian law, and without a method")
    process = GaussianProcess()

    def analyse(ensemble: Tensor, number: int, each: Seeds) -> tuple[Tensor, Tensor]:
        ensemble = ensemble.mean(0) + inflation * (ensemble - ensemble.mean(0))
        operator, values, deviation = readings.at(number)
        problem = white_problem(ensemble, operator, values, deviation, law, width, taper, process)
        if problem.measurement is None:
            return ensemble, problem.mean
        if method is not None:
            found = solve(
                problem.law,
                problem.measurement,
                method,
                steps=steps,
                seeds=each,
                batch=len(each),
                dtype=torch.float64,
            )
            states = problem.states(found.samples)
            return states, states.mean(0)
        posterior = exact_posterior(problem.law, problem.measurement)
        mean = problem.states(_mean_of(posterior)[None])[0]
        if pathwise:
            return _moved(ensemble, operator, values, deviation, problem, each), mean
        return problem.states(posterior.draw(each.at("posterior"))), mean

    return cycled(start, forecast, readings, analyse, seeds, kept)


def _moved(
    ensemble: Tensor, operator: Tensor, values: Tensor, deviation: Tensor, problem: WhiteProblem, seeds: Seeds
) -> Tensor:
    noise = deviation * seeds.at("perturbed").normal((len(values),), torch.float64)
    seen = operator @ problem.root
    total = seen @ seen.T + torch.diag(deviation.square())
    away = values + noise - noise.mean(0) - ensemble @ operator.T
    return ensemble + torch.linalg.solve(total, away.T).T @ seen @ problem.root.T


def _mean_of(law: EuclideanDenoiser) -> Tensor:
    return law.weights @ law.means if isinstance(law, MixtureDenoiser) else law.mean  # type: ignore[attr-defined]
