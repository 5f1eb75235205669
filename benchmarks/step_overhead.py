"""What a sampler adds to each step, around a network that costs nothing: ``python -m benchmarks.step_overhead``.

Pictures of 3x32x32 in float32, one and 64 of them, 50 steps, one thread; the network returns its input. Each method is
timed as unstir has it (the loop beneath ``sample``, its time grid included), as the least loop that one would write by
hand for the same method, and as the peers have it, their set-up of the schedule included. All are timed in turn, round
after round, so that other work on the machine slows them alike; the least processor time counts. Written to
``results/step_overhead.md``.
"""

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.peers_samplers import PEERS, Loop, peer_loops, peer_version
from benchmarks.sampler_cases import PROCESS, RHO, SIGMA_MAX, SIGMA_MIN
from benchmarks.sampler_report import markdown
from unstir.core.catalogue import build
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import PointPosterior
from unstir.samplers.base import Sampler, SamplerState, follow, time_grid

RESULTS = Path(__file__).parent / "results"
SHAPE = (3, 32, 32)
STEPS = 50
# method -> unstir's sampler, the loop by hand, the peers' samplers
METHODS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "DDIM": ("ddim", "euler", {"diffusers": "DDIM", "k-diffusion": "euler", "azula": "DDIM"}),
    "Heun": ("heun", "heun", {"diffusers": "Heun", "k-diffusion": "heun", "azula": "Heun"}),
    "DPM-Solver++(2M)": (
        "dpm-solver-pp-2m",
        "multistep",
        {"diffusers": "DPMSolver++ 2M", "k-diffusion": "dpmpp_2m", "azula": "xEAB2"},
    ),
    "UniPC, order 2": ("unipc", "predictor-corrector", {"diffusers": "UniPC 2"}),
    "DDPM": ("ddpm", "ancestral", {"diffusers": "DDPM", "k-diffusion": "euler_ancestral", "azula": "DDPM"}),
    "SDE-DPM-Solver++(2M)": (
        "dpm-solver-pp-sde",
        "multistep with noise",
        {"diffusers": "SDE-DPMSolver++ 2M", "k-diffusion": "dpmpp_2m_sde"},
    ),
}
Network = Callable[[Tensor, float], Tensor]


class FreeDenoiser(Denoiser):
    """A denoiser that returns its input."""

    process = PROCESS

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> PointPosterior:
        """All belief on the noisy state itself."""
        return PointPosterior(xt)


def our_loop(denoiser: Denoiser, sampler: Sampler, y: Tensor, steps: int) -> Tensor:
    """Beneath ``sample``: the time grid and the steps, from the state ``y`` at the noisy end."""
    times = time_grid(PROCESS, "karras", steps)
    return follow(denoiser, sampler, SamplerState(y, Seeds.range(0, len(y))), times).tensor


# By hand: y = x_0 + sigma z, coefficients in Python's numbers, as few operations on tensors as there can be.


def _sigmas(steps: int) -> list[float]:
    low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
    return [(high + k / (steps - 1) * (low - high)) ** RHO for k in range(steps)] + [0.0]


def _euler(network: Network, y: Tensor, steps: int) -> Tensor:
    for sigma, following in pairwise(_sigmas(steps)):
        y = torch.lerp(network(y, sigma), y, following / sigma)
    return y


def _heun(network: Network, y: Tensor, steps: int) -> Tensor:
    for sigma, following in pairwise(_sigmas(steps)):
        clean = network(y, sigma)
        guess = torch.lerp(clean, y, following / sigma)
        if not following:
            return guess
        half = (following - sigma) / 2
        bent = guess.sub(network(guess, following)).mul_(half / following)
        y = y.add(y, alpha=half / sigma).sub_(clean, alpha=half / sigma).add_(bent)
    return y


def _multistep(network: Network, y: Tensor, steps: int) -> Tensor:
    last, before = y, 0.0
    for sigma, following in pairwise(_sigmas(steps)):
        clean = network(y, sigma)
        aim = clean
        if before and following:
            aim = torch.lerp(last, clean, 1 + math.log(sigma / following) / math.log(before / sigma) / 2)
        y = torch.lerp(aim, y, following / sigma)
        last, before = clean, sigma
    return y


def _predictor_corrector(network: Network, y: Tensor, steps: int) -> Tensor:
    """Predicts with the last two means; the mean of what is predicted corrects it, and serves the next step."""
    clean, last, before = network(y, SIGMA_MAX), y, 0.0
    for sigma, following in pairwise(_sigmas(steps)):
        kept = following / sigma
        if not following:
            return torch.lerp(clean, y, kept)
        h = math.log(sigma / following)
        gain = -math.expm1(-h)
        start = kept * y
        if before:
            back = math.log(before / sigma)
            share = gain * h / back / 2
            mean = network(start.add(clean, alpha=gain + share).sub_(last, alpha=share), following)
            first = h - gain  # the integrals over the step of e^(u-h) u, and of e^(u-h) u^2
            second = h * h - 2 * first
            ahead = (second + back * first) / (h * (h + back))
            behind = (second - h * first) / (back * (h + back))
            y = start.add_(clean, alpha=gain - ahead - behind).add_(mean, alpha=ahead).add_(last, alpha=behind)
        else:
            mean = network(start.add(clean, alpha=gain), following)
            y = start.add_(clean, alpha=gain / 2).add_(mean, alpha=gain / 2)
        clean, last, before = mean, clean, sigma
    return y


def _ancestral(network: Network, y: Tensor, steps: int) -> Tensor:
    for sigma, following in pairwise(_sigmas(steps)):
        kept = (following / sigma) ** 2
        y = torch.lerp(network(y, sigma), y, kept)
        if following:
            y = y.add_(torch.randn_like(y), alpha=following * math.sqrt(1 - kept))
    return y


def _multistep_with_noise(network: Network, y: Tensor, steps: int) -> Tensor:
    last, before = y, 0.0
    for sigma, following in pairwise(_sigmas(steps)):
        clean = network(y, sigma)
        if not following:
            return clean
        aim = clean
        if before:
            aim = torch.lerp(last, clean, 1 + math.log(sigma / following) / math.log(before / sigma) / 2)
        kept = (following / sigma) ** 2
        y = torch.lerp(aim, y, kept).add_(torch.randn_like(y), alpha=following * math.sqrt(1 - kept))
        last, before = clean, sigma
    return y


BY_HAND: Mapping[str, Callable[[Network, Tensor, int], Tensor]] = {
    "euler": _euler,
    "heun": _heun,
    "multistep": _multistep,
    "predictor-corrector": _predictor_corrector,
    "ancestral": _ancestral,
    "multistep with noise": _multistep_with_noise,
}


def loops(peers: Sequence[str] = PEERS) -> dict[tuple[str, str], Loop]:
    """All that is timed, by method and library ("by hand" for the least loops); what is absent is left out."""
    theirs: dict[str, Mapping[str, Loop]] = {}
    for library in peers:
        try:
            theirs[library] = peer_loops(library)
        except ImportError as error:
            print(f"{library} is left out: {error}")
    found: dict[tuple[str, str], Loop] = {}
    for method, (name, hand, peer_names) in METHODS.items():
        found[method, "unstir"] = partial(our_loop, FreeDenoiser(), build("samplers", name))
        found[method, "by hand"] = partial(torch.no_grad()(BY_HAND[hand]), lambda y, sigma: y)
        for library, peer_name in peer_names.items():
            if library in theirs:
                found[method, library] = theirs[library][peer_name]
    return found


def least_times(timed: Mapping[tuple[str, str], Loop], batch: int, rounds: int) -> dict[tuple[str, str], float]:
    """The least microseconds a step of each loop."""
    noise = torch.randn(batch, *SHAPE, generator=torch.Generator().manual_seed(0))
    least = dict.fromkeys(timed, math.inf)
    for _ in range(rounds + 1):
        for key, loop in timed.items():
            start = time.process_time()
            loop(noise, STEPS)
            least[key] = min(least[key], (time.process_time() - start) / STEPS * 1e6)
    return least


def table(least: Mapping[int, Mapping[tuple[str, str], float]]) -> str:
    """One line a method and batch: microseconds, and unstir's ratios to the loop by hand and to the peers."""
    libraries = [library for library in ("unstir", "by hand", *PEERS) if any(library in key for key in least[1])]
    header = ["method", "pictures", *(f"{library} (µs)" for library in libraries)]
    header += [f"unstir / {library}" for library in libraries[1:]]
    lines = []
    for method in METHODS:
        for batch, measured in least.items():
            times = [measured.get((method, library), math.nan) for library in libraries]
            ratios = [times[0] / other for other in times[1:]]
            lines.append([method, str(batch), *map(_microseconds, times), *map(_ratio, ratios)])
    return markdown(header, lines)


def _microseconds(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"


def _ratio(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="What a sampler adds to each step.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--libraries", nargs="*", default=list(PEERS), choices=PEERS, help="peers to time")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    timed = loops(given.libraries)
    least = {batch: least_times(timed, batch, given.rounds) for batch in (1, 64)}
    versions = ", ".join(f"{name} {_version(name)}" for name in ("torch", *given.libraries) if _version(name))
    text = [
        "# Overhead of a sampling step",
        f"{versions}; one thread. 3x32x32 float32 pictures, {STEPS} steps, the network returns its input; least "
        f"processor time of a step in {given.rounds} interleaved rounds, each loop's own set-up included. `by hand` is "
        "the least loop that does the same method, its noise from `torch.randn`; unstir's noise is addressed by seed "
        "and sample number, and does not depend on the batch. Made by `python -m benchmarks.step_overhead`.",
        table(least),
    ]
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "step_overhead.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    print(text[-1])


def _version(name: str) -> str:
    try:
        return peer_version(name)
    except ImportError:
        return ""


if __name__ == "__main__":
    main()
