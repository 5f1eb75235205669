import csv
import math

import numpy as np
import pytest
import torch

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.domains.base import Judged
from unstir.domains.molecules import molecules
from unstir.domains.molecules.asking import ask
from unstir.domains.molecules.strings.alphabets import smiles_of_tokens, tokens_of
from unstir.domains.molecules.strings.judging import judge_strings
from unstir.domains.molecules.strings.measures import described, scaffolds, shares
from unstir.exact.atoms import AtomsDenoiser
from unstir.run.parts import make_process
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import sample

Chem = pytest.importorskip("rdkit.Chem")
pytest.importorskip("selfies")

SMILES = (
    "CCO", "c1ccncc1", "C[N+](=O)[O-]", "CC#N", "OCC=O", "CCF", "CCC", "CC(=O)[O-]", "CO", "NCC", "C=C", "CNC",
    "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "F/C=C/F", "F/C=C\\F", "C1CC1", "Clc1ccccc1Br", "CCCC", "CCCCO",
)  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("strings") / "mine.csv"
    rows = "".join(f"{smiles},mol {row},{row / 4}\n" for row, smiles in enumerate(SMILES))
    path.write_text("smiles,name,gap\n" + rows)
    return path


def read(path, **options):
    return molecules.read({"form": "string", "path": str(path), "held_out": 0.0, **options})


@pytest.mark.parametrize("alphabet", ["selfies", "smiles"])
def test_a_string_is_its_molecule_handedness_and_all(table, alphabet):
    data = read(table, alphabet=alphabet)
    wanted = [Chem.MolToSmiles(Chem.MolFromSmiles(smiles)) for smiles in SMILES]
    assert list(data.smiles) == wanted and len(set(wanted)) == len(SMILES)
    assert data.encoding.decode(data.state) == wanted
    assert torch.equal(data.encoding.encode(wanted), data.state)
    assert data.state.min() == 0 and int(data.state.max()) == len(data.encoding.tokens) == data.encoding.classes - 1
    again = molecules.restore(data.encoding.record())
    assert again == data.encoding
    process = make_process(molecules.process(data))
    assert process.absorbing and process.classes == data.encoding.classes
    assert molecules.network(data)["tokens"] == "sequence"


def test_tokens_are_atoms_and_bonds_and_not_letters():
    assert tokens_of("Clc1cc[nH]c1C%12CC%12Br", "smiles") == (
        ["Cl", "c", "1", "c", "c", "[nH]", "c", "1", "C", "%12", "C", "C", "%12", "Br"]
    )
    assert tokens_of("CC=O", "selfies") == ["[C]", "[C]", "[=O]"]


def test_every_string_of_selfies_is_a_molecule_and_few_of_smiles_are(table):
    valid = {}
    for alphabet in ("selfies", "smiles"):
        data = read(table, alphabet=alphabet)
        drawn = 1 + Seeds.range(3, 300).integers(0, data.encoding.classes - 1, (data.encoding.length,))
        valid[alphabet] = sum(bool(one) for one in data.encoding.decode(drawn))
    assert valid["selfies"] == 300 and valid["smiles"] < 30


def test_what_is_no_molecule_is_empty(table):
    assert smiles_of_tokens(["C", "("], "smiles") == "" == smiles_of_tokens([], "smiles")
    assert smiles_of_tokens(["C", "=", "F"], "smiles") == "" == smiles_of_tokens([], "selfies")
    data = read(table)
    masked = torch.full((1, data.encoding.length), data.encoding.classes)
    assert data.encoding.decode(masked) == [""] and data.encoding.shown(masked, "·")[0] == ["·"] * data.encoding.length
    picture = molecules.draw(data.encoding, torch.cat((masked, data.state[:3])))
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    half = picture.shape[1] // 2
    assert picture[:150, :half].min() == 255 > picture[:150, half:].min()  # an empty panel beside a structure


def test_long_and_repeated_molecules_are_left_out_and_told(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("CCO\nOCC\nCCCCCCCC\nCC\n")
    data = read(path, length=4)
    assert list(data.smiles) == ["CCO", "CC"] and data.shape == (4,)
    assert data.remarks == (
        "1 molecules of more than 4 tokens are left out.",
        "1 molecules are written as another one is, and left out.",
    )


def test_wrong_options_are_refused(table, tmp_path):
    with pytest.raises(InputError, match="did you mean 'selfies'"):
        read(table, alphabet="selfie")
    with pytest.raises(InputError, match="whole number of tokens"):
        read(table, length=1)
    with pytest.raises(InputError, match="leave task and composition out"):
        read(table, composition=True)
    path = tmp_path / "odd.smi"
    path.write_text("CC\nCCC\nCCO\n")
    with pytest.raises(InputError, match="at least two"):
        read(path, length=2)
    path.write_text("CC\nCCC\nClI(Cl)c1ccccc1\n")
    with pytest.raises(InputError, match=r"1 of 3 molecules .* line 3.*unreadable=drop"):
        read(path)
    data = read(path, unreadable="drop")
    assert len(data) == 2 and "line 3" in data.remarks[0]
    with pytest.raises(InputError, match="not among those known"):
        data.encoding.encode(["CBr"])
    with pytest.raises(InputError, match="3 have place"):
        data.encoding.encode(["CCCC"])


def test_properties_are_asked_for_in_their_own_unit(table):
    data = read(table, properties=["gap", "rdkit:weight"])
    assert data.conditions == {"gap": {"size": 1}, "weight": {"size": 1}}
    told = ask(data.encoding, {"rdkit:weight": 46.0, "gap": 1}, Seeds.range(0, 3))
    known = data.encoding.property_of("weight")
    assert told["weight"].shape == (3, 1)
    assert known.own(told["weight"].double())[0].item() == pytest.approx(46.0, rel=1e-6)
    with pytest.raises(InputError, match="did you mean 'weight'"):
        ask(data.encoding, {"wieght": 46}, Seeds.range(0, 1))


def test_written_tables_say_what_each_sample_is(table, tmp_path):
    data = read(table)
    state = torch.cat((data.state[:2], torch.zeros_like(data.state[:1])))
    files = molecules.save(data.encoding, state, tmp_path / "out", {}, first=7)
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [row["sample"] for row in rows] == ["7", "8", "9"]
    assert [row["smiles"] for row in rows] == ["CCO", "c1ccncc1", ""] and rows[0]["selfies"] == "[C][C][O]"
    assert float(rows[0]["weight"]) == pytest.approx(46.07, abs=0.01) and rows[2]["weight"] == ""
    assert files[1].read_text() == "CCO sample-7\nc1ccncc1 sample-8\n"
    with pytest.raises(InputError, match="other samples here"):
        molecules.save(data.encoding, state.flip(0), tmp_path / "out", {}, first=7)


def test_shares_are_of_all_of_the_valid_and_of_the_different():
    valid, unique, novel = shares(["CCO", "CCO", "", "CC"], ["CC"])
    assert valid.tolist() == [True, True, False, True]
    assert unique.tolist() == [True, False, True]
    assert novel.tolist() == [True, False]
    assert scaffolds(["CCO", "Cc1ccccc1", "CCc1ccccc1", ""]) == {"", "c1ccccc1"}
    assert described(["CCO", "", "c1ccccc1"], ["rings"])["rings"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("alphabet", ["selfies", "smiles"])
def test_an_exact_model_of_the_data_is_judged_as_a_copy(table, alphabet):
    own = {"form": "string", "path": str(table), "held_out": 0.2, "properties": ["rdkit:weight"], "alphabet": alphabet}
    data = molecules.read(own)
    denoiser: Denoiser = AtomsDenoiser(make_process(molecules.process(data)), data.state)

    def draw(count, seed=0, condition=None, callback=None, **how):
        return sample(denoiser, AncestralSampler(), data.shape, count, steps=40, seed=seed, batch=count)

    judged = Judged(denoiser, data, data.held_out, draw(40), {"weight": data.told["weight"].repeat(3, 1)[:40]}, draw, 0,
                    {"steer": "weight", "replicates": 20})  # fmt: skip
    judgement = judge_strings(judged)
    found = {result.metric: result for result in judgement.results}
    assert found["valid"].value == 1.0 and found["novel"].value == 0.0 and found["novel"].baselines["copies"] == 0.0
    assert found["valid"].baselines["places"] > 0 and found["novel"].floor["value"] == 1.0
    assert found["weight-distance"].value < 0.6 * found["weight-distance"].floor["interval"][1] + 8
    # validity comes first where it tells anything; in SELFIES it is everyone's
    assert judgement.results[1].metric == {"selfies": "weight-distance", "smiles": "valid"}[alphabet]
    # a model that does not listen errs as if it had not been asked
    asked = found["asked-weight"]
    assert asked.value > 3 * 1.0 and math.isclose(
        asked.details["ratio"], asked.value / asked.baselines["unconditional"]
    )
    assert {figure.name for figure in judgement.figures} == {"structures", "properties", "strings", "asked-weight"}
    for figure in judgement.figures:
        assert figure.text or "<svg" in figure.svg[:400]
