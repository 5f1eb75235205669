"""Weights of the loss, against their papers' own forms, and against what their losses must add up to."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from unstir.core.catalogue import build, entries
from unstir.denoisers.noise_levels import LogNormalLevels, UniformLevels, UniformLogSNRLevels
from unstir.denoisers.weightings import (
    EDMWeighting,
    LikelihoodWeighting,
    MinSNRWeighting,
    P2Weighting,
    SigmoidWeighting,
)
from unstir.processes.schedules.cosine import CosineSchedule

LOG_SNR = torch.linspace(-12, 12, 97, dtype=torch.float64)
SNR = LOG_SNR.exp()
DENSITY = 0.03 * (1 + (LOG_SNR / 5).sin() / 2)

# On the variance-preserving scale, alpha^2 = snr/(1 + snr) and sigma^2 = 1/(1 + snr). Each paper weighs the
# error of what it predicts; an error e of x0 is an error (alpha/sigma) e of the noise and e/sigma of v.
SIGMA_SQUARED = 1 / (1 + SNR)
ALPHA_SQUARED = 1 - SIGMA_SQUARED
NOISE_ERROR = ALPHA_SQUARED / SIGMA_SQUARED
V_ERROR = 1 / SIGMA_SQUARED
FORMS = {
    "clean": torch.ones_like(SNR),
    "noise": NOISE_ERROR,
    "v": V_ERROR,
    # (s^2 + d^2)/(s d)^2 with the noise level s, d = 1
    "edm": (1 / SNR + 1) / (1 / SNR),
    # Hang et al., section 3.4: for noise prediction min(SNR, 5)/SNR
    "min-snr": torch.minimum(SNR, torch.tensor(5.0)) / SNR * NOISE_ERROR,
    # Choi et al., eq. 8: of the simple loss of the noise, 1/(k + SNR)^gamma
    "p2": NOISE_ERROR / (1 + SNR),
    # Kingma and Gao, eq. 8 and section 4: half of w(lambda) times the noise's error is integrated over the
    # log-SNR; the half is left out here
    "sigmoid": NOISE_ERROR / (1 + (LOG_SNR + 1).exp()) / DENSITY,
    # Kingma et al., eq. 18, for the noise's error: one half per unit of log-SNR
    "likelihood": NOISE_ERROR / 2 / DENSITY,
    # of tokens a share 1/(1 + SNR) is touched: du/u and d tau = du/(1 - u) of it, per unit of log-SNR
    "masked-likelihood": SNR / (1 + SNR) / DENSITY,
    "score-entropy": 1 / (1 + SNR) / DENSITY,
}


@pytest.mark.parametrize("name", entries("weightings"))
def test_the_papers_form(name):
    torch.testing.assert_close(build("weightings", name)(LOG_SNR, DENSITY), FORMS[name], rtol=1e-9, atol=0)


def test_options():
    torch.testing.assert_close(
        EDMWeighting(0.5)(LOG_SNR, DENSITY), (1 / SNR + 0.25) / (1 / SNR * 0.25), rtol=1e-9, atol=0
    )
    assert MinSNRWeighting(2.0)(LOG_SNR, DENSITY).max() == 2.0
    half = P2Weighting(gamma=0.5, k=3.0)(LOG_SNR, DENSITY)
    torch.testing.assert_close(half, SNR / (3 + SNR).sqrt(), rtol=1e-9, atol=0)
    shifted = SigmoidWeighting(bias=2.0)(LOG_SNR, DENSITY)
    torch.testing.assert_close(shifted, SNR * torch.special.expit(2.0 - LOG_SNR) / DENSITY, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", entries("weightings"))
def test_weights_are_positive_and_finite_over_all_levels_met(name):
    weights = build("weightings", name)(LOG_SNR, DENSITY)
    assert weights.isfinite().all()
    assert (weights > 0).all()


def test_edms_weight_gives_unit_variance_targets_the_same_loss():
    """b^2 w = 1: the weighted error of x0 is the plain error of the network's output."""
    from unstir.denoisers.parameterisations import edm

    for d in (0.5, 1.0):
        _, b = edm(ALPHA_SQUARED.sqrt(), SIGMA_SQUARED.sqrt(), d)
        torch.testing.assert_close(
            b.square() * EDMWeighting(d)(LOG_SNR, DENSITY), torch.ones_like(SNR), rtol=1e-9, atol=0
        )


LEVELS = {
    "uniform": UniformLevels(CosineSchedule()),
    "log-normal": LogNormalLevels(),
    "uniform-log-snr": UniformLogSNRLevels(-9.0, 9.0),
}


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.5])
def test_likelihood_weighting_gives_the_diffusion_term_of_the_elbo(name, deviation):
    """For Gaussian data the best squared error is s^2/(1 + s^2 SNR), and half of it, integrated over the SNR,
    is half the logarithm of (1 + s^2 SNR) between the ends, whatever the levels met."""
    levels, weighting = LEVELS[name], LikelihoodWeighting()
    low, high = 0.001, 0.999

    def loss(u):
        told = levels(torch.tensor([u], dtype=torch.float64))
        best = deviation**2 / (1 + deviation**2 * told.log_snr.exp())
        return (weighting(told.log_snr, told.density) * best).item()

    total, _ = quad(loss, low, high, limit=200, epsrel=1e-9)
    first, last = (levels(torch.tensor([u], dtype=torch.float64)).log_snr.exp().item() for u in (low, high))
    assert total == pytest.approx(0.5 * math.log((1 + deviation**2 * first) / (1 + deviation**2 * last)), rel=1e-7)


@pytest.mark.parametrize("weighting", [LikelihoodWeighting(), SigmoidWeighting()], ids=str)
def test_weights_per_unit_of_log_snr_do_not_depend_on_the_levels_met(weighting):
    """The same integral over the same range of log-SNR by all distributions."""

    def total(levels):
        u = np.linspace(0.0005, 0.9995, 20_001)
        told = levels(torch.from_numpy(u))
        inside = (told.log_snr > -4) & (told.log_snr < 4)
        return float((weighting(told.log_snr, told.density) / (1 + told.log_snr.exp()) * inside).sum() * (u[1] - u[0]))

    totals = [total(levels) for levels in LEVELS.values()]
    assert totals == pytest.approx([totals[0]] * len(totals), rel=5e-3)
