"""Calibration of posterior draws: the tests find what is wrong, and nothing where all is right."""

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from thresholds import assert_distribution, assert_holds

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.inverse.calibration import calibrate_posterior, densest, own_samples
from unstir.inverse.measurement import Measurement, exact_posterior
from unstir.inverse.methods.base import ANY_LAW, Method
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.inverse.ranks import (
    central,
    crps,
    energy_score,
    expected_coverage,
    histogram,
    interval_coverage,
    ranks_among,
    set_coverage,
    uniformity,
)
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.verification.base import Effort
from unstir.verification.checks.calibrated_methods import truths_are_to_their_draws_as_one_of_them as claimed
from unstir.verification.statistics import probable

OPERATOR, NOISE = MatrixOperator((2,), [[1.0, 0.0]]), GaussianNoise(0.2)
ANGLES = torch.arange(8, dtype=torch.float64) * math.pi / 4
RING = MixtureDenoiser(
    torch.arange(1.0, 9.0), torch.stack((ANGLES.cos(), ANGLES.sin()), 1), torch.full((8,), 0.02), GaussianProcess()
)


@dataclass(frozen=True)
class Posterior(Method):
    """Draws of the exact posterior, or of one that is too wide, too narrow, or of another reading."""

    widened: float = 1.0
    shifted: float = 0.0
    forgets: bool = False
    exact_for = ANY_LAW
    spaces = frozenset({"euclidean"})
    steps = 1

    def pair(self, denoiser, measurement):
        law = getattr(denoiser, "denoiser", denoiser)
        if self.forgets:
            return law, AncestralSampler()
        other = GaussianNoise(measurement.noise.deviation * self.widened)
        return exact_posterior(law, Measurement(measurement.operator, measurement.reading + self.shifted, other)), (
            AncestralSampler()
        )


@dataclass(frozen=True)
class Narrow(Posterior):
    """Draws of a twentieth of the posterior's deviation."""

    def pair(self, denoiser, measurement):
        law, sampler = super().pair(denoiser, measurement)
        return GaussianDenoiser(law.mean, law.covariance() / 400, law.process), sampler


@dataclass(frozen=True)
class Population(Posterior):
    """Exact draws in populations of 64 that are run side by side."""

    def batch(self, wanted):
        return max(1, wanted // 64) * 64


def calibrated(method, problems=60, draws=39, law=RING, **how):
    return calibrate_posterior(law, law.draw, OPERATOR, NOISE, method, problems, draws, dtype=torch.float64, **how)


@pytest.fixture(scope="module")
def exact():
    return calibrated(Posterior(), 60, sets={"densest": densest(RING)})


def test_exact_draws_have_uniform_ranks_and_cover_what_they_should(exact):
    for name in exact.ranks:
        assert_holds(probable(name, exact.uniformity(name).kolmogorov))
    for name in ("ball", "tarp", "densest", "element 0", "element 1"):
        for level in (0.5, 0.8, 0.95):
            found = exact.coverage(name, level)
            assert found.nominal == pytest.approx(level)
            inside = round(found.measured * exact.problems)
            assert_holds(probable(name, stats.binomtest(inside, exact.problems, level).pvalue))
    assert abs(exact.coverage("elements", 0.8).away) < 5.5
    assert exact.spread_to_error == pytest.approx(1, abs=0.25)
    assert "no miscalibration found (60 problems" in exact.verdict


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Posterior(widened=0.1), "too sure"),
        (Posterior(widened=5.0), "not sure enough"),
        (Posterior(shifted=0.3), "to one side"),
        (Posterior(forgets=True), "not sure enough"),
    ],
    ids=["narrow", "wide", "shifted", "prior"],
)
def test_what_is_wrong_is_found_and_named(method, said):
    """The prior's own draws pass every test of ranks by element; the likelihood gives them away."""
    found = calibrated(method, 40, sets={"densest": densest(RING)})
    assert found.p_value < 1e-4
    assert found.verdict.startswith(f"miscalibrated, {said} (p = ")
    if method.forgets:
        assert found.uniformity("element 0").p_value > 1e-4 and found.uniformity("log-likelihood").p_value < 1e-4


def test_the_claim_tells_an_overconfident_method_from_an_exact_one():
    assert all(figure.passed for figure in claimed(Posterior(), Effort(quick=True)))
    assert not all(figure.passed for figure in claimed(Narrow(), Effort(quick=True)))


def test_a_problem_is_the_same_however_many_there_are():
    few, many = calibrated(Posterior(), 4), calibrated(Posterior(), 9)
    assert few.records == many.records[:4]
    other = calibrated(Posterior(), 4, seed=1)
    assert other.records != few.records


def test_an_interrupted_calibration_goes_on_where_it_stopped(tmp_path):
    path, whole = tmp_path / "kept.jsonl", calibrated(Posterior(), 6)

    class StopError(Exception):
        pass

    def stop(done, count=[0]):  # noqa: B006
        count[0] += done
        if count[0] == 3:
            raise StopError

    with pytest.raises(StopError):
        calibrated(Posterior(), 6, path=path, progress=stop)
    assert len(path.read_text().splitlines()) == 4
    with path.open("a") as file:
        file.write('{"problem": 3, "ranks": {"ele')  # torn by a kill
    counted = []
    again = calibrated(Posterior(), 6, path=path, progress=counted.append)
    assert counted == [3, 1, 1, 1] and again.records == whole.records
    assert calibrated(Posterior(), 4, path=path).records == whole.records[:4]
    assert [json.loads(line)["problem"] for line in path.read_text().splitlines()[1:]] == list(range(6))
    with pytest.raises(InputError, match=r"work of other settings \(method\).*remove this one"):
        calibrated(Posterior(widened=2.0), 6, path=path)
    with pytest.raises(InputError, match="other settings"):
        calibrated(Posterior(), 6, path=path, seed=1)
    path.write_text("not\njson\n")
    with pytest.raises(InputError, match="not lines of JSON"):
        calibrated(Posterior(), 6, path=path)


def test_rows_of_a_population_are_chosen_at_random():
    seen = []

    @dataclass(frozen=True)
    class Watched(Population):
        def pair(self, denoiser, measurement):
            law, _ = super().pair(denoiser, measurement)
            return law, Noted()

    class Noted(AncestralSampler):
        def step(self, denoiser, state, t, s):
            seen.append(len(state.seeds))
            return super().step(denoiser, state, t, s)

    found = calibrated(Watched(), 30, populations=2)
    assert set(seen) == {128} and found.problems == 30
    assert_holds(probable("tarp", found.uniformity("tarp").kolmogorov))
    one = calibrated(Population(), 3)
    assert one.draws == 39 and all(max(record["ranks"].values()) <= 39 for record in one.records)


def test_truths_may_be_data_and_the_models_own_samples():
    data = RING.draw(Seeds.range(5, 20).at("data"))
    found = calibrate_posterior(
        RING, data, OPERATOR, NOISE, Posterior(), 20, 19, of="held-out data", dtype=torch.float64
    )
    assert "truths from held-out data" in found.verdict and found.problems == 20
    own = own_samples(RING, AncestralSampler(), (2,), steps=1, dtype=torch.float64)
    assert calibrate_posterior(RING, own, OPERATOR, NOISE, Posterior(), 3, 19, dtype=torch.float64).problems == 3
    with pytest.raises(InputError, match="30 problems need as many truths; there are 20"):
        calibrate_posterior(RING, data, OPERATOR, NOISE, Posterior(), 30, 19)
    with pytest.raises(InputError, match="at least 2 problems and 10 draws"):
        calibrated(Posterior(), 1)
    with pytest.raises(InputError, match="at least 2 problems and 10 draws"):
        calibrated(Posterior(), 5, draws=9)


def test_what_is_measured_exactly_is_a_tie_and_no_alarm():
    law = GaussianDenoiser([0.0, 0.0, 0.0], torch.eye(3), GaussianProcess())
    seen = MaskOperator((3,), torch.tensor([True, False, False]))
    found = calibrate_posterior(law, law.draw, seen, GaussianNoise(0.0), Posterior(), 40, 19)
    assert "log-likelihood" not in found.ranks
    for name in found.ranks:
        assert_holds(probable(name, found.uniformity(name).kolmogorov))


def test_large_samples_are_judged_by_projections_and_all_elements():
    law = GaussianDenoiser(torch.zeros(1, 4, 4), torch.full((1, 4, 4), 1.0), GaussianProcess())
    seen = MaskOperator((1, 4, 4), torch.arange(16).reshape(4, 4) % 2 == 0)
    found = calibrate_posterior(law, law.draw, seen, NOISE, Posterior(), 40, 39, dtype=torch.float64)
    assert set(found.ranks) == {*(f"projection {n}" for n in range(8)), "norm", "log-likelihood", "ball", "tarp"}
    assert abs(found.coverage("elements", 0.95).away) < 5.5
    told = found.as_dict()
    assert json.loads(json.dumps(told)) == told
    assert [row["of"] for row in told["coverage"]] == ["elements"] * 3 + ["ball"] * 3 + ["tarp"] * 3
    with pytest.raises(InputError, match="kept for the levels"):
        found.coverage("elements", 0.7)
    with pytest.raises(InputError, match="ranks of 'median' were not taken"):
        found.coverage("median", 0.5)


def test_ranks_count_what_lies_below_and_toss_among_equals():
    values = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 1.0]])
    assert ranks_among(torch.tensor([2.5, 0.0]), values, torch.tensor([0.1, 0.1])).tolist() == [2, 0]
    assert ranks_among(torch.tensor([2.5, 0.0]), values, torch.tensor([0.1, 0.999999])).tolist() == [2, 2]
    # a truth exchangeable with its draws, of few different values: uniform all the same
    drawn = Seeds.range(3, 1500).integers(0, 3, (20,)).double()
    toss = Seeds.range(3, 1500).at("toss").uniform((1,))
    ranks = torch.cat([ranks_among(row[:1], row[1:, None], one) for row, one in zip(drawn, toss, strict=True)])
    jitter = Seeds.range(3, 1500).at("jitter").uniform()
    assert_distribution((ranks + jitter) / 20, stats.uniform.cdf)


def test_coverage_counts_by_hand():
    ranks = np.arange(40)  # each once
    assert central(39, 0.95) == (1, 38, pytest.approx(0.95)) and central(39, 0.5) == (10, 29, pytest.approx(0.5))
    for covered in (interval_coverage, set_coverage):
        for level in (0.5, 0.8, 0.95):
            found = covered(ranks, 39, level)
            assert (found.measured, found.nominal) == (pytest.approx(level), pytest.approx(level))
            assert found.error == pytest.approx(math.sqrt(level * (1 - level) / 40)) and found.away == pytest.approx(0)
    assert set_coverage(np.full(10, 39), 39, 0.5).away < -3 and interval_coverage(np.full(10, 20), 39, 0.5).away > 3
    assert central(99, 0.95)[2] == pytest.approx(0.96)  # which a hundred cells cannot cut out
    levels, shares = expected_coverage(ranks, 39)
    assert np.allclose(levels, shares)
    counts, expected = histogram(np.repeat(ranks, 10), 39)
    assert counts.tolist() == expected.tolist() == [20] * 20
    for level in (0.0, 1.0, 1.5):
        with pytest.raises(InputError, match="between 0 and 1"):
            set_coverage(ranks, 39, level)
        with pytest.raises(InputError, match="between 0 and 1"):
            central(39, level)


def test_both_tests_see_what_they_are_for():
    count, generator = 400, np.random.default_rng(0)
    even, jitter = generator.integers(0, 40, count), generator.uniform(size=count)
    assert uniformity(even, 39, jitter).p_value > 1e-4
    assert uniformity(np.minimum(even, generator.integers(0, 40, count)), 39, jitter).kolmogorov < 1e-4
    edges = np.where(generator.uniform(size=count) < 0.3, 39 * generator.integers(0, 2, count), even)
    assert uniformity(edges, 39, jitter).chi_square < 1e-4


def test_scores_are_those_of_their_definitions():
    generator = torch.Generator().manual_seed(0)
    draws, truth = torch.randn(30, 3, generator=generator).double(), torch.randn(3, generator=generator).double()
    pairs = (draws[:, None] - draws).norm(dim=2)
    expected = (draws - truth).norm(dim=1).mean() - pairs.sum() / (2 * 30 * 29)
    assert energy_score(draws, truth) == pytest.approx(float(expected), rel=1e-12)
    one = [energy_score(draws[:, place, None], truth[place, None]) for place in range(3)]
    assert crps(draws, truth) == pytest.approx(np.mean(one), rel=1e-12)
    # SciPy's formula of the CRPS: the integral of the squared difference of the distribution functions
    unfair = crps(draws[:, :1], truth[:1]) + float((draws[:, None, 0] - draws[:, 0]).abs().sum()) / 2 * (
        1 / (30 * 29) - 1 / 30**2
    )
    line = np.linspace(-8, 8, 400_001)
    below = np.searchsorted(np.sort(draws[:, 0].numpy()), line, side="right") / 30
    integral = np.trapezoid((below - (line >= truth[0].item())) ** 2, line)
    assert unfair == pytest.approx(integral, abs=1e-4)
