"""Finite differences of the heat equation: FiPy and SciPy's integrators as oracles, walls, units, bad input."""

import math

import numpy as np
import pint
import pytest
from scipy.integrate import solve_ivp

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics.box_modes import cell_centres
from unstir.physics.heat_boundaries import Dirichlet, Neumann, Robin
from unstir.physics.heat_finite_difference import FiniteDifferenceHeat
from unstir.physics.heat_operator import cell_tensors


def rough(*shape):
    return Seeds.range(3, 1).at("rough", *shape).normal(shape).double().numpy()[0]


@pytest.fixture(scope="module")
def fipy():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fipy
    return fipy


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("mean", ["arithmetic", "harmonic"])
def test_one_dimension_agrees_with_fipy(fipy, mean):
    count, dt = 20, 0.01
    diffusivity = 1 + 4 * (np.arange(count) % 3)
    mesh = fipy.Grid1D(nx=count, dx=1.5 / count)
    field = fipy.CellVariable(mesh=mesh, value=rough(count))
    field.constrain(0.7, mesh.facesLeft)
    cells = fipy.CellVariable(mesh=mesh, value=diffusivity.astype(float))
    faces = cells.arithmeticFaceValue if mean == "arithmetic" else cells.harmonicFaceValue
    equation = fipy.TransientTerm() == fipy.DiffusionTerm(coeff=faces) + 2.0
    for _ in range(5):
        equation.solve(var=field, dt=dt, solver=fipy.LinearLUSolver(tolerance=1e-14))
    walls = ((Dirichlet(0.7), "neumann"),)
    ours = FiniteDifferenceHeat(count, 1.5, diffusivity, walls, 2.0, "backward-euler", mean)
    np.testing.assert_allclose(ours.solve(rough(count), 5 * dt, dt)[0], np.asarray(field.value), atol=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
def test_two_dimensions_agree_with_fipy(fipy):
    shape, lengths, dt = (9, 7), (1.0, 1.4), 0.02
    mesh = fipy.Grid2D(nx=9, ny=7, dx=1.0 / 9, dy=1.4 / 7)
    field = fipy.CellVariable(mesh=mesh, value=rough(*shape).T.ravel())
    field.constrain(-0.2, mesh.facesTop)
    faces = fipy.FaceVariable(mesh=mesh, rank=2, value=np.diag([0.5, 0.2])[..., None] * np.ones(mesh.numberOfFaces))
    equation = fipy.TransientTerm() == fipy.DiffusionTerm(coeff=[faces])
    for _ in range(5):
        equation.solve(var=field, dt=dt, solver=fipy.LinearLUSolver(tolerance=1e-14))
    walls = ("neumann", ("neumann", Dirichlet(-0.2)))
    ours = FiniteDifferenceHeat(shape, lengths, (0.5, 0.2), walls, 0.0, "backward-euler")
    np.testing.assert_allclose(ours.solve(rough(*shape), 5 * dt, dt)[0].T.ravel(), np.asarray(field.value), atol=1e-9)


def test_the_method_of_lines_by_scipy():
    shape, lengths = (12, 9), (1.0, 1.3)
    tensor = np.array([[1.0, 0.4], [0.4, 0.7]])
    walls = ((Dirichlet(lambda x, t: np.sin(3 * t) * x[..., 1]), Neumann(0.5)), "periodic")
    solver = FiniteDifferenceHeat(shape, lengths, tensor, walls, lambda x, t: np.cos(2 * t) * x[..., 0], damped_steps=2)

    def slope(t, u):
        return solver.operator @ u + solver._forcing(t)

    exact = solve_ivp(slope, (0, 0.2), rough(*shape).ravel(), "BDF", rtol=1e-9, atol=1e-11).y[:, -1]
    fields = [solver.solve(rough(*shape), 0.2, 0.2 / count)[0].ravel() for count in (200, 400)]
    errors = [np.abs(field - exact).max() for field in fields]
    assert errors[1] < 1e-5
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.4)  # second order


def test_damped_first_steps_serve_rough_data():
    # a sawtooth, and steps much longer than the fastest mode's life: Crank and Nicolson only flips that mode
    jump = (np.arange(80) % 2) * 1.0
    late = [
        FiniteDifferenceHeat(80, 1.0, 1.0, "neumann", damped_steps=damped).solve(jump, 0.05, 0.01)[0]
        for damped in (0, 2)
    ]
    assert np.abs(late[0] - 0.5).max() > 0.1
    assert np.abs(late[1] - 0.5).max() < 0.01


def test_output_times_do_not_change_the_path():
    solver = FiniteDifferenceHeat((8, 7), 1.0, 0.3, ("dirichlet", "periodic"))
    often = solver.solve(rough(8, 7), np.linspace(0, 0.1, 11), 0.01)
    once = solver.solve(rough(8, 7), [0.1], 0.01)
    np.testing.assert_allclose(often[-1], once[0], atol=1e-14)
    np.testing.assert_array_equal(often[0], rough(8, 7))


def test_many_cells_in_space_are_solved_by_iteration_alike(monkeypatch):
    field = rough(8, 9, 7)
    for tensor in (0.5, np.array([[1.0, 0.3, 0.0], [0.3, 0.8, 0.1], [0.0, 0.1, 0.6]])):
        solver = FiniteDifferenceHeat((8, 9, 7), (1.0, 1.2, 0.9), tensor, "neumann")
        factored = solver.solve(field, 0.05, 0.01)
        with monkeypatch.context() as patch:
            patch.setattr("unstir.physics.heat_finite_difference._FACTORED", 10)
            iterated = solver.solve(field, 0.05, 0.01)
        np.testing.assert_allclose(iterated, factored, atol=1e-10)
        assert solver.mass(iterated)[0] == pytest.approx(float(solver.mass(field)), abs=1e-12)


def test_constant_and_varying_forms_of_one_diffusivity_agree():
    shape, lengths = (6, 5), np.array([1.0, 2.0])
    forms = [0.7, (0.7, 0.7), 0.7 * np.eye(2), np.full(shape, 0.7), lambda x: 0.7 * np.eye(2)]
    for form in forms:
        tensors, diagonal = cell_tensors(form, shape, lengths)
        np.testing.assert_array_equal(tensors, np.broadcast_to(0.7 * np.eye(2), (*shape, 2, 2)))
        assert diagonal


def test_a_tensor_is_the_turned_diagonal():
    # the heat kernel of a tensor, on a torus wide enough: covariance 2Dt
    tensor = np.array([[0.02, 0.008], [0.008, 0.01]])
    solver = FiniteDifferenceHeat((64, 64), 1.0, tensor, "periodic")
    centres = cell_centres((64, 64), 1.0) - 0.5
    spread = 0.05**2
    bump = np.exp(-(centres**2).sum(-1) / (2 * spread))
    weights = solver.solve(bump / bump.sum(), 0.1)[0]
    covariance = np.einsum("xya,xyb,xy->ab", centres, centres, weights)
    # differences of a quadratic are exact; what is left is the tail beyond the torus
    np.testing.assert_allclose(covariance, spread * np.eye(2) + 0.2 * tensor, atol=1e-6)


def test_a_leaking_wall_tends_to_a_held_and_to_an_insulated_one():
    field = rough(16)
    solved = {
        name: FiniteDifferenceHeat(16, 1.0, 1.0, wall, scheme="backward-euler").solve(field, 0.1)[0]
        for name, wall in (
            ("held", Dirichlet(0.3)),
            ("open", Robin(1e12, 0.3)),
            ("insulated", "neumann"),
            ("tight", Robin(0.0, 0.3)),
        )
    }
    np.testing.assert_allclose(solved["open"], solved["held"], atol=1e-9)
    np.testing.assert_allclose(solved["tight"], solved["insulated"], atol=1e-14)


def test_quantities_in_and_out():
    unit = pint.UnitRegistry()
    diffusivity = 1 * unit.millimeter**2 / unit.second
    solver = FiniteDifferenceHeat(
        20, 1 * unit.centimeter, diffusivity, Robin(1e-4 * unit.meter / unit.second, 280 * unit.kelvin), 0.0, "explicit"
    )
    spacing = 0.5e-3
    assert solver.stability_limit.to("second").magnitude == pytest.approx(spacing**2 / 2e-6, rel=1e-12)
    times = np.array([0.0, 10.0]) * unit.second
    fields = solver.solve(300 * np.ones(20) * unit.kelvin, times)
    plain = FiniteDifferenceHeat(20, 1e-2, 1e-6, Robin(1e-4, 280.0), 0.0, "explicit").solve(300.0, [0.0, 10.0])
    np.testing.assert_allclose(fields.to("kelvin").magnitude, plain, rtol=1e-13)
    assert solver.mass(fields).is_compatible_with("kelvin*meter")
    (flux,) = solver.flux(fields[0])
    assert flux.is_compatible_with("kelvin*meter/second")
    series = 1 / (1 / 1e-4 + spacing / 2 / 1e-6)
    assert flux[-1].to("kelvin*meter/second").magnitude == pytest.approx(20 * series, rel=1e-12)
    with pytest.raises(InputError, match="times is a time and needs a unit"):
        solver.solve(fields[0], [1.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FiniteDifferenceHeat((2, 8)), "three cells"),
        (lambda: FiniteDifferenceHeat(8, scheme="leapfrog"), "backward-euler, crank-nicolson, explicit"),
        (lambda: FiniteDifferenceHeat(8, scheme="explicit", damped_steps=2), "damped_steps 2"),
        (lambda: FiniteDifferenceHeat(8, diffusivity=-1.0), "positive in every place"),
        (lambda: FiniteDifferenceHeat(8, diffusivity=np.ones(7)), "seen the shape \\(7,\\)"),
        (lambda: FiniteDifferenceHeat((8, 8), diffusivity=np.array([[1.0, 2.0], [2.0, 1.0]])), "positive definite"),
        (lambda: FiniteDifferenceHeat((8, 8), diffusivity=lambda x: x[..., 0] - 0.5), "positive in every place"),
        (lambda: FiniteDifferenceHeat(8, face_mean="geometric"), "arithmetic, harmonic"),
        (
            lambda: FiniteDifferenceHeat((8, 8), 1.0, np.array([[1.0, 0.1], [0.1, 1.0]]), face_mean="harmonic"),
            "take 'arithmetic'",
        ),
        (lambda: FiniteDifferenceHeat((8, 8), 1.0, np.array([[1.0, 0.1], [0.1, 1.0]]), Robin(1.0)), "Robin"),
        (lambda: FiniteDifferenceHeat(8, boundary=Dirichlet(math.nan)), "finite values"),
        (lambda: FiniteDifferenceHeat((8, 9), boundary=Dirichlet(np.ones(4))), "shape \\(9,\\)"),
        (lambda: FiniteDifferenceHeat(8, source=np.ones(9)), "shape \\(8,\\)"),
        (lambda: FiniteDifferenceHeat(8).solve(np.ones(9), 1.0), "shape \\(8,\\)"),
        (lambda: FiniteDifferenceHeat(8).solve(1.0, [-1.0]), "from zero up"),
        (lambda: FiniteDifferenceHeat(8).solve(1.0, [1.0], -0.1), "one positive number"),
        (lambda: FiniteDifferenceHeat(8).mass(np.ones(9)), "8"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_a_step_beyond_the_limit_names_the_limit():
    solver = FiniteDifferenceHeat((10, 20), (1.0, 1.0), (0.5, 0.25), "periodic", scheme="explicit")
    limit = 1 / (2 * (0.5 * 100 + 0.25 * 400))
    with pytest.raises(InputError, match=f"{limit:.6g} on this grid; take at most that"):
        solver.solve(1.0, 1.0, 1.001 * limit)
    assert solver.solve(1.0, 5 * limit, limit).shape == (1, 10, 20)


def test_a_tensor_that_mixes_axes_has_no_maximum_principle():
    solver = FiniteDifferenceHeat((8, 8), 1.0, np.array([[1.0, 0.6], [0.6, 1.0]]), scheme="explicit")
    assert solver.positivity_limit == 0
    spread = solver.solve(rough(8, 8), 0.05)
    assert np.ptp(spread) < np.ptp(rough(8, 8))
