"""Samplers of tokens: numbers by hand, what they refuse, and that their claims can fail."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from mutants import is_caught

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.exact.categorical import TokenProductDenoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import SamplerState, sample, samplers_for
from unstir.samplers.remasking import RemaskingSampler
from unstir.samplers.tau_leaping import TauLeapingSampler, ThetaRK2Sampler, ThetaTrapezoidalSampler, TokenEulerSampler
from unstir.samplers.token_correction import token_predictor_corrector
from unstir.samplers.token_steps import bridge_law, leap, reading, reverse_rates, time_of
from unstir.samplers.unmasking import ConfidenceUnmaskingSampler
from unstir.verification.checks import token_samplers as claims
from unstir.verification.references import IN_THE_PLANE
from unstir.verification.spaces import token_matrix
from unstir.verification.token_laws import STRONG, TokenwiseDenoiser, chain_law, law_after

MASKED, UNIFORM = CategoricalProcess(3, rates="absorbing"), CategoricalProcess(3)
T, S = torch.tensor([0.7, 0.5], dtype=torch.float64)


class Told(Denoiser):
    """Beliefs given in advance, whatever the state: probabilities (batch, n, classes)."""

    def __init__(self, chances, process=MASKED):
        super().__init__()
        self.process, self.chances = process, torch.as_tensor(chances, dtype=torch.float64)

    def forward(self, xt, t, drop=None, **condition):
        return CategoricalPosterior(self.chances.expand(len(xt), -1, -1).log())


def share(process, t):
    return 1 - process.kept(t).item()


def moved(sampler, denoiser, x, *states):
    """The laws of all moves of a step from T to S, along these states."""
    moves = sampler.moves(denoiser, x, T, S)
    return [next(moves).exp(), *(moves.send(state).exp() for state in states)]


class TestLeaps:
    def test_a_masked_token_comes_free_with_the_bridges_chance(self):
        """Tau-leaping under masking is the share m_s/m_t that stays masked, and the belief for the rest."""
        (law,) = moved(TauLeapingSampler(), Told([[[0.5, 0.3, 0.2]]]), torch.tensor([[3]]))
        stays = share(MASKED, S) / share(MASKED, T)
        expected = [0.5 * (1 - stays), 0.3 * (1 - stays), 0.2 * (1 - stays), stays]
        np.testing.assert_allclose(law.flatten(), expected, atol=1e-14)

    def test_eulers_chances_are_rates_times_width_and_never_above_one(self):
        width = math.log(share(MASKED, T) / share(MASKED, S))
        (law,) = moved(TokenEulerSampler(), Told([[[0.5, 0.3, 0.2]]]), torch.tensor([[3]]))
        np.testing.assert_allclose(law.flatten(), [0.5 * width, 0.3 * width, 0.2 * width, 1 - width], atol=1e-14)
        moves = TokenEulerSampler().moves(
            Told([[[0.5, 0.3, 0.2]]]), torch.tensor([[3]]), T, torch.tensor(0.01).double()
        )
        np.testing.assert_allclose(next(moves).exp().flatten(), [0.5, 0.3, 0.2, 0.0], atol=1e-14)

    def test_the_trapezoids_second_leap_is_extrapolated_and_cut(self):
        """theta 1/2: rates 2 p(y) - p(x) for the token that waits, over the second half of the step."""
        law = chain_law(STRONG, MASKED, 2)
        initial, steps = (np.array(part) for part in STRONG)
        x, y = torch.tensor([[3, 3]]), torch.tensor([[2, 3]])
        first, second = moved(ThetaTrapezoidalSampler(), TokenwiseDenoiser(law), x, y)
        width = math.log(share(MASKED, T) / share(MASKED, S)) / 2
        np.testing.assert_allclose(first[0, 0, :3], initial * -math.expm1(-width), atol=1e-13)
        rates = np.maximum(2 * steps[2] - initial @ steps, 0)
        expected = rates / rates.sum() * -math.expm1(-rates.sum() * width)
        assert (2 * steps[2] - initial @ steps < 0).any()  # something is cut here
        np.testing.assert_allclose(second[0, 1, :3], expected, atol=1e-12)
        np.testing.assert_allclose(second[0, 0], [0, 0, 1, 0], atol=1e-15)

    def test_rk2_goes_back_to_where_it_began(self):
        law = chain_law(STRONG, MASKED, 2)
        initial, steps = (np.array(part) for part in STRONG)
        x, y = torch.tensor([[3, 3]]), torch.tensor([[2, 3]])
        _, second = moved(ThetaRK2Sampler(1.0), TokenwiseDenoiser(law), x, y)
        width = math.log(share(MASKED, T) / share(MASKED, S))
        rates = (steps[2] + initial @ steps) / 2  # theta 1: the mean of both ends
        np.testing.assert_allclose(second[0, 1, :3], rates * -math.expm1(-width), atol=1e-12)
        np.testing.assert_allclose(second[0, 0, :3], initial * -math.expm1(-width / 2), atol=1e-12)

    @pytest.mark.parametrize("process", [MASKED, UNIFORM, CategoricalProcess(4, rates="ring")], ids=str)
    def test_the_clock_is_inverted(self, process):
        times = torch.tensor([1e-3, 0.2, 0.7, 0.99], dtype=torch.float64)
        torch.testing.assert_close(time_of(process, reading(process, times)), times, rtol=1e-9, atol=0)

    def test_uniform_rates_by_the_matrix_exponential(self):
        """Q(y, x) sum over x0 of p(x0|x) q(y|x0)/q(x|x0), with SciPy's exponential, per unit of minus log-SNR."""
        chances, x = np.array([0.6, 0.1, 0.3]), 1
        matrix = token_matrix(UNIFORM, 0.7)
        ratios = (chances / matrix[:, x]) @ matrix
        expected = ratios / 3 * share(UNIFORM, T)  # d tau / dv is the share that has been touched
        expected[x] = 0
        belief = torch.tensor(chances).log().reshape(1, 1, 3)
        told = reverse_rates(UNIFORM, belief, torch.tensor([[x]]), T)
        np.testing.assert_allclose(told.flatten(), expected, rtol=1e-10)

    def test_the_bridges_law_by_the_matrix_exponential(self):
        chances, x = np.array([0.6, 0.1, 0.3]), 2
        early, late = token_matrix(UNIFORM, 0.5), token_matrix(UNIFORM, 0.7, 0.5)
        each = early * late[:, x]
        expected = chances @ (each / each.sum(1, keepdims=True))
        told = bridge_law(UNIFORM, torch.tensor(chances).log().reshape(1, 1, 3), torch.tensor([[x]]), T, S)
        np.testing.assert_allclose(told.exp().flatten(), expected, rtol=1e-10)

    def test_a_leap_without_rates_stays(self):
        law = leap(torch.tensor([[1]]), torch.zeros(1, 1, 3, dtype=torch.float64), torch.tensor(5.0))
        assert law.exp().tolist() == [[[0.0, 1.0, 0.0]]]


class TestRemasking:
    def test_without_strength_it_is_the_bridge(self):
        law = TokenwiseDenoiser(chain_law(STRONG, MASKED, 2))
        x = torch.tensor([[3, 1], [3, 3]])
        (told,) = moved(RemaskingSampler("cap", 0.0), law, x)
        bridge = bridge_law(MASKED, law(x, T).log_probabilities, x, T, S).exp()
        torch.testing.assert_close(told, bridge, rtol=0, atol=1e-13)

    @pytest.mark.parametrize(
        ("sampler", "chance"),
        [
            (RemaskingSampler("cap", 0.1), 0.1),
            (RemaskingSampler("rescale", 0.25), 0.25 * min(1.0, share(MASKED, S) / (1 - share(MASKED, T)))),
            (RemaskingSampler("rescale", 0.25, below=0.5), 0.0),  # 0.79 of the tokens are masked at T
        ],
    )
    def test_a_shown_token_is_masked_with_its_chance(self, sampler, chance):
        (law,) = moved(sampler, Told([[[1.0, 0.0, 0.0]]]), torch.tensor([[0]]))
        np.testing.assert_allclose(law.flatten(), [1 - chance, 0, 0, chance], atol=1e-13)

    def test_those_shown_with_least_probability_are_masked_most(self):
        """The history holds the probabilities; five standard errors apart."""
        count, sampler = 20_000, RemaskingSampler("confidence", 1.0)
        x = torch.tensor([[0, 0]]).expand(count, 2)
        history = (torch.tensor([[0.05, 0.95]], dtype=torch.float64).expand(count, 2),)
        state = SamplerState(x, Seeds.range(0, count), history=history)
        after = sampler.step(Told([[[1.0, 0.0, 0.0]] * 2]), state, T, S)
        most = min(1.0, share(MASKED, S) / (1 - share(MASKED, T)))
        shares = np.exp([-0.05, -0.95]) / np.exp([-0.05, -0.95]).sum()
        seen = (after.x == 3).double().mean(0).numpy()
        error = np.sqrt(most * shares * (1 - most * shares) / count)
        assert (np.abs(seen - most * shares) < 5 * error).all()


class TestConfidence:
    # the likeliest class, the margin and the entropy of these name three different tokens as the surest
    BELIEFS = (((0.60, 0.39, 0.01), (0.55, 0.225, 0.225), (0.5, 0.5, 0.0)),)

    @pytest.mark.parametrize(("criterion", "first"), [("probability", 0), ("margin", 1), ("entropy", 2)])
    def test_the_surest_token_is_shown_first(self, criterion, first):
        state = SamplerState(torch.full((1, 3), 3), Seeds.range(0, 1))
        grid = claims._even_shares(MASKED, 3)
        sampler = ConfidenceUnmaskingSampler(criterion, temperature=0.0)
        shown = sampler.step(Told(self.BELIEFS), state, grid[0], grid[1]).tensor != 3
        assert shown.flatten().nonzero().flatten().tolist() == [first]

    def test_as_many_tokens_are_masked_as_the_schedule_says(self):
        law, seen = TokenwiseDenoiser(chain_law(STRONG, MASKED, 8)), []
        sample(
            law, ConfidenceUnmaskingSampler(noise=3.0), (8,), 5, steps=5, grid="uniform", batch=5,
            callback=lambda state, t, s: seen.append(((state.x == 3).sum(1), share(MASKED, s))),
        )  # fmt: skip
        for masked, part in seen:
            assert masked.tolist() == [math.ceil(8 * part - 1e-6)] * 5

    def test_noise_changes_the_order_and_steps_that_show_nothing_cost_nothing(self):
        told, calls = Told(self.BELIEFS), []
        told.register_forward_hook(lambda *call: calls.append(1))
        state = SamplerState(torch.full((500, 3), 3), Seeds.range(0, 500))
        grid = claims._even_shares(MASKED, 3)
        noisy = ConfidenceUnmaskingSampler(temperature=0.0, noise=5.0).step(told, state, grid[0], grid[1]).tensor
        assert len((noisy != 3).int().argmax(1).unique()) == 3
        assert len(calls) == 1
        idle = ConfidenceUnmaskingSampler().step(told, state, grid[0], grid[0] - 1e-6)
        assert torch.equal(idle.tensor, state.tensor)
        assert len(calls) == 1

    def test_greedy_is_sharper_than_the_data(self):
        """The likeliest token first and its likeliest class: one sequence, always."""
        law = TokenwiseDenoiser(chain_law(STRONG, MASKED, 4))
        drawn = sample(law, ConfidenceUnmaskingSampler(temperature=0.0), (4,), 20, steps=4, grid="uniform")
        assert len(drawn.unique(dim=0)) == 1


class TestCorrections:
    def test_they_mend_what_a_coarse_step_has_spoilt(self):
        """Total variation after three steps: each correction takes off at least a tenth."""
        law, grid = chain_law(STRONG, MASKED, 2), torch.linspace(1, 0, 4, dtype=torch.float64)
        wrong = []
        for corrections in (1, 2):
            sampler = token_predictor_corrector("tau-leaping", corrections, 0.5)
            states, chances = law_after((sampler.predictor, sampler.corrections), law, grid)
            wrong.append(claims.distance(law, states, chances, 0.0))
        states, chances = law_after((TauLeapingSampler(),), law, grid)
        wrong.insert(0, claims.distance(law, states, chances, 0.0))
        assert wrong[1] < 0.9 * wrong[0]
        assert wrong[2] < 0.9 * wrong[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ThetaTrapezoidalSampler(1.0), r"theta of theta-trapezoidal lies in \(0, 1\); seen 1.0"),
        (lambda: ThetaRK2Sampler(0.0), r"theta of theta-RK-2 lies in \(0, 1\]; seen 0.0"),
        (lambda: RemaskingSampler("rescal"), "unknown variant of remasking 'rescal'; did you mean 'rescale'"),
        (lambda: RemaskingSampler(strength=1.5), "shares between 0 and 1; seen strength 1.5"),
        (lambda: ConfidenceUnmaskingSampler("entropie"), "did you mean 'entropy'"),
        (lambda: ConfidenceUnmaskingSampler(temperature=-1.0), "not negative; seen temperature -1.0"),
        (lambda: token_predictor_corrector("heun"), "the predictor must serve tokens; RungeKuttaSampler does not"),
        (lambda: token_predictor_corrector(size=0.0), "size between 0 and 1 .*seen 1 of size 0.0"),
        (lambda: token_predictor_corrector(corrections=0), "at least 1 correction.*seen 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize("name", ["remasking", "confidence-unmasking"])
def test_what_masks_refuses_other_noise_and_says_what_to_take(name):
    law = TokenProductDenoiser([[0.2, 0.3, 0.5]], UNIFORM)
    with pytest.raises(InputError, match=f"{name} needs a process that masks.*theta-trapezoidal"):
        sample(law, build("samplers", name), (1,), 2, steps=2)


def test_vectors_are_refused_and_tokens_find_their_samplers():
    from unstir.processes.gaussian import GaussianProcess

    with pytest.raises(InputError, match=r"serves .'tokens'., not the space 'euclidean'"):
        sample(IN_THE_PLANE.denoiser(GaussianProcess()), TauLeapingSampler(), (2,), 2)
    assert {"ancestral", "tau-leaping", "theta-trapezoidal", "remasking"} <= set(samplers_for("tokens"))
    assert "heun" not in samplers_for("tokens")


@dataclass(frozen=True)
class Unextrapolated(ThetaTrapezoidalSampler):
    """Takes the second leap at the new rates as they are."""

    def leaps(self, denoiser, x, rates, begin, end):
        middle = torch.lerp(begin, end, self.theta)
        y = yield leap(x, rates, begin - middle)
        t = time_of(denoiser.process, middle)
        belief = denoiser(y, t).log_probabilities
        yield leap(y, reverse_rates(denoiser.process, belief, y, t), middle - end)


@dataclass(frozen=True)
class LeavesMasks(TauLeapingSampler):
    """Takes the last step as any other: by a leap."""

    def moves(self, denoiser, x, t, s):
        posterior = denoiser(x, t)
        rates = reverse_rates(denoiser.process, posterior.log_probabilities, x, t)
        yield leap(x, rates, (reading(denoiser.process, t) - reading(denoiser.process, s)).clamp(max=2.0))
        return posterior.mean


@dataclass(frozen=True)
class ForgetsToShow(RemaskingSampler):
    """Masks again, and shows no more for it."""

    def moves(self, denoiser, x, t, s):
        (law,) = moved_once(RemaskingSampler("cap", 0.0), denoiser, x, t, s)
        chance = self._chance(denoiser.process, x, t, s, torch.zeros(x.shape).double())
        shown = (x != denoiser.process.mask_class)[..., None]
        again = torch.zeros(denoiser.process.states).double()
        again[-1] = 1
        yield torch.where(shown, (1 - chance) * law.exp() + chance * again, law.exp()).log()
        return denoiser(x, t).mean


def moved_once(sampler, denoiser, x, t, s):
    return [next(sampler.moves(denoiser, x, t, s))]


def test_broken_copies_are_caught():
    order, clean = claims.token_moves_are_of_the_order, claims.token_samples_are_clean
    assert is_caught(order, None, Unextrapolated())
    assert is_caught(clean, TauLeapingSampler(), LeavesMasks())
    assert is_caught(claims.single_masked_tokens_are_exact, RemaskingSampler(), ForgetsToShow())


def test_drawn_wrongly_is_caught():
    @dataclass(frozen=True)
    class OneDrawForAll(TauLeapingSampler):
        def step(self, denoiser, state, t, s):
            after = super().step(denoiser, state, t, s)
            return state.advance(after.x[:, :1].expand_as(after.x), after.mean)

    assert is_caught(claims.token_samples_follow_the_pushed_law, None, OneDrawForAll())


def test_the_exact_law_of_ancestral_steps_needs_no_steps():
    """Beside the samplers here, one joint draw of the belief: tokens hang together after a single step."""
    law = chain_law(STRONG, MASKED, 2)
    drawn = sample(law, AncestralSampler(), (2,), 4_000, steps=1, grid="uniform", batch=4_000)
    pairs = torch.tensor(STRONG[0])[:, None] * torch.tensor(STRONG[1])
    counted = np.bincount((drawn * torch.tensor([3, 1])).sum(1), minlength=9)
    error = np.sqrt(4_000 * pairs.flatten().numpy())
    assert (np.abs(counted - 4_000 * pairs.flatten().numpy()) < 5 * error + 1).all()
