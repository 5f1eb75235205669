"""What the networks of points in space must do, whatever parts they take."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.state import concatenate, take
from unstir.networks.parts import Part

SMALL = {
    "egnn": {"width": 16, "depth": 2, "pair_width": 8, "embedding": 16},
    "equivariant-transformer": {
        "width": 16, "pair_width": 8, "vectors": 4, "depth": 2, "heads": 2, "radial": 8, "embedding": 16,
    },
}  # fmt: skip
NAMES = sorted(SMALL)
PARTS = {
    "positions": Part("points", 3, 6),
    "elements": Part("nodes", 4, 4),
    "bonds": Part("pairs", 3, 2),
    "cell": Part("whole", 6, 5),
}
OTHERS: dict[str, Any] = {
    "points alone": (5, 3),
    "points in a plane": (5, 2),
    "two sets of points": {"first": Part("points", 3, 3), "second": Part("points", 3, 0)},
    "points that are only seen": {"positions": Part("points", 3, 0), "elements": Part("nodes", 4, 4)},
    "no points": {"elements": Part("nodes", 4, 4), "bonds": Part("pairs", 3, 3)},
    "pairs alone": {"bonds": Part("pairs", 3, 3)},
    "only the whole is told": {"positions": Part("points", 3, 0), "energy": Part("whole", 1, 1)},
}
CONDITIONS = {
    "label": {"classes": 10},
    "property": {"size": 2},
    "fragment": {"channels": 3},
    "contacts": {"pairs": 2},
}
BATCH, SIZE = 4, 5
MASK = torch.arange(SIZE) < torch.tensor([5, 4, 2, 1])[:, None]
LEVELS = torch.linspace(-1.5, 1.5, BATCH, dtype=torch.float64)


def make(name: str, shape: Any = None, conditions: dict | None = None, **options: Any) -> nn.Module:
    """A small network in float64 in which no weight is zero."""
    torch.manual_seed(3)
    made = build("networks", {"name": name, **SMALL[name], **options}, shape=shape or PARTS, conditions=conditions)
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.2)
    return made.double().eval()


def state(shape: Any = None, seed: int = 5, size: int = SIZE) -> Any:
    generator = torch.Generator().manual_seed(seed)

    def draw(*form: int) -> Tensor:
        return torch.randn(BATCH, *form, generator=generator, dtype=torch.float64)

    def of(part: Part) -> Tensor:
        if part.kind == "pairs":
            table = draw(size, size, part.inputs)
            return table + table.transpose(1, 2)
        return draw(part.inputs) if part.kind == "whole" else draw(size, part.inputs)

    shape = PARTS if shape is None else shape
    return {name: of(part) for name, part in shape.items()} if isinstance(shape, dict) else draw(*shape)


def told(seed: int = 7) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(BATCH, SIZE, SIZE, 2, generator=generator, dtype=torch.float64)
    return {
        "label": torch.arange(BATCH) % 10,
        "property": torch.randn(BATCH, 2, generator=generator, dtype=torch.float64),
        "fragment": torch.randn(BATCH, SIZE, 3, generator=generator, dtype=torch.float64),
        "contacts": table + table.transpose(1, 2),
    }


def rotation(mirror: bool = False) -> Tensor:
    turned = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64))[0]
    return turned * turned.det().sign() * (-1 if mirror else 1)


def along_points(x: dict[str, Tensor], change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    return {**x, "positions": change(x["positions"])}


def same(seen: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    assert seen.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(seen[name], wanted[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_every_part_is_answered_in_its_form_and_with_zeros_at_the_start(name: str) -> None:
    network = build("networks", {"name": name, **SMALL[name]}, shape=PARTS, conditions=CONDITIONS)
    x = {part: values.float() for part, values in state().items()}
    answer = network(
        x, LEVELS.float(), mask=MASK, **{key: v.float() if key != "label" else v for key, v in told().items()}
    )
    assert {part: tuple(values.shape[1:]) for part, values in answer.items()} == {
        "positions": (SIZE, 6),
        "elements": (SIZE, 4),
        "bonds": (SIZE, SIZE, 2),
        "cell": (5,),
    }
    assert all(values.dtype == torch.float32 and not values.any() for values in answer.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chiral", [False, True])
def test_answers_turn_with_the_points_and_do_not_know_their_place(name: str, chiral: bool) -> None:
    network, x = make(name, chiral=chiral), state()
    answer, turn = network(x, LEVELS, mask=MASK), rotation()
    vectors = answer["positions"].unflatten(-1, (2, 3))
    turned = network(along_points(x, lambda points: points @ turn + 3.0), LEVELS, mask=MASK)
    same(turned, {**answer, "positions": (vectors @ turn).flatten(-2)})
    assert answer["positions"][:3][MASK[:3]].abs().min() > 1e-6
    mirror = rotation(mirror=True)
    mirrored = network(along_points(x, lambda points: points @ mirror), LEVELS, mask=MASK)
    wanted = {**answer, "positions": (vectors @ mirror).flatten(-2)}
    if not chiral:
        same(mirrored, wanted)
    else:
        # five and four points have a handedness, two and one have none
        for part in wanted:
            gap = (mirrored[part] - wanted[part]).flatten(1).abs().amax(1)
            assert gap[:2].min() > 1e-6, part
            assert gap[2:].max() < 1e-10, part


@pytest.mark.parametrize("name", NAMES)
def test_only_a_chiral_network_tells_a_molecule_from_its_mirror_image(name: str) -> None:
    """Four different neighbours of a centre: what is said of the elements is the same, or it is not."""
    shape = {"positions": Part("points", 3, 3), "elements": Part("nodes", 5, 1)}
    corners = torch.tensor([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    x = {"positions": corners.expand(BATCH, -1, -1), "elements": torch.eye(5).double().expand(BATCH, -1, -1)}
    other = {**x, "positions": -x["positions"]}
    for chiral in (False, True):
        network = make(name, shape, chiral=chiral)
        gap = (network(x, LEVELS)["elements"] - network(other, LEVELS)["elements"]).abs().max()
        assert gap > 1e-6 if chiral else gap < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_permuted_elements_have_permuted_answers(name: str) -> None:
    network, x, given, order = make(name, conditions=CONDITIONS), state(), told(), torch.tensor([3, 0, 4, 1, 2])

    def permuted(values: dict[str, Tensor]) -> dict[str, Tensor]:
        found = {key: v if key in ("cell", "label", "property") else v[:, order] for key, v in values.items()}
        return {key: v[:, :, order] if key in ("bonds", "contacts") else v for key, v in found.items()}

    answer = network(x, LEVELS, mask=MASK, **given)
    same(network(permuted(x), LEVELS, mask=MASK[:, order], **permuted(given)), permuted(answer))
    torch.testing.assert_close(answer["bonds"], answer["bonds"].transpose(1, 2), rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_company_change_nothing(name: str) -> None:
    network, x = make(name, conditions=CONDITIONS), state()
    given = {key: value for key, value in told().items() if key != "contacts"}
    answer = network(x, LEVELS, mask=MASK, **given)
    for row, count in enumerate((5, 4, 2, 1)):
        own = take(x, slice(row, row + 1))
        bare = {
            "positions": own["positions"][:, :count],
            "elements": own["elements"][:, :count],
            "bonds": own["bonds"][:, :count, :count],
            "cell": own["cell"],
        }
        mine = take(given, slice(row, row + 1))
        alone = network(bare, LEVELS[row], **{**mine, "fragment": mine["fragment"][:, :count]})
        seen = take(answer, slice(row, row + 1))
        assert not seen["positions"][:, count:].any()
        assert not seen["elements"][:, count:].any()
        assert not seen["bonds"][:, count:].any()
        assert not seen["bonds"][:, :, count:].any()
        cut = {**seen, "positions": seen["positions"][:, :count], "elements": seen["elements"][:, :count]}
        same({**cut, "bonds": seen["bonds"][:, :count, :count]}, alone)
    wild = {
        "positions": torch.where(MASK[..., None], x["positions"], torch.nan),
        "elements": torch.where(MASK[..., None], x["elements"], torch.inf),
    }
    same(network({**x, **wild}, LEVELS, mask=MASK, **given), answer, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_set_without_any_element_is_answered_with_zeros(name: str) -> None:
    network, x = make(name), state()
    values = {key: part.requires_grad_() for key, part in x.items()}
    answer = network(values, LEVELS, mask=MASK & torch.tensor([True, False, True, True])[:, None])
    assert all(not answer[part][1].any() for part in ("positions", "elements", "bonds"))
    sum(part.square().sum() for part in answer.values()).backward()
    assert all(part.grad.isfinite().all() for part in values.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("condition", [*CONDITIONS, "noise", *PARTS])
def test_whatever_is_told_changes_the_answer(name: str, condition: str) -> None:
    network, x, given = make(name, conditions=CONDITIONS), state(), told()
    answer = network(x, LEVELS, mask=MASK, **given)
    if condition in PARTS:
        other = network({**x, condition: x[condition] * 1.1}, LEVELS, mask=MASK, **given)
    elif condition == "noise":
        other = network(x, LEVELS + 0.1, mask=MASK, **given)
    else:
        changed = given[condition] + 1 if condition == "label" else given[condition] * 1.1
        other = network(x, LEVELS, mask=MASK, **{**given, condition: changed})
    # a single element has no pairs
    rows = slice(0, 3) if condition in ("bonds", "contacts", "positions") else slice(0, 4)
    for part in ("elements", "cell"):
        assert (answer[part] - other[part])[rows].flatten(1).abs().amax(1).min() > 1e-8, part


@pytest.mark.parametrize("name", NAMES)
def test_dropped_conditions_are_as_absent_ones(name: str) -> None:
    network, x, given = make(name, conditions=CONDITIONS), state(), told()
    drop = torch.tensor([True, False, True, False])
    mixed = network(x, LEVELS, drop, MASK, **given)
    everything, nothing = network(x, LEVELS, mask=MASK, **given), network(x, LEVELS, mask=MASK)
    for part in mixed:
        chosen = drop.reshape(-1, *(1,) * (mixed[part].ndim - 1))
        same({part: mixed[part]}, {part: torch.where(chosen, nothing[part], everything[part])}, 1e-13)
        assert not torch.allclose(everything[part], nothing[part])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parts", [None, *OTHERS])
def test_the_gradient_reaches_every_parameter_whatever_the_parts(name: str, parts: str | None) -> None:
    shape = PARTS if parts is None else OTHERS[parts]
    network = make(name, shape, CONDITIONS if parts is None else None, chiral=parts is None)
    given = {"drop": torch.tensor([True, False, False, False]), **told()} if parts is None else {}
    answer = network(state(shape), LEVELS, mask=MASK, **given)
    sum(part.square().sum() for part in (answer.values() if isinstance(answer, dict) else (answer,))).backward()
    untouched = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert untouched == []


@pytest.mark.parametrize("name", NAMES)
def test_a_bare_shape_is_that_of_points_and_is_answered_with_a_tensor(name: str) -> None:
    network, x = make(name, (SIZE, 3), outputs=2), state((SIZE, 3))
    answer, turn = network(x, LEVELS, mask=MASK), rotation(mirror=True)
    assert answer.shape == (BATCH, SIZE, 6)
    turned = network(x @ turn - 2.0, LEVELS, mask=MASK)
    torch.testing.assert_close(turned, (answer.unflatten(-1, (2, 3)) @ turn).flatten(-2), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_derivatives_are_those_of_differences_twice_over_and_finite_where_points_coincide(name: str) -> None:
    network, x = make(name, (SIZE, 3)), state((SIZE, 3))
    direction = state((SIZE, 3), seed=11)

    def slope(points: Tensor) -> Tensor:
        points = points.detach().requires_grad_()
        return torch.autograd.grad(network(points, LEVELS).square().sum(), points)[0]

    step = 1e-5
    points = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(points, LEVELS).square().sum(), points, create_graph=True)
    (twice,) = torch.autograd.grad((gradient * direction).sum(), points)
    with torch.no_grad():
        ahead, behind = (network(x + way * step * direction, LEVELS).square().sum() for way in (1, -1))
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6)
    curvature = (slope(x + step * direction) - slope(x - step * direction)) / (2 * step)
    torch.testing.assert_close(twice, curvature, rtol=1e-5, atol=1e-5)
    assert slope(torch.zeros_like(x)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_the_same_alone(name: str) -> None:
    network, x, given = make(name, conditions=CONDITIONS), state(), told()
    rows = [slice(row, row + 1) for row in range(BATCH)]
    alone = [network(take(x, row), LEVELS[row], mask=MASK[row], **take(given, row)) for row in rows]
    same(concatenate(alone), network(x, LEVELS, mask=MASK, **given), 1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"fractional": Part("sites", 3, 3)}, "take the network periodic-transformer"),
        ({"cell": Part("whole", 3, 3)}, "no part has elements"),
        ({"x": Part("points", 3, 4)}, "one or several vectors"),
        ({"x": Part("points", 3, 3), "y": Part("points", 2, 2)}, "same dimension"),
        ({"x": Part("edges", 3, 3)}, "unknown kind of part"),
        ((4, 3, 2), r"\(points, dimensions\)"),
    ],
)
def test_parts_that_it_does_not_take_are_refused(name: str, shape: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(name, shape)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width must be a positive"),
        ({"depth": 0}, "depth must be a positive"),
        ({"embedding": 0}, "embedding"),
        ({"shape": (4, 2), "chiral": True}, "only points in three dimensions"),
        ({"conditions": {"contacts": {"pairs": 0}}}, "contacts"),
        ({"conditions": {"label": {"classes": 2, "pairs": 1}}}, "exactly one of the keys"),
    ],
)
def test_options_out_of_range_are_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(name, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.ones(BATCH, SIZE)}, "mask must be boolean"),
        ({"mask": torch.ones(BATCH, 3, dtype=torch.bool)}, "mask must be boolean"),
        ({"contacts": torch.zeros(BATCH, SIZE, SIZE, 3)}, "'contacts' must be of shape"),
        ({"fragment": torch.zeros(BATCH, SIZE, 2)}, "'fragment' must be of shape"),
        ({"lable": torch.zeros(BATCH)}, "did you mean 'label'"),
        ({"x": {"positions": torch.zeros(BATCH, SIZE, 3)}}, "takes the parts"),
        ({"x": {**state(), "bonds": torch.zeros(BATCH, SIZE, 4, 3)}}, r"\(batch, n, n, 3\)"),
        ({"x": {**state(), "elements": torch.zeros(BATCH, 3, 4)}}, "must agree"),
    ],
)
def test_a_wrong_call_is_answered(name: str, change: dict, message: str) -> None:
    network = make(name, conditions=CONDITIONS)
    with pytest.raises(InputError, match=message):
        network(**{"x": state(), "noise": LEVELS, **change})


def test_the_transformer_learns_what_a_distance_is_where_the_mean_does_not_do() -> None:
    """Pairs of points at the distance one in any direction: denoised better than by the best linear map."""
    torch.manual_seed(0)
    network = build("networks", {"name": "equivariant-transformer", **SMALL["equivariant-transformer"]}, shape=(2, 3))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    generator, losses = torch.Generator().manual_seed(13), []
    for _ in range(150):
        direction = nn.functional.normalize(torch.randn(128, 3, generator=generator), dim=1) / 2
        clean = torch.stack((direction, -direction), 1)
        noise = 0.15 * torch.randn(128, 3, generator=generator)
        loss = (network(clean + torch.stack((noise, -noise), 1), torch.tensor(-0.4)) - clean).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    variance = 1 / 12
    wiener = variance * 0.15**2 / (variance + 0.15**2)
    # of three directions the one along the pair is told by the distance
    assert math.fsum(losses[-30:]) / 30 < 0.85 * wiener
