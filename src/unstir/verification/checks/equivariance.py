"""Claims of networks of points in space: they turn with the points, alone, in sampling runs and in densities."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.catalogue import build
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.centred import CentredDenoiser
from unstir.denoisers.learned.joint import JointDenoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.likelihood.flow import flow_log_density
from unstir.networks.parts import Part
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.centred import CentredProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.pairs import PairsProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.base import sample
from unstir.samplers.joint import JointSampler
from unstir.verification.base import Effort, Measured, claim
from unstir.verification.statistics import at_most

__all__ = [
    "network_densities_do_not_turn",
    "network_knows_no_order_and_no_padding",
    "network_samples_turn_with_their_noise",
    "network_turns_with_the_points",
]

_NETWORKS = ("egnn", "equivariant-transformer")
_SMALL = {"width": 16, "pair_width": 8, "depth": 2, "embedding": 16}
_PARTS = {
    "positions": Part("points", 3, 6),
    "elements": Part("nodes", 4, 4),
    "bonds": Part("pairs", 2, 2),
    "energy": Part("whole", 3, 3),
}
_CONDITIONS = {"label": {"classes": 3}, "vector": {"size": 2}, "fragment": {"channels": 5}, "contacts": {"pairs": 2}}
_OF_ATOMS, _OF_PAIRS = ("positions", "elements", "fragment", "mask"), ("bonds", "contacts")
_BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-10}
_LENGTHS = torch.tensor([5, 4, 3, 2, 1, 5])
_ROOM = 3  # further places of padding
_SEEN = 1e-3  # of its answer a chiral network changes for a mirror image at least; rounding is below 1e-5


@claim("networks", *_NETWORKS)
def network_turns_with_the_points(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """Vectors turn with the points and all else stays, wherever the points are; mirrors too, unless it is chiral."""
    count, atoms = len(_LENGTHS), int(_LENGTHS.max())
    mask = torch.arange(atoms) < _LENGTHS[:, None]
    turns = _turns(effort, count)
    for dtype, bound in _BOUNDS.items():
        x, told = _molecules(effort, count, atoms, dtype)
        noise, turn = torch.linspace(-1.5, 1.5, count, dtype=dtype), turns.to(dtype)
        moved = effort.seeds(count, "moved").normal((1, 3), torch.float64).to(dtype)
        for chiral in (False, True):
            own = _stirred(type(network), _PARTS, _CONDITIONS, chiral=chiral).to(dtype)
            with torch.no_grad():
                answer = own(x, noise, mask=mask, **told)
                turned = own({**x, "positions": x["positions"] @ turn}, noise, mask=mask, **told)
                mirrored = own({**x, "positions": -x["positions"] @ turn}, noise, mask=mask, **told)
                away = own({**x, "positions": x["positions"] + moved}, noise, mask=mask, **told)
            name = str(dtype).removeprefix("torch.") + (", chiral" if chiral else "")
            yield at_most(f"after a rotation, {name}", _gap(turned, _turned(answer, turn)), bound)
            yield at_most(f"after a move, {name}", _gap(away, answer), bound)
            gap = _gap(mirrored, _turned(answer, -turn))
            if chiral:
                yield Measured(f"difference of mirror images, {name}", gap, low=_SEEN)
            else:
                yield at_most(f"after a reflection, {name}", gap, bound)


@claim("networks", *_NETWORKS)
def network_knows_no_order_and_no_padding(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """Permuting elements permutes the answer, pairs are answered symmetrically, and padding is not seen."""
    count, atoms = len(_LENGTHS), int(_LENGTHS.max())
    mask, order = torch.arange(atoms) < _LENGTHS[:, None], torch.tensor([3, 0, 4, 1, 2])
    for dtype, bound in _BOUNDS.items():
        own = _stirred(type(network), _PARTS, _CONDITIONS).to(dtype)
        x, told = _molecules(effort, count, atoms, dtype)
        told["mask"], noise = mask, torch.linspace(-1.5, 1.5, count, dtype=dtype)
        with torch.no_grad():
            answer = own(x, noise, **told)
            permuted = own(_permuted(x, order), noise, **_permuted(told, order))
            wide = own(_widened(x, mask), noise, **{**_widened(told, mask), "mask": _padded(mask, atoms, 0)})
        name = str(dtype).removeprefix("torch.")
        yield at_most(f"permuted, {name}", _gap(permuted, _permuted(answer, order)), bound)
        cut = {key: part[:, :atoms] if key != "energy" else part for key, part in wide.items()}
        cut["bonds"] = cut["bonds"][:, :, :atoms]
        yield at_most(f"with more padding that holds other things, {name}", _gap(cut, answer), bound)
        left = max(float(part.abs().max()) for part in _padding(wide, _padded(mask, atoms, 0)))
        yield at_most(f"answers in padded places, {name}", left, 0.0)
        table = answer["bonds"]
        yield at_most(f"asymmetry of pairs, {name}", (table - table.transpose(1, 2)).abs().max(), 0.0)


@claim("networks", *_NETWORKS)
def network_samples_turn_with_their_noise(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """A whole run from noise that is turned ends in the same molecules, turned: of points alone, of joint states."""
    count, atoms = effort.of(6, 24), 5
    turns, seeds = _turns(effort, count), Seeds.range(effort.seed, count)
    mask = torch.arange(atoms) < torch.tensor([5, 4, 2])[torch.arange(count) % 3][:, None]
    for dtype, bound in _BOUNDS.items():
        turn, name = turns.to(dtype), str(dtype).removeprefix("torch.")
        for what in ("points", "all parts"):
            denoiser, shape, sampler = _model(type(network), what, atoms)
            denoiser.network.to(dtype)  # type: ignore[union-attr]
            start = denoiser.process.prior(shape, seeds.at("start"), dtype=dtype, mask=mask)
            ends = [
                sample(
                    denoiser, sampler, shape, seeds=seeds, steps=effort.of(10, 30), grid="uniform", start=first,
                    condition={"mask": mask}, batch=count, dtype=dtype,
                )
                for first in (start, _with_positions(start, lambda points, by=turn: points @ by))
            ]  # fmt: skip
            one, other = (end if isinstance(end, Mapping) else {"positions": end} for end in ends)
            gap = (one["positions"] @ turn - other["positions"]).abs().max() / one["positions"].abs().max()
            yield at_most(f"positions, {what}, {name}", gap, bound)
            for part in sorted({"elements", "bonds"} & set(one)):
                yield at_most(f"tokens that differ, {part}, {name}", (one[part] != other[part]).sum(), 0.0)
            if "energy" in one:
                gap = (one["energy"] - other["energy"]).abs().max() / one["energy"].abs().max()
                yield at_most(f"numbers of the whole, {name}", gap, bound)


@claim("networks", *_NETWORKS)
def network_densities_do_not_turn(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """The log-density by the probability flow is the same for a set of points, turned, mirrored and renumbered."""
    count, atoms = effort.of(1, 4), 3
    centred, shape, _ = _model(type(network), "points", atoms)
    centred.network.double()
    denoiser, turns = _WithoutCentre(centred, atoms), _turns(effort, count)
    x = centred.process.project(effort.seeds(count, "density").normal(shape, torch.float64))
    others = {"turned": x @ turns, "mirrored and renumbered": -x[:, [2, 0, 1]] @ turns}
    # the solver chooses its steps by numbers that turn, so that its own error is what is left
    options = {"level": effort.of(3.0, 0.1), "divergence": "exact", "tolerance": effort.of(1e-5, 1e-6)}
    with torch.no_grad():
        nats = flow_log_density(denoiser, denoiser.inside(x), **options).nats
        for what, points in others.items():
            gap = (flow_log_density(denoiser, denoiser.inside(points), **options).nats - nats).abs().max()
            yield at_most(f"change of the log-density, {what}, in nats", gap, 1e-5)


class _WithoutCentre(Denoiser):
    """A belief about centred points, told in an orthonormal basis of the subspace without a centre, (n - 1, d)."""

    def __init__(self, inner: CentredDenoiser, points: int) -> None:
        super().__init__()
        self.inner, self.process = inner, GaussianProcess(inner.process.schedule)
        self.basis = torch.linalg.qr(torch.eye(points, dtype=torch.float64) - 1 / points).Q[:, : points - 1]

    def inside(self, points: Tensor) -> Tensor:
        """Points (batch, n, d) in that basis."""
        return self.basis.T.to(points) @ points

    def forward(self, xt: Tensor, t: Any, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """The inner belief's mean, in the basis."""
        return PointPosterior(self.inside(self.inner(self.basis.to(xt) @ xt, t, drop, **condition).mean))


def _model(factory: Any, what: str, atoms: int) -> tuple[Any, Any, Any]:
    """A denoiser with such a network in it, the shape of a sample, and a sampler."""
    points = CentredProcess(EDMSchedule(sigma_max=10.0, rho=3.0))
    sampler = build("samplers", "ddim")
    if what == "points":
        network = _stirred(factory, (atoms, 3), {}, share=0.3)
        return CentredDenoiser(network, points).eval(), (atoms, 3), sampler
    parts = {
        "positions": points,
        "elements": CategoricalProcess(4),
        "bonds": PairsProcess(2),
        "energy": GaussianProcess(),
    }
    process = JointProcess(parts, whole=["energy"])
    shape = {"positions": (atoms, 3), "elements": (atoms,), "bonds": (atoms * (atoms - 1) // 2,), "energy": (3,)}
    denoiser = JointDenoiser(None, process, layout="parts")
    denoiser.network = _stirred(factory, denoiser.network_size(shape)[0], {}, share=0.3)
    return denoiser.eval(), shape, JointSampler({"positions": sampler, "energy": sampler})


def _stirred(factory: Any, shape: Any, conditions: Any, share: float = 1.0, chiral: bool = False) -> nn.Module:
    """A network in which no weight is zero: noise of the weights' usual size, or a ``share`` of it, is added."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = factory(shape, conditions, chiral=chiral, **_SMALL)
        with torch.no_grad():
            for parameter in network.parameters():
                width = parameter[0].numel() if parameter.ndim > 1 else 100
                parameter += share * torch.randn(parameter.shape) / width**0.5
    return network.eval()


def _turns(effort: Effort, count: int) -> Tensor:
    """Rotations, float64 (count, 3, 3)."""
    found = torch.linalg.qr(effort.seeds(count, "turns").normal((3, 3), torch.float64)).Q
    return found * found.det()[:, None, None]


def _molecules(
    effort: Effort, count: int, atoms: int, dtype: torch.dtype
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A state of all parts and one of each condition."""
    seeds = effort.seeds(count, "molecules")

    def draw(name: str, *form: int) -> Tensor:
        drawn = seeds.at(name).normal(form, torch.float64)
        return (drawn + drawn.transpose(1, 2) if len(form) == 3 else drawn).to(dtype)

    x = {
        "positions": draw("positions", atoms, 3),
        "elements": draw("elements", atoms, 4),
        "bonds": draw("bonds", atoms, atoms, 2),
        "energy": draw("energy", 3),
    }
    told = {
        "label": torch.arange(count) % 3,
        "vector": draw("vector", 2),
        "fragment": draw("fragment", atoms, 5),
        "contacts": draw("contacts", atoms, atoms, 2),
    }
    return x, told


def _with_positions(state: Any, change: Any) -> Any:
    return {**state, "positions": change(state["positions"])} if isinstance(state, Mapping) else change(state)


def _turned(answer: Mapping[str, Tensor], turn: Tensor) -> dict[str, Tensor]:
    vectors = answer["positions"].unflatten(-1, (-1, 3)) @ turn[:, None]
    return {**answer, "positions": vectors.flatten(-2)}


def _permuted(values: Mapping[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    found = dict(values)
    for name in set(values) & {*_OF_ATOMS, *_OF_PAIRS}:
        found[name] = values[name][:, order][:, :, order] if name in _OF_PAIRS else values[name][:, order]
    return found


def _padded(values: Tensor, size: int, filling: Any) -> Tensor:
    wide = torch.full((len(values), size + _ROOM, *values.shape[2:]), filling, dtype=values.dtype)
    wide[:, :size] = values
    return wide


def _widened(values: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    """With more places, and sevens in all that are not there."""
    found, size = dict(values), mask.shape[1]
    for name in set(values) & {"positions", "elements", "fragment"}:
        found[name] = _padded(torch.where(mask[..., None], values[name], 7.0), size, 7.0)
    for name in set(values) & set(_OF_PAIRS):
        there = (mask[:, :, None] & mask[:, None])[..., None]
        table = _padded(torch.where(there, values[name], 7.0), size, 7.0).transpose(1, 2)
        found[name] = _padded(table, size, 7.0).transpose(1, 2)
    return found


def _padding(answer: Mapping[str, Tensor], mask: Tensor) -> list[Tensor]:
    pairs = mask[:, :, None] & mask[:, None]
    return [answer["positions"][~mask], answer["elements"][~mask], answer["bonds"][~pairs]]


def _gap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """The largest difference in any part, relative to the part."""
    return max(float((first[name] - second[name]).abs().max() / second[name].abs().max()) for name in second)
