"""What a user asks of molecules in words of their own, as the conditions that a network is told."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.choices import choose
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.matter.elements import counts_of, symbol_of
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.encoding import COMPOSITION, MoleculeEncoding, Property
from unstir.domains.molecules.tasks.graphs import Stereo, graph_of, stereo_conditions

_SIZED = "the number of atoms is a whole number or a range, 12 or 10-14; seen {!r}"


def ask(encoding: Any, wanted: Mapping[str, Any], seeds: Seeds) -> dict[str, Tensor]:
    """The conditions that are meant, a row for each of the seeds.

    - ``atoms``: how many, ``12``, or ``10-14``, of which each sample draws one as often as the data has it. Hydrogens
      count where the run has them.
    - ``formula``: ``C6H6``. It says how many atoms there are too, and needs a run that was told compositions
      (``data.composition=true``).
    - ``smiles``: the molecule whose conformers are drawn, ``CCO``, for a run of that task.
    - any property that the run was trained to be told, by its name or key, in its own unit: ``gap=4.2``,
      ``rdkit:logp=1.5``.

    Raises InputError, with the nearest word, for what is not known; for what this run cannot be told, saying how to
    train one that can; and for a property that lies farther beyond the data's than all of the data is wide.
    """
    properties: Mapping[str, Property] = {
        name: known for known in encoding.properties for name in (known.name, known.key)
    }
    strings = hasattr(encoding, "alphabet")
    words = () if strings else ("atoms", "formula", "smiles")
    for name in wanted:
        if name not in properties and name not in words:
            raise _unknown(str(name), strings, (*words, *(known.name for known in encoding.properties)))
    told: dict[str, Tensor] = {}
    for name, asked in wanted.items():
        if name in properties:
            known = properties[name]
            if known.name in told:
                raise InputError(f"{known.name!r} is asked for twice, as {known.name} and as {known.key}")
            told[known.name] = asked_property(known, asked).float().expand(len(seeds), 1)
    if not strings:
        told |= _shape(encoding, wanted, seeds)
    return told


def asked_property(known: Property, asked: Any) -> Tensor:
    """A value in the property's own unit as the number that a network is told, float64 ()."""
    try:
        value = float(asked)
    except (TypeError, ValueError):
        raise InputError(f"{known.name} is asked for as one number, in the data's unit; seen {asked!r}") from None
    if isinstance(asked, bool) or not math.isfinite(value):
        raise InputError(f"{known.name} is asked for as one finite number, in the data's unit; seen {asked!r}")
    beyond = max(known.low - value, value - known.high)
    if beyond > known.high - known.low:
        raise InputError(
            f"{known.name}={value:g} is far from all that this run has seen, {known.low:g} to {known.high:g}: is it in "
            "the data's unit?"
        )
    return torch.tensor(known.standard(value), dtype=torch.float64)


def sized(encoding: MoleculeEncoding, asked: Any, seeds: Seeds) -> Tensor:
    """The mask of molecules of so many atoms, or of numbers in a range, drawn as often as the data has them."""
    least, most = _range(asked)
    if most > encoding.largest:
        raise InputError(
            f"this run's molecules have at most {encoding.largest} atoms; seen {asked!r}. Ask for fewer, or train on "
            "larger ones"
        )
    numbers = [number for number in range(least, most + 1) if least == most or encoding.sizes.get(number)]
    if not numbers:
        known = ", ".join(str(size) for size, count in sorted(encoding.sizes.items()) if count)
        raise InputError(f"no molecule of the data has {asked} atoms; they have {known}")
    weights = torch.tensor([float(encoding.sizes.get(number, 0) or 1) for number in numbers], dtype=torch.float64)
    drawn = choose(weights.log().expand(len(seeds), -1), seeds.at("atoms"))
    return torch.arange(encoding.largest) < torch.tensor(numbers)[drawn][:, None]


def told_graph(encoding: MoleculeEncoding, molecule: Molecule, stereo: Stereo, rows: int) -> dict[str, Tensor]:
    """A molecule's graph as conditions, the same for so many rows, with its mask; for a run that draws conformers."""
    if "bonds" not in encoding.given:
        raise InputError(
            "this run makes molecules up, and draws no conformers of one that is told; train one with "
            "`data.task=conformers`"
        )
    kinds, mask = encoding.kinds([molecule], encoding.largest)
    told, _ = encoding.conditions_of(kinds, mask)
    told |= stereo_conditions([stereo], encoding.largest)[0]
    return {name: values.expand(rows, *values.shape[1:]) for name, values in {"mask": mask, **told}.items()}


def _shape(encoding: MoleculeEncoding, wanted: Mapping[str, Any], seeds: Seeds) -> dict[str, Tensor]:
    """What ``atoms``, ``formula`` and ``smiles`` say of the set of atoms."""
    if "smiles" in wanted:
        if twice := sorted({"atoms", "formula"} & set(wanted)):
            raise InputError(f"a SMILES says all of its atoms: leave {twice[0]!r} out")
        graph, stereo = graph_of(str(wanted["smiles"]), encoding.hydrogens != "drop")
        return told_graph(encoding, graph, stereo, len(seeds))
    if "bonds" in encoding.given and wanted:
        raise InputError("this run draws conformers: say of which molecule, smiles=CCO")
    if "formula" not in wanted:
        return {"mask": sized(encoding, wanted["atoms"], seeds)} if "atoms" in wanted else {}
    counts = _counts(encoding, wanted["formula"])
    total = int(counts.sum())
    if "atoms" in wanted and _range(wanted["atoms"]) != (total, total):
        raise InputError(f"{wanted['formula']} has {total} atoms here, not {wanted['atoms']}; leave the atoms out")
    told = encoding.counted(counts[None]).expand(len(seeds), -1)
    return {"mask": sized(encoding, total, seeds), COMPOSITION: told}


def _counts(encoding: MoleculeEncoding, formula: Any) -> Tensor:
    """How many atoms of each of the encoding's elements a formula has, int64 (elements,)."""
    asked = counts_of(str(formula))
    if encoding.hydrogens == "drop":
        asked = {number: count for number, count in asked.items() if number != 1}
    for number in asked:
        if number not in encoding.elements:
            raise unknown("element for this run", symbol_of(number), [symbol_of(known) for known in encoding.elements])
    if not encoding.composition:
        raise InputError(
            "this run was not trained to be told a formula: train with `data.composition=true`; atoms=12 says the "
            "number of atoms alone"
        )
    return torch.tensor([asked.get(number, 0) for number in encoding.elements])


def _range(asked: Any) -> tuple[int, int]:
    ends = str(asked).split("-") if isinstance(asked, str) else [asked]
    try:
        numbers = [int(str(end).strip()) for end in ends]
    except ValueError:
        raise InputError(_SIZED.format(asked)) from None
    if len(numbers) > 2 or isinstance(asked, bool) or not 2 <= numbers[0] <= numbers[-1]:
        raise InputError(f"{_SIZED.format(asked)}, from 2 on")
    return numbers[0], numbers[-1]


def _unknown(name: str, strings: bool, allowed: tuple[str, ...]) -> InputError:
    hint = "" if strings else " A property is told to the model where it is trained with `data.properties=[...]`."
    return InputError(f"{unknown('word for molecules', name, allowed)}{hint}")
