"""Samplers of tokens on a chain whose law is known: ``python -m benchmarks.token_samplers``.

Three tokens of three classes that tell much of each other, seen by a belief that knows every token's exact marginal but
not how they hang together, as a perfect network would. All states are pushed through the steps, so that the total
variation between a sampler's law and the data's is exact: no draws, no noise. Even times on a cosine schedule, from
pure noise to clean tokens. Written to ``benchmarks/results/token_samplers.md``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from unstir.processes.categorical import CategoricalProcess
from unstir.samplers.remasking import RemaskingSampler
from unstir.samplers.tau_leaping import TauLeapingSampler, ThetaRK2Sampler, ThetaTrapezoidalSampler, TokenEulerSampler
from unstir.samplers.token_correction import TokenCorrections
from unstir.verification.token_laws import MILD, STRONG, chain_law, errors_after, steps_for

RESULTS = Path(__file__).parent / "results"
COUNTS = (4, 8, 16, 32, 64)
CALLS = {"theta-trapezoidal": 2, "theta-rk2": 2, "token-predictor-corrector": 2}
SAMPLERS: dict[str, Sequence[Any]] = {
    "token-euler": (TokenEulerSampler(),),
    "tau-leaping": (TauLeapingSampler(),),
    "token-predictor-corrector": (TauLeapingSampler(), TokenCorrections(1, 0.5)),
    "remasking (rescale 0.5)": (RemaskingSampler(),),
    "remasking (cap 0.1)": (RemaskingSampler("cap", 0.1),),
    "theta-rk2": (ThetaRK2Sampler(),),
    "theta-trapezoidal": (ThetaTrapezoidalSampler(),),
}


def table(rates: str, rows: Any) -> list[str]:
    """One row for each sampler that serves these rates."""
    law = chain_law(rows, CategoricalProcess(3, rates=rates))
    lines = [f"| sampler | calls a step | {' | '.join(f'{count} steps' for count in COUNTS)} |", "|---" * 7 + "|"]
    for name, movings in SAMPLERS.items():
        if name.startswith("remasking") and rates != "absorbing":
            continue
        # two moves a step over three tokens: the longest of these have more paths than they are worth
        heavy = rates != "absorbing" and CALLS.get(name, 1) > 1
        counts = COUNTS[:-2] if heavy else COUNTS
        found = [f"{error:.2e}" for error in errors_after(movings, law, counts)]
        found += ["-"] * (len(COUNTS) - len(found))
        lines.append(f"| {name} | {CALLS.get(name, 1)} | {' | '.join(found)} |")
    return lines


def halving(rates: str, rows: Any, wanted: Sequence[float]) -> list[str]:
    """Steps and calls that tau-leaping and theta-trapezoidal need for the same total variation."""
    law, lines = chain_law(rows, CategoricalProcess(3, rates=rates)), []
    for error in wanted:
        leaps, trapezoids = (steps_for(error, SAMPLERS[name], law) for name in ("tau-leaping", "theta-trapezoidal"))
        share = f"{trapezoids / leaps:.2f}" if leaps and trapezoids else "-"
        lines.append(
            f"| {rates} | {error:g} | {leaps or '> 128'} | {trapezoids} ({2 * trapezoids - 1} calls) | {share} |"
        )
    return lines


def main() -> None:
    """Measures, prints and writes the page."""
    torch.set_num_threads(1)
    page = ["# Samplers of tokens: total variation from the data's law", "", (__doc__ or "").split("\n\n")[1].strip()]
    for rates in ("absorbing", "uniform"):
        page += [
            "",
            f"## {'Masked' if rates == 'absorbing' else 'Uniform noise'}, strong links",
            "",
            *table(rates, STRONG),
        ]
    page += ["", "## Masked, weak links (no token halves another's probability)", "", *table("absorbing", MILD)]
    page += [
        "",
        "## Steps for the same error, strong links",
        "",
        "| noise | total variation | tau-leaping | theta-trapezoidal | share of the steps |",
        "|---|---|---|---|---|",
        *halving("absorbing", STRONG, (0.05, 0.02, 0.01)),
        *halving("uniform", STRONG, (0.05, 0.02, 0.01)),
        "",
        "With strong links the second order is held up where one token's jump makes another's twenty times less",
        "likely: rates that would be negative are cut off, and the error falls as the first power, two to three times",
        "smaller than that of tau-leaping. theta-RK-2 forgets its trial's jumps, and has order one in the joint law.",
    ]
    text = "\n".join(page) + "\n"
    print(text)
    (RESULTS / "token_samplers.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
