"""What a trained run answers to molecules of the user's own: conformers of their graphs, or growth about them."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unstir.core.choices import choose
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.base import Asked
from unstir.domains.matter.structures import Molecule, Unread
from unstir.domains.molecules.asking import ask, told_graph
from unstir.domains.molecules.encoding import MoleculeEncoding
from unstir.domains.molecules.files.reading import read_file
from unstir.domains.molecules.files.tables import Row, smiles_rows, table_rows
from unstir.domains.molecules.files.writing import SUFFIXES, write_file
from unstir.domains.molecules.perceiving import with_bonds, without_hydrogens
from unstir.domains.molecules.tasks.graphs import Stereo, as_asked, graph_of, stereo_of
from unstir.domains.molecules.tasks.growing import GivenAtoms, GrowingSampler
from unstir.domains.molecules.tasks.likening import LIKENESSES, alike
from unstir.domains.rows import checked_options

_SMILES_LISTS = (".smi", ".smiles", ".ism")
_TABLES = (".csv", ".tsv", ".parquet", ".pq")
_ROUNDS = 3  # of draws, until there are as many conformers of the asked handedness as are wanted
_APART = 1_000_003  # between seeds
_JUMPS = 5
_WAYS = ("core", *LIKENESSES)
_CONFORMERS: dict[str, Any] = {"column": None}


def predict_molecules(asked: Asked) -> list[Molecule]:
    """Conformers of the molecules of a file, for a run of the task conformers; else growth about its first molecule.

    Each of the ``members`` is a molecule of the file ``asked.out`` (.sdf, .extxyz, ...), named after the one that it is
    of. Options of a run that makes molecules:

    - ``by``: what of the file's molecule is kept: ``core``, its atoms, about which others grow; ``shape``, or
      ``pharmacophore``, with options of ``likening.alike``.
    - ``jumps``: how often each step of growth is taken (``growing.GrowingSampler``).
    - the words of ``asking``: ``atoms``, of the whole molecule, 18 or 15-20, by default any size that the data has
      beyond the core's; ``formula``; properties.

    Of conformers: ``column``, of a table with SMILES.

    Raises InputError for what the run cannot be asked.
    """
    encoding = asked.encoding
    if hasattr(encoding, "alphabet"):
        raise InputError("a run of strings draws new ones, `unstir sample`; it knows no positions")
    if asked.out is not None and asked.out.suffix.lower() not in SUFFIXES:
        raise InputError(f"molecules are written as {', '.join(SUFFIXES)}; seen {asked.out.name}")
    by = str(asked.options.get("by", _WAYS[0]))
    if "bonds" in encoding.given:
        found = _conformers(asked, encoding)
    elif by not in _WAYS:
        raise unknown("part of a molecule to keep", by, _WAYS)
    else:
        found = _grown(asked, encoding) if by == _WAYS[0] else alike(asked, encoding, _reference(asked), by)
    if asked.out is not None:
        write_file(found, asked.out, overwrite=True)
    return found


def graphs(path: Path, column: str | None = None, hydrogens: bool = True) -> list[tuple[Molecule, Stereo]]:
    """The molecules of a file with bonds, and their handedness: of a SMILES its own, else that of the positions."""
    suffix = path.suffix.lower()
    rows: Sequence[Row | Unread] | None = None
    if suffix in _SMILES_LISTS:
        rows = smiles_rows(path)
    elif suffix in _TABLES:
        found, kind = table_rows(path, column)
        rows = found if kind == "smiles" else None
    if rows is not None:
        return [_of_row(row, hydrogens) for row in rows]
    collection = read_file(path)
    if collection.unread:
        raise InputError(f"{collection.unread[0].source}: {collection.unread[0].reason}")
    return [(one, stereo_of(one)) for one in (_complete(molecule, hydrogens) for molecule in collection.structures)]


def _of_row(row: Row | Unread, hydrogens: bool) -> tuple[Molecule, Stereo]:
    if isinstance(row, Unread):
        raise InputError(f"{row.source}: {row.reason}")
    graph, stereo = graph_of(row.text, hydrogens, row.source)
    return replace(graph, name=row.name or row.text), stereo


def _conformers(asked: Asked, encoding: MoleculeEncoding) -> list[Molecule]:
    options = checked_options(asked.options, _CONFORMERS, "option of conformers")
    found: list[Molecule] = []
    for number, (graph, stereo) in enumerate(graphs(asked.path, options["column"], encoding.hydrogens != "drop")):
        kept: list[Molecule] = []
        for turn in range(_ROUNDS):
            condition = told_graph(encoding, graph, stereo, asked.members)
            # each molecule of the file, and each round, has draws of its own
            state = asked.draw(asked.members, seed=asked.seed + _APART * (number * _ROUNDS + turn), condition=condition)
            drawn = [replace(one, name=graph.name) for one in encoding.decode(state, condition)]
            kept += [one for one in (as_asked(molecule, stereo) for molecule in drawn) if one is not None]
            if len(kept) >= asked.members:
                break
        if not kept:
            raise InputError(
                f"{graph.source or graph.name}: none of {_ROUNDS * asked.members} conformers has its handedness and "
                "sides of double bonds; train longer, or on molecules that are more like it"
            )
        if len(kept) < asked.members:
            warnings.warn(
                f"{graph.source or graph.name}: {len(kept)} conformers instead of {asked.members}: the others drawn in "
                f"{_ROUNDS} rounds have another handedness or other sides of double bonds",
                stacklevel=2,
            )
        found += kept[: asked.members]
    return found


def _reference(asked: Asked) -> Molecule:
    collection = read_file(asked.path)
    if collection.unread:
        raise InputError(f"{collection.unread[0].source}: {collection.unread[0].reason}")
    return collection.structures[0]


def _grown(asked: Asked, encoding: MoleculeEncoding) -> list[Molecule]:
    jumps = asked.options.get("jumps", _JUMPS)
    if isinstance(jumps, bool) or not isinstance(jumps, int):
        raise InputError(f"jumps is a whole number from 1 on; seen {jumps!r}")
    core = _bare(_reference(asked), encoding)
    given = GivenAtoms.of(encoding, core)
    seeds = Seeds.range(asked.seed, asked.members)
    told = ask(encoding, {name: value for name, value in asked.options.items() if name not in ("by", "jumps")}, seeds)
    mask = told.setdefault("mask", _larger(encoding, core, seeds))
    if (least := int(mask.sum(1).min())) <= len(core):
        raise InputError(f"the core has {len(core)} atoms already; seen {least} for the whole, ask for more")
    state = asked.draw(asked.members, seed=asked.seed, condition=told, sampler=GrowingSampler(given, jumps))
    return [
        replace(one, name=f"{core.name or asked.path.stem}, grown {row}")
        for row, one in enumerate(encoding.decode(state, told))
    ]


def _larger(encoding: MoleculeEncoding, core: Molecule, seeds: Seeds) -> torch.Tensor:
    """Sizes beyond the core's, each as often as the data has it."""
    sizes = [size for size, count in sorted(encoding.sizes.items()) if count and size > len(core)]
    if not sizes:
        raise InputError(f"no molecule of the data has more than the core's {len(core)} atoms; leave some of them out")
    logs = torch.tensor([float(encoding.sizes[size]) for size in sizes], dtype=torch.float64).log()
    drawn = torch.tensor(sizes)[choose(logs.expand(len(seeds), -1), seeds.at("atoms"))]
    return torch.arange(encoding.largest) < drawn[:, None]


def _bare(core: Molecule, encoding: MoleculeEncoding) -> Molecule:
    """A core with what the run knows of atoms: bonds if it has them, hydrogens if it has them."""
    if encoding.orders and core.bonds is None:
        core = with_bonds(core)
    return without_hydrogens(core) if encoding.hydrogens == "drop" and (core.numbers == 1).any() else core


def _complete(molecule: Molecule, hydrogens: bool) -> Molecule:
    if molecule.bonds is None:
        molecule = with_bonds(molecule)
    return molecule if hydrogens or not (molecule.numbers == 1).any() else without_hydrogens(molecule)
