"""The generator that draws in one pass: its scores, its training, and what it refuses."""

import dataclasses
import tempfile

import numpy as np
import pytest
import torch
from mutants import is_caught
from torch import nn

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned import one_pass
from unstir.denoisers.learned.one_pass import EnsemblePosterior, OnePassDenoiser
from unstir.domains.images import images
from unstir.networks.mlp import MLP
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.sphere import SphereProcess
from unstir.run import parts
from unstir.run.recipe import load
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.training.loop import train
from unstir.training.options import TrainingOptions
from unstir.training.parallel import Group
from unstir.training.session import Session
from unstir.verification.checks import one_pass as claims

scoringrules = pytest.importorskip("scoringrules")

ROOT = torch.tensor([[0.5, 0.0], [0.4, 0.3]])  # of the toy's covariance: correlation 0.8
GROUP = Group("cpu")


class Pairs:
    """x = (g, -g) + ROOT z for a given g."""

    name, digest, shape, encoding = "pairs", "0", (2,), None
    conditions = {"given": {"size": 1}}  # noqa: RUF012

    def __init__(self, count=3000, dtype=torch.float32):
        seeds = Seeds.range(5, count)
        self.given = seeds.at("given").normal((1,)).to(dtype)
        noise = seeds.at("noise").normal((2,)).to(dtype)
        self.x = torch.cat((self.given, -self.given), 1) + noise @ ROOT.T.to(dtype)

    def __len__(self):
        return len(self.x)

    def batch(self, rows, seeds=None):
        rows = torch.from_numpy(np.asarray(rows))
        return self.x[rows], {"given": self.given[rows]}


def make(score="both", dtype=torch.float32, seed=0, process=None, **options):
    torch.manual_seed(seed)
    network = MLP((2,), {"given": {"size": 1}}, width=32, depth=1, embedding=16).to(dtype)
    return OnePassDenoiser(network, process or GaussianProcess(EDMSchedule()), 1.1, score, **options)


def drawn(denoiser, given, seeds):
    return sample(
        denoiser,
        AncestralSampler(),
        (2,),
        seeds=seeds,
        condition={"given": given},
        steps=1,
        grid="uniform",
        batch=4000,
        dtype=next(denoiser.parameters()).dtype,
    )


def ensemble(count=7, members=5, shape=(3, 2)):
    generator = torch.Generator().manual_seed(3)
    members = torch.randn(count * members, *shape, generator=generator, dtype=torch.float64)
    return members, torch.randn(count, *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("members", [2, 5, 6])
def test_the_scores_are_those_of_an_independent_package(members):
    x, y = ensemble(members=members)
    told, truth = x.reshape(7, members, 6).numpy(), y.reshape(7, 6).numpy()
    crps = scoringrules.crps_ensemble(truth, told.swapaxes(1, 2), estimator="fair").mean(1)
    energy = scoringrules.es_ensemble(truth, told, estimator="fair") / np.sqrt(6)
    for score, expected in (("crps", crps), ("energy", energy), ("both", 0.7 * crps + 0.3 * energy)):
        found = EnsemblePosterior(x, score, 0.3).loss(y)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("score", one_pass.SCORES)
def test_missing_places_are_no_part_of_the_score(score):
    x, y = ensemble()
    mask = torch.rand(7, 3, 2, generator=torch.Generator().manual_seed(8)) > 0.4
    assert mask.flatten(1).any(1).all()
    loss = EnsemblePosterior(x, score).loss(y, mask)
    for row in range(7):
        some = mask[row]
        own = EnsemblePosterior(x.unflatten(0, (7, 5))[row][:, some], score).loss(y[row][some][None])
        torch.testing.assert_close(loss[row], own[0])


@pytest.mark.parametrize("score", one_pass.SCORES)
def test_members_that_are_all_the_same_have_a_finite_gradient(score):
    x, y = ensemble()
    x = x[:7].repeat_interleave(5, 0).requires_grad_()
    EnsemblePosterior(x, score).loss(y).sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0
    single = EnsemblePosterior(x[::5], score).loss(y)
    torch.testing.assert_close(single, EnsemblePosterior(x, score).loss(y))


def test_trained_on_the_energy_score_it_has_the_law_of_the_data():
    denoiser = make("energy")
    options = {"steps": 400, "batch": 64, "device": "cpu", "learning_rate": 3e-3, "precision": "float32"}
    with tempfile.TemporaryDirectory() as folder:
        train(denoiser, Pairs(), options, folder, progress=False)
    x = drawn(denoiser, torch.full((4000, 1), 0.7), Seeds.range(1, 4000)).double()
    # what 400 steps leave open, beside a standard error of 0.008
    torch.testing.assert_close(x.mean(0), torch.tensor([0.7, -0.7], dtype=torch.float64), rtol=0, atol=0.12)
    torch.testing.assert_close(x.std(0), torch.full((2,), 0.5, dtype=torch.float64), rtol=0, atol=0.12)
    assert float(torch.corrcoef(x.T)[0, 1]) == pytest.approx(0.8, abs=0.25)


def test_a_draw_is_the_same_alone_and_in_any_batch():
    denoiser, given = make(dtype=torch.float64), torch.randn(50, 1, dtype=torch.float64)
    nn.init.normal_(denoiser.network.head.weight)
    seeds = Seeds.range(3, 50)
    whole = drawn(denoiser, given, seeds)
    alone = drawn(denoiser, given[17:18], seeds[17:18])
    assert torch.equal(alone, whole[17:18]) and not torch.equal(alone, whole[18:19])


def test_it_is_centred_on_a_condition_and_the_noise_is_not_moved():
    torch.manual_seed(0)
    network = MLP((2,), {}, width=8, depth=1, embedding=8).double()
    nn.init.normal_(network.head.weight)
    process = GaussianProcess(EDMSchedule(sigma_max=2.0))
    denoiser, plain = (OnePassDenoiser(network, process, 0.5, around=name) for name in ("centre", None))
    xt, centre = process.prior((2,), Seeds.range(0, 5), dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    one = torch.tensor(1.0, dtype=torch.float64)
    assert torch.equal(denoiser(xt, one, centre=centre).mean, plain(xt, one).mean + centre)
    assert torch.equal(denoiser(xt, one).mean, plain(xt, one).mean)
    drop = torch.ones(5, dtype=torch.bool)
    assert torch.equal(denoiser(xt, one, drop, centre=centre).mean, plain(xt, one).mean + centre)
    told = denoiser.inputs(xt, one)
    assert torch.equal(told, process.prior((2,), Seeds.range(0, 5), dtype=torch.float64) / 2.0)


def stepped(accumulate, members=3, steps=2, drop=0.3):
    denoiser = make(dtype=torch.float64, members=members)
    options = TrainingOptions(
        steps=steps, batch=12, accumulate=accumulate, device="cpu", precision="float32", drop_condition=drop
    )
    session = Session(denoiser, Pairs(40, torch.float64), options, 7, GROUP)
    with session.parts(0) as batches:
        found = [session.step(step, batches) for step in range(steps)]
    return {name: weight.detach().clone() for name, weight in denoiser.named_parameters()}, found


def test_training_is_the_same_again_and_in_parts():
    (first, found), (again, _), (apart, others) = stepped(1), stepped(1), stepped(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in first:
        torch.testing.assert_close(first[name], apart[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[1].losses, others[1].losses, rtol=1e-9)


def test_a_sample_meets_members_of_its_own_noise_and_weighs_like_any_other(monkeypatch):
    calls = []
    forward = OnePassDenoiser.forward

    def listening(self, *given, **told):
        calls.append((given, told))
        return forward(self, *given, **told)

    monkeypatch.setattr(OnePassDenoiser, "forward", listening)
    _, found = stepped(1, members=3, steps=1, drop=0.5)
    (xt, times, drop), told = calls[0]
    assert xt.shape == (36, 2) and bool((times == 1).all())
    assert len(np.unique(xt.numpy())) == 72
    for values in (told["given"], drop):
        assert torch.equal(values.unflatten(0, (12, 3))[:, 0].repeat_interleave(3, 0), values)
    assert 0 < int(drop.sum()) < 36
    # at the start the network says zero: each loss is the distance from there, in units of sigma_data
    truth = torch.stack([row for row in Pairs(40, torch.float64).x]).abs()
    away = 0.5 * truth.mean(1) + 0.5 * truth.square().mean(1).sqrt()
    assert set(np.round(found[0].losses, 9)) <= set(np.round(away.numpy() / 1.1, 9))
    assert np.isfinite(found[0].log_snr).all()


def test_the_noise_that_training_shows_holds_nothing_of_the_data():
    denoiser = make(process=GaussianProcess(EDMSchedule(sigma_max=0.5)))
    seeds = Seeds.range(0, 4)
    shown = denoiser.training_state(torch.full((4, 2), 100.0), torch.ones(4), seeds)
    assert torch.equal(shown, denoiser.process.prior((2,), seeds))


def test_what_it_cannot_do_is_answered():
    denoiser = make()
    with pytest.raises(InputError, match=r"at no other time; seen 0\.5.*ancestral"):
        denoiser(torch.zeros(2, 2), torch.tensor([1.0, 0.5]))
    with pytest.raises(InputError, match="at no other time"):
        sample(denoiser, AncestralSampler(), (2,), seeds=Seeds.range(0, 2), steps=2, grid="uniform")
    for wrong, message in (
        ({"score": "crsp"}, "did you mean 'crps'"),
        ({"members": 1}, "at least 2 members"),
        ({"share": 1.0}, "between 0 and 1"),
    ):
        with pytest.raises(InputError, match=message):
            OnePassDenoiser(None, GaussianProcess(), **wrong)
    with pytest.raises(InputError, match="Gaussian or Student noise; SphereProcess has none"):
        OnePassDenoiser(None, SphereProcess())
    with pytest.raises(InputError, match="no network yet"):
        OnePassDenoiser(None, GaussianProcess())(torch.zeros(2, 2), torch.tensor(1.0))


RECIPE = {"name": "r", "data": {"format": "digits"}, "network": {"name": "mlp", "width": 8}}


def test_a_recipe_names_it_and_is_completed_with_its_one_way_of_sampling(monkeypatch):
    judging = dataclasses.replace(images, judge=lambda judged: None)
    monkeypatch.setattr(parts, "domain_of", lambda recipe: judging)
    recipe = load(RECIPE, ["denoiser.around=centre", "denoiser.name=one-pass", "denoiser.members=3"])
    assert recipe.denoiser == {"name": "one-pass", "around": "centre", "members": 3}
    recipe = load(RECIPE, ["denoiser=one-pass", "denoiser.score=crps"])
    whole = parts.completed(recipe, Pairs())
    assert whole.denoiser["name"] == "one-pass" and whole.denoiser["sigma_data"] == pytest.approx(1.1, abs=0.1)
    assert whole.sampling.sampler == {"name": "ancestral"} and whole.sampling.steps == 1
    assert load(whole.to_dict()).denoiser == whole.denoiser
    made = parts.make_denoiser(whole, (2,), Pairs.conditions)
    assert isinstance(made, OnePassDenoiser) and made.score == "crps" and made.members == 4
    assert drawn(made, torch.zeros(3, 1), Seeds.range(0, 3)).shape == (3, 2)
    plain = parts.completed(load(RECIPE), Pairs())
    assert "name" not in plain.denoiser and plain.sampling.steps == 18


def test_a_recipe_that_names_another_is_answered():
    with pytest.raises(InputError, match="did you mean 'one-pass'"):
        load(RECIPE, ["denoiser=one-pas"])
    with pytest.raises(InputError, match=r"denoiser of this process.*'tokens'.*one-pass"):
        load(RECIPE, ["denoiser=tokens"])
    with pytest.raises(InputError, match=r"key of the recipe's section 'denoiser'.*did you mean"):
        load(RECIPE, ["denoiser=one-pass", "denoiser.scores=crps"])
    with pytest.raises(InputError, match="judges a belief at all noise levels"):
        parts.completed(load(RECIPE, ["denoiser=one-pass"]), Pairs())


@dataclasses.dataclass(frozen=True)
class Unfair(EnsemblePosterior):
    """Divides by M^2, as if a member were its own neighbour."""

    def loss(self, x0, mask=None):
        members = len(self.mean) // len(x0)
        near = EnsemblePosterior(self.mean, self.score, self.mixed).loss(x0, mask)
        away = (self.mean.unflatten(0, (len(x0), members)) - x0[:, None]).abs().mean((1, 2))
        return away + (near - away) * (members - 1) / members


class Scored(OnePassDenoiser):
    def _belief(self, output, told, xt, t, mask):
        return Unfair(super()._belief(output, told, xt, t, mask).mean, self.score, self.share)


class Sure(OnePassDenoiser):
    """Is taught by the distance from the truth alone, for which the surest is the best."""

    def _belief(self, output, told, xt, t, mask):
        @dataclasses.dataclass(frozen=True)
        class Distance(EnsemblePosterior):
            def loss(self, x0, mask=None):
                return (self.mean.unflatten(0, (len(x0), -1)) - x0[:, None]).abs().mean((1, 2))

        return Distance(super()._belief(output, told, xt, t, mask).mean, self.score, self.share)


class Restless(OnePassDenoiser):
    """Adds a little of the noise to its draw."""

    def _belief(self, output, told, xt, t, mask):
        belief = super()._belief(output, told, xt, t, mask)
        return dataclasses.replace(belief, mean=belief.mean + 1e-3 * self.inputs(xt, t))


@pytest.mark.parametrize(
    ("check", "mutant"),
    [
        (claims.fair_score_knows_no_number_of_members, Scored),
        (claims.fair_score_is_least_at_the_true_law, Sure),
        (claims.one_step_is_one_draw, Restless),
    ],
    ids=lambda value: value.__name__,
)
def test_mutants_are_caught(check, mutant):
    options = (None, GaussianProcess(), 1.5, "crps")
    assert is_caught(check, OnePassDenoiser(*options), mutant(*options))
