"""Pushes and products: formulas by hand, what they refuse, conditions by row and by name, and broken copies."""

import numpy as np
import pytest
import torch
from mutants import is_caught
from networks import small_mlp

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.guidance.auto import AutoGuidance
from unstir.guidance.classifier_free import ClassifierFreeGuidance, Remedy
from unstir.guidance.composed import ComposedConditions, NegativeGuidance, ProductOfExperts
from unstir.guidance.given_parts import GivenParts
from unstir.guidance.tilted import TiltedPosterior
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.base import sample
from unstir.samplers.exponential import ddim
from unstir.verification.checks import guidance_composition as claims
from unstir.verification.checks import guidance_general as general
from unstir.verification.checks import guidance_strength as strength

T = torch.tensor(0.5, dtype=torch.float64)
POINTS = MixtureDenoiser([0.5, 0.5], [[0.0, 1.0], [2.0, -1.0]], [0.2, 0.3], GaussianProcess(), labels=[1, 2])
ONE = {"label": torch.tensor([1])}
TOKENS = TokenProductDenoiser([[[0.9, 0.1]], [[0.2, 0.8]]], CategoricalProcess(2), [0.4, 0.6], labels=[1, 2])


class TestRemedies:
    """Of the guided mean, against formulas written down again."""

    mean = torch.tensor([[3.0, 4.0], [1.0, 0.0]], dtype=torch.float64)
    push = torch.tensor([[5.0, 0.0], [0.1, 0.2]], dtype=torch.float64)
    weight = torch.tensor(2.0, dtype=torch.float64)

    def test_the_parallel_part_is_what_points_along_the_mean(self):
        told = Remedy(parallel=0.0)(self.mean, self.push, self.weight, None)
        # of (5, 0) along (0.6, 0.8): 3 (0.6, 0.8), which leaves (3.2, -2.4)
        np.testing.assert_allclose(told, [[3 + 6.4, 4 - 4.8], [1.0, 0.4]], rtol=1e-12)
        half = Remedy(parallel=0.5)(self.mean, self.push, self.weight, None)
        np.testing.assert_allclose(half[0], [3 + 2 * (3.2 + 0.9), 4 + 2 * (-2.4 + 1.2)], rtol=1e-12)

    def test_a_push_is_shortened_to_its_limit_and_no_further(self):
        told = Remedy(norm_limit=1.0)(self.mean, self.push, self.weight, None)
        np.testing.assert_allclose(told, [[5.0, 4.0], [1.2, 0.4]], rtol=1e-12)

    def test_the_deviation_is_brought_back_by_its_share(self):
        mean, push = torch.tensor([[1.0, -1.0, 3.0]]).double(), torch.tensor([[2.0, -2.0, 2.0]]).double()
        guided = mean + 2 * push
        for share in (0.3, 1.0):
            told = Remedy(rescale=share)(mean, push, self.weight, None)
            ratio = float(mean.std() / guided.std())
            np.testing.assert_allclose(told, guided * (share * ratio + 1 - share), rtol=1e-12)
        assert abs(float(told.std() - mean.std())) < 1e-12

    def test_padded_places_do_not_count_and_flat_samples_stay(self):
        mask = torch.tensor([[True, True, False]])
        mean, push = torch.tensor([[1.0, -1.0, 0.0]]).double(), torch.tensor([[1.0, -1.0, 0.0]]).double()
        told = Remedy(rescale=1.0)(mean, push, self.weight, mask)
        np.testing.assert_allclose(told, mean, rtol=1e-12)
        flat = Remedy(rescale=1.0)(torch.ones(1, 3), torch.zeros(1, 3), self.weight, None)
        assert torch.equal(flat, torch.ones(1, 3))

    def test_in_a_guide_each_sample_by_itself_in_float32(self):
        guide = ClassifierFreeGuidance(small_mlp({"label": {"classes": 4}}), 4.0, rescale=0.7, parallel=0, norm_limit=2)
        xt, label = Seeds.range(0, 6).normal((5,)), torch.arange(6) % 4
        together = guide(xt, T, label=label).mean
        alone = torch.cat([guide(xt[i : i + 1], T, label=label[i : i + 1]).mean for i in range(6)])
        assert together.dtype == torch.float32
        assert torch.allclose(together, alone, atol=1e-5)
        plain = ClassifierFreeGuidance(guide.denoiser, 4.0)(xt, T, label=label).mean
        assert together.std() < plain.std()


class TestRows:
    def test_conditions_may_be_one_for_all_a_row_a_sample_or_the_name_of_another(self):
        xt, wanted = POINTS.draw(Seeds.range(0, 4), 0.5), torch.tensor([1, 1, 2, 2])
        unwanted = 3 - wanted
        by_row = NegativeGuidance(POINTS, {"label": unwanted})(xt, T, label=wanted).mean
        by_name = NegativeGuidance(POINTS, {"label": "not"})(xt, T, label=wanted, **{"not": unwanted}).mean
        assert torch.equal(by_row, by_name)
        for_all = NegativeGuidance(POINTS, {"label": torch.tensor(2)})(xt, T, label=wanted).mean
        assert torch.equal(for_all[:2], by_row[:2])
        conditional, other = POINTS(xt, T, label=wanted).mean, POINTS(xt, T, label=unwanted).mean
        assert torch.allclose(by_row, 2 * conditional - other)

    def test_names_go_through_sample_row_by_row(self):
        guide = ComposedConditions(POINTS, {"a": ({"label": "first"}, 0.7)})
        told, options = {"first": torch.arange(10) % 2 + 1}, {"steps": 3, "batch": 4, "seed": 4}
        whole = sample(guide, ddim(), (2,), 10, condition=told, **options)
        rows = torch.tensor([7, 2])
        some = sample(guide, ddim(), (2,), seeds=Seeds(4, rows), condition={"first": told["first"][rows]}, **options)
        assert torch.equal(some, whole[rows])


def test_parts_of_a_joint_state_are_composed_by_their_kind():
    law = JointMixtureDenoiser.examples()["number, angle and token"]
    xt = law.draw(Seeds.range(0, 5), 0.5)
    name = next(key for key, part in law.process.parts.items() if part.space == "euclidean")
    guide = ProductOfExperts(law, {"itself": (law, 0.5)}, {name: 1.0})
    assert torch.allclose(guide(xt, T).mean[name], law(xt, T).mean[name])
    weak = AutoGuidance(law, law, {name: 2.0})
    assert torch.allclose(weak(xt, T).mean[name], law(xt, T).mean[name])


def test_a_guide_takes_a_time_for_each_part():
    """Under GivenParts, the known parts are at time 0, where nothing steers."""
    law = JointMixtureDenoiser.examples()["number, angle and token"]
    x0 = law.draw(Seeds.range(0, 3), 0.0)
    name = next(key for key, part in law.process.parts.items() if part.space == "euclidean")
    known = {key: value for key, value in x0.items() if key != name}
    guide = GivenParts(AutoGuidance(law, law, 3.0), known)
    xt = {name: law.draw(Seeds.range(1, 3), 0.5)[name]}
    assert torch.allclose(guide(xt, T).mean[name], GivenParts(law, known)(xt, T).mean[name], atol=1e-6)


def test_spaces_without_a_formula_are_resampled():
    torus = WrappedProcess(ExponentialVESchedule(0.01, 2.0))
    atoms = torch.tensor([[0.2], [0.7]], dtype=torch.float64)
    law = AtomsDenoiser(torus, torch.cat((atoms, atoms)), [0.25] * 4, labels=[1, 1, 2, 2])
    sharp = AtomsDenoiser(torus, atoms, [0.9, 0.1])
    xt = torch.full((4000, 1), 0.45, dtype=torch.float64)
    told = ProductOfExperts(law, {"sharp": (sharp, 1.0)})(xt, T)
    assert isinstance(told, TiltedPosterior)
    share = (told.sample(Seeds.range(0, 4000)) == 0.2).double().mean().item()
    assert abs(share - 0.9) < 0.03
    with pytest.raises(InputError, match="known up to a factor only"):
        told.log_prob(xt)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassifierFreeGuidance(POINTS, rescale=1.2), "rescale is the share of 0 to 1"),
        (lambda: ClassifierFreeGuidance(POINTS, parallel=float("inf")), "parallel part is finite"),
        (lambda: ClassifierFreeGuidance(POINTS, norm_limit=0), "norm_limit is a positive length"),
        (lambda: ClassifierFreeGuidance(TOKENS, rescale=0.5), "does not know the space 'tokens'"),
        (lambda: AutoGuidance(POINTS, TOKENS), "must have the same process and schedule"),
        (
            lambda: AutoGuidance(POINTS, GaussianDenoiser([0.0, 0.0], 1.0, GaussianProcess(EDMSchedule()))),
            "must have the same process and schedule",
        ),
        (lambda: NegativeGuidance(POINTS, {}), "'negative' needs conditions of the denoiser"),
        (lambda: ComposedConditions(POINTS, {}), "one thing to compose at least"),
        (lambda: ComposedConditions(POINTS, {"a": ONE}), "'a' needs a pair"),
        (lambda: ComposedConditions(POINTS, {"a": (ONE, float("nan"))}), "weight of 'a' is a finite number; seen nan"),
        (lambda: ComposedConditions(POINTS, {"a": ({}, 1.0)}), "'a' needs conditions"),
        (lambda: ProductOfExperts(POINTS, {"a": (TOKENS, 1.0)}), "the expert 'a' must have the same process"),
        (lambda: NegativeGuidance(POINTS, {"label": "nay"})(torch.zeros(2, 2), T), "'nay', which was not given"),
        (
            lambda: NegativeGuidance(POINTS, {"label": torch.ones(3)})(torch.zeros(2, 2), T),
            "'label' has 3 rows for 2 samples",
        ),
        (
            lambda: ComposedConditions(POINTS, {"a": (ONE, 1.0)})(torch.zeros(2, 2), T, label=torch.ones(2).long()),
            "'label' is one of those composed",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


class Forgetful(ComposedConditions):
    """Takes every weight for one."""

    def __init__(self, denoiser, conditions, *rest, **how):
        super().__init__(denoiser, {name: (told, 1.0) for name, (told, _) in conditions.items()}, *rest, **how)


class Towards(NegativeGuidance):
    """Goes to what is not wanted."""

    def strengths(self, t, drop=None):
        return -super().strengths(t, drop) / 4


class Dull(AutoGuidance):
    """Pushes nothing."""

    def forward(self, xt, t, drop=None, **condition):
        return self.denoiser(xt, t, drop, **condition)


class Averaged(ProductOfExperts):
    """Mixes the samples of a batch."""

    def forward(self, xt, t, drop=None, **condition):
        belief = super().forward(xt, t, drop, **condition)
        return PointPosterior(belief.mean + 1e-3 * belief.mean.mean(0)) if xt.is_floating_point() else belief


def test_broken_copies_are_caught():
    assert is_caught(claims.products_of_gaussians_are_exact, ComposedConditions, Forgetful)
    assert is_caught(claims.products_of_tokens_are_exact, NegativeGuidance, Towards)
    assert is_caught(strength.strength_is_right_where_theory_has_it, AutoGuidance, Dull)
    assert is_caught(general.guides_keep_to_themselves, ProductOfExperts, Averaged)
