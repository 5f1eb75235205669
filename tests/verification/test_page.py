"""The certificate: what it says, that it stands alone, and that it can say no."""

from dataclasses import replace

import pytest
from bs4 import BeautifulSoup

from unstir.verification.base import Curve, Effort, Measured, Plot
from unstir.verification.findings import (
    FAILED,
    LEFT_OUT,
    Finding,
    bounds_text,
    from_plain,
    measured_text,
    tally,
    to_plain,
    verdict,
)
from unstir.verification.page import compose
from unstir.verification.runner import circumstances_of
from unstir.verification.statistics import order_of, probable

SLOPE = order_of("error against step", [0.1, 0.05, 0.025, 0.0125], [1.02e-2, 2.5e-3, 6.3e-4, 1.6e-4], 2)
LAW = probable("law of the samples", 0.3, "distance 0.01, 4000 draws")
HELD = Finding("samplers", "heun", "heun", "order", "The error falls with the <declared> order.", (SLOPE,), 0.25)
ALSO = Finding("samplers", "heun", "heun", "law", "Samples have the law of the data.", (LAW,), 1.0)
MISSED = replace(ALSO, entry="euler", subject="euler", measured=(probable("law", 0.0),), status=FAILED)
BROKE = replace(ALSO, entry="ddim", measured=(), reason="ValueError: the floor fell in", status=FAILED)
LEFT = Finding("formats", "mnist", "mnist", "reads", "It reads.", (), 0.0, "a file is needed", LEFT_OUT)


def page_of(*findings):
    record = {
        **circumstances_of([], Effort()),
        "seconds": 12.0,
        "complete": True,
        "findings": [to_plain(finding) for finding in findings],
    }
    return BeautifulSoup(compose(record), "html.parser")


def test_a_page_shows_claims_figures_and_plots():
    page = page_of(HELD, ALSO, LEFT)
    text = page.get_text(" ", strip=True)
    assert "The error falls with the <declared> order." in text
    assert measured_text(SLOPE) in text and bounds_text(SLOPE) == "1.9 to 2.1" in text
    assert "p ≥ 1e-07" in text
    assert "a file is needed" in text
    assert [heading.get_text() for heading in page.select("h2")] == ["Samplers", "Formats"]
    chart = page.select_one("svg.chart")
    assert "error against step" in chart.title.get_text()
    assert "measured, slope 2.00" in chart.get_text()
    identifiers = [tag["id"] for tag in page.select("[id]")]
    assert len(identifiers) == len(set(identifiers))
    assert {link["href"][1:] for link in page.select("a[href^='#']")} <= set(identifiers)


def test_a_page_stands_alone():
    page = page_of(HELD)
    assert not page.select("script, link[rel=stylesheet], img[src^=http]")
    assert not [
        tag for tag in page.select("[src], [href]") if not (tag.get("src") or tag["href"]).startswith(("#", "data:"))
    ]


def test_failures_come_first_and_say_why():
    page = page_of(HELD, MISSED, BROKE)
    failures = page.select_one("#failures")
    assert page.select("section")[0] is failures
    assert "law: 0, allowed p ≥ 1e-07" in failures.get_text()
    assert "the floor fell in" in failures.get_text()
    assert {cell.get_text() for cell in page.select("td.failed")} == {"fails"}
    assert page.select_one(".verdict").get_text().startswith("1 of 3 measurements")


def test_the_verdict_counts():
    assert verdict([]) == "Nothing was measured."
    assert verdict([HELD]) == "All 1 measurements of claims about 1 entry hold, by 1 figures."
    told = verdict([HELD, ALSO, LEFT])
    assert "1 could not be taken here." in told and "a chance of at most 1e-07" in told
    assert tally([HELD, ALSO, MISSED])["figures"] == 3


@pytest.mark.parametrize(
    "figure",
    [
        SLOPE,
        LAW,
        Measured("an infinite error", float("inf"), high=1.0),
        Measured("no number", float("nan"), low=0.0, uncertainty=float("nan")),
        Measured("a curve", 1.0, plot=Plot("t", "x", "y", (Curve("c", [1, 2], [float("inf"), 2], error=[0.1, 0.2]),))),
    ],
)
def test_a_finding_survives_json(figure):
    import json

    finding = replace(HELD, measured=(figure,))
    again = from_plain(json.loads(json.dumps(to_plain(finding), allow_nan=False)))
    assert repr(again) == repr(from_plain(to_plain(finding)))  # nan is not equal to itself
    assert again.measured[0].quantity == figure.quantity
    assert again.measured[0].passed == figure.passed


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (Measured("", 1.0, high=1e-9), "≤ 1e-09"),
        (Measured("", 1.0, low=0.5), "≥ 0.5"),
        (Measured("", 1.0, 0.5, 1.5), "0.5 to 1.5"),
        (Measured("", 1.0, high=0.0), "≤ 0"),
        (Measured("", 2, 2, 2), "= 2"),
        (Measured("", 1.0000003, 1 - 1e-6, 1 + 1e-6), "1 ± 1e-06"),
    ],
)
def test_bounds_in_words(figure, text):
    assert bounds_text(figure) == text


def test_a_value_close_to_its_bounds_shows_the_digits_that_tell():
    assert measured_text(Measured("", 1.0000003, 1 - 1e-6, 1 + 1e-6)) == "1.0000003"
    assert measured_text(Measured("", 2.004, 1.9, 2.1, uncertainty=0.012)) == "2 ± 0.01"
