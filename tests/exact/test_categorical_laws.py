"""Laws of tokens: against enumeration by hand, long sequences, conditions, what is refused, and broken copies."""

import itertools
import math

import numpy as np
import pytest
import torch
from thresholds import assert_count

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.exact.categorical import TokenChainDenoiser, TokenProductDenoiser
from unstir.exact.chain_posterior import ChainPosterior
from unstir.processes.categorical import CategoricalProcess
from unstir.verification.base import Effort
from unstir.verification.checks import exact_spaces as checks

CHAINS, PRODUCTS = TokenChainDenoiser.examples(), TokenProductDenoiser.examples()
every_law = pytest.mark.parametrize("law", [*CHAINS.values(), *PRODUCTS.values()], ids=[*CHAINS, *PRODUCTS])


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def fails(check, law):
    return not all(figure.passed for figure in check(law, Effort(quick=True)))


@pytest.mark.parametrize("rates", ["absorbing", "uniform"])
def test_chain_by_enumeration_in_numpy(rates):
    """All 3^4 sequences and all noisy ones: evidence, marginals, and the joint belief."""
    initial = np.array([0.5, 0.3, 0.2])
    steps = np.array([[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])
    process = CategoricalProcess(3, rates=rates)
    law, t = TokenChainDenoiser(initial, steps, process, 4), 0.55
    kept = math.cos(math.pi * t / 2) ** 2
    noise = kept * np.eye(process.states) + (1 - kept) * (
        np.eye(4)[[3]].repeat(4, 0) if rates == "absorbing" else np.full((3, 3), 1 / 3)
    )
    clean = np.array(list(itertools.product(range(3), repeat=4)))
    chances = initial[clean[:, 0]] * np.prod(steps[clean[:, :-1], clean[:, 1:]], 1)
    noisy = np.array(list(itertools.product(range(process.states), repeat=4)))
    joint = chances * np.prod(noise[clean[None], noisy[:, None]], -1)
    possible = joint.sum(1) > 0
    noisy, joint = noisy[possible], joint[possible]
    xt = torch.from_numpy(noisy)
    np.testing.assert_allclose(law.log_density(xt, t).exp().numpy(), joint.sum(1), rtol=1e-11)
    belief = law(xt, scalar(t))
    shares = joint / joint.sum(1, keepdims=True)
    marginals = np.einsum("ac,cnk->ank", shares, np.eye(3)[clean])
    np.testing.assert_allclose(belief.mean.numpy(), marginals, atol=1e-12)
    for row in (0, len(noisy) // 2, len(noisy) - 1):
        told = law(xt[row].expand(len(clean), -1), scalar(t)).log_prob(torch.from_numpy(clean)).exp()
        np.testing.assert_allclose(told.numpy(), shares[row], atol=1e-12)


def test_draws_of_the_belief_are_jointly_right():
    """Two masked neighbours of a chain that never repeats: their pair, not only each of them."""
    law = TokenChainDenoiser([0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], CategoricalProcess(2, rates="absorbing"), 2)
    drawn = law(torch.full((4_000, 2), 2), scalar(1.0)).sample(Seeds.range(0, 4_000))
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert_count(int(drawn[:, 0].sum()), 4_000, 0.5)


def test_long_sequences_neither_under_nor_overflow():
    """Three hundred tokens: evidence of minus some five hundred nats, and noise from nearly none to all."""
    steps = torch.full((5, 5), 0.025, dtype=torch.float64) + 0.875 * torch.eye(5, dtype=torch.float64)
    law = TokenChainDenoiser([0.2] * 5, steps, CategoricalProcess(5), 300)
    clean = law.draw(Seeds.range(0, 2))
    for t in (0.0, 1e-8, 0.5, 1.0):
        xt = law.process.noise(clean, scalar(t), Seeds.range(1, 2))
        belief = law(xt, scalar(t))
        assert law.log_density(xt, t).isfinite().all()
        torch.testing.assert_close(belief.mean.sum(-1), torch.ones(2, 300, dtype=torch.float64), rtol=1e-10, atol=0)
    assert law.log_density(xt, 1.0)[0].item() == pytest.approx(-300 * math.log(5), rel=1e-12)


def test_entropy_of_the_chain_is_its_rate():
    """Mean log-density of long draws: -n times the entropy rate, within five standard errors."""
    steps = torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    start = torch.tensor([0.75, 0.25], dtype=torch.float64)  # stationary
    law = TokenChainDenoiser(start, steps, CategoricalProcess(2), 200)
    logs = law.log_density(law.draw(Seeds.range(0, 2_000)), 0.0) / 200
    rate = -(start[:, None] * steps * steps.log()).sum() * 199 / 200 - (start * start.log()).sum() / 200
    assert abs(logs.mean() + rate) < 5 * logs.std() / math.sqrt(2_000)


@every_law
def test_observed_tokens_are_kept(law):
    told = torch.full((300, *law.shape), -1)
    told[:, 0] = 0
    drawn = law.draw(Seeds.range(0, 300), observed=told)
    assert (drawn[:, 0] == 0).all()
    xt = law.process.noise(drawn, scalar(0.9), Seeds.range(1, 300))
    belief = law(xt, scalar(0.9), observed=told)
    assert (belief.mean[:, 0, 0] - 1).abs().max() < 1e-12
    forgotten = law(xt, scalar(0.9), torch.ones(300, dtype=torch.bool), observed=told)
    torch.testing.assert_close(forgotten.mean, law(xt, scalar(0.9)).mean)


@every_law
def test_loss_is_the_cross_entropy_of_a_token(law):
    x0 = law.draw(Seeds.range(0, 50))
    belief = law(law.process.noise(x0, scalar(0.5), Seeds.range(1, 50)), scalar(0.5))
    torch.testing.assert_close(belief.loss(x0), -belief.log_prob(x0) / law.shape[0])


def test_clean_tokens_beyond_the_classes_are_refused():
    law = PRODUCTS["independent, uniform noise"]
    belief = law(torch.zeros(1, 2, dtype=torch.int64), scalar(0.5))
    with pytest.raises(InputError, match="clean tokens are the classes 0 to 2; seen values from 3 to 3"):
        belief.log_prob(torch.tensor([[3, 3]]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: TokenProductDenoiser([[0.5, 0.4, 0.2]], p), "sum to one over the last axis"),
        (lambda p: TokenProductDenoiser([[0.5, 0.5]], p), r"holds the 3 classes; seen the shape \(1, 1, 2\)"),
        (lambda p: TokenProductDenoiser([0.5, 0.3, 0.2], p), r"have the shape \(\*shape, classes\)"),
        (
            lambda p: TokenProductDenoiser([[[0.5, 0.3, 0.2]]], p, weights=[0.5, 0.5]),
            r"seen shape \(2,\) for 1",
        ),
        (lambda p: TokenChainDenoiser([1.0, 0.0, 0.0], torch.eye(3), p, 0), "at least one token; seen the length 0"),
        (lambda p: TokenChainDenoiser([1.0, 0.0, 0.0], [[1.0, 0.0, 0.0]], p, 2), "a chain has an initial law"),
        (
            lambda p: TokenChainDenoiser([1.0, 0.0, 0.0], -torch.eye(3), p, 2),
            "transition: probabilities are not negative",
        ),
    ],
)
def test_what_is_no_law_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make(CategoricalProcess(3))


def test_what_is_no_state_or_condition_is_refused():
    law = CHAINS["masked"]
    tokens = torch.zeros(2, 4, dtype=torch.int64)
    with pytest.raises(InputError, match=r"samples have the shape \(4,\); seen \(3,\)"):
        law(tokens[:, :3], scalar(0.5))
    with pytest.raises(InputError, match="tokens are int64"):
        law(tokens.double(), scalar(0.5))
    with pytest.raises(InputError, match=r"'observed' is int64 of shape \(2, 4\)"):
        law(tokens, scalar(0.5), observed=tokens[:, :2])
    with pytest.raises(InputError, match="classes 0 to 2, or -1 where unknown"):
        law(tokens, scalar(0.5), observed=tokens + 3)
    impossible = torch.tensor([[0, 2, 2, 2]] * 2)
    with pytest.raises(InputError, match="cannot have led to the observed tokens"):
        law(tokens, scalar(0.5), observed=impossible)
    with pytest.raises(InputError, match=r"cannot have led to the tokens of row 0: \[0, 2, 2, 2\]"):
        law(impossible, scalar(0.0))
    assert law.log_density(impossible, 0.0).tolist() == [-math.inf, -math.inf]
    with pytest.raises(InputError, match="does not know the condition 'mask'"):
        law(tokens, scalar(0.5), mask=tokens.bool())


class TestBrokenCopies:
    """Each breaks one claim, and the check of that claim sees it."""

    def test_draws_of_each_token_by_itself(self, monkeypatch):
        def independently(self, seeds):
            return (seeds.uniform(self.mean.shape[1:-1])[..., None] > self.mean.cumsum(-1)[..., :-1]).sum(-1)

        monkeypatch.setattr(ChainPosterior, "sample", independently)
        assert fails(checks.draws_follow_the_density, CHAINS["noise among neighbours"])

    def test_message_that_leaves_the_last_token_out(self):
        class Mutant(TokenChainDenoiser):
            def forward(self, xt, t, drop=None, **condition):
                weights, seen = self._given(len(xt), drop, condition)
                evidence = seen + self._evidence(xt, t)
                evidence[:, -1] = 0
                return self._belief(weights, evidence)[0]

        law = Mutant.examples()["uniform noise, two chains"]
        assert fails(checks.belief_follows_bayes, law)
        assert fails(checks.belief_stands_for_the_clean_data, law)

    def test_evidence_of_another_time(self):
        class Mutant(TokenProductDenoiser):
            def forward(self, xt, t, drop=None, **condition):
                return super().forward(xt, 0.8 * t, drop, **condition)

        law = Mutant.examples()["independent, uniform noise"]
        assert fails(checks.belief_follows_bayes, law)
        assert fails(checks.belief_stands_for_the_clean_data, law)

    def test_label_that_is_not_heard(self):
        class Mutant(TokenProductDenoiser):
            def log_density(self, xt, t, **condition):
                shift = condition["label"].double() * 0.1 if "label" in condition else 0.0
                return super().log_density(xt, t, **condition) + shift

        assert fails(checks.label_chooses_among_components, Mutant.examples()["labelled, masked"])

    def test_observation_that_is_not_heard_by_the_density(self):
        class Mutant(TokenChainDenoiser):
            def log_density(self, xt, t, **condition):
                return super().log_density(xt, t)

        assert fails(checks.observed_tokens_condition_the_law, Mutant.examples()["masked"])
