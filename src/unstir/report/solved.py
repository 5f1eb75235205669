"""The page of a solved inverse problem: truth, reading, what the draws tell, and whether to believe them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from unstir.core.catalogue import find
from unstir.core.errors import InputError
from unstir.core.files import write_whole
from unstir.domains.base import Domain
from unstir.domains.images.encoding import ImageEncoding
from unstir.report.figures import ACCENT, INK, MUTED, RULE, SECOND, SOFT, THIRD, few_ticks, legend, panel
from unstir.report.markup import Html, element, number, render
from unstir.report.parts import caption, charts, code, facts, figure, key_numbers, missing, section, whole_page
from unstir.report.pictures import tiles
from unstir.report.svg import inline_svg

_BUDGET = 500_000
_HISTOGRAMS = 6
_MEASURES = {"rmse": "RMSE", "psnr": "PSNR, dB", "ssim": "SSIM"}
_TWO_SIGMA = 1.96


@dataclass(frozen=True, eq=False)
class Solved:
    """What the folder of a solution holds."""

    folder: Path
    record: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    domain: Domain
    encoding: Any

    @property
    def pictures(self) -> bool:
        """Whether samples can be seen as pictures."""
        return isinstance(self.encoding, ImageEncoding) and "mean" in self.arrays


def write_solved(folder: Path) -> Path:
    """Reads what `unstir solve` has left in a folder and writes ``solution.html`` beside, whole or not at all.

    Raises InputError where there is no solution, or one that cannot be read.
    """
    path = folder / "solution.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: no solution to show ({error}); `unstir solve` makes one") from error
    arrays: dict[str, np.ndarray] = {}
    if (kept := folder / "posterior.npz").exists():
        with np.load(kept, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    domain: Domain = find("domains", record["domain"]).load()
    solved = Solved(folder, record, arrays, domain, domain.restore(record["encoding"]))
    return write_whole(folder / "solution.html", compose(solved).encode())


def compose(solved: Solved) -> str:
    """The whole page as text."""
    body = [_seen(solved), _restored(solved), _course(solved), _calibration(solved), _settings(solved)]
    title = f"{solved.record['operator']['name']} solved: {solved.record['run']}"
    foot = element("footer", element("p", "Made by: ", code(solved.record.get("command") or "unstir solve"), "."))
    return whole_page(title, _head(solved), body, foot)


def _head(solved: Solved) -> Html:
    record = solved.record
    told = [("draws", number(record["count"]), f"by {record['method']['name']}")]
    beside = record.get("beside_the_truth")
    if beside:
        mean = beside["restored"]["mean of the draws"]
        if "psnr" in mean:
            told.append(("PSNR of the mean", f"{number(mean['psnr'])} dB", "against the truth"))
        last = beside["intervals"][-1]
        told.append(("truth covered", f"{100 * last['covered']:.0f} %", f"by the {100 * last['level']:g} % intervals"))
    if found := record.get("calibration"):
        told.append(("calibration", f"p = {number(found['p_value'], 2)}", f"on {found['problems']} problems"))
    source = f"{'measured: ' if record['simulated'] else 'the reading: '}{record['source']}"
    return element(
        "header",
        element("p", element("span", "unstir", class_="brand"), " what is behind a measurement", class_="kicker"),
        element("h1", f"{record['run']}, {record['operator']['name']}"),
        element("p", _verdict(record), class_="verdict"),
        element("p", f"{source} · seed {record['seed']} · {str(record['started'])[:10]}", class_="byline"),
        key_numbers(told),
    )


def _verdict(record: Mapping[str, Any]) -> str:
    if found := record.get("calibration"):
        return f"Calibration: {found['verdict']}."
    return "Draws from the law of the clean data given the reading. Whether their spread can be believed was not tried."


def _seen(solved: Solved) -> Html:
    if not solved.pictures:
        return section(
            "draws", "What was drawn", missing("The draws lie in", code("samples/"), "in the field's format.")
        )
    arrays, rows = solved.arrays, []
    for name, title in (("truth", "truth"), ("reading", "reading"), ("projected", "reading, back"), ("mean", "mean")):
        if name in arrays and (tile := _tile(solved, arrays[name], title)) is not None:
            rows.append((title, tile))
    spread = {"deviation": arrays["deviation"], "95 % interval": arrays["high_95"] - arrays["low_95"]}
    for title, values in spread.items():
        rows.append((f"{title}, white: {number(float(values.max()))}", _map(solved, values, title)))
    shown = [element("figure", tile, element("figcaption", title)) for title, tile in rows]
    drawn = [_tile(solved, values, f"draw {place}") for place, values in enumerate(arrays["draws"])]
    judged = "Each is as probable as any other: where they differ, the reading does not tell."
    return section(
        "draws",
        "What is behind the reading",
        None,
        element("div", shown, class_="grid", style=f"--columns:{len(shown)}"),
        figure(element("div", drawn, class_="grid", style="--columns:8"), caption("Single draws.", judged)),
    )


def _tile(solved: Solved, values: np.ndarray, name: str) -> Html | None:
    """A picture in the data's own units; None for a reading that is none."""
    if values.ndim != 3:
        return None
    low, high = solved.encoding.low, solved.encoding.high
    encoding = replace(solved.encoding, shape=values.shape)
    return tiles(solved.domain, encoding, 2 * (values[None] - low) / (high - low) - 1, [name], _BUDGET)[0]


def _map(solved: Solved, values: np.ndarray, name: str) -> Html:
    """Widths of each element, from black for none to white for the greatest."""
    encoding = replace(solved.encoding, shape=values.shape)
    return tiles(solved.domain, encoding, 2 * values[None] / max(values.max(), 1e-12) - 1, [name], _BUDGET)[0]


def _restored(solved: Solved) -> Html | None:
    beside = solved.record.get("beside_the_truth")
    if not beside:
        return None
    names = list(dict.fromkeys(name for measures in beside["restored"].values() for name in measures))
    head = element("tr", [element("th", _MEASURES.get(word, word), scope="col") for word in ("", *names)])
    rows = [
        element("tr", element("th", name, scope="row"), [element("td", number(found.get(key))) for key in names])
        for name, found in beside["restored"].items()
    ]
    covered = [(f"{100 * one['level']:g} % intervals", f"{100 * one['covered']:.1f} % of the elements")
               for one in beside["intervals"]]  # fmt: skip
    lede = "The mean is the restoration of least squared error; a single draw is as sharp as the data are."
    table = element("table", element("thead", head), element("tbody", rows), class_="metrics")
    return section("truth", "Beside the truth", lede, element("div", table, class_="scroll"), facts(covered, "Covered"))


def _course(solved: Solved) -> Html | None:
    told = solved.record["diagnostics"]
    if not told:
        return None
    drawn, known = [], []
    for name, values in told.items():
        array = np.array(values, dtype=np.float64)
        if array.ndim >= 2 and array.shape[-1] > 1:
            words = f"{name.replace('_', ' ')} by step, a line for each population"
            drawn.append(figure(inline_svg(course_figure(array, name), f"course-{name}", words)))
        elif array.size:
            spread = f" ± {number(float(array.std()))} between populations" if array.size > 1 else ""
            known.append((name.replace("_", " "), f"{number(float(array.mean()), 4)}{spread}"))
    return section(
        "method",
        "What the method tells of itself",
        None,
        charts(drawn, 2) if drawn else None,
        facts(known, "In the mean") if known else None,
    )


def course_figure(values: np.ndarray, name: str) -> Figure:
    """A diagnostic over the steps, a line for each population."""
    chart, axes = panel("step", name.replace("_", " "))
    for line in values.reshape(-1, values.shape[-1]):
        axes.plot(np.arange(1, len(line) + 1), line, color=ACCENT, linewidth=1.2, alpha=0.7)
    axes.set_ylim(bottom=min(0.0, float(np.nanmin(values))))
    few_ticks(axes, "x", integer=True)
    few_ticks(axes, "y")
    return chart


def _calibration(solved: Solved) -> Html:
    found = solved.record.get("calibration")
    if not found:
        hint = missing(
            "Not tried;", code("unstir solve … --calibrate 100"), "measures it on problems whose truth is known."
        )
        return section("calibration", "Can the spread be believed?", hint)
    lede = (
        f"{found['problems']} truths from {found['truths']} were measured and sought again with {found['draws']} draws "
        "each. Where the draws' law is right, each truth is to them as one of them."
    )
    words = "share of truths covered by sets of each level, beside the diagonal"
    judged = "On the diagonal is right; below it the draws are too sure, above it not sure enough."
    drawn = [figure(inline_svg(coverage_figure(found), "coverage", words), caption("Coverage.", judged))]
    worst = sorted(found["statistics"], key=lambda name: min(_p_values(found["statistics"][name])))
    for name in worst[:_HISTOGRAMS]:
        told = found["statistics"][name]
        words = f"ranks of the truth by {name}"
        p = number(min(1.0, 2 * min(_p_values(told))), 2)
        chart = inline_svg(rank_figure(told, name), f"ranks-{name.replace(' ', '-')}", words)
        drawn.append(figure(chart, caption(f"Ranks by {name}.", f"Flat within the band is right; p = {p}.")))
    cells = [
        element(
            "tr",
            element("th", one["of"], scope="row"),
            [
                element("td", text)
                for text in (
                    f"{100 * one['nominal']:.1f} %",
                    f"{100 * one['measured']:.1f} %",
                    f"{100 * one['error']:.1f} %",
                )
            ],
        )
        for one in found["coverage"]
    ]
    head = element("tr", [element("th", word, scope="col") for word in ("sets", "should cover", "cover", "error")])
    table = element("table", element("thead", head), element("tbody", cells), class_="metrics")
    scores = [(name.replace("_", " "), f"{number(one['mean'])} ± {number(one['error'], 2)}")
              for name, one in found["scores"].items()]  # fmt: skip
    scores.append(("spread over error", number(found["spread_to_error"])))
    return section(
        "calibration",
        "Can the spread be believed?",
        lede,
        charts(drawn, 3),
        element("div", table, class_="scroll"),
        facts(scores, "Scores, in the units of encoded samples"),
    )


def _p_values(told: Mapping[str, Any]) -> tuple[float, float]:
    return told["chi_square_p"], told["kolmogorov_p"]


def coverage_figure(found: Mapping[str, Any]) -> Figure:
    """Share of truths within sets of each level, with the band that holds 95 % of right curves (Kolmogorov's)."""
    chart, axes = panel("level of the sets", "share of truths within", (3.35, 2.9))
    wide = 1.358 / np.sqrt(found["problems"])
    levels = np.linspace(0, 1, 101)
    axes.fill_between(levels, (levels - wide).clip(0), (levels + wide).clip(max=1), color=RULE, linewidth=0)
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=0.9)
    for (name, curve), colour in zip(found["curves"].items(), (ACCENT, SECOND, THIRD, INK), strict=False):
        axes.plot(curve["level"], curve["covered"], color=colour, linewidth=1.4, label=name)
    few_ticks(axes, "x")
    few_ticks(axes, "y")
    legend(axes)
    return chart


def rank_figure(told: Mapping[str, Any], name: str) -> Figure:
    """Histogram of ranks from 0 to 1, with the band within which a right count lies 19 times in 20."""
    chart, axes = panel(f"rank of the truth by {name}", "problems", (3.35, 2.3))
    counts, expected = np.array(told["histogram"]), np.array(told["expected"])
    places = (np.arange(len(counts)) + 0.5) / len(counts)
    error = _TWO_SIGMA * np.sqrt(expected * (1 - expected / expected.sum()))
    axes.bar(places, counts, 0.9 / len(counts), color=SOFT)
    low = (expected - error).clip(min=0)
    axes.bar(places, expected + error - low, 1 / len(counts), low, color=MUTED, alpha=0.25)
    axes.step(
        np.arange(len(counts) + 1) / len(counts), [*expected, expected[-1]], where="post", color=MUTED, linewidth=0.9
    )
    axes.set_ylim(bottom=0)
    few_ticks(axes, "y", integer=True)
    return chart


def _settings(solved: Solved) -> Html:
    record = solved.record
    keys = ("operator", "noise", "method", "steps", "grid", "condition", "noise_encoded", "weights")
    pairs = [(key.replace("_", " "), code(_plain(record[key]))) for key in keys if record.get(key) not in (None, {})]
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    pairs += [("versions", f"unstir {record['unstir']}; {packages}")]
    return section("settings", "How", None, render([facts(pairs, "Settings")]))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
