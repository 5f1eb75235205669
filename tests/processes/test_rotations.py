"""Noise on rotations: its density against SciPy and a solved heat equation, its draws, frames, and broken copies."""

import math

import numpy as np
import pytest
import torch
from mutants import is_caught
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.spatial.transform import Rotation
from thresholds import assert_distribution, assert_holds, assert_mean

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.processes import isotropic_gaussian, isotropic_gaussian_draws, quaternions
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.rotations import RotationProcess, angle_between
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.verification.checks import rotations as checks
from unstir.verification.statistics import same_law

PROCESS = RotationProcess()


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def some_rotations(count, seed=0):
    return torch.from_numpy(Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": CosineSchedule()}, "scale must be 've'.*seen CosineSchedule of scale 'vp'"),
        ({"schedule": ExponentialVESchedule(0.01, 1.0)}, "raise the schedule's sigma_max from .* to about 5 radians"),
    ],
)
def test_what_cannot_stir_rotations_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        RotationProcess(**options)


def test_states_are_matrices_of_real_numbers():
    with pytest.raises(InputError, match=r"end in the axes \(3, 3\); seen \(2, 4\) a sample"):
        PROCESS.noise(torch.zeros(5, 2, 4), scalar(0.5), Seeds.range(0, 5))
    with pytest.raises(InputError, match="end in the axes"):
        PROCESS.prior((9,), Seeds.range(0, 5))
    with pytest.raises(InputError, match=r"floating dtype; seen torch\.int64"):
        PROCESS.noise(torch.eye(3).long()[None], scalar(0.5), Seeds.range(0, 1))


def test_time_is_not_turned_round():
    x = torch.eye(3).expand(2, 3, 3)
    for turned in (
        lambda: PROCESS.bridge(x, PointPosterior(x), scalar(0.3), scalar(0.4), Seeds.range(0, 2)),
        lambda: PROCESS.transition(x, scalar(0.4), scalar(0.3), Seeds.range(0, 2)),
    ):
        with pytest.raises(InputError, match="s must not exceed t"):
            turned()


def test_reflections_and_stretched_matrices_are_no_rotations():
    x = some_rotations(6).reshape(3, 2, 3, 3)
    x[1, 0] = -x[1, 0]
    x[2, 1] *= 1 + 1e-9
    assert PROCESS.contains(x).tolist() == [True, False, False]
    assert PROCESS.contains(some_rotations(4).float()).all()


def test_quaternions_agree_with_scipy():
    generator = np.random.default_rng(1)
    first, second = (Rotation.random(200, rng=generator) for _ in range(2))
    half_turns = Rotation.from_rotvec(np.pi * np.eye(3))
    for rotation in (first, half_turns):
        back = quaternions.to_matrix(quaternions.from_matrix(torch.from_numpy(rotation.as_matrix())))
        np.testing.assert_allclose(back.numpy(), rotation.as_matrix(), atol=1e-14)
    p, q = (torch.from_numpy(rotation.as_quat(scalar_first=True)) for rotation in (first, second))
    np.testing.assert_allclose(
        quaternions.to_matrix(quaternions.multiply(p, q)), (first * second).as_matrix(), atol=1e-14
    )
    vector = torch.from_numpy(first.as_rotvec())
    np.testing.assert_allclose(quaternions.to_matrix(quaternions.exponential(vector)), first.as_matrix(), atol=1e-14)
    angle, axis = quaternions.angle_and_axis(p)
    np.testing.assert_allclose(angle[:, None] * axis, first.as_rotvec(), atol=1e-13)
    between = (first.inv() * second).magnitude()
    np.testing.assert_allclose(
        angle_between(*(torch.from_numpy(r.as_matrix()) for r in (first, second))), between, atol=1e-14
    )


def test_density_solves_the_heat_equation():
    """df/dv = (f'' + cot(w/2) f')/2, by finite volumes and SciPy, whose error is of second order and nothing else."""

    def solved(cells, start=0.6, end=1.3):
        edges = np.linspace(0, np.pi, cells + 1)
        middles = (edges[1:] + edges[:-1]) / 2
        volumes = np.diff(edges - np.sin(edges)) / 2
        through = np.sin(edges[1:-1] / 2) ** 2 / (edges[1] - edges[0])

        def slope(v, f):
            flow = through * np.diff(f)
            return (np.append(flow, 0) - np.append(0, flow)) / volumes / 2

        first = isotropic_gaussian.log_density(torch.from_numpy(middles), scalar(start)).exp().numpy()
        result = solve_ivp(slope, (start**2, end**2), first, method="BDF", rtol=1e-9, atol=1e-11)
        exact = isotropic_gaussian.log_density(torch.from_numpy(middles), scalar(end)).exp().numpy()
        return np.abs(result.y[:, -1] - exact).max()

    coarse, fine = solved(80), solved(160)
    assert fine < (np.pi / 160) ** 2 * 3  # the squared width of a cell, times the peak
    assert 3.5 < coarse / fine < 4.5


def test_little_noise_is_normal_in_the_rotation_vector():
    """The convention: generator Laplacian/2, length the angle."""
    x0 = some_rotations(20_000)
    t = PROCESS.schedule.time_at_sigma(1e-4)
    moved = PROCESS.noise(x0, t, Seeds.range(0, 20_000))
    vector = (Rotation.from_matrix(x0.numpy()).inv() * Rotation.from_matrix(moved.numpy())).as_rotvec() / 1e-4
    assert_distribution(vector, stats.norm.cdf)
    assert_mean(vector[:, :1] * vector[:, 1:], np.zeros(2))


@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.45, 1.55, 3.0])
def test_angles_drawn_follow_the_density(sigma):
    """Density (1 - cos w) f(w)/pi, its distribution function by quadrature of the characters' sum."""
    one = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(20_000, 1, 4)
    drawn = isotropic_gaussian_draws.draw(one, scalar(sigma), Seeds.range(3, 20_000))
    angle, _ = quaternions.angle_and_axis(drawn)
    grid = np.linspace(0, np.pi, 4001)
    order = np.arange(40)[:, None]
    half = np.maximum(np.sin(grid / 2), 1e-300)
    series = (2 * order + 1) * np.exp(-order * (order + 1) * sigma**2 / 2) * np.sin((order + 0.5) * grid) * half
    cdf = np.append(0, np.cumsum((series.sum(0)[1:] + series.sum(0)[:-1]) / 2)) * grid[1] * 2 / np.pi
    assert cdf[-1] == pytest.approx(1, abs=1e-5)
    assert_distribution(angle, lambda y: np.interp(y, grid, cdf))


@pytest.mark.parametrize(("first", "second"), [(1e-9, 1e-9), (1e-6, 1e-3), (1e-3, 1e-6), (0.3, 1e-8), (1.49, 1.49)])
@pytest.mark.parametrize("apart", [0.0, 1e-9, 0.7, 3.1, math.pi])
def test_anything_can_be_bridged(first, second, apart):
    """A network's belief may lie where the exact one never would; the way is found all the same, and quickly."""
    a = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(500, 1, 4)
    b = quaternions.exponential(scalar([0.0, 0.6, 0.8]) * apart).expand(500, 1, 4)
    drawn = isotropic_gaussian_draws.draw_product(a, scalar(first), b, scalar(second), Seeds.range(0, 500))
    assert drawn.isfinite().all()
    torch.testing.assert_close(quaternions.length(drawn), torch.ones(500, 1, dtype=torch.float64))
    if apart < 3 and max(first, second) < 0.01:  # no choice of ways: along the axis it is normal as on the line
        total = math.hypot(first, second)
        angle, axis = quaternions.angle_and_axis(drawn[:, 0])
        along = (angle[:, None] * axis) @ scalar([0.0, 0.6, 0.8]) - apart * (first / total) ** 2
        assert_distribution(along / (first * second / total), stats.norm.cdf)


def test_what_is_not_finite_ends_and_is_no_number():
    x = some_rotations(3)
    x[1] = torch.nan
    drawn = PROCESS.noise(x, scalar(0.5), Seeds.range(0, 3))
    assert drawn.isnan().flatten(1).any(1).tolist() == [False, True, False]


def test_a_draw_that_is_never_kept_is_an_error(monkeypatch):
    monkeypatch.setattr(isotropic_gaussian_draws, "_MOST_TRIES", 20)
    with pytest.raises(NonFiniteError, match="refused 20 times"):
        isotropic_gaussian_draws.until_accepted(
            lambda places, normals, uniforms: (normals[:, :1], torch.full((len(places),), -torch.inf)),
            torch.zeros(1, 1, 1, dtype=torch.float64),
            torch.ones(1, 1, dtype=torch.bool),
            Seeds.range(0, 1),
        )


def test_noise_may_be_infinite():
    process = RotationProcess(CosineSchedule(scale="ve"))
    x0 = some_rotations(1).expand(8_000, 3, 3)
    xt = process.noise(x0, scalar(1.0), Seeds.range(0, 8_000))
    assert_mean(xt.flatten(1), np.zeros(9))
    back = process.bridge(xt, PointPosterior(x0), scalar(1.0), scalar(0.05), Seeds.range(1, 8_000))
    sigma = process.schedule.sigma(0.05).item()
    assert_mean((back * x0).sum((1, 2))[:, None], [3 * math.exp(-(sigma**2))])  # the trace of degree one


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (2, 2, 3, 3)])
def test_every_sample_may_have_its_own_time(shape):
    x0 = some_rotations(4 * math.prod(shape[:-2])).reshape(4, *shape)
    times = scalar([0.0, 0.2, 0.6, 1.0])
    together = PROCESS.noise(x0, times, Seeds.range(0, 4))
    back = PROCESS.bridge(together, PointPosterior(x0), times, times / 2, Seeds.range(1, 4))
    logs = PROCESS.log_density(together, x0, times)
    for row in range(4):
        one = slice(row, row + 1)
        seeds = Seeds.range(0, 4)[one]
        assert torch.equal(together[one], PROCESS.noise(x0[one], times[row], seeds))
        alone = PROCESS.bridge(
            together[one], PointPosterior(x0[one]), times[row], times[row] / 2, Seeds.range(1, 4)[one]
        )
        assert torch.equal(back[one], alone)
        assert torch.equal(logs[one], PROCESS.log_density(together[one], x0[one], times[row]))


def test_padded_places_stay_at_zero_and_change_no_other():
    x0, mask = some_rotations(8).reshape(4, 2, 3, 3), torch.tensor([[True, False]] * 4)
    padded = x0.where(mask[..., None, None], 0)
    for draw in (
        lambda x, m: PROCESS.noise(x, scalar(0.6), Seeds.range(0, 4), m),
        lambda x, m: PROCESS.bridge(x, PointPosterior(x), scalar(0.6), scalar(0.3), Seeds.range(0, 4), m),
    ):
        drawn = draw(padded, mask)
        assert (drawn[:, 1] == 0).all()
        assert torch.equal(drawn[:, 0], draw(x0, None)[:, 0])


def test_conditional_score_is_the_gradient():
    x0, move = some_rotations(50), torch.zeros(50, 3, dtype=torch.float64, requires_grad=True)
    for t in (0.3, 0.6, 0.9):
        xt = PROCESS.noise(x0, scalar(t), Seeds.range(0, 50))
        moved = xt @ quaternions.to_matrix(quaternions.exponential(move))
        (gradient,) = torch.autograd.grad(PROCESS.log_density(moved, x0, t).sum(), move)
        torch.testing.assert_close(PROCESS.conditional_score(xt, x0, t), gradient, rtol=1e-9, atol=1e-9)


def test_frames_are_a_joint_process_that_turns_with_the_world():
    """SE(3): a position and an orientation. The noise of turned frames is the turned noise of frames."""
    frames = JointProcess({"position": GaussianProcess(EDMSchedule()), "orientation": PROCESS})
    count, turn = 6_000, some_rotations(1, seed=5)[0]
    even = RotationProcess().example_data(count)
    clean = {"position": even[..., 0] + scalar([1.0, 0.0, -0.5]), "orientation": even}

    def turned(state):
        return {"position": state["position"] @ turn.T, "orientation": turn @ state["orientation"]}

    t, s, seeds = scalar(0.5), scalar(0.4), Seeds.range(0, count)
    after, before = turned(frames.noise(clean, t, seeds.at("a"))), frames.noise(turned(clean), t, seeds.at("b"))
    assert_holds(same_law("frames", frames.features(after), frames.features(before)))
    back = frames.bridge(before, Known(turned(clean)), t, s, seeds.at("c"))
    straight = turned(frames.noise(clean, s, seeds.at("d")))
    assert_holds(same_law("frames on their way back", frames.features(back), frames.features(straight)))
    assert frames.contains(back).all()


class Known:
    """The belief of one who knows the clean frames."""

    def __init__(self, clean):
        self.clean = clean

    def sample(self, seeds):
        return self.clean


class Wider(RotationProcess):
    """Noise a tenth too wide."""

    def draw_product(self, first, first_deviation, second, second_deviation, seeds):
        return super().draw_product(first, 1.1 * first_deviation, second, second_deviation, seeds)


class Euclidean(RotationProcess):
    """The bridge of flat space: the geodesic between the two, without the way round and without curvature."""

    def draw_product(self, first, first_deviation, second, second_deviation, seeds):
        if bool(torch.isinf(second_deviation).any()):
            return super().draw_product(first, first_deviation, second, second_deviation, seeds)
        a, b = quaternions.from_matrix(first), quaternions.from_matrix(second)
        angle, axis = quaternions.angle_and_axis(quaternions.multiply(quaternions.inverse(a), b))
        total = (first_deviation.square() + second_deviation.square()).sqrt()
        fresh = (
            seeds.normal((*angle.shape[1:], 3), torch.float64) * (first_deviation * second_deviation / total)[..., None]
        )
        vector = (first_deviation / total).square()[..., None] * angle[..., None] * axis + fresh
        return quaternions.to_matrix(quaternions.multiply(a, quaternions.exponential(vector)))


class OneAxis(RotationProcess):
    """Turns about the third axis of the world only."""

    def draw_product(self, first, first_deviation, second, second_deviation, seeds):
        drawn = super().draw_product(first, first_deviation, second, second_deviation, seeds)
        angle = angle_between(first, drawn)[..., None] * scalar([0.0, 0.0, 1.0])
        return quaternions.to_matrix(quaternions.exponential(angle)) @ first


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (checks.noise_damps_the_harmonics, Wider()),
        (checks.bridge_has_the_moments_of_bayes, Euclidean()),
        (checks.noise_commutes_with_rotation, OneAxis()),
    ],
)
def test_broken_copies_are_caught(check, mutant):
    assert is_caught(check, None, mutant)
