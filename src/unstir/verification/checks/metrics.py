"""What every metric keeps: its value for equal laws, an eye for what it is there to see, and a finite answer."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import Metric, SampleSet
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most, mean_is, same_law

__all__ = [
    "metric_defects",
    "metric_equal_laws",
    "metric_finite",
    "metric_frechet_of_normals",
    "metric_kernel_of_normals",
    "metric_replicates",
    "metric_row_order",
    "metric_shifted_quantiles",
]

WIDTH, CLASSES, ROWS = 2, 4, 400
FIRST_ORDER = ("Copied", "Frechet", "FrechetInfinity", "Memorisation")


def _described(values: Tensor, asked: Tensor | None = None) -> SampleSet:
    """A set with all its parts; a perfect classifier tells the quadrant of the first two numbers."""
    quadrant = (values[:, 0] > 0).long() + 2 * (values[:, 1] > 0).long()
    certain = torch.nn.functional.one_hot(quadrant, CLASSES).double()
    return SampleSet(values, labels=quadrant if asked is None else asked, probabilities=certain)


def _normal(effort: Effort, name: str, number: int, count: int = ROWS) -> Tensor:
    return effort.seeds(count, "metric", name, number).normal((WIDTH,), torch.float64)


@claim(
    "metrics",
    "class-agreement",
    "class-histogram",
    "copied",
    "coverage",
    "density",
    "frechet",
    "frechet-infinity",
    "kernel",
    "memorisation",
    "missing-classes",
    "nearest-neighbour",
    "two-sample",
)
def metric_equal_laws(metric: Metric, effort: Effort) -> Iterator[Measured]:
    """Of the data's own law its mean is what theory says for this number of samples.

    By exchangeability: kernel 0, two-sample 1/2, nearest-neighbour (n-1)/(2n-1), density 1, coverage as in its
    docstring. Frechet of d normals, to first order (1/n + 1/m) (d + d(d+1)/4), its extrapolation the m-part of
    it; nearest distances r of locally even data have r^d even, so that copied is ratio^d. Classes: binomial.
    What is known to first order only may be away by a further 3/n of itself.
    """
    repeats = effort.of(40, 200)
    reference = _described(_normal(effort, "fixed", 0))
    values, expected = [], []
    for repeat in range(repeats):
        data = reference if "probabilities" in metric.needs else _described(_normal(effort, "data", repeat))
        samples = _described(_normal(effort, "samples", repeat))
        values.append(metric.measure(samples, data, effort.seeds(ROWS, "equal laws", repeat)).value)
        expected.append(_expected(metric, data))
    differences = np.array(values) - np.array(expected)
    quantity = f"mean of {repeats} values, less the {np.mean(expected):.4g} expected"
    allowed = 3 * abs(np.mean(expected)) / ROWS if type(metric).__name__ in FIRST_ORDER else 0.0
    yield mean_is(quantity, differences, float(np.clip(differences.mean(), -allowed, allowed)))


def _expected(metric: Metric, data: SampleSet) -> float:
    count, dimension = ROWS, WIDTH
    options = vars(metric)
    moments = dimension + dimension * (dimension + 1) / 4
    near = range(1, options.get("neighbours", 5) + 1)
    assert data.labels is not None
    shares = torch.bincount(data.labels, minlength=CLASSES).numpy() / count
    places = np.arange(count + 1)
    chances = stats.binom.pmf(places, count, 1 / CLASSES)
    apart = [float((chances * np.abs(places / count - share)).sum()) for share in shares]
    known: dict[str, Callable[[], float]] = {
        "ClassAgreement": lambda: 1.0,
        "ClassHistogram": lambda: sum(apart) / 2,
        "MissingClasses": lambda: 0.0,
        "Copied": lambda: options["ratio"] ** dimension,
        "Coverage": lambda: 1 - math.prod((count - k) / (2 * count - k) for k in near),
        "Density": lambda: 1.0,
        "Frechet": lambda: 2 / count * moments,
        "FrechetInfinity": lambda: moments / count,
        "Kernel": lambda: 0.0,
        "Memorisation": lambda: 1.0,
        "NearestNeighbour": lambda: (count - 1) / (2 * count - 1),
        "TwoSample": lambda: 0.5,
    }
    return known[type(metric).__name__]()


@claim("metrics")
def metric_defects(metric: Metric, effort: Effort) -> Iterator[Measured]:
    """It calls samples worse that are shifted, of one class only, or copies: those of the three it is there to see.

    Against a good set's value; by more than good sets differ among themselves.
    """
    data = _described(_normal(effort, "data", 0))
    seeds = effort.seeds(ROWS, "defects")
    good = [
        metric.measure(_described(_normal(effort, "samples", number)), data, seeds).value
        for number in range(effort.of(4, 20))
    ]
    fresh = _normal(effort, "samples", 0)
    asked = _described(fresh).labels
    sets = {
        "shifted": _described(fresh + torch.tensor([6.0] + [0.0] * (WIDTH - 1)), asked),
        "of one class": _described(fresh.abs(), asked),
        "copies": _described(data.values.clone()),
    }
    sign = 1 if metric.better == "lower" else -1
    worst_good = max(sign * value for value in good)
    margin = max(good) - min(good)
    losses = {
        name: sign * metric.measure(samples, data, seeds).value - worst_good - margin for name, samples in sets.items()
    }
    seen = [name for name, loss in losses.items() if loss > 0]
    yield Measured("defects noticed, of three", float(len(seen)), 1.0, 3.0, note=", ".join(seen))


@claim("metrics")
def metric_finite(metric: Metric, effort: Effort) -> Iterator[Measured]:
    """Whatever it is given it answers a finite number within its limits, or an error of the input."""
    data = _normal(effort, "data", 0, 60)
    cases = {
        "one point": (torch.ones(60, WIDTH, dtype=torch.float64), data),
        "the data themselves": (data, data),
        "two samples": (data[:2] + 1, data),
        "far away": (data + 1e6, data),
        "data of one point": (data, torch.ones(60, WIDTH, dtype=torch.float64)),
        "many samples": (_normal(effort, "samples", 0), data),
    }
    low, high = metric.limits
    answered, wrong = 0, []
    for name, (samples, reference) in cases.items():
        try:
            value = metric.measure(_described(samples), _described(reference), effort.seeds(60, "finite")).value
        except InputError:
            continue
        answered += 1
        if not (math.isfinite(value) and low <= value <= high):
            wrong.append(f"{name}: {value}")
    yield at_most("answers that are not finite or beyond the limits", len(wrong), 0.0, note="; ".join(wrong))
    yield Measured("sets answered with a number, of six", float(answered), 2.0, 6.0)


@claim("metrics")
def metric_row_order(metric: Metric, effort: Effort) -> Iterator[Measured]:
    """The order of the rows means nothing: it changes the value by rounding, or as another seed would."""
    samples, data = _described(_normal(effort, "samples", 0, 100)), _described(_normal(effort, "data", 0, 120))
    count = effort.of(12, 100)
    generator = torch.Generator().manual_seed(effort.seed)

    def moved(rows: SampleSet) -> SampleSet:
        return rows.take(torch.randperm(len(rows), generator=generator))

    fixed = effort.seeds(100, "rows")
    value = metric.measure(samples, data, fixed).value
    yield at_most("difference of a second measurement", abs(metric.measure(samples, data, fixed).value - value), 0.0)
    permuted = np.array([metric.measure(moved(samples), moved(data), fixed).value for _ in range(count)])
    change = np.abs(permuted - value).max()
    if change <= 1e-9:
        yield at_most("change of the value", change, 1e-9)
        return
    others = [metric.measure(samples, data, effort.seeds(100, "rows", other)).value for other in range(count)]
    yield same_law("values by order and by seed", permuted, np.array(others))


@claim("metrics")
def metric_replicates(metric: Metric, effort: Effort) -> Iterator[Measured]:
    """Its values for resampled rows are finite, one for each replicate, and in the limits' range."""
    samples, data = _described(_normal(effort, "samples", 0)), _described(_normal(effort, "data", 0))
    measured = metric.measure(samples, data, effort.seeds(ROWS, "replicates"))
    drawn = effort.seeds(8, "replicates").generator().multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=8)
    replicates = measured.resampled(torch.from_numpy(drawn).double())
    yield at_most("replicates too many or too few", abs(int(replicates.numel()) - 8), 0.0)
    yield at_most("replicates that are not finite", (~replicates.isfinite()).sum(), 0.0)
    if measured.interval is not None:
        low, high = measured.interval
        yield at_most("intervals that leave out the value", int(not low <= measured.value <= high), 0.0)


@claim("metrics", "frechet")
def metric_frechet_of_normals(metric: Metric, effort: Effort) -> Iterator[Measured]:
    """For sets with given moments it is the closed form of the distance between the two normals.

    Between N(m, A) and N(n, B) with A = diag(a^2), B = diag(b^2): |m - n|^2 + sum (a - b)^2; turned by a rotation.
    """
    first, second = np.array([1.0, 2.0, 0.5]), np.array([2.0, 0.1, 0.5])
    shift = np.array([0.3, -1.0, 2.0])
    turn, _ = np.linalg.qr(effort.seeds(3, "turn").normal((3,), torch.float64).numpy())
    sets = []
    for name, deviations, mean in (("first", first, np.zeros(3)), ("second", second, shift)):
        rows = effort.seeds(50, "moments", name).normal((3,), torch.float64).numpy()
        rows = rows - rows.mean(0)
        white = np.linalg.solve(np.linalg.cholesky(np.cov(rows.T)), rows.T).T
        sets.append(SampleSet(torch.from_numpy((white * deviations + mean) @ turn)))
    value = metric.measure(sets[0], sets[1], effort.seeds(50, "closed form")).value
    wanted = float((shift**2).sum() + ((first - second) ** 2).sum())
    yield at_most("relative error", abs(value / wanted - 1), 1e-9)


@claim("metrics", "kernel")
def metric_kernel_of_normals(metric: Metric, effort: Effort) -> Iterator[Measured]:
    """For normals at a distance its mean is the closed form of the discrepancy, whatever the number of samples.

    With z = x.y for independent x ~ N(a, I), y ~ N(b, I) in d dimensions: E z = a.b,
    E z^2 = d + |a|^2 + |b|^2 + (a.b)^2, E z^3 = (a.b)^3 + 3 (a.b)(|a|^2 + |b|^2 + d + 2).
    """
    shift = np.full(WIDTH, 0.6)

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        inner, squares = float(a @ b), float(a @ a + b @ b)
        second = WIDTH + squares + inner**2
        third = inner**3 + 3 * inner * (squares + WIDTH + 2)
        return third / WIDTH**3 + 3 * second / WIDTH**2 + 3 * inner / WIDTH + 1

    none = np.zeros(WIDTH)
    wanted = kernel(shift, shift) + kernel(none, none) - 2 * kernel(shift, none)
    values = [
        metric.measure(
            SampleSet(_normal(effort, "samples", repeat, 60) + torch.from_numpy(shift)),
            SampleSet(_normal(effort, "data", repeat, 90)),
            Seeds.range(0, 60),
        ).value
        for repeat in range(effort.of(60, 500))
    ]
    yield mean_is(f"mean value, expected {wanted:.4g}", np.array(values), wanted)


@claim("metrics", "sliced-wasserstein")
def metric_shifted_quantiles(metric: Metric, effort: Effort) -> Iterator[Measured]:
    """For a shift by v in d dimensions its square has the mean |v|^2/d, over the directions drawn."""
    data = _normal(effort, "data", 0, 50)
    shift = torch.tensor([0.3, -1.1], dtype=torch.float64)
    values = [
        metric.measure(SampleSet(data + shift), SampleSet(data), effort.seeds(50, "directions", repeat)).value ** 2
        for repeat in range(effort.of(60, 500))
    ]
    wanted = float(shift.square().sum()) / WIDTH
    yield mean_is(f"mean square, expected {wanted:.4g}", np.array(values), wanted)
    # transport on the line by SciPy, between sets of different sizes
    first, second = _normal(effort, "samples", 1, 40)[:, :1], _normal(effort, "data", 1, 70)[:, :1] * 1.5
    measured = metric.measure(SampleSet(first), SampleSet(second), effort.seeds(40, "line")).value
    levels = (np.arange(40 * 70) + 0.5) / (40 * 70)
    gaps = [np.quantile(rows.numpy().ravel(), levels, method="inverted_cdf") for rows in (first, second)]
    yield at_most("error on the line", abs(measured - math.sqrt(np.mean((gaps[0] - gaps[1]) ** 2))), 1e-12)
