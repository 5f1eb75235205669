"""Guides: formulas by hand, what they refuse, how they stack, and that their claims can fail."""

import numpy as np
import pytest
import torch
from mutants import is_caught
from networks import small_mlp
from scipy import stats

from unstir.core.catalogue import build, find
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.posteriors import LearnedGaussianPosterior, PointPosterior
from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.guidance.base import with_mean
from unstir.guidance.classifier import ClassifierGuidance
from unstir.guidance.classifier_free import ClassifierFreeGuidance, pushed
from unstir.guidance.reweighted import ReweightedPosterior
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.base import sample
from unstir.samplers.exponential import ddim
from unstir.verification.checks import guidance as claims

T = torch.tensor(0.5, dtype=torch.float64)
TORUS = WrappedProcess(ExponentialVESchedule(0.01, 2.0))
TOKENS = TokenProductDenoiser(
    [[[0.9, 0.1], [0.7, 0.3]], [[0.2, 0.8], [0.1, 0.9]]], CategoricalProcess(2), weights=[0.4, 0.6], labels=[0, 1]
)


def tokens(*rows):
    return CategoricalPosterior(torch.tensor([rows], dtype=torch.float64).log())


class TestPush:
    def test_tokens_by_hand(self):
        told = pushed(
            CategoricalProcess(3), tokens([0.5, 0.3, 0.2]), tokens([0.2, 0.3, 0.5]), torch.tensor(2.0).double()
        )
        expected = np.array([0.5, 0.3, 0.2]) ** 3 / np.array([0.2, 0.3, 0.5]) ** 2
        np.testing.assert_allclose(told.log_probabilities.exp().flatten(), expected / expected.sum(), rtol=1e-13)

    @pytest.mark.parametrize("strength", [-1.0, -0.5, 0.5, 3.0])
    def test_what_cannot_be_stays_impossible_and_nothing_is_lost(self, strength):
        """A class ruled out by the condition stays out; one ruled out without it (rounding) makes no infinity."""
        weight = torch.tensor(strength).double()
        told = pushed(CategoricalProcess(3), tokens([0.6, 0.4, 0.0]), tokens([0.5, 0.0, 0.5]), weight)
        chances = told.log_probabilities.exp().flatten()
        assert torch.isfinite(chances).all()
        assert abs(chances.sum().item() - 1) < 1e-12
        assert (chances[2] == 0) == (strength > -1)

    def test_points_in_their_own_precision_and_strength_by_sample(self):
        first, second = torch.ones(3, 2), torch.zeros(3, 2)
        told = pushed(
            GaussianProcess(), PointPosterior(first), PointPosterior(second), torch.tensor([0.0, 1.0, 2.5]).double()
        )
        assert told.mean.dtype == torch.float32
        assert told.mean[:, 0].tolist() == [1.0, 2.0, 3.5]

    def test_a_learned_width_is_kept(self):
        one = LearnedGaussianPosterior(torch.ones(1, 2), torch.full((1, 2), 0.3), torch.ones(1, 1))
        told = pushed(GaussianProcess(), one, PointPosterior(torch.zeros(1, 2)), torch.tensor(1.0).double())
        assert isinstance(told, LearnedGaussianPosterior)
        assert told.mean.tolist() == [[2.0, 2.0]]
        assert torch.equal(told.variance, one.variance)

    def test_resampling_has_the_law_that_counting_gives(self):
        """Two points on the torus: how many candidates are at the first is binomial, and the kept one's law known."""
        atoms = torch.tensor([[0.2], [0.7]], dtype=torch.float64)
        law = AtomsDenoiser(TORUS, torch.cat((atoms, atoms)), [0.28, 0.12, 0.12, 0.48], labels=[0, 0, 1, 1])
        count, candidates, w = 20_000, 8, 1.5
        xt = torch.full((count, 1), 0.45, dtype=torch.float64)  # as far from both
        label = torch.zeros(count, dtype=torch.int64)
        conditional, plain = law(xt, T, label=label), law(xt, T)
        told = ReweightedPosterior(conditional, plain, torch.tensor(w).double(), candidates)
        seen = (told.sample(Seeds.range(0, count)) == 0.2).double().mean().item()
        chance, without = 0.7, 0.4
        ratio = (chance / without) ** w / ((1 - chance) / (1 - without)) ** w
        number = np.arange(candidates + 1)
        expected = (
            stats.binom(candidates, chance).pmf(number) * number * ratio / (number * ratio + candidates - number)
        ).sum()
        assert abs(seen - expected) < 5 * np.sqrt(expected * (1 - expected) / count)
        assert abs(expected - chance) > 0.1  # the push is seen
        with pytest.raises(InputError, match="its density is not known"):
            told.log_prob(xt)

    def test_other_spaces_are_resampled(self):
        law = AtomsDenoiser(TORUS, TORUS.example_data(6), labels=[0, 0, 0, 1, 1, 1])
        xt = law.draw(Seeds.range(0, 4), 0.5)
        told = ClassifierFreeGuidance(law, 2.0)(xt, T, label=torch.tensor([0, 1, 1, 0]))
        assert isinstance(told, ReweightedPosterior)
        drawn = told.sample(Seeds.range(0, 4))
        assert TORUS.contains(drawn).all()
        assert torch.equal(drawn[1:3], told.sample(Seeds.range(0, 4))[1:3])


class TestStrength:
    def test_it_may_follow_the_noise_and_end_with_an_interval(self):
        guide = ClassifierFreeGuidance(TOKENS, lambda log_snr: log_snr.sigmoid(), sigma_min=0.5, sigma_max=2.0)
        times = TOKENS.process.schedule.time_at_sigma(torch.tensor([0.4, 0.51, 1.0, 1.99, 2.1], dtype=torch.float64))
        told = guide.strengths(times)
        assert told[0] == told[4] == 0
        np.testing.assert_allclose(told[1:4], [1 / (1 + 0.51**2), 0.5, 1 / (1 + 1.99**2)], rtol=1e-6)

    def test_parts_go_by_their_names_and_noise(self):
        law = JointMixtureDenoiser.examples()["number, angle and token"]
        told = ClassifierFreeGuidance(law, {"kind": 2, "place": 0.5}).strengths(T)
        assert {name: value.item() for name, value in told.items()} == {"place": 0.5, "angle": 0.0, "kind": 2.0}

    def test_dropped_samples_have_none(self):
        guide = ClassifierGuidance(TOKENS, lambda xt, t: xt.sum(1).double(), 3.0)
        assert guide.strengths(T, torch.tensor([True, False])).tolist() == [0.0, 3.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassifierFreeGuidance(TOKENS, float("nan")), "strength of guidance is a finite number"),
        (lambda: ClassifierFreeGuidance(TOKENS, -1.5), r"-1 \(no condition\) or more; seen -1.5"),
        (lambda: ClassifierFreeGuidance(TOKENS, 1.0, 2.0, 1.0), "0 <= sigma_min < sigma_max; seen 2.0 and 1.0"),
        (lambda: ClassifierFreeGuidance(TOKENS, {"kind": 1.0}), "strength is told for 'kind', which is no part"),
        (lambda: ClassifierGuidance(TOKENS, len, told="label"), "told holds names"),
        (lambda: ClassifierGuidance(TOKENS, len, chunk=0), "chunk is 1 at least"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_spaces_and_likelihoods_that_cannot_serve_are_refused():
    points = AtomsDenoiser(TORUS, TORUS.example_data(4))
    with pytest.raises(InputError, match="classifier guidance does not know the space 'torus' of WrappedProcess"):
        ClassifierGuidance(points, lambda xt, t: xt.sum(1))(TORUS.example_data(2), T)
    flat = ClassifierGuidance(small_mlp(), lambda xt, t: torch.zeros(len(xt)))
    with pytest.raises(InputError, match="must be differentiable in the state"):
        flat(torch.zeros(2, 5), T)
    two = ClassifierGuidance(TOKENS, lambda xt, t, a, b: a + b, told=("a", "b"))
    with pytest.raises(InputError, match=r"told \['a', 'b'\] together; seen only \['a'\]"):
        two(torch.zeros(1, 2, dtype=torch.int64), T, a=torch.zeros(1))


def test_a_condition_that_is_not_told_steers_nothing():
    guide = ClassifierGuidance(TOKENS, lambda xt, t, target: target * xt.sum(1), 5.0, told=("target",))
    xt = torch.tensor([[0, 1]])
    assert torch.equal(guide(xt, T).mean, TOKENS(xt, T).mean)
    assert not torch.equal(guide(xt, T, target=torch.ones(1).double()).mean, TOKENS(xt, T).mean)


def test_no_change_of_a_padded_place_is_asked_about():
    seen = []

    def likelihood(xt, t):
        seen.append(xt)
        return xt.sum(1).double()

    class Even(Denoiser):
        process = CategoricalProcess(2)

        def forward(self, xt, t, drop=None, **condition):
            return CategoricalPosterior(torch.full((*xt.shape, 2), 0.5, dtype=torch.float64).log())

    mask = torch.tensor([[True, False, False]])
    guide = ClassifierGuidance(Even(), likelihood, 1.0)
    guide(torch.zeros(1, 3, dtype=torch.int64), T, mask=mask)
    assert not torch.cat(seen)[:, 1:].any()
    assert torch.cat(seen)[:, 0].any()
    assert guide.given({"mask": mask}).mask is mask


def test_guides_stack_and_are_the_same_in_any_company():
    """A classifier around a condition's push around a network, through ``sample``, in float32."""
    network = small_mlp({"label": {"classes": 4}})
    inner = ClassifierFreeGuidance(network, 1.5, sigma_max=5.0)
    guide = ClassifierGuidance(inner, lambda xt, t, target: -(xt[:, 0] - target).square(), 0.5, told=("target",))
    told = {"label": torch.arange(20) % 4, "target": torch.linspace(-1, 1, 20)}
    options = {"steps": 3, "batch": 8, "seed": 4}
    whole = sample(guide, ddim(), (5,), 20, condition=told, **options)
    rows = torch.tensor([17, 2])
    some = sample(guide, ddim(), (5,), seeds=Seeds(4, rows), condition={k: v[rows] for k, v in told.items()}, **options)
    assert torch.equal(some, whole[rows])
    plain = sample(inner, ddim(), (5,), 20, condition={"label": told["label"]}, **options)
    assert plain.dtype == torch.float32
    assert not torch.allclose(plain, whole)


def test_the_classifier_may_be_a_network_in_the_guide():
    """Its parameters are the guide's own: they move to a device with it."""
    judge = torch.nn.Linear(5, 1)
    guide = ClassifierGuidance(small_mlp(), JudgedBy(judge))
    assert any(parameter is judge.weight for parameter in guide.parameters())


class JudgedBy(torch.nn.Module):
    def __init__(self, judge):
        super().__init__()
        self.judge = judge

    def forward(self, xt, t):
        return self.judge(xt)[:, 0]


def test_the_catalogue_makes_guides():
    guide = build("guidance", {"name": "classifier-free", "strength": 2}, denoiser=TOKENS)
    assert isinstance(guide, ClassifierFreeGuidance)
    assert guide.process is TOKENS.process
    with pytest.raises(InputError, match="unknown guide 'clasifier'; did you mean 'classifier'"):
        find("guidance", "clasifier")


def test_joint_beliefs_come_apart_and_points_move():
    joint = JointPosterior({"a": PointPosterior(torch.zeros(1, 2)), "b": tokens([0.5, 0.5])})
    assert joint.part("b") is joint.parts["b"]
    assert with_mean(tokens([0.5, 0.5]), torch.ones(1)).mean.item() == 1


class Backwards(ClassifierFreeGuidance):
    """Pushes towards the unconditional belief."""

    def strengths(self, t, drop=None):
        return -super().strengths(t, drop) / 4


class Halved(ClassifierGuidance):
    """Believes the classifier by half."""

    def strengths(self, t, drop=None):
        told = super().strengths(t, drop)
        return {name: value / 2 for name, value in told.items()} if isinstance(told, dict) else told / 2


class Stubborn(ClassifierFreeGuidance):
    """Knows no interval."""

    def __init__(self, denoiser, strength=1.0, sigma_min=0.0, sigma_max=None):
        super().__init__(denoiser, strength)


def test_broken_copies_are_caught():
    assert is_caught(claims.pushed_gaussians_are_a_gaussian, None, Backwards)
    assert is_caught(claims.pushed_tokens_have_the_pushed_law, None, Backwards)
    assert is_caught(claims.classifier_gives_the_conditional_belief, None, Halved)
    assert is_caught(claims.guidance_serves_joint_states_part_by_part, None, type("ClassifierGuide", (Halved,), {}))
    assert is_caught(claims.guidance_leaves_alone_what_it_should, ClassifierFreeGuidance, Stubborn)
