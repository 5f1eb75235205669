"""Posterior samplers against exact posteriors: ``python -m benchmarks.posterior_samplers [--quick] [PROBLEM ...]``.

Every library is handed the same exact belief about mixtures of Gaussians and the same reading, and about as many calls
of the belief. Told is the sliced Wasserstein-1 distance of its draws to exact draws of the posterior, in deviations of
the data; the floor is what two sets of exact draws are apart. The sequential Monte Carlo methods (twisted, TDS) have
all draws in one population of particles; "longer" is with twice the calls. Peers run in the same process with their own
settings, and where a strength is their user's to choose, with the best of six. Written to
``benchmarks/results/posterior_samplers.md``.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers_posteriors import PEERS, Draw, peer_methods, peer_version
from benchmarks.posterior_cases import PROBLEMS, Problem, distance
from unstir.core.catalogue import build, entries
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.inverse.solving import solve

RESULTS = Path(__file__).parent / "results"
CALLS = 100
PAIRS = 6


class Counted(Denoiser):
    """The exact mean and nothing else, as of a perfect network; counts its calls."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem, self.process, self.calls = problem, problem.law.process, 0

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief's mean."""
        self.calls += 1
        alpha, sigma = self.process.coefficients(t, xt)
        return PointPosterior(self.problem.denoise(xt / alpha, sigma / alpha))


def our_methods() -> Mapping[str, Draw]:
    """All methods of the catalogue, as ``solve`` runs them."""

    def drawing(name: str, longer: int = 1) -> Draw:
        def draw(problem: Problem, count: int, calls: int) -> Tensor:
            options: dict[str, Any] = {"particles": count} if name == "twisted" else {}
            if name == "tmpd" and problem.dimension > 16:  # drawing from its belief costs a pass for each element
                options = {"sampler": "dpm-solver-pp-sde"}
            method, calls = build("methods", {"name": name, **options}), calls * longer
            denoiser = Counted(problem)
            _, sampler = method.pair(denoiser, problem.measurement)
            steps = calls if sampler.calls_per_step is None else sampler.steps_within(calls)
            found = solve(
                denoiser, problem.measurement, method, count, steps=steps, batch=count, dtype=torch.float64, seed=1
            )
            draw.calls = denoiser.calls  # type: ignore[attr-defined]
            return found.samples

        return draw

    return {**{name: drawing(name) for name in entries("methods")}, "twisted, longer": drawing("twisted", 2)}


def measure(problem: Problem, libraries: Mapping[str, Mapping[str, Draw]], quick: bool) -> list[str]:
    """The table of one problem: libraries' methods, the nearest first."""
    count = problem.count // 8 if quick else problem.count
    exact = [problem.posterior.draw(Seeds.range(seed, count)).double() for seed in range(PAIRS + 1)]
    floor = [distance(exact[0], other) for other in exact[1:]]
    rows: list[tuple[float, str]] = []
    tried: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    for library, methods in libraries.items():
        for name, draw in methods.items():
            torch.manual_seed(0)
            begun = time.perf_counter()
            try:
                drawn = draw(problem, count, CALLS).detach()
            except InputError as error:
                print(f"{problem.name}: {name} refuses: {error}", file=sys.stderr)
                continue
            away = distance(drawn, exact[0])
            family, _, strength = name.partition(", strength ")
            calls, took = getattr(draw, "calls", CALLS), time.perf_counter() - begun
            tried[library, family].append((away, f"{strength} | {calls} | {took:.1f}"))
            print(f"{problem.name}: {library} {name} {away:.3f} ({took:.1f} s)", flush=True)
    for (library, family), found in tried.items():
        away, rest = min(found)
        rows.append((away, f"| {family} | {library} | **{away:.3f}** | {rest} |"))
    mean, spread = statistics.mean(floor), statistics.stdev(floor)
    return [
        f"## {problem.name}",
        "",
        f"Noise {problem.noise:.3f}; {count} draws; two sets of exact draws are {mean:.3f} ± {spread:.3f} apart "
        f"(the floor), draws of the prior {distance(problem.law.draw(Seeds.range(99, count)).double(), exact[0]):.3f}.",
        "",
        "| method | library | distance | best strength | calls | seconds |",
        "|---|---|---|---|---|---|",
        *(row for _, row in sorted(rows)),
        "",
    ]


def main(arguments: list[str]) -> None:
    """Measures, prints and writes the page."""
    torch.set_num_threads(1)
    quick = "--quick" in arguments
    wanted = [name for name in arguments if not name.startswith("-")] or list(PROBLEMS)
    if astray := set(wanted) - set(PROBLEMS):
        raise SystemExit(f"no such problem: {', '.join(sorted(astray))}; there are {', '.join(PROBLEMS)}")
    libraries: dict[str, Mapping[str, Draw]] = {"unstir": our_methods()}
    told = []
    for library in PEERS:
        try:
            libraries[library] = peer_methods(library)
            told.append(f"{library} {peer_version(library)}")
        except ImportError as error:
            print(f"{library} is left out: {error}", file=sys.stderr)
    page = ["# Posterior samplers against exact posteriors", "", " ".join((__doc__ or "").split("\n\n")[1].split()), ""]
    page += [f"Peers: {', '.join(told) or 'none installed'}.", ""]
    for name in wanted:
        page += measure(PROBLEMS[name](), libraries, quick)
    text = "\n".join(page)
    print(text)
    if not quick and set(wanted) == set(PROBLEMS):
        (RESULTS / "posterior_samplers.md").write_text(text.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
