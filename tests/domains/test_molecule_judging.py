"""How molecules are judged: real ones come out well, scattered ones badly, and files are written of the best."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rdkit import Chem

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import take
from unstir.domains.base import Judged, Judgement
from unstir.domains.molecules.candidates import write_candidates
from unstir.domains.molecules.data import read_molecules
from unstir.domains.molecules.drawing import draw_molecules
from unstir.domains.molecules.judging import judge_molecules, routes_of
from unstir.domains.molecules.measures import rivals
from unstir.exact.gaussian import GaussianDenoiser
from unstir.processes.gaussian import GaussianProcess

UNASKED = GaussianDenoiser(torch.zeros(1), torch.eye(1, dtype=torch.float64), GaussianProcess())  # judging draws alone


def judged(data: Any, state: Any, mask: Any, folder: Path | None = None, **options: Any) -> Judged:
    def draw(count: int, seed: int = 0, condition: Any = None, callback: Any = None, **how: Any) -> Any:
        found = take(state, slice(count))
        for time in (1.0, 0.5, 0.0):
            noisy = {**found, "positions": found["positions"] + time}
            if callback is not None:
                look = type("Look", (), {"x": noisy})()
                callback(look, torch.tensor(time), torch.tensor(max(time - 0.5, 0.0)))
        return found

    told = {"limit": 40, "reference_limit": 60, "rivals": 8, "replicates": 20, "strained": 10, **options}
    return Judged(UNASKED, data, None, state, {"mask": mask}, draw, 0, told, folder)


@pytest.fixture(scope="module")
def data() -> Any:
    return read_molecules({"limit": 100, "largest": 18, "held_out": 0.3})


@pytest.fixture(scope="module")
def good(data: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Judgement, Path]:
    folder = tmp_path_factory.mktemp("run") / "candidates"
    rest = data.held_out
    return judge_molecules(judged(data, rest.state, rest.mask, folder)), folder


def values(found: Judgement) -> dict[str, Any]:
    return {result.metric: result for result in found.results}


def test_molecules_kept_apart_are_judged_as_their_own_row(good: tuple[Judgement, Path]) -> None:
    found = values(good[0])
    for name in ("valid-connected", "valid-unique-novel", "sound", "strain", "molecule-stability-lengths", "angles"):
        assert found[name].value == pytest.approx(found[name].baselines["held-out"]), name
    assert found["valid-connected"].value == found["molecule-stability-bonds"].value == 1.0
    assert found["atom-stability-bonds"].value == 1.0
    assert found["unique"].value > 0.9 and found["novel"].value > 0.8
    for rival in ("scattered", "exchanged", "copies", "jittered"):
        assert found["valid-unique-novel"].baselines[rival] < 0.3
    assert found["bond-lengths"].value < 0.2 * found["bond-lengths"].baselines["jittered"]
    assert found["strain"].baselines["jittered"] > 3 * found["strain"].value
    assert found["sound"].details["of the valid"]["lengths"] == 1.0


def test_scattered_atoms_come_out_badly(data: Any) -> None:
    seeds = Seeds.range(1, 30)
    gas = rivals.scattered(data.structures, seeds)
    state, mask = data.encoding.encode(gas, data.mask.shape[1])
    found = judge_molecules(judged(data, state, mask))
    told = values(found)
    assert told["valid-connected"].value < 0.1
    assert told["molecule-stability-lengths"].value < 0.1
    assert told["bond-lengths"].value > 0.03
    assert told["torsions"].value > 3 * told["torsions"].baselines["held-out"]
    assert any("0 of 30 samples" in remark for remark in found.remarks) or told["valid-unique-novel"].value > 0


def test_every_figure_is_there_and_whole(good: tuple[Judgement, Path]) -> None:
    names = [figure.name for figure in good[0].figures]
    assert names == ["formulas", "samples", "geometry", "properties", "content", "film", "candidates"]
    for figure in good[0].figures:
        assert figure.svg and "</svg>" in figure.svg
        assert "nan" not in figure.svg.split("<path", 1)[0]
    assert any("What is possible" in remark for remark in good[0].remarks)


def test_the_best_lie_in_the_folder_and_can_be_read(good: tuple[Judgement, Path], data: Any) -> None:
    folder = good[1]
    rows = list(csv.DictReader((folder / "candidates.csv").read_text().splitlines()))
    assert 1 <= len(rows) <= 12
    known = {Chem.MolToSmiles(Chem.MolFromSmiles(row["smiles"])) for row in rows}
    assert len(known) == len(rows)
    strains = [
        float(row["strain (kcal/mol)"]) / Chem.AddHs(Chem.MolFromSmiles(row["smiles"])).GetNumAtoms() for row in rows
    ]
    assert strains == sorted(strains)
    for row in rows:
        mol = next(iter(Chem.SDMolSupplier(str(folder / row["file"]), removeHs=False)))
        flat = Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False)
        assert flat == row["smiles"]
        assert "<script" in (folder / row["file"].replace(".sdf", ".html")).read_text()
    # a later evaluation takes away what it did not write
    write_candidates([], folder)
    assert [path.name for path in folder.iterdir()] == ["candidates.csv"]


def test_bonds_are_told_by_the_routes_that_the_data_allow() -> None:
    whole = read_molecules({"limit": 30, "held_out": 0})
    assert routes_of(whole.encoding) == ("bonds", "perceived", "lengths")
    bare = read_molecules({"limit": 30, "held_out": 0, "bonds": False, "charges": False})
    assert routes_of(bare.encoding) == ("perceived", "lengths")
    heavy = read_molecules({"limit": 30, "held_out": 0, "hydrogens": "drop"})
    assert routes_of(heavy.encoding) == ("bonds", "lengths")


@pytest.mark.parametrize("options", [{"bonds": False, "charges": False}, {"hydrogens": "drop"}])
def test_molecules_without_bonds_or_hydrogens_are_judged_too(options: dict[str, Any]) -> None:
    data = read_molecules({"limit": 40, "largest": 14, "held_out": 0.3, **options})
    found = values(judge_molecules(judged(data, data.held_out.state, data.held_out.mask, rivals=4)))
    assert found["valid-connected"].value == 1.0
    assert found["valid-connected"].note.startswith("Share that is valid")
    assert ("molecule-stability-bonds" in found) == ("hydrogens" in options)
    assert found["sound"].value > 0.9


def test_without_any_kept_apart_copies_stand_for_real_ones() -> None:
    data = read_molecules({"limit": 30, "largest": 14, "held_out": 0})
    found = judge_molecules(judged(data, data.state, data.mask, rivals=4))
    assert values(found)["novel"].value == 0.0
    assert values(found)["novel"].floor["value"] == 0.0
    assert any("kept apart" in remark for remark in found.remarks)


def test_wrong_options_say_what_is_allowed(data: Any) -> None:
    rest = data.held_out
    for options, told in (
        ({"limits": 3}, "limit"),
        ({"rivals": 1}, "from 2"),
        ({"candidates": -1}, "from 0"),
        ({"replicates": True}, "whole number"),
        ({"strain": "xtb"}, "mmff94"),
        ({"steer": "gap"}, "property"),
    ):
        with pytest.raises(InputError, match=told):
            judge_molecules(judged(data, rest.state, rest.mask, **options))
    with pytest.raises(InputError, match="from 2 on"):
        judge_molecules(judged(data, take(rest.state, slice(1)), rest.mask[:1]))


def test_pictures_show_every_sample(data: Any) -> None:
    state, mask = take(data.state, slice(5)), data.mask[:5]
    picture = draw_molecules(data.encoding, state, columns=3, scale=40, padding=2, condition={"mask": mask})
    assert picture.shape == (2 * 44, 3 * 44, 3) and picture.dtype == np.uint8
    for place in range(6):
        tile = picture[place // 3 * 44 : place // 3 * 44 + 44, place % 3 * 44 : place % 3 * 44 + 44]
        assert (tile < 200).any() == (place < 5)
    with pytest.raises(InputError, match="least"):
        draw_molecules(data.encoding, state, scale=4, condition={"mask": mask})
