"""The certificate: one self-contained page of all claims, their figures and their plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from unstir.core.catalogue import KINDS
from unstir.report.figures import ACCENT, INK, MUTED, SECOND, THIRD, axis_in_powers, few_ticks, legend, panel
from unstir.report.markup import Html, duration, element, number, prose, render
from unstir.report.parts import charts, code, figure, key_numbers, whole_page
from unstir.report.svg import inline_svg
from unstir.run.folder import write_text
from unstir.verification.base import Measured, Plot
from unstir.verification.findings import (
    FAILED,
    LEFT_OUT,
    PASSED,
    Finding,
    bounds_text,
    findings_of,
    measured_text,
    room,
    tally,
    verdict,
)

_FIRST = ("samplers", "exact", "physics", "processes", "schedules")
_WORDS = {PASSED: "holds", FAILED: "fails", LEFT_OUT: "not measured"}


def write_page(record: Mapping[str, Any], path: Path) -> Path:
    """Writes the page of a finished record, whole or not at all."""
    write_text(path, compose(record))
    return path


def compose(record: Mapping[str, Any]) -> str:
    """The page as text."""
    findings = findings_of(record)
    body = [_failures(findings), *(_section(kind, found) for kind, found in _by_kind(findings).items())]
    title = f"Claims measured: {record.get('run') or 'unstir'}"
    return whole_page(title, _head(record, findings), body, _foot(record))


def plot_figure(plot: Plot) -> Figure:
    """A finding's plot as a chart in the report's style."""
    figure, axes = panel(plot.x_label, plot.y_label, (3.6, 2.6))
    colours = iter([ACCENT, SECOND, THIRD, INK] * (1 + len(plot.curves) // 4))
    for curve in plot.curves:
        if curve.dashed:
            axes.plot(curve.x, curve.y, "--", color=MUTED, linewidth=1.0, label=curve.name)
            continue
        colour = next(colours)
        style = "o-" if len(curve.x) <= 24 else "-"
        axes.plot(curve.x, curve.y, style, color=colour, markersize=3.5, linewidth=1.4, label=curve.name)
        if curve.error is not None:
            axes.errorbar(curve.x, curve.y, curve.error, fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.6)
    for which, logarithmic in (("x", plot.x_log), ("y", plot.y_log)):
        (axis_in_powers if logarithmic else few_ticks)(axes, which)
    legend(axes)
    return figure


def _head(record: Mapping[str, Any], findings: Sequence[Finding]) -> Html:
    told = tally(findings)
    about = record.get("run")
    figures = [
        ("claims that hold", number(told[PASSED]), f"of {number(told[PASSED] + told[FAILED])} measured"),
        ("figures", number(told["figures"]), "each between bounds told beforehand"),
        ("entries", number(told["entries"]), "of the catalogue" if not about else "of the run"),
        ("false alarm", number(float(told["false_alarm"]), 1), "chance at most, were everything correct"),
    ]
    kinds = [element("a", kind.replace("_", " "), href=f"#{kind}") for kind in _by_kind(findings)]
    return element(
        "header",
        element("p", element("span", "unstir", class_="brand"), " claims, measured", class_="kicker"),
        element("h1", about or "unstir"),
        element("p", verdict(findings), class_="verdict"),
        element("p", _byline(record), class_="byline"),
        key_numbers(figures),
        element("nav", kinds, aria_label="Contents") if len(kinds) > 1 else None,
    )


def _byline(record: Mapping[str, Any]) -> str:
    machine, packages = record["machine"], record["packages"]
    told = [
        f"unstir {record['unstir']}" + (f" ({record['commit']})" if record.get("commit") else ""),
        f"torch {packages.get('torch')}",
        str(machine.get("processor") or machine["system"]),
        f"seed {record['seed']}",
        "quick" if record["quick"] else "in full",
        duration(record["seconds"]),
        str(record["started"])[:10],
    ]
    return " · ".join(told)


def _failures(findings: Sequence[Finding]) -> Html | None:
    failed = [finding for finding in findings if finding.status == FAILED]
    if not failed:
        return None
    items = [
        element("li", element("a", f"{finding.kind}/{finding.entry}", href=f"#{_identifier(finding)}"), ": ",
                prose(finding.claim), f" ({finding.subject}; {_why(finding)})")
        for finding in failed
    ]  # fmt: skip
    return element("section", element("h2", "What fails"), element("ul", items, class_="references"), id="failures")


def _why(finding: Finding) -> str:
    missed = [figure for figure in finding.measured if not figure.passed]
    if missed:
        return f"{missed[0].quantity}: {measured_text(missed[0])}, allowed {bounds_text(missed[0])}"
    return finding.reason


def _section(kind: str, findings: Sequence[Finding]) -> Html:
    entries: dict[str, list[Finding]] = {}
    for finding in findings:
        entries.setdefault(finding.entry, []).append(finding)
    return element(
        "section",
        element("h2", _sentence(kind.replace("_", " "))),
        element("p", _sentence(KINDS[kind]) + ".") if kind in KINDS else None,
        [_entry(found) for found in entries.values()],
        id=kind,
    )


def _entry(findings: Sequence[Finding]) -> Html:
    claims: dict[str, list[Finding]] = {}
    for finding in findings:
        claims.setdefault(finding.check, []).append(finding)
    head = element("tr", [element("th", word, scope="col") for word in ("claim", "measured", "allowed", "", "s")])
    rows = [_claim(found) for found in claims.values()]
    drawn = [chart for found in claims.values() if (chart := _chart(found)) is not None]
    table = element("table", element("thead", head), element("tbody", rows), class_="metrics claims")
    return render(
        [
            element("h3", findings[0].entry, id=_identifier(findings[0])),
            element("div", table, class_="scroll"),
            charts(drawn, 3) if drawn else None,
        ]
    )


def _claim(findings: Sequence[Finding]) -> Html:
    """A row, with all figures of all subjects folded in beneath the nearest to a bound."""
    status = next((status for status in (FAILED, PASSED, LEFT_OUT) if any(f.status == status for f in findings)), "")
    figures = [(finding, figure) for finding in findings for figure in finding.measured]
    seconds = f"{sum(finding.seconds for finding in findings):.1f}"
    told: list[Any] = [prose(findings[0].claim)]
    reasons = dict.fromkeys(finding.reason for finding in findings if finding.reason)
    told += [element("small", reason) for reason in reasons]
    if len(figures) > 1:
        told.append(_details(figures))
    if not figures:
        cells = ["", ""]
    else:
        nearest = min(figures, key=lambda pair: room(pair[1]))[1]
        cells = [measured_text(nearest), bounds_text(nearest)]
    return element(
        "tr",
        element("th", told, scope="row"),
        element("td", cells[0], class_="own"),
        element("td", cells[1]),
        element("td", _WORDS[status], class_=status.replace(" ", "-")),
        element("td", seconds),
    )


def _details(figures: Sequence[tuple[Finding, Measured]]) -> Html:
    several = len({finding.subject for finding, _ in figures}) > 1
    items = []
    for finding, one in figures:
        name = f"{finding.subject}: {one.quantity}" if several else one.quantity
        note = f" ({one.note})" if one.note else ""
        mark = "" if one.passed else " ✗"
        items.append(element("li", f"{name}: {measured_text(one)}, allowed {bounds_text(one)}{note}{mark}"))
    return element("details", element("summary", f"{len(figures)} figures"), element("ul", items))


def _chart(findings: Sequence[Finding]) -> Html | None:
    """The plot of the claim's figure that is nearest to its bound, where there is one."""
    drawn = [(finding, figure) for finding in findings for figure in finding.measured if figure.plot is not None]
    if not drawn:
        return None
    finding, nearest = min(drawn, key=lambda pair: room(pair[1]))
    plot = nearest.plot
    assert plot is not None
    identifier = "-".join(("plot", finding.kind, finding.entry, finding.check)).replace("/", "-").replace("_", "-")
    subject = f" ({finding.subject})" if finding.subject != finding.entry else ""
    words = f"{plot.title}{subject}: {measured_text(nearest)}, allowed {bounds_text(nearest)}"
    chart = inline_svg(plot_figure(plot), identifier, words)
    return figure(chart, element("figcaption", element("strong", plot.title), subject))


def _foot(record: Mapping[str, Any]) -> Html:
    command = record.get("command") or "unstir verify"
    told = "A claim fails where a figure leaves its bounds, which theory and the number of draws set beforehand."
    return element("footer", element("p", f"{told} Made by: ", code(command), "."))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _identifier(finding: Finding) -> str:
    return f"{finding.kind}-{finding.entry}".replace("/", "-")


def _by_kind(findings: Sequence[Finding]) -> dict[str, list[Finding]]:
    """The findings of each kind; what the mathematics rests on comes first."""
    found: dict[str, list[Finding]] = {kind: [] for kind in _FIRST if any(kind == other.kind for other in findings)}
    for finding in findings:
        found.setdefault(finding.kind, []).append(finding)
    return found
