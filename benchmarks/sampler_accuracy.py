"""Samplers beside the peers' at equal numbers of network calls: ``python -m benchmarks.sampler_accuracy``.

Every library is given the same exact E[x_0 | y] of three mixtures of Gaussians in float64 and the same noise, and is
asked for samples in at most 5 to 100 calls, on its own grid and on a common one. Two things are measured:

- of deterministic samplers, the distance of 1024 trajectories to the exact solution of the probability-flow ODE from
  the same noise and the library's own first noise level, over the square root of the dimension: root mean square
  (ruled by the few that end in the wrong mode) and median;
- of stochastic samplers, the sliced Wasserstein-2 distance of independent runs to fresh samples, and the total
  variation of the modes' shares, both beside the floor that fresh samples themselves have.

All rows go to ``results/sampler_accuracy.csv`` and the tables to ``results/sampler_accuracy.md``. The peers' rows are
kept while their versions and the definitions stay as they are, so that only unstir's are made anew; a peer that is
not installed is told by the rows that are there.
"""

import argparse
import csv
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import unstir
from benchmarks.peers_samplers import PEERS, peer_cases, peer_version
from benchmarks.sampler_cases import Case, CountedDenoiser, Draw, our_cases
from benchmarks.sampler_report import Floor, render
from benchmarks.sampler_targets import TARGETS, MixtureTarget, solve_flow

RESULTS = Path(__file__).parent / "results"
BUDGETS = (5, 6, 8, 10, 15, 20, 30, 50, 100)
TRAJECTORIES = 1024
DIRECTIONS = 128
MEASURES = ("trajectory_rms", "trajectory_median", "sliced_w2", "mode_tv")
Row = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How much is measured: calls, most samples, independent runs of a stochastic sampler, sets of fresh samples."""

    budgets: tuple[int, ...] = BUDGETS
    count: int = 8192
    repeats: int = 2
    references: int = 8
    floors: int = 24


QUICK = Effort((6, 20), 512, 1, 2, 6)


class Measurement:
    """One target, with its noise, its fresh samples and its exact trajectories."""

    def __init__(self, target: MixtureTarget, effort: Effort) -> None:
        self.target, self.effort = target, effort
        self.count = min(target.count, effort.count)
        self.directions = _directions(target.dimension)
        seeds = (2, *range(201, 200 + effort.references))
        self.fresh = [self._projected(target.draw(self.count, seed)) for seed in seeds]
        self._exact: dict[tuple[str, str], Tensor] = {}

    def noise(self, repeat: int = 0) -> Tensor:
        """Unit noise, (count, d)."""
        generator = torch.Generator().manual_seed(1 + 1000 * repeat)
        return torch.randn(self.count, self.target.dimension, generator=generator, dtype=torch.float64)

    def exact(self, sigma: float, scale: float) -> Tensor:
        """Where the trajectories end that begin at ``scale`` times the noise, at the noise level ``sigma``."""
        key = f"{sigma:.7g}", f"{scale:.7g}"
        if key not in self._exact:
            self._exact[key] = solve_flow(self.target, scale * self.noise()[:TRAJECTORIES], sigma)
        return self._exact[key]

    def distances(self, samples: Tensor) -> tuple[float, float]:
        """Sliced Wasserstein-2 to fresh samples (the mean over their sets), and the total variation of the modes."""
        projected = self._projected(samples)
        sliced = [(projected - fresh).square().mean().sqrt().item() for fresh in self.fresh]
        varied = (self.target.occupancy(samples) - self.target.weights).abs().sum().item() / 2
        return sum(sliced) / len(sliced), varied

    @cached_property
    def floor(self) -> Floor:
        """The same distances of further fresh samples, and how they spread; and the error of the exact trajectories."""
        scores = [self.distances(self.target.draw(self.count, 301 + index)) for index in range(self.effort.floors)]
        spread, mean = torch.std_mean(torch.tensor(scores, dtype=torch.float64), 0)
        start = 80.0 * self.noise()[:TRAJECTORIES]
        coarse = solve_flow(self.target, start, 80.0, step=0.12)
        error = trajectory_errors(coarse, self.exact(80.0, 80.0))[0]
        return Floor(self.count, mean.tolist(), spread.tolist(), error)

    def row(self, case: Case, budget: float) -> Row:
        """Runs a sampler and scores it; a failure is a finding, not the end of the benchmark."""
        row: Row = {"target": self.target.name, "library": case.library, "sampler": case.sampler, "grid": case.grid}
        row |= {"deterministic": case.deterministic, "budget": budget, "calls": 0.0, "pilot_rows": 0}
        row |= dict.fromkeys(MEASURES, math.nan) | {"note": ""}
        denoise = CountedDenoiser(self.target)
        try:
            draw = case.prepare(denoise, budget)
            row["pilot_rows"], denoise.rows = denoise.rows, 0
            scores = self._trajectories(draw) if case.deterministic else self._laws(draw)
        except Exception as error:
            return row | {"note": f"{type(error).__name__}: {error}".splitlines()[0][:90]}
        rows = min(TRAJECTORIES, self.count) if case.deterministic else self.count * self.effort.repeats
        row["calls"] = round(denoise.rows / rows, 2)
        if not all(map(math.isfinite, scores.values())):
            row["note"] = "not finite"
        elif case.budgets is None and row["calls"] > budget:
            row["note"] = "more calls than allowed"
        return row | scores

    def _trajectories(self, draw: Draw) -> dict[str, float]:
        run = draw(self.noise()[:TRAJECTORIES], 3)
        errors = trajectory_errors(run.samples, self.exact(run.start_sigma, run.start_scale))
        return dict(zip(MEASURES[:2], errors, strict=True))

    def _laws(self, draw: Draw) -> dict[str, float]:
        scores = [self.distances(draw(self.noise(k), 3 + k).samples) for k in range(self.effort.repeats)]
        means = torch.tensor(scores, dtype=torch.float64).mean(0)
        return dict(zip(MEASURES[2:], means.tolist(), strict=True))

    @property
    def definition(self) -> str:
        """A mark of all that the figures depend on beside the libraries."""
        target = self.target
        figures = (target.weights, target.means, target.floors, target.axes, target.spreads)
        digest = hashlib.blake2b(repr(replace(self.effort, budgets=(), floors=0)).encode(), digest_size=4)
        for figure in figures:
            digest.update(figure.numpy().tobytes())
        return digest.hexdigest()

    def _projected(self, samples: Tensor) -> Tensor:
        return (samples @ self.directions).T.contiguous().sort(dim=1).values


def _directions(dimension: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    directions = torch.randn(dimension, DIRECTIONS, generator=generator, dtype=torch.float64)
    return directions / directions.norm(dim=0)


def trajectory_errors(samples: Tensor, exact: Tensor) -> tuple[float, float]:
    """Root mean square and median of the distances of rows, over the square root of the dimension."""
    distances = (samples - exact).norm(dim=1) / math.sqrt(samples.shape[1])
    return distances.square().mean().sqrt().item(), distances.median().item()


class Table:
    """The rows measured so far, in a file that is written after every sampler."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                self.rows = [_read(row) for row in csv.DictReader(stream)]

    def of(self, target: str, library: str | None = None) -> list[Row]:
        """The rows of a target (and a library)."""
        return [row for row in self.rows if row["target"] == target and library in (None, row["library"])]

    def replace(self, old: Iterable[Row], new: Sequence[Row]) -> None:
        """Takes ``old`` rows out, puts ``new`` ones in, and writes the file."""
        gone = {id(row) for row in old}
        self.rows = [row for row in self.rows if id(row) not in gone] + list(new)
        if not self.rows:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
                for row in self.rows
            )


def _read(row: dict[str, str]) -> Row:
    numbers = {key: float(row[key]) for key in ("budget", "calls", *MEASURES)}
    return {**row, **numbers, "deterministic": row["deterministic"] == "True", "pilot_rows": int(row["pilot_rows"])}


def measure(table: Table, measurement: Measurement, library: str, only: Sequence[str] = ()) -> None:
    """Brings the rows of one library on one target up to date; ``only`` names samplers by a part of their name."""
    name = measurement.target.name
    known = table.of(name, library)
    made_with = f"{library} {unstir.__version__ if library == 'unstir' else peer_version(library)}, "
    made_with += f"torch {version('torch').split('+')[0]}, {measurement.definition}"
    stale = [row for row in known if row["made_with"] != made_with] if library != "unstir" else []
    table.replace(stale, [])
    cases = our_cases() if library == "unstir" else peer_cases(library)
    for case in cases:
        if only and not any(part in case.sampler for part in only):
            continue
        there = [row for row in table.of(name, library) if (row["sampler"], row["grid"]) == (case.sampler, case.grid)]
        budgets = case.budgets or measurement.effort.budgets
        if library != "unstir" and {row["budget"] for row in there} >= set(budgets):
            continue
        rows = [measurement.row(case, budget) | {"made_with": made_with} for budget in budgets]
        table.replace(there, rows)
        notes = {row["note"] for row in rows if row["note"]}
        print(f"{name}: {library} {case.sampler} ({case.grid}) {'; '.join(sorted(notes))}", flush=True)
    if library == "unstir" and not only:
        current = {(case.sampler, case.grid) for case in cases}
        table.replace([row for row in table.of(name, library) if (row["sampler"], row["grid"]) not in current], [])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="Samplers beside the peers' at equal numbers of network calls.")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--libraries", nargs="*", default=["unstir", *PEERS], choices=["unstir", *PEERS])
    parser.add_argument("--only", nargs="*", default=[], help="samplers whose name holds one of these")
    parser.add_argument("--quick", action="store_true", help="two budgets, few samples, a file of its own")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    effort = QUICK if given.quick else Effort()
    stem = given.output / ("sampler_accuracy_quick" if given.quick else "sampler_accuracy")
    table = Table(stem.with_suffix(".csv"))
    floors = {}
    for name in given.targets:
        measurement = Measurement(TARGETS[name](), effort)
        floors[name] = measurement.floor
        for library in given.libraries:
            try:
                measure(table, measurement, library, given.only)
            except ImportError as error:
                print(f"{library} is not run: {error}; rows that are there: {len(table.of(name, library))}", flush=True)
    text = render({name: table.of(name) for name in given.targets}, floors, effort.budgets, effort.repeats)
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(f"written to {stem.with_suffix('.md')}")


if __name__ == "__main__":
    main()
