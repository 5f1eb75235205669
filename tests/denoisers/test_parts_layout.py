"""Joint beliefs whose network sees each part by itself."""

import pytest
import torch
from tests.support.parts import parts_denoiser

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.joint import JointDenoiser
from unstir.networks.parts import KINDS, Part, checked_parts
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.centred import CentredProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.pairs import PairsProcess, square
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess

SHAPE = {"positions": (4, 3), "elements": (4,), "bonds": (6,), "sites": (4, 3), "cell": (5,)}
MASK = torch.tensor([[True, True, True, False], [True, True, True, True]])


def joint() -> JointProcess:
    return JointProcess(
        {
            "positions": CentredProcess(),
            "elements": CategoricalProcess(3, rates="absorbing"),
            "bonds": PairsProcess(2),
            "sites": WrappedProcess(ExponentialVESchedule(0.01, 2.0), period=2.0),
            "cell": GaussianProcess(),
        },
        whole=["cell"],
    )


def state(count: int = 2) -> dict:
    return joint().prior(SHAPE, Seeds.range(0, count), mask=MASK[:count])


def test_each_part_is_what_it_is() -> None:
    size, outputs = JointDenoiser(None, joint(), layout="parts", parts={"sites": {"components": 2}}).network_size(SHAPE)
    assert outputs == 1
    assert size == {
        "positions": Part("points", 3, 3),
        "elements": Part("nodes", 4, 3),
        "bonds": Part("pairs", 2, 2),
        "sites": Part("sites", 3, 3 * 4 * 2),
        "cell": Part("whole", 5, 5),
    }
    assert {part.kind for part in size.values()} == set(KINDS)


def test_the_network_sees_parts_in_their_own_form_and_scale() -> None:
    denoiser, x = parts_denoiser(joint(), SHAPE, parts={"positions": {"sigma_data": 2.0}}), state()
    denoiser(x, torch.tensor(0.5).double(), mask=MASK)
    called = denoiser.network.called[-1]
    assert torch.equal(called["mask"], MASK)
    assert torch.equal(called["x"]["bonds"], square(torch.nn.functional.one_hot(x["bonds"], 2).float()))
    assert torch.equal(called["x"]["sites"], x["sites"] / 2)
    schedule = joint().parts["positions"].schedule
    alpha, sigma = schedule.alpha(0.5), schedule.sigma(0.5)
    scaled = x["positions"] / ((2 * alpha) ** 2 + sigma**2).sqrt().float()
    torch.testing.assert_close(called["x"]["positions"], scaled)


def test_beliefs_have_the_forms_of_the_state_and_padding_costs_nothing() -> None:
    denoiser, x0 = parts_denoiser(joint(), SHAPE), joint().masked(state(), MASK)
    x0["elements"] = x0["elements"] % 3
    t = torch.tensor([0.3, 0.6]).double()
    xt = joint().noise(x0, t, Seeds.range(0, 2), MASK)
    belief = denoiser(xt, t, mask=MASK)
    assert {name: tuple(mean.shape) for name, mean in belief.mean.items()} == {
        "positions": (2, 4, 3),
        "elements": (2, 4, 3),
        "bonds": (2, 6, 2),
        "sites": (2, 4, 3),
        "cell": (2, 5),
    }
    loss = belief.loss(x0, MASK)
    astray = {name: part.clone() for name, part in x0.items()}
    astray["bonds"][0, 2] = 1 - astray["bonds"][0, 2]  # the pair (0, 3), whose second place is not there
    astray["elements"][0, 3] = 2
    torch.testing.assert_close(belief.loss(astray, MASK), loss)
    astray["bonds"][0, 0] = 1 - astray["bonds"][0, 0]
    assert not torch.allclose(belief.loss(astray, MASK)[0], loss[0])


def test_times_apart_are_told_beside() -> None:
    denoiser, x = parts_denoiser(joint(), SHAPE, times="apart"), state()
    size, _ = denoiser.network_size(SHAPE)
    assert size["levels"] == Part("whole", 5, 0)
    times = {name: torch.tensor(0.0 if name == "elements" else 0.5).double() for name in SHAPE}
    denoiser({**x, "elements": x["elements"] % 3}, times)
    levels = denoiser.network.called[-1]["x"]["levels"]
    assert levels.shape == (2, 5)
    assert (levels[:, 1] == -3).all()


def test_the_spread_of_padded_sets_is_that_of_what_is_there() -> None:
    wide = {**state(), "positions": torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)) * MASK[..., None]}
    options = JointDenoiser.options_for(joint(), {"layout": "parts"}, wide, {"mask": MASK})
    there = wide["positions"][MASK].double()
    assert options["parts"]["positions"]["sigma_data"] == pytest.approx(there.std(correction=0).item(), rel=1e-3)
    assert options["parts"]["cell"]["layout"] == "parts"


def test_a_tensor_that_a_kind_cannot_be_is_refused() -> None:
    flat = JointProcess({"numbers": GaussianProcess()})
    with pytest.raises(InputError, match="'nodes' as a tensor of 3 axes"):
        JointDenoiser(None, flat, layout="parts").network_size({"numbers": (4,)})
    with pytest.raises(InputError, match="'sites'"):
        checked_parts({"x": Part("sites", 3, 3)}, ("points", "nodes"))


def test_the_layout_is_for_joint_states_alone() -> None:
    from unstir.denoisers.learned.tokens import TokensDenoiser

    alone = TokensDenoiser(torch.nn.Identity(), CategoricalProcess(3), layout="parts")
    with pytest.raises(InputError, match="joint states"):
        alone(torch.zeros(2, 4, dtype=torch.int64), torch.tensor(0.5))
