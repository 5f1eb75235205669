"""A network of a few weights that takes parts, to test what is built around such networks."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from unstir.denoisers.learned.joint import JointDenoiser
from unstir.networks.parts import Part


class Plain(nn.Module):
    """Every part is answered from the mean of all parts; records what it was called with."""

    takes: ClassVar[str] = "parts"

    def __init__(self, shape: dict[str, Part]) -> None:
        super().__init__()
        self.shape, self.called = shape, []
        seen = sum(part.inputs for part in shape.values() if part.kind not in ("points", "sites"))
        asked = {name: part.outputs for name, part in shape.items() if part.outputs}
        self.maps = nn.ModuleDict({name: nn.Linear(seen + 1, outputs) for name, outputs in asked.items()})

    def forward(self, x: dict[str, Tensor], noise: Tensor, drop: Any = None, mask: Any = None, **condition: Any) -> Any:
        self.called.append({"x": x, "noise": noise, "drop": drop, "mask": mask, **condition})
        told = [noise[:, None]]
        for name, part in self.shape.items():
            if part.kind not in ("points", "sites"):
                told.append(x[name].flatten(1, -2).mean(1) if x[name].ndim > 2 else x[name])
        common = torch.cat(told, 1)
        answers = {}
        for name, tell in self.maps.items():
            part, answer = self.shape[name], tell(common)
            places = x[name].shape[1:-1]
            answer = answer.reshape(len(answer), *(1,) * len(places), part.outputs)
            answers[name] = answer.expand(-1, *places, -1) * (x[name] if part.kind == "points" else 1)
        return answers


def parts_denoiser(process: Any, shape: Any, **options: Any) -> JointDenoiser:
    """A joint denoiser of the layout ``parts`` with a plain network in it."""
    made = JointDenoiser(None, process, layout="parts", **options)
    size, _ = made.network_size(shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made.network = Plain(size)
    return made.eval()
