"""Tokens on pairs, and what a joint process makes of the mask of a padded set."""

import pytest
import torch
from tests.support.parts import parts_denoiser

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.centred import CentredProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.pairs import PairsProcess, elements_of, square, triangle
from unstir.samplers.base import sample
from unstir.samplers.joint import JointSampler


def joint() -> JointProcess:
    return JointProcess(
        {
            "positions": CentredProcess(),
            "elements": CategoricalProcess(3, rates="absorbing"),
            "bonds": PairsProcess(4),
            "cell": GaussianProcess(),
        },
        whole=["cell"],
    )


SHAPE = {"positions": (4, 3), "elements": (4,), "bonds": (6,), "cell": (5,)}
MASK = torch.tensor([[True, True, True, False], [True, True, False, False], [True, True, True, True]])


def test_a_table_and_its_pairs_are_each_others_inverse() -> None:
    pairs = torch.arange(1, 11).repeat(2, 1)
    table = square(pairs)
    assert table.shape == (2, 5, 5)
    assert torch.equal(table, table.transpose(1, 2))
    assert not table.diagonal(dim1=1, dim2=2).any()
    assert table[0, 0].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(triangle(table), pairs)
    assert [elements_of(count) for count in (1, 3, 6, 253)] == [2, 3, 4, 23]


def test_a_number_of_pairs_that_no_set_has_is_refused() -> None:
    with pytest.raises(InputError, match="1, 3, 6, 10"):
        square(torch.zeros(1, 5))


def test_each_part_makes_its_own_of_the_mask() -> None:
    masks = joint().mask_of(MASK)
    assert torch.equal(masks["positions"], MASK)
    assert masks["cell"] is None
    # three of four elements: the pairs (0, 1), (0, 2) and (1, 2) of (0,1) (0,2) (0,3) (1,2) (1,3) (2,3)
    assert masks["bonds"][0].tolist() == [True, True, False, True, False, False]
    assert masks["bonds"].sum(1).tolist() == [3, 1, 6]


@pytest.mark.parametrize("draw", ["prior", "noise", "transition", "bridge"])
def test_padded_places_stay_at_zero_and_the_whole_is_never_padded(draw: str) -> None:
    process, seeds = joint(), Seeds.range(0, 3)
    x = process.prior(SHAPE, seeds, mask=MASK)
    if draw in ("noise", "transition"):
        clean = process.masked({**x, "elements": x["elements"] % 3}, MASK)
        x = process.noise(clean, torch.tensor(0.7).double(), seeds, MASK)
        if draw == "transition":
            x = process.transition(x, torch.tensor(0.7).double(), torch.tensor(0.9).double(), seeds, MASK)
    if draw == "bridge":
        belief = _Known({**x, "elements": torch.zeros_like(x["elements"])})
        x = process.bridge(x, belief, torch.tensor(1.0).double(), torch.tensor(0.5).double(), seeds, MASK)
    assert not x["positions"][~MASK].any()
    assert not x["elements"][~MASK].any()
    assert not x["bonds"][~process.mask_of(MASK)["bonds"]].any()
    assert x["cell"].all()
    assert x["positions"].sum(1).abs().max() < 1e-4 * x["positions"].abs().max()


class _Known:
    def __init__(self, x0: dict) -> None:
        self.x0 = x0

    def sample(self, seeds: Seeds) -> dict:
        return self.x0


def test_a_whole_that_is_no_part_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match="lattice"):
        JointProcess({"lattice": GaussianProcess()}, whole=["latice"])


def test_the_pairs_of_a_padded_set_are_drawn_as_those_of_the_set_alone() -> None:
    """Marginals of noise do not depend on what is padded beside."""
    process = PairsProcess(3)
    x0 = torch.ones(4000, 6, dtype=torch.int64)
    mask = torch.tensor([True, True, True, False]).expand(4000, 4)
    own = process.mask_of(mask)
    xt = process.noise(process.masked(x0, mask), torch.tensor(0.5).double(), Seeds.range(1, 4000), own)
    kept = (xt[:, [0, 1, 3]] == 1).double().mean().item()
    expected = process.log_forward(torch.tensor([[1]]), torch.tensor(0.0), torch.tensor(0.5)).exp()[0, 0, 1].item()
    assert abs(kept - expected) < 5.5 * (expected * (1 - expected) / 12_000) ** 0.5


def test_samples_of_padded_sets_keep_their_padding() -> None:
    denoiser = parts_denoiser(joint(), SHAPE)
    drawn = sample(
        denoiser,
        JointSampler({"positions": "ddim", "cell": "ddim"}),
        SHAPE,
        seeds=Seeds.range(0, 3),
        steps=5,
        condition={"mask": MASK},
        batch=3,
    )
    assert not drawn["positions"][~MASK].any()
    assert not drawn["bonds"][~joint().mask_of(MASK)["bonds"]].any()
    assert drawn["cell"].all()
