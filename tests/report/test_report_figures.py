"""Charts: axes that say what they show and in which unit, honest numbers, and SVG that follows the page."""

# ruff: noqa: RUF001 (Greek letters and true minus signs are meant)

import re

import numpy as np
import pytest

from unstir.report import figures
from unstir.report.svg import inline_svg

LINES = [
    {
        "step": 10 * place,
        "loss": 1 / place,
        "learning_rate": 0.001,
        "by_log_snr": [[-4.0, 0.2 / place, 10], [0.0, 0.5 / place, 30], [4.0, None, 0]],
    }
    for place in range(1, 31)
]
RESULT = {
    "metric": "frechet",
    "value": 0.3,
    "interval": [0.28, 0.33],
    "floor": {"value": 0.15, "interval": [0.14, 0.16]},
    "baselines": {"gaussian": 4.2, "copies": 0.15},
    "ideal": 0.0,
    "better": "lower",
    "unit": "feature units squared",
}
POINTS = [
    {"sampler": sampler, "steps": calls, "calls": calls, "frechet": 1 / calls}
    for sampler in ("heun", "ddim")
    for calls in (4, 8)
]
CHARTS = {
    "metric": lambda: figures.metric_figure(RESULT),
    "calls": lambda: figures.calls_figure(POINTS, "frechet", RESULT),
    "loss": lambda: figures.loss_figure(LINES),
    "levels": lambda: figures.level_figure(LINES),
    "progress": lambda: figures.progress_figure(LINES, "learning_rate", "learning rate (per step)"),
    "classes": lambda: figures.classes_figure([0.6, 0.4], [0.5, 0.5], ["cat", "dog"]),
}


@pytest.mark.parametrize("name", CHARTS)
def test_axes_are_labelled_with_units(name):
    (axes,) = CHARTS[name]().axes
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert axes.get_xlabel()
    assert axes.get_ylabel() or all(rows), "an axis without a label has a name at each of its rows"
    units = {
        "metric": r"\(feature units squared\); lower is better",
        "calls": r"\(feature units squared\)",
        "loss": r"\(per element\)",
        "levels": r"σ/α",
        "progress": r"\(per step\)",
        "classes": r"\(%\)",
    }
    assert re.search(units[name], axes.get_xlabel() + axes.get_ylabel())


@pytest.mark.parametrize("name", CHARTS)
def test_svg_follows_the_page(name):
    svg = inline_svg(CHARTS[name](), "one", "what <one> sees")
    assert svg.startswith("<svg") and svg.endswith("</svg>")
    assert '<title id="one-title">what &lt;one&gt; sees</title>' in svg
    assert not [colour for colour in figures.COLOURS.values() if colour in svg.lower()]
    assert "var(--muted)" in svg and "var(--ink)" in svg
    assert "<text" in svg, "text stays text, to be searched and read aloud"
    assert "DejaVu" not in svg and "var(--sans)" in svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids)) and all(identifier.startswith("one-") for identifier in ids)
    referred = re.findall(r'(?:href="#|url\(#)([^")]*)', svg)
    assert set(referred) <= set(ids)
    assert inline_svg(CHARTS[name](), "one", "what <one> sees") == svg
    assert not set(ids) & set(re.findall(r'\bid="([^"]*)"', inline_svg(CHARTS[name](), "two", "")))


def test_no_colour_of_a_chart_escapes_the_palette():
    """White and black would be wrong in one of light and dark."""
    for make in CHARTS.values():
        assert not re.findall(r"#[0-9a-fA-F]{6}\b", inline_svg(make(), "x", ""))


def test_the_metric_chart_has_a_row_for_all_and_shows_their_values():
    (axes,) = figures.metric_figure(RESULT).axes
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["this run", "real data (floor)", "training copies", "one Gaussian"]
    points = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert points == [0.3, 0.15, 0.15, 4.2]
    assert axes.get_xscale() == "log"


def test_a_metric_without_baselines_or_floor_is_drawn():
    (axes,) = figures.metric_figure({"metric": "recall", "value": 0.5, "floor": None, "baselines": {}}).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["this run"]


def test_the_calls_chart_has_a_line_a_sampler_and_the_floor():
    (axes,) = figures.calls_figure(POINTS, "frechet", RESULT).axes
    named = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert named["heun"] == named["ddim"] == [4, 8]
    assert "real data (floor)" in named
    assert list(axes.get_xticks()) == [4, 8] and axes.get_xscale() == "log"


def test_running_mean_is_the_mean_of_what_is_there():
    values = np.random.default_rng(0).standard_normal(50)
    wanted = [values[max(0, place - 3) : place + 4].mean() for place in range(50)]
    np.testing.assert_allclose(figures.running_mean(values, 7), wanted, rtol=0, atol=1e-12)


def test_smoothing_is_shown_as_such_beside_the_raw_values():
    (axes,) = figures.loss_figure(LINES * 10).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["as logged", "mean of 15 neighbours"]


@pytest.mark.parametrize("count", [0, 1, 399, 400, 401, 12345])
def test_thinning_keeps_the_mean_and_bounds_the_points(count):
    values = np.arange(count, dtype=float)
    steps, means = figures.thinned(values, values)
    assert len(means) == count if count <= 400 else 200 <= len(means) <= 400
    group = -(-count // 400) or 1
    whole = count // group
    np.testing.assert_allclose(means[:whole], values[: whole * group].reshape(whole, group).mean(1))
    np.testing.assert_array_equal(steps, means)


def test_levels_are_averaged_by_their_counts():
    lines = [{"by_log_snr": [[0.0, 1.0, 1], [2.0, 5.0, 2]]}, {"by_log_snr": [[0.0, 4.0, 2], [2.0, None, 0]]}]
    ratios, means = figures.mean_by_level(lines)
    np.testing.assert_allclose(ratios, [np.exp(-1), 1.0])
    np.testing.assert_allclose(means, [5.0, 3.0])


def test_the_levels_of_three_thirds_are_drawn_apart():
    (axes,) = figures.level_figure(LINES).axes
    first, middle, last = (line.get_ydata() for line in axes.lines)
    assert (first > middle).all() and (middle > last).all()


def test_a_training_of_few_lines_is_drawn_as_it_is():
    (axes,) = figures.level_figure(LINES[:2]).axes
    assert [line.get_label() for line in axes.lines] == ["whole training"]
    (axes,) = figures.loss_figure(LINES[:2]).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["as logged"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 0.5])


def test_a_record_without_numbers_makes_an_empty_chart():
    for make in (figures.loss_figure, figures.level_figure):
        assert "<svg" in inline_svg(make([{"step": 1}]), "x", "")
