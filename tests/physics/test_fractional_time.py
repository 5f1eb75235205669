"""Diffusion that waits: edges, errors, units, addresses, and its checks against mutants."""

import dataclasses
import math

import numpy as np
import pint
import pytest
import torch
from scipy import special

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics import fractional_time
from unstir.physics.continuous_time_walk import ContinuousTimeWalk
from unstir.physics.fractional_time import FractionalHeat, Subdiffusion, l1_weights
from unstir.verification.base import Effort
from unstir.verification.checks import physics_fractional as checks


def failures(check, subject):
    return [found.quantity for found in check(subject, Effort(quick=True)) if not found.passed]


@pytest.mark.parametrize("order", [0.1, 0.5, 0.9])
def test_l1_formula_is_exact_for_straight_lines_on_any_mesh(order):
    for grading in (1.0, (2 - order) / order):
        times = 3.0 * (np.arange(301) / 300) ** grading
        for last in (1, 7, 300):
            weights = l1_weights(times[: last + 1], order)
            slope = weights @ np.diff(times[: last + 1])
            assert slope == pytest.approx(times[last] ** (1 - order) / math.gamma(2 - order), rel=1e-11)
            assert (np.diff(weights) > -1e-12 * weights[-1]).all()  # recent increments weigh more


def test_order_one_is_the_heat_equation():
    flow = FractionalHeat(1.0, 2.0, 0.5, "neumann", clock=7.0)
    (x,) = flow.points(16)
    rate = 0.5 * (np.pi / 2) ** 2
    np.testing.assert_allclose(flow.solve(np.cos(np.pi * x / 2), 1.3), np.exp(-1.3 * rate) * np.cos(np.pi * x / 2))
    _, fields = flow.march(np.cos(np.pi * x / 2), 1.0, 10)
    np.testing.assert_allclose(fields[-1], (1 + rate / 10) ** -10 * np.cos(np.pi * x / 2), atol=1e-13)
    assert Subdiffusion(1.0).density(0.7, 2.0) == pytest.approx(math.exp(-0.49 / 8) / math.sqrt(8 * math.pi), rel=1e-12)


def test_mass_is_kept_between_insulating_walls():
    flow = FractionalHeat(0.6, (1.0, 2.0), boundary="neumann")
    field = np.random.default_rng(0).uniform(size=(9, 14))
    assert flow.solve(field, [0.1, 30.0]).mean(axis=(1, 2)) == pytest.approx(field.mean(), rel=1e-12)
    _, fields = flow.march(field, 1.0, 20, discrete=True)
    assert fields.mean(axis=(1, 2)) == pytest.approx(field.mean(), rel=1e-12)
    # a box without loss fills as t^order/Gamma(1 + order) under a constant source
    times, fields = flow.march(0 * field, 2.0, 40, source=lambda t: np.ones((9, 14)))
    assert fields[-1].mean() == pytest.approx(times[-1] ** 0.6 / math.gamma(1.6), rel=5e-3)


def test_unlike_walls_are_served():
    flow = FractionalHeat(0.5, 1.0, boundary=("dirichlet", "neumann"))
    (x,) = flow.points(20)
    decay = special.erfcx(np.pi**2 / 4 * math.sqrt(0.2))
    np.testing.assert_allclose(flow.solve(np.sin(np.pi * x / 2), 0.2), decay * np.sin(np.pi * x / 2), rtol=1e-10)


def test_errors_of_solvers():
    for order in (0.0, 1.1, math.nan):
        for made in (Subdiffusion, FractionalHeat, ContinuousTimeWalk):
            with pytest.raises(InputError, match=r"order lies in \(0, 1\]"):
                made(order)
    for wrong in ({"lengths": -1.0}, {"diffusivity": 0.0}, {"boundary": "open"}, {"clock": math.inf}):
        with pytest.raises(InputError):
            FractionalHeat(0.5, **wrong)
    flow = FractionalHeat(0.5, (1.0, 1.0))
    for field in (np.ones(5), np.full((3, 3), np.nan), np.ones((3, 3), dtype=complex), 1.0):
        with pytest.raises(InputError):
            flow.solve(field, 1.0)
    for times in (-1.0, math.nan, [[1.0]]):
        with pytest.raises(InputError, match="from 0 on"):
            flow.solve(np.ones((3, 3)), times)
    for wrong in ({"steps": 0}, {"duration": 0.0}, {"grading": -1.0}):
        with pytest.raises(InputError, match="positive"):
            flow.march(np.ones((3, 3)), **{"duration": 1.0, "steps": 4, **wrong})
    with pytest.raises(InputError, match="source"):
        flow.march(np.ones((3, 3)), 1.0, 4, source=lambda t: np.ones(3))
    for time in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="positive"):
            Subdiffusion(0.5).density(1.0, time)
    with pytest.raises(InputError, match="NaN"):
        Subdiffusion(0.5).cdf(math.nan, 1.0)


def test_errors_of_walks():
    for wrong in ({"wait": 0.0}, {"jump": -1.0}, {"jumps": "long"}):
        with pytest.raises(InputError):
            ContinuousTimeWalk(0.5, **wrong)
    with pytest.raises(InputError, match=r"limit\.sample"):
        ContinuousTimeWalk(0.9).simulate(1e12, Seeds.range(0, 2))
    with pytest.raises(InputError, match="lattice"):
        ContinuousTimeWalk(0.9).lattice_law(1.0, 4)
    with pytest.raises(InputError, match="from 0 on"):
        ContinuousTimeWalk(0.9).simulate([-1.0], Seeds.range(0, 2))


def test_a_walk_is_the_same_alone_and_shows_one_path():
    walk, seeds = ContinuousTimeWalk(0.8, jumps="lattice"), Seeds.range(4, 12)
    every = walk.simulate(np.array([50.0, 0.0, 3.0, 400.0]), seeds, 2)
    assert every.shape == (12, 4, 2) and every.dtype == torch.float64
    assert torch.equal(every[5:6], walk.simulate([50.0, 0.0, 3.0, 400.0], seeds[5:6], 2))
    assert torch.equal(every[:, 2:3], walk.simulate(3.0, seeds, 2))
    assert torch.equal(every, every.round())  # sites
    assert walk.simulate([], seeds).shape == (12, 0, 1)
    drawn = Subdiffusion(0.8).sample(2.0, seeds, 3)
    assert drawn.shape == (12, 3) and torch.equal(drawn[7:9], Subdiffusion(0.8).sample(2.0, seeds[7:9], 3))


def test_subdiffusion_near_order_one_draws_normal_numbers():
    near, normal = (Subdiffusion(order).sample(1.0, Seeds.range(0, 200)) for order in (1 - 1e-9, 1.0))
    assert torch.allclose(near, normal, rtol=1e-5)


def test_units():
    unit = pint.UnitRegistry()
    flow = FractionalHeat(0.5, unit.Quantity(100, "cm"), unit.Quantity(1, "m^2/hour"), clock=unit.Quantity(1, "hour"))
    (x,) = flow.points(8)
    warm = flow.solve(unit.Quantity(np.sin(np.pi * x), "kelvin"), unit.Quantity(6, "minute"))
    assert warm.units == unit.kelvin
    plain = FractionalHeat(0.5, 1.0, 1.0).solve(np.sin(np.pi * x), 0.1)
    np.testing.assert_allclose(warm.magnitude, plain, rtol=1e-12)
    times, fields = flow.march(unit.Quantity(np.sin(np.pi * x), "kelvin"), unit.Quantity(6, "minute"), 4)
    assert times.check("[time]") and fields.check("[temperature]")
    with pytest.raises(InputError, match="needs a unit"):
        flow.solve(unit.Quantity(np.ones(8), "kelvin"), 3.0)
    walk = ContinuousTimeWalk(0.5, unit.Quantity(1, "ms"), unit.Quantity(2, "um"))
    later = unit.Quantity(1, "s")
    assert walk.variance(later).to("um^2").magnitude == pytest.approx(4 * math.sqrt(1000) / math.gamma(1.5))
    assert walk.limit.variance(later).to("um^2").magnitude == pytest.approx(walk.variance(later).to("um^2").magnitude)
    assert walk.simulate(later, Seeds.range(0, 3)).check("[length]")


def changed(name, function, base):
    """A class like ``base`` with one method replaced."""
    return dataclasses.dataclass(frozen=True)(type(base.__name__, (base,), {name: function, "__annotations__": {}}))


def test_checks_catch_broken_heat(monkeypatch):
    def normal(self, initial, times):
        return FractionalHeat(1.0, self.lengths, self.diffusivity, self.boundary).solve(initial, times)

    assert failures(checks.box_modes_relax_exactly, changed("solve", normal, FractionalHeat))

    def uniform(self, initial, duration, steps, grading=None, **options):
        return FractionalHeat.march(self, initial, duration, steps, 1.0, **options)

    assert "graded mesh, all times" in failures(
        checks.l1_scheme_keeps_its_order, changed("march", uniform, FractionalHeat)
    )

    def forgetful(times, order):  # the polygon's first piece is taken for a constant
        weights = l1_weights(times, order)
        return np.where((np.arange(len(weights)) == 0) & (len(weights) > 1), 0.0, weights)

    with monkeypatch.context() as patched:
        patched.setattr(fractional_time, "l1_weights", forgetful)
        assert failures(checks.l1_scheme_keeps_its_order, FractionalHeat)
    with monkeypatch.context() as patched:  # Gamma(1 - order) for Gamma(2 - order)
        patched.setattr(fractional_time, "l1_weights", lambda times, order: l1_weights(times, order) * (1 - order))
        assert failures(checks.l1_scheme_keeps_its_order, FractionalHeat)


def test_checks_catch_broken_subdiffusion():
    def steady(self, time):
        return 2 * self.diffusivity * self.clock ** (1 - self.order) * time**self.order

    assert failures(checks.subdiffusion_is_its_transform, changed("variance", steady, Subdiffusion))

    def wide(self, x, time):
        return Subdiffusion.density(self, 1.0001 * np.asarray(x), time)

    assert failures(checks.subdiffusion_is_its_transform, changed("density", wide, Subdiffusion))

    def brownian(self, time, seeds, dimension=1):  # the right variance, the wrong law
        return math.sqrt(self.variance(time)) * seeds.at("jump").normal((dimension,), torch.float64)

    assert failures(checks.subdiffusion_spreads_as_it_says, changed("sample", brownian, Subdiffusion))

    def shared(self, time, seeds, dimension=1):  # time to the first power
        return Subdiffusion.sample(self, time, seeds, dimension) * time ** ((1 - self.order) / 2)

    assert failures(checks.subdiffusion_spreads_as_it_says, changed("sample", shared, Subdiffusion))


def test_checks_catch_broken_walks():
    def impatient(self, seeds, count=1):
        return -self.wait * seeds.uniform((count,)).log()

    mutant = changed("_waits", impatient, ContinuousTimeWalk)
    assert failures(checks.walk_has_its_exact_law, mutant) and failures(
        checks.walk_becomes_fractional_diffusion, mutant
    )

    def early(self, times, seeds, dimension=1):  # the jump that is still to come is made already
        own = ContinuousTimeWalk.simulate(self, times, seeds, dimension)
        return own + self._draw_jumps(seeds.at("extra"), dimension)[:, :1]

    assert failures(checks.walk_has_its_exact_law, changed("simulate", early, ContinuousTimeWalk))

    def doubled(self):
        return Subdiffusion(self.order, self.jump**2 / self.wait, self.wait)

    mutant = changed("limit", property(doubled), ContinuousTimeWalk)
    assert failures(checks.walk_becomes_fractional_diffusion, mutant)
