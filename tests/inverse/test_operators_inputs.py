"""What operators refuse, how recipes say them, and what they do beside floating pictures."""

import pytest
import torch

from unstir.core.catalogue import build, entries, find
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.inverse.operators.base import LinearOperator, Operator
from unstir.inverse.operators.combined import ComposedOperator, PartOperator, StackedOperator
from unstir.inverse.operators.fourier import FourierOperator
from unstir.inverse.operators.function import FunctionOperator
from unstir.inverse.operators.mask import MaskOperator
from unstir.inverse.operators.masks import columns, outside, random_mask, rows
from unstir.inverse.operators.sensors import SensorsOperator
from unstir.inverse.operators.tokens import CountOperator, LookupOperator
from unstir.verification.checks.operators import clean_for

PICTURE = (3, 8, 8)


@pytest.mark.parametrize(
    ("specification", "shape", "message"),
    [
        ({"name": "blur", "kernel": "gausian"}, PICTURE, "did you mean 'gaussian'"),
        ({"name": "blur", "boundary": "mirror"}, PICTURE, "unknown boundary 'mirror'"),
        ({"name": "blur", "deviation": 0.0}, PICTURE, "positive and finite, in elements; seen 0.0"),
        ({"name": "blur", "kernel": "box", "size": 0}, PICTURE, "the size of a blur is a whole number of at least 1"),
        ({"name": "blur", "kernel": "motion"}, (1, 8), "motion blurs pictures"),
        ({"name": "blur", "kernel": "motion", "angle": float("nan")}, PICTURE, "finite number of degrees"),
        ({"name": "blur", "kernel": [1.0, 2.0]}, PICTURE, r"finite numbers of 2 axes.*seen \(2,\)"),
        ({"name": "blur", "kernel": [["a"]]}, PICTURE, "a kernel is numbers"),
        ({"name": "blur"}, (1, 2, 2, 2, 2), "1 or 2 or 3 axes of space"),
        ({"name": "blur"}, (0, 3), "positive whole number"),
        ({"name": "mask"}, PICTURE, "a mask is true and false, place by place; seen None"),
        ({"name": "downsample", "factor": 3}, PICTURE, "3 does not divide the sides"),
        ({"name": "downsample", "factor": 0}, PICTURE, "at least 1; seen 0"),
        ({"name": "downsample", "filter": "cubic"}, PICTURE, "did you mean 'bicubic'"),
        ({"name": "grey", "weights": "rec708"}, PICTURE, "did you mean 'rec709'"),
        ({"name": "grey", "weights": [1.0, 2.0]}, PICTURE, "one finite weight a channel is needed, 3 of them"),
        ({"name": "grey", "weights": [0.0, 0.0, 0.0]}, PICTURE, "not all zero"),
        ({"name": "grey", "weights": ["a"]}, PICTURE, "weights are numbers"),
        ({"name": "grey"}, (2, 8, 8), "one finite weight a channel is needed, 2 of them"),
        ({"name": "grey"}, (8,), "grey is made of channels"),
        ({"name": "fourier", "share": 0.0}, PICTURE, "above 0 and at most 1"),
        ({"name": "fourier", "share": 0.2, "centre": 0.3}, PICTURE, "that of the centre at most as large"),
        ({"name": "fourier", "pattern": "spiral"}, PICTURE, "unknown pattern 'spiral'"),
        ({"name": "fourier", "seen": [[True]]}, PICTURE, r"a boolean mask of the sides \(8, 8\)"),
        ({"name": "radon", "angles": 0}, PICTURE, "the number of angles is a whole number of at least 1"),
        ({"name": "radon", "angles": []}, PICTURE, "a list of finite numbers"),
        ({"name": "radon", "angles": ["a"]}, PICTURE, "a list in degrees"),
        ({"name": "radon", "detectors": 0}, PICTURE, "the number of detectors"),
        ({"name": "radon"}, (1, 8), "tomography has 2 axes of space"),
        ({"name": "sensors", "count": 0}, PICTURE, "the number of sensors"),
        ({"name": "sensors", "positions": [[0.0, 7.5]]}, PICTURE, r"between 0 and \[7, 7\].*seen one at \[0.0, 7.5\]"),
        ({"name": "sensors", "positions": [[0.0]]}, PICTURE, "rows of 2 coordinates"),
        ({"name": "sensors", "positions": "here"}, PICTURE, "rows of 2 coordinates; seen 'here'"),
        ({"name": "quantise", "levels": 1}, PICTURE, "the number of levels is a whole number of at least 2"),
        ({"name": "clip", "low": 1.0}, PICTURE, "a range goes from low to high"),
        ({"name": "jpeg", "quality": 101}, PICTURE, "at most 100; seen 101"),
        ({"name": "jpeg", "low": 2.0}, PICTURE, "a range goes from low to high"),
        ({"name": "tone", "gamma": 0.0}, PICTURE, "a gamma is positive and finite"),
        ({"name": "phase", "oversampling": 0}, PICTURE, "the oversampling"),
        ({"name": "angle", "period": 0.0}, (3,), "a period is positive"),
        ({"name": "angle", "places": [3]}, (3,), r"numbers from 0 to 2; seen \(3,\)"),
        ({"name": "count", "token": []}, (3,), "seen none"),
        ({"name": "count", "token": -1}, (3,), "a token is a whole number of at least 0"),
        ({"name": "lookup"}, (3,), "a table holds numbers"),
        ({"name": "lookup", "table": [float("nan")]}, (3,), "a table holds finite numbers"),
        ({"name": "function"}, (3,), "needs one, of"),
        ({"name": "composed"}, (3,), "a list of operators"),
        ({"name": "composed", "parts": "blur"}, (3,), "a list of operators"),
        ({"name": "composed", "parts": ["blurr"]}, (3,), "did you mean 'blur'"),
        ({"name": "stacked", "parts": []}, (3,), "a list of operators"),
        ({"name": "part", "part": "x", "operator": "blur"}, (3,), "a joint state has named shapes"),
        ({"name": "part", "part": "plase", "operator": "blur"}, {"place": (3,)}, "did you mean 'place'"),
        ({"name": "random-mask", "share": 0.0}, PICTURE, "a share of the places"),
        ({"name": "rows"}, (8,), "rows are those of a picture"),
        ({"name": "rows", "every": 0}, PICTURE, "the distance of the lines"),
        ({"name": "columns", "first": 8}, PICTURE, "one of 0 to 7; seen 8"),
        ({"name": "outside", "seen": 1.0}, PICTURE, "between 0 and 1; seen 1.0"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_options_are_refused(specification, shape, message):
    with pytest.raises(InputError, match=message):
        build("operators", specification, shape=shape)


def test_recipes_can_say_operators_of_operators():
    made = build(
        "operators",
        {"name": "composed", "parts": ["grey", {"name": "blur", "deviation": 1}, {"name": "downsample", "factor": 4}]},
        shape=PICTURE,
    )
    assert made.linear and isinstance(made, LinearOperator) and made.measured_shape == (1, 2, 2)
    bent = build("operators", {"name": "stacked", "parts": ["grey", {"name": "jpeg", "quality": 20}]}, shape=PICTURE)
    assert not bent.linear and not bent.differentiable and bent.measured_shape == (64 + 192,)


def test_parts_must_fit_each_other():
    coarse = build("operators", "downsample", shape=PICTURE)
    with pytest.raises(InputError, match=r"measures samples of shape \(3, 8, 8\); here they have \(1, 8, 8\)"):
        ComposedOperator(PICTURE, ("grey", coarse))
    with pytest.raises(InputError, match="here they have"):
        StackedOperator((1, 8, 8), (coarse,))
    assert ComposedOperator(PICTURE, (coarse, "grey")).measured_shape == (1, 4, 4)


def test_one_of_several_that_is_not_linear_makes_the_whole_not_linear():
    for kind in (ComposedOperator, StackedOperator):
        whole = kind((1, 4, 4), ("blur", {"name": "clip"}))
        assert not whole.linear and not isinstance(whole, LinearOperator) and whole.differentiable
        assert not kind((1, 4, 4), ("blur", "quantise")).differentiable


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda x: x.square(), {"linear": True}, "this function is not linear"),
        (lambda x: x + 1, {"linear": True}, "this function is not linear"),
        (lambda x: torch.as_tensor(x.detach().numpy() * 2), {"linear": True}, "write it in torch"),
        (lambda x: x.sum(), {}, r"a row a sample; of two samples, seen \(\)"),
        (lambda x: None, {}, "seen NoneType"),
        (lambda x: x, {"measured_shape": (5,)}, r"shape \(5,\) are promised; the function returns \(3,\)"),
    ],
)
def test_functions_that_are_no_operators_are_refused(function, options, message):
    with pytest.raises(InputError, match=message):
        FunctionOperator((3,), function, **options)


def test_a_linear_function_is_a_linear_operator_and_others_are_not():
    assert isinstance(FunctionOperator((3,), lambda x: 2 * x, linear=True), LinearOperator)
    assert not isinstance(FunctionOperator((3,), lambda x: 2 * x), LinearOperator)
    dropped = FunctionOperator((3,), lambda x: x[:, :1] * 0 + x[:, 2:], linear=True)
    assert torch.equal(dropped.matrix, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64))


def test_masks_show_what_they_say():
    assert rows((1, 4, 2), 2, 1).seen[0].tolist() == [[False] * 2, [True] * 2] * 2
    assert columns((2, 4), 3).seen.tolist() == [[True, False, False, True]] * 2
    assert outside((1, 4, 4)).seen[0].double().sum(0).tolist() == [0, 2, 2, 0]
    masks = [random_mask((3, 10, 10), 0.3, seed) for seed in (0, 0, 1)]
    assert all(int(mask.seen[0].sum()) == 30 and (mask.seen == mask.seen[0]).all() for mask in masks)
    assert torch.equal(masks[0].seen, masks[1].seen) and not torch.equal(masks[0].seen, masks[2].seen)
    apart = random_mask((3, 10, 10), 0.3, together=False)
    assert int(apart.seen.sum()) == 90 and not (apart.seen == apart.seen[0]).all()
    assert all(isinstance(build("operators", name, shape=PICTURE), MaskOperator) for name in ("random-mask", "outside"))


def test_masks_show_tokens_and_angles_as_they_are():
    tokens = torch.tensor([[3, 1, 2], [0, 0, 5]])
    seen = MaskOperator((3,), torch.tensor([True, False, True]))(tokens)
    assert seen.dtype == torch.int64 and seen.tolist() == [[3, 2], [0, 5]]


def test_tokens_are_counted_and_looked_up():
    tokens = torch.tensor([[[0, 2], [2, 2]], [[1, 1], [0, 1]]])
    assert CountOperator((2, 2), (2, 1))(tokens).tolist() == [[3, 0], [0, 3]]
    assert LookupOperator((2, 2), [0.5, 1.0, -2.0])(tokens)[0].tolist() == [[0.5, -2.0], [-2.0, -2.0]]
    with pytest.raises(InputError, match="the table knows the tokens 0 to 1; seen 0 to 2"):
        LookupOperator((2, 2), [0.5, 1.0])(tokens)
    for operator in (CountOperator((2, 2)), LookupOperator((2, 2), [1.0] * 3)):
        with pytest.raises(InputError, match=r"tokens are whole numbers; seen torch\.float64"):
            operator(tokens.double())


def test_a_part_of_a_joint_state_is_measured_and_the_others_are_not():
    own = PartOperator({"place": (2,), "kind": (3,)}, "place", {"name": "clip", "high": 0.0})
    state = {"place": torch.tensor([[0.5, -0.5]]), "kind": torch.tensor([[1, 2, 0]])}
    assert own(state).tolist() == [[0.0, -0.5]] and own.differentiable
    assert not PartOperator({"kind": (3,)}, "kind", "count").differentiable


def test_sensors_and_frequencies_are_those_of_their_seed():
    places = [SensorsOperator((1, 9, 9), 5, seed).positions for seed in (0, 0, 1)]
    assert torch.equal(places[0], places[1]) and not torch.equal(places[0], places[2])
    assert int(FourierOperator((1, 10, 10), 0.3, 0.0, "points").seen.sum()) == 30


def test_matrices_are_for_small_samples_and_closed_forms_for_large_ones():
    large = {"blur": {}, "downsample": {"factor": 4}, "grey": {}, "fourier": {}}
    x = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64).double()
    for name, options in large.items():
        operator = build("operators", {"name": name, **options}, shape=(3, 64, 64))
        with pytest.raises(InputError, match="at most 8192 elements"):
            operator.matrix  # noqa: B018
        again = operator(operator.pseudo_inverse(operator(x)))
        assert (again - operator(x)).abs().max() < 1e-6 * operator(x).abs().max()


@pytest.mark.parametrize("name", sorted(entries("operators")))
def test_operators_are_made_of_a_shape_alone_or_say_what_they_need(name):
    shapes = [(3, 8, 8), (8,)]
    errors = 0
    for shape in shapes:
        try:
            made = build("operators", name, shape=shape)
            assert isinstance(made, Operator) and all(side > 0 for side in made.measured_shape)
        except InputError:
            errors += 1
    assert errors < 2 or name in {"matrix", "mask", "composed", "stacked", "function", "lookup", "part"}


@pytest.mark.parametrize("name", sorted(set(entries("operators")) - {"radon", "sensors", "stacked", "lookup", "part"}))
def test_operators_go_where_their_samples_are(name):
    """On a device without numbers; its sparse matrices cannot be multiplied, nor its tokens compared."""
    for operator in find("operators", name).load().examples().values():
        x = clean_for(operator, Seeds.range(0, 2)).to("meta")
        y = operator(x)
        assert y.device.type == "meta" and y.shape == (2, *operator.measured_shape)
        if operator.linear:
            parts = operator.decomposition
            back = [operator.adjoint(y), operator.pseudo_inverse(y), parts.samples_to_modes(x)]
            assert all(part.device.type == "meta" for part in (*back, parts.measured_to_modes(y)))
