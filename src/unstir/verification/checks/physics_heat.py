"""Claims about the exact solutions of the heat equation: kernels, Green functions, separated modes."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from scipy import special

from unstir.physics.box_modes import from_modes
from unstir.physics.heat_boundaries import wall_kinds
from unstir.physics.heat_green_function import heat_green_function
from unstir.verification.base import Curve, Effort, Measured, Plot, claim
from unstir.verification.statistics import at_most

__all__ = [
    "heat_eigenvalues_are_those_of_the_laplacian",
    "heat_green_function_composes",
    "heat_green_function_is_the_sum_of_modes",
    "heat_kernel_composes",
    "heat_kernel_flux_has_its_fourier_transform",
    "heat_kernel_has_its_fourier_transform",
    "heat_solution_is_the_green_functions_integral",
    "heat_solution_obeys_ficks_first_law",
    "heat_solution_takes_up_its_source",
    "heat_wall_is_what_it_is_called",
]

WALLS: dict[str, Any] = {
    "held at zero": "dirichlet",
    "insulated": "neumann",
    "periodic": "periodic",
    "held, then insulated": ("dirichlet", "neumann"),
    "insulated, then held": ("neumann", "dirichlet"),
}
_TENSOR = np.array([[0.8, 0.3, -0.1], [0.3, 0.6, 0.2], [-0.1, 0.2, 0.5]])
_VELOCITY = np.array([0.7, -0.4, 0.2])
_TIME = 0.4


@claim("physics", "heat-kernel")
def heat_kernel_has_its_fourier_transform(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The kernel's Fourier transform is exp(-k·Dk t - ik·vt), in one to three dimensions; its integral is one."""
    for size in (1, 2, 3):
        points, volume = _grid(size, effort.of(44, 60))
        values = subject(points, _TIME, _TENSOR[:size, :size], _VELOCITY[:size])
        yield at_most(f"integral less one, {size}-D", abs(values.sum() * volume - 1), 1e-12)
        yield at_most(
            f"error of the Fourier transform, {size}-D",
            [abs((values * _wave(points, k)).sum() * volume - _transform(k)) for k in _wavevectors(size)],
            1e-12,
        )


@claim("physics", "heat-kernel")
def heat_kernel_composes(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Spreading for a time s and then for a time t is spreading for s + t."""
    points, volume = _grid(2, effort.of(60, 90))
    tensor, velocity = _TENSOR[:2, :2], _VELOCITY[:2]
    errors = []
    for target in np.array([[0.0, 0.0], [0.5, -0.8], [1.5, 0.6]]):
        through = subject(points, 0.15, tensor, velocity) * subject(target - points, 0.25, tensor, velocity)
        whole = float(subject(target, 0.4, tensor, velocity))
        errors.append(abs(through.sum() * volume - whole) / whole)
    yield at_most("relative error", errors, 1e-11)


@claim("physics", "heat-kernel-flux")
def heat_kernel_flux_has_its_fourier_transform(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The flux is -D∇G + vG: its Fourier transform is (v - iDk) times the kernel's, in one to three dimensions."""
    for size in (1, 2, 3):
        points, volume = _grid(size, effort.of(44, 60))
        tensor, velocity = _TENSOR[:size, :size], _VELOCITY[:size]
        values = subject(points, _TIME, tensor, velocity)
        errors = []
        for k in _wavevectors(size):
            seen = (values * _wave(points, k)[..., None]).reshape(-1, size).sum(0) * volume
            errors.append(abs(seen - (velocity - 1j * tensor @ k) * _transform(k)).max())
        yield at_most(f"error of the Fourier transform, {size}-D", errors, 1e-12)


@claim("physics", "half-space-kernel")
def heat_wall_is_what_it_is_called(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Beside its wall the kernel composes in time, obeys the wall's condition, and what it loses is known."""
    diffusivity, leak, release, t = 0.6, 1.3, 0.35, 0.2
    nodes, weights = gauss(0.0, 9.0, effort.of(160, 300))
    reach = math.sqrt(4 * diffusivity * t)
    into = math.exp(leak * release / diffusivity + leak**2 * t / diffusivity)
    leaking = into * special.erfc(release / reach + leak * math.sqrt(t / diffusivity))
    left = {"dirichlet": special.erf(release / reach), "neumann": 1.0, "robin": special.erf(release / reach) + leaking}
    for wall, remaining in left.items():
        transfer = leak if wall == "robin" else None

        def kernel(x: Any, source: Any, time: float, wall: str = wall, transfer: Any = transfer) -> np.ndarray:
            x, source = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(source, dtype=float))
            return subject(x[..., None], source[..., None], time, diffusivity, wall, transfer)

        yield at_most(f"what is left, {wall}", abs(weights @ kernel(nodes, release, t) - remaining), 1e-12)
        places = np.array([0.0, 0.05, 0.6])
        composed = kernel(places[:, None], nodes, 0.08) * kernel(nodes, release, 0.12) @ weights
        yield at_most(f"error of s then t, {wall}", abs(composed - kernel(places, release, t)), 1e-11)
        step = 2e-3
        here = kernel(step * np.arange(7), release, t)
        slope = np.array([-147, 360, -450, 400, -225, 72, -10]) @ here / (60 * step)
        condition = {"dirichlet": here[0], "neumann": slope, "robin": diffusivity * slope - leak * here[0]}[wall]
        # the sixth-order difference errs by step^6 u^(7)/7, with u^(7) below 1e6 here
        yield at_most(f"the wall's condition, {wall}", abs(condition), 1e-10)


@claim("physics", "heat-green-function")
def heat_green_function_is_the_sum_of_modes(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Images and modes give one Green function: that of the eigenfunctions, summed with fifty digits."""
    # binary fractions, so that no coordinate is rounded before the function sees it
    pairs = [(0.5, 0.5), (0.125, 0.25), (2**-30, 0.3125), (1 - 2**-17, 0.625), (2**-20, 3 * 2**-20), (0.8125, 0.3125)]
    times = effort.of((0.04, 0.06, 0.3), (3e-4, 3e-3, 0.02, 0.049, 0.051, 0.079, 0.081, 0.2, 0.31, 0.33, 1.0, 3.0))
    length, diffusivity = 2.0, 0.6
    for name, boundary in WALLS.items():
        kind = wall_kinds(boundary, 1)[0]
        errors = []
        for time in times:
            for x, y in pairs:
                exact = _modes_by_mpmath(x, y, time, kind)
                t = time * length**2 / diffusivity
                seen = float(subject([x * length], [y * length], t, length, diffusivity, boundary)) * length
                errors.append(abs(seen - exact) / max(abs(exact), 1e-30))
        yield at_most(f"relative error, {name}", errors, 1e-11)
    sides, unlike, t = np.array([2.0, 0.5]), np.array([0.6, 0.1]), 0.3
    parts = [
        _modes_by_mpmath(0.25, 0.625, unlike[axis] * t / sides[axis] ** 2, kind) / sides[axis]
        for axis, kind in enumerate(("neumann", "dirichlet"))
    ]
    seen = float(subject(0.25 * sides, 0.625 * sides, t, sides, unlike, ("neumann", "dirichlet")))
    yield at_most("relative error in a box of unlike axes", abs(seen / math.prod(parts) - 1), 1e-12)


@claim("physics", "heat-green-function")
def heat_green_function_composes(subject: Any, effort: Effort) -> Iterable[Measured]:
    """In a box of unequal sides the Green function composes in time, and insulated or periodic walls keep all mass."""
    lengths, diffusivity = (1.0, 1.6), (0.3, 0.5)
    points, weights = box_nodes(lengths, effort.of(32, 48))
    places, release = np.array([[0.2, 0.4], [0.9, 1.5], [0.5, 0.1]]), np.array([0.35, 1.1])
    for boundary in (
        ("dirichlet", "periodic"),
        ("neumann", "neumann"),
        ("periodic", WALLS["insulated, then held"]),
    ):
        name = " x ".join(wall_kinds(boundary, 2))
        box = (lengths, diffusivity, boundary)
        first = subject(points, release, 0.11, *box)
        composed = (subject(places[:, None], points, 0.06, *box) * first) @ weights
        yield at_most(f"error of s then t, {name}", abs(composed - subject(places, release, 0.17, *box)), 1e-10)
        swapped = subject(release, places, 0.05, *box) - subject(places, release, 0.05, *box)
        yield at_most(f"asymmetry, {name}", abs(swapped), 1e-13)
        mass = weights @ first
        if "dirichlet" in name:
            yield Measured(f"mass, {name}", float(mass), 0.0, 1.0 - 1e-6)
        else:
            yield at_most(f"mass less one, {name}", abs(mass - 1), 1e-11)


@claim("physics", "heat-solution")
def heat_solution_is_the_green_functions_integral(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Separation of variables and the method of images agree: u(x, t) is the Green function's integral over u(y, 0)."""
    lengths, diffusivity = np.array([1.0, 1.6]), (0.3, 0.5)
    points, weights = box_nodes(lengths, effort.of(40, 64))
    places = np.array([[0.2, 0.4], [0.9, 1.5], [0.5, 0.1], [0.0, 1.6]])
    for first in effort.of(("dirichlet", "periodic"), tuple(WALLS)):
        boundary = (WALLS.get(first, first), "neumann")
        initial = smooth_field(wall_kinds(boundary, 2), lengths)
        solution = subject(initial, (40, 40), lengths, diffusivity, boundary)
        name = " x ".join(wall_kinds(boundary, 2))
        errors = []
        for t in (0.02, 0.2):
            kernel = heat_green_function(places[:, None], points, t, lengths, diffusivity, boundary)
            errors.append(abs(kernel @ (weights * initial(points)) - solution(places, t)).max())
        yield at_most(f"error, {name}", errors, 1e-9)


@claim("physics", "heat-solution")
def heat_solution_takes_up_its_source(subject: Any, effort: Effort) -> Iterable[Measured]:
    """A steady source adds what Duhamel's integral over the Green function says, and mass at its own rate."""
    length, diffusivity, t = 1.3, 0.4, 0.5
    nodes, weights = gauss(0.0, length, 60)
    # the square of the time since makes the integrand smooth at the last moment
    roots, root_weights = gauss(0.0, math.sqrt(t), effort.of(24, 40))
    places = np.array([0.1, 0.5, 1.2])
    for name in ("held at zero", "insulated", "periodic"):
        source = smooth_field(wall_kinds(WALLS[name], 1), np.array([length]))
        expected = np.zeros(len(places))
        for root, weight in zip(roots, root_weights, strict=True):
            # a release of a moment ago is too narrow for the nodes; the solution without source serves, itself measured
            early = subject(source, (48,), length, diffusivity, WALLS[name])(places[:, None], root**2)
            if root**2 * diffusivity > 0.01:
                kernel = heat_green_function(
                    places[:, None, None], nodes[:, None], root**2, length, diffusivity, WALLS[name]
                )
                early = kernel @ (weights * source(nodes[:, None]))
            expected += 2 * root * weight * early
        solution = subject(0.0, (48,), length, diffusivity, WALLS[name], source)
        yield at_most(f"error, {name}", abs(solution(places[:, None], t) - expected), 1e-9)
        if name != "held at zero":
            rate = weights @ source(nodes[:, None]) / length
            yield at_most(f"error of the mean, {name}", abs(solution.mean(t) - rate * t), 1e-12)


@claim("physics", "heat-solution")
def heat_solution_obeys_ficks_first_law(subject: Any, effort: Effort) -> Iterable[Measured]:
    """The flux is -D times the slope of the field, here by differences of sixth order."""
    lengths, diffusivity, step = np.array([1.0, 1.6]), np.array([0.3, 0.5]), 2e-3
    boundary = ("periodic", "dirichlet")
    solution = subject(smooth_field(wall_kinds(boundary, 2), lengths), (32, 32), lengths, diffusivity, boundary)
    places = np.array([[0.2, 0.4], [0.9, 1.5], [0.5, 0.1]])
    flux = solution.flux(places, 0.03)
    for axis in (0, 1):
        shift = step * np.eye(2)[axis]
        values = [solution(places + count * shift, 0.03) for count in (-3, -2, -1, 1, 2, 3)]
        slope = np.tensordot([-1, 9, -45, 45, -9, 1], values, 1) / (60 * step)
        yield at_most(f"error along axis {axis + 1}", abs(flux[:, axis] + diffusivity[axis] * slope), 1e-9)
    line = np.linspace(0.0, 1.6, 81)
    cut = np.stack((np.full_like(line, 0.25), line), axis=-1)
    curves = tuple(Curve(f"t = {t:g}", line.tolist(), solution(cut, t).tolist()) for t in (0.0, 0.05, 0.2))
    plot = Plot("Modes fade one by one", "place", "field", curves)
    yield at_most("the held wall's field", abs(solution(cut[[0, -1]], 0.05)), 1e-12, plot=plot)


@claim("physics", "laplacian-eigenvalues")
def heat_eigenvalues_are_those_of_the_laplacian(subject: Any, effort: Effort) -> Iterable[Measured]:
    """They are the Rayleigh quotients' minima on a box, the discrete ones a matrix's, each with its own mode."""
    length = 1.3
    for name, boundary in WALLS.items():
        kind = wall_kinds(boundary, 1)[0]
        seen = np.sort(subject((12,), length, boundary))[:5]
        yield at_most(f"relative error, {name}", abs(seen - _ritz(kind, length)[:5]) / (seen + 1), 1e-8)
        errors = []
        for count in (7, 8):
            matrix = _second_difference(count, length / count, kind)
            values = subject((count,), length, boundary, True)
            modes = from_modes(np.eye(count), (kind,))
            errors.append(abs(modes @ matrix - values[:, None] * modes).max() / abs(matrix).max())
        yield at_most(f"error of matrix and mode, {name}", errors, 1e-13)
    kinds = ("dirichlet", "periodic", "neumann")
    matrices = [
        _second_difference(count, side / count, kind)
        for count, side, kind in zip((3, 4, 5), (1, 2, 3), kinds, strict=True)
    ]
    whole = _kronecker_sum(matrices)
    seen = np.sort(subject((3, 4, 5), (1.0, 2.0, 3.0), kinds, True).ravel())
    yield at_most("relative error in a box", abs(seen - np.linalg.eigvalsh(whole)) / abs(whole).max(), 1e-13)


def gauss(low: float, high: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights of an interval."""
    nodes, weights = legendre.leggauss(count)
    return low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2


def box_nodes(lengths: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (m, 2) and weights (m,) of a product rule on a rectangle."""
    (x, first), (y, second) = (gauss(0.0, length, count) for length in lengths)
    return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2), np.outer(first, second).ravel()


def smooth_field(kinds: tuple[str, ...], lengths: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """An analytic field that obeys the walls together with all of its even derivatives, so that its modes fall fast."""

    def field(points: np.ndarray) -> np.ndarray:
        values = np.ones(points.shape[:-1])
        for axis, kind in enumerate(kinds):
            angle = math.pi * points[..., axis] / lengths[axis]
            values = (
                values
                * {
                    "dirichlet": np.sin(angle) * np.exp(np.cos(angle)),
                    "neumann": np.exp(np.cos(angle)),
                    "periodic": np.exp(np.sin(2 * angle)),
                    "dirichlet-neumann": np.sin(angle / 2) * np.exp(-np.cos(angle)),
                    "neumann-dirichlet": np.cos(angle / 2) * np.exp(np.cos(angle)),
                }[kind]
            )
        return values

    return field


def _grid(size: int, count: int) -> tuple[np.ndarray, float]:
    """A trapezoid's points (m, d) about the drifted centre and their volume: spectrally exact for a Gaussian."""
    reach = 8.5 * np.sqrt(2 * _TIME * _TENSOR.diagonal()[:size])
    axes = [_TIME * _VELOCITY[axis] + np.linspace(-reach[axis], reach[axis], count) for axis in range(size)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, size)
    return points, float(np.prod(2 * reach / (count - 1)))


def _wavevectors(size: int) -> Iterator[np.ndarray]:
    for k in ([1.0, -0.5, 0.7], [2.0, 1.5, -1.0], [-0.3, 2.5, 0.4]):
        yield np.array(k[:size])


def _wave(points: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.exp(-1j * points @ k)


def _transform(k: np.ndarray) -> complex:
    size = len(k)
    return complex(np.exp(-k @ _TENSOR[:size, :size] @ k * _TIME - 1j * k @ _VELOCITY[:size] * _TIME))


def _modes_by_mpmath(x: float, y: float, t: float, kind: str) -> float:
    """The sum over all modes on [0, 1] with D = 1, with fifty digits."""
    import mpmath as mp

    with mp.workdps(50):
        x, y, t = mp.mpf(x), mp.mpf(y), mp.mpf(t)
        functions = {
            "periodic": lambda k: mp.cos(k * (x - y)),
            "neumann": lambda k: mp.cos(k * x) * mp.cos(k * y),
            "neumann-dirichlet": lambda k: mp.cos(k * x) * mp.cos(k * y),
            "dirichlet": lambda k: mp.sin(k * x) * mp.sin(k * y),
            "dirichlet-neumann": lambda k: mp.sin(k * x) * mp.sin(k * y),
        }
        shift = mp.mpf(1) / 2 if "-" in kind else 0
        spacing = 2 * mp.pi if kind == "periodic" else mp.pi
        last = int(mp.sqrt(130 / t) / spacing) + 2
        total = mp.mpf(0)
        for count in range(last + 1):
            k = spacing * (count + shift)
            total += (1 if k == 0 else 2) * mp.exp(-k * k * t) * functions[kind](k)
        return float(total)


def _ritz(kind: str, length: float) -> np.ndarray:
    """Eigenvalues by Rayleigh and Ritz with polynomials of degree 23."""
    from scipy import linalg

    degree = 23
    nodes, weights = legendre.leggauss(degree + 2)
    basis = legendre.legvander(nodes, degree)
    slopes = np.stack([legendre.legval(nodes, legendre.legder(row)) for row in np.eye(degree + 1)], axis=-1)
    low, high = (legendre.legvander([end], degree) for end in (-1.0, 1.0))
    held = {"dirichlet": (low, high), "neumann": (), "periodic": (high - low,)}
    held |= {"dirichlet-neumann": (low,), "neumann-dirichlet": (high,)}
    free = linalg.null_space(np.concatenate(held[kind])) if held[kind] else np.eye(degree + 1)
    mass, stiffness = ((weights[:, None] * part).T @ part for part in (basis @ free, slopes @ free))
    return np.asarray(linalg.eigvalsh(stiffness, mass)) * (2 / length) ** 2


def _second_difference(count: int, spacing: float, kind: str) -> np.ndarray:
    """Minus the second difference on cell centres, the walls by cells mirrored beyond them."""
    matrix = 2 * np.eye(count) - np.eye(count, k=1) - np.eye(count, k=-1)
    if kind == "periodic":
        matrix[0, -1] -= 1
        matrix[-1, 0] -= 1
    else:
        ends = kind.split("-")
        for place, wall in ((0, ends[0]), (-1, ends[-1])):
            matrix[place, place] += 1 if wall == "dirichlet" else -1
    return matrix / spacing**2


def _kronecker_sum(matrices: list[np.ndarray]) -> np.ndarray:
    total = np.zeros((1, 1))
    for matrix in matrices:
        total = np.kron(total, np.eye(len(matrix))) + np.kron(np.eye(len(total)), matrix)
    return total
