"""The noise of measuring: other people's densities, bad input, and broken copies that the claims find out."""

import math

import numpy as np
import pytest
import torch
from mutants import is_caught
from scipy import stats

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.noises.confusion import ConfusionNoise
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.noises.gaussian_unknown import GaussianUnknownNoise
from unstir.inverse.noises.poisson import PoissonNoise
from unstir.inverse.noises.wrapped_normal import WrappedNormalNoise
from unstir.verification.checks import measurement_noises as checks


def drawn(shape, seed=0, count=3):
    return Seeds.range(seed, count).normal(shape, torch.float64)


def test_gaussian_likelihood_is_scipys():
    clean, reading = drawn((2, 3)), drawn((2, 3), 1)
    wanted = stats.norm(clean, 0.3).logpdf(reading).sum((1, 2))
    np.testing.assert_allclose(GaussianNoise(0.3).log_likelihood(reading, clean), wanted, rtol=1e-12)


@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_unknown_gaussian_likelihood_is_scipys_multivariate_t(shape):
    clean, reading, a, b = drawn(shape), drawn(shape, 1), 1.7, 0.4
    size = math.prod(shape)
    law = stats.multivariate_t(np.zeros(size), b / a * np.eye(size), df=2 * a)
    found = GaussianUnknownNoise(a, b).log_likelihood(reading, clean)
    np.testing.assert_allclose(found, law.logpdf((reading - clean).flatten(1).numpy()), rtol=1e-10)


def test_estimate_of_the_deviation_finds_it_where_there_is_much_to_see():
    clean = torch.zeros(2, 40_000, dtype=torch.float64)
    deviations = torch.tensor([[0.2], [3.0]], dtype=torch.float64)
    reading = clean + deviations * Seeds.range(0, 2).normal((40_000,), torch.float64)
    found = GaussianUnknownNoise(0.01, 0.001).estimate(reading, clean)
    # one in ten million lies beyond 5.3 standard errors, 1/sqrt(2n) each
    assert ((found / deviations[:, 0] - 1).abs() < 5.3 / math.sqrt(80_000) + 1e-4).all()
    with pytest.raises(InputError, match="take a larger prior_shape"):
        GaussianUnknownNoise(1e-9, 0.1).estimate(reading[:, :0], clean[:, :0])


def test_poisson_likelihood_is_scipys():
    noise = PoissonNoise(7.0, 0.4)
    clean = Seeds.range(0, 3).uniform((4,)) * 5
    counts = torch.tensor([[0.0, 3.0, 17.0, 40.0]], dtype=torch.float64)
    wanted = stats.poisson(7 * (clean + 0.4)).logpmf(counts).sum(1)
    np.testing.assert_allclose(noise.log_likelihood(noise.reading_of(counts), clean), wanted, rtol=1e-10)


@pytest.mark.parametrize("gain", [0.5, 100.0, 1e4])
def test_poisson_readings_in_single_precision_are_counts_still(gain):
    noise = PoissonNoise(gain, 1.0)
    clean = Seeds.range(0, 50).uniform((20,), torch.float32) * 2 - 1
    reading = noise.draw(clean, Seeds.range(1, 50))
    assert reading.dtype == torch.float32
    wanted = (reading.double() + 1) * gain
    assert (noise.counts_of(reading) - wanted).abs().max() < 0.01 + 2e-6 * gain
    assert noise.log_likelihood(reading, clean).isfinite().all()


def test_poisson_knows_values_without_light():
    noise = PoissonNoise(10.0)
    dark = torch.full((1, 2), -3.0, dtype=torch.float64)
    assert noise.draw(dark, Seeds.range(0, 1)).tolist() == [[0.0, 0.0]]
    assert noise.log_likelihood(torch.zeros(1, 2), dark).item() == pytest.approx(-2e-6)
    assert noise.log_likelihood(torch.tensor([[0.1, 0.0]]), dark).item() == pytest.approx(math.log(1e-6), rel=1e-6)


def test_wrapped_normal_likelihood_is_a_sum_over_windings():
    clean, reading = drawn((2,)) % 1 * 360, drawn((2,), 1) % 1 * 360
    turns = np.arange(-30, 31) * 360
    wanted = np.log(stats.norm(0, 50.0).pdf((reading - clean).numpy()[..., None] + turns).sum(-1)).sum(1)
    np.testing.assert_allclose(WrappedNormalNoise(50.0, 360.0).log_likelihood(reading, clean), wanted, rtol=1e-10)


def test_wrapped_normal_readings_lie_on_the_circle():
    reading = WrappedNormalNoise(90.0, 360.0).draw(torch.full((500, 2), 359.0), Seeds.range(0, 500))
    assert (reading >= 0).all() and (reading < 360).all()


def test_confusion_reads_by_its_table():
    noise = ConfusionNoise(table=[[0.5, 0.5, 0.0], [0.1, 0.0, 0.9]])
    clean, reading = torch.tensor([[0, 1]]), torch.tensor([[1, 2]])
    assert noise.log_likelihood(reading, clean).item() == pytest.approx(math.log(0.5 * 0.9))
    assert noise.log_likelihood(torch.tensor([[2, 2]]), clean).item() == -math.inf
    assert noise.log_likelihood(reading.float(), clean).item() == pytest.approx(math.log(0.5 * 0.9))
    assert noise.classes == 2


def test_confusion_without_misreading_is_the_truth():
    noise = ConfusionNoise(5, 0.0)
    tokens = Seeds.range(0, 20).integers(0, 5, (4,))
    assert torch.equal(noise.draw(tokens, Seeds.range(1, 20)), tokens)
    assert noise.log_likelihood(tokens, tokens).tolist() == [0.0] * 20


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ({"name": "gaussian", "deviation": -1.0}, "finite and not negative"),
        ({"name": "gaussian-unknown", "prior_shape": 0.0}, "positive and finite; seen 0.0"),
        ({"name": "gaussian-unknown", "prior_scale": math.inf}, "positive and finite; seen inf"),
        ({"name": "poisson", "gain": 0.0}, "a gain is positive and finite"),
        ({"name": "poisson", "background": math.nan}, "a background is a finite number"),
        ({"name": "wrapped-normal", "deviation": 0.0}, "the deviation of noise on angles"),
        ({"name": "wrapped-normal", "period": -1.0}, "the period of noise on angles"),
        ({"name": "confusion", "classes": 1}, "two classes at least"),
        ({"name": "confusion", "flip": 1.5}, "a probability from 0 to 1; seen 2 and 1.5"),
        ({"name": "confusion", "table": [[0.5, 0.4]]}, r"sum to one; seen the shape \(1, 2\), sums \[0.9"),
        ({"name": "confusion", "table": [[1.5, -0.5]]}, "a row of probabilities"),
        ({"name": "confusion", "table": "diagonal"}, "holds probabilities; seen 'diagonal'"),
        ({"name": "poison"}, "did you mean 'poisson'"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_bad_options_are_refused(specification, message):
    with pytest.raises(InputError, match=message):
        build("noises", specification)


@pytest.mark.parametrize("reading", [0.5, -1.0])
def test_readings_that_no_count_gives_are_refused(reading):
    with pytest.raises(InputError, match=f"whole counts, reading = counts/1 - 0; seen one of {reading:g} counts"):
        PoissonNoise(1.0).log_likelihood(torch.tensor([[reading]]), torch.ones(1, 1))


@pytest.mark.parametrize("tokens", [[[2]], [[-1]]])
def test_tokens_beyond_the_table_are_refused(tokens):
    noise = ConfusionNoise(2)
    with pytest.raises(InputError, match="the true tokens 0 to 1"):
        noise.draw(torch.tensor(tokens), Seeds.range(0, 1))
    with pytest.raises(InputError, match="the read tokens 0 to 1"):
        noise.log_likelihood(torch.tensor(tokens), torch.zeros(1, 1, dtype=torch.long))


def test_an_exact_reading_has_no_likelihood():
    with pytest.raises(InputError, match="an exact measurement has no likelihood"):
        GaussianNoise(0.0).log_likelihood(torch.zeros(1, 1), torch.zeros(1, 1))


class Wide(GaussianNoise):
    def draw(self, clean, seeds):
        return clean + 1.15 * self.deviation * seeds.normal_like(clean)


class Apart(GaussianUnknownNoise):
    """A deviation of its own for each value."""

    def draw(self, clean, seeds):
        columns = [super(Apart, self).draw(clean[:, i : i + 1], seeds.at(i)) for i in range(clean.shape[1])]
        return torch.cat(columns, 1)


class Darker(PoissonNoise):
    def log_likelihood(self, reading, clean):
        return super().log_likelihood(reading, clean - 0.2)


class Loose(WrappedNormalNoise):
    """On the line, not the circle."""

    def log_likelihood(self, reading, clean):
        return GaussianNoise(self.deviation).log_likelihood(reading, clean)


class Shared(GaussianNoise):
    """One draw for all of a batch."""

    def draw(self, clean, seeds):
        return clean + self.deviation * seeds.normal_like(clean)[:1]


class Misread(ConfusionNoise):
    def log_likelihood(self, reading, clean):
        return super().log_likelihood(clean.expand(len(clean), *reading.shape[1:]), reading.expand(clean.shape))


@pytest.mark.parametrize(
    ("check", "original", "mutant"),
    [
        (checks.readings_follow_their_likelihood, GaussianNoise(0.5), Wide(0.5)),
        (checks.readings_follow_their_likelihood, PoissonNoise(3.0, 0.5), Darker(3.0, 0.5)),
        (checks.readings_follow_their_likelihood, WrappedNormalNoise(0.3), Loose(0.3)),
        (
            checks.readings_follow_their_likelihood,
            ConfusionNoise(table=[[0.9, 0.1], [0.4, 0.6]]),
            Misread(table=[[0.9, 0.1], [0.4, 0.6]]),
        ),
        (checks.noise_of_readings_is_drawn_one_by_one, GaussianNoise(0.5), Shared(0.5)),
        (checks.noise_of_unknown_deviation_is_one_for_a_reading, GaussianUnknownNoise(1.0, 0.1), Apart(1.0, 0.1)),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_broken_noises_are_caught(check, original, mutant):
    assert is_caught(check, original, mutant)
