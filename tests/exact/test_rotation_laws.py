"""Exact laws on rotations and on the sphere: what they refuse, limits, and broken copies that must fail."""

import math
from itertools import pairwise

import pytest
import torch
from mutants import is_caught
from thresholds import assert_holds

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.rotational import RotationPosterior
from unstir.denoisers.spherical import SpherePosterior
from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.rotations import RotationMixtureDenoiser
from unstir.exact.sphere import SphereMixtureDenoiser
from unstir.processes.rotations import RotationProcess
from unstir.processes.sphere import SphereProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.checks import rotations as checks
from unstir.verification.statistics import same_law

ROTATIONS, SPHERE = RotationProcess(), SphereProcess()
LAWS = {
    "rotations": (RotationMixtureDenoiser, ROTATIONS, ROTATIONS.example_data(3)[:, 0]),
    "sphere": (SphereMixtureDenoiser, SPHERE, SPHERE.example_data(3)[:, 0]),
}


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("space", LAWS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centres": torch.zeros(3, 4)}, "centres have the shape"),
        ({"centres": None, "stretch": 1.1}, "centres must lie in the space"),
        ({"deviations": -0.1}, "none negative; seen -0.1"),
        ({"deviations": [0.1, 0.2]}, "one a component or one a centre"),
        ({"deviations": math.nan}, "deviations are a number"),
        ({"weights": [1.0, 1.0]}, "weights are one a component"),
        ({"labels": [0, 1]}, "labels are one whole number a component"),
    ],
)
def test_what_is_no_mixture_is_refused(space, changes, message):
    law, process, centres = LAWS[space]
    given = {"weights": [1.0, 1.0, 2.0], "centres": centres, "deviations": 0.2, "process": process} | changes
    stretch = given.pop("stretch", None)
    if stretch:
        given["centres"] = centres * stretch
    with pytest.raises(InputError, match=message):
        law(**given)


@pytest.mark.parametrize("space", LAWS)
def test_states_of_another_shape_and_unknown_conditions_are_refused(space):
    law, process, centres = LAWS[space]
    exact = law([1.0, 1.0, 1.0], centres, 0.3, process)
    with pytest.raises(InputError, match="this law's samples have the shape"):
        exact(centres[:, None], scalar(0.5))
    with pytest.raises(InputError, match="does not know the condition 'label'"):
        exact(centres, scalar(0.5), label=torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("space", LAWS)
def test_kernels_of_no_width_are_points(space):
    """Bayes' rule over finitely many points is another way to the same numbers."""
    law, process, centres = LAWS[space]
    exact, atoms = law([0.2, 0.3, 0.5], centres, 0.0, process), AtomsDenoiser(process, centres, [0.2, 0.3, 0.5])
    for t in (0.3, 0.5, 0.8):
        xt = exact.draw(Seeds.range(0, 40), t)
        torch.testing.assert_close(exact.log_density(xt, t), atoms.log_density(xt, t), rtol=1e-12, atol=1e-12)
        belief, known = exact(xt, scalar(t)), atoms(xt, scalar(t))
        torch.testing.assert_close(belief.log_weights, known.log_weights, rtol=1e-10, atol=1e-9)
        torch.testing.assert_close(belief.moment.flatten(1), known.mean.flatten(1), rtol=1e-9, atol=1e-9)
        seeds = Seeds.range(1, 40)
        nearest = (belief.sample(seeds)[:, None] - centres).flatten(2).norm(dim=2).amin(1)
        assert nearest.max() < 1e-12


@pytest.mark.parametrize("space", LAWS)
def test_the_uniform_law_learns_of_the_noise_alone(space):
    law, process, centres = LAWS[space]
    exact, t = law([1.0], centres[:1], math.inf, process), 0.5
    xt = exact.draw(Seeds.range(0, 30), t)
    assert exact.log_density(xt, t).abs().max() == 0
    x0 = exact.draw(Seeds.range(1, 30))
    belief = exact(xt, scalar(t))
    torch.testing.assert_close(belief.log_prob(x0), process.log_density(x0, xt, t))
    kept = math.exp(-(process.schedule.sigma(t).item() ** 2))
    torch.testing.assert_close(belief.moment, kept * xt, rtol=0, atol=1e-7)
    torch.testing.assert_close(belief.mean, xt, rtol=0, atol=1e-7)


@pytest.mark.parametrize("space", LAWS)
def test_samples_from_the_exact_belief_have_the_law(space):
    law, process, centres = LAWS[space]
    exact = law([0.5, 0.3, 0.2], centres, [0.1, 0.3, 0.8], process)
    seeds = Seeds.range(2, 4_000)
    drawn, grid = process.prior(exact.shape, seeds.at("prior"), dtype=torch.float64), scalar([1.0, 0.6, 0.3, 0.0])
    for t, s in pairwise(grid):
        drawn = process.bridge(drawn, exact(drawn, t), t, s, seeds.at("step", str(t.item())))
    data = exact.draw(Seeds.range(3, 20_000))
    assert_holds(same_law("samples and data", drawn.flatten(1), data.flatten(1)))


@pytest.mark.parametrize("space", LAWS)
def test_the_ancestral_sampler_serves_the_space(space):
    law, process, centres = LAWS[space]
    exact = law([0.5, 0.3, 0.2], centres, [0.1, 0.3, 0.8], process)
    drawn = sample(exact, AncestralSampler(), exact.shape, 5, steps=4, batch=5)
    assert drawn.dtype == torch.float32
    assert process.contains(drawn).all()


class Wider(RotationPosterior):
    """Draws a tenth too wide."""

    def sample(self, seeds):
        return RotationPosterior(
            self.process,
            self.log_weights,
            self.log_shares,
            self.centres,
            1.2 * self.deviations,
            self.dtype,
            self.noisy,
            1.2 * self.noise,
        ).sample(seeds)


class MidwayMean(SpherePosterior):
    """The mean of the product taken to lie on the arc, at full length."""

    def product_moments(self, centres, deviations, noisy, noise):
        share = (deviations.square() / (deviations.square() + noise.square()))[..., None]
        return torch.nn.functional.normalize((1 - share) * centres + share * noisy, dim=-1)


def broken(law, posterior):
    law.posterior = posterior
    return law


@pytest.mark.parametrize(
    ("check", "law", "posterior"),
    [
        (checks.compact_belief_stands_for_the_clean_data, "rotations", Wider),
        (checks.compact_belief_follows_bayes, "sphere", MidwayMean),
    ],
)
def test_broken_copies_are_caught(check, law, posterior):
    whole = next(iter(LAWS[law][0].examples().values()))
    assert is_caught(check, None, broken(whole, posterior))


def test_draws_of_a_narrower_law_are_caught():
    law, whole = (next(iter(RotationMixtureDenoiser.examples().values())) for _ in range(2))
    law.deviations, law.draw = law.deviations * 1.5, whole.draw
    assert is_caught(checks.compact_draws_have_the_harmonics, None, law)
