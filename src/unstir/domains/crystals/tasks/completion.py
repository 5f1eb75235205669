"""Partly known crystals: some sites or the cell are given, the rest is drawn; and a file's own symmetry kept."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.domains.base import Asked
from unstir.domains.crystals.asking import told_of
from unstir.domains.crystals.encoding import CrystalEncoding
from unstir.domains.crystals.files.reading import read_files
from unstir.domains.crystals.lattices import log_cells
from unstir.domains.crystals.tasks.symmetric import draw_symmetric, without_elements
from unstir.domains.crystals.tasks.wyckoff import template_of
from unstir.domains.crystals.writing import write_crystals
from unstir.domains.matter.elements import counts_of, symbol_of
from unstir.domains.matter.structures import Crystal
from unstir.inverse.methods.replacement import KnownPlacesSampler
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import Sampler, SamplerState, sample
from unstir.samplers.joint import JointSampler

KNOWN = ("sites", "lattice")
KEPT = ("nothing", "symmetry", "symmetry-elements")
_JUMPS = 5


@dataclass(frozen=True)
class Completed:
    """The members of an answer: ``crystals``, and the ``files`` that they were written to."""

    crystals: tuple[Crystal, ...]
    files: tuple[Path, ...]


def predict_crystals(asked: Asked) -> Completed:
    """Crystals around what a file knows: a CIF or POSCAR with some of the sites, or with the cell alone.

    Options, beside the words of ``asking``:

    - ``formula`` or ``atoms``: what the whole cell holds, ``formula=CaTiO3``. The elements of the sites to be drawn are
      then known; with ``atoms=5`` they are drawn too, by a run that draws elements.
    - ``known``: ``sites,lattice`` or one of them; what else the file holds is not looked at.
    - ``jumps``: how often every step is taken anew (``complete``).
    - ``keep``: ``symmetry`` draws crystals with the file's space group and orbits instead, other elements and all;
      ``symmetry-elements`` leaves its elements where they are.

    Raises InputError for files of no or several crystals, and what does not fit to the run or to the file.
    """
    options = {"known": ",".join(KNOWN), "jumps": _JUMPS, "keep": KEPT[0], **asked.options}
    known = [name.strip() for name in str(options.pop("known")).split(",")]
    keep, jumps = options.pop("keep"), _jumps(options.pop("jumps"))
    for name in known:
        if name not in KNOWN:
            raise unknown("part of a crystal that may be known", name, KNOWN)
    if keep not in KEPT:
        raise unknown("way to keep what a crystal has", str(keep), KEPT)
    crystal, seeds = _only(asked.path), Seeds.range(asked.seed, asked.members)
    how: dict[str, Any] = {"sampler": asked.sampling.get("sampler"), "grid": asked.sampling.get("grid")}
    how |= {name: asked.sampling[name] for name in ("steps", "batch") if name in asked.sampling}
    encoding: CrystalEncoding = asked.encoding
    if keep == "nothing":
        numbers = _numbers(encoding, crystal if "sites" in known else None, options, asked.path)
        told = told_of(encoding, {**options, "atoms": len(numbers)}, seeds, numbers if numbers.all() else None)
        told.setdefault("mask", (torch.arange(encoding.largest) < len(numbers)).expand(len(seeds), -1))
        drawn = complete(
            asked.denoiser,
            encoding,
            seeds,
            numbers=numbers,
            fractional=crystal.fractional if "sites" in known else np.zeros((0, 3)),
            cell=crystal.cell if "lattice" in known else None,
            condition=told,
            jumps=jumps,
            **how,
        )
    else:
        for name in ("formula", "atoms"):
            if name in options:
                raise InputError(f"the symmetry that is kept says how many sites there are; leave {name!r} out")
        template = template_of(crystal)
        if keep == "symmetry":
            template = without_elements(template)
        told = told_of(encoding, options, seeds, None)
        sampler = build("samplers", how.pop("sampler") or "ancestral")
        drawn, told = draw_symmetric(asked.denoiser, encoding, template, seeds, sampler, condition=told, **how)
    files = [] if asked.out is None else write_crystals(encoding, drawn, asked.out, condition=told, overwrite=True)
    return Completed(tuple(encoding.decode(drawn, told)), tuple(files))


def complete(
    denoiser: Denoiser,
    encoding: CrystalEncoding,
    seeds: Seeds,
    *,
    numbers: np.ndarray,
    fractional: np.ndarray,
    cell: np.ndarray | None = None,
    condition: Mapping[str, Tensor],
    sampler: Any = None,
    steps: int = 100,
    grid: Any = None,
    batch: int = 64,
    jumps: int = _JUMPS,
) -> dict[str, Tensor]:
    """States of crystals whose first sites lie at ``fractional`` (k, 3), with the atomic numbers of all sites.

    ``numbers`` (n,) holds 0 where an element is to be drawn, ``cell`` (3, 3) is in angstrom, or drawn too where None.
    What is known is noised by the process and put into every state; every step is taken ``jumps`` times, with a step
    back into the noise between them, so that known and drawn come to fit each other. The known is met exactly at the
    end. It is the posterior only in the limit of many jumps and small steps.

    Reference: Lugmayr et al., RePaint: inpainting using denoising diffusion probabilistic models (2022), algorithm 1.
    """
    jumps = _jumps(jumps)
    shape: dict[str, tuple[int, ...]] = {"fractional": (encoding.largest, 3), "lattice": (6,)}
    known = {name: torch.zeros(size) for name, size in shape.items()}
    seen = {name: torch.zeros(size, dtype=torch.bool) for name, size in shape.items()}
    known["fractional"][: len(fractional)] = torch.from_numpy(np.asarray(fractional, dtype=np.float64)).float() % 1.0
    seen["fractional"][: len(fractional)] = True
    if cell is not None:
        spread = np.repeat(encoding.spreads, 3)
        centre = np.array([encoding.centre] * 3 + [0.0] * 3)
        told = (log_cells(np.asarray(cell)[None], np.array([len(numbers)]))[0] - centre) / spread
        known["lattice"], seen["lattice"] = torch.from_numpy(told).float(), torch.ones(6, dtype=torch.bool)
    if encoding.task == "generate":
        table = {int(number): place for place, number in enumerate(encoding.numbers)}
        shape["elements"] = (encoding.largest,)
        known["elements"] = torch.zeros(encoding.largest, dtype=torch.int64)
        known["elements"][: len(numbers)] = torch.tensor([table.get(int(number), 0) for number in numbers])
        seen["elements"] = torch.zeros(encoding.largest, dtype=torch.bool)
        seen["elements"][: len(numbers)] = torch.from_numpy(np.asarray(numbers) > 0)
    stepper = build("samplers", sampler) if sampler else AncestralSampler()
    own = stepper.parts if isinstance(stepper, JointSampler) else {}
    parts = {
        name: KnownPlacesSampler(own.get(name, AncestralSampler()), known[name], seen[name], 0.0, 1)
        if seen[name].any()
        else own.get(name, AncestralSampler())
        for name in shape
    }
    jumping = JumpingSampler(JointSampler(parts), jumps)
    return sample(denoiser, jumping, shape, seeds=seeds, steps=steps, grid=grid, condition=condition, batch=batch)


@dataclass(frozen=True)
class JumpingSampler(Sampler):
    """A sampler whose every step is taken several times, the state being noised anew between them."""

    stepper: Sampler
    jumps: int
    order = 1

    @property
    def spaces(self) -> frozenset[str]:  # type: ignore[override]
        """Those of the sampler that takes the steps."""
        return self.stepper.spaces

    @property
    def calls_per_step(self) -> int | None:  # type: ignore[override]
        """The sampler's, for each time that a step is taken."""
        calls = self.stepper.calls_per_step
        return None if calls is None else calls * self.jumps

    def check(self, denoiser: Denoiser) -> None:
        self.stepper.check(denoiser)

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        moved = self.stepper.step(denoiser, state, t, s)
        for number in range(1, self.jumps if s > 0 else 1):
            address = state.seeds.at("jump", number)
            # each time that the step is taken has draws of its own
            back = denoiser.process.transition(moved.x, s, t, address.at("back", state.step), state.mask)
            moved = self.stepper.step(denoiser, replace(state, x=back, seeds=address, history=()), t, s)
        return replace(moved, seeds=state.seeds)


def _only(path: Path) -> Crystal:
    found = read_files(path)
    if found.unread:
        raise InputError(f"{path}: {found.unread[0].source}: {found.unread[0].reason}")
    if len(found.structures) != 1:
        raise InputError(f"{path}: one crystal is needed; it holds {len(found.structures)}")
    return found.structures[0]


def _jumps(asked: Any) -> int:
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise InputError(f"a step is taken at least once, a whole number of times; jumps: {asked!r}")
    return asked


def _numbers(encoding: CrystalEncoding, crystal: Crystal | None, options: dict[str, Any], path: Path) -> np.ndarray:
    """The atomic numbers of all sites, the known ones first, 0 where an element is to be drawn; takes its options."""
    have = [] if crystal is None else crystal.numbers.tolist()
    if missing := sorted(set(have) - set(encoding.numbers.tolist())):
        symbols = ", ".join(symbol_of(number) for number in missing)
        raise InputError(f"{path}: {symbols}: not among the elements of this run: {', '.join(encoding.elements)}")
    formula, atoms = options.pop("formula", None), options.pop("atoms", None)
    if formula is not None and atoms is not None:
        raise InputError("say either formula or atoms: the formula tells how many there are")
    rest: list[int] = []
    if formula is not None:
        counts = counts_of(str(formula))
        for number in have:
            counts[number] = counts.get(number, 0) - 1
        if short := [symbol_of(number) for number, count in counts.items() if count < 0]:
            raise InputError(
                f"{path} has more {short[0]} than the formula {formula}; write the formula of the whole cell"
            )
        if other := [number for number in counts if number not in encoding.numbers]:
            raise unknown("element for this run", symbol_of(other[0]), encoding.elements)
        rest = [number for number, count in counts.items() for _ in range(count)]
    elif atoms is not None:
        if isinstance(atoms, bool) or not isinstance(atoms, int) or atoms < max(len(have), 1):
            raise InputError(f"atoms is the number of all sites, at least {max(len(have), 1)} here; seen {atoms!r}")
        rest = [0] * (atoms - len(have))
    numbers = np.array([*have, *rest], dtype=np.int64)
    if not len(numbers):
        raise InputError("say what the cell is to hold: formula=CaTiO3, or atoms=5 with a run that draws elements")
    if not numbers.all() and encoding.task == "predict":
        raise InputError("this run finds structures for elements that are told: say formula=CaTiO3 instead of atoms")
    if len(numbers) > encoding.largest:
        raise InputError(f"{len(numbers)} sites are asked for; cells of this run have {encoding.largest} at most")
    return numbers
