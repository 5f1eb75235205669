"""What is measured of a trained denoiser: an exact one meets all of it, broken ones do not."""

import pytest
import torch
from networks import small_mlp

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.mixture import MixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.verification.base import Effort
from unstir.verification.checks import denoisers as checks
from unstir.verification.findings import FAILED, PASSED
from unstir.verification.references import PointDenoiser
from unstir.verification.runner import measure
from unstir.verification.trained import verify_denoiser

PARTS = ([0.5, 0.3, 0.2], [[1.0, 0.5, 0], [-1.0, 0.8, 0.3], [0.2, -1.2, -0.5]], [0.5, 0.4, 0.6])


def exact(schedule=None):
    weights, means, deviations = PARTS
    variances = [deviation**2 for deviation in deviations]
    return MixtureDenoiser(weights, means, variances, GaussianProcess(schedule) if schedule else GaussianProcess())


def data(count=1024, seed=4):
    return exact().draw(Seeds.range(seed, count))


class Broken(Denoiser):
    """An exact belief's mean, bent."""

    def __init__(self, bend):
        super().__init__()
        self.denoiser, self.process, self.bend = exact(), GaussianProcess(), bend

    def forward(self, xt, t, drop=None, **condition):
        alpha, sigma = self.process.coefficients(t, xt)
        return PointPosterior(self.bend(self.denoiser(xt, t).mean, xt, alpha, sigma))


def turned(mean, xt, alpha, sigma):
    """A field that goes round and has no potential."""
    rotation = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 0]], dtype=xt.dtype)
    return mean + 0.8 * torch.tanh(xt / (alpha + sigma)) @ rotation


def shrunk(mean, xt, alpha, sigma):
    return 0.8 * mean


def too_sure(mean, xt, alpha, sigma):
    """The mean at less noise than there is: it trusts the state too much."""
    return exact()(xt, GaussianProcess().schedule.time_at_sigma(0.5 * sigma / alpha)).mean


def frozen(mean, xt, alpha, sigma):
    """A shift that comes and goes with the noise level, as no heat equation would have it."""
    return mean + 0.8 * torch.sin(12 * (sigma / alpha).log())


def mixed(mean, xt, alpha, sigma):
    """A sample sees its neighbours."""
    return mean + 0.05 * (xt - xt.mean(0))


@pytest.mark.parametrize("schedule", [None, EDMSchedule()], ids=["cosine", "edm"])
def test_an_exact_denoiser_meets_every_claim(schedule):
    findings = verify_denoiser(PointDenoiser(exact(schedule)), data())
    assert {finding.check for finding in findings} >= {"unbiased-denoising", "conservative-score"}
    for finding in findings:
        assert finding.status == PASSED, (finding.check, finding.reason, finding.telling)
        plot = finding.telling.plot
        if plot:
            measured, ideal = plot.curves
            # exact to within what chance explains at each level: the bounds' conventions are not needed
            for value, error in zip(measured.y, measured.error, strict=True):
                assert abs(value - ideal.y[0]) < 5 * error + 1e-6, (finding.check, measured)


@pytest.mark.parametrize(
    ("bend", "check"),
    [
        (turned, checks.conservative_score),
        (shrunk, checks.unbiased_denoising),
        (too_sure, checks.error_as_foretold),
        (frozen, checks.heat_equation_of_the_score),
        (mixed, checks.same_in_any_batch),
    ],
)
def test_a_broken_one_is_found_out(bend, check):
    finding = measure(check, checks.Trained(Broken(bend), data()), Effort(quick=True))
    assert finding.status == FAILED, finding.telling
    assert not finding.reason


def test_a_sampler_that_looks_at_the_batch_is_found_out():
    def draw(seeds):
        x = seeds.normal((3,))
        return x / x.norm()

    subject = checks.Trained(PointDenoiser(exact()), data(), draw=draw)
    assert measure(checks.sampled_alone_and_together, subject, Effort()).status == FAILED
    independent = checks.Trained(PointDenoiser(exact()), data(), draw=lambda seeds: seeds.normal((3,)))
    assert measure(checks.sampled_alone_and_together, independent, Effort()).status == PASSED


def test_a_network_with_conditions_can_be_measured():
    denoiser = small_mlp({"label": {"classes": 4}})
    clean = Seeds.range(0, 64).normal((5,))
    findings = verify_denoiser(denoiser, clean, {"label": torch.arange(64) % 4}, effort=Effort(quick=True))
    assert all(finding.measured for finding in findings)
    assert next(p for p in denoiser.parameters()).dtype == torch.float32, "the network is left as it was"


@pytest.mark.parametrize(("rows", "space", "message"), [(31, "euclidean", "at least 32"), (64, "torus", "Euclidean")])
def test_what_cannot_be_measured_is_refused(rows, space, message):
    denoiser = PointDenoiser(exact())
    if space != "euclidean":

        class Elsewhere:
            space = "torus"

        denoiser.process = Elsewhere()
    with pytest.raises(InputError, match=message):
        verify_denoiser(denoiser, data(rows))
