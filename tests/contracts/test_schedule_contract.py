"""What the base of all schedules keeps by itself; the claims about each of them are checks of ``unstir verify``."""

import dataclasses

import pytest
import torch

from unstir.core.catalogue import entries, find
from unstir.core.errors import InputError
from unstir.processes.schedules.base import SCALES, alpha_at, check_scale, sigma_at
from unstir.processes.schedules.cosine import CosineSchedule


@pytest.mark.parametrize("scale", SCALES)
def test_scales_are_exact_at_both_infinities(scale):
    ends = torch.tensor([torch.inf, -torch.inf], dtype=torch.float64)
    assert alpha_at(scale, ends).tolist() == ([1, 1] if scale == "ve" else [1, 0])
    assert sigma_at(scale, ends).tolist() == ([0, torch.inf] if scale == "ve" else [0, 1])


def test_an_unknown_scale_is_refused():
    with pytest.raises(InputError, match="unknown scale of a schedule 'sub_vp'; did you mean 'sub-vp'"):
        check_scale("sub_vp")


def test_a_schedule_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CosineSchedule().shift = 1.0


def test_examples_show_every_scale():
    """So that each of the four identities is measured, and by more than one family."""
    seen = [made.scale for name in entries("schedules") for made in find("schedules", name).load().examples().values()]
    assert all(seen.count(scale) > 1 for scale in SCALES)
