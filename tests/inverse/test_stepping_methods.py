"""Stepping methods beyond their claims: other libraries' minima, bad input, calls told, and broken copies."""

from dataclasses import dataclass, replace

import pytest
import scipy.optimize
import torch
from mutants import is_caught
from scipy import stats

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods import proximal
from unstir.inverse.methods.daps import DAPSMethod, DAPSSampler
from unstir.inverse.methods.diffpir import DiffPIRMethod, DiffPIRSampler
from unstir.inverse.methods.proximal import drawn, largest_value, nearest
from unstir.inverse.methods.replacement import KnownPlacesSampler, RePaintMethod, ReplacementMethod
from unstir.inverse.methods.split_gibbs import SplitGibbsMethod
from unstir.inverse.noises.base import MeasurementNoise
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.function import FunctionOperator
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.matrix import MatrixOperator
from unstir.inverse.solving import solve
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.rotations import RotationProcess
from unstir.verification.checks import stepping_methods as checks
from unstir.verification.statistics import same_law

FOUR = (DiffPIRMethod(), DAPSMethod(langevin=10), SplitGibbsMethod(langevin=10))


class Shrinking(Denoiser):
    """A network's stand-in: believes in a part of what it sees, and counts its calls."""

    def __init__(self, process=None):
        super().__init__()
        self.process, self.calls = process or GaussianProcess(), 0

    def forward(self, xt, t, drop=None, **condition):
        self.calls += 1
        return PointPosterior(xt / 2)


def reading_of(operator, noise=0.3):
    numbers = Seeds.range(1, 1).normal(operator.measured_shape, torch.float64)[0]
    return Measurement(operator, numbers, GaussianNoise(noise))


OPERATORS = {**MatrixOperator.examples(), **MaskOperator.examples()}


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("name", OPERATORS)
def test_linear_minimum_solves_the_normal_equations(name, dense, monkeypatch):
    if not dense:
        monkeypatch.setattr(proximal, "decomposable", lambda operator: False)
    operator = OPERATORS[name]
    measurement = reading_of(operator)
    centre = Seeds.range(0, 5).normal(operator.shape, torch.float64)
    widths = torch.tensor([0.1, 0.5, 1.0, 3.0, 50.0], dtype=torch.float64)
    found = nearest(measurement, centre, widths, 1).flatten(1)
    for row, width in enumerate(widths):
        system = torch.eye(found.shape[1]) / width**2 + operator.matrix.T @ operator.matrix / 0.09
        right = centre[row].flatten() / width**2 + operator.matrix.T @ measurement.reading / 0.09
        torch.testing.assert_close(found[row], torch.linalg.solve(system, right), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dense", [True, False])
def test_draws_have_the_normal_law_with_and_without_a_decomposition(dense, monkeypatch):
    if not dense:
        monkeypatch.setattr(proximal, "decomposable", lambda operator: False)
    operator = MatrixOperator.examples()["low rank"]
    measurement, count = reading_of(operator), 4000
    centre = torch.tensor([[0.3, -0.2, 0.8]], dtype=torch.float64)
    found = drawn(measurement, centre.expand(count, 3), 0.7, Seeds.range(0, count), 1)
    law = GaussianDenoiser(centre[0], torch.tensor(0.49), GaussianProcess())
    exact = law.given_observation(operator.matrix, measurement.reading, 0.3).draw(Seeds.range(1, count))
    assert same_law("law of the draws", found, exact).passed


def test_exact_readings_are_met_by_minimum_and_draws():
    measurement = reading_of(MatrixOperator.examples()["wide"], noise=0.0)
    centre = Seeds.range(0, 6).normal((2, 2), torch.float64)
    for found in (nearest(measurement, centre, 0.5, 1), drawn(measurement, centre, 0.5, Seeds.range(0, 6), 1)):
        assert measurement.residual(found).abs().max() < 1e-12


def test_single_precision_comes_back_as_it_went_in():
    measurement = reading_of(MatrixOperator.examples()["wide"])
    centre = Seeds.range(0, 3).normal((2, 2))
    assert nearest(measurement, centre, 0.5, 1).dtype == torch.float32
    assert drawn(measurement, centre, 0.5, Seeds.range(0, 3), 1).dtype == torch.float32


def test_largest_singular_value_by_power_iterations(monkeypatch):
    operator = MatrixOperator.examples()["wide"]
    exact = torch.linalg.matrix_norm(operator.matrix, 2).item()
    assert largest_value(operator) == pytest.approx(exact, rel=1e-12)
    monkeypatch.setattr(proximal, "decomposable", lambda operator: False)
    assert largest_value(operator) == pytest.approx(exact, rel=1e-6)


def test_minimum_of_a_bent_map_is_that_of_scipy():
    operator = FunctionOperator((2,), lambda x: torch.stack((x[:, 0].tanh() + x[:, 1], x[:, 0] * x[:, 1]), 1))
    measurement = reading_of(operator)
    centre = torch.tensor([[0.3, -0.2], [1.0, 0.7], [-2.0, 0.1]], dtype=torch.float64)
    found = nearest(measurement, centre, 0.6, 400)
    for row, start in enumerate(centre):

        def cost(x, start=start):
            x = torch.as_tensor(x)
            return float(-measurement.log_likelihood(x[None])[0] + (x - start).square().sum() / 0.72)

        best = scipy.optimize.minimize(cost, start.numpy(), tol=1e-12)
        assert cost(found[row]) <= best.fun + 1e-6


@dataclass(frozen=True)
class OneSided(MeasurementNoise):
    """Impossible where the clean value is not positive."""

    def draw(self, clean, seeds):
        return clean

    def log_likelihood(self, reading, clean):
        return torch.where(clean > 0, -clean, -torch.inf).flatten(1).sum(1)

    @classmethod
    def examples(cls):
        return {"default": cls()}


def test_langevin_gets_out_of_impossible_states():
    measurement = Measurement(MatrixOperator((1,), [[1.0]]), torch.ones(1), OneSided())
    count = 4000
    found = drawn(measurement, torch.full((count, 1), -0.5, dtype=torch.float64), 1.0, Seeds.range(0, count), 150)
    assert (found > 0).all()
    # a normal law of mean -0.5 - 1, as exp(-x) moves it, above zero
    scipy_law = stats.truncnorm(1.5, torch.inf, -1.5, 1.0)
    assert stats.kstest(found[:, 0].numpy(), scipy_law.cdf).pvalue > 1e-7


@pytest.mark.parametrize("method", FOUR, ids=lambda method: type(method).__name__)
def test_bent_maps_are_served(method):
    measurement = reading_of(FunctionOperator((3,), lambda x: (x**3).sum(1, keepdim=True)))
    law = GaussianDenoiser(torch.zeros(3), torch.tensor(1.0), GaussianProcess())
    found = solve(law, measurement, method, 64, steps=12, batch=64, dtype=torch.float64).samples
    plain = law.draw(Seeds.range(0, 64)).double()
    assert measurement.residual(found).abs().median() < measurement.residual(plain).abs().median() / 2


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(
    "method", [*FOUR, ReplacementMethod(), RePaintMethod(jumps=3)], ids=lambda method: type(method).__name__
)
def test_calls_are_as_told(method, steps):
    denoiser = Shrinking()
    measurement = reading_of(MaskOperator((2,), torch.tensor([True, False])), 0.0)
    _, sampler = method.pair(denoiser, measurement)
    solve(denoiser, measurement, method, 2, steps=steps, batch=2)
    assert denoiser.calls == sampler.calls(steps)
    assert sampler.steps_within(sampler.calls(steps)) == steps


def test_couplings_fall_to_the_readings_own_noise():
    measurement = reading_of(MatrixOperator((2,), [[2.0, 0.0]]), 0.02)
    _, sampler = SplitGibbsMethod().pair(Shrinking(), measurement)
    schedule = GaussianProcess().schedule
    times = sampler.prepared(Shrinking(), (2,), 5).own_times(schedule)
    levels = (-schedule.log_snr(times[:-1]) / 2).exp()
    assert len(times) == 6 and times[-1] == 0 and (times.diff() < 0).all()
    torch.testing.assert_close(levels[[0, -1]], torch.tensor([3.0, 0.01], dtype=torch.float64))


OPTIONS = {
    "weight": lambda: DiffPIRMethod(weight=0),
    "fresh": lambda: DiffPIRMethod(fresh=1.2),
    "gradient steps": lambda: DiffPIRMethod(iterations=0),
    "flow": lambda: DAPSMethod(flow_steps=0),
    "ratio": lambda: DAPSMethod(ratio=float("nan")),
    "Langevin": lambda: DAPSMethod(langevin=0),
    "deviation": lambda: DAPSMethod(deviation=-1.0),
    "coupling": lambda: SplitGibbsMethod(coupling=0.0),
    "inner": lambda: SplitGibbsMethod(inner=True),
    "highest": lambda: SplitGibbsMethod(highest=float("inf")),
    "jumps": lambda: RePaintMethod(jumps=0),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_out_of_range_are_refused(name):
    with pytest.raises(InputError, match=name):
        OPTIONS[name]()


def test_unknown_samplers_are_refused():
    mask = reading_of(MaskOperator((2,), torch.tensor([True, False])), 0.0)
    for method in (ReplacementMethod("ddimm"), RePaintMethod(sampler="ddimm"), SplitGibbsMethod(sampler="ddimm")):
        with pytest.raises(InputError, match="ddimm"):
            solve(Shrinking(), mask, method, 2)


@pytest.mark.parametrize("method", FOUR, ids=lambda method: type(method).__name__)
def test_what_cannot_be_served_is_refused(method):
    bent = FunctionOperator((2,), torch.sin)
    with pytest.raises(InputError, match="exact reading has none"):
        solve(Shrinking(), reading_of(bent, 0.0), method, 2)
    with pytest.raises(InputError, match="differentiable"):
        solve(Shrinking(), reading_of(FunctionOperator((2,), torch.round, differentiable=False)), method, 2)
    with pytest.raises(InputError, match="tokens"):
        tokens = Measurement(MaskOperator((2,), torch.tensor([True, False])), torch.tensor([1]), GaussianNoise(0.0))
        solve(Shrinking(CategoricalProcess(3)), tokens, method, 2)
    with pytest.raises(InputError, match="padded"):
        padding = {"mask": torch.tensor([[True, False]] * 2)}
        solve(Shrinking(), reading_of(MatrixOperator((2, 1), [[1.0, 0.0]])), method, 2, condition=padding)


def test_a_coupling_beyond_the_schedule_is_refused():
    from unstir.processes.schedules.edm import EDMSchedule

    small = Shrinking(GaussianProcess(EDMSchedule(sigma_max=5.0)))
    with pytest.raises(InputError, match="beyond the noise"):
        solve(small, reading_of(MatrixOperator((2,), [[1.0, 0.0]])), SplitGibbsMethod(coupling=6.0), 2)


@pytest.mark.parametrize("method", [ReplacementMethod(), RePaintMethod(jumps=2)], ids=["replacement", "re-paint"])
def test_replacement_refuses_what_it_cannot_put_in(method):
    mask = MaskOperator((2,), torch.tensor([True, False]))
    with pytest.raises(InputError, match="mask"):
        solve(Shrinking(), reading_of(MatrixOperator((2,), [[1.0, 0.0]])), method, 2)
    with pytest.raises(InputError, match="must be exact"):
        noisy = Measurement(mask, torch.tensor([1.0]), GaussianNoise(0.2))
        solve(Shrinking(CategoricalProcess(3)), noisy, method, 2)
    with pytest.raises(InputError, match="must be exact"):
        solve(Shrinking(), Measurement(mask, torch.tensor([1.0]), OneSided()), method, 2)
    with pytest.raises(InputError, match="space of CategoricalProcess"):
        solve(
            checks._chain("uniform"),
            Measurement(
                MaskOperator((4,), torch.tensor([True, False, False, False])), torch.tensor([7]), GaussianNoise(0.0)
            ),
            method,
            2,
        )


def test_rotations_are_known_whole_or_not_at_all():
    process = RotationProcess()
    data = process.prior((2, 3, 3), Seeds.range(0, 4), dtype=torch.float64)
    law = AtomsDenoiser(process, data)
    seen = torch.zeros(2, 3, 3, dtype=torch.bool)
    seen[0, 0] = True
    torn = Measurement(MaskOperator((2, 3, 3), seen), data[0][seen], GaussianNoise(0.0))
    with pytest.raises(InputError, match="last 2 axes are one element"):
        solve(law, torn, ReplacementMethod(), 2)
    seen[0] = True
    whole = Measurement(MaskOperator((2, 3, 3), seen), data[3][seen], GaussianNoise(0.0))
    found = solve(law, whole, RePaintMethod(jumps=2), 2, steps=3, batch=2, dtype=torch.float64).samples
    assert torch.equal(found[:, 0], data[3, 0].expand(2, 3, 3)) and process.contains(found).all()


def test_padded_places_stay_empty():
    mask = torch.tensor([[True, True, False]] * 4)
    seen = MaskOperator((3, 1), torch.tensor([[True], [False], [True]]))
    measurement = Measurement(seen, torch.tensor([0.7, 0.5]), GaussianNoise(0.0))
    found = solve(Shrinking(), measurement, ReplacementMethod(), 4, steps=5, condition={"mask": mask}).samples
    assert torch.equal(found[:, 0], torch.full((4, 1), 0.7)) and torch.equal(found[:, 2], torch.zeros(4, 1))


def test_replacement_alone_misses_what_hangs_together():
    """Its own docstring says so: with a correlated law the unknown place knows too little of the known one."""
    law = GaussianDenoiser(torch.zeros(2), torch.tensor([[1.0, 0.95], [0.95, 1.0]]), GaussianProcess())
    measurement = Measurement(MaskOperator((2,), torch.tensor([True, False])), torch.tensor([1.5]), GaussianNoise(0.0))
    means = [
        solve(law, measurement, method, 500, steps=15, batch=500).samples[:, 1].double().mean().item()
        for method in (ReplacementMethod(), RePaintMethod(jumps=10))
    ]
    assert abs(means[1] - 1.425) < abs(means[0] - 1.425) / 2


# broken copies -------------------------------------------------------------------------------------------------------


def test_a_proximal_step_that_forgets_its_weight_is_caught():
    class Forgets(DiffPIRMethod):
        def pair(self, denoiser, measurement):
            return denoiser, DiffPIRSampler(measurement, replace(self, weight=1.0))

    check = checks.proximal_step_is_the_closed_form
    assert is_caught(check, DiffPIRMethod(weight=4.0), Forgets(weight=4.0))


def test_a_draw_of_another_width_is_caught():
    class Wider(DAPSMethod):
        def pair(self, denoiser, measurement):
            return denoiser, DAPSSampler(measurement, replace(self, ratio=1.4 * self.ratio))

    assert is_caught(checks.decoupled_annealing_draws_from_its_normal_law, None, Wider())


def test_a_chain_with_the_readings_whole_noise_is_caught():
    class Whole(SplitGibbsMethod):
        def pair(self, denoiser, measurement):
            denoiser, sampler = super().pair(denoiser, measurement)
            return denoiser, replace(sampler, options=replace(self, spared=False))

    assert is_caught(checks.split_gibbs_keeps_the_posterior, None, Whole())


def test_repaint_that_never_goes_back_is_caught():
    class Once(RePaintMethod):
        def pair(self, denoiser, measurement):
            denoiser, sampler = super().pair(denoiser, measurement)
            return denoiser, replace(sampler, jumps=1)

    assert is_caught(checks.jumps_bring_repaint_nearer_to_the_posterior, None, Once())


def test_known_places_with_the_noise_twice_are_caught():
    class Twice(KnownPlacesSampler):
        def _left(self, denoiser, time, like):
            left = super()._left(denoiser, time, like)
            return None if left is None else denoiser.process.coefficients(time, like)[1]

    class Noisier(ReplacementMethod):
        def pair(self, denoiser, measurement):
            denoiser, sampler = super().pair(denoiser, measurement)
            return denoiser, Twice(sampler.stepper, sampler.known, sampler.seen, sampler.deviation, sampler.jumps)

    assert is_caught(checks.replacement_is_exact_for_independent_elements, None, Noisier())
