"""Finite elements of the heat equation: matrices, known eigenvalues, walls by name and by function, bad input."""

import math
import sys

import numpy as np
import pint
import pytest
import skfem
from scipy.sparse import linalg

from unstir.core.errors import InputError, NotInstalledError
from unstir.physics.heat_boundaries import Dirichlet, Neumann, Robin
from unstir.physics.heat_finite_difference import FiniteDifferenceHeat
from unstir.physics.heat_finite_element import FiniteElementHeat
from unstir.physics.heat_meshes import disc_mesh, l_shape_mesh, rectangle_mesh


def lowest_eigenvalue(solver):
    free = solver._free
    mass, stiffness = solver.mass[free][:, free].tocsc(), solver.stiffness[free][:, free].tocsc()
    start = np.ones(len(free))
    return float(linalg.eigsh(stiffness, 1, mass, sigma=0.0, v0=start, return_eigenvectors=False)[0])


def test_matrices_are_skfems_own_models():
    from skfem.models.poisson import laplace
    from skfem.models.poisson import mass as mass_form

    mesh = rectangle_mesh((1.0, 2.0), (3, 4))
    for element, kind in (("P1", skfem.ElementTriP1()), ("P2", skfem.ElementTriP2())):
        solver = FiniteElementHeat(mesh, 1.0, element)
        basis = skfem.Basis(mesh, kind)
        assert abs(solver.mass - mass_form.assemble(basis)).max() < 1e-15
        assert abs(solver.stiffness - laplace.assemble(basis)).max() < 1e-13


def test_the_load_is_skfems_own_form():
    mesh = disc_mesh(1.0, 2)

    def source(points, t):
        return np.sin(points[..., 0]) * (1 + t)

    solver = FiniteElementHeat(mesh, 1.0, "P2", {"all": Neumann(lambda x, t: -(x[..., 1] ** 2))}, source)
    inside = skfem.LinearForm(lambda v, w: 1.5 * np.sin(w.x[0]) * v).assemble(solver._basis)
    rim = skfem.FacetBasis(mesh, skfem.ElementTriP2(), intorder=5)
    inside += skfem.LinearForm(lambda v, w: w.x[1] ** 2 * v).assemble(rim)
    np.testing.assert_allclose(solver._load(0.5), inside, atol=1e-15)


def test_the_l_shapes_lowest_eigenvalue():
    # 9.6397238440219...: Betcke and Trefethen, Reviving the method of particular solutions, SIAM Review 47 (2005)
    found = [
        lowest_eigenvalue(FiniteElementHeat(l_shape_mesh(1.0, level), 1.0, "P2", {"all": "dirichlet"}))
        for level in (3, 4, 5)
    ]
    errors = np.array(found) - 9.6397238440219
    assert np.all(errors > 0)  # Rayleigh and Ritz err upwards
    # at the corner the gradient grows like r^(-1/3), so whatever the element the eigenvalue is of order 4/3
    assert np.log2(errors[1] / errors[2]) == pytest.approx(4 / 3, abs=0.1)


def test_it_agrees_with_finite_differences_on_a_rectangle():
    lengths = (1.0, 1.4)

    def initial(points):
        # zero at the held wall, and next to nothing at the leaking one: no jump at time zero
        return points[..., 0] * np.exp(-20 * ((points - [0.4, 0.6]) ** 2).sum(-1))

    def diffusivity(points):
        return 0.3 + 0.2 * points[..., 0]

    elements = FiniteElementHeat(
        rectangle_mesh(lengths, (20, 20)), diffusivity, "P2", {"left": "dirichlet", "top": Robin(0.5, 0.0)}
    )
    places = np.array([[0.25, 0.35], [0.55, 0.91], [0.85, 1.19]])  # centres of cells, on the finest of these grids
    fields = {
        count: FiniteDifferenceHeat(
            (count, count),
            lengths,
            diffusivity,
            (("dirichlet", "neumann"), ("neumann", Robin(0.5, 0.0))),
        ).solve(initial, 0.2, 0.005)[0]
        for count in (10, 30, 90)
    }
    seen = []
    for count, field in fields.items():
        cells = np.floor(places / np.array(lengths) * count + 1e-9).astype(int)
        seen.append(field[cells[:, 0], cells[:, 1]])
    estimate = np.abs(seen[2] - seen[1]) / 8
    here = elements.at(elements.solve(initial, 0.2, 0.005)[0], places)
    assert np.all(np.abs(here - seen[2]) < 2 * estimate + 1e-5)  # the elements' own error is of h³


def test_walls_by_function_are_those_by_name():
    mesh = rectangle_mesh((1.0, 1.0), (5, 5))
    by_name = FiniteElementHeat(mesh, 1.0, "P1", {"left": Dirichlet(1.0), "top": Neumann(0.2)})
    by_function = FiniteElementHeat(
        mesh, 1.0, "P1", {(lambda x: x[..., 0] == 0): Dirichlet(1.0), (lambda x: x[..., 1] == 1): Neumann(0.2)}
    )
    np.testing.assert_array_equal(by_name.solve(0.0, 0.3), by_function.solve(0.0, 0.3))


def test_the_held_wall_is_held_and_the_end_is_steady():
    solver = FiniteElementHeat(
        rectangle_mesh((2.0, 1.0), (8, 4)), 3.0, "P1", {"left": Dirichlet(1.0), "right": Dirichlet(5.0)}, 0.0, "bdf2"
    )
    late = solver.solve(0.0, [0.5, 20.0], 0.1)[-1]
    np.testing.assert_allclose(late, 1 + 2 * solver.nodes[:, 0], atol=1e-9)


def test_bdf2_starts_anew_where_the_step_changes():
    mesh = rectangle_mesh((1.0, 1.0), (4, 4))
    solver = FiniteElementHeat(mesh, 0.1, "P1", {}, lambda x, t: np.exp(t) + 0 * x[..., 0], "bdf2")
    errors = []
    for step in (0.02, 0.01):
        late = solver.solve(1.0, [0.3, 1.0 - step / 3], step)[-1]
        errors.append(np.abs(late - math.exp(1.0 - step / 3)).max())
    assert errors[0] / errors[1] == pytest.approx(4, abs=0.6)


def test_quantities_in_and_out():
    unit = pint.UnitRegistry()
    mesh = rectangle_mesh((1e-2, 1e-2), (4, 4))
    solver = FiniteElementHeat(mesh, 1 * unit.millimeter**2 / unit.second, "P1", {"left": Dirichlet(300 * unit.kelvin)})
    fields = solver.solve(280 * unit.kelvin, np.array([0.0, 5.0]) * unit.second)
    plain = FiniteElementHeat(mesh, 1e-6, "P1", {"left": Dirichlet(300.0)}).solve(280.0, [0.0, 5.0])
    np.testing.assert_allclose(fields.to("kelvin").magnitude, plain, rtol=1e-13)
    assert solver.at(fields[1], np.array([[5.0, 5.0]]) * unit.millimeter).is_compatible_with("kelvin")
    assert solver.total(fields[1]).is_compatible_with("kelvin*meter**2")


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "skfem", None)
    with pytest.raises(NotInstalledError, match="unstir\\[physics\\]"):
        rectangle_mesh((1.0, 1.0), (2, 2))


MESH = rectangle_mesh((1.0, 1.0), (2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rectangle_mesh((1.0, 0.0), (2, 2)), "positive lengths"),
        (lambda: disc_mesh(-1.0), "positive radius"),
        (lambda: l_shape_mesh(1.0, -1), "refinements"),
        (lambda: FiniteElementHeat("mesh"), "skfem.MeshTri"),
        (lambda: FiniteElementHeat(MESH, 1.0, "P3"), "Allowed: P1, P2"),
        (lambda: FiniteElementHeat(MESH, scheme="explicit"), "bdf2"),
        (lambda: FiniteElementHeat(MESH, 0.0), "positive in every place"),
        (lambda: FiniteElementHeat(MESH, np.ones(3)), "seen \\(3,\\)"),
        (lambda: FiniteElementHeat(MESH, boundary={"lef": "dirichlet"}), "did you mean 'left'"),
        (lambda: FiniteElementHeat(MESH, boundary={"left": "periodic"}), "no periodic boundary"),
        (lambda: FiniteElementHeat(MESH, boundary={"left": "neumann", "all": "dirichlet"}), "overlaps"),
        (lambda: FiniteElementHeat(MESH, boundary={(lambda x: x[..., 0] > 9): "dirichlet"}), "no edge"),
        (lambda: FiniteElementHeat(MESH, source=lambda x, t: np.ones(3)), "the source"),
        (lambda: FiniteElementHeat(MESH).solve(np.ones(4), 1.0), "9 nodes"),
        (lambda: FiniteElementHeat(MESH).solve(1.0, [2.0, 1.0]), "rising"),
        (lambda: FiniteElementHeat(MESH).at(1.0, [[3.0, 3.0]]), "points lie in the mesh"),
        (lambda: FiniteElementHeat(MESH).at(1.0, [3.0]), "\\(..., 2\\)"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()
