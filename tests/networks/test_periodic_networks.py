"""The network of periodic cells: what it refuses, what it does not see, and that it learns."""

import pytest
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.networks.parts import Part
from unstir.networks.periodic_transformer import PeriodicTransformer

PARTS = {
    "sites": Part("sites", 3, 6),
    "kinds": Part("nodes", 4, 4),
    "bonds": Part("pairs", 2, 2),
    "lattice": Part("whole", 6, 6),
}
TOLD = {"label": {"classes": 3}, "elements": {"channels": 5}, "contacts": {"pairs": 2}}
SMALL = {"name": "periodic-transformer", "width": 16, "depth": 2, "head_width": 8, "embedding": 16}


def network(shape: object = PARTS, conditions: object = None, **options: object) -> PeriodicTransformer:
    """A small one in which no weight is zero."""
    torch.manual_seed(3)
    made = build("networks", {**SMALL, **options}, shape=shape, conditions=conditions)
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return made.double().eval()


def crystal(batch: int = 4, sites: int = 5) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        drawn = torch.randn(batch, *shape, generator=generator, dtype=torch.float64)
        return drawn + drawn.transpose(1, 2) if len(shape) == 3 else drawn

    x = {
        "sites": torch.rand(batch, sites, 3, generator=generator, dtype=torch.float64),
        "kinds": normal(sites, 4),
        "bonds": normal(sites, sites, 2),
        "lattice": normal(6),
    }
    return x, {"label": torch.arange(batch) % 3, "elements": normal(sites, 5), "contacts": normal(sites, sites, 2)}


NOISE = torch.linspace(-1.5, 1.5, 4, dtype=torch.float64)


def test_every_part_is_answered_in_its_own_form_and_a_fresh_network_answers_zero() -> None:
    x, told = crystal()
    fresh = build("networks", SMALL, shape=PARTS, conditions=TOLD).double()
    answer = fresh(x, NOISE, **told)
    assert {name: tuple(part.shape) for name, part in answer.items()} == {
        "sites": (4, 5, 6),
        "kinds": (4, 5, 4),
        "bonds": (4, 5, 5, 2),
        "lattice": (4, 6),
    }
    assert not any(part.any() for part in answer.values())


def test_the_origin_the_image_and_the_order_of_sites_do_not_matter() -> None:
    own, (x, told) = network(conditions=TOLD), crystal()
    answer = own(x, NOISE, **told)
    moved = own({**x, "sites": (x["sites"] + 0.37) % 1}, NOISE, **told)
    image = own({**x, "sites": x["sites"] + torch.tensor([2.0, 0.0, -1.0])}, NOISE, **told)
    for name in PARTS:
        torch.testing.assert_close(moved[name], answer[name], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(image[name], answer[name], rtol=1e-10, atol=1e-10)
    order = torch.tensor([4, 2, 0, 1, 3])
    turned = {
        **x,
        "sites": x["sites"][:, order],
        "kinds": x["kinds"][:, order],
        "bonds": x["bonds"][:, order][:, :, order],
    }
    others = {
        **told,
        "elements": told["elements"][:, order],
        "contacts": told["contacts"][:, order][:, :, order],
    }
    permuted = own(turned, NOISE, **others)
    torch.testing.assert_close(permuted["sites"], answer["sites"][:, order], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(permuted["lattice"], answer["lattice"], rtol=1e-10, atol=1e-10)


def test_what_lies_in_padded_places_is_not_seen_and_comes_out_as_zero() -> None:
    own, (x, told) = network(conditions=TOLD), crystal()
    mask = torch.tensor([[True, True, True, False, False]]).expand(4, -1)
    few = {name: part if name == "lattice" else part[:, :3] for name, part in x.items()}
    few["bonds"] = few["bonds"][:, :, :3]
    fewer = {**told, "elements": told["elements"][:, :3], "contacts": told["contacts"][:, :3, :3]}
    padded, alone = own(x, NOISE, mask=mask, **told), own(few, NOISE, **fewer)
    torch.testing.assert_close(padded["sites"][:, :3], alone["sites"], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(padded["bonds"][:, :3, :3], alone["bonds"], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(padded["lattice"], alone["lattice"], rtol=1e-10, atol=1e-10)
    assert not padded["sites"][:, 3:].any()
    assert not padded["bonds"][:, 3:].any()
    assert not padded["bonds"][:, :, 3:].any()
    nobody = own(x, NOISE, mask=torch.zeros(4, 5, dtype=torch.bool), **told)
    assert all(part.isfinite().all() for part in nobody.values())


@pytest.mark.parametrize("noise", [torch.linspace(-1.5, 1.5, 60, dtype=torch.float64), NOISE[1]])
def test_cells_of_unequal_size_are_answered_as_if_all_were_padded_alike(
    noise: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, (x, told) = network(conditions=TOLD), crystal(60, 9)
    sizes = torch.randint(0, 9, (60,), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < sizes[:, None]
    mask[:3] = torch.tensor([True, False, True, False, False, True, False, False, False])  # need not be the first ones
    drop = torch.arange(60) % 4 == 0

    def answer() -> tuple[dict[str, Tensor], list[Tensor]]:
        own.zero_grad()
        found = own(x, noise, drop=drop, mask=mask, **told)
        torch.stack([part.square().sum() for part in found.values()]).sum().backward()
        return found, [parameter.grad.clone() for parameter in own.parameters()]

    seen = []
    whole = PeriodicTransformer._among
    monkeypatch.setattr(
        PeriodicTransformer, "_among", lambda self, inside: seen.append(inside.h) or whole(self, inside)
    )
    grouped, slopes = answer()
    assert len(seen) > 2
    assert sum(h.shape[0] * h.shape[1] ** 2 for h in seen) < 60 * 9**2 / 2
    monkeypatch.setattr("unstir.networks.periodic_transformer._by_size", lambda mask: [])
    padded, others = answer()
    for part in PARTS:
        torch.testing.assert_close(grouped[part], padded[part], rtol=1e-12, atol=1e-12)
    for one, other in zip(slopes, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["label", "elements", "contacts"])
def test_dropping_a_sample_equals_the_absence_of_a_condition(name: str) -> None:
    own, (x, told) = network(conditions=TOLD), crystal()
    given = {name: told[name]}
    drop = torch.tensor([True, False, True, False])
    mixed, everything, nothing = own(x, NOISE, drop=drop, **given), own(x, NOISE, **given), own(x, NOISE)
    for part in PARTS:
        wanted = torch.where(drop.reshape(-1, *[1] * (nothing[part].ndim - 1)), nothing[part], everything[part])
        torch.testing.assert_close(mixed[part], wanted, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(everything[part], nothing[part])


def test_sites_alone_are_taken_and_answered_as_one_tensor() -> None:
    own = network((5, 3))
    x, _ = crystal()
    assert own(x["sites"], NOISE).shape == (4, 5, 3)
    assert own(x["sites"].float(), NOISE).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": {"kinds": Part("nodes", 4, 4)}}, "needs a part of sites"),
        ({"shape": {"sites": Part("points", 3, 3)}}, "unknown kind of part for this network"),
        ({"width": 20}, "multiple of head_width"),
        ({"waves": 0}, "waves must be a positive whole number"),
        ({"dropout": 1.0}, "dropout"),
        ({"conditions": {"contacts": {"pairs": 0}}}, "contacts: pairs must be a positive"),
    ],
)
def test_a_wrong_option_is_answered(options: dict, message: str) -> None:
    given = {"shape": options.get("shape", PARTS), "conditions": options.get("conditions")}
    own = {name: value for name, value in options.items() if name not in given}
    with pytest.raises(InputError, match=message):
        build("networks", {**SMALL, **own}, **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sites": torch.rand(4, 5, 2)}, r"in the part 'sites', seen \(5, 2\)"),
        ({"kinds": torch.rand(4, 4, 4)}, r"in the part 'kinds', seen \(4, 4\)"),
        ({"lattice": None}, "takes the parts"),
        ({"mask": torch.ones(4, 5)}, "mask must be boolean"),
        ({"contacts": torch.rand(4, 5, 5, 3)}, r"\(4, 5, 5, 2\), seen \(4, 5, 5, 3\)"),
        ({"lable": torch.zeros(4)}, "did you mean 'label'"),
    ],
)
def test_a_wrong_call_is_answered(change: dict, message: str) -> None:
    own, (x, told) = network(conditions=TOLD), crystal()
    state = {**x, **{name: part for name, part in change.items() if name in PARTS}}
    told = {**told, **{name: part for name, part in change.items() if name not in PARTS}}
    with pytest.raises(InputError, match=message):
        own({name: part for name, part in state.items() if part is not None}, NOISE, **told)


def test_it_learns_where_sites_belong_beside_one_another() -> None:
    """Two sites half a cell apart, noisy: each pair's noise is known but for what both share."""
    torch.manual_seed(3)
    own = build("networks", {**SMALL, "width": 32}, shape=(2, 3)).train()
    optimiser = torch.optim.Adam(own.parameters(), lr=3e-3)
    generator, sigma, errors = torch.Generator().manual_seed(13), 0.1, []
    for _ in range(150):
        origin = torch.rand(64, 1, 3, generator=generator)
        clean = torch.cat((origin, origin + 0.5), 1)
        noise = sigma * torch.randn(clean.shape, generator=generator)
        wanted = noise.mean(1, keepdim=True) - noise
        error = (own((clean + noise) % 1, torch.tensor(-0.5)) - wanted).square().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    # the noise of a site without what both share has half of its variance; all of that can be told
    assert sum(errors[-30:]) / 30 < 0.1 * sigma**2 / 2
