"""The mixture denoiser's digits, against mpmath with 50 of them: 64 dimensions, 10 components, log-SNR -20 to 20."""

import math

import mpmath
import numpy as np
import pytest
import torch

from unstir.core.seeds import Seeds
from unstir.exact.empirical import EmpiricalDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess

COMPONENTS, SIZE = 10, 64
ALLOWED = 1e-10
LOG_SNRS = (-20, -8, 0, 8, 20)


def ingredients():
    rng = np.random.default_rng(0)
    weights, means = rng.dirichlet(np.ones(COMPONENTS)), rng.normal(size=(COMPONENTS, SIZE))
    roots = rng.normal(size=(COMPONENTS, SIZE, SIZE)) / 8
    kinds = {
        "isotropic": rng.uniform(0.05, 1, size=COMPONENTS),
        "narrow": np.full(COMPONENTS, 1e-8),
        "diagonal": rng.uniform(0.01, 1, size=(COMPONENTS, SIZE)),
        "full": roots @ roots.transpose(0, 2, 1) + 0.01 * np.eye(SIZE),
    }
    return weights, means, kinds


def by_substitution(root, values):
    """Solves L L^T x = values."""
    half, solved = mpmath.zeros(SIZE, 1), mpmath.zeros(SIZE, 1)
    for i in range(SIZE):
        half[i] = (values[i] - mpmath.fdot((root[i, j], half[j]) for j in range(i))) / root[i, i]
    for i in reversed(range(SIZE)):
        solved[i] = (half[i] - mpmath.fdot((root[j, i], solved[j]) for j in range(i + 1, SIZE))) / root[i, i]
    return solved


def exact(weights, means, covariances, x, alpha, sigma):
    """Mean, score, log-density and covariance in the textbook's formulas, by mpmath."""
    alpha, sigma = mpmath.mpf(alpha), mpmath.mpf(sigma)
    state = mpmath.matrix(x.tolist())
    logs, scores, beliefs, inner = [], [], [], []
    for weight, mean, covariance in zip(weights, means, covariances, strict=True):
        mean = mpmath.matrix(mean.tolist())
        away = state - alpha * mean
        if covariance.ndim == 2:
            matrix = mpmath.matrix(covariance.tolist())
            marginal = alpha**2 * matrix + sigma**2 * mpmath.eye(SIZE)
            root = mpmath.cholesky(marginal)
            log_determinant = 2 * sum(mpmath.log(root[i, i]) for i in range(SIZE))
            solved = by_substitution(root, away)
            pulled = matrix * solved
        else:
            spread = [mpmath.mpf(float(value)) for value in np.broadcast_to(covariance, SIZE)]
            marginal = [alpha**2 * value + sigma**2 for value in spread]
            log_determinant = sum(mpmath.log(value) for value in marginal)
            solved = mpmath.matrix([away[i] / marginal[i] for i in range(SIZE)])
            pulled = mpmath.matrix([spread[i] * solved[i] for i in range(SIZE)])
            inner.append([spread[i] * sigma**2 / marginal[i] for i in range(SIZE)])
        square = (away.T * solved)[0]
        logs.append(mpmath.log(float(weight)) - (square + log_determinant + SIZE * mpmath.log(2 * mpmath.pi)) / 2)
        scores.append(-solved)
        beliefs.append(mean + alpha * pulled)
    largest = max(logs)
    log_density = largest + mpmath.log(sum(mpmath.exp(value - largest) for value in logs))
    shares = [mpmath.exp(value - log_density) for value in logs]
    mean, score = (
        sum((s * v for s, v in zip(shares, of, strict=True)), mpmath.zeros(SIZE, 1)) for of in (beliefs, scores)
    )
    columns = 2  # of the covariance: the whole is slow at 50 digits
    covariance = mpmath.zeros(SIZE, columns)
    for share, belief, own in zip(shares, beliefs, inner, strict=False):
        for row in range(SIZE):
            for column in range(columns):
                between = (belief[row] - mean[row]) * (belief[column] - mean[column])
                covariance[row, column] += share * (between + (own[row] if row == column else 0))
    return mean, score, log_density, covariance if inner else None


def relative_error(values, reference):
    values = np.asarray(values).ravel()
    reference = list(reference)
    error = mpmath.sqrt(sum((mpmath.mpf(float(a)) - b) ** 2 for a, b in zip(values, reference, strict=True)))
    return float(error / mpmath.sqrt(sum(b**2 for b in reference)))


CASES = [
    *(("isotropic", value) for value in LOG_SNRS),
    *((kind, value) for kind in ("narrow", "diagonal", "full") for value in (-20, 20)),
]


@pytest.mark.parametrize(("kind", "log_snr"), CASES)
def test_all_digits_but_a_few_are_right(kind, log_snr):
    weights, means, kinds = ingredients()
    denoiser = MixtureDenoiser(weights, means, kinds[kind], GaussianProcess())
    alpha, sigma = 1 / math.sqrt(1 + math.exp(-log_snr)), 1 / math.sqrt(1 + math.exp(log_snr))
    clean = denoiser.draw(Seeds.range(3, 1))
    x = alpha * clean + sigma * Seeds.range(4, 1).normal((SIZE,), torch.float64)
    with mpmath.workdps(50):
        weights = denoiser.weights.numpy()  # these, to the last digit
        mean, score, log_density, covariance = exact(weights, means, kinds[kind], x[0].numpy(), alpha, sigma)
        posterior = denoiser.belief(x, alpha, sigma)
        assert relative_error(posterior.mean[0], mean) < ALLOWED
        assert relative_error(denoiser.score_at(x, alpha, sigma)[0], score) < ALLOWED
        assert relative_error(denoiser.log_density_at(x, alpha, sigma), [log_density]) < ALLOWED
        if covariance is not None:
            assert relative_error(posterior.covariance()[0, :, : covariance.cols], covariance) < ALLOWED


@pytest.mark.parametrize("log_snr", LOG_SNRS)
def test_so_are_those_of_a_set_of_points(log_snr):
    """A point is a component of no width; between two points at equal distance, both count."""
    weights, means, _ = ingredients()
    alpha, sigma = 1 / math.sqrt(1 + math.exp(-log_snr)), 1 / math.sqrt(1 + math.exp(log_snr))
    denoiser = EmpiricalDenoiser(means, GaussianProcess(), weights, chunk=3)
    x = alpha * torch.as_tensor(means[:1]) + sigma * Seeds.range(4, 1).normal((SIZE,), torch.float64)
    with mpmath.workdps(50):
        weights = denoiser.weights.numpy()
        mean, score, log_density, covariance = exact(weights, means, np.zeros(COMPONENTS), x[0].numpy(), alpha, sigma)
        assert relative_error(denoiser.belief(x, alpha, sigma).mean[0], mean) < ALLOWED
        assert relative_error(denoiser.score_at(x, alpha, sigma)[0], score) < ALLOWED
        assert relative_error(denoiser.log_density_at(x, alpha, sigma), [log_density]) < ALLOWED
        if log_snr <= 0:  # beyond, the covariance is that of one point: zero to all digits of the mean
            told = denoiser.belief(x, alpha, sigma).covariance()[0, :, : covariance.cols]
            assert relative_error(told, covariance) < ALLOWED
