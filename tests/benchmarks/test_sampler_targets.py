"""The laws that samplers are compared on: the fast denoiser against the catalogue's, draws, and the exact flow."""

import math

import numpy as np
import pytest
import torch
from benchmarks.sampler_cases import PROCESS
from benchmarks.sampler_targets import TARGETS, solve_flow
from scipy.integrate import solve_ivp


@pytest.fixture(params=TARGETS)
def target(request):
    return TARGETS[request.param]()


def test_the_fast_denoiser_is_the_exact_one(target):
    exact = target.exact(PROCESS)
    clean = target.draw(50, seed=0)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for sigma in (1e-4, 0.02, 0.5, 3.0, 80.0):
        y = clean + sigma * noise
        assert (target.denoise(y, sigma) - exact.belief(y, 1.0, sigma).mean).abs().max() < 1e-9


def test_rows_may_have_noise_levels_of_their_own(target):
    y = target.draw(3, seed=0)
    sigmas = torch.tensor([0.01, 1.0, 30.0], dtype=torch.float64)
    together = target.denoise(y, sigmas)
    alone = torch.cat([target.denoise(row[None], sigma.item()) for row, sigma in zip(y, sigmas, strict=True)])
    assert (together - alone).abs().max() < 1e-12


def test_draws_have_the_law_s_mean_covariance_and_shares(target):
    count = 40_000
    drawn = target.draw(count, seed=3)
    exact = target.exact(PROCESS)
    mean = target.weights @ target.means
    away = target.means - mean
    covariance = torch.einsum("k,kde->de", target.weights, exact.covariances() + away[:, :, None] * away[:, None])
    error = (drawn.mean(0) - mean) / (covariance.diagonal() / count).sqrt()
    assert error.abs().max() < 5
    squares = (drawn - mean).square()
    spread = (squares.T @ squares / count - covariance.square()).sqrt()
    assert ((torch.cov(drawn.T) - covariance).abs() / (spread / math.sqrt(count))).max() < 5.5  # 2080 pairs


def test_occupancy_counts_to_whom_samples_belong(target):
    drawn = target.draw(2000, seed=4)
    components = torch.distributions.MultivariateNormal(target.means, target.exact(PROCESS).covariances())
    belongs = (target.weights.log() + components.log_prob(drawn[:, None])).argmax(1)
    counted = torch.bincount(belongs, minlength=len(target.weights)) / len(drawn)
    assert (target.occupancy(drawn) - counted).abs().max() < 1e-12


def test_the_flow_is_scipy_s(target):
    start = 80 * torch.randn(2, target.dimension, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def slope(u, flat):
        y = torch.from_numpy(flat.reshape(start.shape))
        return (y - target.denoise(y, math.exp(u))).numpy().ravel()

    limits = (math.log(80.0), math.log(1e-5))
    solved = solve_ivp(slope, limits, start.numpy().ravel(), method="DOP853", rtol=1e-9, atol=1e-10)
    end = torch.from_numpy(np.ascontiguousarray(solved.y[:, -1].reshape(start.shape)))
    assert (solve_flow(target, start, 80.0) - target.denoise(end, 1e-5)).abs().max() < 2e-5
