"""Bounds of tokens: what they refuse, what they must not depend on, padded sets, and broken copies of them."""

import functools
import math
from dataclasses import replace

import pytest
import torch
from mutants import is_caught
from thresholds import assert_mean
from torch.testing import assert_close

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.exact.categorical import TokenChainDenoiser, TokenProductDenoiser
from unstir.likelihood import token_bound as bounds
from unstir.likelihood.token_bound import discrete_token_bound, token_bound
from unstir.likelihood.token_clock import Clock
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.schedules.linear_vp import LinearVPSchedule
from unstir.processes.schedules.rectified_flow import RectifiedFlowSchedule
from unstir.verification.checks import token_bound as checks

EXAMPLES = CategoricalProcess.examples()
BOUNDS = [token_bound, functools.partial(discrete_token_bound, mean_only=True)]
both = pytest.mark.parametrize("bound", BOUNDS, ids=("continuous", "discrete"))
every_example = pytest.mark.parametrize("process", EXAMPLES.values(), ids=EXAMPLES)


def chain_and_data(process, count=40, length=3):
    law = checks.chain(process, length)
    return law, law.draw(Seeds.range(5, count))


class Even(Denoiser):
    """Believes all classes equally likely, of tokens that are not seen; counts its calls and keeps their mode."""

    def __init__(self, process, logit=0.0):
        super().__init__()
        self.process, self.calls = process, []
        self.logit = torch.nn.Parameter(torch.tensor(float(logit), dtype=torch.float64))

    def forward(self, xt, t, drop=None, **condition):
        self.calls.append((t, self.training, sorted(condition)))
        first = torch.zeros(self.process.classes, dtype=torch.float64)
        first[0] = 1
        logs = (self.logit.clamp(max=1e6) * first).log_softmax(-1).expand(*xt.shape, -1)
        if self.logit.isinf():
            logs = first.log().expand(*xt.shape, -1)
        if self.process.absorbing:
            seen = (xt != self.process.mask_class)[..., None]
            logs = torch.where(seen, torch.where(torch.arange(self.process.classes) == xt[..., None], 0.0, -1e9), logs)
        return CategoricalPosterior(logs)


class TestRefused:
    @both
    def test_data_and_seeds(self, bound):
        law, x0 = chain_and_data(CategoricalProcess(3), 4)
        with pytest.raises(
            InputError, match="tokens in one tensor; seen CategoricalProcess and a state of the type dict"
        ):
            bound(law, {"a": x0}, Seeds.range(0, 4))
        with pytest.raises(InputError, match=r"tokens are int64; seen torch\.float32"):
            bound(law, x0.float(), Seeds.range(0, 4))
        with pytest.raises(InputError, match="classes 0 to 2; seen values from 3 to 3"):
            bound(law, torch.full_like(x0, 3), Seeds.range(0, 4))
        with pytest.raises(InputError, match=r"seen \(4, 3\), 3 seeds and 2 draws"):
            bound(law, x0, Seeds.range(0, 3))
        with pytest.raises(InputError, match="4 seeds and 0 draws"):
            bound(law, x0, Seeds.range(0, 4), draws=0)
        with pytest.raises(InputError, match="the condition 'observed' needs one row for each of 4 samples"):
            bound(law, x0, Seeds.range(0, 4), condition={"observed": x0[:2]})
        with pytest.raises(InputError, match="each sample needs one token at least"):
            bound(law, x0, Seeds.range(0, 4), condition={"mask": torch.zeros(4, 3, dtype=torch.bool)})

    def test_mask_in_clean_data(self):
        law, x0 = chain_and_data(EXAMPLES["absorbing"], 2)
        with pytest.raises(InputError, match="clean tokens are the classes 0 to 3; seen 4, the mask"):
            token_bound(law, torch.full_like(x0, 4), Seeds.range(0, 2))

    def test_another_process(self):
        from unstir.verification.references import IN_THE_PLANE

        with pytest.raises(InputError, match="this bound is of tokens in one tensor; seen GaussianProcess"):
            token_bound(IN_THE_PLANE.denoiser(GaussianProcess()), torch.zeros(1, 2), Seeds.range(0, 1))

    @pytest.mark.parametrize("times", [[0.2, 0.4], [1.2, 0.4], [0.0], [0.5, -0.1], [0.5, 0.5]])
    def test_times_that_do_not_fall(self, times):
        law, x0 = chain_and_data(CategoricalProcess(3), 1)
        with pytest.raises(InputError, match="times fall from at most 1"):
            discrete_token_bound(law, x0, Seeds.range(0, 1), torch.tensor(times))

    def test_levels(self):
        law, x0 = chain_and_data(CategoricalProcess(3), 1)
        for options in ({"levels": 0}, {"log_snr": (3.0, 3.0)}):
            with pytest.raises(InputError, match="1 level at least and log-SNR that rises"):
                token_bound(law, x0, Seeds.range(0, 1), **options)

    def test_joint_beliefs_of_which_steps_are_not_known(self):
        class Wrapped(Denoiser):
            def __init__(self, law):
                super().__init__()
                self.law, self.process = law, law.process

            def forward(self, xt, t, drop=None, **condition):
                return self.law(xt, t)

        law, x0 = chain_and_data(CategoricalProcess(3))
        seeds = Seeds.range(0, len(x0))
        with pytest.raises(
            InputError, match="ChainPosterior of Wrapped: take single tokens' beliefs alone with mean_on"
        ):
            discrete_token_bound(Wrapped(law), x0, seeds)
        told = discrete_token_bound(Wrapped(law), x0, seeds, 4, mean_only=True)
        assert torch.equal(told.total, discrete_token_bound(law, x0, seeds, 4, mean_only=True).total)

    @both
    def test_a_belief_that_holds_impossible_what_is_true(self, bound):
        process = CategoricalProcess(3, rates="absorbing")
        with pytest.raises(NonFiniteError, match=r"of 1 of 2 samples is not finite, the first in row 1.*impossible"):
            bound(Even(process, logit=math.inf), torch.tensor([[0, 0], [1, 1]]), Seeds.range(0, 2))


class TestTotals:
    @every_example
    @both
    def test_even_belief_takes_the_log_of_the_classes(self, process, bound):
        """Of tokens that are believed to be anything, and are: log k nats each, for data drawn from that law."""
        law = TokenProductDenoiser(torch.full((2, process.classes), 1 / process.classes), process)
        x0 = law.draw(Seeds.range(1, 300))
        told = bound(law, x0, Seeds.range(2, 300), 8)
        assert_mean(told.total.numpy(), 2 * math.log(process.classes))

    def test_masked_even_belief_leaves_nothing_to_chance(self):
        """Every masked token costs log k, so the bound is that for each sample, whatever is drawn."""
        denoiser = Even(CategoricalProcess(5, LinearVPSchedule(), "absorbing"))
        x0 = torch.arange(20).reshape(4, 5) % 5
        told = token_bound(denoiser, x0, Seeds.range(0, 4), 7)
        assert_close(told.total, torch.full((4,), 5 * math.log(5)).double(), rtol=1e-6, atol=0)
        assert_close(told.bits_per_dimension, torch.full((4,), math.log2(5)).double(), rtol=1e-6, atol=0)
        assert told.standard_error.max() < 1e-6
        assert (told.prior == 0).all()
        assert told.transitions.shape == (4, 7)
        assert len(told.log_snr) == 8
        assert (told.log_snr.diff() > 0).all()
        assert "nats" in str(told)

    def test_masked_bound_is_the_same_for_every_schedule(self):
        process = CategoricalProcess(3, rates="absorbing")
        law, x0 = chain_and_data(process)
        other = TokenChainDenoiser(
            law.log_initial[0].exp(), law.log_transition[0].exp(), replace(process, schedule=RectifiedFlowSchedule()), 3
        )
        seeds = Seeds.range(0, len(x0))
        assert_close(token_bound(law, x0, seeds).total, token_bound(other, x0, seeds).total, rtol=0, atol=1e-6)

    @both
    def test_a_sample_is_the_same_alone_and_in_company(self, bound):
        for process in (EXAMPLES["absorbing"], EXAMPLES["rates of one's own"]):
            law, x0 = chain_and_data(process, 8)
            together, alone = bound(law, x0, Seeds.range(0, 8), 5), bound(law, x0[3:4], Seeds.range(0, 1, 3), 5)
            assert_close(together.total[3:4], alone.total, rtol=1e-12, atol=1e-12)

    def test_one_draw_tells_no_error(self):
        law, x0 = chain_and_data(CategoricalProcess(3))
        assert token_bound(law, x0, Seeds.range(0, len(x0)), 2, draws=1).standard_error.isnan().all()

    def test_prior_of_noise_that_ends_early(self):
        """Of uniform noise: the divergence from the even law of a token that is kept with the share left."""
        process = CategoricalProcess(4, LinearVPSchedule(beta_max=1.0))
        law, x0 = chain_and_data(process, 2)
        kept = process.kept(1.0).item()
        same, others = kept + (1 - kept) / 4, (1 - kept) / 4
        wanted = 3 * (same * math.log(4 * same) + 3 * others * math.log(4 * others))
        for told in (token_bound(law, x0, Seeds.range(0, 2), 2), discrete_token_bound(law, x0, Seeds.range(0, 2), 2)):
            assert told.prior.tolist() == pytest.approx([wanted] * 2, rel=1e-9)

    def test_grids_with_and_without_the_clean_end_are_one(self):
        law, x0 = chain_and_data(CategoricalProcess(3), 3)
        seeds, times = Seeds.range(0, 3), torch.tensor([1.0, 0.5, 0.25])
        first = discrete_token_bound(law, x0, seeds, times, mean_only=True)
        second = discrete_token_bound(law, x0, seeds, torch.cat((times, torch.zeros(1))), mean_only=True)
        assert torch.equal(first.total, second.total)
        assert first.transitions.shape == (3, 2)

    @both
    def test_differentiable_where_asked(self, bound):
        process = CategoricalProcess(3, rates="absorbing")
        denoiser, x0 = Even(process, logit=0.5), torch.tensor([[0, 0, 1]])
        assert not bound(denoiser, x0, Seeds.range(0, 1), 3).total.requires_grad
        total = bound(denoiser, x0, Seeds.range(0, 1), 3, differentiable=True).total
        (slope,) = torch.autograd.grad(total.sum(), denoiser.logit)
        assert slope.isfinite()
        assert slope != 0

    @both
    def test_calls_without_dropout_and_with_conditions(self, bound):
        denoiser = Even(CategoricalProcess(3, rates="absorbing")).train()
        label = torch.zeros(2, dtype=torch.int64)
        bound(denoiser, torch.zeros(2, 3, dtype=torch.int64), Seeds.range(0, 2), 4, draws=3, condition={"label": label})
        assert len(denoiser.calls) == 3 * (5 if bound is token_bound else 4)
        assert all(not training and names == ["label"] for _, training, names in denoiser.calls)
        assert denoiser.training


class TestPadded:
    @both
    @every_example
    def test_padded_tokens_cost_nothing(self, bound, process):
        """Sets of independent tokens: a padded one costs in the mean what the short one does."""

        class Product(Denoiser):
            def __init__(self):
                super().__init__()
                self.process = process

            def forward(self, xt, t, drop=None, mask=None, **condition):
                if mask is not None:
                    assert torch.equal(apply_mask(xt, mask), xt)
                    xt = torch.where(mask, xt, process.states - 1)  # the law itself knows no padding
                rows = torch.linspace(1, 2, process.classes, dtype=torch.float64).expand(xt.shape[1], -1)
                return CategoricalPosterior(
                    TokenProductDenoiser(rows / rows.sum(1, keepdim=True), process)(xt, t).mean.log()
                )

        count = 400
        short = torch.tensor([[0, 1]]).expand(count, 2)
        mask = torch.tensor([[True, True, False, False]]).expand(count, 4)
        wide = torch.cat((short, torch.ones_like(short)), 1)
        alone = bound(Product(), short, Seeds.range(0, count), 4, draws=1)
        padded = bound(Product(), wide, Seeds.range(1, count), 4, draws=1, condition={"mask": mask})
        assert (padded.elements == 2).all()
        assert_close(padded.prior, alone.prior)
        assert_mean((padded.total - alone.total).numpy(), 0.0)


class TestClock:
    @every_example
    def test_shares_add_up_to_the_whole_way(self, process):
        """The integral of the weights is the clock between the ends."""
        clock = Clock(process, -6.0, 5.0)
        share = (torch.arange(4000).double() + 0.5) / 4000
        t, weight = clock.at(share)
        total = process.clock(clock.first) - process.clock(clock.last)
        assert weight.mean().item() == pytest.approx(total.item(), rel=2e-4)
        assert (t.diff() < 0).all()
        assert clock.log_snr(torch.tensor([0.0, 1.0]).double()).tolist() == pytest.approx([-6.0, 5.0], abs=1e-6)

    def test_ends_are_kept_within_the_schedules_reach(self):
        process = CategoricalProcess(3, LinearVPSchedule())
        clock = Clock(process, -math.inf, 16.0)
        assert clock.first == 1
        assert process.schedule.log_snr(clock.last).item() == pytest.approx(16.0, abs=1e-6)


class TestBrokenCopies:
    """Each breaks one thing that matters, and the claim about it sees it."""

    def test_terms_without_the_weight_of_what_was_made_to_jump(self, monkeypatch):
        original = bounds._Sweep._total
        monkeypatch.setattr(
            bounds._Sweep,
            "_total",
            lambda self, each, seen: original(self, each, replace(seen, weight=torch.ones_like(seen.weight))),
        )
        assert is_caught(checks.token_bound_term_by_term, None, discrete_token_bound)

    def test_score_entropy_of_a_clock_twice_as_fast(self, monkeypatch):
        original = bounds._Sweep.rate
        monkeypatch.setattr(bounds._Sweep, "rate", lambda self, seen: 1.2 * original(self, seen))
        assert is_caught(checks.token_bound_of_any_belief, None, token_bound)

    def test_continuous_bound_that_leaves_out_late_times(self):
        def mutant(*options, **more):
            return token_bound(*options, **{**more, "log_snr": (0.0, 16.0)})

        mutant.__name__ = "token_bound"
        assert is_caught(checks.token_bound_is_the_entropy, None, mutant)

    def test_error_of_a_single_draw(self):
        def mutant(*options, **more):
            told = token_bound(*options, **more)
            return replace(told, standard_error=told.standard_error * math.sqrt(told.draws))

        mutant.__name__ = "token_bound"
        assert is_caught(checks.token_bound_tells_its_error, None, mutant)

    def test_joint_bound_that_forgets_how_tokens_hang_together(self):
        mutant = functools.partial(discrete_token_bound, mean_only=True)
        assert is_caught(checks.token_bound_tight_for_whole_beliefs, None, mutant)
