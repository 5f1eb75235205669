"""The benchmark of log-densities in miniature."""

import pytest
import torch
from benchmarks.log_density import LEVEL, Estimate, Method, line, methods
from benchmarks.sampler_cases import PROCESS
from benchmarks.sampler_targets import ring


def _told(offset, target, x):
    truth = target.exact(PROCESS).log_density_at(x, 1.0, LEVEL)
    inside = torch.arange(len(x)) % 4 > 0  # three of four intervals hold the truth
    return Estimate(truth + offset, 12.0, truth - inside.double() + 0.5, truth + 1)


def test_errors_calls_and_coverage_are_those_of_the_estimate():
    told = line(ring(), Method("told", LEVEL, 1e-3, lambda target, x: _told(0.25, target, x)), 8)
    assert told == ["ring-2d", "told", "0.002", "0.001", "12", "2.5e-01", *told[6:7], "2.5e-01", "2.5e-01", "75%"]
    assert float(told[6]) < 1e-12


def test_a_failure_is_told():
    def broken(target, x):
        raise ArithmeticError("no way")

    assert "ArithmeticError: no way" in line(ring(), Method("broken", LEVEL, 1e-3, broken), 8)


@pytest.mark.parametrize("level", [LEVEL, 0.0])
def test_our_exact_trace_is_near_the_exact_log_density(level):
    method = next(method for method in methods(quick=True) if method.level == level and "exact" in method.name)
    told = line(ring(), method, 8)
    # the tolerance bounds a step's error, and there are about a hundred
    assert float(told[7]) < 100 * method.tolerance, told
