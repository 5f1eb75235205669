import numpy as np
import pytest
import torch
from scipy.integrate import quad

from unstir.training.averages import Averages
from unstir.training.posthoc import coefficients, combine, inner_product, relative_error
from unstir.training.profiles import LONGEST, PowerProfile

STEPS, SNAPSHOTS = 1200, 8
TRACKED = (PowerProfile(0.05), PowerProfile(0.10))
ITEMS = [(profile, STEPS * number / SNAPSHOTS) for number in range(1, SNAPSHOTS + 1) for profile in TRACKED]


@pytest.mark.parametrize(("first", "second"), [((0.05, 10.0), (0.1, 7.0)), ((LONGEST, 3.0), (0.2, 3.0))])
def test_inner_product_is_the_integral(first, second):
    (a, t_a), (b, t_b) = ((PowerProfile(length), end) for length, end in (first, second))

    def product(x):
        return (a.gamma + 1) * x**a.gamma / t_a ** (a.gamma + 1) * (b.gamma + 1) * x**b.gamma / t_b ** (b.gamma + 1)

    assert inner_product((a, t_a), (b, t_b)) == pytest.approx(quad(product, 0, min(t_a, t_b))[0], rel=1e-8)


def test_the_nearest_profile_is_no_farther_than_any_other_combination():
    wanted = (PowerProfile(0.15), float(STEPS))
    best = coefficients(ITEMS, wanted)
    least = relative_error(ITEMS, best, wanted)
    generator = np.random.default_rng(0)
    for _ in range(20):
        other = generator.normal(size=len(best))
        other = best + 10.0 ** generator.uniform(-4, 0) * (other - other.mean())
        assert relative_error(ITEMS, other, wanted) >= least - 1e-7


@pytest.mark.parametrize("profile", TRACKED)
def test_a_tracked_length_is_its_own_last_snapshot(profile):
    factors = coefficients(ITEMS, (profile, float(STEPS)))
    own = ITEMS.index((profile, float(STEPS)))
    assert factors[own] == pytest.approx(1, abs=1e-6)
    assert np.abs(np.delete(factors, own)).max() < 1e-6


@pytest.fixture(scope="module")
def optimisation():
    """Gradient descent with noise on a quadratic of condition 100, every wanted average tracked beside."""
    generator = torch.Generator().manual_seed(1)
    curvature = torch.logspace(-2, 0, 30, dtype=torch.float64)
    wanted = [PowerProfile(length) for length in (0.04, 0.07, 0.13, 0.2)]
    x = 3 * torch.randn(30, dtype=torch.float64, generator=generator)
    path = []
    averages = Averages([*TRACKED, *wanted], {"x": x})
    snapshots = []
    for step in range(1, STEPS + 1):
        noise = torch.randn(30, dtype=torch.float64, generator=generator)
        x = x - 0.1 * (curvature * x + noise)
        path.append(x)
        averages.update({"x": x}, step, 1)
        if step % (STEPS // SNAPSHOTS) == 0:
            snapshots += [{"x": averages.of[profile.label]["x"].clone()} for profile in TRACKED]
    return torch.stack(path), averages, wanted, snapshots


def test_synthesised_averages_agree_with_those_tracked_directly(optimisation):
    """Their distance is at most that of the profiles times that of the path from any point (Cauchy-Schwarz)."""
    path, averages, wanted, snapshots = optimisation
    for profile in wanted:
        end = (profile, float(STEPS))
        factors = coefficients(ITEMS, end)
        made = combine(factors, [lambda s=snapshot: s for snapshot in snapshots])["x"]
        direct = averages.of[profile.label]["x"]
        distance = (made - direct).norm()
        apart = relative_error(ITEMS, factors, end) * inner_product(end, end) ** 0.5
        assert apart < 0.1 * inner_product(end, end) ** 0.5
        assert distance <= apart * (path - direct).norm()
        # and it is much nearer than what was tracked, which a bound alone would not ask for
        assert distance < 0.25 * min((averages.of[other.label]["x"] - direct).norm() for other in TRACKED)


def test_weights_at_rest_are_reproduced_exactly():
    factors = coefficients(ITEMS, (PowerProfile(0.17), float(STEPS)))
    rest = {"x": torch.full((4,), 1e6, dtype=torch.float64), "count": torch.tensor([3])}
    made = combine(factors, [lambda: rest for _ in ITEMS])
    assert torch.allclose(made["x"], rest["x"], rtol=1e-10) and made["count"].item() == 3
