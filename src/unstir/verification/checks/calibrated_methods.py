"""Claims of methods for inverse problems: can the spread of their draws be believed?"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import Posterior
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.inverse.calibration import Calibration, calibrate_posterior, densest
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import ANY_LAW, GAUSSIAN_LAWS, Method
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.ranks import LEVELS
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.base import Curve, Effort, Measured, NotMeasured, Plot, claim
from unstir.verification.statistics import uniform_are

__all__ = ["truths_are_to_their_draws_as_one_of_them"]

_DRAWS = 39  # the fewest that cut out 50, 80 and 95 % exactly
_PAIRS = 8  # independent of each other, so that a problem has as many ranks that are
_CALLS = 2_500  # of the denoiser, for one law
_MOST = 50


@claim("methods")
def truths_are_to_their_draws_as_one_of_them(method: Method, effort: Effort) -> Iterator[Measured]:
    """On laws that a method is exact for, truths have uniform ranks among its draws; on others it is told how far off.

    Of each pair of numbers the first is measured with normal noise, and the ranks are those of the second: of eight
    independent Gaussian pairs, and in full of a ring of eight unequal modes, where a reading leaves two to four. Where
    no exactness is claimed the figures have no bounds: how many truths the central intervals cover, and of the ring
    the posterior's densest sets.
    """
    if not {"any", "euclidean"} & method.spaces:
        raise NotMeasured("it does not serve the Euclidean space", silent=True)
    found = _calibrated(_gaussian(), method, effort)
    yield from _told("Gaussian", found, method.exact_for in (GAUSSIAN_LAWS, ANY_LAW), [])
    if not effort.quick:
        law = _ring()
        found = _calibrated(law, method, effort)
        yield from _told("ring", found, method.exact_for == ANY_LAW, ["densest"])


def _gaussian() -> GaussianDenoiser:
    """Pairs of unequal correlation."""
    correlation = torch.linspace(-0.8, 0.9, _PAIRS, dtype=torch.float64)
    pairs = [torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64) for rho in correlation.tolist()]
    return GaussianDenoiser(torch.linspace(-0.5, 0.5, 2 * _PAIRS), torch.block_diag(*pairs), GaussianProcess())


def _ring() -> MixtureDenoiser:
    turns = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
    modes = 1.3 * torch.stack((turns.cos(), turns.sin()), 1)
    return MixtureDenoiser(torch.arange(1.0, 9.0), modes, torch.full((8,), 0.04), GaussianProcess())


def _told(name: str, found: Calibration, exact: bool, sets: list[str]) -> Iterator[Measured]:
    hidden = [statistic for statistic in found.ranks if statistic.startswith("hidden")]
    shares = np.sort(np.concatenate([found.shares(statistic) for statistic in hidden]))
    of_them = np.arange(1, len(shares) + 1) / len(shares)
    lines = (Curve("ranks", shares, of_them), Curve("uniform", [0.0, 1.0], [0.0, 1.0], dashed=True))
    plot = Plot(f"Truths among their draws, {name}", "rank", "share of the ranks up to it", lines)
    if exact:
        yield uniform_are(f"{name}: ranks of what was not measured", shares, plot)
        for statistic in sets:
            yield uniform_are(f"{name}: ranks by {statistic} sets", found.shares(statistic))
        return
    for level in LEVELS:
        covers = [found.coverage(statistic, level) for statistic in hidden]
        measured = sum(one.measured for one in covers) / len(covers)
        error = covers[0].error / math.sqrt(len(covers))
        note = f"{found.problems} problems of {len(covers)}"
        yield Measured(
            f"{name}: covered by {100 * level:g} % intervals", measured, uncertainty=error, plot=plot, note=note
        )
        for statistic in sets:
            told = found.coverage(statistic, level)
            quantity = f"{name}: within the {statistic} {100 * level:g} %"
            yield Measured(quantity, told.measured, uncertainty=told.error, note=f"{found.problems} problems")


def _calibrated(law: GaussianDenoiser | MixtureDenoiser, method: Method, effort: Effort) -> Calibration:
    """As many problems as the denoiser's calls are enough for."""
    size = law.shape[0]
    operator, noise = MaskOperator((size,), torch.arange(size) % 2 == 0), GaussianNoise(0.2)
    counted = _Counted(law)

    def tried(problems: int) -> Calibration:
        return calibrate_posterior(
            counted,
            law.draw,
            operator,
            noise,
            method,
            problems,
            _DRAWS,
            statistics={f"hidden {place}": _element(place) for place in range(1, size, 2)},
            sets={"densest": densest(law)},
            seed=effort.seed,
            dtype=torch.float64,
            steps=effort.of(15, method.steps),
        )

    if effort.quick:
        return tried(3)
    pilot = tried(2)
    problems = min(_MOST, 2 * _CALLS // max(1, counted.calls))
    return tried(problems) if problems > 2 else pilot


def _element(place: int) -> Callable[[Tensor, Measurement], Tensor]:
    return lambda x, measurement: x[:, place]


class _Counted(Denoiser):
    """A denoiser, and how often it was called."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser, self.process, self.calls = denoiser, denoiser.process, 0

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The other's belief."""
        self.calls += 1
        return self.denoiser(xt, t, drop, **condition)
