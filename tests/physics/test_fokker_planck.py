import warnings

import numpy as np
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from unstir.core.errors import InputError
from unstir.physics.fokker_planck import FokkerPlanck


def double_well(x):
    return -(8 * x * (x**2 - 1) + 0.5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lower": 1.0, "upper": -1.0}, "lower must lie below upper"),
        ({"lower": float("nan")}, "both finite"),
        ({"lower": (0.0, 0.0)}, "a number each, or a pair each"),
        ({"cells": 1}, "two or more"),
        ({"boundary": "reflective"}, "did you mean 'reflecting'"),
        ({"boundary": ("periodic", "absorbing")}, "a pair without 'periodic'"),
        ({"diffusion": -1.0}, "must not be negative"),
        ({"diffusion": lambda x: x - 0.5}, "must not be negative"),
        ({"drift": lambda x: x * np.nan}, "not finite"),
        ({"drift": lambda x: np.ones(3)}, r"values of shape \(3,\)"),
        ({"drift": lambda x, t, u: x}, "seen 3 arguments"),
    ],
)
def test_unusable_settings_are_told(change, told):
    with pytest.raises(InputError, match=told):
        FokkerPlanck(**{"lower": 0.0, "upper": 1.0, "cells": 10, **change})


@pytest.mark.parametrize(
    ("density", "times", "options", "told"),
    [
        (np.ones(9), [0.0, 1.0], {}, r"shape \(10,\)"),
        (-np.ones(10), [0.0, 1.0], {}, "not negative"),
        (np.ones(10), [0.0, 0.0], {}, "rising"),
        (np.ones(10), 1.0, {}, "rising"),
        (np.ones(10), [0.0, 1.0], {"method": "tr-bdf"}, "did you mean 'tr-bdf2'"),
        (np.ones(10), [0.0, 1.0], {"method": "backward-euler"}, "must be given"),
        (np.ones(10), [0.0, 1.0], {"steps": 0}, "1 or more"),
        (np.ones(10), [0.0, 1.0], {"tolerance": 0.0}, "positive"),
        (lambda x: np.ones(3), [0.0, 1.0], {}, "one number a point"),
    ],
)
def test_unusable_starts_are_told(density, times, options, told):
    with pytest.raises(InputError, match=told):
        FokkerPlanck(0.0, 1.0, 10).solve(density, times, **options)


def test_what_does_not_exist_is_told():
    absorbing, closed = FokkerPlanck(0.0, 1.0, 10, boundary="absorbing"), FokkerPlanck(0.0, 1.0, 10)
    with pytest.raises(InputError, match="absorbing walls leave nothing"):
        absorbing.stationary()
    with pytest.raises(InputError, match="no wall absorbs"):
        closed.mean_exit_time()
    with pytest.raises(InputError, match="side"):
        absorbing.exit_probability(side="left")
    with pytest.raises(InputError, match="a position within"):
        closed.delta(1.5)
    with pytest.raises(InputError, match="do not change"):
        FokkerPlanck(0.0, 1.0, 10, lambda x, t: x * t).solve(np.ones(10), [0, 1], method="exponential")
    parted = FokkerPlanck(-1.0, 1.0, 20, lambda x: np.sign(x) * np.abs(np.round(x, 9)), 0.0)
    with pytest.raises(InputError, match="2 pieces"):
        parted.stationary()


def test_a_tensor_too_slanted_for_its_cells_is_refused_and_the_shape_it_names_serves():
    tensor = np.array([[1.0, 0.45], [0.45, 0.25]])  # positive definite, but not on square cells
    with pytest.raises(InputError, match=r"width over height lies between 1\.8 and 2\.222"):
        FokkerPlanck((0.0, 0.0), (1.0, 1.0), (20, 20), 0.0, tensor)
    FokkerPlanck((0.0, 0.0), (1.0, 1.0), (20, 40), 0.0, tensor)
    with pytest.raises(InputError, match="not positive definite"):
        FokkerPlanck((0.0, 0.0), (1.0, 1.0), (20, 20), 0.0, np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(InputError, match="symmetric"):
        FokkerPlanck((0.0, 0.0), (1.0, 1.0), (20, 20), 0.0, np.array([[1.0, 0.1], [0.0, 1.0]]))


def test_agrees_with_fipy():
    # FiPy's own divisions and imports warn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fipy import CellVariable, DiffusionTerm, ExponentialConvectionTerm, FaceVariable, Grid1D, TransientTerm
        from fipy.solvers.scipy import LinearLUSolver

        cells, steps, duration = 80, 40, 0.5
        ours = FokkerPlanck(-2.0, 2.0, cells, double_well, 0.4)
        start = ours.averages(stats.norm(-0.5, 0.3).pdf)
        mesh = Grid1D(nx=cells, Lx=4.0) - 2.0
        density = CellVariable(mesh=mesh, value=start)
        values = np.where(mesh.exteriorFaces.value, 0.0, double_well(np.array(mesh.faceCenters[0])))
        velocity = FaceVariable(mesh=mesh, rank=1, value=values[None])
        equation = TransientTerm() == DiffusionTerm(coeff=0.4) - ExponentialConvectionTerm(coeff=velocity)
        for _ in range(steps):
            equation.solve(density, dt=duration / steps, solver=LinearLUSolver())
        theirs = np.array(density.value)
    found = ours.solve(start, [0.0, duration], method="backward-euler", steps=steps)[-1]
    # the same scheme and steps: what is left is rounding and their linear solver's
    assert np.abs(found - theirs).max() < 1e-6 * theirs.max()


def test_agrees_with_scipys_stiff_solver_on_its_own_grid_of_differences():
    # central differences of the same equation by hand, in changing coefficients
    cells = 400
    solver = FokkerPlanck(-4.0, 4.0, cells, lambda x, t: -x + np.sin(3 * t), lambda x, t: 0.3 + 0.1 * np.cos(x) * t)
    x, width = solver.centres(), 8 / cells

    def change(t, p):
        flux = (-(x[1:] + x[:-1]) / 2 + np.sin(3 * t)) * (p[1:] + p[:-1]) / 2
        flux = np.concatenate(([0.0], flux - np.diff((0.3 + 0.1 * np.cos(x) * t) * p) / width, [0.0]))
        return -np.diff(flux) / width

    start = solver.averages(stats.norm(0.5, 0.4).pdf)
    theirs = integrate.solve_ivp(change, (0, 1), start, "LSODA", rtol=1e-6, atol=1e-9, lband=1, uband=1).y[:, -1]
    found = solver.solve(start, [0.0, 0.37, 1.0])[-1]
    assert np.abs(found - theirs).sum() * width < 5 * width**2  # both of second order


def test_mass_leaves_through_absorbing_walls_as_the_currents_say():
    solver = FokkerPlanck((0.0, 0.0), (1.0, 1.0), (12, 15), lambda x: 1 - x, [0.1, 0.2], ("absorbing", "reflecting"))
    density = solver.averages(lambda x: 4 * x[:, 0] * x[:, 1])
    change = (solver.generator().T @ density.ravel()).reshape(density.shape)
    flows = [solver.current(density, axis) for axis in (0, 1)]
    assert flows[0].shape == (13, 15) and flows[1].shape == (12, 16)
    np.testing.assert_array_equal(flows[1][:, [0, -1]], 0)
    divergence = np.diff(flows[0], axis=0) * 12 + np.diff(flows[1], axis=1) * 15
    np.testing.assert_allclose(change, -divergence, atol=1e-10)


def test_currents_with_cross_diffusion_balance_in_every_cell():
    tensor = np.array([[0.3, 0.1], [0.1, 0.3]])
    for boundary in ("periodic", "reflecting"):
        solver = FokkerPlanck((0.0, 0.0), (1.0, 1.0), (12, 12), lambda x: np.cos(7 * x), tensor, boundary)
        density = solver.averages(lambda x: 1 + x[:, 0] ** 2 * x[:, 1])
        change = (solver.generator().T @ density.ravel()).reshape(density.shape)
        divergence = sum(np.diff(solver.current(density, axis), axis=axis) * 12 for axis in (0, 1))
        np.testing.assert_allclose(change, -divergence, atol=1e-10)


def test_a_plane_of_independent_axes_is_the_product_of_two_lines():
    line = FokkerPlanck(-2.0, 2.0, 40, double_well, 0.4)
    other = FokkerPlanck(0.0, 1.0, 30, 1.0, 0.2, "periodic")
    plane = FokkerPlanck(
        (-2.0, 0.0),
        (2.0, 1.0),
        (40, 30),
        lambda x: np.stack((double_well(x[:, 0]), np.ones(len(x))), axis=1),
        [0.4, 0.2],
        ("reflecting", "periodic"),
    )
    starts = line.delta(0.3), other.averages(lambda x: 1 + 0.5 * np.sin(2 * np.pi * x))
    times, method = [0.0, 0.2], "exponential"
    each = [solver.solve(start, times, method)[-1] for solver, start in zip((line, other), starts, strict=True)]
    found = plane.solve(np.multiply.outer(*starts), times, method)[-1]
    np.testing.assert_allclose(found, np.multiply.outer(*each), rtol=1e-9, atol=1e-13)


@given(st.floats(0.05, 1.95), st.floats(0.05, 0.95))
def test_a_delta_has_its_mass_and_mean(x, y):
    solver = FokkerPlanck((0.0, 0.0), (2.0, 1.0), (40, 20))
    mean, covariance = solver.moments(solver.delta((x, y)))
    np.testing.assert_allclose(mean, (x, y), atol=1e-12)
    assert np.trace(covariance) <= 2 * 0.05**2 / 4 + 1e-12


def test_a_spike_stays_positive_in_steps_of_second_order():
    # an unlimited TR-BDF2 step would undershoot here; proof that the limiter has something to do
    solver = FokkerPlanck(-1.0, 1.0, 200, 0.0, 1.0)
    start = solver.delta(0.0)
    matrix, gamma = solver.generator().T.toarray() * 0.05, 2 - np.sqrt(2)
    one = np.eye(200)
    halfway = np.linalg.solve(one - gamma / 2 * matrix, start + gamma / 2 * matrix @ start)
    plain = np.linalg.solve(one - gamma / 2 * matrix, (halfway - (1 - gamma) ** 2 * start) / (gamma * (2 - gamma)))
    assert plain.min() < -1e-2
    found = solver.solve(start, [0.0, 0.05], steps=1)[-1]
    assert found.min() >= 0
    assert abs(found.sum() / 100 - 1) < 1e-13
    smooth = solver.averages(stats.norm(0, 0.2).pdf)
    halfway = np.linalg.solve(one - gamma / 2 * matrix, smooth + gamma / 2 * matrix @ smooth)
    plain = np.linalg.solve(one - gamma / 2 * matrix, (halfway - (1 - gamma) ** 2 * smooth) / (gamma * (2 - gamma)))
    np.testing.assert_allclose(solver.solve(smooth, [0.0, 0.05], steps=1)[-1], plain, rtol=1e-9, atol=1e-12)


def test_quantities_come_back_in_their_units():
    unit = pint.UnitRegistry()
    plain = FokkerPlanck(0.0, 1e-7, 50, 1e-9, 3e-18)
    solver = FokkerPlanck(
        0 * unit.nm, 100 * unit.nm, 50, 1 * unit.nm / unit.s, 3 * unit.nm**2 / unit.s, boundary="reflecting"
    )
    start = solver.delta(20 * unit.nm)
    found = solver.solve(start, np.array([0.0, 60.0]) * unit.s)
    assert found.check("1/[length]")
    expected = plain.solve(plain.delta(2e-8), [0.0, 60.0])
    np.testing.assert_allclose(found.to("1/m").magnitude, expected, rtol=1e-12, atol=1)
    assert solver.current(found[1]).check("1/[time]")
    mean, variance = solver.moments(found)
    assert mean.check("[length]") and variance.check("[length]**2")
    assert solver.solve(lambda x: 0 * x + 1e7, np.array([0.0, 1.0]) * unit.s).check("1/[length]")
    with pytest.raises(InputError, match="needs a unit"):
        solver.solve(start, [0.0, 60.0])
    absorbing = FokkerPlanck(0 * unit.nm, 100 * unit.nm, 50, 0, 3 * unit.nm**2 / unit.s, "absorbing")
    assert absorbing.mean_exit_time().check("[time]")
    plane = FokkerPlanck(np.zeros(2) * unit.nm, np.ones(2) * unit.nm, (4, 4), 0, 3 * unit.nm**2 / unit.s)
    assert plane.stationary().check("1/[length]**2")


def test_rare_escapes_keep_their_digits():
    # Kramers' problem: the mean time over a barrier of 60 thermal energies, by quadrature in logarithms
    potential = lambda x: 60 * (x**4 / 4 - x**2 / 2)  # noqa: E731
    solver = FokkerPlanck(-2.0, 2.0, 3000, lambda x: -60 * (x**3 - x), 1.0, ("reflecting", "absorbing"))
    x = np.linspace(-2, 2, 200_001)
    inner = np.concatenate(([0.0], integrate.cumulative_trapezoid(np.exp(-potential(x) - 15), x)))
    total = integrate.cumulative_trapezoid((np.exp(potential(x) - 225) * inner)[::-1], -x[::-1], initial=0)[::-1]
    start = int(np.argmin(np.abs(solver.centres() + 1)))
    exact = np.log(np.interp(solver.centres()[start], x, total)) + 240
    assert solver.mean_exit_time()[start] > 1e30
    assert abs(np.log(solver.mean_exit_time()[start]) - exact) < 1e-3
    # and two wells that no rounding may weigh: symmetric, so half in each
    wells = FokkerPlanck(-2.0, 2.0, 500, lambda x: -400 * (x**3 - x), 1.0).stationary()
    np.testing.assert_allclose(wells, wells[::-1], rtol=1e-10)
