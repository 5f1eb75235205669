"""What a crystal model may be told and asked: conditions, words, symmetry, completion, steering."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import take
from unstir.denoisers.base import Denoiser
from unstir.domains.base import Asked, Judged
from unstir.domains.crystals.asking import ask
from unstir.domains.crystals.data import crystal_data
from unstir.domains.crystals.encoding import CrystalEncoding, Scaling
from unstir.domains.crystals.tasks.completion import JumpingSampler, complete, predict_crystals
from unstir.domains.crystals.tasks.conditions import conditions_of, group_number, space_group
from unstir.domains.crystals.tasks.letters import positions, template
from unstir.domains.crystals.tasks.steering import described, fitted_predictor, property_errors
from unstir.domains.crystals.tasks.symmetric import SymmetricSites, draw_symmetric, without_elements
from unstir.domains.crystals.tasks.wyckoff import Template, crystal_of, symmetric_cells, template_of
from unstir.domains.matter.elements import number_of
from unstir.domains.matter.structures import Crystal
from unstir.exact.atoms import AtomsDenoiser, AtomsPosterior
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.gaussian import GaussianProcess
from unstir.processes.joint import JointProcess
from unstir.processes.schedules.edm import EDMSchedule
from unstir.processes.schedules.exponential_ve import ExponentialVESchedule
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample

pytest.importorskip("spglib")

CUBE = np.eye(3)
SEEDS = Seeds.range(0, 4)


def _crystal(symbols: str, fractional: Any, cell: Any, **properties: float) -> Crystal:
    numbers = np.array([number_of(symbol) for symbol in symbols.split()])
    return Crystal(numbers, np.array(fractional, dtype=np.float64), np.array(cell, dtype=np.float64), properties)


def _rock_salt(edge: float = 5.64, first: str = "Na", second: str = "Cl") -> Crystal:
    corners = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    others = [[0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    return _crystal(" ".join([first] * 4 + [second] * 4), corners + others, edge * CUBE)


def _rutile(u: float = 0.305) -> Crystal:
    v = 0.5 + u
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [u, u, 0], [1 - u, 1 - u, 0], [1 - v, v, 0.5], [v, 1 - v, 0.5]]
    return _crystal("Ti Ti O O O O", places, np.diag([4.59, 4.59, 2.96]))


def _perovskite(edge: float = 3.9) -> Crystal:
    return _crystal("Ca Ti O O O", [[0.5] * 3, [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]], edge * CUBE)


def _encoding(**changes: Any) -> CrystalEncoding:
    told = {
        "names": ["composition", "system", "space_group", "crystal_system", "density"],
        "elements": ["O", "Ca", "Ti"],
        "scalings": {"density": [4.0, 2.0]},
        "symprec": 0.01,
    }
    plain: dict[str, Any] = {
        "elements": ("O", "Ca", "Ti"),
        "centre": 0.9,
        "spreads": (0.2, 0.1),
        "properties": (Scaling("gap", 1.0, 0.5),),
        "told": told,
        "sizes": (0, 1, 0, 0, 3, 2),
    }
    return CrystalEncoding(**{**plain, **changes})


class Parted(AtomsPosterior):
    """A belief in atoms that may be asked for its parts, as joint samplers do: they draw from the whole."""

    def part(self, name: str) -> "Parted":
        return self


class Untold(Denoiser):
    """An exact law that is told masks and hears nothing of them."""

    times = "apart"

    def __init__(self, law: AtomsDenoiser) -> None:
        super().__init__()
        self.law, self.process = law, law.process

    def forward(self, xt: Any, t: Any, drop: Any = None, **condition: Any) -> Any:
        if isinstance(t, dict):  # elements that are known, and here the same for all atoms, say nothing of which it is
            assert t["elements"] == 0
            rest = {name: part for name, part in self.process.parts.items() if name != "elements"}
            law = AtomsDenoiser(JointProcess(rest, whole=["lattice"]), {name: self.law.atoms[name] for name in rest})
            belief = law({name: xt[name] for name in rest}, t["lattice"])
            return Parted(belief.log_weights, self.law.atoms, self.law.features, xt)
        belief = self.law(xt, t)
        return Parted(belief.log_weights, belief.atoms, belief.features, belief.like)


def _process(classes: int = 3, sigma: float = 2.0) -> JointProcess:
    parts: dict[str, Any] = {
        "fractional": WrappedProcess(ExponentialVESchedule(0.002, sigma)),
        "lattice": GaussianProcess(EDMSchedule()),
        "elements": CategoricalProcess(classes, rates="absorbing"),
    }
    return JointProcess(parts, whole=["lattice"])


# ---- conditions


def test_conditions_of_known_crystals():
    crystals = [_rock_salt(), _rutile(), _perovskite()]
    told, kinds, record = conditions_of(
        crystals, ["composition", "system", "space_group", "crystal_system", "density", "volume_per_atom"]
    )
    assert record["elements"] == ["O", "Na", "Cl", "Ca", "Ti"]
    assert torch.allclose(told["composition"][1], torch.tensor([2 / 3, 0, 0, 0, 1 / 3]))
    assert told["system"].tolist() == [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1], [1, 0, 0, 1, 1]]
    assert (told["space_group"] + 1).tolist() == [225, 136, 221]
    assert told["crystal_system"].tolist() == [6, 3, 6]
    assert kinds["space_group"] == {"classes": 230} and kinds["composition"] == {"size": 5}
    mean, deviation = record["scalings"]["density"]
    # four units of 58.44 dalton in 5.64^3 cubic angstrom are 2.163 g/cm^3
    assert told["density"][0, 0].item() * deviation + mean == pytest.approx(2.163, abs=2e-3)
    assert told["volume_per_atom"].mean().abs() < 1e-6


def test_conditions_of_other_crystals_use_the_record():
    _, _, record = conditions_of([_rock_salt(), _rutile()], ["composition", "density"])
    told, _, same = conditions_of([_rock_salt(edge=6.0)], ["composition", "density"], record)
    assert same == record
    mean, deviation = record["scalings"]["density"]
    assert told["density"][0, 0].item() * deviation + mean == pytest.approx(2.163 * (5.64 / 6) ** 3, abs=2e-3)
    with pytest.raises(InputError, match="Ca is not among the elements"):
        conditions_of([_perovskite()], ["composition"], record)


def test_conditions_that_cannot_be_told_are_refused():
    with pytest.raises(InputError, match="did you mean 'space_group'"):
        conditions_of([_rutile()], ["spacegroup"])
    with pytest.raises(InputError, match="same for every crystal"):
        conditions_of([_rutile(), _rutile()], ["density"])
    together = _crystal("O O", [[0, 0, 0], [0, 0, 1e-7]], 4 * CUBE)
    with pytest.raises(InputError, match="finds no symmetry"):
        space_group(together)


def test_space_groups_have_numbers_and_symbols():
    assert [group_number(name) for name in (221, "Pm-3m", "P4_2/mnm", "fd-3m", "P 1")] == [221, 221, 136, 227, 1]
    with pytest.raises(InputError, match="did you mean 'Pm-3m'"):
        group_number("Pm3m")
    for wrong in (0, 231):
        with pytest.raises(InputError, match="1 to 230"):
            group_number(wrong)


def test_conditions_reach_data_and_held_out_rows():
    crystals = [_rock_salt(edge) for edge in np.linspace(5, 6, 8)] + [_rutile(u) for u in np.linspace(0.29, 0.31, 8)]
    data = crystal_data(crystals, conditions=["space_group", "system", "density"], held_out=0.25)
    assert set(data.told) == {"space_group", "system", "density"}
    assert set((data.told["space_group"] + 1).tolist()) == {225, 136}
    assert data.held_out is not None
    assert data.held_out.told["system"].shape == (4, 4)
    assert ask(data.encoding, {"space_group": 225, "density": 2.0}, SEEDS)["density"].shape == (4, 1)


# ---- words


def test_words_become_conditions():
    encoding = _encoding()
    told = ask(encoding, {"formula": "CaTiO3", "gap": 1.5, "density": 5.0, "space_group": "Pm-3m"}, SEEDS)
    assert told["mask"].sum(1).tolist() == [5] * 4
    assert torch.allclose(told["composition"], torch.tensor([0.6, 0.2, 0.2]).expand(4, 3))
    assert told["system"].tolist() == [[1, 1, 1]] * 4
    assert told["gap"].tolist() == [[1.0]] * 4 and told["density"].tolist() == [[0.5]] * 4
    assert told["space_group"].tolist() == [220] * 4 and told["crystal_system"].tolist() == [6] * 4
    assert ask(encoding, {"system": "Ti-O"}, SEEDS)["system"].tolist() == [[1, 0, 1]] * 4
    assert ask(encoding, {"elements": ["O"]}, SEEDS)["system"].tolist() == [[1, 0, 0]] * 4
    assert ask(encoding, {"formula": "TiO2 x2"}, SEEDS)["mask"].sum(1).tolist() == [6] * 4
    assert ask(encoding, {"formula": "TiO2", "atoms": 6}, SEEDS)["mask"].sum(1).tolist() == [6] * 4


def test_sizes_in_a_range_are_drawn_as_the_data_has_them():
    sizes = ask(_encoding(), {"atoms": "3-6"}, Seeds.range(0, 4000))["mask"].sum(1)
    assert set(sizes.tolist()) == {5, 6}
    # three of five crystals: beyond five deviations, and so one in a million runs
    assert abs((sizes == 5).double().mean().item() - 0.6) < 5.5 * (0.6 * 0.4 / 4000) ** 0.5


def test_predictions_are_told_elements():
    told = ask(_encoding(task="predict"), {"formula": "CaTiO3"}, SEEDS)
    assert told["elements"].shape == (4, 6, 3)
    assert told["elements"][0].argmax(-1)[:5].tolist() == [1, 2, 0, 0, 0] and not told["elements"][0, 5].any()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"formula": "CaUO3"}, "unknown element for this run 'U'"),
        ({"formula": "TiO2", "atoms": 5}, "do not fill 5 sites"),
        ({"formula": "TiO2 x3"}, "1 to 6 sites; seen 9"),
        ({"atoms": 7}, "1 to 6 sites; seen 7"),
        ({"atoms": "3-4"}, "no crystal of the data has 3-4 sites"),
        ({"atoms": "many"}, "whole number or a range"),
        ({"space_grup": 1}, "did you mean 'space_group'"),
        ({"gap": True}, "one finite number"),
        ({"gap": float("nan")}, "one finite number"),
        ({"volume_per_atom": 12.0}, r"data.conditions=\[volume_per_atom\]"),
        ({"crystal_system": "cubik"}, "did you mean 'cubic'"),
        ({"crystal_system": "hexagonal", "space_group": 221}, "is not hexagonal"),
        ({"system": "Ti-O", "formula": "CaTiO3"}, "not of the system"),
        ({"system": "Na-O"}, "Na is not among the elements"),
    ],
)
def test_words_that_mean_nothing_here_are_refused(wanted: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        ask(_encoding(), wanted, SEEDS)


def test_runs_say_what_they_must_be_trained_for():
    plain = _encoding(told={})
    with pytest.raises(InputError, match=r"data.conditions=\[composition\]"):
        ask(plain, {"formula": "CaTiO3"}, SEEDS)
    with pytest.raises(InputError, match=r"data.conditions=\[space_group\]"):
        ask(plain, {"space_group": 221}, SEEDS)
    with pytest.raises(InputError, match="formula=CaTiO3"):
        ask(_encoding(task="predict"), {"gap": 1.0}, SEEDS)


# ---- symmetry


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (1, "1a"),
        (2, "1a 1b 1c 1d 1e 1f 1g 1h 2i"),
        (62, "4a 4b 4c 8d"),
        (136, "2a 2b 4c 4d 4e 4f 4g 8h 8i 8j 16k"),
        (167, "6a 6b 12c 18d 18e 36f"),
        (194, "2a 2b 2c 2d 4e 4f 6g 6h 12i 12j 12k 24l"),
        (221, "1a 1b 3c 3d 6e 6f 8g 12h 12i 12j 24k 24l 24m 48n"),
    ],
)
def test_wyckoff_positions_are_those_of_the_international_tables(group: int, expected: str):
    assert " ".join(f"{len(orbit)}{letter}" for letter, orbit in positions(group).items()) == expected


def test_special_places_have_the_letters_of_the_international_tables():
    known = positions(221)
    assert np.allclose(known["a"].origins, 0) and np.allclose(known["b"].origins, 0.5)
    assert sorted((known["c"].origins % 1).round(9).tolist()) == [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    f = positions(136)["f"]  # x, x, 0
    places = f.origins + f.directions @ np.array([0.3])
    flat = [place for place in places.round(9) % 1 if place[2] == 0]
    assert len(flat) == 2 and all(np.isclose(place[0], place[1]) for place in flat)


def test_templates_are_made_of_letters_and_of_crystals_alike():
    made = template("P4_2/mnm", "2a 4f", ["Ti", "O"])
    found = template_of(_rutile())
    assert made.group == found.group == 136
    assert made.letters == found.letters == "2a 4f"
    assert made.numbers.tolist() == found.numbers.tolist() == [22, 22, 8, 8, 8, 8]
    assert template(221, "b a c", ["Ca", "Ti", "O"]).letters == "1b 1a 3c"


@pytest.mark.parametrize(
    ("group", "letters", "message"),
    [
        (136, "2a 4z", "unknown Wyckoff position of space group 136"),
        (136, "4a", "is 2a; seen '4a'"),
        (136, "2a 2a", "occupied once at most"),
        (136, "", "name the occupied positions"),
        (231, "a", "1 to 230"),
    ],
)
def test_letters_that_name_nothing_are_refused(group: int, letters: str, message: str):
    with pytest.raises(InputError, match=message):
        template(group, letters)


TEMPLATES = {
    "rutile": template(136, "2a 4f", ["Ti", "O"]),
    "hexagonal": template(194, "2c 4f 12k", ["Ti", "O", "Ca"]),
    "rhombohedral": template(167, "6b 12c 18e", ["Ca", "Ti", "O"]),
    "monoclinic": template(14, "4e 4e", ["Ti", "O"]),
    "face-centred": template(225, "4a 8c 24e", ["Ca", "Ti", "O"]),
}


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    away = one - other
    return float(np.abs(away - np.round(away)).max())


@pytest.mark.parametrize("made", TEMPLATES.values(), ids=TEMPLATES)
def test_projection_is_idempotent_and_commutes_with_the_group(made: Template):
    draws = np.random.Generator(np.random.Philox(3))
    free = draws.uniform(0.05, 0.2, (3, made.free))
    exact = made.places(free)
    near = exact + 0.01 * draws.standard_normal(exact.shape)
    once = made.project(near)
    assert _apart(made.project(exact), exact) < 1e-12
    assert _apart(made.project(once), once) < 1e-12
    assert _apart(once, near) < 0.06
    for operation in range(0, len(made.rotations), max(1, len(made.rotations) // 12)):
        rotation, translation = made.rotations[operation], made.translations[operation]
        moved = exact @ rotation.T + translation
        away = moved[0][:, None] - exact[0][None]
        home = np.abs(away - np.round(away)).max(-1).argmin(0)  # which site comes to each place
        turned = (near @ rotation.T + translation)[:, home]
        assert _apart(made.project(turned), (once @ rotation.T + translation)[:, home]) < 1e-9


@pytest.mark.parametrize("made", TEMPLATES.values(), ids=TEMPLATES)
def test_free_numbers_make_crystals_of_the_group(made: Template):
    draws = np.random.Generator(np.random.Philox(5))
    origin, directions = made.lattice_space()
    assert directions.shape[1] == {136: 2, 194: 2, 167: 2, 14: 4, 225: 1}[made.group]
    assert np.abs(directions.T @ directions - np.eye(directions.shape[1])).max() < 1e-12
    numbers = (origin + directions @ (directions.T @ np.array([2.2, 2.2, 2.2, 0, 0, 0]))) @ directions
    cell = symmetric_cells(made, (numbers + 0.1 * draws.standard_normal(directions.shape[1]))[None])[0]
    crystal = crystal_of(made, draws.uniform(0.05, 0.2, made.free), cell)
    assert made.keeps(crystal)
    shaken = Crystal(crystal.numbers, crystal.fractional + 0.01 * draws.standard_normal(crystal.fractional.shape), cell)
    assert not made.keeps(shaken)


def _law(
    made: Template, count: int = 5, elements: list[int] | None = None
) -> tuple[SymmetricSites, dict[str, torch.Tensor], Untold]:
    """A law on ``count`` crystals of the template, and what is free of them."""
    encoding, process = _encoding(), _process()
    size = len(made)
    blank = {
        "fractional": torch.zeros(1, size, 3),
        "lattice": torch.zeros(1, 6),
        "elements": torch.zeros(1, size).long(),
    }
    shape = SymmetricSites(Untold(AtomsDenoiser(process, blank)), made, encoding)
    seeds = Seeds.range(1, count)
    free = {
        "fractional": (0.1 + 0.3 * seeds.at("x").uniform((made.free,))) * shape.periods,
        "lattice": seeds.at("cell").normal((shape.axes.shape[1],), torch.float64),
        "elements": seeds.at("kind").integers(0, 3, (len(made.orbits),)),
    }
    if elements is not None:
        free["elements"] = torch.tensor(elements).expand(count, -1)
    whole = Untold(AtomsDenoiser(process, shape.expand(free)))
    return SymmetricSites(whole, made, encoding), free, whole


def test_an_exact_belief_stays_exact_among_symmetric_crystals():
    sites, free, _ = _law(without_elements(TEMPLATES["rutile"]))
    reduced = AtomsDenoiser(sites.process, free)
    for t, bound in ((0.2, 1e-9), (0.5, 1e-9), (0.65, 1e-3)):
        time = torch.tensor(t, dtype=torch.float64)
        xt = sites.process.noise(free, time, Seeds.range(9, 5))
        belief = sites(xt, time).belief.log_weights.exp()
        assert (belief - reduced(xt, time).log_weights.exp()).abs().max() < bound, t


def test_states_are_what_is_free_and_back():
    sites, free, _ = _law(without_elements(TEMPLATES["face-centred"]))
    seeds = Seeds.range(2, 5)
    back = sites.reduce(sites.expand(free), sites.draw_operations(seeds))
    mean = sites.reduce({**sites.expand(free), "elements": torch.eye(3)[sites.expand(free)["elements"]]})
    for name in ("fractional", "lattice"):
        assert torch.allclose(back[name], free[name], atol=1e-9)
        assert torch.allclose(mean[name], free[name], atol=1e-9)
    assert torch.equal(back["elements"], free["elements"])
    assert torch.equal(mean["elements"].argmax(-1), free["elements"])


def test_draws_have_the_space_group_that_is_asked_for():
    made = without_elements(TEMPLATES["rutile"])
    _, _, whole = _law(made)
    state, told = draw_symmetric(whole, _encoding(), made, Seeds.range(0, 12), AncestralSampler(), steps=12, batch=12)
    crystals = _encoding().decode(state, told)
    assert all(made.keeps(crystal, 1e-3) for crystal in crystals)
    assert all(space_group(crystal, 1e-3) == 136 for crystal in crystals)
    again, _ = draw_symmetric(whole, _encoding(), made, Seeds.range(0, 3), AncestralSampler(), steps=12, batch=12)
    assert torch.equal(again["fractional"], state["fractional"][:3])
    # the law is of five crystals, which come back: float32 in and out of noise
    apart = (state["fractional"][:, None] - whole.law.atoms["fractional"][None].float()).abs().amax((2, 3))
    assert (apart.amin(1) < 1e-4).all()


def test_known_elements_stay_where_they_are():
    made = TEMPLATES["rutile"]
    _, _, whole = _law(without_elements(made))
    sites = SymmetricSites(whole, made, _encoding())
    assert "elements" not in sites.process.parts
    state = sites.expand({"fractional": torch.zeros(2, 1), "lattice": torch.zeros(2, 2)})
    assert state["elements"].tolist() == [[2, 2, 0, 0, 0, 0]] * 2  # the classes of Ti and O
    told = SymmetricSites(whole, made, _encoding(task="predict")).told(2)
    assert told["elements"].argmax(-1).tolist() == [[2, 2, 0, 0, 0, 0]] * 2


def test_what_symmetric_sites_cannot_hold_is_refused():
    made = TEMPLATES["rutile"]
    _, _, whole = _law(without_elements(made))
    with pytest.raises(InputError, match="not among the elements"):
        SymmetricSites(whole, made.with_elements(["U", "O"]), _encoding())
    with pytest.raises(InputError, match="name an element for each orbit"):
        SymmetricSites(whole, without_elements(made), _encoding(task="predict"))
    with pytest.raises(InputError, match="2 orbits"):
        made.with_elements(["Ti"])
    exchanged = JointProcess({**whole.process.parts, "elements": CategoricalProcess(3)}, whole=["lattice"])
    whole.process = exchanged
    with pytest.raises(InputError, match="exchanges elements"):
        SymmetricSites(whole, made, _encoding())
    whole.process = JointProcess({"fractional": exchanged.parts["fractional"]})
    with pytest.raises(InputError, match="fractional and lattice"):
        SymmetricSites(whole, made, _encoding())


# ---- completion


def _two_crystals() -> tuple[CrystalEncoding, Untold]:
    """A law on two crystals of two sites, told apart by any of their parts; elements are told, and not heard."""
    encoding = _encoding(task="predict", sizes=(0, 2))
    parts = {name: part for name, part in _process().parts.items() if name != "elements"}
    atoms = {
        "fractional": torch.tensor([[[0.1, 0.1, 0.1], [0.4, 0.5, 0.6]], [[0.3, 0.3, 0.3], [0.9, 0.8, 0.7]]]).double(),
        "lattice": torch.tensor([[0.5] * 6, [-0.5] * 6]).double(),
    }
    return encoding, Untold(AtomsDenoiser(JointProcess(parts, whole=["lattice"]), atoms))


def _completed(jumps: int, count: int = 64, **known: Any) -> dict[str, torch.Tensor]:
    encoding, law = _two_crystals()
    told = {"mask": torch.ones(count, 2, dtype=torch.bool)}
    how: dict[str, Any] = {"condition": told, "steps": 12, "batch": count, "jumps": jumps}
    return complete(law, encoding, Seeds.range(0, count), numbers=np.array([8, 20]), **known, **how)


def test_known_sites_are_kept_and_the_others_come_to_fit():
    known = np.array([[0.1, 0.1, 0.1]])
    shares = []
    for jumps in (1, 8):
        state = _completed(jumps, fractional=known)
        assert torch.allclose(state["fractional"][:, 0], torch.tensor(0.1))
        fits = (state["fractional"][:, 1] - torch.tensor([0.4, 0.5, 0.6])).abs().amax(1) < 1e-3
        assert torch.equal(fits, (state["lattice"] - 0.5).abs().amax(1) < 1e-3)
        shares.append(fits.double().mean().item())
    # among 64 draws fewer than 56 fit in less than one of a million cases where 98 % do
    assert shares[1] >= 56 / 64 and shares[1] >= shares[0]


def test_a_known_cell_is_kept():
    encoding, _ = _two_crystals()
    told = {"elements": encoding.one_hot(torch.zeros(1, 2).long(), torch.ones(1, 2, dtype=torch.bool))}
    clean = {"fractional": torch.zeros(1, 2, 3), "lattice": torch.full((1, 6), -0.5)}
    state = _completed(4, fractional=np.zeros((0, 3)), cell=encoding.decode(clean, told)[0].cell)
    assert torch.allclose(state["lattice"], torch.tensor(-0.5), atol=1e-5)
    fits = (state["fractional"][:, 0] - 0.3).abs().amax(1) < 1e-3
    assert fits.double().mean() >= 0.8


def test_jumps_leave_a_law_alone():
    _, law = _two_crystals()
    shape = {"fractional": (2, 3), "lattice": (6,)}
    jumping = JumpingSampler(AncestralSampler(), 3)
    assert jumping.calls_per_step == 3
    state = sample(law, jumping, shape, 400, steps=8, batch=400)
    first = (state["lattice"][:, 0] > 0).double().mean().item()
    assert abs(first - 0.5) < 5.5 * (0.25 / 400) ** 0.5


def _asked(path: Path, law: Denoiser, encoding: CrystalEncoding, out: Path | None = None, **options: Any) -> Asked:
    sampling = {"steps": 8, "batch": 4, "sampler": "ancestral", "grid": None}
    return Asked(law, encoding, path, lambda *given, **how: None, 4, 0, options, out, sampling)


def _poscar(path: Path, symbols: str, counts: str, places: str, edge: float = 3.0) -> Path:
    path.write_text(f"made\n1.0\n{edge} 0 0\n0 {edge} 0\n0 0 {edge}\n{symbols}\n{counts}\nDirect\n{places}\n")
    return path


def test_predict_completes_a_file(tmp_path: Path):
    pytest.importorskip("ase")
    encoding, law = _two_crystals()
    part = _poscar(tmp_path / "part.vasp", "O", "1", "0.1 0.1 0.1")
    found = predict_crystals(_asked(part, law, encoding, tmp_path / "out", formula="CaO", known="sites", jumps=2))
    assert len(found.crystals) == 4 and all(path.exists() for path in found.files)
    for crystal in found.crystals:
        assert crystal.numbers.tolist() == [8, 20]
        assert np.allclose(crystal.fractional[0], 0.1)
    kept = predict_crystals(_asked(part, law, encoding, formula="CaO", gap=1.0, jumps=1))
    assert all(np.allclose(np.linalg.det(crystal.cell), 27, rtol=1e-4) for crystal in kept.crystals)


def test_predict_keeps_the_symmetry_of_a_file(tmp_path: Path):
    pytest.importorskip("ase")
    rutile = _rutile()
    own = template_of(rutile)
    classes = [2 if orbit.number == 22 else 0 for orbit in own.orbits]
    _, _, whole = _law(without_elements(own), elements=classes)
    places = "\n".join(" ".join(f"{value:.9f}" for value in place) for place in rutile.fractional)
    path = tmp_path / "rutile.vasp"
    path.write_text(f"made\n1.0\n4.59 0 0\n0 4.59 0\n0 0 2.96\nTi O\n2 4\nDirect\n{places}\n")
    for keep, symbols in (("symmetry-elements", {22, 8}), ("symmetry", {8, 22})):
        found = predict_crystals(_asked(path, whole, _encoding(), keep=keep))
        assert all(space_group(crystal, 1e-3) == 136 for crystal in found.crystals)
        assert set(np.concatenate([crystal.numbers for crystal in found.crystals]).tolist()) <= symbols
    with pytest.raises(InputError, match="leave 'atoms' out"):
        predict_crystals(_asked(path, whole, _encoding(), keep="symmetry", atoms=6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, None),
        ({"formula": "Ca2"}, "more O than the formula"),
        ({"formula": "CaO", "atoms": 2}, "either formula or atoms"),
        ({"formula": "CaO2"}, "have 2 at most"),
        ({"atoms": 2}, "formula=CaTiO3 instead of atoms"),
        ({"atoms": 0}, "at least 1"),
        ({"known": "everything"}, "unknown part of a crystal that may be known"),
        ({"known": "lattice"}, "say what the cell is to hold"),
        ({"keep": "all"}, "unknown way to keep"),
        ({"jumps": 0, "formula": "CaO"}, "at least once"),
        ({"jumps": "often", "formula": "CaO"}, "at least once, a whole number of times; jumps: 'often'"),
        ({"atom": 2, "formula": "CaO"}, "did you mean 'atoms'"),
        ({"formula": "UO"}, "unknown element for this run 'U'"),
    ],
)
def test_what_cannot_be_completed_is_refused(tmp_path: Path, options: dict[str, Any], message: str | None):
    pytest.importorskip("ase")
    encoding, law = _two_crystals()
    part = _poscar(tmp_path / "part.vasp", "O", "1", "0.1 0.1 0.1")
    if message is None:
        assert len(predict_crystals(_asked(part, law, encoding)).crystals[0]) == 1  # nothing is left to draw
        return
    with pytest.raises(InputError, match=message):
        predict_crystals(_asked(part, law, encoding, **options))


def test_elements_must_be_those_of_the_run(tmp_path: Path):
    pytest.importorskip("ase")
    encoding, law = _two_crystals()
    with pytest.raises(InputError, match="Na: not among the elements"):
        predict_crystals(_asked(_poscar(tmp_path / "na.vasp", "Na", "1", "0 0 0"), law, encoding, atoms=2))


# ---- steering


def _alloys(count: int) -> list[Crystal]:
    """Rock salts of two edges' worth of spread, with a property that hangs on element and volume."""
    draws = np.random.Generator(np.random.Philox(8))
    found = []
    for _ in range(count):
        first = str(draws.choice(["Na", "K", "Mg", "Ca"]))
        crystal = _rock_salt(draws.uniform(4.5, 6.0), first, str(draws.choice(["Cl", "O"])))
        value = 0.1 * number_of(first) + 0.2 * crystal.volume / len(crystal)
        found.append(Crystal(crystal.numbers, crystal.fractional, crystal.cell, {"energy": value}))
    return found


def test_the_predictor_foretells_what_it_has_not_seen():
    crystals = _alloys(220)
    predict = fitted_predictor(crystals[:180], np.array([crystal.properties["energy"] for crystal in crystals[:180]]))
    true = np.array([crystal.properties["energy"] for crystal in crystals[180:]])
    assert np.abs(predict(crystals[180:]) - true).mean() < 0.25 * np.abs(true - true.mean()).mean()


def test_descriptions_do_not_change_with_origin_and_order():
    crystal = _rutile()
    moved = Crystal(crystal.numbers[::-1], (crystal.fractional[::-1] + np.array([0.1, 0.2, 0.3])) % 1, crystal.cell)
    first, second = described([crystal, moved], ["O", "Ti"])
    assert np.allclose(first, second, atol=1e-6)


def test_steering_is_measured_beside_models_that_were_not_asked():
    data = crystal_data(_alloys(80), properties=["energy"], held_out=0.25)
    order = torch.from_numpy(np.random.Generator(np.random.Philox(2)).permutation(len(data)))

    def draw(count: int, seed: int = 0, condition: Any = None, **how: Any) -> Any:
        assert "energy" not in condition and "mask" in condition
        return {name: rows[order[:count]] for name, rows in data.state.items()}  # of the data, in another order

    untold = Untold(AtomsDenoiser(_process(6), take(data.state, slice(1))))
    judged = Judged(untold, data, None, data.state, {"mask": data.mask, **data.told}, draw, 0, {})
    result, figure = property_errors(judged, "energy")
    assert result.metric == "asked-energy" and result.better == "lower"
    assert result.value < 0.25 * result.baselines["unconditional"]  # its own values are those that were asked
    assert result.details["ratio"] == pytest.approx(result.value / result.baselines["unconditional"])
    assert result.floor["value"] > 0 and "<svg" in figure.svg
    with pytest.raises(InputError, match="did you mean 'energy'"):
        property_errors(judged, "energie")
