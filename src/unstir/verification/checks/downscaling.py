"""Claims of downscaling: Gaussian fields have the covariance they say, and their exact posterior is kriging's."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.special import eval_legendre

from unstir.domains.climate.layout import Axis, Layout
from unstir.domains.climate.made.gaussian_field import SphereField, TorusField
from unstir.domains.climate.tasks.downscaling.coarsening import blocks
from unstir.domains.climate.tasks.downscaling.kriging import Kriging
from unstir.domains.climate.tasks.downscaling.regression import fit_regression
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.downsample import DownsampleOperator
from unstir.inverse.solving import solve
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most, mean_is

__all__ = [
    "block_means_are_those_of_the_operator",
    "downscaling_comes_near_to_kriging",
    "fields_given_block_means_are_krigings",
    "fields_have_their_covariance",
    "kriging_is_conditioning",
    "methods_draw_the_kriging_posterior",
    "regression_tends_to_krigings_mean",
]

_LAW = TorusField((8, 8), 4.0, 1.0, 0.3, 0.8)
_NOISE = 0.1


def _dense(law: TorusField) -> np.ndarray:
    """The covariance of a field on a torus as a sum of cosines, without a Fourier transform."""
    places = np.stack(np.meshgrid(*(np.arange(count) for count in law.size), indexing="ij"), -1).reshape(-1, 2)
    between = places[:, None] - places
    found = np.zeros(between.shape[:2])
    total = 0.0
    for row in range(law.size[0]):
        for column in range(law.size[1]):
            wave = np.array([2 * math.pi * (row / law.size[0]), 2 * math.pi * (column / law.size[1])])
            shortest = np.where(wave > math.pi, wave - 2 * math.pi, wave)
            power = (8 * law.smoothness / law.reach**2 + (shortest**2).sum()) ** -(law.smoothness + 1)
            found += power * np.cos(between @ wave)
            total += power
    return law.deviation**2 * found / total


def _block_matrix(law: TorusField, factor: int) -> np.ndarray:
    rows, columns = (count // factor for count in law.size)
    found = np.zeros((rows, columns, *law.size))
    for row in range(rows):
        for column in range(columns):
            here = (slice(row * factor, (row + 1) * factor), slice(column * factor, (column + 1) * factor))
            found[(row, column, *here)] = 1 / factor**2
    return found.reshape(rows * columns, -1)


def _kriged(law: TorusField, reading: np.ndarray, factor: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance by the textbook's formula, in dense linear algebra."""
    covariance, matrix = _dense(law), _block_matrix(law, factor)
    told = matrix @ covariance @ matrix.T + noise**2 * np.eye(len(matrix))
    gain = np.linalg.solve(told, matrix @ covariance).T
    mean = law.mean + gain @ (reading - law.mean * matrix.sum(1))
    return mean, covariance - gain @ matrix @ covariance


def _problem(law: TorusField = _LAW) -> tuple[Any, Measurement, np.ndarray]:
    operator = DownsampleOperator((1, *law.size), 2)
    reading = np.random.default_rng(3).normal(law.mean, law.deviation, operator.measured_shape)
    measurement = Measurement(operator, torch.from_numpy(reading), GaussianNoise(_NOISE))
    return law.denoiser(GaussianProcess()), measurement, reading.ravel()


@claim("domains", "climate")
def fields_have_their_covariance(domain: Any, effort: Effort) -> Iterator[Measured]:
    """Of fields on the torus it is the sum of cosines, on the sphere Legendre's, and that of the draws is the same."""
    torus = TorusField((6, 8), 3.0, 0.7, 1.0, 2.0)
    yield at_most(
        "torus: covariance, away from the sum of cosines",
        np.abs(torus.covariance().numpy() - _dense(torus)).max(),
        1e-11,
    )
    sphere = SphereField((6, 12), 1.0, 1.0, -1.0, 1.5, degree=5)
    down, along = np.meshgrid(np.deg2rad(sphere.latitudes), np.deg2rad(sphere.longitudes), indexing="ij")
    points = np.stack((np.cos(down) * np.cos(along), np.cos(down) * np.sin(along), np.sin(down)), -1).reshape(-1, 3)
    cosine = (points @ points.T).clip(-1, 1)
    degrees = range(sphere.degree + 1)
    wanted = sum((2 * n + 1) / (4 * math.pi) * sphere.power[n] * eval_legendre(n, cosine) for n in degrees)
    yield at_most(
        "sphere: covariance, away from the addition theorem", np.abs(sphere.covariance().numpy() - wanted).max(), 1e-11
    )
    for name, law in {"torus": torus, "sphere": sphere}.items():
        drawn = law.draw(effort.seeds(effort.of(4_000, 100_000), "fields", name)).flatten(1).numpy() - law.mean
        yield mean_is(f"{name}: mean of draws", drawn, np.zeros(drawn.shape[1]), law.deviation)
        products = drawn[:, :1] * drawn
        yield mean_is(f"{name}: covariance of draws with the first place", products, law.covariance()[0].numpy())
    # over the sphere, by area, the square of a field has the mean of its variance, whatever the grid's rows hold
    weights = Layout((), (_axis("latitude", sphere.latitudes), _axis("longitude", sphere.longitudes))).weights()
    fields = sphere.draw(effort.seeds(effort.of(4_000, 40_000), "areas"))
    squares = ((fields.numpy() - sphere.mean) ** 2 * weights).mean((1, 2))
    yield mean_is("sphere: mean square by area", squares[:, None], [sphere.deviation**2])


@claim("domains", "climate")
def kriging_is_conditioning(domain: Any, effort: Effort) -> Iterator[Measured]:
    """Mean, covariance and draws of ``Kriging`` are the textbook's; blocks keep their means exactly."""
    for noise in (0.0, _NOISE):
        matrix = torch.from_numpy(_block_matrix(_LAW, 2))
        kriging = Kriging(_LAW, matrix, noise)
        reading = np.random.default_rng(4).normal(_LAW.mean, _LAW.deviation, len(matrix))
        mean, covariance = _kriged(_LAW, reading, 2, noise)
        told = torch.from_numpy(reading)[None]
        yield at_most(f"mean, noise {noise:g}", np.abs(kriging.mean(told).flatten().numpy() - mean).max(), 1e-9)
        yield at_most(f"covariance, noise {noise:g}", np.abs(kriging.covariance.numpy() - covariance).max(), 1e-9)
        count = effort.of(2_000, 40_000)
        drawn = kriging.draw(told, count, effort.seed)[0].flatten(1).numpy()
        yield mean_is(f"mean of draws, noise {noise:g}", drawn, mean)
        products = (drawn - mean)[:, :1] * (drawn - mean)
        yield mean_is(f"covariance of draws with the first place, noise {noise:g}", products, covariance[0])
        if noise == 0:
            kept = np.abs(drawn @ _block_matrix(_LAW, 2).T - reading).max()
            yield at_most("block means of the draws, away from the reading", kept, 1e-9)


@claim("domains", "climate")
def regression_tends_to_krigings_mean(domain: Any, effort: Effort) -> Iterator[Measured]:
    """Trained on many fields the first stage's mean is kriging's, to what so many equations allow.

    Least squares with f weights from n equations has on average an excess error of f/(n - f - 1) of the residual's
    variance; equations of one field hang together, by fewer than its places, so that n is the number of fields.
    """
    law = TorusField((8, 8), 4.0, 1.0, 0.0, 1.0)
    axes = [_axis(name, np.arange(8.0), True) for name in ("y", "x")]
    grids = blocks(axes, 4, np.ones((8, 8)))
    count = effort.of(2_000, 20_000)
    fields = law.draw(effort.seeds(count + 1_000, "regression"))[:, None].numpy()
    coarse, none = grids.means(fields), np.zeros((count + 1_000, 0))
    missed = fields - grids.interpolated(coarse, "linear")
    train = slice(0, count)
    fitted = fit_regression(
        grids, lambda: [(missed[train], coarse[train], none[train])], None, radius=1, shared=True, penalty=0.0
    )
    rest = slice(count, None)
    mean = grids.interpolated(coarse[rest], "linear") + fitted(coarse[rest], none[rest])
    kriging = Kriging(law, torch.from_numpy(grids.matrix()))
    exact = kriging.mean(torch.from_numpy(coarse[rest]).flatten(1)).numpy()[:, None]
    excess = ((mean - exact) ** 2).mean() / float(kriging.covariance.diagonal().mean())
    # on 2 x 2 cells that meet around, nine neighbours are four different values: four weights and a constant
    yield at_most(
        "excess of the mean squared error, of kriging's variance",
        float(excess),
        5 * 5 / (count - 6),
        note=f"{5 / (count - 6):.2g} expected if each field were one equation",
    )


@claim("exact", "gaussian")
def fields_given_block_means_are_krigings(law: Any, effort: Effort) -> Iterator[Measured]:
    """A Gaussian field given the means of its blocks through an operator: kriging's mean and covariance."""
    field, measurement, reading = _problem()
    posterior: Any = exact_posterior(field, measurement)
    mean, covariance = _kriged(_LAW, reading, 2, _NOISE)
    yield at_most("mean, away from kriging's", np.abs(posterior.mean.flatten().numpy() - mean).max(), 1e-9)
    yield at_most("covariance, away from kriging's", np.abs(posterior.covariance().numpy() - covariance).max(), 1e-9)


@claim("methods", "tmpd", "mmps")
def methods_draw_the_kriging_posterior(method: Any, effort: Effort) -> Iterator[Measured]:
    """Fields drawn given noisy block means have kriging's mean and covariance.

    A Gaussian belief is drawn from by ancestral sampling in twelve steps; a point is followed by a solver of order two.
    """
    if getattr(method, "covariance", "") == "rows":
        raise NotMeasured("exact for no field whose places hang together", silent=True)
    wide = getattr(method, "covariance", "") == "full"
    law = TorusField((4, 4), 3.0, 1.0, 0.3, 0.8)
    field, measurement, reading = _problem(law)
    count = effort.of(500, 4_000)
    drawn = solve(
        field,
        measurement,
        replace(method, sampler="ancestral" if wide else "dpm-solver-pp-2m"),
        count,
        steps=12 if wide else effort.of(40, 80),
        seed=effort.seed + 1,
        batch=count,
        dtype=torch.float64,
    ).samples
    mean, covariance = _kriged(law, reading, 2, _NOISE)
    values, vectors = np.linalg.eigh(covariance)
    white = (drawn.flatten(1).numpy() - mean) @ vectors / np.sqrt(values)
    yield mean_is("mean of the whitened draws", white, np.zeros(white.shape[1]))
    products = white[:, :, None] * white[:, None]
    yield mean_is("covariance of the whitened draws", products, np.eye(white.shape[1]))


@claim("operators", "downsample")
def block_means_are_those_of_the_operator(operator: DownsampleOperator, effort: Effort) -> Iterator[Measured]:
    """Means of blocks as a dataset's are the operator's, where all places have one area."""
    if operator.filter != "average":
        raise NotMeasured("no means of blocks", silent=True)
    size = operator.shape[1:]
    grids = blocks(
        [_axis(f"axis {place}", np.arange(float(side))) for place, side in enumerate(size)],
        operator.factor,
        np.ones(size),
    )
    values = np.random.default_rng(0).normal(size=(3, *operator.shape))
    away = np.abs(operator(torch.from_numpy(values)).numpy() - grids.means(values)).max()
    yield at_most("means, away from the operator's", away, 1e-12)
    kept = grids.kept(values, means := grids.means(values[::-1]), "shift")
    yield at_most("means of what was shifted to other means", np.abs(grids.means(kept) - means).max(), 1e-12)
    yield at_most("a second shift", np.abs(grids.kept(kept, means, "shift") - kept).max(), 1e-12)
    # nearest: what was added is orthogonal to all that leaves the means as they are
    free = values - grids.spread(grids.means(values))
    products = np.abs(((kept - values) * free).reshape(len(values), -1).sum(1)).max()
    yield at_most("what was added along what is free", products, 1e-10)


@claim("recipes", "downscaling", slow=True)
def downscaling_comes_near_to_kriging(recipe: Mapping[str, Any], effort: Effort) -> Iterator[Measured]:
    """On a small field, after a short training, ensembles score within a few per cent of kriging's."""
    from unstir.run.evaluation import evaluate_run
    from unstir.run.folder import RunFolder
    from unstir.run.recipe import load
    from unstir.run.sampling import TrainedRun
    from unstir.run.training import train_run

    small = [
        "data.options={count: 3000, size: [16, 16]}",
        "training.steps=250",
        "training.batch=32",
        "training.threads=null",
        "sampling.count=8",
        "evaluation.options={cases: 80, members: 10}",
    ]
    threads = torch.get_num_threads()
    with TemporaryDirectory() as place:
        try:
            folder, _ = train_run(load(recipe, small), Path(place) / "run", progress=False)
            told = evaluate_run(TrainedRun(RunFolder.open(folder.path)), progress=False)
        finally:
            torch.set_num_threads(threads)
    found = {each["metric"]: each for each in told["results"]}
    for name, bound in (("rmse-over-exact", 1.02), ("crps-over-exact", 1.03)):
        each = found[name]
        low, high = each["interval"]
        slack = high - low  # six standard errors, more or less half of them on one side
        yield Measured(name, each["value"], high=bound + slack, uncertainty=slack / 4, false_alarm=1e-7)


def _axis(name: str, values: np.ndarray, periodic: bool = False) -> Axis:
    return Axis(name, tuple(np.asarray(values, dtype=np.float64).tolist()), "1", periodic)
