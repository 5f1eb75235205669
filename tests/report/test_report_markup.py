"""Text into HTML: nothing unescaped, numbers as in print, YAML unchanged but for its colours."""

# ruff: noqa: RUF001 (Greek letters and true minus signs are meant)

import html
import re

import pytest

from unstir.report.markup import Html, duration, element, highlighted_yaml, listed, number, prose, render


def test_text_is_escaped_and_markup_is_not():
    inner = element("b", "1 < 2")
    assert element("p", "a & b ", inner, None, [inner], class_="x", aria_label='"<') == (
        '<p class="x" aria-label="&quot;&lt;">a &amp; b <b>1 &lt; 2</b><b>1 &lt; 2</b></p>'
    )
    assert element("img", alt="", src="x") == '<img alt="" src="x">'
    assert isinstance(render("<"), Html) and render("<") == "&lt;"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (0.0, "0"),
        (1.0, "1.00"),
        (0.30456, "0.305"),
        (-0.0123, "−0.0123"),
        (1234.5, "1\u202f234"),
        (12, "12"),
        (1_536_000, "1\u202f536\u202f000"),
        (3.2e-7, "3.20 × 10⁻⁷"),
        (999.7, "1000"),
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
    ],
)
def test_numbers_to_three_digits(value, told):
    assert number(value) == told


def test_durations_and_lists():
    assert [duration(seconds) for seconds in (3.14159, 300, 7800)] == ["3.14 s", "5 min", "2 h 10 min"]
    assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]


def test_docstrings_lose_their_markup_but_nothing_else():
    told = prose(r"The kernel :math:`(x \cdot y / d + 1)^3` of ``shift`` & :math:`\sigma_{max} t^\rho` <x>")
    assert told == (
        "The kernel <i>(x · y / d + 1)<sup>3</sup></i> of <code>shift</code> &amp; "
        "<i>σ<sub>max</sub> t<sup>ρ</sup></i> &lt;x&gt;"
    )


def test_highlighting_changes_no_character_of_the_yaml():
    text = "# a comment <b>\nname: 'x & y'\nsteps: 6000\nrate: 2.0e-3\non: [true, null, 8x8]\nurl: a#b\n"
    marked = highlighted_yaml(text)
    assert html.unescape(re.sub(r"</?span[^>]*>", "", marked)) == text
    spans = dict(
        (html.unescape(word), kind) for kind, word in re.findall(r'<span class="yaml-(\w+)">([^<]*)</span>', marked)
    )
    assert spans["# a comment <b>"] == "comment"
    assert spans["steps"] == spans["name"] == "key"
    assert spans["6000"] == spans["2.0e-3"] == "number"
    assert spans["true"] == spans["null"] == "word"
    assert spans["'x & y'"] == "text"
    assert "8x8" not in spans and "8" not in spans and "#b" not in spans
