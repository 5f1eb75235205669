"""What the checks of samplers rest upon; the claims about each sampler are checks of ``unstir verify``."""

import numpy as np
import pytest
import torch
from networks import small_unet

from unstir.core.catalogue import build
from unstir.core.seeds import Seeds
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.samplers.base import sample, samplers_for
from unstir.samplers.exponential import ddpm
from unstir.verification.checks.samplers import _deterministic
from unstir.verification.references import IN_THE_PLANE, ON_THE_LINE, NormalDenoiser, arrive, exact_moments, suited


def test_both_kinds_of_order_are_met():
    """Checks tell by themselves which samplers draw noise: the order of those is weak."""
    made = {
        name: build("samplers", name) for name in samplers_for("euclidean") if name != "calibrated"
    }  # not made as yet
    drawing = {name for name, sampler in made.items() if not _deterministic(sampler)}
    assert {"ancestral", "ddpm"} <= drawing
    assert {"ddim", "euler", "heun", "multistep"}.isdisjoint(drawing)


def test_the_flow_of_normal_data_is_known():
    """y/sqrt(s^2 + r^2) is kept along the flow: SciPy's solution must say so."""
    law = type(ON_THE_LINE)((1.0,), ((0.0,),), (0.5,))
    y = np.array([[1.0], [-2.0], [0.3]])
    solved = law.flow(y, 10.0, 0.0)
    np.testing.assert_allclose(solved, y * 0.5 / np.hypot(0.5, 10), rtol=1e-9)


def test_the_numpy_score_is_the_gradient_of_the_log_density():
    point, step, r = np.array([[0.3, -0.7]]), 1e-5, 0.4

    def log_density(y):
        variance = np.asarray(IN_THE_PLANE.deviations) ** 2 + r**2
        squares = ((y[:, None] - np.asarray(IN_THE_PLANE.means)) ** 2).sum(-1)
        return np.log((np.asarray(IN_THE_PLANE.weights) * np.exp(-squares / (2 * variance)) / variance).sum(1))

    slopes = [(log_density(point + step * axis) - log_density(point - step * axis)) / (2 * step) for axis in np.eye(2)]
    np.testing.assert_allclose(IN_THE_PLANE.score(point, r)[0], np.concatenate(slopes), rtol=1e-8)


def test_impulses_give_the_moments_that_draws_have():
    """Forty thousand trajectories of DDPM, against its moments by impulses: five standard errors."""
    schedule = CosineSchedule()
    denoiser = NormalDenoiser(0.6, 0.8, GaussianProcess(schedule))
    times = torch.linspace(0.9, 0.0, 6, dtype=torch.float64)
    alpha, sigma = schedule.alpha(times[0]).item(), schedule.sigma(times[0]).item()
    start = (alpha * 0.6, (alpha * 0.8) ** 2 + sigma**2)
    mean, variance = exact_moments(ddpm(), denoiser, times, *start)
    seeds = Seeds.range(1, 40_000)
    x = start[0] + start[1] ** 0.5 * seeds.at("start").normal((1,), torch.float64)
    drawn = arrive(ddpm(), denoiser, x, times, seeds)
    assert abs(drawn.mean().item() - mean) < 5 * (variance / 40_000) ** 0.5
    assert abs(drawn.var().item() / variance - 1) < 5 * (2 / 40_000) ** 0.5


@pytest.mark.parametrize("name", samplers_for("euclidean"))
def test_a_convolutional_sample_is_the_same_to_the_bit_in_any_company(name):
    """The check takes a small MLP; convolutions round differently in batches of different size."""
    denoiser = small_unet({"label": {"classes": 4}})
    labels = torch.arange(70) % 4
    options = {"steps": 3, "batch": 32}
    light = {"calibrated": {"samples": 16, "search": 8}, "adaptive": {"tolerance": 0.3}}.get(name, {})
    sampler, shape = build("samplers", {"name": name, **light}), denoiser.network.shape
    denoiser = suited(sampler, denoiser)
    whole = sample(denoiser, sampler, shape, 70, seed=5, condition={"label": labels}, **options)
    assert whole.isfinite().all()
    for chosen in ([69, 3, 17, 40], list(range(69, -1, -1))):
        rows = torch.tensor(chosen)
        some = sample(denoiser, sampler, shape, seeds=Seeds(5, rows), condition={"label": labels[rows]}, **options)
        assert torch.equal(some, whole[rows]), f"samples {chosen} differ"
