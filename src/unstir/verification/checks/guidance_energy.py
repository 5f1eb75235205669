"""Claims of guidance by energies and constraints: what is exact is exact, and what must be met is met."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import log_marginals
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.categorical import TokenChainDenoiser, TokenProductDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.guidance.constraints import (
    DivergenceFree,
    HardConstraint,
    HeatConstraint,
    LinearConstraint,
    PoissonConstraint,
    RangeConstraint,
    SymmetryConstraint,
    TotalConstraint,
)
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.samplers.exponential import ddim
from unstir.samplers.runge_kutta import heun
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, counts_are, order_of, probable

__all__ = [
    "averaging_over_a_group_is_its_projection",
    "draws_have_the_tilted_law",
    "energies_of_noisy_states_give_the_conditional_belief",
    "linear_energies_give_the_tilted_law",
    "projections_are_met_to_rounding",
    "projections_of_round_gaussians_are_exact",
    "regressors_of_gaussians_give_kalmans_update",
    "residuals_vanish_on_solutions_and_constraints_pull",
]

TIMES = (1e-3, 0.1, 0.4, 0.7, 0.9)
PROCESSES = {"preserving": GaussianProcess(), "exploding": GaussianProcess(EDMSchedule())}
MEAN = torch.tensor([0.2, 0.4, -0.6], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.6, 0.2, -0.1], [0.2, 0.4, 0.1], [-0.1, 0.1, 0.3]], dtype=torch.float64)
SLOPE = torch.tensor([0.8, -0.5, 0.3], dtype=torch.float64)


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


@claim("guidance", "energy")
def linear_energies_give_the_tilted_law(guide: type, effort: Effort) -> Iterator[Measured]:
    """An energy linear in Gaussian data, or a sum over independent tokens, leads to the exact belief of p exp(-wE).

    N(m, C) times exp(-w a.x) is N(m - w C a, C). Without the way through the denoiser it takes data of one variance.
    """
    w = 1.7
    for name, process in PROCESSES.items():
        for through, covariance in ((True, COVARIANCE), (False, 0.36 * torch.eye(3, dtype=torch.float64))):
            law = GaussianDenoiser(MEAN, covariance, process)
            wanted = GaussianDenoiser(MEAN - w * covariance @ SLOPE, covariance, process)
            guided = guide(law, lambda x0: x0 @ SLOPE, w, through=through, deviation=0.6)
            errors = []
            for t in TIMES:
                xt = wanted.draw(effort.seeds(20, "tilted", name, str(t)), t)
                errors.append((guided(xt, _time(t)).mean - wanted(xt, _time(t)).mean).abs().max())
            way = "through the denoiser" if through else "by the data's deviation"
            yield at_most(f"largest error of the mean, variance {name}, {way}", torch.stack(errors).max(), 1e-8)
    chances = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]], dtype=torch.float64)
    slopes = torch.tensor([[0.3, -0.5, 0.9], [0.4, 1.2, -0.7]], dtype=torch.float64)
    for rates in ("absorbing", "uniform"):
        process = CategoricalProcess(3, rates=rates)
        wanted = TokenProductDenoiser((chances.log() - w * slopes).softmax(-1), process)
        guided = guide(TokenProductDenoiser(chances, process), lambda code: (code * slopes).sum((1, 2)), w)
        xt = wanted.draw(effort.seeds(20, "tokens", rates), 0.5)
        away = log_marginals(guided(xt, _time(0.5)), 3).exp() - log_marginals(wanted(xt, _time(0.5)), 3).exp()
        yield at_most(f"largest error of a probability, {rates} tokens", away.abs().max(), 1e-12)


@claim("guidance", "energy")
def energies_of_noisy_states_give_the_conditional_belief(guide: type, effort: Effort) -> Iterator[Measured]:
    """The energy -log p(y|x_t) of the noisy state leads to the exact belief given y, for points and tokens."""
    points = MixtureDenoiser([0.6, 0.4], [[0.0, 1.0], [1.5, -0.5]], [0.2, 0.3], GaussianProcess(), labels=[0, 1])
    chains = {
        rates: TokenChainDenoiser(
            [[0.5, 0.5], [0.1, 0.9]],
            [[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4]]],
            CategoricalProcess(2, rates=rates),
            3,
            [0.4, 0.6],
            [0, 1],
        )
        for rates in ("absorbing", "uniform")
    }
    for name, law in {"points": points, **chains}.items():
        one = {"label": torch.ones(12, dtype=torch.int64)}

        def energy(xt: Tensor, t: Tensor, law: Any = law) -> Tensor:
            label = torch.ones(len(xt), dtype=torch.int64)
            return law.log_density(xt, t) - law.log_density(xt, t, label=label)

        errors = []
        for t in (0.1, 0.5, 0.9):
            xt = law.draw(effort.seeds(12, "noisy", name, str(t)), t)
            pair = [guide(law, energy, on="noisy")(xt, _time(t)), law(xt, _time(t), **one)]
            told = [belief.mean if name == "points" else log_marginals(belief, 2).exp() for belief in pair]
            errors.append((told[0] - told[1]).abs().max())
        yield at_most(f"{name}: largest error over three noise levels", torch.stack(errors).max(), 1e-8)


@claim("guidance", "energy")
def draws_have_the_tilted_law(guide: type, effort: Effort) -> Iterator[Measured]:
    """An energy on draws has the law that counting candidates gives, and with many of them p exp(-E).

    On a torus with two points: how many candidates are at the first is binomial, and so known is the kept one's law. On
    two tokens that hang together: what ancestral steps draw, with an energy that is no sum.
    """
    torus, count, candidates = WrappedProcess(ExponentialVESchedule(0.01, 2.0)), effort.of(4_000, 40_000), 6
    law = AtomsDenoiser(torus, torch.tensor([[0.2], [0.7]], dtype=torch.float64), [0.3, 0.7])
    xt = torch.full((count, 1), 0.45, dtype=torch.float64)  # as far from both
    guided = guide(law, lambda x0: 2 * (x0[:, 0] > 0.5), 0.8, on="draws", candidates=candidates)
    seen = int((guided(xt, _time(0.5)).sample(effort.seeds(count, "torus")) == 0.2).sum())
    number = np.arange(candidates + 1)
    weight = number * np.exp(1.6)
    chance = (stats.binom.pmf(number, candidates, 0.3) * weight / (weight + candidates - number)).sum()
    tail = stats.binomtest(seen, count, float(chance)).pvalue
    yield probable("a torus: how often the first of two points", tail, f"{seen} of {count}, {chance:.4f} expected")
    tokens = TokenChainDenoiser([0.6, 0.4], [[0.7, 0.3], [0.2, 0.8]], CategoricalProcess(2, rates="absorbing"), 2)
    unlike = guide(tokens, lambda x0: 1.0 * (x0[:, 0] != x0[:, 1]), on="draws", candidates=effort.of(100, 300))
    count = effort.of(1_000, 3_000)
    drawn = sample(unlike, AncestralSampler(), (2,), count, steps=2, grid="uniform", seed=effort.seed, batch=count)
    plain = np.array([0.42, 0.18, 0.08, 0.32])
    tilted = plain * np.exp([0.0, -1.0, -1.0, 0.0])
    counted = np.bincount((drawn * torch.tensor([2, 1])).sum(1), minlength=4)
    yield counts_are("tokens drawn by two steps", counted, tilted / tilted.sum())


@claim("guidance", "regressor")
def regressors_of_gaussians_give_kalmans_update(guide: type, effort: Effort) -> Iterator[Measured]:
    """With a linear regressor and its error's right width, the belief of Gaussian data is Kalman's given the value.

    y = a.x_0 + e of deviation s is foretold from the believed x_0 with the variance s^2 + a.Cov a; for one target for
    all, and one a sample.
    """
    s, target = 0.3, 0.9
    for name, process in PROCESSES.items():
        law = GaussianDenoiser(MEAN, COVARIANCE, process)
        wanted = law.given_observation(SLOPE[None], torch.tensor([target], dtype=torch.float64), s)
        errors = []
        for t in TIMES:
            alpha, sigma = process.schedule.alpha(_time(t)), process.schedule.sigma(_time(t))
            inner = torch.linalg.inv(alpha.square() * COVARIANCE + sigma.square() * torch.eye(3, dtype=torch.float64))
            width = float((s**2 + SLOPE @ (sigma.square() * COVARIANCE @ inner) @ SLOPE).sqrt())
            xt = law.draw(effort.seeds(20, "kalman", name, str(t)), t)
            given = torch.full((20,), target, dtype=torch.float64)
            for told in (
                (guide(law, lambda x0: x0 @ SLOPE, target, width), {}),
                (guide(law, lambda x0: (x0 @ SLOPE)[:, None], "wish", width), {"wish": given[:, None]}),
            ):
                mean = told[0](xt, _time(t), **told[1]).mean
                errors.append((mean - wanted(xt, _time(t)).mean).abs().max())
        yield at_most(f"largest error of the mean, variance {name}", torch.stack(errors).max(), 1e-8)


def _constraints() -> dict[str, tuple[HardConstraint, tuple[int, ...]]]:
    """Every hard constraint, and the shape of a sample that it suits."""
    matrix = [[1.0, 1.0, 0.0, 0.5], [0.0, 1.0, -1.0, 0.0], [1.0, 2.0, -1.0, 0.5]]  # the third is the others' sum
    cells = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    turns = [lambda x, k=k: torch.rot90(x, k, (-2, -1)) for k in range(4)]
    return {
        "linear equations": (LinearConstraint(matrix, [1.0, 0.3, 1.3]), (4,)),
        "a total": (TotalConstraint(2.0), (3, 3)),
        "weighted totals by row": (TotalConstraint([1.0, -1.0], axes=1, weights=cells), (2, 3)),
        "a range": (RangeConstraint(-0.3, 0.5), (6,)),
        "a range, dynamically": (RangeConstraint(-0.3, 0.5, 0.8), (6,)),
        "symmetry of quarter turns": (SymmetryConstraint(turns), (4, 4)),
        "no divergence": (DivergenceFree((1.0, 0.5)), (2, 6, 5)),
        "no divergence in space": (DivergenceFree(), (3, 4, 4, 4)),
    }


@claim("guidance", "projection")
def projections_are_met_to_rounding(guide: type, effort: Effort) -> Iterator[Measured]:
    """After the last step every sample meets the constraint, and projecting twice is projecting once."""
    samplers = {"ddim": ddim(), "heun": heun(), "ancestral": AncestralSampler()}
    for name, (constraint, shape) in _constraints().items():
        law = GaussianDenoiser(torch.full(shape, 0.4), torch.tensor(0.5), GaussianProcess())
        errors = []
        for sampler in samplers.values():
            for dtype, unit in ((torch.float32, 2.0**-23), (torch.float64, 2.0**-52)):
                drawn = sample(
                    guide(law, constraint), sampler, shape, 4, steps=4, seed=effort.seed, batch=4, dtype=dtype
                )
                size = float(drawn.abs().max()) * drawn[0].numel()
                errors.append(constraint.residual(drawn).abs().max().double() / (unit * max(size, 1.0)))
        yield at_most(f"{name}: largest residual, in roundings of the sum", torch.stack(errors).max(), 8)
        x = effort.seeds(5, "twice", name).normal(shape, torch.float64)
        once = constraint.project(x)
        yield at_most(f"{name}: a second projection moves by", (constraint.project(once) - once).abs().max(), 1e-12)
        if "dynamically" not in name:
            other = constraint.project(effort.seeds(5, "other", name).normal(shape, torch.float64))
            # of the nearest point of a convex set, no other one lies beyond (for a plane, the angle is right)
            beyond = ((x - once) * (other - once)).flatten(1).sum(1)
            yield at_most(f"{name}: no point of the set is nearer", beyond.max(), 1e-10)


@claim("guidance", "projection")
def projections_of_round_gaussians_are_exact(guide: type, effort: Effort) -> Iterator[Measured]:
    """Of Gaussian data of one variance, the projected belief is the exact one given the equations."""
    matrix = torch.tensor([[1.0, 0.5, -0.2], [0.0, 1.0, 1.0]], dtype=torch.float64)
    value = torch.tensor([0.7, -0.4], dtype=torch.float64)
    for name, process in PROCESSES.items():
        law = GaussianDenoiser(MEAN, 0.3, process)
        wanted, guided = law.given_observation(matrix, value, 0.0), guide(law, LinearConstraint(matrix, value))
        errors = []
        for t in (*TIMES, 1.0):
            xt = law.draw(effort.seeds(20, "round", name, str(t)), t)
            errors.append((guided(xt, _time(t)).mean - wanted(xt, _time(t)).mean).abs().max())
        yield at_most(f"largest error of the mean, variance {name}", torch.stack(errors).max(), 1e-9)


@claim("guidance", "constraint")
def residuals_vanish_on_solutions_and_constraints_pull(guide: type, effort: Effort) -> Iterator[Measured]:
    """Residuals of equations vanish on their solutions in second order, and linear ones pull by the closed formula.

    For the residual A x - b and Gaussian data the mean moves by -Cov A^T (A m - b)/s^2.
    """
    sizes = effort.of((16, 32, 64), (16, 32, 64, 128))
    errors: dict[str, list[Tensor]] = {"Poisson": [], "heat": []}
    for size in sizes:
        h = 1 / size
        place = torch.arange(size, dtype=torch.float64) * h
        wave = torch.sin(2 * torch.pi * place)
        plane = (wave[:, None] * torch.cos(2 * torch.pi * place)[None])[None]
        source = -8 * torch.pi**2 * plane[0]
        errors["Poisson"].append(PoissonConstraint(source, h).residual(plane).abs().max())
        clock = torch.arange(size, dtype=torch.float64) * h
        film = ((-0.02 * 4 * torch.pi**2 * clock).exp()[:, None] * wave)[None]
        errors["heat"].append(HeatConstraint(0.02, h, h).residual(film).abs().max())
    for name, values in errors.items():
        yield order_of(
            f"{name}: residual of a solution", [1 / size for size in sizes], values, 2.0, step_name="spacing"
        )
    field = effort.seeds(2, "field").normal((2, 8, 8), torch.float64)
    yield at_most(
        "no divergence: residual of a projected field",
        DivergenceFree().residual(DivergenceFree().project(field)).abs().max(),
        1e-12,
    )
    matrix = torch.tensor([[1.0, 0.5, -0.2], [0.0, 1.0, 1.0]], dtype=torch.float64)
    value, s = torch.tensor([0.7, -0.4], dtype=torch.float64), 0.8
    law, t = GaussianDenoiser(MEAN, COVARIANCE, GaussianProcess()), _time(0.5)
    alpha, sigma = law.process.schedule.alpha(t), law.process.schedule.sigma(t)
    inner = torch.linalg.inv(alpha.square() * COVARIANCE + sigma.square() * torch.eye(3, dtype=torch.float64))
    xt = law.draw(effort.seeds(20, "pull"), t)
    plain = law(xt, t).mean
    shift = (plain @ matrix.T - value) @ matrix @ (sigma.square() * COVARIANCE @ inner) / s**2
    away = guide(law, LinearConstraint(matrix, value), s)(xt, t).mean - (plain - shift)
    yield at_most("largest error of a pulled mean", away.abs().max(), 1e-9)


class _Crooked(Denoiser):
    """A law's belief, and an error that knows no symmetry."""

    def __init__(self, law: Any) -> None:
        super().__init__()
        self.law, self.process = law, law.process

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        wrong = 0.2 * torch.sin(3 * xt + torch.arange(xt.shape[1]).to(xt))
        return PointPosterior(self.law(xt, t).mean + wrong)


@claim("guidance", "symmetry")
def averaging_over_a_group_is_its_projection(guide: type, effort: Effort) -> Iterator[Measured]:
    """A symmetric law's belief stays, any other turns with the state from then on, and its error falls."""
    corners = torch.tensor([[1.0, 0.4], [-0.4, 1.0], [-1.0, -0.4], [0.4, -1.0]], dtype=torch.float64)
    law = MixtureDenoiser([0.25] * 4, corners, [0.1] * 4, GaussianProcess())

    def turned(x: Tensor, quarters: int) -> Tensor:
        for _ in range(quarters % 4):
            x = torch.stack((-x[:, 1], x[:, 0]), 1)
        return x

    group = [(lambda x, k=k: turned(x, k), lambda x, k=k: turned(x, -k)) for k in range(4)]
    worst = {"left alone": [], "turns with the state": []}
    gained = []
    for t in TIMES:
        xt = law.draw(effort.seeds(effort.of(100, 1000), "turn", str(t)), t)
        exact, crooked = law(xt, _time(t)).mean, _Crooked(law)
        even = guide(crooked, group)
        worst["left alone"].append((guide(law, group)(xt, _time(t)).mean - exact).abs().max())
        told = even(xt, _time(t)).mean
        worst["turns with the state"].append((even(turned(xt, 1), _time(t)).mean - turned(told, 1)).abs().max())
        before, after = ((mean - exact).square().mean() for mean in (crooked(xt, _time(t)).mean, told))
        gained.append(float(after / before))
    for what, values in worst.items():
        yield at_most(f"{what}: largest error", torch.stack(values).max(), 1e-9)
    yield at_most("squared error of a crooked belief, of what it was", max(gained), 1.0)
