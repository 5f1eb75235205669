import math

import pytest

from unstir.core.catalogue import build, entries
from unstir.core.errors import InputError

NAMES = ("constant", "cosine", "inverse-square-root", "linear")


def test_the_catalogue_holds_them_all():
    assert set(entries("learning_rates")) == set(NAMES)
    assert all(entry.source for entry in entries("learning_rates").values())


@pytest.mark.parametrize("name", NAMES)
def test_warm_up_rises_in_a_line_to_the_peak(name):
    rate = build("learning_rates", {"name": name, "peak": 0.5, "warm_up": 10})
    assert [rate(0.0, step) for step in range(12)] == pytest.approx([0.05 * min(step + 1, 10) for step in range(12)])


@pytest.mark.parametrize(
    ("name", "values"),
    [("constant", (1, 1, 1)), ("cosine", (1, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2, 0.1)), ("linear", (1, 0.775, 0.1))],
)
def test_curves_over_the_training(name, values):
    final = {} if name == "constant" else {"final": 0.1}
    rate = build("learning_rates", {"name": name, "peak": 2.0, **final})
    assert [rate(progress, 7) for progress in (0.0, 0.25, 1.0)] == pytest.approx([2 * value for value in values])


def test_inverse_square_root_depends_on_steps_alone():
    rate = build("learning_rates", {"name": "inverse-square-root", "peak": 1.0, "reference": 100})
    assert [rate(0.9, step) for step in (0, 99, 399, 9999)] == pytest.approx([1, 1, 0.5, 0.1])


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ({"name": "cosine", "peak": 0.0}, "peak must be a positive number"),
        ({"name": "cosine", "peak": math.inf}, "peak must be a positive number"),
        ({"name": "linear", "warm_up": -1}, "warm_up"),
        ({"name": "linear", "final": 1.5}, "final"),
        ({"name": "inverse-square-root", "reference": 0}, "reference"),
        ({"name": "cosine", "warmup": 3}, "did you mean 'warm_up'"),
        ("cosin", "did you mean 'cosine'"),
    ],
)
def test_bad_options_are_named(specification, message):
    with pytest.raises(InputError, match=message):
        build("learning_rates", specification)
