"""A sampler for each part, and parts that are known: what the claims do not say."""

import pytest
import torch

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.joint import JointDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.guidance.given_parts import GivenParts
from unstir.samplers.base import sample
from unstir.samplers.joint import JointSampler

LAW = JointMixtureDenoiser.examples()["number, angle and token"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"place": {"name": "heun"}}, r"the part 'place': .* more than once a step"),
        ({"plaice": {"name": "ddim"}}, r"no part 'plaice'; did you mean 'place'"),
        ({"angle": {"name": "ddim"}}, "not the space 'torus'"),
    ],
)
def test_wrong_parts_are_answered(parts, message):
    with pytest.raises(InputError, match=message):
        sample(LAW, JointSampler(parts), LAW.shape, 4, batch=4, steps=2)


def test_a_recipe_can_name_the_parts():
    made = build("samplers", {"name": "joint", "parts": {"place": {"name": "multistep", "order": 3}}})
    drawn = sample(LAW, made, LAW.shape, 5, batch=8, steps=4)
    assert torch.equal(sample(LAW, made, LAW.shape, 2, batch=8, steps=4)["place"], drawn["place"][:2])


@pytest.mark.parametrize(
    ("known", "message"),
    [({}, "some of the parts"), ({"kin": 0}, "some of the parts"), (dict.fromkeys(LAW.shape, 0), "not all")],
)
def test_wrong_knowledge_is_answered(known, message):
    with pytest.raises(InputError, match=message):
        GivenParts(LAW, known)
    with pytest.raises(InputError, match="only a joint process has parts"):
        GivenParts(LAW.laws["place"][0], known)


def test_times_apart_are_learned_and_told():
    """Half of the samples have one time, a quarter a known part, a quarter a time for each."""
    process, t = LAW.process, torch.full((4000,), 0.37, dtype=torch.float64)
    denoiser = JointDenoiser(None, process, times="apart")
    times = denoiser.training_times(t, Seeds.range(3, 4000))
    same = torch.stack([part == 0.37 for part in times.values()])
    known = torch.stack([part == 0 for part in times.values()])
    # binomial deviations of 4000 draws, five of them
    assert abs(same.all(0).double().mean() - 0.5) < 5 * (0.25 / 4000) ** 0.5
    assert abs((known.sum(0) == 1).double().mean() - 0.25) < 5 * (0.19 / 4000) ** 0.5
    assert (known.sum(0) <= 1).all()
    shape, _ = denoiser.network_size(LAW.shape)
    together, _ = JointDenoiser(None, process).network_size(LAW.shape)
    assert shape[0] == together[0] + len(process.parts)


def test_a_belief_with_one_time_refuses_others():
    denoiser = JointDenoiser(torch.nn.Linear(6, 40), LAW.process)
    state = LAW.process.prior(LAW.shape, Seeds.range(0, 2))
    with pytest.raises(InputError, match=r"train with denoiser\.times=apart"):
        denoiser(state, dict.fromkeys(LAW.shape, torch.tensor(0.3)))
