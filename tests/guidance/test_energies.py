"""Energies, regressors and constraints: by hand, on joint states, through one another, refused, and broken copies."""

import numpy as np
import pytest
import torch
from mutants import is_caught
from networks import small_mlp

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior
from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.spectral import SpectralMixtureDenoiser
from unstir.guidance.constrained import ConstraintGuidance
from unstir.guidance.constraints import (
    DivergenceFree,
    HeatConstraint,
    LinearConstraint,
    PoissonConstraint,
    RangeConstraint,
    SymmetryConstraint,
    TotalConstraint,
)
from unstir.guidance.energy import EnergyGuidance, RegressorGuidance
from unstir.guidance.projection import ProjectionGuidance
from unstir.guidance.symmetric import SymmetryGuidance
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.centred import CentredProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.base import sample
from unstir.samplers.exponential import ddim
from unstir.verification.checks import guidance_energy as claims
from unstir.verification.checks import guidance_general as general

T = torch.tensor(0.5, dtype=torch.float64)
POINTS = MixtureDenoiser([0.5, 0.5], [[0.0, 1.0], [2.0, -1.0]], [0.2, 0.3], GaussianProcess(), labels=[1, 2])
TOKENS = TokenProductDenoiser([[0.9, 0.1], [0.3, 0.7]], CategoricalProcess(2))
TORUS = WrappedProcess(ExponentialVESchedule(0.01, 2.0))


def squares(x0):
    return x0.square().flatten(1).sum(1)


def joint():
    """A Gaussian number and two tokens that know nothing of one another."""
    parts = {
        "place": [GaussianDenoiser([0.3, -0.2], 0.5, GaussianProcess())],
        "kind": [TokenProductDenoiser([[0.6, 0.4], [0.3, 0.7]], CategoricalProcess(2))],
    }
    return JointMixtureDenoiser([1.0], parts)


class TestJointStates:
    def test_a_sum_over_the_parts_tilts_each_of_them(self):
        slope = torch.tensor([0.4, -0.9], dtype=torch.float64)
        law = joint()
        xt = law.draw(Seeds.range(0, 6), 0.5)
        guide = EnergyGuidance(law, lambda x0: x0["place"] @ slope + 1.5 * x0["kind"][..., 1].sum(1), 2.0)
        told = guide(xt, T).mean
        tilted = GaussianDenoiser(torch.tensor([0.3, -0.2]) - 2 * 0.5 * slope, 0.5, GaussianProcess())
        assert torch.allclose(told["place"], tilted(xt["place"], T).mean, atol=1e-9)
        odds = np.array([[0.6, 0.4], [0.3, 0.7]]) * np.exp([0.0, -3.0])
        kinds = TokenProductDenoiser(odds / odds.sum(1, keepdims=True), CategoricalProcess(2))
        assert torch.allclose(told["kind"], kinds(xt["kind"], T).mean, atol=1e-9)

    def test_a_part_without_strength_stays_and_a_part_that_is_not_asked_for_too(self):
        law = joint()
        xt = law.draw(Seeds.range(0, 6), 0.5)
        guide = EnergyGuidance(law, lambda x0: squares(x0["place"]) + x0["kind"][..., 1].sum(1), {"kind": 2.0})
        told, plain = guide(xt, T).mean, law(xt, T).mean
        assert torch.equal(told["place"], plain["place"])
        assert not torch.allclose(told["kind"], plain["kind"])
        one = EnergyGuidance(law, lambda x0: squares(x0["place"]), 2.0)(xt, T).mean
        assert torch.allclose(one["kind"], plain["kind"])
        assert not torch.allclose(one["place"], plain["place"])

    def test_draws_are_weighted_as_a_whole(self):
        law = joint()
        guide = EnergyGuidance(law, lambda x0: 100.0 * (x0["kind"][:, 0] != (x0["place"][:, 0] > 0)), on="draws")
        drawn = guide(law.draw(Seeds.range(0, 50), 0.9), torch.tensor(0.9).double()).sample(Seeds.range(1, 50))
        assert torch.equal(drawn["kind"][:, 0], (drawn["place"][:, 0] > 0).long())

    def test_a_projection_goes_by_the_part(self):
        law = joint()
        xt = law.draw(Seeds.range(0, 4), 0.5)
        told = ProjectionGuidance(law, {"place": TotalConstraint(1.0)})(xt, T).mean
        assert torch.allclose(told["place"].sum(1), torch.ones(4).double())
        assert torch.allclose(told["kind"], law(xt, T).mean["kind"])
        with pytest.raises(InputError, match="mapping with a constraint for each part"):
            ProjectionGuidance(law, TotalConstraint(1.0))
        with pytest.raises(InputError, match="told for 'plase', which is no part"):
            ProjectionGuidance(law, {"plase": TotalConstraint(1.0)})
        with pytest.raises(InputError, match="a projection does not know the space 'tokens'"):
            ProjectionGuidance(law, {"kind": TotalConstraint(1.0)})


class TestGradients:
    def test_an_outer_guide_sees_what_an_inner_one_does(self):
        """The slope of the energy of an energy-guided mean, by finite differences."""
        inner = EnergyGuidance(POINTS, lambda x0: (x0[:, 0] - 0.3).square(), 0.8)
        xt = POINTS.draw(Seeds.range(0, 3), 0.5)

        def outer(state):
            return (inner(state, T).mean[:, 1] - 1).square()

        slopes = torch.zeros_like(xt)
        for place in np.ndindex(*xt.shape):
            moved = torch.zeros_like(xt)
            moved[place] = 1e-5
            slopes[place] = (outer(xt + moved) - outer(xt - moved)).sum() / 2e-5
        alpha, sigma = POINTS.process.coefficients(T, xt)
        told = EnergyGuidance(inner, lambda x0: (x0[:, 1] - 1).square())(xt, T).mean
        assert torch.allclose(told, inner(xt, T).mean - sigma**2 / alpha * slopes, atol=1e-7)

    def test_nothing_of_a_network_is_kept_alive(self):
        network = small_mlp()
        told = EnergyGuidance(network, squares)(torch.zeros(2, 5), T)
        assert not told.mean.requires_grad
        assert EnergyGuidance(network, squares, through=False)(torch.zeros(2, 5), T).mean.dtype == torch.float32

    def test_through_and_past_the_denoiser_in_the_modes_of_a_spectral_process(self):
        law = next(iter(SpectralMixtureDenoiser.examples().values()))
        xt = law.draw(Seeds.range(0, 2), 0.4)
        for through in (True, False):
            told = EnergyGuidance(law, squares, 0.1, through=through)(xt, T * 0.8).mean
            plain = law(xt, T * 0.8).mean
            assert told.isfinite().all()
            assert squares(told).sum() < squares(plain).sum()

    def test_a_subspace_is_not_left(self):
        class Still(Denoiser):
            process = CentredProcess()

            def forward(self, xt, t, drop=None, **condition):
                return PointPosterior(xt / 2)

        xt = Seeds.range(0, 3).normal((4, 2), torch.float64)
        xt = xt - xt.mean(1, keepdim=True)
        told = EnergyGuidance(Still(), lambda x0: x0[:, 0].sum(1))(xt, T).mean
        assert told.mean(1).abs().max() < 1e-12
        assert not torch.allclose(told, xt / 2)


class TestTargets:
    def test_each_sample_has_its_own_and_drops_it(self):
        guide = RegressorGuidance(POINTS, lambda x0: x0[:, 0], "wish", 0.5)
        xt, wish = POINTS.draw(Seeds.range(0, 4), 0.5), torch.tensor([0.0, 1.0, 2.0, 3.0]).double()
        told = guide(xt, T, wish=wish).mean
        for i in range(4):
            one = RegressorGuidance(POINTS, lambda x0: x0[:, 0], float(wish[i]), 0.5)
            assert torch.allclose(one(xt, T).mean[i], told[i])
        assert torch.equal(guide(xt, T).mean, POINTS(xt, T).mean)
        drop = torch.tensor([True, False, False, True])
        assert torch.equal(guide(xt, T, drop, wish=wish).mean[drop], POINTS(xt, T).mean[drop])

    def test_on_noisy_states_and_several_values(self):
        guide = RegressorGuidance(POINTS, lambda xt, t: xt, [1.0, 0.5], 2.0, on="noisy")
        xt = POINTS.draw(Seeds.range(0, 4), 0.5)
        alpha, sigma = POINTS.process.coefficients(T, xt)
        slope = (xt - torch.tensor([1.0, 0.5])) / 4
        assert torch.allclose(guide(xt, T).mean, POINTS(xt, T).mean - sigma**2 / alpha * slope)


class TestConstraints:
    def test_dynamic_thresholding_by_hand(self):
        x = torch.tensor([[0.0, 2.0, -4.0, 1.0, 0.5], [0.1, 0.2, -0.3, 0.9, 0.5]])
        told = RangeConstraint(percentile=1.0).project(x)
        assert torch.allclose(told, torch.stack((x[0] / 4, x[1])))
        # three quarters of the way among 0, 0.5, 1, 2, 4 lies 2: four is cut to two
        told = RangeConstraint(percentile=0.75).project(x)
        assert torch.allclose(told[0], torch.tensor([0.0, 1.0, -1.0, 0.5, 0.25]))
        shifted = RangeConstraint(0.0, 4.0, 1.0).project(torch.tensor([[2.0, 10.0]]))
        assert torch.allclose(shifted, torch.tensor([[2.0, 4.0]]))

    def test_a_gradient_field_has_no_part_without_divergence_and_a_turning_one_only_that(self):
        place = torch.arange(8, dtype=torch.float64) * 2 * np.pi / 8
        one, two = torch.meshgrid(place, place, indexing="ij")
        slope = torch.stack((torch.cos(one) * torch.sin(two), torch.sin(one) * torch.cos(two)))[None]
        turning = torch.stack((torch.sin(one) * torch.cos(two), -torch.cos(one) * torch.sin(two)))[None]
        constraint = DivergenceFree(2 * np.pi / 8)
        assert constraint.project(slope).abs().max() < 1e-12
        assert torch.allclose(constraint.project(turning), turning)
        assert torch.allclose(constraint.residual(slope)[0], -2 * torch.sin(one) * torch.sin(two), atol=1e-12)

    def test_a_projected_belief_draws_what_meets_the_constraint(self):
        class Wide(Denoiser):
            process = GaussianProcess()

            def forward(self, xt, t, drop=None, **condition):
                return GaussianPosterior(xt, torch.ones_like(xt))

        belief = ProjectionGuidance(Wide(), TotalConstraint(3.0))(torch.zeros(5, 4).double(), T)
        drawn = belief.sample(Seeds.range(0, 5))
        assert torch.allclose(drawn.sum(1), torch.full((5,), 3.0).double())
        assert drawn.std() > 0.3
        with pytest.raises(InputError, match="no density on the whole space"):
            belief.log_prob(drawn)

    def test_padded_places_stay_empty(self):
        mask = torch.tensor([[True, True, False]])
        guide = ProjectionGuidance(GaussianDenoiser([2.0, 2.0, 2.0], 0.1, GaussianProcess()), RangeConstraint(0.5, 1.0))
        xt = torch.zeros(1, 3)
        assert (guide(xt, T).mean == 1).all()

        class Masked(Denoiser):
            process = GaussianProcess()

            def forward(self, xt, t, drop=None, mask=None, **condition):
                return PointPosterior(torch.where(mask, xt + 2, 0.0))

        kept = ProjectionGuidance(Masked(), RangeConstraint(0.5, 1.0)).given({"mask": mask})(xt, T).mean
        assert kept.tolist() == [[1.0, 1.0, 0.0]]
        with pytest.raises(InputError, match="TotalConstraint takes every element for data"):
            ProjectionGuidance(Masked(), TotalConstraint(1.0)).given({"mask": mask})(xt, T)

    def test_a_function_serves_as_a_projection_and_as_a_residual(self):
        onto = ProjectionGuidance(POINTS, torch.nn.functional.relu)
        drawn = sample(onto, ddim(), (2,), 8, steps=4)
        assert (drawn >= 0).all()
        soft = ConstraintGuidance(POINTS, lambda x0: x0[:, :1] - x0[:, 1:], 0.2)
        apart = [sample(d, ddim(), (2,), 32, steps=20, batch=32).diff(dim=1).abs().mean() for d in (POINTS, soft)]
        assert apart[1] < apart[0] / 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: EnergyGuidance(POINTS, squares, on="cleen"),
            "unknown way to ask an energy 'cleen'; did you mean 'clean'",
        ),
        (lambda: EnergyGuidance(POINTS, squares, told="label"), "told holds names"),
        (lambda: EnergyGuidance(POINTS, squares, candidates=1), "candidates is 2 and rows 1 at least"),
        (lambda: EnergyGuidance(POINTS, squares, on="draws", rows=2), "several rows together is asked of clean data"),
        (lambda: EnergyGuidance(POINTS, squares, deviation=0), "standard deviation is positive and finite; seen 0"),
        (lambda: RegressorGuidance(POINTS, squares, 1.0, -1.0), "positive, finite standard deviation; seen -1.0"),
        (lambda: ConstraintGuidance(POINTS, TotalConstraint(1.0), 0.0), "residual that may stay is positive"),
        (lambda: ProjectionGuidance(POINTS, PoissonConstraint()), "PoissonConstraint can be asked for its residual"),
        (lambda: ProjectionGuidance(TOKENS, TotalConstraint(1.0)), "a projection does not know the space 'tokens'"),
        (lambda: SymmetryGuidance(POINTS, []), "a group is told by pairs"),
        (lambda: SymmetryGuidance(POINTS, [torch.neg]), "a group is told by pairs"),
        (lambda: SymmetryGuidance(TOKENS, [(torch.neg, torch.neg)]), "symmetry guidance does not know the space"),
        (lambda: LinearConstraint([[1.0, 1.0], [2.0, 2.0]], [1.0, 3.0]), "contradict one another"),
        (lambda: LinearConstraint([1.0], [1.0]), r"a finite matrix \(m, d\)"),
        (lambda: LinearConstraint([[1.0]], [1.0]).residual(torch.zeros(2, 3)), "one of 1 elements; seen 3"),
        (lambda: TotalConstraint(1.0, axes=0), "over one axis at least"),
        (lambda: TotalConstraint(1.0, weights=[0.0, 0.0]), "weights of a total are all zero"),
        (lambda: TotalConstraint(1.0, axes=3).residual(torch.zeros(2, 3)), "the last 3 axes of samples that have 1"),
        (lambda: TotalConstraint(1.0, weights=[1.0]).residual(torch.zeros(2, 3)), "the shape of what is summed"),
        (lambda: RangeConstraint(1.0, 0.0), "low < high"),
        (lambda: RangeConstraint(percentile=1.5), "0 < share <= 1; seen 1.5"),
        (lambda: RangeConstraint(0.0, float("inf"), 0.5), "both ends of the range"),
        (lambda: SymmetryConstraint([]), "one element at least"),
        (lambda: DivergenceFree().residual(torch.zeros(1, 3, 4, 4)), "one component for each axis"),
        (lambda: DivergenceFree((1.0, -1.0)).residual(torch.zeros(1, 2, 4, 4)), "all positive"),
        (lambda: PoissonConstraint(axes=3).residual(torch.zeros(1, 4, 4)), "a grid of 3 axes in samples that have 2"),
        (lambda: HeatConstraint().residual(torch.zeros(1, 1, 4)), "two times at least"),
        (lambda: HeatConstraint(spacing=0.0).residual(torch.zeros(1, 3, 4)), "spacings, all positive"),
        (lambda: EnergyGuidance(POINTS, lambda x0: x0.sum())(torch.zeros(2, 2), T), r"shape \(2,\); seen \(\)"),
        (
            lambda: EnergyGuidance(POINTS, lambda x0: torch.zeros(len(x0)))(torch.zeros(2, 2), T),
            "energy must be differentiable in the clean data",
        ),
        (
            lambda: RegressorGuidance(POINTS, lambda x0: x0, [1.0, 2.0, 3.0])(torch.zeros(2, 2), T),
            r"a target fits what is foretold, \(2, 2\) .* seen \(3,\)",
        ),
        (
            lambda: EnergyGuidance(AtomsDenoiser(TORUS, TORUS.example_data(3)), squares)(TORUS.example_data(2), T),
            r"does not know the space 'torus' .*\(on='draws' serves every space\)",
        ),
        (
            lambda: EnergyGuidance(small_mlp(), squares, on="draws")(torch.zeros(2, 5), T),
            "this one is a point: take on='clean'",
        ),
        (
            lambda: EnergyGuidance(POINTS, squares, told=("a", "b"))(torch.zeros(2, 2), T, a=torch.zeros(2)),
            r"told \['a', 'b'\] together; seen only \['a'\]",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


class Uphill(EnergyGuidance):
    """Towards large energies."""

    def strengths(self, t, drop=None):
        told = super().strengths(t, drop)
        return {name: -value for name, value in told.items()} if isinstance(told, dict) else -told


class Stiff(RegressorGuidance):
    """Trusts the regressor twice as much."""

    def strengths(self, t, drop=None):
        return 2 * super().strengths(t, drop)


class Lax(ProjectionGuidance):
    """Stops a little short of the constraint."""

    def strengths(self, t, drop=None):
        return super().strengths(t, drop) * (1 - 1e-4)


class Lopsided(SymmetryGuidance):
    """Forgets an element of the group."""

    def __init__(self, denoiser, transforms, *rest, **how):
        super().__init__(denoiser, list(transforms)[:-1], *rest, **how)


class Softer(ConstraintGuidance):
    """Half of the pull."""

    def _misfit(self, x0):
        return super()._misfit(x0) / 2


class Loose(EnergyGuidance):
    """Heeds no interval."""

    def __init__(self, denoiser, energy, strength=1.0, sigma_min=0.0, sigma_max=None, **how):
        super().__init__(denoiser, energy, strength, **how)


def test_broken_copies_are_caught():
    assert is_caught(claims.linear_energies_give_the_tilted_law, None, Uphill)
    assert is_caught(claims.draws_have_the_tilted_law, None, Uphill)
    assert is_caught(claims.regressors_of_gaussians_give_kalmans_update, None, Stiff)
    assert is_caught(claims.projections_are_met_to_rounding, None, Lax)
    assert is_caught(claims.projections_of_round_gaussians_are_exact, None, Lax)
    assert is_caught(claims.averaging_over_a_group_is_its_projection, None, Lopsided)
    assert is_caught(claims.residuals_vanish_on_solutions_and_constraints_pull, None, Softer)
    assert is_caught(general.guides_keep_to_themselves, None, Loose)
