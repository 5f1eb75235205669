"""The page of a sweep: self-contained, with every measure, the recommendation and its rule."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from unstir.core.errors import InputError
from unstir.report.sweep import fairness_curve, measure_figure, write_sweep


def measured(metric, value, half=0.02):
    return {
        "metric": metric,
        "value": value,
        "interval": [value - half, value + half],
        "floor": {"value": 0.1, "interval": [0.05, 0.15]},
        "better": "lower",
    }


def a_sweep():
    points = [
        {
            "strength": strength,
            "results": [
                measured("frechet", 0.2 + strength / 10),
                measured("coverage", 0.9 - strength / 20),
                measured("class-agreement", 1 - 0.2 / (1 + strength)),
            ],
        }
        for strength in (0.0, 1.0, 4.0)
    ]
    return {
        "run": "digits",
        "guide": {"name": "classifier-free", "condition": {"label": 3}, "negative": {}},
        "count": 500,
        "seed": 7,
        "classifier": {"kind": "logistic regression on clean data", "accuracy": 0.97},
        "points": points,
        "recommended": 1.0,
        "why": "because of <this>",
        "rule": "The rule in words.",
    }


def a_fair_sweep():
    points = [
        {
            "strength": strength,
            "results": [
                measured("gap", 0.3 * (1 - strength)),
                measured("fidelity", 0.8 + 0.1 * strength),
                measured("fidelity-to-data", 0.9 - 0.1 * strength),
            ],
        }
        for strength in (0.0, 0.5, 1.0)
    ]
    own = {"data_gap": 0.31, "cost": 0.042, "points": points, "classifier": {}, "guide": {"name": "fairness"}}
    return {**a_sweep(), **own}


def written(folder, told):
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps(told), encoding="utf-8")
    return write_sweep(folder)


def test_the_page_says_what_to_take_and_why_and_needs_nothing_else(tmp_path):
    page = written(tmp_path / "sweep", a_sweep()).read_text(encoding="utf-8")
    assert "Take strength 1.00: because of &lt;this&gt;." in page
    assert "The rule in words." in page and "label=3" in page and "97" in page
    assert page.count('<svg class="chart"') == 3
    assert not re.search(r'(?:src|href)="(?!#|data:)', page) and "<script" not in page
    for title in ("Fréchet distance", "Coverage", "Condition obeyed"):
        assert title in page
    identifiers = re.findall(r'\bid="([^"]*)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_every_chart_is_a_file_too_and_equal_folders_give_equal_bytes(tmp_path):
    first, second = (written(tmp_path / name, a_sweep()).parent for name in ("one", "two"))
    names = sorted(path.name for path in first.glob("*.svg"))
    assert names == ["class-agreement.svg", "coverage.svg", "frechet.svg"]
    for name in [*names, "sweep.html"]:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    for name in names:
        ElementTree.parse(first / name)


def test_a_chart_shows_values_floor_and_the_recommended_strength():
    chart = measure_figure(a_sweep(), "frechet")
    (axes,) = chart.axes
    lines = {line.get_label(): line for line in axes.lines}
    assert np.allclose(lines["samples"].get_ydata(), [0.2, 0.3, 0.6])
    assert np.allclose(lines["real data (floor)"].get_ydata(), 0.1)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "4"]
    with pytest.raises(InputError, match="it has frechet, coverage"):
        measure_figure(a_sweep(), "kid")


def test_fairness_shows_the_trade_off_against_both_references(tmp_path):
    told = a_fair_sweep()
    page = written(tmp_path / "fair", told).read_text(encoding="utf-8")
    assert "What fairness costs" in page and "0.0420 nats" in page and "KL(target‖bias)" in page
    assert (tmp_path / "fair" / "trade-off.svg").is_file()
    curve = fairness_curve(told)
    # 0.9 is what unguided samples reach against the data: to reach it again is to lose nothing
    assert [point["loss"] for point in curve] == pytest.approx([1 - 0.8 / 0.9, 1 - 0.85 / 0.9, 0.0])
    assert [point["loss_against_data"] for point in curve] == pytest.approx([0.0, 0.05 / 0.9, 0.1 / 0.9])


def test_samples_are_shown_where_they_were_kept(tmp_path):
    from unstir.domains.images import images

    encoding = images.restore(
        {
            "low": 0.0, "high": 16.0, "dtype": "uint8", "layout": "hw", "shape": [1, 8, 8], "bounded": True,
            "label_names": [],
        }
    )  # fmt: skip
    folder = tmp_path / "sweep"
    written(folder, a_sweep())
    for strength in ("0", "4"):
        np.savez(folder / f"strength-{strength}.npz", samples=np.zeros((3, 1, 8, 8), dtype=np.float32))
    page = write_sweep(folder, images, encoding).read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png') == 6 and "strength 4, sample 2" in page


def test_a_folder_without_a_sweep_is_refused(tmp_path):
    with pytest.raises(InputError, match="unstir guide RUN"):
        write_sweep(tmp_path)
