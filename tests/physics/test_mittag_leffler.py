"""The Mittag-Leffler function: against mpmath on a hard grid, at its edges, and its check against mutants."""

import math

import mpmath
import numpy as np
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from unstir.core.errors import InputError
from unstir.physics import mittag_leffler as module
from unstir.physics.mittag_leffler import mittag_leffler
from unstir.verification.base import Effort
from unstir.verification.checks.fractional_references import laplace_inverse
from unstir.verification.checks.physics_fractional import mittag_leffler_is_accurate, mittag_leffler_special_cases

EXTREMES = [1e-12, 1e-6, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.6, 0.6 + 1e-9, 2 / 3, 0.67, 0.7, 0.8, 0.9, 0.97, 0.999]
EXTREMES += [1 - 1e-4, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12, 1 - 2**-53]
HARD = np.array([1e-9, 0.4999, 0.5, 0.5001, 0.9, 1.0, 1.1, 2, 5, 9.3, 14, 17, 25, 33, 41, 80, 1e3, 1e5, 1e6])


def series(z, alpha, beta):
    """The power series with as many digits as it cancels."""
    size = abs(z) ** (1 / alpha)
    with mpmath.workdps(int(40 + size)):
        terms, total, index = mpmath.mpf(1), mpmath.mpf(0), 0
        while index < 10 or abs(terms) > mpmath.mpf(10) ** -40:
            terms = mpmath.mpf(z) ** index * mpmath.rgamma(mpmath.mpf(alpha) * index + mpmath.mpf(beta))
            total, index = total + terms, index + 1
        return float(total)


def asymptotics(x, alpha, beta):
    """The algebraic tail, whose error is about exp(-x^(1/alpha))."""
    with mpmath.workdps(60):
        argument = mpmath.mpf(beta) - mpmath.mpf(alpha) * np.arange(1, 40)
        return float(-mpmath.fsum(mpmath.mpf(-x) ** -(k + 1) * mpmath.rgamma(at) for k, at in enumerate(argument)))


@pytest.mark.parametrize("impulse", [False, True])
def test_hard_grid(impulse):
    for alpha in EXTREMES:
        beta = alpha if impulse else 1.0
        error = mittag_leffler(-HARD, alpha, beta) / laplace_inverse(HARD, alpha, beta) - 1
        assert np.abs(error).max() < 1e-12, (alpha, HARD[np.abs(error).argmax()])


def test_random_orders_and_arguments():
    rng = np.random.default_rng(2)
    for _ in range(60):
        alpha = float(rng.choice([rng.uniform(0, 1), 1 - 10 ** rng.uniform(-12, -1), 10 ** rng.uniform(-4, 0)]))
        beta = float(rng.choice([1.0, alpha, rng.uniform(alpha, 1)]))
        x = np.concatenate((10 ** rng.uniform(-2, 6, 4), rng.uniform(0.5, 30, 4)))
        assert np.abs(mittag_leffler(-x, alpha, beta) / laplace_inverse(x, alpha, beta) - 1).max() < 1e-12


@pytest.mark.parametrize("alpha", [0.35, 0.55, 0.62, 0.8, 0.95, 0.9999])
def test_power_series_with_many_digits(alpha):
    for x in np.array([0.3, 0.6, 1.0, 2.0, 5.0, 25.0]) ** alpha:
        for beta in (1.0, alpha, (1 + alpha) / 2):
            assert mittag_leffler(-x, alpha, beta) == pytest.approx(series(-x, alpha, beta), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.5, 0.7, 0.99, 1 - 1e-6])
def test_algebraic_tail(alpha):
    for x in (300.0, 1e4, 1e6, 1e12, 1e100):
        for beta in (1.0, alpha):
            assert mittag_leffler(-x, alpha, beta) == pytest.approx(asymptotics(x, alpha, beta), rel=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.7, 1.0])
def test_growing_side(alpha):
    for z in np.array([1e-3, 0.3, 0.7, 2.0, 10.0, 37.0, 39.0, 200.0]) ** alpha:
        for beta in (1.0, alpha):
            if z ** (1 / alpha) < 50:
                assert mittag_leffler(z, alpha, beta) == pytest.approx(series(z, alpha, beta), rel=1e-11)
            else:
                assert mittag_leffler(z, alpha, beta) == pytest.approx(
                    z ** ((1 - beta) / alpha) * math.exp(z ** (1 / alpha)) / alpha, rel=1e-11
                )
    assert mittag_leffler(1e9, alpha) == math.inf


@given(st.floats(1e-3, 1.0), st.lists(st.floats(0, 1e6), min_size=2, max_size=30))
def test_completely_monotone_and_pade_bounds(alpha, x):
    x = np.sort(np.array(x))
    values = mittag_leffler(-x, alpha)
    # 1/(1 + Gamma(1-alpha) x) <= E(-x) <= 1/(1 + x/Gamma(1+alpha)), Simon (Electron. J. Probab. 2014)
    slack = 1 + 1e-12
    lower = np.where(x > 0, 1 / (1 + special.gamma(1 - alpha) * x), 1.0) if alpha < 1 else np.zeros_like(x)
    assert (values * slack >= lower).all() and (values <= slack / (1 + x / special.gamma(1 + alpha))).all()
    assert (np.diff(values) <= 1e-13).all()


def test_slope_is_the_impulse_response():
    x, alpha, step = np.geomspace(0.1, 1e3, 30), 0.85, 1e-3
    lags = np.array([-2, -1, 1, 2]) * step
    slope = mittag_leffler(-(x[:, None] * (1 + lags)), alpha) @ np.array([1, -8, 8, -1]) / (12 * step) / x
    np.testing.assert_allclose(slope, -mittag_leffler(-x, alpha, alpha) / alpha, rtol=1e-8)


def test_shapes_and_kinds():
    assert isinstance(mittag_leffler(-1, 0.5), float)
    assert mittag_leffler(np.zeros((2, 0, 3)), 0.5).shape == (2, 0, 3)
    grid = -np.arange(6).reshape(2, 3)
    assert mittag_leffler(grid, 0.5).shape == (2, 3)
    assert mittag_leffler(grid, 0.5)[1, 2] == mittag_leffler(-5.0, 0.5)
    assert mittag_leffler(0.0, 0.3, 0.3) == pytest.approx(special.rgamma(0.3), rel=1e-14)
    unit = pint.UnitRegistry()
    assert mittag_leffler(unit.Quantity(-200.0, "cm/m"), 0.5).magnitude == pytest.approx(special.erfcx(2), rel=1e-12)


def test_bad_input():
    for alpha in (0.0, -0.5, 1.5, math.nan):
        with pytest.raises(InputError, match="alpha lies in"):
            mittag_leffler(-1.0, alpha)
    for beta in (0.4, 1.2, math.nan):
        with pytest.raises(InputError, match="beta lies between"):
            mittag_leffler(-1.0, 0.5, beta)
    for z in (math.nan, math.inf, 1j, "one"):
        with pytest.raises(InputError, match="finite real"):
            mittag_leffler(z, 0.5)
    with pytest.raises(InputError, match="is a 1"):
        mittag_leffler(pint.UnitRegistry().Quantity(1.0, "m"), 0.5)


def failures(check, subject):
    return [found.quantity for found in check(subject, Effort(quick=True)) if not found.passed]


def test_check_catches_broken_functions(monkeypatch):
    assert failures(mittag_leffler_is_accurate, lambda z, a, b=1.0: mittag_leffler(z, a * (1 - 1e-9), min(b, 1.0)))
    tail = lambda z, a, b=1.0: np.where(z < -2e5, -special.rgamma(b - a) / z, mittag_leffler(z, a, b))  # noqa: E731
    assert failures(mittag_leffler_is_accurate, tail)
    assert failures(mittag_leffler_special_cases, lambda z, a, b=1.0: mittag_leffler(z, a, b) + 1e-9)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_STEP", 0.5)  # too coarse a rule
        assert failures(mittag_leffler_is_accurate, mittag_leffler)
    with monkeypatch.context() as patched:
        patched.setattr(module, "_spectral", without_pole)
        assert failures(mittag_leffler_is_accurate, mittag_leffler)


def without_pole(z, alpha, beta, whole=module._spectral):
    """The spectral rule without the pole's share."""
    angle = math.pi * (1 - alpha) / alpha
    share = 0.0
    if angle < math.pi / 2:
        root = (-z) ** (1 / alpha)
        wave = np.exp(-root * math.cos(angle)) * np.cos(root * math.sin(angle) - (1 - beta) * math.pi / alpha)
        share = 2 / alpha * wave * root ** (1 - beta) / (math.exp(2 * math.pi * angle / module._STEP) + 1)
    return whole(z, alpha, beta) - share
