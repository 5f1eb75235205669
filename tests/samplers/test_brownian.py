"""A Brownian path's increments: their covariance exactly, the same on any grid and in any company; its draws' law."""

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from thresholds import assert_distribution

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds, philox
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers import brownian
from unstir.samplers.base import NoisePath
from unstir.samplers.brownian import BrownianPath

# from where nothing is left of the data, over the lowest cell's end, with points on the lattice and off it
LEVELS = [-math.inf, -21.0, -20.0, -19.3, -4.2, -1.0, -0.51, -0.5, -0.2, -0.19, -0.1, 0.0, 0.3, 0.31, 2.7, 2.9, 11.3]
PATHS = [BrownianPath(), BrownianPath(0.3), BrownianPath(1.7, depth=12), BrownianPath(depth=31)]
every_path = pytest.mark.parametrize("path", PATHS, ids=str)


def like(samples=3, shape=(7,), dtype=torch.float64):
    return torch.zeros(samples, *shape, dtype=dtype)


def product(first, second):
    return sum(weight * second.get(address, 0.0) for address, weight in first.items())


def clock(path, level):
    return math.exp(2 * path.stochasticity**2 * level)


@every_path
def test_increments_are_white_noise_exactly(path):
    """The draws are independent by their addresses, so that products of weights are covariances."""
    increments = [path.weights(*ends) for ends in pairwise(LEVELS)]
    covariance = [[product(one, other) for other in increments] for one in increments]
    np.testing.assert_allclose(covariance, np.eye(len(increments)), rtol=0, atol=1e-9 if path.depth == 31 else 1e-12)


@every_path
def test_overlapping_stretches_share_the_path_by_their_overlap(path):
    """The covariance of M(b) - M(a) and M(d) - M(c) is the clock's length of what they share."""
    for a, b, c, d in [(-3.0, 1.0, -0.7, 2.0), (0.11, 0.2, -5.0, 0.17), (-math.inf, -22.0, -21.0 - 3, -1.0)]:
        shared = clock(path, min(b, d)) - clock(path, max(a, c))
        lengths = (clock(path, b) - clock(path, a)) * (clock(path, d) - clock(path, c))
        told = product(path.weights(a, b), path.weights(c, d))
        assert told == pytest.approx(shared / math.sqrt(lengths), abs=1e-6)


@pytest.mark.parametrize("level", [-8.0, -0.13, 0.77, 6.0])
def test_a_step_is_the_combination_of_its_halves(level):
    """As a step of Ornstein and Uhlenbeck's process, in whose form the samplers use it."""
    path, seeds = BrownianPath(), Seeds.range(5, 3)
    middle, end = level + 0.4, level + 1.1
    first, second = path.normal_like(like(), seeds, level, middle), path.normal_like(like(), seeds, middle, end)
    own, rest = (math.sqrt(-math.expm1(-2 * width)) for width in (0.4, 0.7))
    combined = (math.exp(-0.7) * own * first + rest * second) / math.sqrt(-math.expm1(-2 * 1.1))
    whole = path.normal_like(like(), seeds, level, end)
    # the points lie on a lattice, of 2^-31 cells
    torch.testing.assert_close(whole, combined, rtol=0, atol=1e-8)


def test_the_combination_holds_to_rounding_on_the_lattice():
    path, seeds = BrownianPath(), Seeds.range(5, 3)
    ends = [-2.25, -1.75, -1.5 + 3 / 2**20, 0.25, 1.0 + 5 / 2**18]
    parts = [path.normal_like(like(), seeds, *pair) for pair in pairwise(ends)]
    lengths = [clock(path, b) - clock(path, a) for a, b in pairwise(ends)]
    combined = sum(part * math.sqrt(length / sum(lengths)) for part, length in zip(parts, lengths, strict=True))
    whole = path.normal_like(like(), seeds, ends[0], ends[-1])
    torch.testing.assert_close(whole, combined, rtol=0, atol=1e-12)


@every_path
def test_the_draws_are_those_of_the_weights(path):
    """With each draw made anew from its address by the generator of ``core.seeds``, in torch."""
    seeds = Seeds(9, torch.tensor([0, 5, 2**35 + 1]), ("here",))

    def draw(cell, number):
        block = torch.arange(2).expand(3, -1)
        sample = seeds.samples[:, None].expand(-1, 2)
        counter = (block, torch.full_like(block, number), sample & 0xFFFFFFFF, sample >> 32)
        shares = [(word.double() + 0.5) / 2**32 for word in philox(counter, seeds.at("brownian path", cell).key)]
        radii = [(-2 * share.log()).sqrt() for share in shares[::2]]
        parts = [radius * turn(2 * math.pi * share) for radius, share in zip(radii, shares[1::2], strict=True)
                 for turn in (torch.cos, torch.sin)]  # fmt: skip
        return torch.stack(parts, -1).flatten(1)[:, :7]

    for ends in pairwise(LEVELS):
        expected = sum(weight * draw(*address) for address, weight in path.weights(*ends).items())
        told = path.normal_like(like(), seeds, *ends)
        torch.testing.assert_close(told, expected, rtol=0, atol=1e-8 if path.depth == 31 else 1e-11)


def test_other_devices_compute_the_same(monkeypatch):
    """The way for them, in torch, on this one."""
    told = [BrownianPath().normal_like(like(), Seeds.range(3, 3), *ends) for ends in ((-1.3, 2.2), (0.1, 0.3))]
    monkeypatch.setattr(brownian, "_sums_on_cpu", brownian._sums_elsewhere)
    for ends, before in zip(((-1.3, 2.2), (0.1, 0.3)), told, strict=True):
        torch.testing.assert_close(
            BrownianPath().normal_like(like(), Seeds.range(3, 3), *ends), before, atol=1e-13, rtol=0
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_sample_is_the_same_to_the_bit_in_any_company_and_order(dtype):
    shape = (3, 37, 11)  # more than a piece of the generator's work in all
    path, whole = BrownianPath(), {}
    stretches = [(-1.2, -0.7), (-0.7, 0.4), (0.4, 0.45)]
    for ends in stretches:
        whole[ends] = path.normal_like(like(40, shape, dtype), Seeds.range(2, 40), *ends)
        assert whole[ends].dtype == dtype
    for ends in reversed(stretches):
        for rows in ([17], [39, 3, 17], list(range(20, 33))):
            some = Seeds(2, torch.tensor(rows))
            fresh = BrownianPath().normal_like(like(len(rows), shape, dtype), some, *ends)
            assert torch.equal(fresh, whole[ends][rows])


def test_what_is_remembered_changes_nothing():
    """Other seeds, purposes, shapes and precisions between, and threads."""
    path, seeds = BrownianPath(), Seeds.range(2, 3)
    fresh = BrownianPath().normal_like(like(), seeds, 0.2, 0.9)
    others = [
        (like(), replace_samples(seeds)), (like(), seeds.at("elsewhere")), (like(), Seeds(3, seeds.samples)),
        (like(3, (5,)), seeds), (like(dtype=torch.float32), seeds), (like(), seeds),
    ]  # fmt: skip
    seen = []
    for tensor, other in others:
        path.normal_like(tensor, other, 0.0, 0.2)
        seen.append(path.normal_like(tensor, other, 0.2, 0.9))
        assert torch.equal(path.normal_like(like(), seeds, 0.2, 0.9), fresh)
    for number in (0, 1, 2):
        assert not (seen[number] == fresh).any()
    torch.testing.assert_close(seen[4], fresh.float(), rtol=0, atol=1e-5)
    with ThreadPoolExecutor(3) as pool:
        ends = [(-0.4, 0.2), (0.2, 0.9), (0.9, 1.6)] * 4
        together = list(pool.map(lambda pair: path.normal_like(like(), seeds, *pair), ends))
    for pair, drawn in zip(ends, together, strict=True):
        assert torch.equal(drawn, BrownianPath().normal_like(like(), seeds, *pair))


def replace_samples(seeds):
    return Seeds(seeds.seed, seeds.samples + 100)


def test_draws_are_standard_normal_and_uncorrelated():
    path, seeds = BrownianPath(), Seeds.range(11, 400)
    ends = [-3.0, -2.6, -0.9, -0.8, 1.0]
    drawn = [path.normal_like(like(400, (50,)), seeds, *pair) for pair in pairwise(ends)]
    for part in drawn:
        assert_distribution(part, stats.norm.cdf)
    flat = torch.stack([part.flatten() for part in drawn])
    neighbours = torch.stack([drawn[0][:, :-1].flatten(), drawn[0][:, 1:].flatten()])
    samples = torch.stack([drawn[0][:-1].flatten(), drawn[0][1:].flatten()])
    for numbers in (flat, neighbours, samples):
        away = torch.corrcoef(numbers) - torch.eye(len(numbers))
        assert away.abs().max() < 5 / numbers.shape[1] ** 0.5


def test_a_path_copies_and_is_a_noise_path():
    path = BrownianPath(0.5, 9)
    path.normal_like(like(), Seeds.range(0, 3), 0.0, 1.0)
    assert pickle.loads(pickle.dumps(path)) == copy.deepcopy(path) == path
    assert isinstance(path, NoisePath)


def test_no_samples_and_numbers_of_no_shape():
    path = BrownianPath()
    assert path.normal_like(like(0), Seeds.range(0, 0), 0.0, 1.0).shape == (0, 7)
    assert path.normal_like(like(4, ()), Seeds.range(0, 4), 0.0, 1.0).unique().shape == (4,)


@pytest.mark.parametrize(
    ("here", "there", "message"),
    [
        (1.0, 1.0, "to a larger, finite one; seen 1.0 and 1.0"),
        (1.0, 0.0, "to a larger, finite one"),
        (1.0, math.inf, "to a larger, finite one"),
        (math.nan, 1.0, "to a larger, finite one"),
        (0.1001, 0.1003, "within one finest interval of the path, whose depth is 8: take longer steps, or a greater"),
        (0.25, 0.25 + 1e-12, "within one finest interval"),
    ],
)
def test_impossible_stretches_are_refused(here, there, message):
    with pytest.raises(InputError, match=message):
        BrownianPath().normal_like(like(), Seeds.range(0, 3), here, there)


def test_a_greater_depth_resolves_more():
    weights = BrownianPath(depth=16).weights(0.1001, 0.1003)
    assert sum(weight**2 for weight in weights.values()) == pytest.approx(1, abs=1e-9)


def test_impossible_options_are_refused():
    for tau in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(InputError, match=f"positive, finite stochasticity; seen {tau}"):
            BrownianPath(tau)
    for depth in (0, 32):
        with pytest.raises(InputError, match=f"between 1 and 31; seen {depth}"):
            BrownianPath(depth=depth)
    with pytest.raises(InputError, match="2 seeds for a batch of 3"):
        BrownianPath().normal_like(like(), Seeds.range(0, 2), 0.0, 1.0)


def steps_of_the_reverse_equation(path, count, seeds):
    """Data N(0, 1) under x_t = x_0 + sigma eps: the exponential step at tau = 1, written out, to sigma = 0.05."""
    levels = torch.linspace(-2.3, 3.0, count + 1, dtype=torch.float64).tolist()
    x = 10 * seeds.at("start").normal((4,), torch.float64)
    for number, (here, there) in enumerate(pairwise(levels)):
        kept, mean = math.exp(-2 * (there - here)), x / (1 + math.exp(-2 * here))
        z = path.normal_like(x, seeds, here, there) if path else seeds.at("step", number).normal((4,), torch.float64)
        x = kept * x + (1 - kept) * mean + math.exp(-there) * math.sqrt(1 - kept) * z
    return x


def test_samples_converge_on_a_path_and_do_not_with_step_noise():
    """Each time the steps are halved, samples move half as far (additive noise: strong order one), or not less far."""
    seeds = Seeds.range(6, 500)
    moved = {}
    for path in (BrownianPath(), None):
        ends = [steps_of_the_reverse_equation(path, count, seeds) for count in (16, 32, 64, 128)]
        moved[path] = [(a - b).square().mean().sqrt().item() for a, b in pairwise(ends)]
    slope = np.polyfit(np.log([16, 32, 64]), np.log(moved[BrownianPath()]), 1)[0]
    assert slope < -0.8
    assert moved[BrownianPath()][-1] < 0.05
    assert min(moved[None]) > 0.9 * moved[None][0], "what the step's number addresses is another noise on another grid"


def test_the_sampler_takes_its_noise_from_the_path():
    from unstir.samplers.base import sample
    from unstir.samplers.exponential import ddpm
    from unstir.verification.references import IN_THE_PLANE, PointDenoiser

    denoiser = PointDenoiser(IN_THE_PLANE.denoiser(GaussianProcess()))
    options = {"count": 16, "batch": 16, "dtype": torch.float64}
    grid = {"name": "log-snr-uniform", "sigma_max": 10.0}
    apart = {}
    for path in (BrownianPath(depth=10), None):
        ends = [sample(denoiser, ddpm(), (2,), grid=grid, steps=steps, path=path, **options) for steps in (33, 65)]
        apart[path] = (ends[0] - ends[1]).norm(dim=1).median().item()
    assert apart[BrownianPath(depth=10)] < 0.2 * apart[None]
