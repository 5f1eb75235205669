"""Claims of the methods that guide a belief by a measurement, against what is known in closed form."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.exact.centred import CentredMixtureDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.methods.base import Method
from unstir.inverse.methods.ddrm import DDRMMethod
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.base import Operator
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.inverse.solving import solve
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.base import SamplerState
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, mean_is

__all__ = [
    "ddrm_draws_are_exact_for_exactly_measured_independent_directions",
    "ddrm_steps_as_published",
    "dps_goes_down_the_slope_of_the_residual",
    "measurements_that_tell_nothing_move_nothing",
    "methods_pass_conditions_on",
    "methods_treat_samples_one_by_one",
    "moments_of_normal_data_are_the_exact_conditional_ones",
    "normal_data_are_drawn_from_their_exact_posterior",
    "pigdm_is_exact_for_independent_normal_data",
    "points_about_their_centre_are_told_as_exactly",
]

TIMES = (1e-3, 0.05, 0.3, 0.6, 0.9, 0.99)


def _time(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _problems(rows: int | None = None) -> dict[str, tuple[GaussianDenoiser, Measurement]]:
    """Normal laws, each with a linear measurement; of ``rows`` values each, if that is said."""
    laws = GaussianDenoiser.examples()
    wide = [[1.0, 0.5, -0.3], [0.0, 2.0, 0.4]]
    five = [[1.0, 0.0, 0.3, 0.0, -0.5], [0.2, -1.0, 0.0, 0.4, 0.0], [0.0, 0.3, 0.3, 0.3, 0.3]]
    seen = torch.tensor([[True, False], [True, True]])
    exploding = GaussianDenoiser([0.4, -0.2], [[1.0, 0.8], [0.8, 0.9]], GaussianProcess(EDMSchedule(sigma_max=50.0)))
    found: dict[str, tuple[GaussianDenoiser, Operator, float, list[float]]] = {
        "two values of three, flow": (laws["correlated-flow"], MatrixOperator((3,), wide), 0.1, [1.2, -0.4]),
        "a sum, exploding": (exploding, MatrixOperator((2,), [[1.0, 1.0]]), 0.5, [1.0]),
        "three elements of four": (laws["grid"], MaskOperator((2, 2), seen), 0.05, [0.6, 1.0, -0.3]),
        "three values of five": (laws["factors"], MatrixOperator((5,), five), 0.02, [0.1, 0.5, -0.2]),
        "an exact sum": (laws["correlated-flow"], MatrixOperator((3,), [[1.0, -1.0, 0.5]]), 0.0, [0.7]),
    }
    return {
        name: (law, Measurement(operator, torch.tensor(reading, dtype=torch.float64), GaussianNoise(noise)))
        for name, (law, operator, noise, reading) in found.items()
        if rows is None or len(reading) == rows
    }


def _mixture(labels: Any = None) -> tuple[MixtureDenoiser, Measurement]:
    means = [[1.0, -0.5, 0.0], [-0.6, 0.8, 0.5], [0.2, 0.3, -1.0]]
    law = MixtureDenoiser([0.5, 0.3, 0.2], means, [0.05, 0.1, 0.2], GaussianProcess(), labels=labels)
    operator = MatrixOperator((3,), [[1.0, 0.5, -0.3], [0.0, 2.0, 0.4]])
    return law, Measurement(operator, torch.tensor([0.3, 0.5], dtype=torch.float64), GaussianNoise(0.2))


@claim("methods", "mmps", "tmpd")
def moments_of_normal_data_are_the_exact_conditional_ones(method: Method, effort: Effort) -> Iterator[Measured]:
    """Around a normal law the belief is the exact conditional one at every noise level: its mean, and width if any.

    The sums of rows say all where one value is measured.
    """
    rows = 1 if getattr(method, "covariance", "") == "rows" else None
    for name, (law, measurement) in _problems(rows).items():
        guided, _ = method.pair(law, measurement)
        exact, errors, widths = exact_posterior(law, measurement), [], []
        for t in TIMES:
            xt = law.draw(effort.seeds(effort.of(8, 20), "moments", name, str(t)), t)
            told, wanted = guided(xt, _time(t)), exact(xt, _time(t))
            errors.append((told.mean - wanted.mean).abs().max())
            if hasattr(told, "covariance"):
                widths.append((told.covariance() - wanted.covariance()).abs().max())
        yield at_most(f"error of the mean, {name}", torch.stack(errors).max(), 1e-8)
        if widths:
            yield at_most(f"error of the covariance, {name}", torch.stack(widths).max(), 1e-8)


@claim("methods", "mmps", "tmpd")
def points_about_their_centre_are_told_as_exactly(method: Method, effort: Effort) -> Iterator[Measured]:
    """On the subspace of points about their centre the belief is the exact conditional one, and has no centre."""
    law = CentredMixtureDenoiser.examples()["chain"]
    operator = MaskOperator(law.shape, torch.tensor([[True, False, False]] + 3 * [[False] * 3]))
    measurement = Measurement(operator, torch.tensor([0.8], dtype=torch.float64), GaussianNoise(0.1))
    guided, _ = method.pair(law, measurement)
    exact = exact_posterior(law.within, measurement)
    errors, centres = [], []
    for t in TIMES:
        xt = law.draw(effort.seeds(effort.of(4, 20), "centred", str(t)), t)
        mean = guided(xt, _time(t)).mean
        errors.append((mean - exact(xt, _time(t)).mean).abs().max())
        centres.append(mean.mean(1).abs().max())
    yield at_most("error of the mean", torch.stack(errors).max(), 1e-8)
    yield at_most("centre of the mean", torch.stack(centres).max(), 1e-12)


@claim("methods", "mmps", "tmpd")
def normal_data_are_drawn_from_their_exact_posterior(method: Method, effort: Effort) -> Iterator[Measured]:
    """Draws for a normal law have the posterior's mean and covariance.

    A Gaussian belief is drawn from by ancestral sampling in twelve steps; a point is followed by a solver of order two.
    """
    rows = 1 if getattr(method, "covariance", "") == "rows" else None
    count = effort.of(600, 4_000)
    wide = getattr(method, "covariance", "") == "full"
    how = replace(method, sampler="ancestral" if wide else "dpm-solver-pp-2m")  # type: ignore[type-var]
    for name, (law, measurement) in _problems(rows).items():
        if measurement.noise.deviation == 0 or (effort.quick and "flow" not in name and "exploding" not in name):  # type: ignore[attr-defined]
            continue
        drawn = solve(
            law,
            measurement,
            how,
            count,
            steps=12 if wide else effort.of(40, 60),
            seed=effort.seed + 3,
            batch=count,
            dtype=torch.float64,
        ).samples
        posterior = exact_posterior(law, measurement)
        assert isinstance(posterior, GaussianDenoiser)
        yield from _normal(name, drawn, posterior)


def _normal(name: str, drawn: Tensor, law: GaussianDenoiser) -> Iterator[Measured]:
    """Whether draws have the mean and the covariance of a law whose covariance has full rank."""
    root = torch.linalg.cholesky(law.covariance())
    white = torch.linalg.solve_triangular(root, (drawn - law.mean).double().flatten(1).T, upper=False).T
    yield mean_is(f"mean of the draws, {name}", white, np.zeros(white.shape[1]))
    products = white[:, :, None] * white[:, None]
    yield mean_is(f"covariance of the draws, {name}", products, np.eye(white.shape[1]))


@claim("methods", "pi-gdm")
def pigdm_is_exact_for_independent_normal_data(method: Method, effort: Effort) -> Iterator[Measured]:
    """For independent normal data of the deviation that it is told, the belief's mean is the exact conditional one."""
    tall = [[1.0, 0.2, 0.0], [0.5, -1.0, 0.3], [0.3, 0.3, 0.1], [0.0, 0.0, 2.0]]
    seen = torch.tensor([True, False, True])
    for name, (operator, noise) in {
        "two values of three": (MatrixOperator((3,), [[1.0, 0.5, -0.3], [0.0, 2.0, 0.4]]), 0.1),
        "four values of three": (MatrixOperator((3,), tall), 0.3),
        "two exact elements": (MaskOperator((3,), seen), 0.0),
        "of low rank": (MatrixOperator((3,), [[1.0, 2.0, 0.5], [2.0, 4.0, 1.0]]), 0.05),
    }.items():
        for deviation, process in ((0.7, GaussianProcess()), (2.0, GaussianProcess(EDMSchedule()))):
            law = GaussianDenoiser([0.4, -0.5, 0.1], deviation**2, process)
            reading = operator(torch.tensor([[1.0, 0.3, -0.7]], dtype=torch.float64))[0]
            measurement = Measurement(operator, reading, GaussianNoise(noise))
            guided, _ = replace(method, strength=1.0, deviation=deviation).pair(law, measurement)  # type: ignore[type-var]
            exact, errors = exact_posterior(law, measurement), []
            for t in TIMES:
                xt = law.draw(effort.seeds(effort.of(8, 20), "isotropic", name, str(t)), t)
                errors.append((guided(xt, _time(t)).mean - exact(xt, _time(t)).mean).abs().max())
            yield at_most(f"error of the mean, {name}, deviation {deviation:g}", torch.stack(errors).max(), 1e-8)


@dataclass(frozen=True, eq=False)
class _Products(Operator):
    """Squares, and what neighbours make together: not linear, and differentiable."""

    shape: tuple[int, ...] = (3,)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (2,)

    def __call__(self, x0: Tensor) -> Tensor:
        return torch.stack((x0[:, 0].square() + 0.3 * x0[:, 2], x0[:, 1] * x0[:, 2] + x0[:, 0].sin()), 1)

    @classmethod
    def examples(cls) -> Mapping[str, Operator]:
        """Itself."""
        return {"products": cls()}


@claim("methods", "dps")
def dps_goes_down_the_slope_of_the_residual(method: Any, effort: Effort) -> Iterator[Measured]:
    """The move is the strength times sigma^2/alpha times the slope of its energy, as differences of its values say."""
    law, linear = _mixture()
    curved = Measurement(_Products(), linear.reading, linear.noise)
    count = effort.of(3, 12)
    for name, measurement in {"linear operator": linear, "curved operator": curved}.items():
        guided, _ = replace(method, strength=0.7, deviation=0.8).pair(law, measurement)
        for t in (0.2, 0.5, 0.8):
            xt = law.draw(effort.seeds(count, "slope", name, str(t)), t)
            alpha, sigma = (float(getattr(law.process.schedule, part)(t)) for part in ("alpha", "sigma"))
            slope = -_differences(lambda x, t=t, m=measurement: _energy(method, m, law(x, _time(t)).mean), xt)
            if method.energy == "residual":
                variance = 1 / (0.8**-2 + (alpha / sigma) ** 2)
                gain = _differences(lambda x, m=measurement: _energy(method, m, x), law(xt, _time(t)).mean).norm(dim=1)
                slope = slope * (2 / (0.2**2 + gain.square() * variance)).sqrt()[:, None]
            wanted = 0.7 * sigma**2 / alpha * slope
            moved = guided(xt, _time(t)).mean - law(xt, _time(t)).mean
            worst = ((moved - wanted).norm(dim=1) / wanted.norm(dim=1)).max()
            yield at_most(f"relative error of the move, {name}, t = {t:g}", worst, 1e-5)


def _energy(method: Any, measurement: Measurement, x0: Tensor) -> Tensor:
    if method.energy == "likelihood":
        return -measurement.log_likelihood(x0)
    return (measurement.reading - measurement.operator(x0)).norm(dim=1)


def _differences(value: Callable[[Tensor], Tensor], x: Tensor, width: float = 1e-5) -> Tensor:
    """The gradient of each sample's value by central differences, (batch, d)."""
    units = width * torch.eye(x.shape[1], dtype=x.dtype)
    with torch.no_grad():
        return torch.stack([(value(x + unit) - value(x - unit)) / (2 * width) for unit in units], 1)


@claim("methods", "ddrm")
def ddrm_steps_as_published(method: Any, effort: Effort) -> Iterator[Measured]:
    """One step has in each singular direction the mean and the deviation of the paper, and no correlation.

    Of five directions one is read sharply, one as sharply as the state is, one vaguely, one not, and one is beside all.
    """
    rng = np.random.default_rng(5)
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for size in (4, 5))
    singular = np.array([4.0, 1.0, 0.25, 0.0])
    matrix = left @ np.diag(singular) @ right[:, :4].T
    reading, noise = np.array([0.7, -0.4, 0.3, 0.2]), 0.3
    law = MixtureDenoiser([0.6, 0.4], [[0.3] * 5, [-0.5] * 5], [0.2, 0.1], GaussianProcess())
    measurement = Measurement(MatrixOperator((5,), matrix), torch.from_numpy(reading), GaussianNoise(noise))
    denoiser, sampler = method.pair(law, measurement)
    schedule, count = law.process.schedule, effort.of(4_000, 40_000)
    xt = torch.tensor([[0.4, -0.2, 0.9, 0.1, -0.6]], dtype=torch.float64)
    for sigma_t, sigma_s in ((0.6, 0.5), (1.5, 1.3), (0.05, 0.04)):
        t, s = (schedule.time_at_sigma(torch.tensor(level, dtype=torch.float64)) for level in (sigma_t, sigma_s))
        seeds = effort.seeds(count, "one step", str(sigma_t))
        stepped = sampler.step(denoiser, SamplerState(xt.expand(count, -1), seeds, step=4), t, s).tensor
        found = stepped.numpy() @ right / float(schedule.alpha(s))
        clean = law(xt, t).mean.numpy()[0] @ right
        state = xt.numpy()[0] @ right / float(schedule.alpha(t))
        means, deviations = np.empty(5), np.empty(5)
        for i in range(5):
            if i > 2:
                means[i] = clean[i] + math.sqrt(1 - method.eta**2) * sigma_s * (state[i] - clean[i]) / sigma_t
                deviations[i] = method.eta * sigma_s
                continue
            read, width = (left.T @ reading)[i] / singular[i], noise / singular[i]
            if sigma_s < width:
                means[i] = clean[i] + math.sqrt(1 - method.eta**2) * sigma_s * (read - clean[i]) / width
                deviations[i] = method.eta * sigma_s
            else:
                means[i] = (1 - method.eta_b) * clean[i] + method.eta_b * read
                deviations[i] = math.sqrt(sigma_s**2 - method.eta_b**2 * width**2)
        white = (found - means) / np.where(deviations > 0, deviations, 1.0)
        still = deviations == 0
        if still.any():
            yield at_most(f"error where nothing is drawn, to sigma {sigma_s:g}", np.abs(white[:, still]).max(), 1e-9)
        white = white[:, ~still]
        yield mean_is(f"mean by direction, to sigma {sigma_s:g}", white, np.zeros(white.shape[1]), 1.0)
        products = white[:, :, None] * white[:, None]
        yield mean_is(f"covariance of the directions, to sigma {sigma_s:g}", products, np.eye(white.shape[1]))


@claim("methods", "ddrm")
def ddrm_draws_are_exact_for_exactly_measured_independent_directions(method: Any, effort: Effort) -> Iterator[Measured]:
    """What is measured exactly is kept exactly; the rest has its own law, if directions are independent and eta 0."""
    matrix = torch.tensor([[1.0, 0.5, -0.3, 0.0], [0.0, 2.0, 0.4, 1.0]], dtype=torch.float64)
    reading = torch.tensor([0.7, -0.4], dtype=torch.float64)
    measurement = Measurement(MatrixOperator((4,), matrix), reading, GaussianNoise(0.0))
    law = GaussianDenoiser([0.3, -0.2, 0.5, 0.1], 0.5, GaussianProcess())
    count = effort.of(2_000, 20_000)
    for how in (method, replace(method, eta=0.0)):
        steps = effort.of(100, 400) if how.eta == 0 else 20
        drawn = solve(law, measurement, how, count, steps=steps, seed=5, batch=count, dtype=torch.float64).samples
        yield at_most(
            f"what is read of the draws, away from y, eta {how.eta:g}", (drawn @ matrix.T - reading).abs().max(), 1e-9
        )
        if how.eta == 0:
            hidden = torch.linalg.svd(matrix).Vh[2:].T
            white = (drawn - law.mean) @ hidden / math.sqrt(0.5)
            yield mean_is("mean of the hidden directions", white, np.zeros(2))
            # a step of order one leaves a relative error of the deviation that falls with the steps
            spread = white.square().mean().sqrt()
            slack = 2 / steps + 6 / math.sqrt(4 * count)
            yield Measured(
                "deviation of the hidden directions over the exact",
                float(spread),
                1 - slack,
                1 + slack,
                false_alarm=1e-8,
            )


def _guiding(method: Method) -> bool:
    return not isinstance(method, DDRMMethod)


def _moved(method: Method, law: Any, measurement: Measurement, xt: Tensor, t: Tensor, **told: Any) -> Tensor:
    """The belief's mean of a guiding method; of a stepping one the state after a step."""
    denoiser, sampler = method.pair(law, measurement)
    if _guiding(method):
        return denoiser(xt, t, **told).mean
    state = SamplerState(xt, told.pop("seeds"), step=told.pop("step", 3))
    return sampler.step(denoiser.given(told), state, t, t * 0.8).tensor


@claim("methods", "dps", "pi-gdm", "tmpd", "mmps", "ddrm")
def methods_treat_samples_one_by_one(method: Method, effort: Effort) -> Iterator[Measured]:
    """A draw is the same alone, in any batch and in any order, to rounding; each sample may have a time of its own."""
    law, measurement = _mixture()
    seeds = effort.seeds(6, "one by one")
    xt = law.draw(seeds, 0.5)
    if _guiding(method):
        guided, _ = method.pair(law, measurement)
        times = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
        together, turned = guided(xt, times).mean, guided(xt.flip(0), times.flip(0)).mean.flip(0)
        alone = torch.cat([guided(xt[i : i + 1], times[i]).mean for i in range(6)])
        yield at_most("beliefs one by one against together", (alone - together).abs().max(), 1e-10)
        yield at_most("beliefs in the opposite order", (turned - together).abs().max(), 1e-10)
    drawn = [
        solve(law, measurement, method, 4, steps=effort.of(5, 20), seed=2, batch=batch, dtype=torch.float64).samples
        for batch in (1, 3, 4)
    ]
    yield at_most("draws in batches of 1 against 4", (drawn[0] - drawn[2]).abs().max(), 1e-8)
    yield at_most("draws in batches of 3 against 4", (drawn[1] - drawn[2]).abs().max(), 1e-8)


@claim("methods", "dps", "pi-gdm", "tmpd", "mmps", "ddrm")
def methods_pass_conditions_on(method: Method, effort: Effort) -> Iterator[Measured]:
    """With a label the result is that around the law of the label, and dropping it is not to know it."""
    law, measurement = _mixture(labels=[1, 2, 2])
    of_first, t = _mixture()[0], _time(0.4)
    one = MixtureDenoiser([1.0], of_first.means[:1], [0.05], law.process)
    seeds = effort.seeds(4, "conditions")
    xt, label = law.draw(seeds, 0.4), torch.ones(4, dtype=torch.long)
    rest: dict[str, Any] = {} if _guiding(method) else {"seeds": seeds}
    plain = _moved(method, law, measurement, xt, t, **rest)
    told = _moved(method, law, measurement, xt, t, label=label, **rest)
    yield at_most(
        "around the law of the label", (told - _moved(method, one, measurement, xt, t, **rest)).abs().max(), 1e-9
    )
    yield Measured("what the label changes", float((told - plain).abs().max()), low=1e-3)
    if _guiding(method):
        drop = torch.tensor([True, False, True, False])
        some = method.pair(law, measurement)[0](xt, t, drop, label=label).mean
        yield at_most("dropped", (some - plain)[drop].abs().max(), 1e-10)
        yield at_most("kept", (some - told)[~drop].abs().max(), 1e-10)


@claim("methods", "dps", "pi-gdm", "tmpd", "mmps")
def measurements_that_tell_nothing_move_nothing(method: Any, effort: Effort) -> Iterator[Measured]:
    """With noise that hides all, or at strength zero, the belief is the plain one."""
    law, measurement = _mixture()
    hidden = replace(measurement, noise=GaussianNoise(1e6))
    without = {"much noise": (method, hidden)}
    if hasattr(method, "strength"):
        without["strength zero"] = (replace(method, strength=0.0), measurement)
    for name, (how, what) in without.items():
        errors, moves = [], []
        for t in TIMES:
            xt, time = law.draw(effort.seeds(5, "nothing", str(t)), t), _time(t)
            plain = law(xt, time).mean
            errors.append((how.pair(law, what)[0](xt, time).mean - plain).abs().max())
            moves.append((method.pair(law, measurement)[0](xt, time).mean - plain).abs().max())
        yield at_most(
            f"{name}: away from the plain belief", torch.stack(errors).max(), 1e-5 if name == "much noise" else 0.0
        )
        yield Measured(f"{name}: moved otherwise", float(torch.stack(moves).max()), low=1e-2)
