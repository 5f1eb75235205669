"""The verdict in words: each claim of it follows from the numbers."""

# ruff: noqa: RUF001 (Greek letters and true minus signs are meant)

import pytest

from unstir.report.verdict import beyond, key_figures, memorised, verdict, wins


def a_result(metric, value, interval, floor=None, baselines=None, better="lower", ideal=0.0, details=None):
    spread = floor and {"value": floor, "interval": [0.9 * floor, 1.1 * floor]}
    return {
        "metric": metric,
        "value": value,
        "interval": interval,
        "floor": spread,
        "baselines": baselines or {},
        "ideal": ideal,
        "better": better,
        "details": details or {},
    }


def frechet(value, **baselines):
    named = {name.replace("_", "-"): number for name, number in baselines.items()}
    return a_result("frechet", value, [0.95 * value, 1.05 * value], 0.15, named)


def said(*results, classes=()):
    return verdict({result["metric"]: result for result in results}, list(classes))


def test_nothing_measured():
    assert said() == "The samples of this run have not been measured yet."


def test_the_distance_is_told_in_units_of_the_floor():
    assert "0.600, 4.0 times what as many real examples reach (0.150)" in said(frechet(0.6))


def test_within_the_floor_no_ratio_is_claimed():
    told = said(frechet(0.16))
    assert "as near to the data as other real examples would be" in told and "times" not in told


def test_a_floor_about_zero_makes_no_ratio():
    kernel = a_result("kernel", 0.02, [0.01, 0.03], None)
    kernel["floor"] = {"value": -0.0001, "interval": [-0.0004, 0.0003]}
    assert "where as many real examples reach −0.0001" in said(kernel)


def test_higher_is_better_reads_the_right_way_round():
    low = a_result("coverage", 0.5, [0.48, 0.52], 0.9, {"gaussian": 0.6}, "higher", 1.0)
    assert (
        "0.500, where as many real examples reach 0.900, and beat no baseline (the best, one Gaussian, comes to 0.600)"
        in said(low)
    )
    high = a_result("coverage", 0.88, [0.86, 0.9], 0.9, {"gaussian": 0.6}, "higher", 1.0)
    assert "as near to the data" in said(high) and "beat the baseline" in said(high)


@pytest.mark.parametrize(
    ("baselines", "told"),
    [
        ({"gaussian": 4.2, "jitter_0.3": 1.4}, "and beat all 2 baselines (the best, jitter 0.3, comes to 1.40)"),
        ({"gaussian": 4.2, "jitter_0.1": 0.24}, "and beat 1 of 2 baselines, but not jitter 0.1 (0.240)"),
        ({"gaussian": 0.2}, "and beat no baseline (the best, one Gaussian, comes to 0.200)"),
        ({"gaussian": 0.6, "jitter_0.1": 4.2}, "and beat 1 of 2 baselines, but not one Gaussian (0.600)"),
        ({"gaussian": 0.6}, "and beat no baseline (the best, one Gaussian, comes to 0.600)"),
        ({"copies": 0.1, "held_out": 0.17}, "reach (0.150)."),
    ],
)
def test_which_baselines_are_beaten(baselines, told):
    """An equal is not beaten; real data (copies, held-out rows) is no rival: copies win every distance."""
    assert told in said(frechet(0.6, **baselines))


def test_past_the_ideal_nothing_is_won():
    own = a_result("memorisation", 1.02, [1.0, 1.04], better="higher", ideal=1.0)
    assert wins(own, 3.0) == "" and beyond(own, 3.0) == 0
    near = {**own, "value": 0.7, "interval": [0.6, 0.8]}
    assert wins(near, 3.0) == "clearly" and wins(near, 0.75) == "within" and wins(near, 0.6) == ""


@pytest.mark.parametrize(
    ("value", "interval", "held_out", "state"),
    [
        (1.0, [0.97, 1.03], None, "clear"),
        (0.85, [0.83, 0.87], None, "open"),
        (0.5, [0.48, 0.52], None, "suspicious"),
        (0.85, [0.83, 0.87], 0.9, "clear"),
        (1.0, [0.97, 1.03], 1.5, "suspicious"),
    ],
)
def test_memorisation_is_judged_against_new_data(value, interval, held_out, state):
    baselines = {} if held_out is None else {"held-out": held_out}
    own = a_result("memorisation", value, interval, 1.0, baselines, "higher", 1.0)
    assert memorised({"memorisation": own}) == state


def test_copied_samples_raise_suspicion_however_far_the_median():
    far = a_result("memorisation", 1.1, [1.0, 1.2], 1.0, better="higher", ideal=1.0)
    copied = a_result("copied", 0.1, [0.08, 0.12], 0.01)
    assert memorised({"memorisation": far, "copied": copied}) == "suspicious"
    assert memorised({"memorisation": far, "copied": {**copied, "interval": [0.005, 0.02]}}) == "clear"
    assert "suspiciously near" in said(frechet(0.2), far, copied)
    assert memorised({}) is None and "memorisation" not in said(frechet(0.2))


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ([], "all 3 classes are there"),
        ([1], "the class dog is missing"),
        ([0, 2], "the classes cat and owl are missing"),
    ],
)
def test_missing_classes_are_named(missing, told):
    own = a_result("missing-classes", float(len(missing)), [0, 3], details={"missing": missing})
    assert told in said(frechet(0.3), own, classes=("cat", "dog", "owl"))
    shown = key_figures({"frechet": frechet(0.3), "missing-classes": own}, ["cat", "dog", "owl"])
    assert shown[-1][:2] == ("Classes present", f"{3 - len(missing)} of 3")


def test_without_names_the_number_of_missing_classes_is_told():
    assert "2 classes missing" in said(frechet(0.3), a_result("missing-classes", 2.0, [2, 2]))
