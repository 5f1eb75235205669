"""The benchmark of samplers in miniature: its scores, its store of rows, its tables."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from benchmarks import sampler_accuracy
from benchmarks.sampler_accuracy import Effort, Measurement, Table, measure, trajectory_errors
from benchmarks.sampler_cases import OURS, Case, CountedDenoiser, PointDenoiser, Run, common_sigmas, our_cases
from benchmarks.sampler_report import Floor, beside, fewest_calls, render, settled
from benchmarks.sampler_targets import REFERENCE_STEP, ring, solve_flow

EFFORT = Effort((4, 6), count=256, repeats=2, references=3, floors=12)


@pytest.fixture(scope="module")
def measurement():
    return Measurement(ring(), EFFORT)


def _euler(denoise, calls):
    levels = common_sigmas(int(calls)).tolist()

    def draw(noise, seed):
        y = levels[0] * noise
        for sigma, following in pairwise(levels):
            y = torch.lerp(denoise(y, sigma), y, following / sigma)
        return Run(y, levels[0], levels[0])

    return draw


def _fresh(shift, denoise, calls):
    """A stochastic sampler without fault, or with one."""
    return lambda noise, seed: Run(ring().draw(len(noise), 9000 + seed) + shift, 80.0, 80.0)


def test_common_levels_are_those_of_karras():
    ramp = torch.linspace(0, 1, 7, dtype=torch.float64)
    roots = 80 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 80 ** (1 / 7))
    assert torch.allclose(common_sigmas(7)[:-1], roots**7, rtol=1e-9) and common_sigmas(7)[-1] == 0


def test_a_solution_by_finer_steps_scores_its_own_small_error(measurement):
    def draw(noise, seed):
        return Run(solve_flow(measurement.target, 80 * noise, 80.0, step=REFERENCE_STEP / 2), 80.0, 80.0)

    row = measurement.row(Case("test", "exact", "own", lambda denoise, calls: draw), 5)
    assert row["trajectory_rms"] < 1e-5 and row["trajectory_median"] < 1e-6
    assert math.isnan(row["sliced_w2"])


def test_errors_are_per_root_of_the_dimension():
    samples = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]])
    rms, median = trajectory_errors(samples, torch.zeros(3, 2))
    assert rms == pytest.approx(math.sqrt((25 + 4) / 3 / 2)) and median == pytest.approx(math.sqrt(2))


@pytest.mark.slow
def test_our_euler_is_euler_and_its_calls_are_counted(measurement):
    ours = next(case for case in our_cases() if (case.sampler, case.grid) == ("euler", "common"))
    row, by_hand = measurement.row(ours, 6), measurement.row(Case("test", "euler", "common", _euler), 6)
    assert row["trajectory_rms"] == pytest.approx(by_hand["trajectory_rms"], rel=1e-9)
    assert row["calls"] == by_hand["calls"] == 6
    assert row["note"] == ""


def test_too_many_calls_and_failures_are_told(measurement):
    greedy = Case("test", "greedy", "own", lambda denoise, calls: _euler(denoise, calls + 1))
    assert measurement.row(greedy, 5)["note"] == "more calls than allowed"
    broken = Case("test", "broken", "own", lambda denoise, calls: lambda noise, seed: 1 / 0)
    assert measurement.row(broken, 5)["note"].startswith("ZeroDivisionError")
    wild = Case("test", "wild", "own", lambda denoise, calls: lambda noise, seed: Run(noise / 0, 80.0, 80.0))
    assert measurement.row(wild, 5)["note"] == "not finite"


def test_what_is_learned_beforehand_is_counted_apart(measurement):
    def prepare(denoise, calls):
        denoise(torch.zeros(10, 2, dtype=torch.float64), 1.0)
        return _euler(denoise, calls)

    row = measurement.row(Case("test", "prepared", "own", prepare), 5)
    assert (row["pilot_rows"], row["calls"]) == (10, 5)


def test_fresh_samples_are_at_the_floor_and_shifted_ones_are_not(measurement):
    floor = measurement.floor
    limit = floor.mean[0] + 5 * floor.spread[0]
    rows = [measurement.row(Case("test", "x", "own", partial(_fresh, s), deterministic=False), 5) for s in (0.0, 0.3)]
    assert rows[0]["sliced_w2"] < limit < rows[1]["sliced_w2"]
    # a shift by (s, s) is one by s (cos + sin) along each direction: s in the root of the mean square
    assert rows[1]["sliced_w2"] == pytest.approx(0.3, rel=0.2)
    assert rows[0]["mode_tv"] < floor.mean[1] + 5 * floor.spread[1]


def test_settled_means_that_it_stays():
    rows = [{"budget": budget, "score": score} for budget, score in ((5, 0.1), (6, 0.5), (8, 0.2), (10, 0.1))]
    assert settled(rows, "score", 0.3, (5, 6, 8, 10)) == 8
    assert settled(rows, "score", 0.05, (5, 6, 8, 10)) == math.inf
    assert settled(rows, "score", 0.3, (5, 6, 8, 10, 15)) == math.inf, "what was not measured is not known"


def test_peers_rows_are_kept_while_their_version_is_and_ours_are_not(measurement, tmp_path, monkeypatch):
    asked = []

    def case(library):
        def prepare(denoise, calls):
            asked.append(library)
            return _euler(denoise, calls)

        return [Case(library, "euler", "common", prepare)]

    monkeypatch.setattr(sampler_accuracy, "peer_cases", case)
    monkeypatch.setattr(sampler_accuracy, "our_cases", partial(case, "unstir"))
    monkeypatch.setattr(sampler_accuracy, "peer_version", lambda library: "1.0")
    for _ in range(2):
        table = Table(tmp_path / "rows.csv")
        measure(table, measurement, "azula")
        measure(table, measurement, "unstir")
    assert asked.count("azula") == 2 and asked.count("unstir") == 4  # two numbers of calls
    monkeypatch.setattr(sampler_accuracy, "peer_version", lambda library: "1.1")
    table = Table(tmp_path / "rows.csv")
    measure(table, measurement, "azula")
    assert asked.count("azula") == 4
    assert len(table.rows) == 4 and {row["made_with"].split(",")[0] for row in table.of("ring-2d", "azula")} == {
        "azula 1.1"
    }


def test_the_tables_tell_ratios_and_fewest_calls():
    def row(library, grid, budget, **scores):
        base = {"library": library, "sampler": "s", "grid": grid, "budget": budget, "note": "", "calls": budget}
        nothing = dict.fromkeys(("trajectory_rms", "trajectory_median", "sliced_w2", "mode_tv"), math.nan)
        return {
            "target": "t",
            "made_with": f"{library} 1, torch 2, x",
            "deterministic": True,
            **base,
            **nothing,
            **scores,
        }

    rows = [
        row("unstir", "own", 5, trajectory_rms=0.2, trajectory_median=0.1),
        row("unstir", "common", 5, trajectory_rms=0.1, trajectory_median=0.3),
        row("azula", "own", 5, trajectory_rms=0.4, trajectory_median=0.4),
    ]
    assert "| 5 | azula s (own) | 0.4 | 0.2 | 0.50 | unstir s (common) | 0.1 | 0.25 |" in beside(
        rows, [5], "trajectory_rms"
    )
    laws = [row("unstir", "common", 5, sliced_w2=0.11, mode_tv=0.5) | {"deterministic": False}]
    floor = Floor(10, [0.1, 0.1], [0.01, 0.01], 1e-6)
    assert "| unstir s (common) | 5 | not within 100 |" in fewest_calls(laws, floor, [5], 2)
    text = render({"t": rows + laws}, {"t": floor}, [5], 2)
    assert "azula 1, torch 2; unstir 1, torch 2" in text and "## t" in text


@pytest.mark.slow
def test_the_default_sampler_is_made_beforehand_and_keeps_to_its_calls():
    target = ring()
    for name, make in OURS.items():
        _, times = make(PointDenoiser(CountedDenoiser(target)), target.dimension, 5)
        assert times[-1] == 0 and len(times) > 2, name
        case = next(case for case in our_cases() if (case.sampler, case.grid) == (name, "own"))
        row = Measurement(target, EFFORT).row(case, 5)
        assert row["note"] == "" and row["calls"] <= 5 and row["pilot_rows"] > 0
        assert row["trajectory_rms"] < 0.2
