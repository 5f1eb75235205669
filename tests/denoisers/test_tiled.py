"""Beliefs in windows: where they are exact, how they wrap around, and that memory is bounded."""

import pytest
import torch
from networks import small_unet

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior
from unstir.denoisers.tiled import TiledDenoiser
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.statistics import distribution_is

T = torch.tensor(0.4, dtype=torch.float64)


class Watched(Denoiser):
    """Tells how many windows come in a call, and what they are told."""

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser, self.process, self.calls, self.told = denoiser, denoiser.process, [], []

    def forward(self, xt, t, drop=None, **condition):
        self.calls.append(len(xt))
        self.told.append((t, drop, condition))
        return self.denoiser(xt, t, drop, **condition)


def states(*shape):
    return Seeds.range(2, shape[0]).normal(shape[1:])


def test_one_window_is_the_plain_belief_to_the_bit():
    denoiser, xt = small_unet(), states(3, 1, 8, 8)
    assert torch.equal(TiledDenoiser(denoiser, (8, 8))(xt, T).mean, denoiser(xt, T).mean)


@pytest.mark.parametrize(("stride", "seamless"), [(None, False), (3, False), (4, True), ((2, 4), True)])
def test_white_laws_are_exact(stride, seamless):
    """Independent places: a window knows as much as the whole does."""
    mean, variance = 0.3, 0.5
    small = GaussianDenoiser(torch.full((1, 8, 8), mean), torch.full((1, 8, 8), variance), GaussianProcess())
    large = GaussianDenoiser(torch.full((1, 16, 20), mean), torch.full((1, 16, 20), variance), GaussianProcess())
    xt = states(2, 1, 16, 20).double()
    tiled, whole = TiledDenoiser(small, (8, 8), stride, seamless)(xt, T), large(xt, T)
    torch.testing.assert_close(tiled.mean, whole.mean, rtol=0, atol=1e-12)


def test_variances_are_averaged_and_draws_follow_the_white_law():
    class Wide(Denoiser):
        process = GaussianProcess()

        def forward(self, xt, t, drop=None, **condition):
            alpha, sigma = self.process.coefficients(t, xt)
            total = alpha.square() + sigma.square()
            return GaussianPosterior(alpha * xt / total, (sigma.square() / total).expand_as(xt))

    tiled = TiledDenoiser(Wide(), (4, 4))
    belief = tiled(states(2, 1, 9, 7), T)
    assert isinstance(belief, GaussianPosterior)
    torch.testing.assert_close(belief.variance, Wide()(states(2, 1, 9, 7), T).variance.expand(2, 1, 9, 7))
    drawn = sample(tiled, AncestralSampler(), (1, 9, 7), 40, steps=6, dtype=torch.float64)
    from scipy.stats import norm

    figure = distribution_is("standard normal", drawn, norm.cdf)
    assert figure.passed, figure.note


@pytest.mark.parametrize(("down", "right"), [(4, 0), (0, 4), (8, 12)])
def test_seamless_beliefs_move_with_the_picture(down, right):
    tiled, xt = TiledDenoiser(small_unet(), (8, 8), 4, seamless=True), states(2, 1, 12, 16)
    moved = tiled(xt.roll((down, right), (2, 3)), T).mean
    torch.testing.assert_close(moved, tiled(xt, T).mean.roll((down, right), (2, 3)), rtol=0, atol=1e-5)
    # plain windows end at the edges, and so do not
    plain = TiledDenoiser(small_unet(), (8, 8), 4)
    away = plain(xt.roll((down, right), (2, 3)), T).mean - plain(xt, T).mean.roll((down, right), (2, 3))
    assert away.abs().max() > 1e-3


def test_calls_are_no_larger_than_said_and_say_the_same():
    watched, xt = Watched(small_unet()), states(3, 1, 16, 16)
    few = TiledDenoiser(watched, (8, 8), tiles=5)(xt, T).mean
    assert max(watched.calls) == 5 and sum(watched.calls) == 27
    torch.testing.assert_close(few, TiledDenoiser(small_unet(), (8, 8), tiles=64)(xt, T).mean, rtol=0, atol=1e-5)


def test_a_sample_is_believed_about_alone_as_among_others():
    tiled, xt = TiledDenoiser(small_unet(), (8, 8), tiles=7), states(3, 1, 13, 16)
    alone = torch.cat([tiled(xt[row : row + 1], T).mean for row in range(3)])
    torch.testing.assert_close(tiled(xt, T).mean, alone, rtol=0, atol=1e-5)


def test_times_drop_and_conditions_go_to_the_windows_of_their_sample():
    watched = Watched(small_unet({"label": {"classes": 3}, "map": {"channels": 1}}))
    xt, times = states(2, 1, 8, 12), torch.tensor([0.2, 0.7], dtype=torch.float64)
    label, plan, drop = torch.tensor([1, 2]), states(2, 1, 8, 12), torch.tensor([False, True])
    TiledDenoiser(watched, (8, 8))(xt, times, drop, label=label, map=plan)
    t, dropped, condition = watched.told[0]
    assert torch.equal(t, times.repeat(2)) and torch.equal(dropped, drop.repeat(2))
    assert torch.equal(condition["label"], label.repeat(2))
    torch.testing.assert_close(condition["map"][2:], plan[..., 4:])


def test_gradients_go_through_the_windows():
    tiled, xt = TiledDenoiser(small_unet(), (8, 8)), states(2, 1, 8, 12).requires_grad_()
    (gradient,) = torch.autograd.grad(tiled(xt, T).mean[0].sum(), xt)
    assert gradient[0].abs().min() > 0 and not gradient[1].any()


def test_a_point_stays_a_point():
    assert type(TiledDenoiser(small_unet(), (8, 8))(states(1, 1, 8, 9), T)) is PointPosterior


class TestRefusals:
    def test_options(self):
        for options, said in (
            ({"window": (8,)}, r"window of tiles is \(height, width\)"),
            ({"window": (8, 0)}, "at least 1 place"),
            ({"window": (8, 8), "stride": 9}, "leaves gaps"),
            ({"window": (8, 8), "tiles": 0}, "at least 1 window"),
        ):
            with pytest.raises(InputError, match=said):
                TiledDenoiser(small_unet(), **options)

    def test_states(self):
        with pytest.raises(InputError, match="smaller than the window's 8"):
            TiledDenoiser(small_unet(), (8, 8))(states(1, 1, 7, 9), T)
        with pytest.raises(InputError, match="multiples of the stride 4; seen 14: take 12 or 16"):
            TiledDenoiser(small_unet(), (8, 8), seamless=True)(states(1, 1, 8, 14), T)
        with pytest.raises(InputError, match=r"\(batch, channels, height, width\)"):
            TiledDenoiser(small_unet(), (8, 8))(states(1, 8, 8), T)

    def test_other_spaces(self):
        other = small_unet()
        other.process = CategoricalProcess(3)
        with pytest.raises(InputError, match="under Gaussian noise; seen the space 'tokens'"):
            TiledDenoiser(other, (8, 8))
