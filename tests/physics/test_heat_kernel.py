"""The heat kernel: mpmath and SciPy as oracles, units, bad input."""

import math

import mpmath
import numpy as np
import pint
import pytest
from scipy import stats

from unstir.core.errors import InputError
from unstir.physics.heat_kernel import half_space_kernel, heat_kernel, heat_kernel_flux

TENSOR = np.array([[2.0, 0.7], [0.7, 1.5]])


def test_it_is_the_normal_density_of_scipy():
    points = np.random.default_rng(0).normal(size=(5, 4, 2))
    law = stats.multivariate_normal([0.3 * 0.5, -0.2 * 0.5], 2 * 0.5 * TENSOR)
    np.testing.assert_allclose(heat_kernel(points, 0.5, TENSOR, [0.3, -0.2]), law.pdf(points), rtol=1e-13)


def test_every_form_of_the_diffusivity_is_one():
    points = np.random.default_rng(1).normal(size=(6, 3))
    same = heat_kernel(points, 0.4, 0.7)
    np.testing.assert_allclose(heat_kernel(points, 0.4, [0.7, 0.7, 0.7]), same, rtol=1e-14)
    np.testing.assert_allclose(heat_kernel(points, 0.4, 0.7 * np.eye(3)), same, rtol=1e-14)


def test_times_broadcast_against_points():
    points = np.linspace(-1, 1, 7)[:, None]
    times = np.array([0.1, 2.0])[:, None]
    both = heat_kernel(points, times)
    assert both.shape == (2, 7)
    np.testing.assert_allclose(both[1], heat_kernel(points, 2.0), rtol=1e-15)


def test_tiny_and_huge_times_against_mpmath():
    for r, t in ((1e-8, 1e-18), (3.0, 1e-2), (1e6, 1e12), (0.0, 1e-300)):
        exact = mpmath.exp(-(mpmath.mpf(r) ** 2) / (4 * mpmath.mpf(t))) / mpmath.sqrt(4 * mpmath.pi * mpmath.mpf(t))
        assert float(heat_kernel([r], t)) == pytest.approx(float(exact), rel=1e-12)


def test_the_flux_is_the_slope_by_mpmath():
    def density(x, y):
        away = mpmath.matrix([x - mpmath.mpf("0.1"), y + mpmath.mpf("0.2")])
        inverse = mpmath.matrix(TENSOR.tolist()) ** -1
        return mpmath.exp(-(away.T * inverse * away)[0] / 2) / (2 * mpmath.pi * mpmath.sqrt(mpmath.det(inverse**-1)))

    with mpmath.workdps(30):
        x, y = mpmath.mpf("0.4"), mpmath.mpf("-0.3")
        slope = np.array([float(mpmath.diff(density, (x, y), order)) for order in ((1, 0), (0, 1))])
        here = float(density(x, y))
    velocity = np.array([0.2, -0.4])  # carried by (0.1, -0.2) in the time 1/2, in which 2Dt = D
    expected = -TENSOR @ slope + velocity * here
    np.testing.assert_allclose(heat_kernel_flux([0.4, -0.3], 0.5, TENSOR, velocity), expected, rtol=1e-12)


def test_close_to_a_held_wall_no_digits_are_lost():
    x, y, t = 1e-12, 0.7, 0.3
    with mpmath.workdps(60):
        first, second = ((mpmath.mpf(x) + sign * mpmath.mpf(y)) ** 2 / (4 * mpmath.mpf(t)) for sign in (-1, 1))
        exact = (mpmath.exp(-first) - mpmath.exp(-second)) / mpmath.sqrt(4 * mpmath.pi * mpmath.mpf(t))
    assert float(half_space_kernel([x], [y], t, 1.0, "dirichlet")) == pytest.approx(float(exact), rel=1e-13)


def test_a_leaking_wall_lies_between_an_insulated_and_a_held_one():
    points = np.linspace(0, 3, 31)[:, None]
    insulated = half_space_kernel(points, [0.4], 0.2)
    np.testing.assert_allclose(half_space_kernel(points, [0.4], 0.2, 1.0, "robin", 0.0), insulated, rtol=1e-15)
    held = half_space_kernel(points, [0.4], 0.2, 1.0, "dirichlet")
    # to first order in 1/transfer the held wall lies D/transfer behind the leaking one
    np.testing.assert_allclose(half_space_kernel(points, [0.4], 0.2, 1.0, "robin", 1e9), held, atol=1e-8)
    between = half_space_kernel(points, [0.4], 0.2, 1.0, "robin", 1.0)
    assert np.all((held <= between) & (between <= insulated))


def test_beside_a_wall_in_three_dimensions_the_other_axes_are_free():
    x, y, t, d = np.array([0.3, 1.0, -0.4]), np.array([0.5, 0.2, 0.1]), 0.2, np.array([0.6, 0.3, 0.9])
    across = half_space_kernel(x[:1], y[:1], t, 0.6)
    along = heat_kernel((x - y)[1:], t, d[1:])
    assert float(half_space_kernel(x, y, t, d)) == pytest.approx(float(across * along), rel=1e-14)


def test_quantities_in_and_out():
    unit = pint.UnitRegistry()
    seen = heat_kernel(np.array([[1.0, 2.0]]) * unit.micrometer, 2 * unit.second, 3 * unit.micrometer**2 / unit.second)
    assert seen.is_compatible_with("1/meter**2")
    np.testing.assert_allclose(seen.to("1/micrometer**2").magnitude, heat_kernel([[1.0, 2.0]], 2.0, 3.0), rtol=1e-12)
    flux = heat_kernel_flux([1.0] * unit.meter, 2 * unit.second, 3 * unit.meter**2 / unit.second)
    assert flux.is_compatible_with("1/second")
    with pytest.raises(InputError, match="needs a unit"):
        heat_kernel([1.0] * unit.meter, 2.0, 3 * unit.meter**2 / unit.second)
    with pytest.raises(InputError, match="diffusivity"):
        heat_kernel([1.0] * unit.meter, 2 * unit.second, 3 * unit.meter / unit.second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: heat_kernel([1.0], 0.0), "above zero; seen 0"),
        (lambda: heat_kernel([1.0], math.nan), "above zero"),
        (lambda: heat_kernel(1.0, 1.0), "coordinates last"),
        (lambda: heat_kernel([1.0, 2.0], 1.0, -1.0), "positive"),
        (lambda: heat_kernel([1.0, 2.0], 1.0, [[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: heat_kernel([1.0, 2.0], 1.0, [[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
        (lambda: heat_kernel([1.0, 2.0], 1.0, [1.0, 1.0, 1.0]), "one for each of the 2 axes"),
        (lambda: heat_kernel([1.0, 2.0], 1.0, 1.0, [1.0, 2.0, 3.0]), "advection"),
        (lambda: heat_kernel(np.zeros((3, 2)), np.ones(4)), "must broadcast"),
        (lambda: half_space_kernel([1.0], [1.0], 1.0, 1.0, "wall"), "dirichlet, neumann, robin"),
        (lambda: half_space_kernel([1.0], [1.0], 1.0, 1.0, "robin"), "transfer"),
        (lambda: half_space_kernel([1.0], [1.0], 1.0, 1.0, "robin", -1.0), "at least zero"),
        (lambda: half_space_kernel([-1.0], [1.0], 1.0), "beyond the wall"),
        (lambda: half_space_kernel([1.0], [1.0, 2.0], 1.0), "one number of coordinates"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()
