"""Quantities in, quantities out; plain numbers untouched; wrong or missing units refused."""

from dataclasses import dataclass

import numpy as np
import pint
import pytest
import torch

from unstir.core.errors import InputError
from unstir.physics.units import dimensions

units = pint.UnitRegistry()


@dimensions(returns="1/length", x="length", t="time", diffusivity="length**2/time")
def kernel(x, t, diffusivity):
    return np.exp(-(x**2) / (4 * diffusivity * t)) / np.sqrt(4 * np.pi * diffusivity * t)


@dimensions(diffusivity="length**2/time", width="length")
@dataclass(frozen=True)
class Rod:
    diffusivity: float
    width: float = 1.0

    @dimensions(returns=("time", "value"), start="value", share="1")
    def relax(self, start, share=1.0):
        return self.width**2 / self.diffusivity, share * start

    @dimensions(returns="length**2", t="time")
    def spread(self, t):
        return torch.tensor([2 * self.diffusivity * t], dtype=torch.float64)


def test_plain_numbers_pass_through():
    assert kernel(1.0, 2.0, 3.0) == pytest.approx(np.exp(-1 / 24) / np.sqrt(24 * np.pi))
    assert Rod(2.0).relax(3.0) == (0.5, 3.0)
    assert isinstance(Rod(2.0).spread(1.0), torch.Tensor)


def test_any_unit_gives_the_same_quantity():
    metric = kernel(1 * units.mm, 2 * units.s, 3 * units.mm**2 / units.s)
    assert metric.to("1/mm").magnitude == pytest.approx(kernel(1.0, 2.0, 3.0))
    other = kernel(0.1 * units.cm, (2 / 60) * units.minute, 3e-6 * units.m**2 / units.s)
    assert other.to("1/mm").magnitude == pytest.approx(metric.to("1/mm").magnitude)


def test_an_object_made_of_quantities_returns_quantities():
    rod = Rod(2 * units.mm**2 / units.s, width=1 * units.cm)
    time, end = rod.relax(300 * units.kelvin, share=0.5)
    assert time.to("s").magnitude == pytest.approx(50)
    assert end.to("kelvin").magnitude == pytest.approx(150)
    spread = rod.spread(1 * units.s)
    assert isinstance(spread.magnitude, np.ndarray)
    assert spread.to("mm**2").magnitude == pytest.approx([4])


def test_the_field_keeps_its_own_unit():
    _, end = Rod(2.0 * units.m**2 / units.s, 1 * units.m).relax(3 * units.mol / units.m**3)
    assert end.check("[substance]/[length]**3")


def test_zero_needs_no_unit():
    assert kernel(0, 2 * units.s, 3 * units.mm**2 / units.s).check("1/[length]")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel(1 * units.s, 2 * units.s, 3 * units.mm**2 / units.s), "x is a length; seen a quantity in s"),
        (lambda: kernel(1.0, 2 * units.s, 3 * units.mm**2 / units.s), "x is a length and needs a unit"),
        (lambda: Rod(2 * units.mm), r"diffusivity is a length\*\*2/time; seen a quantity in mm"),
        (lambda: Rod(2 * units.mm**2 / units.s, 1 * units.mm).relax(1 * units.K, 2 * units.K), "share is a 1; seen"),
        (lambda: Rod(2 * units.mm**2 / units.s, 1 * units.mm).spread(1.0), "t is a time and needs a unit"),
    ],
)
def test_wrong_and_missing_units_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_an_argument_without_a_dimension_takes_no_unit():
    @dimensions(x="length")
    def counted(x, times):
        return x

    with pytest.raises(InputError, match="times takes no unit"):
        counted(1 * units.m, 3 * units.s)
