"""Running averages of the weights, which sample better than the last weights."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from unstir.training.parallel import local
from unstir.training.profiles import Profile


class Averages:
    """The running averages of some tensors, by the profiles' labels."""

    def __init__(self, profiles: Sequence[Profile], tensors: Mapping[str, Tensor]) -> None:
        self.profiles = tuple(profiles)
        self.of = {profile.label: {name: x.detach().clone() for name, x in tensors.items()} for profile in profiles}

    @torch.no_grad()
    def update(self, tensors: Mapping[str, Tensor], step: int, batch: int) -> None:
        """Takes in the tensors after ``step`` steps."""
        current = [local(tensor.detach()) for tensor in tensors.values()]
        for profile in self.profiles:
            averaged = [local(tensor) for tensor in self.of[profile.label].values()]
            torch._foreach_lerp_(averaged, current, 1 - profile.decay(step, batch))
