"""Claims of exact denoisers on vectors that hold point by point: no chance is in them but in the choice of points."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from unstir.exact.base import EuclideanDenoiser
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most, mean_is

__all__ = [
    "conditioning_by_bayes",
    "covariance_by_tweedie",
    "density_holds_one",
    "density_obeys_continuity",
    "extremes_are_finite",
    "mean_by_tweedie",
    "posterior_by_bayes",
    "score_is_gradient",
]

_ROUNDING = 1e-8  # of float64, through one derivative and a division by the noise at the log-SNR met here
_PROBES = 16  # directions in which a large covariance is looked at
_LARGEST_TRACE = 64  # elements for which a divergence is summed


def vectors(subject: Any) -> EuclideanDenoiser:
    """The subject, if these claims concern it."""
    if not isinstance(subject, EuclideanDenoiser):
        raise NotMeasured("a claim of exact denoisers on vectors", silent=True)
    return subject


def times(subject: EuclideanDenoiser, *log_snrs: float) -> list[Tensor]:
    """Times of these log-SNR that the schedule reaches."""
    found = [subject.process.schedule.time(value) for value in log_snrs]
    return [t for t in found if 0 < float(t) < 1]


def flat(tensor: Tensor) -> Tensor:
    """(batch, d)."""
    return tensor.reshape(len(tensor), -1)


@claim("exact")
def score_is_gradient(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The score is the gradient of the noisy law's log-density."""
    law = vectors(subject)
    for t in times(law, -6.0, 0.0, 6.0):
        xt = law.draw(effort.seeds(effort.of(16, 128), "score"), t)
        gradient = _gradient(law, xt, t)
        error = flat(law.score(xt, t) - gradient).norm(dim=1).max() / flat(gradient).norm(dim=1).mean()
        yield at_most(f"largest difference, t = {float(t):.3g}", error, _ROUNDING, "of the mean length of a score")


@claim("exact")
def mean_by_tweedie(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The belief's mean is (x_t + sigma^2 grad log p_t) / alpha, Tweedie's formula."""
    law = vectors(subject)
    for t in times(law, -6.0, 0.0, 6.0):
        xt = law.draw(effort.seeds(effort.of(16, 128), "mean"), t)
        alpha, sigma = law.process.coefficients(t, xt)
        expected = (xt + sigma.square() * _gradient(law, xt, t)) / alpha
        error = flat(law(xt, t).mean - expected).norm(dim=1).max() / flat(expected).norm(dim=1).mean()
        yield at_most(f"largest difference, t = {float(t):.3g}", error, _ROUNDING, "of the mean length")


@claim("exact")
def covariance_by_tweedie(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The belief's covariance is sigma^2/alpha times the derivative of its mean; its variances are the diagonal."""
    law = vectors(subject)
    for t in times(law, -4.0, 0.0, 4.0):
        xt = law.draw(effort.seeds(effort.of(8, 64), "covariance"), t).requires_grad_()
        alpha, sigma = law.process.coefficients(t, xt)
        posterior = law(xt, t)
        if not hasattr(posterior, "covariance"):
            raise NotMeasured("its belief does not tell its covariance")
        covariance = posterior.covariance().detach()
        mean, size = flat(posterior.mean), covariance.shape[1]
        probes = torch.eye(size, dtype=xt.dtype)
        if size > _PROBES:
            probes = effort.seeds(_PROBES, "probes").normal((size,), xt.dtype)
        errors = [
            sigma.square() / alpha * flat(torch.autograd.grad(mean @ probe, xt, torch.ones(len(xt)).to(xt), True)[0])
            - covariance @ probe
            for probe in probes.to(xt.device)
        ]
        # of a belief in one point nothing is left but the rounding of the data's own numbers
        least = 1e-4 * float((flat(xt.detach()) / alpha).square().mean())
        scale = covariance.diagonal(dim1=1, dim2=2).sum(1).mean() / math.sqrt(size) + least
        worst = torch.stack(errors).abs().max() / scale
        yield at_most(f"covariance, largest difference, t = {float(t):.3g}", worst, _ROUNDING, "of the mean variance")
        if hasattr(posterior, "variance"):
            away = (flat(posterior.variance.detach()) - covariance.diagonal(dim1=1, dim2=2)).abs().max() / scale
            yield at_most(f"variance, largest difference, t = {float(t):.3g}", away, _ROUNDING)


@claim("exact")
def density_obeys_continuity(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The density changes in time as the probability flow carries it: the continuity equation holds at each point."""
    law = vectors(subject)
    for t in times(law, -3.0, 0.0, 3.0):
        xt = law.draw(effort.seeds(effort.of(8, 64), "continuity"), t).requires_grad_()
        size = flat(xt).shape[1]
        if size > _LARGEST_TRACE:
            raise NotMeasured(f"the divergence is summed for at most {_LARGEST_TRACE} elements; it has {size}")
        step = 1e-3 * min(float(t), 1 - float(t))
        terms = [law.log_density(xt.detach(), t + shift * step) for shift in (-2, -1, 1, 2)]
        change = (terms[0] - 8 * terms[1] + 8 * terms[2] - terms[3]) / (12 * step)  # fourth order in the step
        velocity = flat(law.process.velocity_of(xt, law(xt, t).mean, t))
        slopes = [
            flat(torch.autograd.grad(velocity[:, place].sum(), xt, retain_graph=True)[0])[:, place]
            for place in range(size)
        ]
        spread = torch.stack(slopes).sum(0)
        carried = (velocity.detach() * flat(_gradient(law, xt, t))).sum(1)
        terms_size = (change.abs() + spread.abs() + carried.abs()).mean()
        error = (change + spread + carried).abs().max() / terms_size
        yield at_most(f"largest residual, t = {float(t):.3g}", error, 1e-6, "of the mean size of the terms")


@claim("exact")
def density_holds_one(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The noisy law's density integrates to one."""
    law = vectors(subject)
    for t in times(law, -2.0, 2.0):
        sample = flat(law.draw(effort.seeds(500, "where"), t))
        centre, size = sample.mean(0), sample.shape[1]
        root = torch.linalg.cholesky(sample.T.cov().reshape(size, size) * 1.5)
        seeds = effort.seeds(effort.of(4000, 40_000), "integral")
        # Student's law with five degrees of freedom: its tails lie above those of any law with Gaussian noise
        normal = seeds.at("normal").normal((size,), torch.float64).to(sample.device)
        chi = seeds.at("chi").normal((5,), torch.float64).to(sample.device).square().sum(1)
        points = centre + (normal * (5 / chi).sqrt()[:, None]) @ root.T
        squares = normal.square().sum(1) / chi
        log_proposal = (
            math.lgamma((5 + size) / 2) - math.lgamma(2.5) - size / 2 * math.log(5 * math.pi)
            - float(root.diagonal().log().sum()) - (5 + size) / 2 * squares.log1p()
        )  # fmt: skip
        shape = law.draw(effort.seeds(1, "shape")).shape[1:]
        log_density = law.log_density(points.reshape(-1, *shape), t)
        yield mean_is(
            f"integral by importance sampling, t = {float(t):.3g}", (log_density - log_proposal).exp().cpu(), 1
        )


@claim("exact")
def posterior_by_bayes(subject: Any, effort: Effort) -> Iterator[Measured]:
    """The belief's density is Bayes' rule: that of the data times that of the noise, over that of x_t."""
    law = vectors(subject)
    for t in times(law, -4.0, 0.0, 4.0):
        seeds = effort.seeds(effort.of(16, 128), "bayes")
        x0 = law.draw(seeds)
        xt = law.process.noise(x0, t, seeds.at("noise"))
        expected = law.log_density(x0, 0.0) + _log_noise(law, xt, x0, t) - law.log_density(xt, t)
        error = (law(xt, t).log_prob(x0) - expected).abs().max()
        yield at_most(f"largest difference, nats, t = {float(t):.3g}", error, 1e-7)


@claim("exact")
def conditioning_by_bayes(subject: Any, effort: Effort) -> Iterator[Measured]:
    """Given a measurement, the density is that of the data times that of the measurement's error, over p(y)."""
    law = vectors(subject)
    x0 = law.draw(effort.seeds(effort.of(16, 128), "measured"))
    size = flat(x0).shape[1]
    mixing = effort.seeds(2, "operator").normal((size,), torch.float64).to(x0.device)
    single = torch.zeros_like(mixing[:1])
    single[0, -1] = 2.0
    for name, operator in (("two mixtures of elements", mixing), ("one element", single)):
        deviation = torch.tensor([0.4, 0.8], dtype=torch.float64, device=x0.device)[: len(operator)]
        observation = operator @ flat(law.draw(effort.seeds(1, "truth")))[0] + 0.3
        given = law.given_observation(operator, observation, deviation)
        log_noise = _log_normal(observation - flat(x0) @ operator.T, deviation)
        ratio = law.log_density(x0, 0.0) + log_noise - given.log_density(x0, 0.0)
        spread = ratio.max() - ratio.min()
        yield at_most(f"{name}: spread of the ratio over x_0, nats", spread, 1e-7, "it is log p(y) for all x_0")
        evidence = getattr(given, "log_evidence", None)
        if isinstance(evidence, Tensor):
            away = (ratio - evidence).abs().max()
            yield at_most(f"{name}: difference of log p(y), nats", away, 1e-9)
        many = flat(law.draw(effort.seeds(effort.of(4000, 40_000), "evidence")))
        likelihood = _log_normal(observation - many @ operator.T, deviation)
        told = (likelihood - ratio.mean()).exp()
        yield mean_is(f"{name}: p(y) by draws, of that by Bayes' rule", told.cpu(), 1)


@claim("exact")
def extremes_are_finite(subject: Any, effort: Effort) -> Iterator[Measured]:
    """From no noise to all that there is, results are finite, of the state's dtype and the same in any batch."""
    law = vectors(subject)
    schedule = law.process.schedule
    infinite, alone = 0, []
    for t in (torch.zeros((), dtype=torch.float64), schedule.time(20.0), schedule.time(-20.0), torch.ones(()).double()):
        x = law.draw(effort.seeds(8, "extremes"), t)
        for dtype in (torch.float32, torch.float64):
            xt = x.to(dtype)
            posterior = law(xt, t)
            found = [posterior.mean, posterior.sample(effort.seeds(8, "belief"))]
            found += [law.score(xt, t)] if t > 0 else []
            wrong = [value for value in found if value.dtype != dtype or value.shape != xt.shape]
            infinite += len(wrong) + sum(not bool(value.isfinite().all()) for value in found)
        # at time 0 itself the score's unit vanishes, and only means are compared
        single = torch.cat([law(row[None], t).mean for row in x])
        alone.append(float((law(x, t).mean - single).abs().max() / (1 + single.abs().max())))
    yield at_most("results that are not finite, or of another shape or dtype", infinite, 0.0)
    yield at_most("largest difference of a mean alone and in a batch", max(alone), 1e-10)


def _gradient(law: EuclideanDenoiser, xt: Tensor, t: Tensor) -> Tensor:
    xt = xt.detach().requires_grad_()
    return torch.autograd.grad(law.log_density(xt, t).sum(), xt)[0]


def _log_noise(law: EuclideanDenoiser, xt: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """log q(x_t | x_0), (batch,)."""
    alpha, sigma = law.process.coefficients(t, xt)
    return _log_normal(flat(xt - alpha * x0), sigma.expand_as(xt).reshape(len(xt), -1))


def _log_normal(error: Tensor, deviation: Tensor) -> Tensor:
    """Of independent normal errors (batch, m), (batch,)."""
    return -((error / deviation).square() / 2 + (math.sqrt(2 * math.pi) * deviation).log()).sum(1)
