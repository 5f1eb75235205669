"""Beliefs about tokens: single tokens' marginals, ratios and their inverse, losses, and padded sets in training."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.discrete import (
    CategoricalPosterior,
    ScoreEntropyPosterior,
    belief_of_ratios,
    clean_log_ratios,
    log_marginals,
    log_ratios,
    score_entropy,
)
from unstir.denoisers.learned.tokens import TokensDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.categorical import TokenChainDenoiser
from unstir.processes.categorical import CategoricalProcess

EXAMPLES = CategoricalProcess.examples()
every_example = pytest.mark.parametrize("process", EXAMPLES.values(), ids=EXAMPLES)
LOSSES = ("cross-entropy", "score-entropy")


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


class Linear(nn.Module):
    """A network on each token by itself, whose weights are not zero; it sees the mask as well, and heeds it not."""

    def __init__(self, process):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.inner = nn.Linear(process.states + 1, process.classes)

    def forward(self, x, noise, drop=None, **condition):
        return self.inner(torch.cat((x, noise[:, None, None].expand(*x.shape[:2], 1)), -1))


def noisy(process, t=0.5, count=5):
    x0 = (torch.arange(3 * count).reshape(count, 3) * 7) % process.classes
    times = torch.full((count,), t, dtype=torch.float64)
    return x0, process.noise(x0, times, Seeds.range(0, count)), times


class TestMarginals:
    def test_of_a_chain_and_of_points(self):
        process = CategoricalProcess(3, rates="absorbing")
        chain = TokenChainDenoiser([0.5, 0.3, 0.2], [[0.8, 0.2, 0.0], [0.1, 0.6, 0.3], [0.5, 0.0, 0.5]], process, 2)
        atoms = torch.cartesian_prod(torch.arange(3), torch.arange(3))
        points = AtomsDenoiser(process, atoms, chain.log_density(atoms, 0.0).exp())
        xt = torch.tensor([[3, 3], [3, 1], [2, 3]])
        first, second = (log_marginals(law(xt, scalar(0.6)), 3) for law in (chain, points))
        assert first.shape == (3, 2, 3)
        assert_close(first.exp(), second.exp(), rtol=1e-10, atol=1e-12)

    def test_of_what_does_not_know_classes(self):
        with pytest.raises(InputError, match="a probability for each of 4 classes; seen PointPosterior"):
            log_marginals(PointPosterior(torch.zeros(2, 3)), 4)


class TestRatios:
    @every_example
    def test_they_are_bayes_rule(self, process):
        """Against p_t of a single token by its whole transition matrix."""
        prior = torch.linspace(1, 2, process.classes, dtype=torch.float64)
        law = torch.linalg.matrix_exp(process.generator * process.clock(0.4))[: process.classes]
        density = (prior / prior.sum()) @ law
        for seen in range(process.states):
            belief = prior * law[:, seen]
            told = log_ratios((belief / belief.sum()).log()[None, None], torch.tensor([[seen]]), process, 0.4)
            # where the noise leads from y to x: under masking to the mask from all, to a class from itself
            reached = torch.ones(process.states, dtype=torch.bool)
            if process.absorbing and seen != process.mask_class:
                reached = torch.arange(process.states) == seen
            assert_close(told[0, 0].exp()[reached], (density / density[seen])[reached], rtol=1e-10, atol=1e-14)

    @every_example
    def test_there_and_back(self, process):
        x0, xt, times = noisy(process)
        logs = torch.randn(*x0.shape, process.classes, generator=torch.Generator().manual_seed(1)).double()
        logs = logs.log_softmax(-1)
        if process.absorbing:
            known = torch.nn.functional.one_hot(x0, process.classes).double().log()
            logs = torch.where((xt == process.mask_class)[..., None], logs, known)
        back = belief_of_ratios(log_ratios(logs, xt, process, times), xt, process, times)
        assert_close(back.mean, logs.exp(), rtol=1e-8, atol=1e-10)

    def test_ratios_that_no_law_has_are_brought_near(self):
        process = CategoricalProcess(3)
        xt = torch.zeros(1, 1, dtype=torch.int64)
        told = belief_of_ratios(torch.tensor([[[0.0, -30.0, -30.0]]]), xt, process, 0.3).mean
        assert told.sum().item() == pytest.approx(1)
        assert told[0, 0].tolist() == pytest.approx([1, 0, 0])

    def test_what_is_refused(self):
        process = CategoricalProcess(3, rates="absorbing")
        xt = torch.tensor([[3, 0]])
        with pytest.raises(InputError, match=r"have the shape \(1, 2, 4\); seen \(1, 2, 3\)"):
            belief_of_ratios(torch.zeros(1, 2, 3), xt, process, 0.3)
        nothing = torch.tensor([-math.inf, -math.inf, -math.inf, 0.0]).expand(1, 2, 4)
        with pytest.raises(InputError, match="leave no class possible"):
            belief_of_ratios(nothing, xt, process, 0.3)


class TestScoreEntropy:
    @every_example
    def test_gradient_is_that_of_the_formula(self, process):
        x0, xt, times = noisy(process, count=2)
        logits = torch.zeros(2, 3, process.classes, dtype=torch.float64, requires_grad=True)

        def loss(logits):
            logs = logits.log_softmax(-1)
            true = clean_log_ratios(x0, xt, process, times)
            return score_entropy(log_ratios(logs, xt, process, times), true, process, xt)

        if process.absorbing:  # a token that is seen is known, and costs nothing whatever is believed
            assert (loss(logits)[xt != process.mask_class] == 0).all()
        assert torch.autograd.gradcheck(loss, logits + 0.1 * torch.arange(process.classes))

    def test_of_masked_tokens_it_is_the_cross_entropy(self):
        process = EXAMPLES["absorbing"]
        x0, xt, times = noisy(process)
        logs = torch.randn(*x0.shape, 4, generator=torch.Generator().manual_seed(1)).double().log_softmax(-1)
        logs = torch.where((xt == 4)[..., None], logs, torch.nn.functional.one_hot(x0, 4).double().log())
        rate = process.kept(times) / (1 - process.kept(times))
        told = ScoreEntropyPosterior(logs, process, xt, times).loss(x0)
        assert_close(told, rate * CategoricalPosterior(logs).loss(x0), rtol=1e-9, atol=1e-12)

    def test_it_is_finite_near_the_data_in_its_gradient_too(self):
        for process in EXAMPLES.values():
            x0, xt, times = noisy(process, t=1e-5)
            denoiser = TokensDenoiser(Linear(process), process, loss="score-entropy")
            loss = denoiser(xt, times).loss(x0).sum()
            loss.backward()
            assert loss.isfinite()
            assert all(weight.grad.isfinite().all() for weight in denoiser.parameters())


class TestLearned:
    def test_unknown_loss(self):
        with pytest.raises(InputError, match="unknown loss of tokens 'score'; did you mean 'score-entropy'"):
            TokensDenoiser(None, CategoricalProcess(3), loss="score")

    @every_example
    @pytest.mark.parametrize("loss", LOSSES)
    def test_padding_is_neither_counted_nor_learned_from(self, process, loss):
        """Sets of two and three tokens, padded to five, have the losses and gradients that they have alone."""
        lengths = (2, 3)
        x0 = torch.zeros(2, 5, dtype=torch.int64)
        mask = torch.arange(5) < torch.tensor(lengths)[:, None]
        x0[0, :2], x0[1, :3] = torch.tensor([1, 0]), torch.tensor([0, 2 % process.classes, 1])
        times = torch.tensor([0.4, 0.7], dtype=torch.float64)
        denoiser = TokensDenoiser(Linear(process), process, loss=loss)
        xt = process.noise(x0, times, Seeds.range(2, 2), mask)
        padded = denoiser(xt, times, mask=mask).loss(x0, mask)
        (together,) = torch.autograd.grad(padded.sum(), denoiser.network.inner.weight)
        alone, gradient = [], 0
        for row, length in enumerate(lengths):
            told = denoiser(xt[row : row + 1, :length], times[row : row + 1]).loss(x0[row : row + 1, :length])
            gradient = gradient + torch.autograd.grad(told.sum(), denoiser.network.inner.weight)[0]
            alone.append(told)
        assert_close(padded, torch.cat(alone), rtol=1e-6, atol=1e-9)
        assert_close(together, gradient, rtol=1e-4, atol=1e-6)
        assert together.isfinite().all()

    @pytest.mark.parametrize("loss", LOSSES)
    def test_padded_places_may_hold_any_class(self, loss):
        process = EXAMPLES["absorbing"]
        mask = torch.tensor([[True, False]])
        denoiser = TokensDenoiser(Linear(process), process, loss=loss)
        xt = process.noise(torch.tensor([[1, 3]]), scalar(1.0), Seeds.range(0, 1), mask)
        losses = [denoiser(xt, scalar(0.8)).loss(torch.tensor([[1, pad]]), mask) for pad in (0, 3)]
        assert losses[0].isfinite()
        assert torch.equal(*losses)

    def test_losses_refuse_what_is_no_clean_token(self):
        process = EXAMPLES["absorbing"]
        x0, xt, times = noisy(process)
        for loss in LOSSES:
            with pytest.raises(InputError, match="clean tokens are the classes 0 to 3; seen values from 0 to 4"):
                TokensDenoiser(Linear(process), process, loss=loss)(xt, times).loss(x0 // 3 * 4)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_training_learns_a_law(self, loss):
        """Descent on either loss finds the true belief about a token that does not depend on the others."""
        process, target = CategoricalProcess(3, rates="absorbing"), torch.tensor([0.6, 0.3, 0.1])
        x0 = torch.cat([torch.full((round(1000 * share), 1), label) for label, share in enumerate(target.tolist())])
        times = torch.full((1000,), 0.5, dtype=torch.float64)
        xt = process.noise(x0, times, Seeds.range(0, 1000))
        denoiser = TokensDenoiser(Linear(process), process, loss=loss)
        optimiser = torch.optim.LBFGS(denoiser.parameters(), max_iter=60)

        def closure():
            optimiser.zero_grad()
            value = denoiser(xt, times).loss(x0).mean()
            value.backward()
            return value

        optimiser.step(closure)
        hidden = xt[:, 0] == 3
        seen = torch.bincount(x0[hidden, 0], minlength=3) / hidden.sum()
        told = denoiser(torch.tensor([[3]]), times[:1]).mean[0, 0]
        assert_close(told.float(), seen, rtol=0, atol=2e-3)
