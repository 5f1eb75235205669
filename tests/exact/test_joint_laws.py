"""Joint laws: what one part tells of another, means of mixtures, what is refused, and broken copies."""

import math

import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.joint import JointPosterior, MixedPosterior
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior
from unstir.exact.categorical import TokenProductDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.base import Effort
from unstir.verification.checks import exact_spaces as checks
from unstir.verification.spaces import numbers
from unstir.verification.statistics import same_law

LAWS = JointMixtureDenoiser.examples()
LABELLED = LAWS["angle and tokens, labelled"]


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def fails(check, law):
    return not all(figure.passed for figure in check(law, Effort(quick=True)))


def test_one_part_tells_of_the_other():
    """All tokens masked: the belief about them follows the angle alone, by Bayes' rule for two components."""
    angle = torch.tensor([[0.1], [0.3], [0.55]], dtype=torch.float64)
    masked = torch.full((3, 2), 2)
    t = 0.3
    belief = LABELLED({"angle": angle, "kinds": masked}, scalar(t))
    sigma = LABELLED.process.parts["angle"].schedule.sigma(t).item()
    spread = math.hypot(0.08, sigma)

    def density(x, centre):
        return sum(math.exp(-((x - centre + k) ** 2) / (2 * spread**2)) for k in range(-5, 6))

    for row, x in enumerate((0.1, 0.3, 0.55)):
        first, second = 0.6 * density(x, 0.1), 0.4 * density(x, 0.55)
        wanted = (0.9 * first + 0.2 * second) / (first + second)
        assert belief.mean["kinds"][row, 0, 0].item() == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("name", LAWS)
def test_driver_returns_the_law_with_a_catalogue_grid(name):
    """Twelve steps spaced as Karras does, in float32; 3,000 draws."""
    law = LAWS[name]
    drawn = sample(law, AncestralSampler(), law.shape, count=3_000, steps=12, batch=3_000, seed=5)
    assert same_law("", numbers(law.process, drawn), numbers(law.process, law.draw(Seeds.range(6, 3_000)))).passed


def test_independent_parts_lose_nothing():
    """With one component the joint belief is the parts' own, to the bit."""
    angle = WrappedMixtureDenoiser([1.0], [[0.2]], 0.1, WrappedProcess(ExponentialVESchedule(0.01, 2.0)))
    token = TokenProductDenoiser([[0.3, 0.7]], CategoricalProcess(2))
    law = JointMixtureDenoiser([1.0], {"angle": [angle], "token": [token]})
    xt = law.draw(Seeds.range(0, 40), 0.5)
    belief = law(xt, scalar(0.5))
    torch.testing.assert_close(belief.mean["angle"], angle(xt["angle"], scalar(0.5)).mean, rtol=0, atol=1e-15)
    torch.testing.assert_close(belief.mean["token"], token(xt["token"], scalar(0.5)).mean, rtol=0, atol=1e-15)
    alone = angle.log_density(xt["angle"], 0.5) + token.log_density(xt["token"], 0.5)
    torch.testing.assert_close(law.log_density(xt, 0.5), alone, rtol=0, atol=1e-15)


def test_label_leaves_its_component():
    label = torch.full((200,), 3)
    drawn = LABELLED.draw(Seeds.range(0, 200), label=label)
    component = LABELLED.laws["kinds"][0]
    xt = LABELLED.process.noise(drawn, scalar(0.6), Seeds.range(1, 200))
    belief = LABELLED(xt, scalar(0.6), label=label)
    torch.testing.assert_close(belief.mean["kinds"], component(xt["kinds"], scalar(0.6)).mean)


def test_mixture_of_directions_is_the_direction_of_the_mixture():
    """Angles 0.9 and 0.2 of the period average to 0.05, over the end of the period, not to 0.55."""
    process = WrappedProcess(ExponentialVESchedule(0.01, 2.0))
    members = [
        WrappedMixtureDenoiser([1.0], [[centre]], 1e-3, process)(
            torch.tensor([[centre]], dtype=torch.float64), scalar(0.0)
        )
        for centre in (0.9, 0.2)
    ]
    mixed = MixedPosterior(torch.tensor([[0.5, 0.5]], dtype=torch.float64).log(), members)
    assert mixed.mean.item() == pytest.approx(0.05, abs=1e-12)


def test_losses_of_joint_beliefs():
    x0 = {"a": torch.zeros(3, 2), "b": torch.ones(3, 4)}
    gaussian = GaussianPosterior(torch.zeros(3, 4), torch.ones(3, 4))
    joint = JointPosterior({"a": PointPosterior(torch.ones(3, 2)), "b": gaussian})
    torch.testing.assert_close(joint.loss(x0), 1 + gaussian.loss(x0["b"]))
    mixed = MixedPosterior(torch.zeros(3, 1, dtype=torch.float64), [gaussian])
    torch.testing.assert_close(mixed.loss(x0["b"]), gaussian.loss(x0["b"]).double())
    with pytest.raises(InputError, match="train without a mask"):
        mixed.loss(x0["b"], torch.ones(3, 4, dtype=torch.bool))


def test_what_is_no_joint_law_is_refused():
    angle = LABELLED.laws["angle"][0]
    other = WrappedMixtureDenoiser([1.0], [[0.2]], 0.1, WrappedProcess())
    with pytest.raises(InputError, match="2 components need as many laws of each part; 'angle': 1"):
        JointMixtureDenoiser([0.5, 0.5], {"angle": [angle]})
    with pytest.raises(InputError, match="share one process; those of 'angle' do not"):
        JointMixtureDenoiser([0.5, 0.5], {"angle": [angle, other]})
    with pytest.raises(InputError, match="a part at least"):
        JointMixtureDenoiser([1.0], {})
    with pytest.raises(InputError, match=r"state has the parts \['angle', 'kinds'\]; seen \['angle'\]"):
        LABELLED({"angle": torch.zeros(1, 1)}, scalar(0.5))
    with pytest.raises(InputError, match="seen Tensor"):
        LABELLED.log_density(torch.zeros(1, 1), 0.5)


class TestBrokenCopies:
    """Each breaks one claim, and the check of that claim sees it."""

    def test_belief_that_takes_the_parts_for_independent(self):
        """Marginals are right; that they hang together is lost."""

        class Apart(MixedPosterior):
            def sample(self, seeds):
                return {name: super(Apart, self).sample(seeds.at(name))[name] for name in self.mean}

        class Mutant(JointMixtureDenoiser):
            def forward(self, xt, t, drop=None, **condition):
                belief = super().forward(xt, t, drop, **condition)
                return Apart(belief.log_weights, belief.members)

        law = Mutant.examples()["angle and tokens, labelled"]
        assert fails(checks.belief_stands_for_the_clean_data, law)

    def test_belief_that_hears_one_part_only(self):
        class Mutant(JointMixtureDenoiser):
            def _joint(self, xt, t, drop, condition):
                logs = super()._joint(xt, t, drop, condition)
                return logs - torch.stack([law.log_density(xt["kinds"], t) for law in self.laws["kinds"]], 1)

        assert fails(checks.density_sums_to_one, Mutant.examples()["angle and tokens, labelled"])
        assert fails(checks.belief_follows_bayes, Mutant.examples()["angle and tokens, labelled"])

    def test_draws_of_parts_from_components_of_their_own(self):
        class Mutant(JointMixtureDenoiser):
            def draw(self, seeds, t=0.0, **condition):
                return {name: super(Mutant, self).draw(seeds.at(name), t)[name] for name in self.laws}

        assert fails(checks.draws_follow_the_density, Mutant.examples()["angle and tokens, labelled"])
