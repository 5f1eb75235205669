"""The tables of ``benchmarks.sampler_accuracy`` in Markdown."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]

_INTRODUCTION = """# Samplers at equal numbers of network calls

{versions}. Every library is given the same exact E[x_0 | y] in float64, the same noise, and at most so many calls of
it. Grid `common`: Karras noise levels of 80 to 0.002 with rho 7, then 0; a sampler that cannot end at 0 spends its
last call on denoising. Grid `own`: what the library takes by default or recommends; unstir's is made from a pilot run
on noise of its own, once for a model, not counted here (`pilot_rows` in the CSV). All rows, with the calls that were
really made, are in the CSV beside this. Made by `python -m benchmarks.sampler_accuracy`."""

_TRAJECTORY_NOTE = """Distance to the exact solution of the probability-flow ODE from the same noise and the library's
own first noise level, over the square root of the dimension. `default` is unstir's sampler on its own grid; the ratio
is its error over the best peer's."""

_LAW_NOTE = """A sampler is at the floor where its distance is within two standard deviations of what fresh samples
have themselves; {repeats} independent runs are averaged. Fewest calls: the least budget from which on it stays
there."""


class Floor(NamedTuple):
    """What fresh samples score: mean and deviation of sliced Wasserstein-2 and total variation; ``error`` is the exact
    trajectories' own, at twice their step."""

    count: int
    mean: Sequence[float]
    spread: Sequence[float]
    error: float


def render(rows: Mapping[str, Sequence[Row]], floors: Mapping[str, Floor], budgets: Sequence[int], repeats: int) -> str:
    """The report on all targets."""
    versions = sorted({row["made_with"].rpartition(", ")[0] for part in rows.values() for row in part})
    parts = [_INTRODUCTION.format(versions="; ".join(versions))]
    for target, measured in rows.items():
        floor = floors[target]
        sane = [row for row in measured if not row["note"]]
        by_calls = [row for row in sane if row["budget"] in budgets and row["grid"] != "adaptive"]
        parts.append(f"## {target}")
        parts.append(
            f"Fresh samples, {floor.count} of them: sliced Wasserstein-2 {floor.mean[0]:.4f} ± {floor.spread[0]:.4f}, "
            f"total variation of the modes {floor.mean[1]:.4f} ± {floor.spread[1]:.4f}. The exact trajectories at "
            f"twice their step differ by {floor.error:.1e} (root mean square)."
        )
        parts.append(_TRAJECTORY_NOTE)
        for key, title in (("trajectory_rms", "Root mean square"), ("trajectory_median", "Median")):
            parts += [f"### {title}: unstir beside the best peer", beside(by_calls, budgets, key)]
        ours = [row for row in by_calls if row["library"] == "unstir" and row["deterministic"]]
        parts += ["### Root mean square: all of unstir", everything(ours, budgets, "trajectory_rms")]
        parts += ["### The law of the samples", _LAW_NOTE.format(repeats=repeats)]
        stochastic = [row for row in by_calls if not row["deterministic"]]
        parts.append(fewest_calls(stochastic, floor, budgets, repeats))
        parts += ["### Sliced Wasserstein-2: stochastic samplers", everything(stochastic, budgets, "sliced_w2")]
        if adaptive := [row for row in sane if row["grid"] == "adaptive"]:
            parts += ["### Adaptive samplers", tolerances(adaptive)]
        if failed := sorted({f"- {_name(row)}: {row['note']}" for row in measured if row["note"]}):
            parts += ["### Failures", "\n".join(failed)]
    return "\n\n".join(parts) + "\n"


def beside(rows: Sequence[Row], budgets: Sequence[int], key: str) -> str:
    """At each number of calls: the best peer, unstir's default and unstir's best."""
    lines = []
    for budget in budgets:
        here = [row for row in rows if row["budget"] == budget and not math.isnan(row[key])]
        peer = _best([row for row in here if row["library"] != "unstir"], key)
        ours = [row for row in here if row["library"] == "unstir"]
        default = _best([row for row in ours if row["grid"] == "own"][:1], key)
        line = [str(budget)]
        for row in (peer, default, _best(ours, key)):
            line += [_name(row), _number(row[key])] if row else ["-", "-"]
            if row is not peer:
                line.append(f"{row[key] / peer[key]:.2f}" if row and peer else "-")
        del line[3]  # the default's name
        lines.append(line)
    header = ["calls", "best peer", "error", "default", "ratio", "unstir's best", "error", "ratio"]
    return markdown(header, lines)


def everything(rows: Sequence[Row], budgets: Sequence[int], key: str) -> str:
    """Every sampler at every number of calls."""
    found = {(_name(row), row["budget"]): row[key] for row in rows}
    names = dict.fromkeys(_name(row) for row in rows)
    lines = [[name, *(_number(found.get((name, budget), math.nan)) for budget in budgets)] for name in names]
    return markdown(["sampler", *map(str, budgets)], lines)


def fewest_calls(rows: Sequence[Row], floor: Floor, budgets: Sequence[int], repeats: int) -> str:
    """With how few calls each sampler comes to the floor and stays; the quickest first."""
    ranked = []
    for name in dict.fromkeys(_name(row) for row in rows):
        mine = [row for row in rows if _name(row) == name]
        least = [
            settled(mine, key, mean + 2 * spread / math.sqrt(repeats), budgets)
            for key, mean, spread in zip(("sliced_w2", "mode_tv"), floor.mean, floor.spread, strict=True)
        ]
        ranked.append((least, name))
    lines = [[name, *map(_calls, least)] for least, name in sorted(ranked)]
    return markdown(["sampler", "sliced Wasserstein-2", "shares of the modes"], lines)


def settled(rows: Sequence[Row], key: str, limit: float, budgets: Sequence[int]) -> float:
    """The least budget from which on the score stays within the limit; infinite if it never does."""
    scores = {row["budget"]: row[key] for row in rows}
    least = math.inf
    for budget in sorted(budgets, reverse=True):
        if not scores.get(budget, math.inf) <= limit:
            break
        least = budget
    return least


def tolerances(rows: Sequence[Row]) -> str:
    """Adaptive samplers by their tolerance."""
    lines = [
        [_name(row), f"{row['budget']:g}", f"{row['calls']:.0f}", *(_number(row[key]) for key in keys)]
        for keys in [("trajectory_rms", "trajectory_median")]
        for row in rows
    ]
    return markdown(["sampler", "tolerance", "calls", "root mean square", "median"], lines)


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table."""
    rule = "|".join(["---"] * len(header))
    return "\n".join([f"| {' | '.join(header)} |", f"|{rule}|", *(f"| {' | '.join(line)} |" for line in lines)])


def _best(rows: Sequence[Row], key: str) -> Row | None:
    return min(rows, key=lambda row: row[key], default=None)


def _name(row: Row) -> str:
    return f"{row['library']} {row['sampler']} ({row['grid']})"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g}"


def _calls(value: float) -> str:
    return "not within 100" if math.isinf(value) else f"{value:.0f}"
