"""The sections that measure: metrics beside floor and baselines, classes, and what a network call buys."""

from collections.abc import Mapping
from typing import Any

from unstir.core.catalogue import entries
from unstir.report.figures import calls_figure, classes_figure, metric_figure
from unstir.report.markup import Html, element, listed, number, prose
from unstir.report.parts import caption, charts, code, figure, missing, section
from unstir.report.reading import Run
from unstir.report.svg import inline_svg
from unstir.report.verdict import wins
from unstir.report.words import BETTER, floor_of, inside_sentence, is_real, title_of, titled

_PANELS = 6  # measures with a chart at first sight
_NOT_MEASURES = ("sampler", "steps", "calls", "count", "seed", "seconds", "n_samples")


def measures(run: Run) -> Html:
    """The table of metrics, a chart of each, and what each of them means."""
    title = "How good it is"
    if not run.results:
        return section(
            "measures", title, missing("The samples have not been measured yet:", code(f"unstir evaluate {run.place}"))
        )
    names = _baselines(run)
    drawn = [
        inline_svg(metric_figure(result), f"metric-{name}", _described(result)) for name, result in run.results.items()
    ]
    count = next(iter(run.results.values()))
    table = figure(
        element("div", _table(run, names), class_="scroll"),
        caption(
            f"{number(count['n_samples'])} samples against {number(count['n_reference'])} rows of the data."
            if run.metrics.get("figures") is None
            else "Measures beside real data and baselines.",
            "Small print: 95 % intervals. The floor is real data in place of samples: no model can be expected to do "
            "better. Training copies are there as a warning: they win every distance, and only the distance to the "
            "training set and the share of copied samples give them away.",
            element("span", "▲", class_="mark"),
            "marks a baseline that is ahead of this run by more than the interval,",
            element("span", "△", class_="mark"),
            "one that is ahead within it.",
            _features(run),
        ),
    )
    panels = figure(
        charts(drawn[:_PANELS], 3),
        caption(
            "The same in pictures, each measure on its own scale.",
            "The filled dot is this run; the closer it is to real data and the further from the grey baselines, the "
            "better. The dashed line is the ideal.",
        ),
    )
    others = element("details", element("summary", "Pictures of the other measures"), charts(drawn[_PANELS:], 3))
    return section(
        "measures", title, None, table, panels, others if drawn[_PANELS:] else None, _classes(run), _glossary(run)
    )


def calls(run: Run) -> Html:
    """Quality against the number of network calls."""
    title = "What a network call buys"
    points = [point for point in run.metrics.get("quality_by_calls") or [] if point.get("calls")]
    names = [
        name
        for name in (points[0] if points else {})
        if name not in _NOT_MEASURES and isinstance(points[0][name], int | float)
    ]
    if not names:
        return section(
            "calls",
            title,
            missing(
                "The quality at other numbers of network calls comes with the evaluation:",
                code(f"unstir evaluate {run.place}"),
            ),
        )
    drawn = []
    for name in names:
        few, many = points[0], points[-1]
        ends = (f"{number(point.get(name))} with {point['calls']} calls" for point in (few, many))
        told = f"{title_of(name)}: {listed(ends)}"
        chart = calls_figure(points, name, run.results.get(name), (3.35, 2.5) if len(names) > 2 else (4.6, 2.9))
        drawn.append(inline_svg(chart, f"calls-{name}", told))
    count = points[0].get("count")
    note = (
        f"Measured with {number(count)} samples a point; with fewer samples the Fréchet distance comes out higher."
        if count
        else ""
    )
    look = "Sampling time is proportional to the calls: take the fewest from which on the curve is flat."
    return section(
        "calls",
        title,
        None,
        figure(
            charts(drawn, 3 if len(drawn) > 2 else 2),
            caption("Quality against the number of times the network is called for a sample.", look, note),
        ),
    )


def _baselines(run: Run) -> list[str]:
    found = [name for result in run.results.values() for name in result.get("baselines") or {}]
    return sorted(dict.fromkeys(found), key=is_real)


def _table(run: Run, baselines: list[str]) -> Html:
    rivals = [name for name in baselines if not is_real(name)]
    real = [name for name in baselines if is_real(name)]
    groups = [
        element("th", "", rowspan=2, class_="corner"),
        element("th", "this run", scope="col", rowspan=2, class_="own"),
    ]
    groups.append(element("th", "real data", scope="colgroup", colspan=1 + len(real), class_="group"))
    if rivals:
        groups.append(element("th", "baselines", scope="colgroup", colspan=len(rivals), class_="group"))
    groups.append(element("th", "ideal", scope="col", rowspan=2))
    heads = [element("th", name, scope="col") for name in ("floor", *map(titled, real), *map(titled, rivals))]
    rows = [_row(result, [*real, *rivals]) for result in run.results.values()]
    return element(
        "table",
        element("caption", "Metrics beside their noise floor and baselines", class_="unseen"),
        element("thead", element("tr", groups), element("tr", heads)),
        element("tbody", rows),
        class_="metrics",
    )


def _row(result: Mapping[str, Any], baselines: list[str]) -> Html:
    sign, meaning = BETTER[result.get("better", "lower")]
    arrow = element("span", sign, class_="arrow", title=meaning)
    floor = result.get("floor") or {}
    cells = [
        element("th", title_of(result["metric"]), " ", arrow, scope="row"),
        element("td", number(result["value"]), _interval(result.get("interval")), class_="own"),
        element("td", number(floor.get("value")), _interval(floor.get("interval"))),
    ]
    for name in baselines:
        value = (result.get("baselines") or {}).get(name)
        ahead = wins(result, value) if value is not None and not is_real(name) else ""
        mark = (
            element("span", {"clearly": "▲", "within": "△"}[ahead], class_="mark", title=f"ahead of this run, {ahead}")
            if ahead
            else None
        )
        cells.append(element("td", number(value), mark, class_=f"ahead {ahead}" if ahead else None))
    return element("tr", cells, element("td", _ideal(result.get("ideal"))))


def _ideal(value: Any) -> str:
    return number(value) if value is None or not float(value).is_integer() else f"{value:g}"


def _interval(interval: Any) -> Html | None:
    return element("small", f"{number(interval[0])} to {number(interval[1])}") if interval else None


def _described(result: Mapping[str, Any]) -> str:
    floor, baselines = result.get("floor"), result.get("baselines") or {}
    told = f"{title_of(result['metric'])}: this run {number(result['value'])}"
    told += f", {floor_of(floor)} {number(floor['value'])}" if floor else ""
    return told + "".join(f", {titled(name)} {number(value)}" for name, value in baselines.items())


def _features(run: Run) -> str:
    features = run.metrics.get("features") or {}
    told = features.get("description") or features.get("kind")
    if not told:
        return ""
    accuracy = next(
        (features[name] for name in ("accuracy", "held_out_accuracy") if features.get(name) is not None), None
    )
    right = f", right in {number(100 * accuracy)} % of the rows it was not trained on" if accuracy is not None else ""
    digest = features.get("sha256") or features.get("digest")
    return f"Features: {str(told).rstrip('.')}{right}{f' (SHA-256 {str(digest)[:12]}…)' if digest else ''}."


def _classes(run: Run) -> Html | None:
    details = (run.results.get("class-histogram") or {}).get("details") or {}
    shares, reference = details.get("shares"), details.get("reference_shares")
    if not shares or not reference:
        return None
    names = run.classes if len(run.classes) == len(shares) else [str(place) for place in range(len(shares))]
    told = "Share of each class in percent, samples and data: " + "; ".join(
        f"{name} {number(100 * own, 2)}, {number(100 * other, 2)}"
        for name, own, other in zip(names, shares, reference, strict=True)
    )
    chart = inline_svg(classes_figure(shares, reference, names), "classes", told)
    look = "A bar that ends far below its mark is a kind of data that the model forgets."
    return figure(
        chart,
        caption("The classes of the samples (bars), beside those of the data (marks).", look),
        class_="wide-chart",
    )


def _glossary(run: Run) -> Html:
    known = {**entries("metrics"), **entries("scores")}
    items = []
    for name, result in run.results.items():
        entry = known.get(name)
        items.append(element("dt", title_of(name)))
        source = element("span", entry.source, class_="source") if entry and entry.source else None
        summary = prose(entry.summary) if entry else inside_sentence(name)
        note = str(result.get("note") or "")
        items.append(element("dd", summary, f" {note[:1].upper()}{note[1:]}. " if note else " ", source))
    return element("details", element("summary", "What each measure means"), element("dl", items))
