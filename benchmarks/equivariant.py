"""What a training step on molecules and on crystals costs: ``python -m benchmarks.equivariant``.

unstir's networks of points in space beside a dense EGNN as one would write it down: all pairs of a padded batch in one
table, the perceptron of a message applied to what both ends and their pair hold, side by side. All take the same parts
(positions, elements, bonds) of the same molecules, of 10 to 23 atoms as small organic ones are, answer all of them, and
have as many parameters to within a tenth. A step is forward, backward and Adam; all are stepped in turn, round after
round, so that other work on the machine slows them alike; the least processor time counts.

Of crystals, cells of 2 to 20 sites, the network of periodic cells computes groups of about one size; beside it stands
the same network on a batch all of whose cells have as many sites as the largest, which is what padding would cost.
Written to ``results/equivariant.md``.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.sampler_report import markdown
from unstir.core.catalogue import build
from unstir.networks.parts import Part

RESULTS = Path(__file__).parent / "results"
PARTS = {"positions": Part("points", 3, 3), "elements": Part("nodes", 5, 5), "bonds": Part("pairs", 4, 4)}
SIZES = {10: 1, 11: 3, 12: 7, 13: 13, 14: 14, 15: 17, 16: 14, 17: 12, 18: 8, 19: 6, 20: 2, 21: 2, 23: 1}
"""Of a hundred molecules so many have each number of atoms: those of QM7, rounded."""
LARGEST, BATCH = 23, 64
CELL = {"fractional": Part("sites", 3, 3), "elements": Part("nodes", 30, 30), "lattice": Part("whole", 6, 6)}
SITES = {2: 16, 3: 12, 4: 12, 5: 7, 6: 11, 8: 12, 9: 6, 10: 5, 12: 6, 14: 5, 16: 3, 18: 2, 20: 3}
"""Of a hundred crystals so many have each number of sites: about those of the embedded prototypes."""
State = Mapping[str, Tensor]


class Case(NamedTuple):
    """What is timed: a network, and its arguments, whose state is also what it learns to answer."""

    network: nn.Module
    state: State
    noise: Tensor
    mask: Tensor


class DenseEGNN(nn.Module):
    """Satorras, Hoogeboom, Welling (2021), eqs. 3 to 6, on a dense table of all pairs of the padded batch."""

    takes = "parts"

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stem = nn.Linear(PARTS["elements"].inputs + 1, width)
        self.rounds = nn.ModuleList(_Round(width) for _ in range(depth))
        self.elements = nn.Linear(width, PARTS["elements"].outputs)
        self.bonds = nn.Linear(width, PARTS["bonds"].outputs)

    def forward(self, x: State, noise: Tensor, drop: None = None, mask: Tensor | None = None) -> dict[str, Tensor]:
        """An answer for each part."""
        points, bonds = x["positions"], x["bonds"]
        level = noise[:, None, None].expand(*points.shape[:2], 1)
        there = mask[..., None].to(points)
        both = there[:, :, None] * there[:, None]
        h, message = self.stem(torch.cat((x["elements"], level), -1)) * there, points.new_zeros(0)
        for step in self.rounds:
            h, points, message = step(h, points, bonds, there, both)
        told = self.bonds(message + message.transpose(1, 2)) * both
        return {"positions": points - x["positions"], "elements": self.elements(h) * there, "bonds": told}


class _Round(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.message = _perceptron(2 * width + 1 + PARTS["bonds"].inputs, width, width)
        self.move = _perceptron(width, width, 1)
        self.update = _perceptron(2 * width, width, width)

    def forward(
        self, h: Tensor, points: Tensor, bonds: Tensor, there: Tensor, both: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = h.shape[1]
        away = points[:, :, None] - points[:, None]
        squared = away.square().sum(-1, keepdim=True)
        ends = (h[:, :, None].expand(-1, -1, count, -1), h[:, None].expand(-1, count, -1, -1))
        message = nn.functional.silu(self.message(torch.cat((*ends, squared, bonds), -1))) * both
        points = points + (away / (squared + 1e-8).sqrt().add(1) * self.move(message) * both).sum(2) / count
        return h + self.update(torch.cat((h, message.sum(2)), -1)) * there, points, message


def _perceptron(first: int, width: int, last: int) -> nn.Module:
    return nn.Sequential(nn.Linear(first, width), nn.SiLU(), nn.Linear(width, last))


def networks(scale: float = 1.0) -> dict[str, nn.Module]:
    """The networks that are timed; ``scale`` shrinks all of them."""

    def wide(width: int) -> int:
        return max(8, 8 * round(width * scale / 8))

    torch.manual_seed(0)
    options = {"width": wide(96), "pair_width": wide(32), "depth": 5, "embedding": wide(64)}
    ours = build("networks", {"name": "equivariant-transformer", **options}, shape=PARTS, conditions={})
    egnn = {"name": "egnn", "width": wide(128), "depth": 5, "embedding": wide(64)}
    return {
        "equivariant-transformer": ours,
        "egnn": build("networks", egnn, shape=PARTS, conditions={}),
        "a dense EGNN": DenseEGNN(wide(136), 5),
    }


def molecules(batch: int = BATCH, seed: int = 0) -> tuple[State, Tensor, Tensor]:
    """Random states of the sizes that molecules have, noise levels and the mask."""
    generator = torch.Generator().manual_seed(seed)
    mask = _mask(SIZES, batch, generator)
    points = torch.randn(batch, LARGEST, 3, generator=generator) * mask[..., None]
    elements = torch.randint(5, (batch, LARGEST), generator=generator)
    bonds = torch.randint(4, (batch, LARGEST, LARGEST), generator=generator).triu(1)
    code = nn.functional.one_hot
    state = {"positions": points, "elements": code(elements, 5).float(), "bonds": code(bonds + bonds.mT, 4).float()}
    return state, torch.randn(batch, generator=generator) / 2, mask


def _mask(counts: Mapping[int, int], batch: int, generator: torch.Generator) -> Tensor:
    """That of a batch whose sizes are drawn as often as they are counted."""
    lengths = torch.tensor([size for size, count in counts.items() for _ in range(count)])
    lengths = lengths[torch.randint(len(lengths), (batch,), generator=generator)]
    return torch.arange(max(counts)) < lengths[:, None]


def crystals(batch: int, scale: float = 1.0, seed: int = 0) -> dict[str, Case]:
    """The network of periodic cells, on cells of unequal size and on as many of the largest one."""
    torch.manual_seed(0)
    width = max(16, 16 * round(128 * scale / 16))
    options = {"name": "periodic-transformer", "width": width, "depth": 3}
    network = build("networks", options, shape=CELL, conditions={})
    generator = torch.Generator().manual_seed(seed)
    mask = _mask(SITES, batch, generator)
    state = {name: torch.randn(*mask.shape, part.inputs, generator=generator) for name, part in CELL.items()}
    state["lattice"] = state["lattice"][:, 0]
    noise = torch.randn(batch, generator=generator) / 2
    return {
        "cells of 2 to 20 sites": Case(network, state, noise, mask),
        "all of 20 sites": Case(network, state, noise, torch.ones_like(mask)),
    }


def least_times(timed: Mapping[str, Case], rounds: int) -> dict[str, float]:
    """The least processor seconds of a training step of each, over interleaved rounds."""
    optimizers = {name: torch.optim.Adam(case.network.parameters()) for name, case in timed.items()}
    found: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(rounds + 1):
        for name, (network, state, noise, mask) in timed.items():
            began = time.process_time()
            answer = network(state, noise, mask=mask)
            sum((answer[part] - state[part]).square().mean() for part in state).backward()
            optimizers[name].step()
            optimizers[name].zero_grad()
            if number:  # the first one warms up
                found[name].append(time.process_time() - began)
    return {name: min(seconds) for name, seconds in found.items()}


def table(timed: Mapping[str, Case], least: Mapping[str, float], first: str, what: str) -> str:
    """A line for each; the last one is what the others are held against."""
    plain = list(timed)[-1]
    lines = [
        [
            name,
            f"{sum(parameter.numel() for parameter in case.network.parameters()) / 1e6:.2f}",
            f"{1e3 * least[name]:.1f}",
            f"{len(case.mask) / least[name]:.0f}",
            f"{least[plain] / least[name]:.2f}",
        ]
        for name, case in timed.items()
    ]
    return markdown((first, "parameters (M)", "ms a step", f"{what} a processor second", f"times {plain}"), lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="What a training step on molecules and crystals costs.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--scale", type=float, default=1.0, help="of the networks' widths")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    inside = {name: Case(network, *molecules(given.batch)) for name, network in networks(given.scale).items()}
    cells = crystals(given.batch, given.scale)
    text = [
        "# Training steps on molecules and crystals",
        f"torch {torch.__version__}, one thread, float32, batches of {given.batch}; least processor time in "
        f"{given.rounds} interleaved rounds of forward, backward and Adam. Molecules have 10 to 23 atoms. Made by "
        "`python -m benchmarks.equivariant`.",
        table(inside, least_times(inside, given.rounds), "network", "molecules"),
        table(cells, least_times(cells, given.rounds), "periodic-transformer on", "crystals"),
    ]
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "equivariant.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print("\n\n".join(text[2:]))


if __name__ == "__main__":
    main()
