"""What was found, on the terminal: a line a claim, with the figure that came nearest to its bounds."""

import math
from collections.abc import Iterable
from typing import Any

from unstir.verification.findings import FAILED, LEFT_OUT, PASSED, Finding, bounds_text, measured_text, room


def print_table(findings: Iterable[Finding], console: Any, everything: bool = False) -> None:
    """A line for each claim that was measured or failed; of several subjects and figures the nearest to a bound.

    ``everything`` shows each subject on its own.
    """
    from rich.table import Table

    table = Table(box=None, header_style="dim")
    table.add_column("entry", style="bold")
    table.add_column("claim")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("allowed", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("s", justify="right")
    last = ""
    for group in _grouped(findings, everything):
        first = group[0]
        place = f"{first.kind}/{first.entry}" + (f" · {first.subject}" if everything and _special(first) else "")
        table.add_row("" if place == last else place, *_cells(group))
        last = place
    console.print(table)


def _grouped(findings: Iterable[Finding], everything: bool) -> list[list[Finding]]:
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        address = (finding.kind, finding.entry, finding.check) + ((finding.subject,) if everything else ())
        groups.setdefault(address, []).append(finding)
    return list(groups.values())


def _special(finding: Finding) -> bool:
    return finding.subject != finding.entry


def _cells(group: list[Finding]) -> tuple[str, ...]:
    worst = min(group, key=_rank)
    claim = _literal(worst.claim)
    if worst.status == FAILED and _special(worst):
        claim += f" [dim]({_literal(worst.subject)})[/]"
    if worst.reason:
        claim += f"\n[dim]{_literal(worst.reason)}[/]"
    figure = worst.telling
    told = (measured_text(figure), bounds_text(figure)) if figure else ("", "")
    mark = {PASSED: "[green]pass[/]", FAILED: "[bold red]FAIL[/]", LEFT_OUT: "[yellow]–[/]"}[worst.status]  # noqa: RUF001
    return claim, *told, mark, f"{sum(finding.seconds for finding in group):.1f}"


def _rank(finding: Finding) -> tuple[int, float]:
    """Failures first, then what was measured, the least room foremost."""
    order = (FAILED, PASSED, LEFT_OUT).index(finding.status)
    return order, room(finding.telling) if finding.telling else -math.inf


def _literal(text: str) -> str:
    return text.replace("[", r"\[")
