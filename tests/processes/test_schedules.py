"""Each schedule against its paper's formulas, written anew in 50 digits, and against published values.

mpmath comes with torch, by way of SymPy.
"""

import math

import mpmath as mp
import pytest
import torch
from schedules import NEEDED, PLAIN

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.discrete import DiscreteSchedule, betas_of
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.schedules.laplace import LaplaceSchedule
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.log_linear import LogLinearSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.processes.schedules.sigmoid import SigmoidSchedule
from unstir.processes.schedules.sub_vp import SubVPSchedule

mp.mp.dps = 50


def linear_rate(t, low=0.1, high=20.0):
    return mp.mpf(low) * t + (mp.mpf(high) - mp.mpf(low)) * t**2 / 2


def logistic(x):
    return 1 / (1 + mp.exp(-x))


def sigmoid_gamma(t, start=-3, end=3, temperature=1):
    """alpha^2 of Jabri et al., algorithm 2."""
    low, high = logistic(mp.mpf(start) / temperature), logistic(mp.mpf(end) / temperature)
    return (high - logistic((t * (end - start) + start) / temperature)) / (high - low)


def laplace_snr(t, mean=0, spread=0.5):
    """Hang and Gu, table 1."""
    return mean - mp.mpf(spread) * mp.sign(0.5 - t) * mp.log(1 - 2 * abs(0.5 - t))


def vp(alpha_squared):
    return mp.sqrt(alpha_squared), mp.sqrt(1 - alpha_squared)


# (alpha, sigma) by the papers' formulas: Ho et al. and Song et al. eq. 32-33; Nichol and Dhariwal eq. 17
# without offset, shifted as in Hoogeboom et al.; Song et al. eq. 30-31 and 29; Karras et al. eq. 5; ...
PAPERS = {
    LinearVPSchedule(): lambda t: vp(mp.exp(-linear_rate(t))),
    LinearVPSchedule(beta_min=1.0, beta_max=5.0): lambda t: vp(mp.exp(-linear_rate(t, 1, 5))),
    SubVPSchedule(): lambda t: (mp.exp(-linear_rate(t) / 2), 1 - mp.exp(-linear_rate(t))),
    CosineSchedule(): lambda t: (mp.cos(mp.pi * t / 2), mp.sin(mp.pi * t / 2)),
    CosineSchedule(shift=-1.0): lambda t: vp(logistic(-2 * mp.log(mp.tan(mp.pi * t / 2)) - 1)),
    ExponentialVESchedule(): lambda t: (mp.mpf(1), mp.mpf(0.01) * mp.sqrt((50 / mp.mpf(0.01)) ** (2 * t) - 1)),
    EDMSchedule(): lambda t: (mp.mpf(1), (t * mp.mpf(80) ** (mp.mpf(1) / 7)) ** 7),
    RectifiedFlowSchedule(): lambda t: (1 - t, t),
    RectifiedFlowSchedule(shift=3.0): lambda t: (1 - 3 * t / (1 + 2 * t), 3 * t / (1 + 2 * t)),
    SigmoidSchedule(): lambda t: vp(sigmoid_gamma(t)),
    SigmoidSchedule(start=0.0, end=3.0, temperature=0.75): lambda t: vp(sigmoid_gamma(t, 0, 3, 0.75)),
    LaplaceSchedule(): lambda t: vp(logistic(laplace_snr(t))),
    LogLinearSchedule(): lambda t: vp(1 - t),
}
TIMES = [1e-5, 1e-3, 0.02, 0.11, 0.3, 0.49, 0.63, 0.875, 0.98, 0.9995]


@pytest.mark.parametrize("schedule", PAPERS, ids=str)
def test_paper_formula(schedule):
    formula = PAPERS[schedule]
    for t in TIMES:
        alpha, sigma = formula(mp.mpf(t))
        assert schedule.alpha(t).item() == pytest.approx(float(alpha), rel=1e-13)
        assert schedule.sigma(t).item() == pytest.approx(float(sigma), rel=1e-13)
        assert schedule.log_snr(t).item() == pytest.approx(float(2 * mp.log(alpha / sigma)), rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("schedule", PAPERS, ids=str)
def test_paper_derivatives(schedule):
    """Of the same formulas, by differences in 50 digits; f and g^2 from the two derivatives."""
    formula = PAPERS[schedule]
    for t in map(mp.mpf, TIMES):
        (alpha, sigma), time = formula(t), float(t)
        alpha_slope = mp.diff(lambda x: formula(x)[0], t)
        sigma_slope = mp.diff(lambda x: formula(x)[1], t)
        drift = alpha_slope / alpha
        diffusion = mp.sqrt(2 * sigma * sigma_slope - 2 * drift * sigma**2)
        told = [
            schedule.alpha_derivative(time),
            schedule.sigma_derivative(time),
            schedule.drift(time),
            schedule.diffusion(time),
        ]
        for value, expected in zip(told, (alpha_slope, sigma_slope, drift, diffusion), strict=True):
            assert value.item() == pytest.approx(float(expected), rel=1e-11, abs=1e-14)


def test_every_schedule_of_the_catalogue_is_held_against_its_paper():
    """The discrete schedule has its own tests, below."""
    assert {type(schedule) for schedule in PLAIN.values()} - {DiscreteSchedule} <= {
        type(schedule) for schedule in PAPERS
    }


def test_python_numbers_are_read_in_double_precision():
    assert CosineSchedule().alpha(0.3).item() == pytest.approx(math.cos(0.15 * math.pi), rel=1e-15)
    assert CosineSchedule().time(0.3) == CosineSchedule().time(torch.tensor(0.3, dtype=torch.float64))


def test_slopes_at_the_ends_keep_their_digits():
    """The cosine's are -pi/2 and pi/2; the straight line's are -1 and 1."""
    assert CosineSchedule().alpha_derivative(1.0).item() == pytest.approx(-math.pi / 2, rel=1e-9)
    assert CosineSchedule().sigma_derivative(1.0).item() == pytest.approx(0, abs=1e-11)
    assert CosineSchedule().sigma_derivative(0.0).item() == pytest.approx(math.pi / 2, rel=1e-9)
    assert RectifiedFlowSchedule().alpha_derivative(1.0).item() == pytest.approx(-1, rel=1e-9)
    assert RectifiedFlowSchedule().sigma_derivative(0.0).item() == pytest.approx(1, rel=1e-9)


def test_published_ends():
    """Ho et al. (2020), section 4: alpha_bar at the end is about 4e-5; Song et al.: sigma from 0 to 50; EDM: 80."""
    assert LinearVPSchedule().alpha(1.0).item() ** 2 == pytest.approx(math.exp(-10.05), rel=1e-12)
    assert ExponentialVESchedule().sigma(1.0).item() == pytest.approx(math.sqrt(50**2 - 0.01**2), rel=1e-12)
    assert EDMSchedule().sigma(1.0).item() == pytest.approx(80, rel=1e-12)
    assert CosineSchedule().alpha(1.0) == RectifiedFlowSchedule().alpha(1.0) == 0


def test_resolution_shift():
    """Hoogeboom et al. (2023), section 3.1: SNR at d pixels is that at 64 times (64/d)^2."""
    shifted, plain = CosineSchedule.for_resolution(256), CosineSchedule()
    ratio = (shifted.log_snr(0.4) - plain.log_snr(0.4)).exp()
    assert ratio.item() == pytest.approx((64 / 256) ** 2, rel=1e-12)
    assert CosineSchedule.for_resolution(64) == plain


def test_even_times_of_the_laplace_schedule_are_laplace_distributed():
    """Its point: the log-SNR at uniform t has the Laplace quantiles."""
    from scipy import stats

    times = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    told = LaplaceSchedule(mean=0.4, spread=0.7).log_snr(times).numpy()
    assert told == pytest.approx(stats.laplace(0.4, 0.7).isf(times.numpy()), abs=1e-12)


class TestDiscrete:
    def test_nodes_are_the_cumulative_products(self):
        """Ho et al. (2020), eq. 4, with their betas: 1000 from 1e-4 to 0.02."""
        schedule = DiscreteSchedule.linear()
        betas = [mp.mpf(1e-4) + (mp.mpf(0.02) - mp.mpf(1e-4)) * k / 999 for k in range(1000)]
        product = mp.mpf(1)
        for step, beta in enumerate(betas, 1):
            product *= 1 - beta
            if step in (1, 2, 10, 500, 999, 1000):
                assert schedule.alpha(step / 1000).item() ** 2 == pytest.approx(float(product), rel=1e-10)
        assert float(product) == pytest.approx(4.04e-5, rel=2e-3), "the published last alpha_bar"

    def test_linear_betas_are_the_continuous_schedule_up_to_discretisation(self):
        """log alpha^2 differs by sum(beta^2)/2 + ..., and by the half step that the endpoints add: both O(1/K)."""
        errors = []
        for steps in (1000, 2000, 4000):
            discrete = DiscreteSchedule.linear(steps, 0.1 / steps, 20 / steps)
            times = torch.linspace(0.1, 1, 10, dtype=torch.float64)
            errors.append((2 * (discrete.alpha(times) / LinearVPSchedule().alpha(times)).log()).abs().max().item())
        # at t = 1: sum beta + beta^2/2 with mean beta 10.05/K and mean square (20^2 + 2 + .01)/3/K^2
        assert errors[0] == pytest.approx((20**2 + 20 * 0.1 + 0.1**2) / 6 / 1000, rel=0.02)
        assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)
        assert errors[1] / errors[2] == pytest.approx(2, rel=0.02)

    def test_cosine_betas_are_nichol_and_dhariwals(self):
        """eq. 17: alpha_bar_t = f(t)/f(0), f(t) = cos^2((t/T + s)/(1 + s) pi/2), betas clipped at 0.999."""
        schedule = DiscreteSchedule.cosine(100)
        law = [math.cos((k / 100 + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(101)]
        for step in (1, 30, 70, 99):
            assert schedule.alpha(step / 100).item() ** 2 == pytest.approx(law[step] / law[0], rel=1e-12)
        assert max(schedule.betas) == 0.999

    def test_rate_is_constant_between_nodes(self):
        schedule = DiscreteSchedule((0.1, 0.3, 0.2))
        logs = schedule.alpha(torch.tensor([1 / 3, 0.4, 0.5, 0.6, 2 / 3], dtype=torch.float64)).log()
        expected = 0.5 * math.log(0.9) + 0.5 * math.log(0.7) * torch.tensor([0, 0.2, 0.5, 0.8, 1], dtype=torch.float64)
        torch.testing.assert_close(logs, expected, rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize("name", ["linear-vp", "sigmoid", "cosine", "discrete", "laplace"])
    def test_betas_of_a_schedule_give_it_back_at_the_nodes(self, name):
        """A schedule that ends without any data has a last beta of one, which ends the others' chain too."""
        schedule = build("schedules", {"name": name, **NEEDED.get(name, {})})
        betas = betas_of(schedule, 200)
        assert betas.shape == (200,)
        inside = betas[:-1]
        assert ((inside > 0) & (inside < 1)).all()
        discrete = DiscreteSchedule(tuple(inside.tolist()))
        nodes = torch.arange(1, 200, dtype=torch.float64)
        told = discrete.log_snr(nodes / 199)
        torch.testing.assert_close(told, schedule.log_snr(nodes / 200), rtol=1e-9, atol=1e-9)
        expected_last = 1 - (schedule.alpha(1.0) / schedule.alpha(199 / 200)).square()
        torch.testing.assert_close(betas[-1], expected_last, rtol=1e-9, atol=0)

    def test_betas_round_trip(self):
        betas = (0.02, 0.5, 1e-6, 0.999)
        torch.testing.assert_close(
            betas_of(DiscreteSchedule(betas), 4), torch.tensor(betas, dtype=torch.float64), rtol=1e-9, atol=0
        )

    def test_only_a_variance_preserving_schedule_has_betas(self):
        with pytest.raises(
            InputError, match="only a variance-preserving schedule has betas; this one has the scale 've'"
        ):
            betas_of(EDMSchedule(), 10)

    @pytest.mark.parametrize("betas", [(), (0.1, 1.0), (0.0, 0.1), (math.nan,)])
    def test_impossible_betas_are_refused(self, betas):
        with pytest.raises(InputError, match="betas must be a non-empty list of numbers between 0 and 1"):
            DiscreteSchedule(betas)

    def test_a_recipes_list_of_betas_is_read(self):
        assert build("schedules", {"name": "discrete", "betas": [0.1, 0.2]}).betas == (0.1, 0.2)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear-vp", {"beta_min": 0.0}, "0 < beta_min <= beta_max; seen 0.0 and 20.0"),
        ("linear-vp", {"beta_min": 3.0, "beta_max": 2.0}, "seen 3.0 and 2.0"),
        ("sub-vp", {"beta_min": -1.0}, "seen -1.0 and 20.0"),
        (
            "exponential-ve",
            {"sigma_min": 2.0, "sigma_max": 1.0},
            "0 < sigma_min < sigma_max is needed; seen 2.0 and 1.0",
        ),
        ("edm", {"sigma_max": -1.0}, "must be positive; seen -1.0 and 7.0"),
        ("edm", {"rho": 0.0}, "must be positive; seen 80.0 and 0.0"),
        ("rectified-flow", {"shift": 0.0}, "the shift of time must be positive; seen 0.0"),
        ("laplace", {"spread": 0.0}, "the spread of log-SNR must be positive; seen 0.0"),
        ("sigmoid", {"start": 1.0, "end": 1.0}, "start < end"),
        ("sigmoid", {"temperature": 0.0}, "temperature > 0"),
        ("sigmoid", {"temperature": 0.001}, "within 300 temperatures"),
        ("cosine", {"scale": "vpp"}, "unknown scale of a schedule 'vpp'; did you mean 'vp'"),
        ("laplace", {"scale": "x"}, "unknown scale"),
        ("sigmoid", {"scale": "x"}, "unknown scale"),
        ("rectified-flow", {"scale": "x"}, "unknown scale"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        build("schedules", {"name": name, **options})
