from dataclasses import replace

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.denoisers.joint import JointPosterior
from unstir.denoisers.posteriors import PointPosterior
from unstir.domains.base import Asked, Judged
from unstir.domains.molecules import molecules as field
from unstir.domains.molecules.asking import ask
from unstir.domains.molecules.files.convert import from_rdkit
from unstir.domains.molecules.files.reading import read_file
from unstir.domains.molecules.files.writing import write_file
from unstir.domains.molecules.measures.strain import strains
from unstir.domains.molecules.tasks.conformers import coverage, distances, etkdg
from unstir.domains.molecules.tasks.graphs import as_asked, graph_of, stereo_of
from unstir.domains.molecules.tasks.growing import GivenAtoms, GrowingSampler
from unstir.domains.molecules.tasks.judging import judge_conformers
from unstir.domains.molecules.tasks.shapes import PharmacophoreEnergy, ShapeEnergy, pharmacophore
from unstir.domains.molecules.tasks.steering import computed, fitted_predictor, spectra
from unstir.guidance.energy import EnergyGuidance
from unstir.processes.categorical import CategoricalProcess
from unstir.processes.centred import CentredProcess
from unstir.processes.joint import JointProcess
from unstir.processes.pairs import PairsProcess
from unstir.processes.schedules.cosine import CosineSchedule
from unstir.processes.schedules.edm import EDMSchedule
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample

Chem = pytest.importorskip("rdkit.Chem")
embedding = pytest.importorskip("rdkit.Chem.rdDistGeom")

SMILES = ("CCO", "CCN", "CC#N", "OCC=O", "CCF", "CCC", "CO", "C=C", "CNC", "C[C@H](F)O", "C[C@@H](F)O", "F/C=C/F")


def placed(smiles, number=1):
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert embedding.EmbedMolecule(mol, randomSeed=number) == 0
    return from_rdkit(mol, properties={"gap": float(len(smiles))}, name=smiles)


@pytest.fixture(scope="module")
def molecules():
    return [placed(smiles) for smiles in SMILES]


@pytest.fixture(scope="module")
def sdf(molecules, tmp_path_factory):
    return write_file(molecules, tmp_path_factory.mktemp("tasks") / "all.sdf")


def test_words_become_conditions(sdf):
    data = field.read({"path": str(sdf), "held_out": 0.0, "properties": ["gap"], "composition": True})
    seeds = Seeds.range(0, 4000)
    assert ask(data.encoding, {"atoms": 9}, seeds)["mask"].sum(1).unique().tolist() == [9]
    sizes = ask(data.encoding, {"atoms": "6-9"}, seeds)["mask"].sum(1)
    counts = {size: data.encoding.sizes[size] for size in range(6, 10) if data.encoding.sizes.get(size)}
    assert set(sizes.tolist()) == set(counts)
    for size, count in counts.items():  # five deviations of a share
        share = count / sum(counts.values())
        assert abs((sizes == size).float().mean() - share) < 5 * (share * (1 - share) / 4000) ** 0.5
    told = ask(data.encoding, {"formula": "C2H6O", "gap": 4}, seeds[:2])
    assert told["mask"].sum(1).tolist() == [9, 9] and told.keys() == {"mask", "composition", "gap"}
    assert data.encoding.counts(told["composition"])[0].tolist() == [6, 2, 0, 1, 0]  # H, C, N, O, F
    row = [molecule.name for molecule in data.structures].index("CCO")
    assert torch.equal(told["composition"][0], data.told["composition"][row])
    known = data.encoding.property_of("gap")
    assert known.own(told["gap"][0, 0].double()).item() == pytest.approx(4.0, rel=1e-6)
    alone = ask(data.encoding, {"atoms": "6-9"}, Seeds.range(0, 1, start=17))["mask"]
    assert torch.equal(alone[0], ask(data.encoding, {"atoms": "6-9"}, seeds)["mask"][17])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"atom": 9}, "did you mean 'atoms'.*data.properties"),
        ({"atoms": 99}, "at most 11 atoms.*train on larger"),
        ({"atoms": "x"}, "12 or 10-14"),
        ({"atoms": 1}, "from 2 on"),
        ({"atoms": "9-6"}, "from 2 on"),
        ({"formula": "C2H6S"}, "unknown element for this run 'S'"),
        ({"formula": "C2H6O"}, "data.composition=true"),
        ({"gap": "high"}, "one number, in the data's unit"),
        ({"gap": float("nan")}, "finite"),
        ({"gap": 5000.0}, "far from all that this run has seen, 2 to 11"),
        ({"smiles": "CCO"}, "data.task=conformers"),
    ],
)
def test_what_cannot_be_meant_is_refused(sdf, wanted, message):
    data = field.read({"path": str(sdf), "held_out": 0.0, "properties": ["gap"]})
    with pytest.raises(InputError, match=message):
        ask(data.encoding, wanted, Seeds.range(0, 2))


def test_conformers_are_told_their_graph_handedness_and_all(sdf):
    data = field.read({"path": str(sdf), "held_out": 0.0, "task": "conformers"})
    assert data.encoding.parts == ("positions",) and set(data.state) == {"positions"}
    assert {name: set(kind) for name, kind in data.conditions.items()} == {
        "mask": {"places"}, "elements": {"channels"}, "charges": {"channels"}, "bonds": {"pairs"},
        "handedness": {"channels"}, "sides": {"pairs"},
    }  # fmt: skip
    for row, molecule in enumerate(data.structures):
        told = ask(data.encoding, {"smiles": molecule.name}, Seeds.range(0, 2))
        assert told.keys() == data.conditions.keys()
        for name, values in told.items():  # RDKit names atoms of a SMILES in its order, as the file does
            own = data.mask[row] if name == "mask" else data.told[name][row]
            assert values.shape == (2, *own.shape) and torch.equal(values[1], own), name
    hands = {m.name: data.told["handedness"][row].sum().item() for row, m in enumerate(data.structures)}
    assert hands["C[C@H](F)O"] == -hands["C[C@@H](F)O"] != 0
    back = data.encoding.decode(data.state, {"mask": data.mask, **data.told})
    assert all(np.array_equal(one.bonds, two.bonds) for one, two in zip(back, data.structures, strict=True))
    with pytest.raises(InputError, match="say of which molecule"):
        ask(data.encoding, {"atoms": 9}, Seeds.range(0, 1))


def test_conformers_are_built_and_kept_apart_by_molecule(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("CCCO\nCCCN\nCCCF\nCCC=O\nCCCCl\nCCC#N\n")
    data = field.read({"path": str(path), "task": "conformers", "conformers": 3, "hydrogens": "add", "held_out": 0.34})
    assert len(data) == 12 and len(data.held_out) == 6
    assert not {one.name for one in data.structures} & {one.name for one in data.held_out.structures}
    again = field.read({"path": str(path), "task": "conformers", "conformers": 3, "hydrogens": "add", "held_out": 0.34})
    assert again.digest == data.digest
    with pytest.raises(InputError, match="whole number from 1"):
        field.read({"path": str(path), "task": "conformers", "conformers": 0})
    with pytest.raises(InputError, match="which says all"):
        field.read({"path": str(path), "task": "conformers", "properties": ["rdkit:logp"]})


def test_a_mirror_makes_the_other_hand_and_keeps_the_sides():
    right, asked = placed("C[C@H](F)O"), graph_of("C[C@H](F)O")[1]
    left, other = placed("C[C@@H](F)O"), graph_of("C[C@@H](F)O")[1]
    assert as_asked(right, asked) is right
    turned = as_asked(left, asked)
    assert turned is not None and stereo_of(turned).handedness.tolist() == stereo_of(right).handedness.tolist()
    assert stereo_of(turned).handedness.tolist() == (-other.handedness).tolist()
    across, along = graph_of("F/C=C/F")[1], graph_of("F/C=C\\F")[1]
    assert (across.sides == -along.sides).all() and across.sides.any()
    assert as_asked(placed("F/C=C/F"), across) is not None and as_asked(placed("F/C=C/F"), along) is None
    # of two centres a mirror turns both: where one alone is wrong nothing helps
    assert as_asked(placed("F[C@H](C)[C@H](O)Cl"), graph_of("F[C@H](C)[C@@H](O)Cl")[1]) is None


def test_coverage_counts_and_distances_know_of_symmetry():
    found = coverage(np.array([[0.1, 0.9, 2.0], [0.7, 0.4, 3.0]]), 0.5)
    assert (found.recall, found.precision) == (pytest.approx(2 / 3), 1.0)
    assert found.matching_recall == pytest.approx((0.1 + 0.4 + 2.0) / 3)
    assert found.matching_precision == pytest.approx((0.1 + 0.4) / 2)
    butane = etkdg(placed("CCCC"), 6, Seeds.range(0, 1))
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    order = np.argsort([3, 2, 1, 0, *range(4, 14)], kind="stable")
    other = butane[0]
    moved = type(other)(
        other.numbers[order], other.positions[order] @ turn + 5, other.charges[order], other.bonds[order][:, order]
    )
    assert distances([other], [moved])[0, 0] < 1e-3
    table = distances(butane, butane)
    assert table.shape == (6, 6) and np.diag(table).max() < 1e-3 and np.allclose(table, table.T, atol=1e-3)
    with pytest.raises(InputError, match="different graphs"):
        distances(butane[:1], [placed("CCO")])
    relaxed, built = strains([etkdg(placed("CCCC"), 1, Seeds.range(0, 1), optimise=True)[0], butane[0]])
    assert relaxed < built + 1e-6


class _Belief(PointPosterior):
    """Gaussian points about a mean, the same between points (``root``) along every axis."""

    def __init__(self, mean, root):
        super().__init__(mean)
        object.__setattr__(self, "root", root)

    def sample(self, seeds):
        return self.mean + self.root @ seeds.normal_like(self.mean)


class _Chain(Denoiser):
    """The exact belief of five points on a chain of springs; elements are even between three whatever is seen."""

    def __init__(self, process):
        super().__init__()
        self.process = process
        stiff = 2 * torch.eye(5) - torch.diag(torch.ones(4), 1) - torch.diag(torch.ones(4), -1)
        stiff[0, 0] = stiff[4, 4] = 1
        self.covariance = torch.linalg.pinv(stiff.double())  # no centre in it

    def forward(self, xt, t, drop=None, **condition):
        alpha, sigma = self.process.parts["positions"].coefficients(t, xt["positions"])
        alpha, sigma = alpha.double(), sigma.double()
        noisy = alpha**2 * self.covariance + sigma**2 * (torch.eye(5) - 0.2)
        gain = alpha * self.covariance @ torch.linalg.pinv(noisy, rtol=1e-12)
        left, axes = torch.linalg.eigh(self.covariance - alpha * gain @ self.covariance)
        root = (axes * left.clamp(min=0).sqrt()).to(xt["positions"])
        logs = torch.full((*xt["elements"].shape, 3), 1 / 3, dtype=torch.float64).log()
        belief = _Belief(gain.to(xt["positions"]) @ xt["positions"], root)
        return JointPosterior({"positions": belief, "elements": CategoricalPosterior(logs)})


def test_growth_about_a_core_tends_to_the_exact_conditional():
    process = JointProcess({"positions": CentredProcess(), "elements": CategoricalProcess(3)})
    core = GivenAtoms(
        torch.tensor([[-1.0, 0, 0], [1.0, 0, 0]], dtype=torch.float64), {"elements": torch.tensor([2, 0])}
    )
    model = _Chain(process)
    covariance = model.covariance.numpy()
    # the exact law given d = x_1 - x_0 = a x: mean C a d / (a C a), covariance C - C a a C / (a C a)
    a = np.array([-1.0, 1, 0, 0, 0])
    gain = covariance @ a / (a @ covariance @ a)
    left = covariance - np.outer(gain, covariance @ a)
    away = {}
    for jumps, count in ((1, 600), (8, 600)):
        found = sample(
            model, GrowingSampler(core, jumps), {"positions": (5, 3), "elements": (5,)}, count,
            steps=25, grid="uniform", batch=count,
        )  # fmt: skip
        positions = found["positions"]
        assert positions.sum(1).abs().max() < 1e-5
        apart = positions[:, 1] - positions[:, 0]
        assert (apart - torch.tensor([2.0, 0, 0])).abs().max() < 1e-5
        assert (found["elements"][:, :2] == torch.tensor([2, 0])).all()
        away[jumps] = np.abs(positions[:, :, 0].mean(0).numpy() - 2 * gain).max()
    chance = 5.5 * np.sqrt(np.diag(left).max() / count)
    assert away[8] < chance + 0.08 < away[1]
    for axis in range(3):
        assert np.abs(np.cov(positions[:, :, axis].numpy().T) - left).max() < 0.2 * np.abs(left).max()
    shares = torch.bincount(found["elements"][:, 2:].flatten(), minlength=3).double() / (3 * count)
    assert (shares - 1 / 3).abs().max() < 5 * (2 / 9 / (3 * count)) ** 0.5


@pytest.mark.parametrize("schedule", [EDMSchedule(), CosineSchedule()], ids=["exploding", "preserving"])
def test_the_core_is_put_in_as_noisy_as_the_rest(schedule):
    """Of the noise at a time the core's atoms have their share of the signal, and noise without a centre."""
    process = JointProcess({"positions": CentredProcess(schedule)})
    known = torch.tensor([[-1.0, 0, 0], [1.0, 0, 0], [0, 3, 0]], dtype=torch.float64)
    count, t = 4000, torch.tensor(0.4, dtype=torch.float64)
    x = {"positions": process.parts["positions"].centred(Seeds.range(1, count).normal((5, 3)))}
    held = GrowingSampler(GivenAtoms(known, {})).held(process, x, t, Seeds.range(0, count), None)["positions"].double()
    rows = held[:, :3] - held[:, :3].mean(1, keepdim=True)
    alpha, sigma = (float(each) for each in process.parts["positions"].coefficients(t, held))
    deviation = sigma * (2 / 3) ** 0.5
    away = (rows.mean(0) - alpha * (known - known.mean(0))).abs().max()
    assert away < 5 * deviation / count**0.5
    assert abs(float(rows.std(0).mean()) / deviation - 1) < 5 / (2 * 6 * count) ** 0.5
    torch.testing.assert_close(held[:, :3].mean(1), x["positions"][:, :3].mean(1).double(), atol=1e-6, rtol=0)


class _Ball(Denoiser):
    """Points of unit variance about their centre, whose elements are even between three."""

    def __init__(self, process):
        super().__init__()
        self.process = process

    def forward(self, xt, t, drop=None, **condition):
        alpha, sigma = self.process.parts["positions"].coefficients(t, xt["positions"])
        mean = alpha * 4 / (alpha**2 * 4 + sigma**2) * xt["positions"]
        logs = torch.full((*xt["elements"].shape, 3), 1 / 3, dtype=torch.float64).log()
        return JointPosterior({"positions": PointPosterior(mean), "elements": CategoricalPosterior(logs)})


def test_a_shape_is_filled_where_its_energy_guides():
    reference = placed("CCCCN")
    shape = ShapeEnergy(reference, (6, 7, 8))
    heavy = torch.from_numpy(reference.positions - reference.positions.mean(0))[None, :5]
    shares = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0, 0, 1]]), 3).double()
    own = {"positions": heavy, "elements": shares}
    assert shape.similarity(own).item() == pytest.approx(1.0, abs=1e-9) and shape(own).item() == pytest.approx(
        0, abs=1e-7
    )
    assert shape.similarity({**own, "positions": heavy + 50}).item() < 1e-6
    order = torch.tensor([3, 0, 4, 2, 1])
    mixed = {"positions": heavy[:, order], "elements": shares[:, order]}
    assert shape.similarity(mixed).item() == pytest.approx(1.0, abs=1e-9)
    longer = {"positions": torch.cat((heavy, heavy[:, :1] * 0), 1), "elements": torch.cat((shares, shares[:, :1]), 1)}
    assert shape.similarity(longer).item() < 0.99
    assert shape.similarity(longer, torch.tensor([5])).item() == pytest.approx(1.0, abs=1e-9)
    # two Gaussians far apart share the volume that the integral says, here on a grid
    pair = ShapeEnergy(type(reference)(np.array([6]), np.zeros((1, 3))), (6,))
    width = pair.widths[0].item()
    steps = torch.linspace(-6, 6, 61, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps, steps)
    first, second = (2.7 * (-width * (grid - torch.tensor([x, 0.0, 0])).square().sum(1)).exp() for x in (0.0, 1.3))
    exact = 2 * (first * second).sum() / (first.square().sum() + second.square().sum())
    away = torch.tensor([[[1.3, 0.0, 0.0]]], dtype=torch.float64)
    assert pair.similarity(away).item() == pytest.approx(exact.item(), rel=1e-6)
    model = _Ball(JointProcess({"positions": CentredProcess(), "elements": CategoricalProcess(3)}))
    found = {}
    for strength in (0.0, 1.0):
        guide = EnergyGuidance(model, shape, strength={"positions": strength}, through=False, deviation=2.0)
        drawn = sample(guide, AncestralSampler(), {"positions": (5, 3), "elements": (5,)}, 64, steps=20, batch=64)
        seen = {"positions": drawn["positions"], "elements": torch.nn.functional.one_hot(drawn["elements"], 3)}
        found[strength] = shape.similarity(seen)
        assert drawn["positions"].sum(1).abs().max() < 1e-4
    apart = found[1.0] - found[0.0]  # the same noise
    assert apart.mean() > 5 * apart.std() / 8
    with pytest.raises(InputError, match="hence no shape"):
        ShapeEnergy(graph_of("CO")[0], (6,))
    with pytest.raises(InputError, match="take hydrogens too"):
        ShapeEnergy(type(reference)(np.array([1]), np.zeros((1, 3))), (1,))


def test_a_pharmacophore_is_met_by_the_right_atoms():
    reference = placed("NCCO")
    points, allowed = pharmacophore(reference, ("donor",))
    assert len(points) == 2 and allowed == [{7, 8}, {7, 8}]
    numbers = (6, 7, 8)
    energy = PharmacophoreEnergy(points, [[float(number in one) for number in numbers] for one in allowed])
    heavy = torch.from_numpy(reference.positions - reference.positions.mean(0))[None, :4]
    right = torch.nn.functional.one_hot(torch.tensor([[1, 0, 0, 2]]), 3).double()
    carbons = torch.nn.functional.one_hot(torch.tensor([[0, 0, 0, 0]]), 3).double()
    place = heavy.clone().requires_grad_()
    value = energy({"positions": place + 0.5, "elements": right})
    assert energy({"positions": heavy, "elements": right}) < value < energy({"positions": heavy, "elements": carbons})
    (slope,) = torch.autograd.grad(value.sum(), place)
    assert energy({"positions": heavy + 0.5 - 0.05 * slope, "elements": right}) < value
    with pytest.raises(InputError, match="did you mean 'donor'"):
        pharmacophore(reference, ("doner",))
    with pytest.raises(InputError, match="no group"):
        pharmacophore(placed("CC"))


def test_growth_refuses_what_does_not_fit(sdf):
    data = field.read({"path": str(sdf), "held_out": 0.0})
    with pytest.raises(InputError, match="at most 11"):
        GivenAtoms.of(data.encoding, placed("CCCC"))
    with pytest.raises(InputError, match="no positions"):
        GivenAtoms.of(data.encoding, graph_of("CO")[0])
    core = GivenAtoms.of(data.encoding, placed("CO"))
    with pytest.raises(InputError, match="taken once"):
        GrowingSampler(core, 0)
    with pytest.raises(InputError, match="same parts"):
        GrowingSampler(core).check(
            _Chain(JointProcess({"positions": CentredProcess(), "elements": CategoricalProcess(3)}))
        )


def drawing(data, sigma=0.0):
    """A stand-in for a run: ``draw`` gives rows of the data that have the asked graph, or steps with a real sampler."""

    def draw(count, seed=0, condition=None, sampler=None, **how):
        if sampler is None:
            same = [
                row for row in range(len(data))
                if all(torch.equal(data.told[name][row], condition[name][0]) for name in ("elements", "bonds"))
            ]  # fmt: skip
            state = data.state["positions"][torch.tensor([same[k % len(same)] for k in range(count)])]
            return {"positions": state}
        process = JointProcess(
            {
                "positions": CentredProcess(),
                **{
                    name: (CategoricalProcess if name != "bonds" else PairsProcess)(data.encoding.classes[name])
                    for name in data.encoding.parts[1:]
                },
            }
        )
        return sample(_Guess(process), sampler, data.shape, count, steps=10, grid="uniform", seed=seed, batch=count,
                      condition=condition)  # fmt: skip

    return draw


class _Guess(Denoiser):
    """Points at the centre and even classes."""

    def __init__(self, process):
        super().__init__()
        self.process = process

    def forward(self, xt, t, drop=None, **condition):
        kinds = {
            name: CategoricalPosterior(torch.full((*xt[name].shape, part.classes), 1.0 / part.classes).double().log())
            for name, part in self.process.parts.items()
            if name != "positions"
        }
        return JointPosterior({"positions": PointPosterior(torch.zeros_like(xt["positions"])), **kinds})


def asked_of(data, path, out, members, **options):
    return Asked(_Guess(None), data.encoding, path, drawing(data), members, 3, options, out)


def mostly_flat(draw):
    """Only the first of each draw has a shape."""

    def drawn(count, **how):
        state = draw(count, **how)
        return {"positions": torch.cat((state["positions"][:1], torch.zeros_like(state["positions"][1:])))}

    return drawn


def test_conformers_of_a_file_are_written_with_the_asked_hand(sdf, tmp_path):
    data = field.read({"path": str(sdf), "held_out": 0.0, "task": "conformers"})
    asked = tmp_path / "mine.smi"
    asked.write_text("C[C@H](F)O first\nCCO second\n")
    field.predict(asked_of(data, asked, tmp_path / "out.sdf", 2))
    found = read_file(tmp_path / "out.sdf").structures
    assert [one.name for one in found] == ["first", "first", "second", "second"]
    wanted = graph_of("C[C@H](F)O")[1].handedness.tolist()
    # rows of both hands are drawn alike, and the mirror image of the wrong one is taken
    assert all(stereo_of(one).handedness.tolist() == wanted for one in found[:2])
    with pytest.raises(InputError, match=r"out\.txt"):
        field.predict(asked_of(data, asked, tmp_path / "out.txt", 2))
    asked.write_text("F/C=C/F stiff\n")
    one_of_four = asked_of(data, asked, tmp_path / "few.sdf", 4)
    with pytest.warns(UserWarning, match="line 1: 3 conformers instead of 4"):
        field.predict(replace(one_of_four, draw=mostly_flat(one_of_four.draw)))
    assert len(read_file(tmp_path / "few.sdf").structures) == 3
    with pytest.raises(InputError, match="did you mean 'column'"):
        field.predict(asked_of(data, asked, tmp_path / "out.sdf", 2, colum="x"))


def test_a_core_is_grown_and_stays_what_it_is(sdf, tmp_path):
    data = field.read({"path": str(sdf), "held_out": 0.0})
    core = placed("CO")
    core = type(core)(core.numbers[:2], core.positions[:2], core.charges[:2], core.bonds[:2, :2], {}, "methanol")
    path = write_file([core], tmp_path / "core.sdf")
    grown = field.predict(asked_of(data, path, tmp_path / "grown.sdf", 5, atoms="7-9", jumps=2))
    assert len(grown) == 5 == (tmp_path / "grown.sdf").read_text().count("$$$$")
    kept = np.linalg.norm(read_file(path).structures[0].positions[0] - read_file(path).structures[0].positions[1])
    for one in grown:
        assert 7 <= len(one) <= 9 and one.numbers[:2].tolist() == [6, 8] and one.bonds[0, 1] == 1
        assert np.linalg.norm(one.positions[0] - one.positions[1]) == pytest.approx(kept, abs=1e-5)
    with pytest.raises(InputError, match="2 atoms already"):
        field.predict(asked_of(data, path, None, 2, atoms=2))


class _Cloud(_Guess):
    """Points as a cloud of deviation two has them, and even classes."""

    def forward(self, xt, t, drop=None, **condition):
        belief = super().forward(xt, t, drop, **condition)
        alpha, sigma = self.process.parts["positions"].coefficients(t, xt["positions"])
        mean = alpha * 4 / (alpha**2 * 4 + sigma**2) * xt["positions"]
        return JointPosterior({**belief.parts, "positions": PointPosterior(mean)})


def likened(data, path, out, **options):
    classes = data.encoding.classes
    kinds = {
        name: (CategoricalProcess if name != "bonds" else PairsProcess)(classes[name])
        for name in data.encoding.parts[1:]
    }
    model = _Cloud(JointProcess({"positions": CentredProcess(), **kinds}))
    return field.predict(Asked(model, data.encoding, path, drawing(data), 24, 3, options, out, {"steps": 20}))


def test_molecules_are_drawn_in_the_likeness_of_one(sdf, tmp_path):
    data = field.read({"path": str(sdf), "held_out": 0.0, "properties": ["gap"]})
    reference = placed("CCCN")
    heavy = reference.numbers != 1
    reference = type(reference)(
        reference.numbers[heavy], reference.positions[heavy], reference.charges[heavy], reference.bonds[heavy][:, heavy]
    )
    path = write_file([reference], tmp_path / "like.sdf")
    energy = ShapeEnergy.of(data.encoding, read_file(path).structures[0])
    shares = {}
    for strength in (0, 1):
        found = likened(data, path, tmp_path / "drawn.extxyz", by="shape", strength=strength)
        assert [len(one) for one in found] == [4] * 24  # as many atoms as the reference
        shares[strength] = np.array([one.properties["shape_overlap"] for one in found])
        for one in found[:3]:  # what is told is what the written molecule has, in the frame of the reference
            kinds = torch.tensor([[data.encoding.elements.index(int(number)) for number in one.numbers]])
            told = {
                "positions": torch.from_numpy(one.positions)[None],
                "elements": torch.nn.functional.one_hot(kinds, 5),
            }
            assert energy.similarity(told).item() == pytest.approx(one.properties["shape_overlap"], abs=1e-3)
    assert read_file(tmp_path / "drawn.extxyz").structures[0].properties["shape_overlap"] == shares[1][0]
    apart = shares[1] - shares[0]
    assert apart.mean() > 5 * apart.std() / 24**0.5
    assert [len(one) for one in likened(data, path, None, by="shape", atoms=7, gap=4)] == [7] * 24
    near = {}
    for strength in (0, 1):
        found = likened(data, path, None, by="pharmacophore", strength=strength, kinds="donor", atoms=6)
        near[strength] = np.array([one.properties["pharmacophore_distance"] for one in found])
        one = found[int(near[strength].argmin())]
        place = reference.positions[3] - reference.positions.mean(0)
        fitting = np.isin(one.numbers, (7, 8))
        assert np.linalg.norm(one.positions[fitting] - place, axis=1).min() == pytest.approx(
            near[strength].min(), abs=1e-3
        )
    assert np.median(near[1]) < 0.7 * np.median(near[0])
    for options, message in (
        ({"by": "shap"}, "did you mean 'shape'"),
        ({"by": "shape", "strength": -1}, "from 0 on"),
        ({"by": "shape", "atom": 3}, "did you mean 'atoms'"),
        ({"by": "pharmacophore", "kinds": "halogen"}, "no group of the kinds"),
        ({"by": "core", "atoms": 4}, "4 atoms already"),
        ({"by": "core", "gap": 400}, "far from all"),
    ):
        with pytest.raises(InputError, match=message):
            likened(data, path, None, **options)


def test_a_predictor_foretells_what_molecules_have(molecules):
    many = [placed(smiles, number) for number in range(1, 6) for smiles in SMILES]
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    one = many[0]
    order = np.random.default_rng(1).permutation(len(one))
    moved = type(one)(one.numbers[order], one.positions[order] @ turn + 3)
    assert np.allclose(spectra([one], 11), spectra([moved], 11), rtol=1e-9)
    weights = computed("rdkit:weight")(many)
    own = [Chem.Descriptors.MolWt(Chem.MolFromSmiles(molecule.name)) for molecule in many]
    assert np.allclose(weights, own)
    predict = fitted_predictor(many[:48], weights[:48])
    assert np.abs(predict(many[48:]) - weights[48:]).mean() < 0.5 * weights.std()
    broken = type(one)(one.numbers, one.positions, one.charges, np.where(one.bonds > 0, 3, 0))
    assert np.isnan(computed("rdkit:weight")([broken])).all()


def conformers_judged(data, deviation, **options):
    """The judgement of conformers of the graph that is told, by distance geometry, their atoms scattered."""
    rest = data.held_out

    def draw(count, seed=0, condition=None, **how):
        kept = condition["mask"][0]
        for row, molecule in enumerate(rest.structures):
            told = (torch.equal(rest.told[name][row], condition[name][0]) for name in ("elements", "bonds"))
            if not torch.equal(rest.mask[row], kept) or not all(told):
                continue
            positions = torch.zeros(count, len(kept), 3)
            for place, one in enumerate(etkdg(molecule, count, Seeds.range(seed, 1))):
                positions[place, : len(one)] = torch.from_numpy(one.positions - one.positions.mean(0)).float()
            noise = torch.randn(positions.shape, generator=torch.Generator().manual_seed(seed))
            return {"positions": (positions + deviation * noise) * kept[None, :, None]}
        raise AssertionError("the graph that is told is none of those kept apart")

    return judge_conformers(Judged(_Guess(None), data, None, None, {}, draw, 0, options))


def test_conformers_are_judged_beside_distance_geometry(tmp_path):
    molecules = [placed(smiles, number) for smiles in (*SMILES, "CCCCO", "CCCCN") for number in (1, 2)]
    path = write_file(molecules, tmp_path / "all.sdf")
    data = field.read({"path": str(path), "held_out": 0.3, "task": "conformers"})
    options = {"molecules": 3, "members": 4, "threshold": 0.3}
    good, bad = (conformers_judged(data, deviation, **options) for deviation in (0.0, 0.4))
    names = ["conformer-recall", "conformer-matching-recall", "conformer-precision", "conformer-matching-precision"]
    assert [result.metric for result in good.results] == [*names, "strain"]
    for result, worse in zip(good.results, bad.results, strict=True):
        away = 1 if result.better == "higher" else -1
        assert away * result.value > away * worse.value, result.metric
        assert result.interval[0] <= result.value <= result.interval[1] and set(result.baselines) == {
            "etkdg", "etkdg-relaxed",
        }  # fmt: skip
    found = {result.metric: result for result in good.results}
    # drawn as the rival is, by other numbers
    assert found["conformer-recall"].value == pytest.approx(found["conformer-recall"].baselines["etkdg"], abs=0.4)
    assert found["strain"].baselines["etkdg-relaxed"] < 0.1 < found["strain"].value
    assert found["strain"].floor["value"] > 1 and not found["conformer-recall"].floor
    assert [figure.name for figure in good.figures] == ["nearest", "conformers"]
    assert good.figures[0].svg.count(" angstrom") == 6  # of three molecules the model's and the rival's
    assert "Judged on 3 of 3 molecules" in good.remarks[-1] and "100 %" in good.remarks[-1]
    with pytest.raises(InputError, match="did you mean 'members'"):
        conformers_judged(data, 0.0, member=4)


def test_data_of_one_conformer_each_is_told(tmp_path):
    path = write_file([placed(smiles) for smiles in SMILES], tmp_path / "all.sdf")
    data = field.read({"path": str(path), "held_out": 0.3, "task": "conformers"})
    judged = conformers_judged(data, 0.0, molecules=2, members=2)
    assert "one conformer of each" in judged.remarks[-1]
