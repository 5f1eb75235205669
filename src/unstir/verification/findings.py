"""What was found: as values, as JSON, and in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unstir.verification.base import Curve, Measured, Plot

PASSED, FAILED, LEFT_OUT = "passed", "failed", "not measured"


@dataclass(frozen=True)
class Finding:
    """What one check found of one subject of one entry; ``reason`` says why nothing was measured, or what broke.

    ``status`` is "passed", "failed" or "not measured", and empty where the claim does not concern the subject.
    """

    kind: str
    entry: str
    subject: str
    check: str
    claim: str
    measured: tuple[Measured, ...]
    seconds: float
    reason: str = ""
    status: str = PASSED

    @property
    def telling(self) -> Measured | None:
        """The figure that comes nearest to a bound, or misses it by most."""
        return min(self.measured, key=room) if self.measured else None


def room(figure: Measured) -> float:
    """How far inside its bounds a figure lies, as a share of them; negative outside."""
    if math.isnan(figure.value):
        return -math.inf
    if is_probability(figure):
        return figure.value - figure.low
    width = figure.high - figure.low
    scale = width if math.isfinite(width) else abs(figure.high if math.isfinite(figure.high) else figure.low)
    return min(figure.high - figure.value, figure.value - figure.low) / (scale or 1.0)


def is_probability(figure: Measured) -> bool:
    """Whether the figure is a p-value."""
    return figure.false_alarm > 0 and figure.high == 1.0 and figure.low == figure.false_alarm


def to_plain(finding: Finding) -> dict[str, Any]:
    """A finding as JSON holds it; numbers that are not finite are written as text."""
    plain = asdict(finding)
    for figure, kept in zip(finding.measured, plain["measured"], strict=True):
        kept["passed"] = figure.passed
    return _plain({**plain, "seconds": round(finding.seconds, 4)})


def from_plain(plain: Mapping[str, Any]) -> Finding:
    """The finding that ``to_plain`` wrote."""
    values: dict[str, Any] = {**plain, "measured": tuple(map(_measured, plain["measured"]))}
    return Finding(**values)


def findings_of(record: Mapping[str, Any]) -> list[Finding]:
    """The findings of a finished record."""
    return [from_plain(finding) for finding in record["findings"]]


def tally(findings: Sequence[Finding]) -> dict[str, Any]:
    """Numbers of claims and figures by outcome, and the chance that something correct fails somewhere."""
    figures = [figure for finding in findings for figure in finding.measured]
    return {
        **{status: sum(finding.status == status for finding in findings) for status in (PASSED, FAILED, LEFT_OUT)},
        "figures": len(figures),
        "entries": len({(finding.kind, finding.entry) for finding in findings if finding.measured}),
        "false_alarm": sum(figure.false_alarm for figure in figures),
    }


def verdict(findings: Sequence[Finding]) -> str:
    """The outcome in a few sentences."""
    told = tally(findings)
    claims = told[PASSED] + told[FAILED]
    if not claims:
        return "Nothing was measured."
    held = f"All {claims} measurements" if not told[FAILED] else f"{told[PASSED]} of {claims} measurements"
    entries = "1 entry" if told["entries"] == 1 else f"{told['entries']} entries"
    text = f"{held} of claims about {entries} hold, by {told['figures']} figures."
    if told[LEFT_OUT]:
        text += f" {told[LEFT_OUT]} could not be taken here."
    chance = told["false_alarm"]
    return f"{text} Were all correct, one would fail with a chance of at most {chance:.1g}." if chance else text


def measured_text(figure: Measured) -> str:
    """The value with its uncertainty."""
    error = "" if figure.uncertainty is None else f" ± {figure.uncertainty:.1g}"
    return _formatted(figure.value, _digits(figure)) + error


def bounds_text(figure: Measured) -> str:
    """The bounds as a table shows them."""
    if is_probability(figure):
        return f"p ≥ {figure.low:.3g}"
    digits = _digits(figure)
    if digits > 3:
        return f"{(figure.low + figure.high) / 2:.{digits}g} ± {(figure.high - figure.low) / 2:.1g}"
    low, high = _formatted(figure.low), _formatted(figure.high)
    if figure.low == figure.high:
        return f"= {low}"
    if math.isinf(figure.low):
        return f"≤ {high}"
    return f"≥ {low}" if math.isinf(figure.high) else f"{low} to {high}"


def _digits(figure: Measured) -> int:
    """Significant digits that tell a value from its bounds: three, and more where these lie close together."""
    width = figure.high - figure.low
    if not (0 < width < abs(figure.value) / 50 < math.inf):
        return 3
    return min(12, 2 + math.ceil(math.log10(abs(figure.value) / width)))


def _formatted(value: float | int, digits: int = 3) -> str:
    return "0" if value == 0 else f"{value:.{digits}g}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _measured(kept: Mapping[str, Any]) -> Measured:
    values: dict[str, Any] = {key: value for key, value in kept.items() if key != "passed"}
    for key in ("value", "low", "high"):
        values[key] = float(values[key])
    if values["uncertainty"] is not None:
        values["uncertainty"] = float(values["uncertainty"])
    if values["plot"]:
        plot: dict[str, Any] = {**values["plot"], "curves": tuple(Curve(**curve) for curve in values["plot"]["curves"])}
        values["plot"] = Plot(**plot)
    return Measured(**values)
