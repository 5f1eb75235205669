"""Claims about the log-density along the probability flow."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.covariances import LowRank
from unstir.exact.mixture import MixtureDenoiser
from unstir.likelihood.divergence import divergence
from unstir.likelihood.flow import LogDensity
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.references import ON_THE_LINE, PointDenoiser
from unstir.verification.statistics import at_most, uniform_are

__all__ = [
    "flow_density_integrates_to_one",
    "flow_density_is_exact",
    "flow_density_slopes_like_the_score",
    "standard_errors_cover",
    "trace_estimates_are_unbiased",
]

FlowLogDensity = Callable[..., LogDensity]


def ring(process: GaussianProcess) -> MixtureDenoiser:
    """Eight unequal modes on a ring in the plane and a tight one inside it."""
    angles = torch.arange(8, dtype=torch.float64) * (math.pi / 4)
    means = torch.cat((0.72 * torch.stack((angles.cos(), angles.sin()), 1), torch.tensor([[0.15, 0.10]])))
    return MixtureDenoiser([4, 1, 6, 2, 8, 3, 5, 7, 4], means, [0.06**2] * 8 + [0.01**2], process)


def long_and_thin(process: GaussianProcess, elements: int = 64) -> MixtureDenoiser:
    """Ten Gaussians, each long in eight directions and thin in all others."""
    generator = np.random.Generator(np.random.Philox(key=64))
    means = torch.as_tensor(0.38 * generator.normal(size=(10, elements)))
    axes = torch.linalg.qr(torch.as_tensor(generator.normal(size=(10, elements, 8)))).Q
    spreads = torch.logspace(math.log10(1.6), math.log10(0.3), 8, dtype=torch.float64)
    thin = torch.full((10, elements), 0.05**2, dtype=torch.float64)
    return MixtureDenoiser(torch.arange(1, 11), means, LowRank(axes * spreads, thin), process)


def all_widths(process: GaussianProcess, elements: int = 64) -> MixtureDenoiser:
    """Two Gaussians whose widths run evenly in their logarithm from 0.05 to 1: no few directions stand out."""
    variances = torch.logspace(2 * math.log10(0.05), 0, elements, dtype=torch.float64)
    means = torch.zeros(2, elements, dtype=torch.float64)
    means[1] = 0.3
    return MixtureDenoiser([0.3, 0.7], means, torch.stack((variances, variances.flip(0))), process)


@claim("likelihood", "flow-log-density")
def flow_density_is_exact(flow_log_density: FlowLogDensity, effort: Effort) -> Iterator[Measured]:
    """Along any schedule, from scores or from beliefs, the log-density is the exact one to a hundredth of a nat."""
    for name, process in GaussianProcess.examples().items():
        denoiser = ring(process)
        x = denoiser.draw(effort.seeds(effort.of(64, 2000), name))
        found = flow_log_density(denoiser, x)
        yield from _errors(f"ring, {name}", found.nats - denoiser.log_density(x, 0.0))
    denoiser = ring(GaussianProcess())
    x = denoiser.draw(effort.seeds(effort.of(32, 500), "point"))
    blurred = flow_log_density(PointDenoiser(denoiser), x)
    yield from _errors("ring, point beliefs", blurred.nats - denoiser.log_density_at(x, 1.0, blurred.level))
    if not effort.quick:
        denoiser = long_and_thin(GaussianProcess())
        x = denoiser.draw(effort.seeds(64, "thin"))
        found = flow_log_density(denoiser, x, divergence="exact")
        yield from _errors("64 elements", found.nats - denoiser.log_density(x, 0.0))


def _errors(what: str, error: Tensor) -> Iterator[Measured]:
    yield at_most(f"{what}: mean error, nats", error.mean().abs(), 1e-3)
    yield at_most(f"{what}: largest error, nats", error.abs(), 1e-2)


@claim("likelihood", "flow-log-density")
def flow_density_integrates_to_one(flow_log_density: FlowLogDensity, effort: Effort) -> Iterator[Measured]:
    """On a line the density along the flow integrates to one, for any schedule and even where the belief is wrong."""
    places, weights = np.polynomial.legendre.leggauss(effort.of(120, 400))
    x = torch.as_tensor(3.5 * places)[:, None]
    for name, process in GaussianProcess.examples().items():
        denoiser = ON_THE_LINE.denoiser(process)
        found = flow_log_density(denoiser, x).nats.exp().numpy()
        plot = None
        if name == "variance preserving":
            parts = zip(ON_THE_LINE.weights, ON_THE_LINE.means, ON_THE_LINE.deviations, strict=True)
            exact = np.sum([share * stats.norm.pdf(x[:, 0], mean[0], width) for share, mean, width in parts], axis=0)
            curves = (Curve("along the flow", x[:, 0], found), Curve("exact", x[:, 0], exact, dashed=True))
            plot = Plot("Density of a mixture on a line", "x", "density", curves)
        yield at_most(f"integral less one, {name}", abs(3.5 * weights @ found - 1), 1e-4, plot=plot)
    astray = flow_log_density(_Astray(ON_THE_LINE.denoiser(GaussianProcess())), x).nats.exp().numpy()
    yield at_most("integral less one, wrong belief", abs(3.5 * weights @ astray - 1), 1e-4)


class _Astray(PointDenoiser):
    """A belief that is the mean of no law's posterior; the less noise there is, the nearer to the truth."""

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """The right mean, bent."""
        alpha, sigma = self.process.coefficients(t, xt)
        share = sigma.square() / (alpha.square() + sigma.square())
        return PointPosterior(super().forward(xt, t).mean + 0.2 * share * (2 * xt).sin())


@claim("likelihood", "flow-log-density")
def flow_density_slopes_like_the_score(flow_log_density: FlowLogDensity, effort: Effort) -> Iterator[Measured]:
    """Differentiated through the whole flow, the log-density has the exact score as its gradient."""
    denoiser = ring(GaussianProcess())
    x = denoiser.draw(effort.seeds(effort.of(6, 100), "gradient")).requires_grad_()
    found = flow_log_density(denoiser, x, level=0.1, tolerance=1e-7, differentiable=True)
    (gradient,) = torch.autograd.grad(found.nats.sum(), x)
    score = denoiser.score_at(x.detach(), 1.0, 0.1)
    yield at_most("relative to the largest slope", (gradient - score).abs() / score.abs().max(), 1e-4)


@claim("likelihood", "flow-log-density")
def standard_errors_cover(flow_log_density: FlowLogDensity, effort: Effort) -> Iterator[Measured]:
    """In units of its standard error an estimated log-density misses the exact one by Student's t."""
    process, count, probes = GaussianProcess(), effort.of(24, 400), 16
    # signs find no variance along the axes, and sketches none in a few directions that stand out: each has its law
    laws = {"hutchinson": long_and_thin(process), "hutch++": all_widths(process)}
    for method, denoiser in laws.items():
        x = denoiser.draw(effort.seeds(count, "cover"))
        exact = denoiser.log_density_at(x, 1.0, 0.05)
        found = flow_log_density(denoiser, x, level=0.05, divergence=method, probes=probes, tolerance=1e-4)
        ranks = stats.t(probes - 1).cdf((found.nats - exact) / found.standard_error)
        shown = Curve("ranks", np.sort(ranks), (np.arange(count) + 0.5) / count)
        plot = Plot(f"Calibration of {method}", "rank by Student's t", "share", (shown, _DIAGONAL))
        spread = float(found.standard_error.square().mean().sqrt())
        yield uniform_are(f"ranks by Student's t, {method} (standard error {spread:.2g} nats)", ranks, plot)


_DIAGONAL = Curve("calibrated", [0.0, 1.0], [0.0, 1.0], dashed=True)


@claim("likelihood", "flow-log-density")
def trace_estimates_are_unbiased(flow_log_density: FlowLogDensity, effort: Effort) -> Iterator[Measured]:
    """Each estimate of a trace has the exact trace as its mean, and its standard errors are those of Student's t."""
    size, count, probes = 24, effort.of(300, 20_000), 12
    generator = np.random.Generator(np.random.Philox(key=24))
    matrix = torch.as_tensor(generator.normal(size=(size, size)) / math.sqrt(size)) + 3 * torch.eye(size)
    trace = float(matrix.trace())
    x = torch.zeros(count, size, dtype=torch.float64)
    for method in ("hutchinson", "hutchinson-gaussian", "hutch++"):
        value, error = divergence(lambda x: x @ matrix.T, x, method, probes, effort.seeds(count, method))
        miss = (value - trace).numpy()
        deviation = float(miss.std(ddof=1))
        chance = 2 * stats.t(count - 1).sf(abs(miss.mean()) / (deviation / math.sqrt(count)))
        yield Measured(f"{method}: chance of such a mean", float(chance), 1e-7, 1.0, None, 1e-7)
        # the variance of one estimate by its spread over samples, and by the probes' own account: chi-square each
        ratio = float(error.square().mean()) / deviation**2
        spread = math.sqrt(2 / (count - 1) + 3 / (count * (probes - 1)))
        yield Measured(
            f"{method}: variance told by variance found", ratio, 1 - 6 * spread, 1 + 6 * spread, spread, 1e-7
        )
