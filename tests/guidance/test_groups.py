"""Guides of several rows: features, groups and parts of joint states, what they refuse, and broken copies."""

import math

import pytest
import torch
from mutants import is_caught

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.variances import linear_variance
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.guidance.diversity import DeterminantalGuidance, ParticleRepulsion
from unstir.guidance.fairness import FairnessGuidance
from unstir.metrics.fairness import demographic_parity_gap
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.samplers.exponential import ddim
from unstir.verification.checks import guidance_general as general
from unstir.verification.checks import guidance_groups as claims

T = torch.tensor(0.5, dtype=torch.float64)
POINTS = MixtureDenoiser([0.5, 0.5], [[0.0, 1.0], [2.0, -1.0]], [0.2, 0.3], GaussianProcess(), labels=[1, 2])


def judged(x0):
    return x0[:, 0].sigmoid()


def above(x0):
    return (x0[:, 1] > 0).long()


class TestDiversity:
    def test_two_repel_along_what_separates_them_by_hand(self):
        xt, h, w = torch.tensor([[0.2, 0.5], [0.9, -0.3]]).double(), 0.8, 1.3
        plain = POINTS(xt, T).mean
        apart = plain[0] - plain[1]
        kernel = torch.exp(-apart.square().sum() / (2 * h**2))
        push = w * linear_variance(POINTS.process.schedule.log_snr(T), 1.0) * kernel * apart / h**2
        told = ParticleRepulsion(POINTS, w, rows=2, bandwidth=h)(xt, T).mean
        assert torch.allclose(told, plain + torch.stack((push, -push)), atol=1e-12)
        ridge = (1 + 1e-3) ** 2 - kernel**2
        # of det = (1 + eps)^2 - k^2, the logarithm's slope in k is -2 k/det
        told = DeterminantalGuidance(POINTS, w, rows=2, bandwidth=h)(xt, T).mean
        assert torch.allclose(told, plain + 2 * kernel / ridge * torch.stack((push, -push)), atol=1e-12)

    def test_features_choose_what_is_to_differ(self):
        xt = POINTS.draw(Seeds.range(0, 4), 0.5)
        guide = ParticleRepulsion(POINTS, 2.0, rows=4, features=lambda x0: x0[:, :1])
        moved = guide(xt, T).mean - POINTS(xt, T).mean
        assert (moved[:, 0].abs() > 1e-3).all()
        assert torch.equal(moved[:, 1], torch.zeros(4).double())

    def test_a_draw_depends_on_its_group_and_on_nothing_else(self):
        guide = ParticleRepulsion(POINTS, 3.0, rows=2)
        options = {"steps": 4, "dtype": torch.float64}
        whole = sample(guide, ddim(), (2,), 12, batch=12, **options)
        small = sample(guide, ddim(), (2,), 12, batch=4, **options)
        assert torch.allclose(whole, small, atol=1e-12)
        one = sample(guide, ddim(), (2,), seeds=Seeds(0, torch.tensor([5])), batch=4, **options)
        assert torch.equal(one[0], small[5])
        assert not torch.allclose(whole, sample(POINTS, ddim(), (2,), 12, batch=12, **options))

    def test_tokens_repel_in_their_probabilities_and_joint_states_in_all_parts(self):
        law = TokenProductDenoiser([[0.6, 0.4], [0.5, 0.5]], CategoricalProcess(2))
        alike = []
        for strength in (0.0, 20.0):
            guide = DeterminantalGuidance(law, strength, rows=2, bandwidth=0.5)
            drawn = sample(guide, AncestralSampler(), (2,), 400, steps=8, batch=400)
            alike.append((drawn[::2] == drawn[1::2]).double().mean())
        assert alike[1] < alike[0] - 0.05
        joint = _joint()
        xt = joint.draw(Seeds.range(0, 4), 0.5)
        told, plain = ParticleRepulsion(joint, 3.0, rows=2)(xt, T).mean, joint(xt, T).mean
        assert all(not torch.allclose(told[name], plain[name]) for name in plain)


class TestFairness:
    def test_nobody_is_moved_to_another_group(self):
        """The memberships are soft here, and would have a slope."""
        guide = FairnessGuidance(
            POINTS,
            judged,
            lambda x0: torch.stack((x0[:, 1].sigmoid(), 1 - x0[:, 1].sigmoid()), 1),
            strength=5.0,
            rows=8,
        )
        xt = POINTS.draw(Seeds.range(0, 8), 0.5)
        moved = guide(xt, T).mean - POINTS(xt, T).mean
        assert moved[:, 0].abs().max() > 1e-3
        assert torch.equal(moved[:, 1], torch.zeros(8).double())

    def test_a_group_that_nobody_is_in_and_fair_rows_steer_nothing(self):
        xt = POINTS.draw(Seeds.range(0, 8), 0.5)
        for decision, protected in (
            (judged, lambda x0: torch.zeros(len(x0), dtype=torch.int64)),
            (lambda x0: 0 * x0[:, 0] + 0.5, above),
        ):
            guide = FairnessGuidance(POINTS, decision, protected, strength=5.0, rows=8)
            assert torch.allclose(guide(xt, T).mean, POINTS(xt, T).mean, atol=1e-15)

    def test_the_categories_of_a_table_become_fair(self):
        """A joint state: a number, and the tokens group and decision that hang together through two kinds of rows."""
        law = _joint()

        def decided(x0):
            return x0["kind"][:, 1, 1]

        def belongs(x0):
            return x0["kind"][:, 0]

        gaps = []
        for strength in (0.0, 3.0):
            guide = FairnessGuidance(law, decided, belongs, strength={"kind": strength}, rows=250)
            drawn = sample(guide, AncestralSampler(), {"place": (2,), "kind": (2,)}, 1000, steps=8, batch=1000)
            gaps.append(demographic_parity_gap(drawn["kind"][:, 1].double(), drawn["kind"][:, 0]).item())
        assert gaps[0] > 0.2
        assert gaps[1] < 0.4 * gaps[0]


def _joint():
    parts = {
        "place": [GaussianDenoiser([mean, 0.0], 0.3, GaussianProcess()) for mean in (-0.5, 0.5)],
        "kind": [
            TokenProductDenoiser(rows, CategoricalProcess(2))
            for rows in ([[0.8, 0.2], [0.8, 0.2]], [[0.2, 0.8], [0.3, 0.7]])
        ],
    }
    return JointMixtureDenoiser([0.5, 0.5], parts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ParticleRepulsion(POINTS, rows=1), "two at least; seen 1"),
        (lambda: DeterminantalGuidance(POINTS, bandwidth=0), "kernel's width is positive and finite"),
        (
            lambda: ParticleRepulsion(POINTS, rows=3)(torch.zeros(4, 2), T),
            "3 rows of a batch belong together; 4 cannot",
        ),
        (
            lambda: ParticleRepulsion(POINTS, rows=2, features=lambda x0: x0.mean(0))(torch.zeros(4, 2), T),
            "features come one row a sample, 4",
        ),
        (lambda: FairnessGuidance(POINTS, judged, above, "parity"), "unknown gap of fairness 'parity'"),
        (lambda: FairnessGuidance(POINTS, judged, above, "equalised-odds"), "equalised odds need the outcome"),
        (lambda: FairnessGuidance(POINTS, judged, above, outcome=above), "and no other gap does"),
        (lambda: FairnessGuidance(POINTS, judged, above, rows=1), "between two samples at least"),
        (lambda: FairnessGuidance(POINTS, judged, above)(torch.zeros(4, 2), T), "64 rows of a batch belong together"),
        (
            lambda: FairnessGuidance(POINTS, lambda x0: 3 + x0[:, 0], above, rows=4)(torch.zeros(4, 2), T),
            "decisions lie between 0 and 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


class Attracting(ParticleRepulsion):
    """Draws samples together."""

    def _alike(self, x0):
        return -super()._alike(x0)


class Crowded(DeterminantalGuidance):
    """Groups that reach over others."""

    def _kernel(self, x0):
        kernel = super()._kernel(x0)
        return kernel * (1 - 0.01 * math.tanh(len(kernel)))


class Unfair(FairnessGuidance):
    """Closes half of the gap's slope."""

    def _unfair(self, x0):
        return super()._unfair(x0) / 2


class Blind(FairnessGuidance):
    """Sees no gap."""

    def _unfair(self, x0):
        return 0 * super()._unfair(x0)


def test_broken_copies_are_caught():
    assert is_caught(claims.shifts_are_the_energies_slopes, None, Attracting)
    assert is_caught(claims.groups_spread_over_the_modes, None, Attracting)
    assert is_caught(general.guides_keep_to_themselves, None, Crowded)
    assert is_caught(claims.shifts_are_the_energies_slopes, None, Unfair)
    assert is_caught(claims.fairness_closes_the_gap, None, Blind)
