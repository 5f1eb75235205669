"""Some parts of a joint state known, the others to be drawn."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.state import batch_size, map_state
from unstir.denoisers.base import Denoiser
from unstir.denoisers.joint import JointPosterior, MixedPosterior
from unstir.processes.joint import JointProcess

__all__ = ["GivenParts"]


class GivenParts(Denoiser):
    """The belief about the remaining parts of a joint state, given some of them: exact if the joint belief is.

    ``known`` names the parts that are known and their clean values, one sample (shape without a batch) for all, or a
    row a sample; the joint denoiser is asked with these at time 0 and the others at t. That takes a belief that knows
    times apart: an exact law, or one learned with ``denoiser.times=apart``. The state has the remaining parts.

    Raises InputError for parts that are not there, or if all are given.

    Reference: Bao et al., One transformer fits all distributions in multi-modal diffusion at scale (2023), section 3.2.
    """

    def __init__(self, denoiser: Denoiser, known: Mapping[str, Any]) -> None:
        super().__init__()
        joint = denoiser.process
        if not isinstance(joint, JointProcess):
            raise InputError(f"only a joint process has parts; this one is {type(joint).__name__}")
        astray = sorted(set(known) - set(joint.parts))
        if astray or len(known) >= len(joint.parts) or not known:
            raise InputError(f"some of the parts {sorted(joint.parts)} are to be given, not all; seen {sorted(known)}")
        rest = {name: part for name, part in joint.parts.items() if name not in known}
        self.joint = denoiser
        self.known = dict(known)
        self.process = JointProcess(rest, joint.clock if joint.clock in rest else None)

    @classmethod
    def examples(cls) -> Mapping[str, type["GivenParts"]]:
        """The class itself: the claims build guides around laws of theirs."""
        return {"around exact laws": cls}

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Any:
        """The belief about the remaining parts."""
        count, device = batch_size(xt), next(iter(xt.values())).device
        known = {name: self._rows(name, value, count).to(device) for name, value in self.known.items()}
        times = {name: t * 0 if name in known else t for name in (*known, *xt)}
        belief = self.joint({**known, **xt}, times, drop, **condition)
        return _without(belief, known)

    def _rows(self, name: str, value: Tensor, count: int) -> Tensor:
        like = self.joint.process.parts[name].example_data(1)
        value = value if value.ndim >= like.ndim and len(value) == count else value.expand(count, *value.shape)
        return map_state(lambda part: part, value)


def _without(belief: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(belief, JointPosterior):
        return JointPosterior({name: part for name, part in belief.parts.items() if name not in known})
    if isinstance(belief, MixedPosterior):
        return MixedPosterior(belief.log_weights, [_without(member, known) for member in belief.members])
    raise InputError(f"{type(belief).__name__} is no belief about named parts")
