"""Claims of crystals as data: cells know no rotation, and nothing is lost in states or in files; field `crystals`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from unstir.core.catalogue import build
from unstir.core.errors import NotInstalledError
from unstir.denoisers.learned.joint import JointDenoiser
from unstir.domains.crystals import embedded
from unstir.domains.crystals.convert import from_ase, from_pymatgen, made, to_ase, to_pymatgen
from unstir.domains.crystals.data import crystal_data
from unstir.domains.crystals.files.reading import KINDS, read_files
from unstir.domains.crystals.files.soundness import fault
from unstir.domains.crystals.lattices import LARGEST, OBLIQUE, SMALLEST, cells_of, log_cells, lower
from unstir.domains.crystals.writing import write_structures
from unstir.domains.matter.structures import Crystal
from unstir.run.parts import make_process
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most

__all__ = ["crystal_cells", "crystal_embedded", "crystal_files", "crystal_network", "crystal_states"]

_FLOAT32 = 2.0**-24
_DIGITS = {"cif": 3e-7, "csv": 3e-7, "parquet": 3e-7, "poscar": 1e-8, "extxyz": 2e-7, "ase-db": 1e-9}
"""What rounding may move an atom by, in angstrom: a format's last digit times the largest cell, and the digits of its
angles."""


@claim("domains", "crystals")
def crystal_cells(domain: Any, effort: Effort) -> Iterator[Measured]:
    """Six numbers give a cell back but for a rotation, which changes none of them; and any numbers give a sane cell."""
    count = effort.of(500, 20_000)
    cells, sizes = _cells(effort, count), np.arange(count) % 20 + 1
    turns = np.linalg.qr(effort.seeds(count, "turns").normal((3, 3), torch.float64).numpy())[0]
    turns = turns * np.sign(np.linalg.det(turns))[:, None, None]
    numbers, turned = log_cells(cells, sizes), log_cells(cells @ turns.swapaxes(1, 2), sizes)
    yield at_most("largest change of a number by a rotation", np.abs(turned - numbers), 1e-10)
    yield at_most("largest difference of the cells in angstrom", np.abs(cells_of(numbers, sizes) - lower(cells)), 1e-9)
    volumes = np.log(np.linalg.det(cells) / sizes)
    yield at_most("log volume per atom less the sum of the diagonal", np.abs(numbers[:, :3].sum(1) - volumes), 1e-10)
    for scale in (1.0, 100.0, 1e9):
        wild = scale * effort.seeds(count, "wild", str(scale)).normal((6,), torch.float64).numpy()
        stretches = np.linalg.svd(found := cells_of(wild, sizes), compute_uv=False)
        roots = np.cbrt(stretches.prod(1))
        wrong = ~(np.isfinite(found).all((1, 2)) & (np.linalg.det(found) > 0))
        wrong |= (roots < SMALLEST * (1 - 1e-9)) | (roots > LARGEST * (1 + 1e-9))
        wrong |= (np.abs(np.log(stretches / roots[:, None])) > np.log(OBLIQUE) + 1e-9).any(1)
        yield at_most(f"cells of random numbers of deviation {scale:g} that are not sane", int(wrong.sum()), 0.0)


@claim("domains", "crystals")
def crystal_states(domain: Any, effort: Effort) -> Iterator[Measured]:
    """A state is decoded to the crystals that it was made of, within float32's rounding; restored encodings too."""
    crystals = _crystals(effort, effort.of(60, 600))
    for task in ("generate", "predict"):
        data: Any = crystal_data(crystals, task=task, properties=["gap"], conditions=["composition"], held_out=0.0)
        state, condition = data.batch(rows := np.arange(len(data))[::-2].copy())
        wanted = [crystals[row] for row in rows]
        missing = len(set(data.conditions) ^ set(condition))
        yield at_most(f"conditions announced and not given, or the reverse, {task}", missing, 0.0)
        deviation = max(data.encoding.spreads) * float(state["lattice"].abs().max())
        bound = 40 * _FLOAT32 * max(1.0, deviation)  # of lengths up to twenty angstrom
        for name, encoding in {"its own": data.encoding, "restored": domain.restore(data.encoding.record())}.items():
            found = encoding.decode(state, condition)
            yield at_most(f"elements that differ, {task}, {name} encoding", _other_elements(wanted, found), 0.0)
            away = [_apart(one, other) for one, other in zip(wanted, found, strict=True)]
            yield at_most(f"largest shift of an atom in angstrom, {task}, {name} encoding", away, bound)
        gap = data.encoding.properties[0].decode(condition["gap"])
        own = np.array([crystal.properties["gap"] for crystal in wanted])
        yield at_most(f"properties told in another unit, {task}", np.abs(gap - own), 1e-5)


@claim("domains", "crystals")
def crystal_files(domain: Any, effort: Effort) -> Iterator[Measured]:
    """What is written in each of the field's formats is read back, elements, cell, places; and from others' objects."""
    crystals = _crystals(effort, effort.of(6, 60))
    try:
        for kind in KINDS:
            with TemporaryDirectory() as folder:
                write_structures(crystals, Path(folder), kind)
                found = read_files(Path(folder))
            yield at_most(f"crystals that cannot be read, {kind}", len(crystals) - len(found.structures), 0.0)
            pairs = list(zip(crystals, found.structures, strict=True))
            if kind == "poscar":  # which keeps sites of one element together
                pairs = [(_sorted(one), other) for one, other in pairs]
            yield at_most(f"elements that differ, {kind}", _other_elements(*zip(*pairs, strict=True)), 0.0)
            yield at_most(
                f"largest shift of an atom in angstrom, {kind}", [_apart(*pair) for pair in pairs], _DIGITS[kind]
            )
        for name, found in {
            "pymatgen's Structure": [from_pymatgen(to_pymatgen(crystal)) for crystal in crystals],
            "ASE's Atoms": [from_ase(to_ase(crystal)) for crystal in crystals],
        }.items():
            yield at_most(f"elements that differ, {name}", _other_elements(crystals, found), 0.0)
            away = [_apart(one, other) for one, other in zip(crystals, found, strict=True)]
            yield at_most(f"largest shift of an atom in angstrom, {name}", away, 1e-9)
            lost = sum(one.properties != other.properties for one, other in zip(crystals, found, strict=True))
            yield at_most(f"properties that differ, {name}", lost, 0.0)
    except NotInstalledError as error:
        raise NotMeasured(str(error)) from None


@claim("domains", "crystals")
def crystal_network(domain: Any, effort: Effort) -> Iterator[Measured]:
    """The process and the network that it proposes fit its data: even an untrained belief draws crystals."""
    for task in ("generate", "predict"):
        data: Any = crystal_data(_crystals(effort, 12), task=task, held_out=0.0)
        process: Any = make_process(domain.process(data))
        state, condition = data.batch(np.arange(3))
        denoiser = JointDenoiser(
            None, process, **JointDenoiser.options_for(process, {"layout": "parts"}, state, condition)
        )
        size, outputs = denoiser.network_size(data.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            denoiser.network = build(
                "networks",
                domain.network(data),
                shape=size,
                conditions=denoiser.shown(data.conditions),
                outputs=outputs,
            )
        seeds, halfway = effort.seeds(3, "network"), torch.tensor(0.5)
        with torch.no_grad():
            noised = process.noise(state, halfway, seeds, condition["mask"])
            drawn = denoiser(noised, halfway, **condition).sample(seeds)
        wrong = sum(drawn[name].shape != state[name].shape for name in state)
        yield at_most(f"parts of another shape, {task}", wrong, 0.0)
        found = data.encoding.decode(drawn, condition)
        yield at_most(f"draws of an untrained belief that are no crystals, {task}", 3 - len(found), 0.0)


@claim("domains", "crystals", slow=True)
def crystal_embedded(domain: Any, effort: Effort) -> Iterator[Measured]:
    """The embedded set is as large as asked, sound throughout, and the same whenever it is made."""
    try:
        found = embedded.prototypes(3000, effort.seed)
        again = embedded.prototypes.__wrapped__(3000, effort.seed)
    except NotInstalledError as error:
        raise NotMeasured(str(error)) from None
    yield at_most("crystals too few", 3000 - len(found.structures), 0.0)
    yield at_most("crystals with a fault", sum(fault(crystal) is not None for crystal in found.structures), 0.0)
    yield at_most("most sites of a cell", max(map(len, found.structures)), embedded.LARGEST)
    differ = sum(
        not (np.array_equal(one.numbers, other.numbers) and np.array_equal(one.cell, other.cell))
        for one, other in zip(found.structures, again.structures, strict=True)
    )
    yield at_most("crystals that differ when made again", differ, 0.0)
    same = len(found.structures) - len({(each.source, each.volume) for each in found.structures})
    yield at_most("crystals that are there twice", same, 0.0)


def _cells(effort: Effort, count: int) -> np.ndarray:
    """Random right-handed cells about five angstrom across, some of them very oblique, float64 (count, 3, 3)."""
    drawn = effort.seeds(count, "cells").normal((3, 3), torch.float64).numpy()
    spread = np.where(np.arange(count) % 2, 0.5, 1.5)[:, None, None]
    cells = 5 * np.eye(3) + spread * drawn
    thin = np.linalg.svd(cells, compute_uv=False)[:, -1] < 0.8
    cells[thin] = 5 * np.eye(3)
    return np.asarray(cells * np.sign(np.linalg.det(cells))[:, None, None])


def _crystals(effort: Effort, count: int) -> list[Crystal]:
    """Random crystals of one to eight sites, no two of which are nearer than half an angstrom."""
    found: list[Crystal] = []
    cells, tries = _cells(effort, 4 * count), effort.seeds(4 * count, "sites")
    places, numbers = tries.uniform((8, 3)).numpy(), tries.at("numbers").integers(1, 84, (8,)).numpy()
    for row in range(4 * count):
        size = row % 8 + 1
        crystal = made(numbers[row, :size], places[row, :size], cells[row], {"gap": float(places[row, 0, 0])})
        if fault(crystal) is None and len(found) < count:
            found.append(crystal)
    return found


def _apart(one: Crystal, other: Crystal) -> float:
    """How far an atom or a corner of the cell has been moved at most, in angstrom, both in standard orientation."""
    away = one.fractional - other.fractional
    shift = np.linalg.norm((away - np.round(away)) @ one.cell, axis=1).max()
    return float(max(shift, np.abs(lower(one.cell) - lower(other.cell)).max()))


def _other_elements(wanted: Sequence[Crystal], found: Sequence[Crystal]) -> int:
    return sum(not np.array_equal(one.numbers, two.numbers) for one, two in zip(wanted, found, strict=True))


def _sorted(crystal: Crystal) -> Crystal:
    order = np.argsort(crystal.numbers, kind="stable")
    return made(crystal.numbers[order], crystal.fractional[order], crystal.cell, {})
