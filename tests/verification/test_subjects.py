"""What is made of the catalogue's entries to be measured."""

import pytest

from unstir.core.catalogue import KINDS, Entry, entries, find
from unstir.verification.base import Effort, NotMeasured
from unstir.verification.subjects import SHAPES, subjects


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"checks", "exact", "physics"}))
def test_every_entry_is_made_or_says_why_not(kind):
    for name, entry in entries(kind).items():
        try:
            made = subjects(kind, entry)
        except NotMeasured as reason:
            assert (kind, name) in {
                ("trackers", "tensorboard"),
                ("trackers", "wandb"),
                ("formats", "cifar-10"),
                ("formats", "fashion-mnist"),
                ("formats", "mnist"),
            }, f"{kind}/{name}: {reason}"
        else:
            assert made and all(isinstance(label, str) for label in made)


def test_families_give_their_members_and_networks_a_shape_each():
    assert {"vp", "ve", "flow", "sub-vp", "shifted"} == set(subjects("schedules", find("schedules", "cosine")))
    assert set(subjects("networks", find("networks", "mlp"))) == set(SHAPES)
    assert len(subjects("samplers", find("samplers", "multistep"))) > 1


def test_functions_are_handed_over_as_they_are():
    entry = find("grids", "karras")
    assert subjects("grids", entry) == {"karras": entry.load()}


def test_an_entry_that_needs_options_says_what_is_missing():
    needy = Entry("weightings", "needy", "", "", "unstir.processes.grids:karras")
    with pytest.raises(NotMeasured, match="unknown weighting 'needy'"):
        subjects("weightings", needy)


def test_draws_of_a_check_have_purposes_of_their_own():
    effort = Effort()
    assert effort.seeds(3, "a").key != effort.seeds(3, "b").key
