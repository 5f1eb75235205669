"""The page of a sweep of strength: what a guide gains and what it costs, and the strength that is recommended."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from unstir.core.errors import InputError
from unstir.core.files import write_whole
from unstir.domains.base import Domain, Encoding
from unstir.report.figures import ACCENT, INK, MUTED, RULE, SECOND, SOFT, few_ticks, legend, panel
from unstir.report.markup import Html, element, number
from unstir.report.parts import caption, charts, code, facts, figure, key_numbers, section, whole_page
from unstir.report.pictures import tiles
from unstir.report.svg import inline_svg
from unstir.report.words import title_of

_BUDGET = 400_000  # bytes of the pictures of one strength
_TITLES = {
    "variance-ratio": "Variance over the data's",
    "outside": "Elements outside the data's range",
    "spectrum": "High over low frequencies",
    "class-agreement": "Condition obeyed",
    "sliced-wasserstein": "Distance to the exact conditional",
    "gap": "Gap between the groups",
    "fidelity": "Fidelity, to data with parity",
    "fidelity-to-data": "Fidelity, to data as it is",
    "column-distances": "Columns, to data with parity",
    "column-distances-to-data": "Columns, to data as it is",
    "associations": "Associations, to data with parity",
    "associations-to-data": "Associations, to data as it is",
}
_JUDGED = {
    "frechet": "Lower is better, down to the floor: as many rows of real data.",
    "precision": "The share of samples that lie among the data; near one at high strength means typical, not true.",
    "coverage": "The share of the data that has a sample beside it: what strength takes away first.",
    "recall": "The share of the data that lies among the samples.",
    "variance-ratio": "One is as wide as the data; guidance narrows.",
    "class-agreement": "By a classifier that was trained on clean data and knows nothing of the guide.",
    "outside": "Beyond the data's range by more than a twentieth of its half: saturated.",
    "spectrum": "One is the data's own balance of fine and coarse.",
    "sliced-wasserstein": "To exact draws of the law given the condition; the floor is that of two sets of those.",
    "gap": "Zero is fair; the floor is what chance leaves where decisions are shuffled among the groups.",
    "fidelity": "One where trees cannot tell samples from data of the same group, reweighted to parity.",
    "fidelity-to-data": "Against the biased data fairness itself counts as an error: the two lines part by the bias.",
}


def write_sweep(folder: Path | str, domain: Domain | None = None, encoding: Encoding | None = None) -> Path:
    """Writes ``sweep.html`` and an SVG file a chart beside the ``sweep.json`` of a folder; returns the page.

    With ``domain`` and ``encoding`` the first samples of each strength are shown, where they were kept. Equal folders
    give equal bytes. Raises InputError where the folder holds no sweep.
    """
    folder = Path(folder)
    try:
        told = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no sweep.json; `unstir guide RUN --guide NAME --sweep` makes one") from None
    drawn = sweep_figures(told)
    for name, chart in drawn.items():
        _write_svg(chart, folder / f"{name}.svg")
    pictures = None if domain is None or encoding is None else _pictures(folder, told, domain, encoding)
    page = compose_sweep(told, drawn, pictures)
    return write_whole(folder / "sweep.html", page.encode())


def sweep_figures(told: Mapping[str, Any]) -> dict[str, Figure]:
    """A chart of every measure against the strength, by name; of a fairness sweep the trade-off first."""
    found: dict[str, Figure] = {}
    if "data_gap" in told:
        found["trade-off"] = trade_off_figure(told)
    found |= {name: measure_figure(told, name) for name in _measures(told)}
    return found


def measure_figure(told: Mapping[str, Any], metric: str) -> Figure:
    """One measure at every strength with its 95 % interval, its noise floor, and the recommended strength."""
    strengths, results = _results(told, metric)
    places = np.arange(len(strengths))
    chart, axes = panel("strength", _title(metric), (3.35, 2.3))
    values = np.array([result["value"] for result in results])
    low, high = np.array([result["interval"] for result in results]).T
    floors = [result.get("floor") or {} for result in results]
    if all(floors):
        bounds = np.array([floor.get("interval", (floor["value"],) * 2) for floor in floors])
        axes.fill_between(places, bounds[:, 0], bounds[:, 1], color=RULE, linewidth=0)
        middle = [floor["value"] for floor in floors]
        axes.plot(places, middle, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), label="real data (floor)")
    axes.axvline(strengths.index(told["recommended"]), color=SOFT, linewidth=5, alpha=0.5, zorder=0)
    axes.vlines(places, low, high, color=ACCENT, linewidth=1.4, alpha=0.55)
    axes.plot(places, values, "o-", color=ACCENT, markersize=4.5, linewidth=1.4, label="samples")
    axes.set_xticks(places, [f"{strength:g}" for strength in strengths])
    few_ticks(axes, "y")
    legend(axes)
    return chart


def trade_off_figure(told: Mapping[str, Any]) -> Figure:
    """Gap against loss of fidelity, a point a strength: measured against data with parity, and against biased data."""
    curve = fairness_curve(told)
    chart, axes = panel("loss of fidelity (%)", "gap between the groups", (4.9, 3.2))
    gaps = [point["gap"] for point in curve]
    for key, colour, marker, name in (
        ("loss", ACCENT, "o", "against data with parity"),
        ("loss_against_data", SECOND, "s", "against data as it is"),
    ):
        losses = [100 * point[key] for point in curve]
        axes.plot(losses, gaps, marker, linestyle="-", color=colour, markersize=4.5, linewidth=1.4, label=name)
        if key == "loss":
            for loss, gap, point in zip(losses, gaps, curve, strict=True):
                axes.annotate(f"{point['strength']:g}", (loss, gap), (4, 4), textcoords="offset points",
                              fontsize=7, color=INK)  # fmt: skip
    axes.axhline(0.2 * gaps[0], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), label="a fifth of the gap")
    axes.axvline(10, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)), label="a tenth of the fidelity")
    axes.set_ylim(bottom=0)
    few_ticks(axes, "x")
    few_ticks(axes, "y")
    legend(axes)
    return chart


def fairness_curve(told: Mapping[str, Any]) -> list[dict[str, float]]:
    """Strength, gap, and loss of fidelity by both references, of what ``sweep.json`` holds."""
    by = [{result["metric"]: result["value"] for result in point["results"]} for point in told["points"]]
    first = max(by[0]["fidelity-to-data"], 1e-12)
    return [
        {
            "strength": point["strength"],
            "gap": own["gap"],
            "loss": 1 - own["fidelity"] / first,
            "loss_against_data": 1 - own["fidelity-to-data"] / first,
        }
        for point, own in zip(told["points"], by, strict=True)
    ]


def compose_sweep(told: Mapping[str, Any], drawn: Mapping[str, Figure], pictures: Html | None = None) -> str:
    """The whole page as text."""
    fair = "data_gap" in told
    guide = told.get("guide", {}).get("name", told.get("law", "a guide"))
    where = told.get("run", "an exact law")
    title = f"How strong a guidance: {guide} on {where}"
    advice = f"Take strength {number(told['recommended'])}: {told['why']}."
    head = element(
        "header",
        element("p", element("span", "unstir", class_="brand"), " sweep of strength", class_="kicker"),
        element("h1", title),
        element("p", advice, class_="verdict"),
        element("p", _byline(told), class_="byline"),
        key_numbers(_key(told, fair)),
    )
    shown = [
        figure(inline_svg(chart, f"sweep-{name}", f"{_title(name)} by strength"), caption(_seen(name), _judged(name)))
        for name, chart in drawn.items()
        if name != "trade-off"
    ]
    body = [
        _trade_off(drawn["trade-off"], told) if fair else None,
        section("measures", "Measure by measure", _lede(told), charts(shown, 3)),
        pictures,
        section("rule", "How the strength was chosen", told["rule"], _table(told), _setting(told)),
    ]
    made = f"Made by unstir from sweep.json, with {number(told['count'])} samples at each strength."
    foot = element("footer", element("p", made, " This page is one file: it needs no network and no script."))
    return whole_page(title, head, body, foot)


def _trade_off(chart: Figure, told: Mapping[str, Any]) -> Html:
    lede = (
        f"Each point is a strength. The data has a gap of {number(told['data_gap'])}; fair samples cannot have the law "
        f"of such data: they are {number(told['cost'])} nats away from it at least, KL(target‖bias), by any method."
    )
    judged = "Down is fairer, right is worse. Below the dashed line four fifths of the gap are gone."
    drawn = figure(inline_svg(chart, "trade-off", "gap against loss of fidelity"), caption(
        "What fairness costs, against data reweighted to parity within each group, and against the biased data.", judged
    ))  # fmt: skip
    return section("trade-off", "What fairness costs", lede, drawn)


def _key(told: Mapping[str, Any], fair: bool) -> list[tuple[str, str, str]]:
    chosen = next(point for point in told["points"] if point["strength"] == told["recommended"])
    found = [("Recommended strength", number(told["recommended"]), f"of {_listed(told)}")]
    by = {result["metric"]: result for result in chosen["results"]}
    first = {result["metric"]: result for result in told["points"][0]["results"]}
    wanted = ("gap", "fidelity") if fair else ("class-agreement", "frechet", "coverage")
    for name in wanted:
        if name in by:
            before = first["fidelity-to-data" if name == "fidelity" else name]["value"]
            beside = f"{number(before)} at strength {number(told['points'][0]['strength'])}"
            found.append((_title(name), number(by[name]["value"]), beside))
    return found


def _table(told: Mapping[str, Any]) -> Html:
    names = _measures(told)
    head = element("tr", element("th", "strength", scope="col"), [element("th", _title(n), scope="col") for n in names])
    rows = []
    for point in told["points"]:
        by = {result["metric"]: result for result in point["results"]}
        mark = " ←" if point["strength"] == told["recommended"] else ""
        cells = [element("td", _cell(by.get(name))) for name in names]
        rows.append(element("tr", element("th", f"{point['strength']:g}{mark}", scope="row"), cells))
    note = element("caption", "Value and half-width of the 95 % interval; the arrow marks the recommended strength")
    return element(
        "div",
        element("table", note, element("thead", head), element("tbody", rows)),
        style="overflow-x: auto",
    )


def _cell(result: Mapping[str, Any] | None) -> str:
    if result is None:
        return ""
    low, high = result["interval"]
    return f"{number(result['value'])} ± {number((high - low) / 2, 2)}"


def _setting(told: Mapping[str, Any]) -> Html:
    pairs = [(key, told[key]) for key in ("run", "law", "count", "steps", "seed") if key in told]
    guide = {key: value for key, value in told.get("guide", {}).items() if value not in (None, {}, [])}
    pairs += [(f"guide, {key}", code(str(value))) for key, value in guide.items()]
    pairs += [(f"classifier, {key}", _plain(value)) for key, value in (told.get("classifier") or {}).items()]
    return facts([(name, str(value) if not isinstance(value, Html) else value) for name, value in pairs], "The setting")


def _lede(told: Mapping[str, Any]) -> str:
    lede = (
        "The same sample numbers at every strength; the band is the recommended one, grey is real data in their place."
    )
    judge = told.get("classifier") or {}
    if "accuracy" in judge:
        lede += f" Obedience is told by {judge['kind']}, right on {number(100 * judge['accuracy'])} % of held-out data."
    return lede


def _pictures(folder: Path, told: Mapping[str, Any], domain: Domain, encoding: Encoding) -> Html | None:
    rows = []
    for point in told["points"]:
        path = folder / f"strength-{point['strength']:g}.npz"
        if not path.is_file():
            continue
        states = np.load(path)["samples"][:10]
        names = [f"strength {point['strength']:g}, sample {place}" for place in range(len(states))]
        shown = tiles(domain, encoding, states, names, _BUDGET)
        rows.append(element("div", element("span", f"{point['strength']:g}", class_="row-name"), shown,
                            class_="class-row"))  # fmt: skip
    if not rows:
        return None
    grid = element(
        "div", rows, class_="classes stacked", style="--columns:10", role="img", aria_label="Samples by strength"
    )
    told_of = caption("The same sample numbers, a row each strength.", "Down a column only the guidance changes.")
    return section("samples", "What one sees", None, figure(grid, told_of))


def _measures(told: Mapping[str, Any]) -> list[str]:
    return [result["metric"] for result in told["points"][0]["results"]]


def _results(told: Mapping[str, Any], metric: str) -> tuple[list[float], Sequence[Mapping[str, Any]]]:
    found = [
        (point["strength"], result)
        for point in told["points"]
        for result in point["results"]
        if result["metric"] == metric
    ]
    if not found:
        raise InputError(f"this sweep has no measure {metric!r}; it has {', '.join(_measures(told))}")
    return [strength for strength, _ in found], [result for _, result in found]


def _title(metric: str) -> str:
    return _TITLES.get(metric) or title_of(metric)


def _seen(metric: str) -> str:
    return f"{_title(metric)}."


def _judged(metric: str) -> str:
    return _JUDGED.get(metric, "Read it beside the floor.")


def _listed(told: Mapping[str, Any]) -> str:
    return ", ".join(f"{point['strength']:g}" for point in told["points"])


def _byline(told: Mapping[str, Any]) -> str:
    guide = told.get("guide", {})
    parts = [f"strengths {_listed(told)}", f"{number(told['count'])} samples each", f"seed {told['seed']}"]
    parts += [f"{key} {_plain(value)}" for key, value in guide.items() if key in ("condition", "negative") and value]
    return " · ".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={part}" for key, part in value.items())
    return number(value) if isinstance(value, float) else str(value)


def _write_svg(chart: Figure, path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem}):
        write_whole(path, lambda file: chart.savefig(file, format="svg", metadata={"Date": None, "Creator": None}))
