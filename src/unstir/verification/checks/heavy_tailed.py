"""Claims of heavy-tailed noise: its clock, and the flow that deterministic samplers follow under it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.atoms import AtomsDenoiser
from unstir.processes import student_clock
from unstir.processes.heavy_tailed import HeavyTailedProcess
from unstir.samplers.base import Sampler, sample
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most, counts_are, distribution_is, probable, same_law

__all__ = [
    "flow_carries_students_noise",
    "noise_is_students",
    "steps_of_the_bridge_are_independent",
    "students_clock_adds_up",
]


@claim("processes", "heavy-tailed")
def noise_is_students(process: Any, effort: Effort) -> Iterator[Measured]:
    """The noise has Student's law at every time: as SciPy knows it, and as the process's own density says."""
    count = effort.of(4000, 40_000)
    x0, law = process.example_data(count), stats.t(process.degrees)
    for t in (0.1, 0.5, 0.95):
        time = torch.tensor(t, dtype=torch.float64)
        xt = process.noise(x0, time, effort.seeds(count, "student", str(t)))
        alpha, sigma = process.schedule.alpha(time), process.schedule.sigma(time)
        away = ((xt - alpha * x0) / sigma).numpy()
        yield distribution_is(f"each element, t = {t}", away[:, 0], law.cdf)
        if process.shared:
            # half the square of all is F-distributed
            yield distribution_is(
                f"sum of squares, t = {t}", (away**2).mean(1), stats.f(away.shape[1], process.degrees).cdf
            )
            known = stats.multivariate_t(shape=np.eye(away.shape[1]), df=process.degrees).logpdf(away)
        else:
            known = stats.t(process.degrees).logpdf(away).sum(1)  # type: ignore[attr-defined]
        told = process.log_density(xt, x0, time).numpy() + away.shape[1] * float(sigma.log())
        yield at_most(f"log-density against SciPy's, t = {t}", np.abs(told - known), 1e-10)


@claim("processes", "heavy-tailed")
def students_clock_adds_up(process: Any, effort: Effort) -> Iterator[Measured]:
    """What the clock gains has the Laplace transform of the whole by that of the part, and parts given the whole too.

    The transform is found from the quantiles; and a part drawn given the whole is a part like any other.
    """
    degrees, count = float(process.degrees), effort.of(4000, 20_000)
    middles = (np.arange(200_000) + 0.5) / 200_000
    for c in effort.of((0.7,), (0.1, 0.7, 0.95, 0.999)):
        law = student_clock.increment(degrees, c)
        drawn = law.quantile(middles)
        for p in (0.3, 3.0):
            found, known = np.exp(-p * drawn).mean(), law.laplace(np.array([p + 0j]))[0].real
            yield at_most(f"Laplace transform at {p:g}, c = {c:g}", abs(found - known), 1e-5)
        first, second, third, fourth = (
            effort.seeds(count, "clock", str(c), number).uniform().numpy() for number in range(4)
        )
        part, rest = student_clock.quantile(first, degrees), law.quantile(second)
        whole = student_clock.quantile(third, degrees)
        back = law.share(fourth, whole)
        yield distribution_is(
            f"sum of part and gain, c = {c:g}", degrees / (c**2 * part + rest), stats.chi2(degrees).cdf
        )
        yield same_law(
            f"part and whole, forwards and backwards, c = {c:g}",
            np.log(np.stack((part, c**2 * part + rest), 1)),
            np.log(np.stack((back, whole), 1)),
        )


@claim("processes", "heavy-tailed")
def steps_of_the_bridge_are_independent(process: Any, effort: Effort) -> Iterator[Measured]:
    """In a bridge from noise, what came before s and what came after are independent in size, as they are forwards."""
    count = effort.of(4000, 40_000)
    x0, seeds = process.example_data(count), effort.seeds(count, "independent")
    s, t = torch.tensor([0.4, 0.7], dtype=torch.float64)
    xt = process.noise(x0, t, seeds.at("noise"))
    xs = process.bridge(xt, PointPosterior(x0), t, s, seeds.at("bridge"))
    schedule = process.schedule
    before = (xs - schedule.alpha(s) * x0).abs()[:, 0]
    after = (xt - schedule.alpha(t) / schedule.alpha(s) * xs).abs()[:, 0]
    found = stats.spearmanr(before.numpy(), after.numpy())
    yield probable("rank correlation of the sizes of both steps", found.pvalue, f"correlation {found.statistic:.4f}")


class _AtomsMean(Denoiser):
    """The mean of the exact belief in points on the line, told as a state."""

    def __init__(self, law: AtomsDenoiser) -> None:
        super().__init__()
        self.law, self.process = law, law.process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """The point belief."""
        shares = self.law(xt, t).log_weights.exp()
        return PointPosterior((shares @ self.law.atoms).to(xt.dtype))


@claim("samplers", "heun", "multistep")
def flow_carries_students_noise(sampler: Sampler, effort: Effort) -> Iterator[Measured]:
    """The probability flow from Student's noise leads to the data's law, as it does from normal noise."""
    if "heavy-tailed" not in sampler.spaces:
        raise NotMeasured("it adds normal noise of its own", silent=True)
    count, steps = effort.of((1000, 100), (10_000, 400))
    atoms, weights = torch.tensor([[-1.0], [0.3], [1.2]], dtype=torch.float64), [0.5, 0.2, 0.3]
    for degrees in (3.0, 1.0):
        law = AtomsDenoiser(HeavyTailedProcess(degrees=degrees), atoms, weights)
        drawn = sample(
            _AtomsMean(law), sampler, (1,), count, steps=steps, seed=effort.seed + 5, batch=count, dtype=torch.float64
        )
        nearest = (drawn - atoms.T).abs().argmin(1)
        yield counts_are(f"points reached, {degrees:g} degrees", nearest.bincount(minlength=3).numpy(), weights)
        away = (drawn - atoms.T).abs().amin(1)  # a few are still between two points, where steps are finite
        yield at_most(f"distance of nine in ten from them, {degrees:g} degrees", away.quantile(0.9), 0.02)
