"""The log-density by the probability flow beside the exact one: ``python -m benchmarks.log_density``.

On draws from the mixtures that samplers are compared on, in float64. A library sees E[x_0 | y] and its derivatives,
nothing else. What is asked for is the density of the data with noise of the deviation ``LEVEL`` added, which every
method can tell and which is known exactly. Of a law that it knows, unstir is asked for the data's own density as well,
down to no noise. Written to ``results/log_density.md``.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import unstir
from benchmarks.peers_samplers import k_diffusion_log_density, peer_version
from benchmarks.sampler_cases import PROCESS, CountedDenoiser, PointDenoiser
from benchmarks.sampler_report import markdown
from benchmarks.sampler_targets import TARGETS, MixtureTarget
from unstir.core.seeds import Seeds
from unstir.likelihood.flow import flow_log_density

RESULTS = Path(__file__).parent / "results"
LEVEL = 0.002
PROBES = 8
COUNTS = {"ring-2d": 256, "anisotropic-64d": 64, "held-out": 128}


@dataclass(frozen=True)
class Estimate:
    """Log-densities in nats (n,), the mean calls, and the ends of the 95 % intervals if the method has any."""

    nats: Tensor
    calls: float
    low: Tensor | None = None
    high: Tensor | None = None


@dataclass(frozen=True)
class Method:
    """A way to the log-density: ``run(target, x)`` at the noise level ``level``."""

    name: str
    level: float
    tolerance: float
    run: Callable[[MixtureTarget, Tensor], Estimate]


def _ours(name: str, level: float, tolerance: float, divergence: str = "exact", end: str = "prior") -> Method:
    options: dict[str, Any] = {"level": level, "divergence": divergence, "tolerance": tolerance, "end_density": end}

    def run(target: MixtureTarget, x: Tensor) -> Estimate:
        denoiser = PointDenoiser(CountedDenoiser(target)) if level else target.exact(PROCESS)
        found = flow_log_density(denoiser, x, **options, probes=PROBES, seeds=Seeds.range(0, len(x)))
        # without error of the trace there is nothing for an interval to tell
        ends = found.interval() if found.standard_error.max() > 1e-9 else ()
        return Estimate(found.nats, found.calls.double().mean().item(), *ends)

    return Method(f"unstir, {name}", level, tolerance, run)


def _k_diffusion(tolerance: float, target: MixtureTarget, x: Tensor) -> Estimate:
    denoise = CountedDenoiser(target)
    nats = k_diffusion_log_density(denoise, x, LEVEL, tolerance, seed=0)
    return Estimate(nats, denoise.rows / len(x))


def methods(quick: bool = False) -> list[Method]:
    """All that is compared: unstir with the exact trace and with estimates of it, k-diffusion as it is."""
    tolerances = (1e-3,) if quick else (1e-3, 1e-5, 1e-7)
    usual = tolerances[:2][-1]
    found = [_ours("exact trace", level, tolerance) for level in (LEVEL, 0.0) for tolerance in tolerances]
    found.append(_ours("exact trace, matched end", LEVEL, usual, end="matched"))
    found += [_ours(f"{name}, {PROBES} probes", LEVEL, usual, name) for name in ("hutchinson", "hutch++")]
    try:
        peer_version("k-diffusion")
    except ImportError as error:
        print(f"k-diffusion is left out: {error}")
        return found
    # its own default is 1e-4
    ways = (1e-3,) if quick else (1e-4, 1e-6)
    return found + [Method("k-diffusion, one probe", LEVEL, way, partial(_k_diffusion, way)) for way in ways]


def line(target: MixtureTarget, method: Method, count: int) -> list[str]:
    """A line of the table; a failure is told in it."""
    x = target.draw(count, seed=6001)
    truth = target.exact(PROCESS).log_density_at(x, 1.0, method.level)
    head = [target.name, method.name, f"{method.level:g}", f"{method.tolerance:g}"]
    try:
        found = method.run(target, x)
    except Exception as error:
        return [*head, "-", f"{type(error).__name__}: {error}".splitlines()[0][:60], *["-"] * 4]
    error = found.nats - truth
    covered = "-"
    if found.low is not None and found.high is not None:
        inside = (found.low <= truth) & (truth <= found.high)
        covered = f"{inside.double().mean().item():.0%}"
    largest = error.abs().max().item()
    figures = (error.mean().item(), error.std().item() / math.sqrt(count), error.square().mean().sqrt().item(), largest)
    return [*head, f"{found.calls:.0f}", *(f"{figure:.1e}" for figure in figures), covered]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description="The log-density by the probability flow beside the exact one.")
    parser.add_argument("--targets", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--quick", action="store_true", help="few samples and one tolerance")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lines = []
    for name in given.targets:
        for method in methods(given.quick):
            lines.append(line(TARGETS[name](), method, 8 if given.quick else COUNTS[name]))
            print(" | ".join(lines[-1]), flush=True)
    header = ["law", "method", "noise", "tolerance", "calls", "mean error", "its standard error"]
    header += ["root mean square", "largest", "95 % intervals that cover"]
    text = [
        "# Log-densities by the probability flow",
        f"unstir {unstir.__version__}, {_peer()}torch {torch.__version__.split('+')[0]}; float64. Errors in nats a "
        "sample against the exact log-density of the data with that noise added; mean calls of the denoiser a sample, "
        "forward passes alone. The flow ends at the noise level 80, in the noise that samplers start from; `matched "
        "end`: in the Gaussian of the data's mean and variance there. Made by `python -m benchmarks.log_density`.",
        markdown(header, lines),
    ]
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "log_density.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")


def _peer() -> str:
    try:
        return f"k-diffusion {peer_version('k-diffusion')}, "
    except ImportError:
        return ""


if __name__ == "__main__":
    main()
