"""Deliberately broken copies of the heat solvers: the checks of `unstir verify` must catch every one of them."""

import numpy as np
import pytest

from unstir.physics import (
    box_modes,
    heat_finite_difference,
    heat_finite_element,
    heat_green_function,
    heat_kernel,
    heat_operator,
    heat_separation,
    heat_spectral,
)
from unstir.physics.heat_boundaries import Dirichlet, Robin
from unstir.verification.base import Effort
from unstir.verification.checks import physics_heat as exact
from unstir.verification.checks import physics_heat_solvers as solvers

FD = heat_finite_difference.FiniteDifferenceHeat
FE = heat_finite_element.FiniteElementHeat
Solution = heat_separation.HeatSolution
Spectral = heat_spectral.SpectralHeat


def patched(module, name, change, subject):
    """The subject itself, with a function of its module replaced by a changed one."""

    def prepare(monkeypatch):
        monkeypatch.setattr(module, name, change(getattr(module, name)))
        return subject

    return prepare


def given(subject):
    return lambda monkeypatch: subject


def method(owner, name, change):
    """A subclass with one method changed."""

    def prepare(monkeypatch):
        return type("Mutant", (owner,), {name: change(getattr(owner, name))})

    return prepare


def sheared_kernel(displacement, t, diffusivity=1.0, advection=None):
    """Only the diagonal of the tensor is heeded."""
    return heat_kernel.heat_kernel(displacement, t, np.diag(np.asarray(diffusivity).diagonal()), advection)


def eigenvalues_counted_from_one(shape, lengths=1.0, boundary="neumann", discrete=False):
    values = box_modes.laplacian_eigenvalues(tuple(count + 1 for count in shape), lengths, boundary, discrete)
    return values[tuple(slice(1, None) for _ in shape)]


def non_conservative(self):
    """D ∇²u in place of ∇·(D∇u)."""
    plain = FD(self.shape, self.lengths, 1.0, self.boundary)
    values = heat_operator.cell_tensors(self.diffusivity, *self._box)[0][..., 0, 0].ravel()
    return plain.operator.multiply(values[:, None]).tocsr()


def later_load(real):
    return lambda self, t: real(self, t + 0.003)


MUTANTS = {
    "a kernel twice as late": (
        exact.heat_kernel_has_its_fourier_transform,
        given(lambda r, t, *rest: heat_kernel.heat_kernel(r, 2 * t, *rest)),
    ),
    "a kernel that carries upstream": (
        exact.heat_kernel_has_its_fourier_transform,
        given(lambda r, t, d, v: heat_kernel.heat_kernel(r, t, d, -v)),
    ),
    "a kernel without the mixed terms": (exact.heat_kernel_has_its_fourier_transform, given(sheared_kernel)),
    "a kernel that thins out": (
        exact.heat_kernel_composes,
        given(lambda r, t, *rest: heat_kernel.heat_kernel(r, t, *rest) * (1 - 1e-6 * t**2)),
    ),
    "a flux without advection": (
        exact.heat_kernel_flux_has_its_fourier_transform,
        given(
            lambda r, t, d, v: (
                heat_kernel.heat_kernel_flux(r, t, d, v) - v * heat_kernel.heat_kernel(r, t, d, v)[..., None]
            )
        ),
    ),
    "a held wall that insulates": (
        exact.heat_wall_is_what_it_is_called,
        given(
            lambda x, y, t, d, wall, k: heat_kernel.half_space_kernel(
                x, y, t, d, "neumann" if wall == "dirichlet" else wall, k
            )
        ),
    ),
    "a wall that leaks too little": (
        exact.heat_wall_is_what_it_is_called,
        given(
            lambda x, y, t, d, wall, k: heat_kernel.half_space_kernel(
                x, y, t, d, wall, None if k is None else 0.999 * k
            )
        ),
    ),
    "too few modes": (
        exact.heat_green_function_is_the_sum_of_modes,
        patched(heat_green_function, "_MODES", lambda count: 4, heat_green_function.heat_green_function),
    ),
    "too few images": (
        exact.heat_green_function_is_the_sum_of_modes,
        patched(heat_green_function, "_IMAGES", lambda count: 1, heat_green_function.heat_green_function),
    ),
    "differences of images that cancel": (
        exact.heat_green_function_is_the_sum_of_modes,
        patched(
            heat_green_function,
            "np",
            lambda numpy: _Without(numpy, expm1=lambda x: numpy.exp(x) - 1),
            heat_green_function.heat_green_function,
        ),
    ),
    "axes exchanged": (
        exact.heat_green_function_is_the_sum_of_modes,
        given(
            lambda x, y, t, lengths, d, walls: heat_green_function.heat_green_function(
                x, y, t, lengths, d if np.ndim(d) == 0 else d[::-1], walls
            )
        ),
    ),
    "a Green function that thins out": (
        exact.heat_green_function_composes,
        given(lambda x, y, t, *rest: heat_green_function.heat_green_function(x, y, t, *rest) * (1 - 1e-6 * t**2)),
    ),
    "modes that fade a little too fast": (
        exact.heat_solution_is_the_green_functions_integral,
        patched(heat_separation, "decay_rates", lambda real: lambda *a: real(*a) * (1 + 1e-7), Solution),
    ),
    "a source that never saturates": (
        exact.heat_solution_takes_up_its_source,
        patched(heat_separation, "grown", lambda real: lambda rates, t: np.full(rates.shape, t), Solution),
    ),
    "a flux uphill": (
        exact.heat_solution_obeys_ficks_first_law,
        method(Solution, "flux", lambda real: lambda self, *a: -real(self, *a)),
    ),
    "eigenvalues counted from one": (
        exact.heat_eigenvalues_are_those_of_the_laplacian,
        given(eigenvalues_counted_from_one),
    ),
    "eigenvalues of neither kind": (
        exact.heat_eigenvalues_are_those_of_the_laplacian,
        given(lambda shape, lengths, walls, discrete=False: box_modes.laplacian_eigenvalues(shape, lengths, walls)),
    ),
    "spectral steps by Crank and Nicolson": (
        solvers.spectral_heat_is_exact_in_time,
        patched(heat_spectral, "np", lambda numpy: _Without(numpy, exp=lambda z: (1 + z / 2) / (1 - z / 2)), Spectral),
    ),
    "a source without its stiff weights": (
        solvers.spectral_heat_takes_up_a_changing_source,
        patched(heat_spectral, "_scaled_bessel", lambda real: lambda degree, x: real(degree, 0 * x), Spectral),
    ),
    "held walls a whole cell away": (
        solvers.finite_differences_have_their_order_in_space,
        patched(
            heat_operator,
            "_conductance",
            lambda real: lambda wall, d, h: real(wall, d, h) / (2 if isinstance(wall, Dirichlet) else 1),
            FD,
        ),
    ),
    "leaking walls without their half cell": (
        solvers.finite_differences_have_their_order_in_space,
        patched(
            heat_operator,
            "_conductance",
            lambda real: (
                lambda wall, d, h: np.full(np.shape(d), wall.transfer) if isinstance(wall, Robin) else real(wall, d, h)
            ),
            FD,
        ),
    ),
    "mixed terms left out": (
        solvers.finite_differences_have_their_order_in_space,
        patched(heat_operator, "_onto_faces", lambda real: lambda face, *a: 0 * real(face, *a), FD),
    ),
    "faces that take one cell's D": (
        solvers.finite_differences_have_their_order_in_space,
        patched(heat_operator, "_mean", lambda real: lambda first, second, kind: first, FD),
    ),
    "an average a little off centre": (
        solvers.finite_differences_have_their_order_in_time,
        patched(heat_finite_difference, "_IMPLICITNESS", lambda real: {**real, "crank-nicolson": 0.52}, FD),
    ),
    "forcing of the step's start alone": (
        solvers.finite_differences_have_their_order_in_time,
        method(FD, "_forcing", lambda real: lambda self, t: real(self, np.floor(t * 8) / 8)),
    ),
    "D times the Laplacian": (
        solvers.finite_differences_balance_mass,
        lambda monkeypatch: type("Mutant", (FD,), {"operator": property(non_conservative)}),
    ),
    "a flux that is not what flows": (
        solvers.finite_differences_balance_mass,
        method(FD, "_flux", lambda real: lambda self, u, t: tuple(1.01 * part for part in real(self, u, t))),
    ),
    "arithmetic means of layers": (
        solvers.finite_differences_cross_layers,
        patched(heat_operator, "_mean", lambda real: lambda first, second, kind: real(first, second, "arithmetic"), FD),
    ),
    "a limit told too large": (
        solvers.finite_differences_tell_their_limits,
        lambda monkeypatch: type(
            "Mutant",
            (FD,),
            {"_limits": property(lambda self: (1.2 * FD(*_as(self))._limits[0], FD(*_as(self))._limits[1]))},
        ),
    ),
    "positivity promised up to stability": (
        solvers.finite_differences_tell_their_limits,
        lambda monkeypatch: type("Mutant", (FD,), {"_limits": property(lambda self: (FD(*_as(self))._limits[0],) * 2)}),
    ),
    "differences with a D of one per cent more": (
        solvers.finite_differences_agree_with_the_green_function,
        lambda monkeypatch: lambda shape, lengths, d, walls: FD(shape, lengths, (1.01 * d[0], d[1]), walls),
    ),
    "linear elements called quadratic": (
        solvers.finite_elements_have_their_order_in_space,
        patched(heat_finite_element, "_ELEMENTS", lambda real: {**real, "P2": real["P1"]}, FE),
    ),
    "elements blind to the tensor": (
        solvers.finite_elements_have_their_order_in_space,
        patched(heat_finite_element, "_tensors", lambda real: lambda *a: real(*a) * np.eye(2), FE),
    ),
    "a rim that forgets its surroundings": (
        solvers.finite_elements_have_their_order_in_space,
        patched(
            heat_finite_element,
            "_at",
            lambda real: lambda what, points, t, name: real(0.0 if "leaking" in name else what, points, t, name),
            FE,
        ),
    ),
    "elements averaged off centre": (
        solvers.finite_elements_have_their_order_in_time,
        patched(heat_finite_element, "_SCHEMES", lambda real: {**real, "crank-nicolson": 0.52}, FE),
    ),
    "walls held a moment late": (
        solvers.finite_elements_have_their_order_in_time,
        method(FE, "_held", lambda real: lambda self, t: real(self, t * 0.99)),
    ),
    "a load a moment late": (
        solvers.finite_elements_have_their_order_in_time,
        method(FE, "_load", later_load),
    ),
    "elements that lose a millionth": (
        solvers.finite_elements_balance_mass,
        method(FE, "solve", lambda real: lambda self, *a: real(self, *a) * (1 - 1e-6)),
    ),
    "elements with a D of one per cent more": (
        solvers.finite_elements_agree_with_exact_solutions,
        lambda monkeypatch: lambda mesh, d, *rest: FE(mesh, np.multiply(d, 1.01), *rest),
    ),
}


class _Without:
    """NumPy, but for some functions."""

    def __init__(self, numpy, **changed):
        self.__dict__.update(changed)
        self._numpy = numpy

    def __getattr__(self, name):
        return getattr(self._numpy, name)


def _as(solver):
    names = ("shape", "lengths", "diffusivity", "boundary", "source", "scheme", "face_mean", "damped_steps")
    return tuple(getattr(solver, name) for name in names)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_copy_is_caught(name, monkeypatch):
    check, prepare = MUTANTS[name]
    figures = check(prepare(monkeypatch), Effort(quick=True))
    assert any(not measured.passed for measured in figures), f"{name}: nothing was noticed"
