"""A noise-aware classifier and a regressor against laws whose p(y|x_t) is known, and what they refuse."""

import hashlib
import math

import numpy as np
import pytest
import torch
from toy_problem import Points

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.network import NetworkDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.guidance.classifier import ClassifierGuidance
from unstir.processes.bridge import BridgeProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.training.classifier import (
    NoiseAwareClassifier,
    Targeted,
    divide,
    expected_calibration_error,
    judge_by_level,
    levels_between,
    train_noise_aware,
)

PROCESS = GaussianProcess()
NETWORK = {"name": "mlp", "width": 48, "depth": 2, "embedding": 32}
LEVELS = (6.0, -6.0)
# the law that Points are drawn from
LAW = MixtureDenoiser([0.5, 0.5], [[-1.0, -1.0], [1.0, 1.0]], [0.09, 0.09], PROCESS, labels=[0, 1])


def make(process=PROCESS, network=NETWORK, **options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        given = options or {"priors": [0.5, 0.5]}
        return NoiseAwareClassifier(NetworkDenoiser(None, process), (2,), network, "label", **given)


def labelled(count=4000):
    return Targeted(Points(count), np.arange(count), lambda state, condition: condition["label"], "label")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    classifier = make()
    train_noise_aware(
        classifier,
        labelled(),
        tmp_path_factory.mktemp("classifier"),
        levels=LEVELS,
        steps=350,
        learning_rate=4e-3,
        progress=False,
    )
    return classifier


def exact_chances(xt, t):
    logs = [LAW.log_density(xt, t, label=torch.full((len(xt),), label)) for label in (0, 1)]
    return torch.stack(logs, 1).softmax(1)


def test_it_learns_the_exact_chances_at_every_noise_level(trained):
    for level in (4.0, 1.0, 0.0, -1.5, -4.0):
        t = PROCESS.schedule.time(torch.tensor(level, dtype=torch.float64))
        xt = LAW.draw(Seeds.range(5, 2000).at(str(level)), t)
        told = trained.belief(xt.float(), t).mean[:, 0]
        # a label's chance is between 0 and 1: a classifier that knew nothing would be 0.3 to 0.5 off up to level -1.5
        assert (told - exact_chances(xt, t)).square().mean().sqrt() < 0.06
        likelihood = trained.log_likelihood(xt.float(), t, label=torch.ones(2000, dtype=torch.int64))
        assert torch.allclose(likelihood.exp(), told[:, 1])


def test_judged_by_level_it_is_accurate_and_calibrated_where_one_can_be(trained):
    clean, noisy = judge_by_level(trained, labelled(1500), (6.0, -6.0))
    assert clean["accuracy"] > 0.99 and clean["calibration_error"] < 0.02
    # at log-SNR -6 the best rule of all is right in Phi(sqrt(2) alpha / sqrt(0.09 alpha^2 + sigma^2)) of cases
    alpha, sigma = (each.item() for each in (PROCESS.schedule.alpha(_time(-6.0)), PROCESS.schedule.sigma(_time(-6.0))))
    best = 0.5 * (1 + math.erf(alpha / math.sqrt(0.09 * alpha**2 + sigma**2)))
    assert abs(noisy["accuracy"] - best) < 0.06 and noisy["calibration_error"] < 0.08
    assert clean["sigma"] == pytest.approx(math.exp(-3)) and noisy["nats"] > clean["nats"]


def test_one_that_never_saw_noise_is_sure_and_wrong(tmp_path, trained):
    """What makes it noise-aware is the training at all levels: without it the calibration is lost."""
    blind = make()
    train_noise_aware(blind, labelled(), tmp_path / "blind", levels=(6.0, 5.9), steps=120, progress=False)
    (told,), (aware,) = (judge_by_level(each, labelled(1500), (-4.0,)) for each in (blind, trained))
    assert told["calibration_error"] > 0.1 > aware["calibration_error"]


def test_guidance_by_it_comes_near_the_exact_condition(trained):
    label = torch.arange(200) % 2
    trained.requires_grad_(False)
    for level in (0.0, -1.5):  # with less noise both are sure
        t = _time(level)
        xt = LAW.draw(Seeds.range(6, 200), t, label=label).float()
        guided = ClassifierGuidance(LAW, trained.log_likelihood, told=("label",))(xt, t, label=label).mean
        wanted, plain = LAW(xt, t, label=label).mean, LAW(xt, t).mean
        assert (guided - wanted).square().mean() < 0.25 * (plain - wanted).square().mean()


def test_samples_do_not_see_each_other_and_a_batch_is_as_its_rows(trained):
    xt, t = LAW.draw(Seeds.range(7, 6), 0.5).float(), torch.tensor(0.5, dtype=torch.float64)
    label = torch.arange(6) % 2
    whole = trained.log_likelihood(xt, t.expand(6), label=label)
    alone = torch.cat([trained.log_likelihood(xt[i : i + 1], t, label=label[i : i + 1]) for i in range(6)])
    assert torch.allclose(whole, alone, atol=1e-5)


def test_numbers_are_told_with_their_own_uncertainty(tmp_path):
    """y = x_1 + x_2 of unit Gaussians: p(y|x_t) is normal with mean alpha (sum x_t) and variance 2 sigma^2."""
    data = Gaussians(4000)
    classifier = make(centre=[0.0], scale=[2.0**0.5])
    targeted = Targeted(data, np.arange(4000), lambda state, _: state.sum(1, keepdim=True).double(), "sum")
    classifier.target = "sum"
    train_noise_aware(classifier, targeted, tmp_path, levels=(4.0, -4.0), steps=350, learning_rate=4e-3, progress=False)
    for level in (2.0, 0.0, -2.0):
        t = _time(level)
        alpha, sigma = PROCESS.schedule.alpha(t), PROCESS.schedule.sigma(t)
        xt = Seeds.range(8, 1000).at(str(level)).normal((2,))
        belief = classifier.belief(xt, t)
        assert (belief.mean - alpha * xt.sum(1, keepdim=True)).square().mean().sqrt() < 0.15
        assert abs(belief.variance.mean().item() / (2 * sigma**2).item() - 1) < 0.2
    (judged,) = judge_by_level(classifier, targeted, (0.0,))
    assert abs(judged["accuracy"] - 0.5) < 0.06 and judged["calibration_error"] < 0.05  # alpha^2 = 1/2 of the variance


def test_pictures_go_through_any_architecture_by_the_mean_of_its_places(tmp_path):
    shell = NetworkDenoiser(None, PROCESS)
    network = {"name": "unet", "widths": [8], "blocks": 1, "attention": [], "embedding": 16}
    classifier = NoiseAwareClassifier(shell, (1, 4, 4), network, "label", [0.25, 0.75])
    belief = classifier.belief(torch.randn(3, 1, 4, 4), torch.tensor(0.3, dtype=torch.float64))
    # untrained, networks answer zero: what is left is the prior
    assert torch.allclose(belief.mean, torch.tensor([0.25, 0.75], dtype=torch.float64).expand(3, 1, 2))
    assert any(weight.requires_grad for weight in classifier.parameters())


def test_a_finished_training_is_not_done_again(tmp_path):
    first, second = make(), make()
    done = train_noise_aware(first, labelled(200), tmp_path, levels=LEVELS, steps=6, progress=False)
    again = train_noise_aware(second, labelled(200), tmp_path, levels=LEVELS, steps=6, progress=False)
    assert (done.resumed_from, again.resumed_from) == (0, 6)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_calibration_error_by_hand():
    # two bins: 0.9 said and 1 of 2 right; 0.6 said and 2 of 2 right
    confidence = torch.tensor([0.9, 0.9, 0.6, 0.6], dtype=torch.float64)
    right = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    assert expected_calibration_error(confidence, right) == pytest.approx((0.8 + 0.8) / 4)


def test_rows_are_parted_without_overlap():
    kept, apart = divide(100, 0.2, 3)
    assert len(apart) == 20 and not set(kept) & set(apart) and set(kept) | set(apart) == set(range(100))
    assert set(divide(100, 0.2, 4)[1]) != set(apart)


def test_levels_are_those_that_the_times_meet():
    highest, lowest = levels_between(PROCESS.schedule, torch.tensor([1.0, 0.5, 0.1, 0.0], dtype=torch.float64))
    assert lowest == -12.0 and highest == pytest.approx(PROCESS.schedule.log_snr(torch.tensor(0.1)).item(), rel=1e-5)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: make(process=BridgeProcess()), "bridge"),
        (lambda: make(priors=[1.0]), "two classes"),
        (lambda: make(priors=[0.5, 0.0]), "positive share"),
        (lambda: make(priors=[0.5, 0.5], centre=[0.0], scale=[1.0]), "not both"),
        (lambda: make(centre=[0.0], scale=[]), "each number"),
        (
            lambda: make().log_likelihood(torch.zeros(2, 2), _time(0.0), lable=torch.zeros(2)),
            "'label' and nothing else",
        ),
        (lambda: make().log_likelihood(torch.zeros(1, 2), _time(0.0), label=torch.tensor([2])), "0 to 1"),
        (lambda: divide(15, 0.2, 0), "ten at least"),
    ],
)
def test_what_cannot_be_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


class Gaussians:
    """Unit Gaussians in the plane."""

    name, shape, conditions = "gaussians", (2,), {}

    def __init__(self, count):
        self.values = Seeds.range(4, count).normal((2,))

    @property
    def digest(self):
        return hashlib.sha256(self.values.numpy().tobytes()).hexdigest()

    def __len__(self):
        return len(self.values)

    def batch(self, rows, seeds=None):
        return self.values[torch.from_numpy(rows)], {}


def _time(level):
    return PROCESS.schedule.time(torch.tensor(level, dtype=torch.float64))
