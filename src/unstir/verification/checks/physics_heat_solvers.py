"""Claims about the solvers of the heat equation: spectral, finite differences, finite elements."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import special

from unstir.core.errors import InputError, NotInstalledError
from unstir.physics.box_modes import cell_centres
from unstir.physics.heat_boundaries import Dirichlet, Neumann, Robin, wall_kinds
from unstir.physics.heat_green_function import heat_green_function
from unstir.physics.heat_meshes import disc_mesh, rectangle_mesh
from unstir.verification.base import Curve, Effort, Measured, NotMeasured, Plot, claim
from unstir.verification.checks.manufactured import Manufactured, manufactured
from unstir.verification.checks.physics_heat import WALLS, box_nodes, gauss, smooth_field
from unstir.verification.statistics import at_most, order_of

__all__ = [
    "finite_differences_agree_with_the_green_function",
    "finite_differences_balance_mass",
    "finite_differences_cross_layers",
    "finite_differences_have_their_order_in_space",
    "finite_differences_have_their_order_in_time",
    "finite_differences_tell_their_limits",
    "finite_elements_agree_with_exact_solutions",
    "finite_elements_balance_mass",
    "finite_elements_have_their_order_in_space",
    "finite_elements_have_their_order_in_time",
    "spectral_heat_is_exact_in_time",
    "spectral_heat_takes_up_a_changing_source",
]

_TENSOR = [["1 + x*y/2", "3/10 + x/5"], ["3/10 + x/5", "1 + y/2 + sin(x)/4"]]
_PLANE = "(1 + t)*(sin(2*x + y) + x*y**2 + cos(3*y))"  # linear in time: no scheme but the explicit one errs in time


@claim("physics", "spectral-heat")
def spectral_heat_is_exact_in_time(subject: Any, effort: Effort) -> Iterable[Measured]:
    """One long step gives the Green function's integral over the initial field, to rounding, and so do several."""
    length, diffusivity = 1.3, 0.4
    nodes, weights = gauss(0.0, length, 60)
    for name, boundary in WALLS.items():
        initial = smooth_field(wall_kinds(boundary, 1), np.array([length]))
        solver = subject((40,), length, diffusivity, boundary)
        solved = solver.solve(initial, [0.07, 0.3])
        centres = cell_centres((40,), length)
        errors = []
        for field, t in zip(solved, (0.07, 0.3), strict=True):
            kernel = heat_green_function(centres[:, None], nodes[:, None], t, length, diffusivity, boundary)
            errors.append(abs(kernel @ (weights * initial(nodes[:, None])) - field).max())
        yield at_most(f"error, {name}", errors, 1e-11)
    rough = effort.seeds(1, "spectral").normal((12, 9, 10)).double().numpy()[0]
    for boundary in ("neumann", "periodic"):
        fields = subject((12, 9, 10), (1.0, 2.0, 0.7), (0.1, 0.5, 0.2), boundary).solve(rough, [1e-4, 0.1, 10.0])
        yield at_most(f"change of the mean in 3-D, {boundary}", abs(fields.mean((1, 2, 3)) - rough.mean()), 1e-14)


@claim("physics", "spectral-heat")
def spectral_heat_takes_up_a_changing_source(subject: Any, effort: Effort) -> Iterable[Measured]:
    """A source that changes is integrated at least at the order of its nodes, however stiff the modes are."""
    frequency, length, shape = 3.0, 2.0, (32,)
    centres = cell_centres(shape, length)[:, 0]

    def source(points: np.ndarray, t: float) -> np.ndarray:
        return np.exp(np.cos(math.pi * points[..., 0] / length)) * math.cos(frequency * t)

    def exact(diffusivity: float, t: float) -> np.ndarray:
        # modes of exp(cos) are Bessel functions; each obeys c' = -λc + a cos(ωt)
        total = np.zeros(shape)
        for order in range(16):
            rate = diffusivity * (math.pi * order / length) ** 2
            weight = special.iv(order, 1.0) * (2 if order else 1)
            steady = rate * math.cos(frequency * t) + frequency * math.sin(frequency * t)
            total += (
                weight
                * np.cos(math.pi * order * centres / length)
                * (steady - rate * math.exp(-rate * t))
                / (rate**2 + frequency**2)
            )
        return total

    for diffusivity in (0.5, 500.0):
        solver = subject(shape, length, diffusivity, "neumann", source, True)
        error = abs(solver.solve(0.0, [0.2, 1.0], 0.1)[-1] - exact(diffusivity, 1.0)).max()
        yield at_most(f"error with eight nodes, D = {diffusivity:g}", error, 1e-12)
        steps = [0.5, 0.25, 0.125, 0.0625, 0.03125]
        solver = subject(shape, length, diffusivity, "neumann", source, True, 2)
        errors = [abs(solver.solve(0.0, [1.0], step)[-1] - exact(diffusivity, 1.0)).max() for step in steps]
        yield order_of(f"order with two nodes, D = {diffusivity:g}", steps, errors, 2.0, at_least=True)


@claim("physics", "finite-difference-heat")
def finite_differences_have_their_order_in_space(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Of second order for D that varies in space, at every kind of wall, and for a tensor in the plane."""
    line = manufactured("(1 + t)*(sin(2*x) + x**2 + 1)", [["1 + x/2 + sin(x)/3"]])
    ends: dict[str, Any] = {
        "held": (Dirichlet(line.field), Dirichlet(line.field)),
        "given flux and leaking": (Neumann(outward(line, 0, low=True)), leaking(line, 0)),
    }
    for name, walls in ends.items():
        yield _space_order(subject, f"order, 1-D, {name}", line, (1.3,), (walls,), effort.of(_FEW, _MANY))
    wave = manufactured("(1 + t)*exp(sin(2*pi*x))", [["1 + cos(2*pi*x)/2"]])
    yield _space_order(subject, "order, 1-D, periodic", wave, (1.0,), ("periodic",), effort.of(_FEW, _MANY))
    plane = manufactured(_PLANE, _TENSOR)
    held = Dirichlet(plane.field)
    walls = ((Neumann(outward(plane, 0, low=True)), held), (held, Neumann(outward(plane, 1, low=False))))
    sizes = effort.of((24, 32, 40, 48, 64), (32, 48, 64, 96, 128))
    yield _space_order(subject, "order, 2-D tensor, held and given flux", plane, (1.0, 1.2), walls, sizes)
    if not effort.quick:
        solid = manufactured(
            "(1 + t)*sin(x + 2*y)*cos(z)", [["1 + x", "0", "0"], ["0", "1 + y*z", "0"], ["0", "0", "2"]]
        )
        walls = ((Dirichlet(solid.field), leaking(solid, 0)), *[Dirichlet(solid.field)] * 2)
        sizes = (12, 16, 20, 24, 32)
        yield _space_order(subject, "order, 3-D, held and leaking", solid, (1.0, 1.2, 0.8), walls, sizes)


@claim("physics", "finite-difference-heat")
def finite_differences_have_their_order_in_time(subject: Any, effort: Effort) -> Iterable[Measured]:
    """In time of first order explicit and backward, of second order by Crank and Nicolson, damped starts included."""
    # linear in space, where the differences are exact: what errs is the step alone
    case = manufactured("(1 + x)*cos(3*t)", [["1/5"]])
    walls = ((Dirichlet(case.field), Neumann(outward(case, 0, low=False))),)
    counts = np.array(effort.of((24, 32, 40, 48, 64), (32, 48, 64, 96, 128, 192)))
    for scheme, damped, order in (
        ("explicit", 0, 1), ("backward-euler", 0, 1), ("crank-nicolson", 0, 2), ("crank-nicolson", 2, 2)
    ):  # fmt: skip
        solver = subject((6,), 1.3, 0.2, walls, case.source, scheme, "arithmetic", damped)
        exact = case.field(cell_centres((6,), 1.3), 1.0)
        errors = [abs(solver.solve(case.at(0.0), [1.0], 1 / count)[0] - exact).max() for count in counts]
        name = f"{scheme}, {damped} steps damped" if damped else scheme
        yield order_of(f"order, {name}", 1 / counts, errors, order)


@claim("physics", "finite-difference-heat")
def finite_differences_tell_their_limits(subject: Any, effort: Effort) -> Iterable[Measured]:
    """At its positivity limit the explicit scheme keeps to the maximum principle; beyond stability it blows up."""
    for shape, boundary in (
        ((40,), "periodic"),
        ((16, 12), "dirichlet"),
        ((8, 6, 6), ("neumann", "periodic", "dirichlet")),
    ):
        lengths = np.array([1.0, 1.2, 0.9])[: len(shape)]
        name = f"{len(shape)}-D"
        solver = subject(shape, lengths, 0.7, boundary, 0.0, "explicit")
        classical = 1 / (2 * 0.7 * float(((np.array(shape) / lengths) ** 2).sum()))
        yield at_most(f"error of the stability limit, {name}", abs(solver.stability_limit / classical - 1), 1e-12)
        rough = (effort.seeds(1, "rough", len(shape)).uniform(shape).numpy()[0] > 0.5) * 1.0
        limit = solver.positivity_limit
        fields = solver.solve(rough, limit * np.arange(1, 30), limit)
        yield Measured(f"least value, {name}", float(fields.min()), low=-1e-14)
        yield Measured(f"largest value, {name}", float(fields.max()), high=1 + 1e-14)
        # the largest eigenvalue is that of the norm where cells alternate in sign, and near it between insulated walls
        beyond = 1.05 * solver.stability_limit
        field = rough.ravel() - 0.5
        for _ in range(400):
            field = field + beyond * (solver.operator @ field)
        yield Measured(f"growth in 400 steps 5 % beyond, {name}", float(abs(field).max()), low=1e3)
        refused = _refused(lambda solver=solver, beyond=beyond: solver.solve(0.0, [1.0], beyond))
        yield Measured(f"a step beyond is refused, {name}", float(refused), low=1.0)


@claim("physics", "finite-difference-heat")
def finite_differences_balance_mass(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Closed boxes keep their mass to rounding whatever D does; open ones lose what flows out and gain the source."""
    draw = effort.seeds(1, "mass")
    for shape, tensor in (((50,), False), ((14, 11), False), ((14, 11), True), ((9, 8, 7), False)):
        size = len(shape)
        rough = draw.at("field", size).normal(shape).double().numpy()[0]
        layers = np.exp(2 * draw.at("D", size).normal(shape).double().numpy()[0])
        diffusivity = layers[..., None, None] * np.array([[1.0, 0.6], [0.6, 1.0]]) if tensor else layers
        for boundary in ("neumann", "periodic"):
            mean = "arithmetic" if tensor else "harmonic"
            solver = subject(shape, 1.0, diffusivity, boundary, 0.0, "crank-nicolson", mean)
            masses = solver.mass(solver.solve(rough, [0.01, 0.1], 0.01))
            name = f"{size}-D, {boundary}{', tensor' if tensor else ''}"
            yield at_most(f"change of mass, {name}", abs(masses - solver.mass(rough)), 1e-11)
    walls = ((Robin(0.7, 0.3), Dirichlet(1.0)), (Neumann(0.4), "dirichlet"))
    solver = subject((14, 11), (1.0, 1.3), 0.5, walls, 2.0, "backward-euler")
    before = solver.solve(smooth_field(("neumann", "neumann"), np.array([1.0, 1.3])), [0.0, 0.02], 0.02)
    across, along = solver.flux(before[1])
    outflow = (across[-1] - across[0]).sum() * 1.3 / 11 + (along[:, -1] - along[:, 0]).sum() / 14
    gained = solver.mass(before[1]) - solver.mass(before[0])
    yield at_most("imbalance of an open box", abs(gained - 0.02 * (2.0 * 1.3 - outflow)), 1e-13)


@claim("physics", "finite-difference-heat")
def finite_differences_cross_layers(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Through layers of unlike D the steady flux is that of their resistances in series, with harmonic means."""
    diffusivity = np.repeat([1.0, 0.01, 5.0], [8, 4, 8])
    solver = subject((20,), 2.0, diffusivity, ((Dirichlet(1.0), Dirichlet(0.0)),), 0.0, "backward-euler", "harmonic")
    steady = solver.solve(0.5, [1e9], 1e8)[0]
    resistance = float((0.1 / diffusivity).sum())
    yield at_most("relative error of the flux", abs(solver.flux(steady)[0] * resistance - 1), 1e-10)


@claim("physics", "finite-difference-heat")
def finite_differences_agree_with_the_green_function(subject: Any, effort: Effort) -> Iterable[Measured]:
    """Their own estimate of the error, from two grids, is what separates them from the method of images."""
    lengths, diffusivity, t = (1.0, 1.6), (0.3, 0.5), 0.1
    points, weights = box_nodes(lengths, effort.of(24, 40))
    for boundary in (("dirichlet", "neumann"), ("neumann", "periodic")):
        initial = smooth_field(wall_kinds(boundary, 2), np.array(lengths))
        coarse, fine = effort.of((12, 36), (16, 48))
        # three to one: every cell of the coarse grid has its centre on one of the fine
        fields = [
            subject((count, count), lengths, diffusivity, boundary).solve(initial, [t], 0.3 * t / count)[0]
            for count in (coarse, fine)
        ]
        estimate = (fields[1][1::3, 1::3] - fields[0]) / 8
        centres = cell_centres((coarse, coarse), lengths)
        kernel = heat_green_function(centres.reshape(-1, 1, 2), points, t, lengths, diffusivity, boundary)
        exact = (kernel @ (weights * initial(points))).reshape(coarse, coarse)
        actual = exact - fields[1][1::3, 1::3]
        ratio = float(np.linalg.norm(actual) / np.linalg.norm(estimate))
        cut = centres[:, coarse // 2, 0].tolist()
        curves = (
            Curve("estimated from two grids", cut, estimate[:, coarse // 2].tolist()),
            Curve("from the Green function", cut, actual[:, coarse // 2].tolist(), dashed=True),
        )
        plot = Plot("Finite differences' error", "place", "error", curves)
        name = " x ".join(wall_kinds(boundary, 2))
        yield Measured(f"error over its estimate, {name}", ratio, 0.9, 1.1, plot=plot)
        # what an estimate of second order leaves over is of fourth
        off = np.linalg.norm(actual - estimate) / np.linalg.norm(estimate)
        yield at_most(f"part of the error not foreseen, {name}", off, 0.1)


@claim("physics", "finite-element-heat")
def finite_elements_have_their_order_in_space(subject: Any, effort: Effort) -> Iterable[Measured]:
    """In L² of second order with P1 and third with P2, for a tensor D that varies, at every kind of wall."""
    _installed()
    plane = manufactured(_PLANE, _TENSOR)
    walls = {
        "left": Neumann(outward(plane, 0, low=True)),
        "right": Dirichlet(plane.field),
        "bottom": Dirichlet(plane.field),
        "top": leaking(plane, 1),
    }
    for element, order, sizes in (
        ("P1", 2, effort.of((8, 12, 16, 20, 24), (8, 12, 16, 24, 32, 48))),
        ("P2", 3, effort.of((6, 8, 10, 12, 16), (8, 12, 16, 24, 32))),
    ):
        errors = []
        for count in sizes:
            solver = subject(rectangle_mesh((1.0, 1.2), (count, count)), plane.tensor, element, walls, plane.source)
            errors.append(solver.distance(solver.solve(plane.at(0.0), [0.2], 0.1)[0], plane.at(0.2)))
        yield order_of(f"order in L², {element}", 1 / np.array(sizes), errors, order, step_name="mesh width")


@claim("physics", "finite-element-heat")
def finite_elements_have_their_order_in_time(subject: Any, effort: Effort) -> Iterable[Measured]:
    """In time of first order by backward Euler, of second by Crank and Nicolson and by BDF2."""
    _installed()
    # linear in space, which the elements hold exactly: what errs is the step alone
    case = manufactured("(1 + x - 2*y)*cos(3*t)", [["1/5", "1/20"], ["1/20", "1/10"]])
    walls = {"left": Dirichlet(case.field), "top": Neumann(outward(case, 1, low=False))}
    walls |= {"right": leaking(case, 0), "bottom": Neumann(outward(case, 1, low=True))}
    counts = np.array(effort.of((24, 32, 40, 48, 64), (32, 48, 64, 96, 128, 192)))
    mesh = rectangle_mesh((1.0, 1.2), (3, 3))
    for scheme, order in (("backward-euler", 1), ("crank-nicolson", 2), ("bdf2", 2)):
        solver = subject(mesh, case.tensor, "P1", walls, case.source, scheme)
        exact = solver.nodal(case.at(1.0))
        errors = [abs(solver.solve(case.at(0.0), [1.0], 1 / count)[0] - exact).max() for count in counts]
        yield order_of(f"order, {scheme}", 1 / counts, errors, order)


@claim("physics", "finite-element-heat")
def finite_elements_balance_mass(subject: Any, effort: Effort) -> Iterable[Measured]:
    """A closed domain keeps its mass to rounding, whatever its shape and D are, and gains what comes in."""
    _installed()
    mesh = disc_mesh(1.0, 3)

    def uneven(points: np.ndarray) -> np.ndarray:
        return np.where(points[..., 0] > 0, 5.0, 0.05)

    for scheme in ("crank-nicolson", "bdf2", "backward-euler"):
        solver = subject(mesh, uneven, "P2", {}, 0.0, scheme)
        rough = effort.seeds(1, "elements").normal((len(solver.nodes),)).double().numpy()[0]
        fields = solver.solve(rough, [0.01, 0.1], 0.01)
        change = max(abs(solver.total(field) - solver.total(rough)) for field in fields)
        yield at_most(f"change of mass, {scheme}", change, 1e-12)
    fed = subject(mesh, 1.0, "P1", {"all": Neumann(-0.3)}, 2.0)
    corners = mesh.p[:, mesh.facets[:, mesh.boundary_facets()]]
    rim = float(np.hypot(*(corners[:, 0] - corners[:, 1])).sum())
    gained = 0.2 * (2.0 * fed.total(1.0) + 0.3 * rim)
    yield at_most("error of what came in", abs(fed.total(fed.solve(0.0, [0.2])[0]) - gained), 1e-12)


@claim("physics", "finite-element-heat")
def finite_elements_agree_with_exact_solutions(subject: Any, effort: Effort) -> Iterable[Measured]:
    """On a disc its Bessel mode fades at Fick's rate, and on a rectangle images and elements agree as estimated."""
    _installed()
    root = float(special.jn_zeros(0, 1)[0])

    def exact_mode(points: np.ndarray) -> np.ndarray:
        return math.exp(-0.5 * root**2 * 0.1) * special.j0(root * np.hypot(*np.moveaxis(points, -1, 0)))

    widths, errors = [], []
    for refinements in effort.of((1, 2, 3, 4, 5), (2, 3, 4, 5, 6)):
        solver = subject(disc_mesh(1.0, refinements), 0.5, "P1", {"all": "dirichlet"})
        faded = solver.solve(lambda points: special.j0(root * np.hypot(*np.moveaxis(points, -1, 0))), [0.1], 0.1 / 64)[
            0
        ]
        errors.append(solver.distance(faded, exact_mode))
        widths.append(2.0**-refinements)
    yield order_of("order in L² on a disc", widths, errors, 2.0, step_name="mesh width")
    lengths, diffusivity, t, boundary = (1.0, 1.6), (0.3, 0.5), 0.1, ("dirichlet", "neumann")
    initial = smooth_field(boundary, np.array(lengths))
    points, weights = box_nodes(lengths, 40)
    places = np.array([[0.25, 0.4], [0.5, 0.8], [0.75, 1.2], [0.5, 0.4]])
    count = effort.of(12, 24)
    coarse, fine = (
        _on_rectangle(subject, initial, lengths, diffusivity, cells, t).at(places) for cells in (count, 2 * count)
    )
    kernel = heat_green_function(places[:, None], points, t, lengths, diffusivity, boundary)
    exact = kernel @ (weights * initial(points))
    ratio = float(np.linalg.norm(exact - fine) / np.linalg.norm((fine - coarse) / 3))
    yield Measured("error over its estimate, rectangle", ratio, 0.85, 1.15)


_FEW, _MANY = (24, 32, 48, 64, 96), (24, 32, 48, 64, 96, 128, 192, 256)


def outward(case: Manufactured, axis: int, low: bool) -> Callable[[np.ndarray, float], np.ndarray]:
    """The flux out of a box through a wall of the axis."""
    return lambda points, t: (-1 if low else 1) * case.fluxes[axis](points, t)


def leaking(case: Manufactured, axis: int) -> Robin:
    """A leaking wall at the high end of the axis, with the surroundings that the field needs."""
    return Robin(0.7, lambda points, t: case.field(points, t) - case.fluxes[axis](points, t) / 0.7)


class _OnMesh:
    def __init__(self, solver: Any, field: np.ndarray) -> None:
        self.solver, self.field = solver, field

    def at(self, points: np.ndarray) -> np.ndarray:
        return self.solver.at(self.field, points)


def _on_rectangle(subject: Any, initial: Any, lengths: Any, diffusivity: Any, cells: int, t: float) -> _OnMesh:
    held = {"left": "dirichlet", "right": "dirichlet"}
    solver = subject(rectangle_mesh(lengths, (cells, cells)), diffusivity, "P1", held)
    return _OnMesh(solver, solver.solve(initial, [t], t / (3 * cells))[0])


def _space_order(
    subject: Any, name: str, case: Manufactured, lengths: tuple[float, ...], walls: Any, sizes: tuple[int, ...]
) -> Measured:
    errors = []
    for count in sizes:
        shape = (count, 5 * count // 4, count)[: len(lengths)]
        tensor = case.tensor if len(lengths) > 1 else lambda points: case.tensor(points)[..., 0, 0]
        solver = subject(shape, lengths, tensor, walls, case.source)
        centres = cell_centres(shape, lengths)
        solved = solver.solve(case.field(centres, 0.0), [0.4], 0.1)[0]
        errors.append(float(np.sqrt(np.mean((solved - case.field(centres, 0.4)) ** 2))))
    return order_of(name, 1 / np.array(sizes), errors, 2.0, step_name="spacing")


def _refused(call: Callable[[], Any]) -> bool:
    try:
        call()
    except InputError:
        return True
    return False


def _installed() -> None:
    try:
        rectangle_mesh((1.0, 1.0), (1, 1))
    except NotInstalledError as error:
        raise NotMeasured(str(error)) from None
