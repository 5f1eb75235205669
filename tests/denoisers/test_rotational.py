"""Beliefs about rotations and directions: means against SciPy, networks' numbers read, losses, sets."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from thresholds import assert_mean

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.rotations import RotationsDenoiser, gram_schmidt
from unstir.denoisers.learned.sphere import SphereDenoiser
from unstir.denoisers.rotational import RotationPosterior
from unstir.denoisers.spherical import SpherePosterior
from unstir.networks.mlp import MLP
from unstir.processes.rotations import RotationProcess
from unstir.processes.sphere import SphereProcess

ROTATIONS, SPHERE = RotationProcess(), SphereProcess()
LEARNED = {"rotations": (RotationsDenoiser, ROTATIONS), "sphere": (SphereDenoiser, SPHERE)}


def scalar(value):
    return torch.tensor(value, dtype=torch.float64)


def some_rotations(count, seed=0):
    return torch.from_numpy(Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix())


def belief_about(centres, shares, deviations):
    """One element a sample, one component."""
    return RotationPosterior(
        ROTATIONS,
        torch.zeros(1, 1).double(),
        shares.log()[None, None],
        centres[None, None],
        deviations[None, None],
        torch.float64,
    )


def test_mean_of_points_is_scipys():
    centres, shares = some_rotations(5), scalar([0.3, 0.2, 0.2, 0.2, 0.1])
    belief = belief_about(centres, shares, torch.zeros(5, dtype=torch.float64))
    # SciPy's mean maximises the same trace
    wanted = Rotation.from_matrix(centres.numpy()).mean(shares.numpy()).as_matrix()
    np.testing.assert_allclose(belief.mean[0], wanted, atol=1e-12)
    assert ROTATIONS.contains(belief.mean).all()


def test_mean_of_an_even_spread_is_a_rotation_all_the_same():
    belief = belief_about(some_rotations(1), torch.ones(1).double(), scalar([torch.inf]))
    assert ROTATIONS.contains(belief.mean).all()
    even = SpherePosterior(
        SPHERE,
        torch.zeros(1, 1).double(),
        scalar([[[0.5, 0.5]]]).log(),
        scalar([[[[0, 0, 1.0], [0, 0, -1.0]]]]),
        scalar(0.1),
        torch.float64,
    )
    assert SPHERE.contains(even.mean).all()


def test_moment_is_that_of_draws():
    count, centres = 20_000, some_rotations(2)
    belief = RotationPosterior(
        ROTATIONS,
        torch.zeros(count, 1).double(),
        scalar([0.7, 0.3]).log().expand(count, 1, 2),
        centres.expand(count, 1, 2, 3, 3),
        scalar([0.3, 0.9]),
        torch.float64,
    )
    assert_mean(belief.sample(Seeds.range(0, count)).flatten(1), belief.moment[0].flatten())


def test_gram_schmidt_makes_rotations_of_anything():
    numbers = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 6)))
    turned = gram_schmidt(numbers)
    assert ROTATIONS.contains(turned).all()
    np.testing.assert_allclose(turned[:, :, 0], numbers[:, :3] / numbers[:, :3].norm(dim=1, keepdim=True))
    assert gram_schmidt(torch.zeros(1, 6)).isfinite().all()


@pytest.mark.parametrize("space", LEARNED)
def test_no_components_are_refused(space):
    learned, process = LEARNED[space]
    with pytest.raises(InputError, match="at least 1 component; seen 0"):
        learned(None, process, components=0)


@pytest.mark.parametrize("space", LEARNED)
def test_the_first_component_of_a_silent_network_is_the_noise_about_the_state(space):
    learned, process = LEARNED[space]
    denoiser = learned(None, process, components=1)
    xt = process.example_data(6)
    t = scalar([0.0, 0.1, 0.4, 0.6, 0.8, 1.0])
    belief = denoiser.believe(torch.zeros(6, denoiser.width_out(xt)).double(), xt, t, None)
    torch.testing.assert_close(belief.mean, xt)
    wanted = (1e-3 + process.schedule.sigma(t).clamp(1e-3, 1.0))[:, None].expand(6, 2)
    torch.testing.assert_close(belief.deviations[:, 0, :, 0], wanted)


def test_belief_about_rotations_turns_with_the_state():
    denoiser, turn = RotationsDenoiser(None, ROTATIONS), some_rotations(1, seed=4)[0]
    xt, t = ROTATIONS.example_data(5), scalar([0.5] * 5)
    numbers = torch.from_numpy(np.random.default_rng(1).normal(size=(5, denoiser.width_out(xt))))
    plain, turned = (denoiser.believe(numbers, x, t, None) for x in (xt, turn @ xt))
    torch.testing.assert_close(turned.mean, turn @ plain.mean)
    torch.testing.assert_close(turned.log_prob(turn @ xt), plain.log_prob(xt))


@pytest.mark.parametrize(("space", "layout"), [("rotations", "vector"), ("sphere", "sequence")])
def test_a_network_learns_where_the_data_is(space, layout):
    """All data is one state: the loss falls by a nat, and the belief moves from the noisy state to the clean one."""
    learned, process = LEARNED[space]
    one = process.example_data(1)[:, :1].float()
    x0 = one.expand(64, *one.shape[1:])
    xt = process.noise(x0, scalar(0.55), Seeds.range(0, 64))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size, outputs = learned(None, process, layout, components=2).network_size(tuple(x0.shape[1:]))
        network = MLP(size if layout == "vector" else (size[-1],), outputs=outputs, width=32, depth=1, embedding=16)
    if layout == "sequence":
        network = PerPlace(network)
    denoiser = learned(network, process, layout, components=2)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = denoiser(xt, scalar(0.55)).loss(x0).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1.0
    belief = denoiser(xt, scalar(0.55))
    assert (belief.mean - x0).flatten(1).norm(dim=1).mean() < (xt - x0).flatten(1).norm(dim=1).mean() / 2


class PerPlace(torch.nn.Module):
    """A network of vectors at every place of a sequence of one."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, noise, drop=None):
        return self.network(x[:, 0], noise, drop)[:, None]


@pytest.mark.parametrize("space", LEARNED)
def test_losses_of_padded_sets_leave_padding_out(space):
    learned, process = LEARNED[space]
    denoiser, mask = learned(None, process), torch.tensor([[True, False]] * 4)
    x0, t = process.example_data(4), scalar([0.5] * 4)
    element = (None,) * len(process.element)
    xt = process.noise(x0.where(mask[(..., *element)], 0), scalar(0.5), Seeds.range(0, 4), mask)
    numbers = torch.from_numpy(np.random.default_rng(2).normal(size=(4, denoiser.width_out(xt)))).requires_grad_()
    loss = denoiser.believe(numbers, xt, t, mask).loss(x0.where(mask[(..., *element)], 0), mask)
    loss.sum().backward()
    assert numbers.grad.isfinite().all()
    alone = learned(None, process)
    first = numbers.detach()[:, : numbers.shape[1] // 2]
    torch.testing.assert_close(alone.believe(first, xt[:, :1], t, None).loss(x0[:, :1]), loss.detach())


def test_elements_that_hang_together_know_no_padding():
    count, centres = 3, some_rotations(4).reshape(2, 2, 3, 3)
    belief = RotationPosterior(
        ROTATIONS,
        scalar([0.5, 0.5]).log().expand(count, 2),
        torch.zeros(count, 2, 2, 1).double(),
        centres[None, :, :, None].expand(count, 2, 2, 1, 3, 3),
        scalar(0.4),
        torch.float64,
    )
    x0 = some_rotations(2 * count).reshape(count, 2, 3, 3)
    torch.testing.assert_close(belief.loss(x0), -belief.log_prob(x0) / 2)
    with pytest.raises(InputError, match="train without a mask"):
        belief.loss(x0, torch.ones(count, 2, dtype=torch.bool))
