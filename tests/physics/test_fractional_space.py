"""Diffusion that leaps: stable laws against mpmath and SciPy, edges, errors, units, and its checks against mutants."""

import dataclasses
import math

import mpmath
import numpy as np
import pint
import pytest
import torch
from scipy import special, stats

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.physics import fractional_space
from unstir.physics.fractional_space import AbsorbedLevyFlight, LevyFlight, SpaceFractionalHeat
from unstir.physics.stable_laws import OneSidedStableLaw, StableLaw
from unstir.verification.base import Effort
from unstir.verification.checks import physics_stable as checks


def failures(check, subject):
    return [found.quantity for found in check(subject, Effort(quick=True)) if not found.passed]


def changed(name, function, base):
    """A class like ``base`` with one method replaced."""
    return dataclasses.dataclass(frozen=True)(type(base.__name__, (base,), {name: function, "__annotations__": {}}))


def stable_series(x, order):
    """The density by its convergent series with many digits: in 1/x below order 1, in x above."""
    with mpmath.workdps(60):
        x, a = mpmath.mpf(x), mpmath.mpf(order)
        if order < 1:
            terms = (
                (-1) ** (k + 1) * mpmath.gamma(a * k + 1) / mpmath.factorial(k) * mpmath.sin(mpmath.pi * a * k / 2)
                * x ** (-a * k - 1)
                for k in range(1, 400)
            )  # fmt: skip
            return float(mpmath.fsum(terms) / mpmath.pi)
        terms = ((-1) ** k * mpmath.gamma((2 * k + 1) / a) / mpmath.factorial(2 * k) * x ** (2 * k) for k in range(400))
        return float(mpmath.fsum(terms) / (mpmath.pi * a))


@pytest.mark.parametrize(
    ("order", "places"),
    [
        (0.1, (0.5, 9.0)),
        (0.5, (0.3, 2, 1e3)),
        (0.8, (0.9, 30.0, 1e3, 1e5)),
        (1.2, (0.1, 2.0)),
        (1.5, (0.5, 3.0, 8.0)),
        (1.99, (1.0, 8.0)),
    ],
)
def test_symmetric_density_is_relatively_accurate(order, places):
    for x in places:
        assert StableLaw(order).density(-x) == pytest.approx(stable_series(x, order), rel=1e-10)


def test_against_scipy():
    law = stats.levy_stable(1.4, 0.0, scale=2.0)
    x = np.array([-3.0, 0.5, 6.0])
    np.testing.assert_allclose(StableLaw(1.4, 2.0).density(x), law.pdf(x), rtol=1e-6)
    np.testing.assert_allclose(StableLaw(1.4, 2.0).cdf(x), law.cdf(x), rtol=1e-6)
    np.testing.assert_allclose(OneSidedStableLaw(0.5).cdf(x[1:]), stats.levy(scale=0.5).cdf(x[1:]), rtol=1e-12)
    np.testing.assert_allclose(OneSidedStableLaw(0.5).density(x[1:]), stats.levy(scale=0.5).pdf(x[1:]), rtol=1e-12)


@pytest.mark.parametrize("order", [0.1, 0.9, 1.0, 1.3, 1.9])
def test_tails_meet_without_a_step(order):
    edge = 1e3 ** (1 / order)
    places = np.array([1 - 1e-9, 1 + 1e-9]) * edge
    law = StableLaw(order)
    inside, outside = law.density(places) * places ** (1 + order)
    assert inside == pytest.approx(outside, rel=1e-8)
    inside, outside = law.cdf(-places) * places**order
    assert inside == pytest.approx(outside, rel=1e-8)
    assert law.cdf(np.array([-np.inf, 0.0, np.inf])) == pytest.approx([0.0, 0.5, 1.0], abs=1e-12)
    assert law.density(np.inf) == 0


@pytest.mark.parametrize("order", [0.05, 0.5, 0.9, 0.99])
def test_mainardi_by_its_series_and_without_a_step(order):
    law = OneSidedStableLaw(order)
    with mpmath.workdps(120):
        for z in (0.2, 0.4999, 0.5001, 0.9, 1.02):
            n = range(600)
            nu = mpmath.mpf(order)
            terms = ((-mpmath.mpf(z)) ** k * mpmath.rgamma(1 - nu - nu * k) / mpmath.factorial(k) for k in n)
            assert law.mainardi(z) == pytest.approx(float(mpmath.fsum(terms)), rel=1e-11)
            terms = ((-mpmath.mpf(z)) ** k * mpmath.rgamma(1 - nu * k) / mpmath.factorial(k) for k in n)
            assert law.mainardi_survival(z) == pytest.approx(float(mpmath.fsum(terms)), rel=1e-11)


def test_mainardi_deep_in_its_tail():
    z = np.array([20.0, 50.0])
    tail = np.exp(-(z**2) / 4) / math.sqrt(math.pi)
    np.testing.assert_allclose(OneSidedStableLaw(0.5).mainardi(z), tail, rtol=1e-10)
    np.testing.assert_allclose(OneSidedStableLaw(0.5).mainardi_survival(z), special.erfc(z / 2), rtol=1e-10)


def test_one_sided_law_has_no_mass_below_zero():
    law = OneSidedStableLaw(0.3)
    assert law.cdf(np.array([-1.0, 0.0, 1e-300])) == pytest.approx([0, 0, 0])
    assert law.density(-1.0) == 0
    drawn = OneSidedStableLaw(1 - 1e-7).sample(Seeds.range(0, 50))  # tends to the number one
    assert torch.isfinite(drawn).all() and torch.allclose(drawn, torch.ones_like(drawn), atol=1e-3)


def test_leaping_and_waiting_are_the_same_alone():
    seeds = Seeds.range(3, 10)
    flight = LevyFlight(1.2)
    every = flight.simulate([0.0, 1.0, 4.0], seeds, 3)
    assert every.shape == (10, 3, 3) and torch.equal(every[4:5], flight.simulate([0.0, 1.0, 4.0], seeds[4:5], 3))
    assert torch.equal(StableLaw(0.7).sample(seeds, 2)[4:5], StableLaw(0.7).sample(seeds[4:5], 2))


def test_two_meanings_of_the_fractional_laplacian():
    """Absorbed leaps are lost more slowly than the spectral power says (Chen, Song 2005), as fast at order 2 only."""
    rates = [AbsorbedLevyFlight(order, 0.0, np.pi, 300).decay_rates(1)[0] for order in (0.5, 1.0, 1.5, 2.0)]
    assert max(rates[:3]) < 0.99 and rates[3] == pytest.approx(1.0, rel=1e-4)  # the mode sin(x) has rate 1 at any order
    flow = SpaceFractionalHeat(0.7, np.pi, boundary="dirichlet")
    (x,) = flow.points(20)
    np.testing.assert_allclose(flow.rate(np.sin(x)), -np.sin(x), atol=1e-12)


def test_absorbed_order_two_is_the_second_difference():
    flight = AbsorbedLevyFlight(2.0, 0.0, 1.0, 4, diffusivity=3.0)
    expected = 3.0 * 25 * (np.eye(4, k=1) + np.eye(4, k=-1) - 2 * np.eye(4))
    np.testing.assert_allclose(flight.generator, expected, atol=1e-12)
    assert AbsorbedLevyFlight(1.0, points=1).exit_times().shape == (1,)


def test_errors():
    for order in (0.05, 2.1, math.nan):
        for made in (StableLaw, LevyFlight, SpaceFractionalHeat, AbsorbedLevyFlight):
            with pytest.raises(InputError, match=r"order lies in \[0.1, 2\]"):
                made(order)
    for order in (0.0, 1.0, math.nan):
        with pytest.raises(InputError, match=r"order lies in \(0, 1\)"):
            OneSidedStableLaw(order)
    with pytest.raises(InputError, match=r"up to 0\.99"):
        OneSidedStableLaw(0.995).mainardi(1.0)
    with pytest.raises(InputError, match="must not be negative"):
        OneSidedStableLaw(0.5).mainardi(-1.0)
    with pytest.raises(InputError, match="NaN"):
        StableLaw(1.5).density(math.nan)
    with pytest.raises(InputError, match="positive"):
        StableLaw(1.5, 0.0)
    with pytest.raises(InputError, match="rise"):
        LevyFlight(1.5).simulate([2.0, 1.0], Seeds.range(0, 2))
    with pytest.raises(InputError, match="positive"):
        LevyFlight(1.5).density(0.0, 0.0)
    with pytest.raises(InputError, match="lower < upper"):
        AbsorbedLevyFlight(1.5, 1.0, 1.0)
    with pytest.raises(InputError, match="points"):
        AbsorbedLevyFlight(1.5, points=0)
    with pytest.raises(InputError, match=r"of shape \(5,\)"):
        AbsorbedLevyFlight(1.5, points=5).solve(np.ones(4), 1.0)
    for wrong in ({"lengths": 0.0}, {"boundary": "open"}, {"scale": -1.0}):
        with pytest.raises(InputError):
            SpaceFractionalHeat(1.5, **wrong)
    with pytest.raises(InputError, match="finite real"):
        SpaceFractionalHeat(1.5).solve(np.array([1.0, np.inf]), 1.0)


def test_units():
    unit = pint.UnitRegistry()
    flight = LevyFlight(1.5, unit.Quantity(1, "cm^2/s"), unit.Quantity(1, "cm"))
    seen = flight.density(unit.Quantity(2, "cm"), unit.Quantity(3, "s")).to("1/cm").magnitude
    assert seen == pytest.approx(LevyFlight(1.5).density(2.0, 3.0), rel=1e-12)
    assert flight.simulate(unit.Quantity([1.0, 2.0], "s"), Seeds.range(0, 3)).check("[length]")
    absorbed = AbsorbedLevyFlight(
        1.5, unit.Quantity(-1, "cm"), unit.Quantity(1, "cm"), 9, unit.Quantity(1, "cm^2/s"), unit.Quantity(1, "cm")
    )
    plain = AbsorbedLevyFlight(1.5, points=9)
    np.testing.assert_allclose(absorbed.exit_times().to("s").magnitude, plain.exit_times(), rtol=1e-12)
    np.testing.assert_allclose(absorbed.decay_rates(2).to("1/s").magnitude, plain.decay_rates(2), rtol=1e-12)
    flow = SpaceFractionalHeat(
        1.5, unit.Quantity(1, "cm"), unit.Quantity(1, "cm^2/s"), scale=unit.Quantity(1, "cm"), boundary="neumann"
    )
    rate = flow.rate(unit.Quantity(np.arange(4.0), "mol/m^3"))
    assert rate.check("mol/m^3/s")
    np.testing.assert_allclose(
        rate.magnitude, SpaceFractionalHeat(1.5, boundary="neumann").rate(np.arange(4.0)), rtol=1e-12
    )


def test_checks_catch_broken_laws(monkeypatch):
    def wide(self, x):
        return StableLaw.density(self, 1.000001 * np.asarray(x))

    assert failures(checks.stable_law_is_fouriers, changed("density", wide, StableLaw))

    def without_arc(self, x):
        return StableLaw.cdf(self, x) + 1e-9

    assert failures(checks.stable_law_is_fouriers, changed("cdf", without_arc, StableLaw))

    def heavy(self, seeds, count=1):  # another order's draws
        return StableLaw(0.7 * self.order, self.scale).sample(seeds, count)

    assert failures(checks.stable_law_is_fouriers, changed("sample", heavy, StableLaw))

    def inverse(self, seeds, count=1):
        return 1 / OneSidedStableLaw.sample(self, seeds, count)

    assert failures(checks.one_sided_law_is_kanters, changed("sample", inverse, OneSidedStableLaw))

    def longer(self, z):
        return OneSidedStableLaw.mainardi(self, z) * (1 + 1e-6)

    assert failures(checks.one_sided_law_is_kanters, changed("mainardi", longer, OneSidedStableLaw))

    def brownian(self, times, seeds, dimension=1):
        return LevyFlight(2.0, self.diffusivity).simulate(times, seeds, dimension)

    assert failures(checks.flight_leaps_by_stable_laws, changed("simulate", brownian, LevyFlight))

    def split(self, times, seeds, dimension=1):  # each coordinate leaps on its own: right margins, wrong joint law
        leaps = [LevyFlight.simulate(self, times, seeds.at(axis)) for axis in range(dimension)]
        return torch.cat(leaps, dim=-1)

    assert failures(checks.flight_leaps_by_stable_laws, changed("simulate", split, LevyFlight))


def test_checks_catch_broken_operators(monkeypatch):
    def near(self):  # leaps no further than ten points
        whole = AbsorbedLevyFlight(self.order, self.lower, self.upper, self.points, self.diffusivity, self.scale)
        apart = np.abs(np.subtract.outer(np.arange(self.points), np.arange(self.points)))
        return np.where(apart <= 10, whole.generator, 0.0)

    mutant = changed("generator", property(near), AbsorbedLevyFlight)
    assert failures(checks.absorbed_flight_orders, mutant) and failures(checks.absorbed_flight_loses_as_known, mutant)

    def squared(*arguments):
        return eigenvalues(*arguments) ** 1.001

    eigenvalues = fractional_space.eigenvalues
    with monkeypatch.context() as patched:
        patched.setattr(fractional_space, "eigenvalues", squared)
        assert failures(checks.space_fractional_modes_decay_exactly, SpaceFractionalHeat)
