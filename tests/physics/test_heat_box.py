"""The heat equation on a box in closed form: mpmath's theta functions as oracle, edge cases, units, bad input."""

import math

import mpmath
import numpy as np
import pint
import pytest

from unstir.core.errors import InputError
from unstir.physics.box_modes import cell_centres, from_modes, laplacian_eigenvalues, mode_functions, to_modes
from unstir.physics.heat_boundaries import Dirichlet, Robin
from unstir.physics.heat_green_function import heat_green_function
from unstir.physics.heat_separation import HeatSolution
from unstir.physics.heat_spectral import SpectralHeat

KINDS = ("dirichlet", "neumann", "periodic", "dirichlet-neumann", "neumann-dirichlet")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8])
def test_modes_are_orthonormal_and_what_the_transform_says(kind, count):
    values = np.random.default_rng(0).normal(size=(3, count))
    coefficients = to_modes(values, (kind,))
    functions = mode_functions((np.arange(count) + 0.5) * 1.7 / count, count, 1.7, kind)
    np.testing.assert_allclose(functions.T @ functions, np.eye(count), atol=1e-14)
    np.testing.assert_allclose(coefficients @ functions.T, values, atol=1e-14)
    np.testing.assert_allclose(from_modes(coefficients, (kind,)), values, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_of_modes(kind):
    x, step = np.array([0.31, 0.9, 1.4]), 1e-5
    for count in (5, 6):
        slope = (mode_functions(x + step, count, 1.7, kind) - mode_functions(x - step, count, 1.7, kind)) / (2 * step)
        seen = mode_functions(x, count, 1.7, kind, derivative=True)
        # a central difference errs by step² k³/6, and by rounding over the step
        np.testing.assert_allclose(seen, slope, atol=1e-7)


def test_transforms_take_a_batch_in_front():
    values = np.random.default_rng(1).normal(size=(2, 4, 5, 6))
    kinds = ("periodic", "neumann", "dirichlet")
    np.testing.assert_allclose(to_modes(values, kinds)[1], to_modes(values[1], kinds), atol=1e-15)


def test_the_periodic_green_function_is_a_theta_function():
    for t in (0.003, 0.05, 0.4):
        for away in (0.0, 0.2, 0.45):
            exact = mpmath.jtheta(3, mpmath.pi * away, mpmath.exp(-4 * mpmath.pi**2 * t))
            seen = heat_green_function([0.1 + away], [0.1], t, 1.0, 1.0, "periodic")
            assert float(seen) == pytest.approx(float(exact), rel=1e-11)


def test_the_two_series_meet_where_they_change_places():
    points = np.linspace(0, 1, 41)[:, None]
    for boundary, switch in (("periodic", 1 / (4 * math.pi)), ("neumann", 1 / math.pi), ("dirichlet", 0.05)):
        before, after = (
            heat_green_function(points, [0.3], switch * (1 + sign * 1e-14), 1.0, 1.0, boundary) for sign in (-1, 1)
        )
        np.testing.assert_allclose(before, after, rtol=1e-12, atol=1e-16)


def test_the_green_function_is_positive_and_ends_at_its_limit():
    points = np.random.default_rng(2).uniform(size=(200, 2)) * [1.0, 2.0]
    for boundary in ("dirichlet", "neumann", "periodic"):
        for t in (1e-4, 1e-2, 0.1, 1.0):
            assert np.all(heat_green_function(points, points[::-1], t, (1.0, 2.0), 1.0, boundary) >= 0)
    late = heat_green_function(points, points[::-1], 50.0, (1.0, 2.0), 1.0, "neumann")
    np.testing.assert_allclose(late, 0.5, rtol=1e-14)


def test_a_band_limited_field_decays_exactly():
    def initial(points):
        return 2 + np.cos(math.pi * points[..., 0]) * np.sin(2 * math.pi * points[..., 1] / 1.5)

    def exact(points, t):
        rate = 0.3 * math.pi**2 + 0.5 * (2 * math.pi / 1.5) ** 2
        return 2 + (initial(points) - 2) * math.exp(-rate * t)

    solution = HeatSolution(initial, (4, 5), (1.0, 1.5), (0.3, 0.5), ("neumann", "periodic"))
    points = np.random.default_rng(3).uniform(size=(3, 7, 2))
    np.testing.assert_allclose(solution(points, 0.2), exact(points, 0.2), atol=1e-14)
    np.testing.assert_allclose(solution.on_grid(0.2, (6, 9)), exact(cell_centres((6, 9), (1.0, 1.5)), 0.2), atol=1e-14)
    assert solution.mean(7.0) == pytest.approx(2.0, abs=1e-14)
    assert solution(points[0, 0], 0.2).shape == ()


def test_an_array_serves_as_a_function_does():
    def initial(points):
        return np.exp(-8 * (points[..., 0] - 0.4) ** 2)

    by_array = HeatSolution(initial(cell_centres((32,), 1.0)), boundary="neumann")
    by_function = HeatSolution(initial, (32,), boundary="neumann")
    np.testing.assert_array_equal(by_array.on_grid(0.1), by_function.on_grid(0.1))


def test_many_points_are_taken_in_parts(monkeypatch):
    solution = HeatSolution(np.random.default_rng(4).normal(size=(6, 5, 4)))
    points = np.random.default_rng(5).uniform(size=(50, 3))
    whole = solution(points, 0.01)
    monkeypatch.setattr("unstir.physics.heat_separation._AT_ONCE", 70)
    np.testing.assert_allclose(solution(points, 0.01), whole, rtol=1e-13)
    assert solution(np.empty((0, 3)), 0.01).shape == (0,)


def test_a_steady_source_ends_at_the_parabola():
    solver = SpectralHeat((64,), 1.0, 0.5, "dirichlet", 3.0)
    x = cell_centres((64,), 1.0)[:, 0]
    steady = 3.0 * x * (1 - x) / (2 * 0.5)
    # a constant is no finite sum of sines: its sampled coefficients err by their aliases
    np.testing.assert_allclose(solver.solve(0.0, 40.0)[0], steady, atol=2e-4)


def test_quantities_in_and_out():
    unit = pint.UnitRegistry()
    kelvin = unit.kelvin
    solver = SpectralHeat((16,), 2 * unit.millimeter, 1e-6 * unit.meter**2 / unit.second, "dirichlet")
    hot = 300 * np.sin(math.pi * cell_centres((16,), 1.0)[:, 0]) * kelvin
    solved = solver.solve(hot, np.array([0.0, 100.0]) * unit.millisecond)
    rate = 1e-6 * (math.pi / 2e-3) ** 2
    np.testing.assert_allclose(solved[1].to("kelvin").magnitude, hot.magnitude * math.exp(-rate * 0.1), rtol=1e-12)
    solution = HeatSolution(hot, None, 2 * unit.millimeter, 1e-6 * unit.meter**2 / unit.second, "dirichlet")
    flux = solution.flux(np.array([[1.0], [0.0]]) * unit.millimeter, 0 * unit.second)
    assert flux.is_compatible_with("kelvin*meter/second")
    expected = -1e-6 * 300 * math.pi / 2e-3
    assert flux[1, 0].to("kelvin*meter/second").magnitude == pytest.approx(expected, rel=1e-12)
    assert laplacian_eigenvalues((4,), 2 * unit.meter).is_compatible_with("1/meter**2")
    x = np.array([0.5]) * unit.meter
    seen = heat_green_function(x, x, 1 * unit.second, 1 * unit.meter, 1 * unit.meter**2 / unit.second)
    assert seen.is_compatible_with("1/meter")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: laplacian_eigenvalues((4, 0)), "at least one cell"),
        (lambda: HeatSolution(lambda x: x[..., 0], (4.5,)), "sequence of whole numbers"),
        (lambda: laplacian_eigenvalues((4, 4), (1.0, -1.0)), "positive length"),
        (lambda: laplacian_eigenvalues((4, 4), (1.0, 1.0, 1.0)), "each of its 2 axes"),
        (lambda: laplacian_eigenvalues((4,), 1.0, "open"), "did you mean|Allowed: dirichlet, neumann, periodic"),
        (lambda: laplacian_eigenvalues((4,), 1.0, Robin(1.0)), "finite differences take every wall"),
        (lambda: laplacian_eigenvalues((4,), 1.0, Dirichlet(2.0)), "held at zero"),
        (lambda: laplacian_eigenvalues((4,), 1.0, ("periodic", "neumann")), "at both of its ends"),
        (lambda: laplacian_eigenvalues((4, 4), 1.0, ("neumann",)), "each of the 2 axes"),
        (lambda: laplacian_eigenvalues((4,), 1.0, 3), "seen 3"),
        (lambda: Robin(-1.0), "from 0 up"),
        (lambda: heat_green_function([0.5], [1.5], 0.1), "one outside"),
        (lambda: heat_green_function([0.5], [0.5, 0.5], 0.1), "number of coordinates"),
        (lambda: heat_green_function([0.5], [0.5], -0.1), "above zero"),
        (lambda: heat_green_function([0.5, 0.5], [0.5, 0.5], 0.1, 1.0, np.eye(2)), "finite differences and finite"),
        (lambda: HeatSolution(lambda x: x[..., 0]), "`shape`"),
        (lambda: HeatSolution(np.ones(4), (5,)), "shape \\(5,\\)"),
        (lambda: HeatSolution(np.array([1.0, np.nan])), "finite"),
        (lambda: HeatSolution(np.ones(4))([0.5], -1.0), "forwards"),
        (lambda: HeatSolution(np.ones(4))([1.5], 1.0), "one outside"),
        (lambda: HeatSolution(np.ones(4))([0.5, 0.5], 1.0), "\\(..., 1\\)"),
        (lambda: SpectralHeat((4,), source=1.0, changing=True), "function of \\(points, t\\)"),
        (lambda: SpectralHeat((4,), nodes=0), "one node"),
        (lambda: SpectralHeat((4,)).solve(np.ones(5), [1.0]), "shape \\(4,\\)"),
        (lambda: SpectralHeat((4,)).solve(1.0, [1.0, 0.5]), "rising"),
        (lambda: SpectralHeat((4,), source=lambda x, t: x[..., 0], changing=True).solve(1.0, [1.0], 0.0), "time step"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()
