"""Claims of networks on periodic cells: what they do not see of a crystal, alone and through a whole sampling run."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.catalogue import build
from unstir.core.seeds import Seeds
from unstir.denoisers.learned.joint import JointDenoiser
from unstir.networks.parts import Part
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.pairs import PairsProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most

__all__ = ["periodic_network_knows_no_origin", "periodic_samples_move_with_their_noise"]

_SMALL = {"width": 32, "depth": 2, "embedding": 32}
_PARTS = {
    "sites": Part("sites", 3, 6),
    "kinds": Part("nodes", 4, 4),
    "bonds": Part("pairs", 2, 2),
    "lattice": Part("whole", 6, 6),
}
_CONDITIONS = {"label": {"classes": 3}, "vector": {"size": 2}, "elements": {"channels": 5}, "contacts": {"pairs": 2}}
_BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-10}
_PADDED = ("sites", "kinds", "bonds", "elements", "contacts")


@claim("networks", "periodic-transformer")
def periodic_network_knows_no_origin(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """Moving all sites, or one by a lattice vector, changes nothing; permuting permutes; padding is not seen."""
    batch, sites, room = 6, 5, 8
    for dtype, bound in _BOUNDS.items():
        own = _stirred("periodic-transformer", _PARTS, _CONDITIONS).to(dtype)
        x, told = _crystal(batch, sites, effort, dtype)
        mask = torch.arange(sites) < torch.tensor([5, 5, 4, 3, 1, 5])[:, None]
        told = {**told, "mask": mask}
        noise = torch.linspace(-1.5, 1.5, batch, dtype=dtype)
        with torch.no_grad():
            answer = own(x, noise, **told)
            moves = effort.seeds(batch, "moves").uniform((1, 3)).to(dtype)
            whole = effort.seeds(batch, "images").integers(-3, 4, (sites, 3))
            moved = own({**x, "sites": (x["sites"] + moves) % 1}, noise, **told)
            imaged = own({**x, "sites": x["sites"] + whole}, noise, **told)
            order = torch.tensor([3, 0, 4, 1, 2])
            permuted = own(_permuted(x, order), noise, **_permuted(told, order))
            widened = own(_widened(x, room, mask), noise, **_widened(told, room, mask), mask=_wide(mask, room, 0.0))
        name = str(dtype).removeprefix("torch.")
        yield at_most(f"all sites moved together, {name}", _gap(moved, answer), bound)
        yield at_most(f"sites moved by lattice vectors, {name}", _gap(imaged, answer), bound)
        yield at_most(f"sites permuted, {name}", _gap(permuted, _permuted(answer, order)), bound)
        cut = {key: part if key == "lattice" else _cut(part, sites) for key, part in widened.items()}
        yield at_most(f"more padding, and other things in it, {name}", _gap(cut, answer), bound)
        table = answer["bonds"]
        yield at_most(f"asymmetry of pairs, {name}", (table - table.transpose(1, 2)).abs().max(), bound)


@claim("networks", "periodic-transformer")
def periodic_samples_move_with_their_noise(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """A whole ancestral run from noise that is moved by some vector ends in the same crystals, moved by it.

    Samples of all parts together, and of a set that is padded; the vector of each sample is another.
    """
    count, sites = effort.of(8, 32), 5
    process = JointProcess(
        {
            "sites": WrappedProcess(ExponentialVESchedule(0.01, 1.0)),
            "kinds": CategoricalProcess(4),
            "bonds": PairsProcess(2),
            "lattice": GaussianProcess(CosineSchedule()),
        },
        whole=["lattice"],
    )
    shape = {"sites": (sites, 3), "kinds": (sites,), "bonds": (sites * (sites - 1) // 2,), "lattice": (6,)}
    denoiser = JointDenoiser(None, process, layout="parts")
    parts, _ = denoiser.network_size(shape)
    mask = torch.arange(sites) < torch.tensor([5, 3])[torch.arange(count) % 2][:, None]
    moves = effort.seeds(count, "moves").uniform((1, 3))
    for dtype, bound in _BOUNDS.items():
        denoiser.network = _stirred("periodic-transformer", parts, {}, share=0.3).to(dtype)
        seeds = Seeds.range(effort.seed, count)
        start = process.prior(shape, seeds.at("start"), dtype=dtype, mask=mask)
        ends = []
        for first in (start, {**start, "sites": _moved(start["sites"], moves, mask)}):
            ends.append(
                sample(
                    denoiser,
                    AncestralSampler(),
                    shape,
                    seeds=seeds,
                    steps=effort.of(10, 30),
                    grid="uniform",
                    start=first,
                    condition={"mask": mask},
                    batch=count,
                    dtype=dtype,
                )
            )
        name = str(dtype).removeprefix("torch.")
        away = ends[1]["sites"] - _moved(ends[0]["sites"], moves, mask)
        yield at_most(f"sites, {name}, in periods", (away - away.round()).abs().max(), bound)
        for part in ("kinds", "bonds"):
            yield at_most(f"tokens that differ, {part}, {name}", (ends[0][part] != ends[1][part]).sum(), 0.0)
        gap = (ends[0]["lattice"] - ends[1]["lattice"]).abs().max()
        yield at_most(f"lattice, {name}", gap / ends[0]["lattice"].abs().max(), bound)


def _stirred(name: str, shape: Any, conditions: Mapping[str, Mapping[str, int]], share: float = 1.0) -> nn.Module:
    """A network in which no weight is zero: a ``share`` of noise of the weights' usual size is added."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = build("networks", {"name": name, **_SMALL}, shape=shape, conditions=conditions)
        with torch.no_grad():
            for parameter in network.parameters():
                width = parameter[0].numel() if parameter.ndim > 1 else 100
                parameter += share * torch.randn(parameter.shape) / width**0.5
    return network.eval()


def _crystal(batch: int, sites: int, effort: Effort, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A state of all parts and one of each condition."""
    seeds = effort.seeds(batch, "crystal")

    def normal(name: str, *shape: int) -> Tensor:
        drawn = seeds.at(name).normal(shape, torch.float64)
        return (drawn + drawn.transpose(1, 2) if len(shape) == 3 else drawn).to(dtype)

    x = {
        "sites": seeds.at("sites").uniform((sites, 3)).to(dtype),
        "kinds": normal("kinds", sites, 4),
        "bonds": normal("bonds", sites, sites, 2),
        "lattice": normal("lattice", 6),
    }
    told = {
        "label": torch.arange(batch) % 3,
        "vector": normal("vector", 2),
        "elements": normal("elements", sites, 5),
        "contacts": normal("contacts", sites, sites, 2),
    }
    return x, told


def _moved(sites: Tensor, moves: Tensor, mask: Tensor) -> Tensor:
    moved = ((sites.double() + moves) % 1).to(sites.dtype)
    return torch.where(mask[..., None], torch.where(moved < 1, moved, 0.0), 0.0)


def _permuted(values: Mapping[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    found = dict(values)
    for name in set(values) & {*_PADDED, "mask"}:
        found[name] = values[name][:, order]
        if name in ("bonds", "contacts"):
            found[name] = found[name][:, :, order]
    return found


def _wide(values: Tensor, room: int, filling: float) -> Tensor:
    """With more places, and in all places of padding the ``filling``."""
    wide = torch.full((len(values), room, *values.shape[2:]), filling, dtype=values.dtype)
    wide[:, : values.shape[1]] = values
    return wide


def _widened(values: Mapping[str, Tensor], room: int, mask: Tensor) -> dict[str, Tensor]:
    found = {name: part for name, part in values.items() if name != "mask"}
    for name in set(values) & set(_PADDED):
        part = torch.where(mask.reshape(*mask.shape, *(1,) * (values[name].ndim - 2)), values[name], 7.0)
        found[name] = _wide(part, room, 7.0)
        if name in ("bonds", "contacts"):
            part = torch.where(mask.reshape(len(mask), 1, -1, 1), found[name].narrow(2, 0, mask.shape[1]), 7.0)
            found[name] = _wide(part.transpose(1, 2), room, 7.0).transpose(1, 2)
    return found


def _cut(values: Tensor, sites: int) -> Tensor:
    return values[:, :sites, :sites] if values.ndim == 4 else values[:, :sites]


def _gap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The largest difference in any part, relative to the part."""
    return max(float((first[name] - second[name]).abs().max() / second[name].abs().max()) for name in second)
