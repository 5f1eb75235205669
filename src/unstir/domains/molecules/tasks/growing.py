"""Growth about a core: known atoms are held where they are to one another, the rest of the molecule is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask
from unstir.denoisers.base import Denoiser
from unstir.domains.matter.structures import Molecule
from unstir.domains.molecules.encoding import MoleculeEncoding
from unstir.processes.joint import JointProcess
from unstir.processes.pairs import triangle
from unstir.samplers.ancestral import AncestralSampler
from unstir.samplers.base import Sampler, SamplerState

POSITIONS = "positions"
_ANCESTRAL = AncestralSampler()


@dataclass(frozen=True, eq=False)
class GivenAtoms:
    """A core: the first ``count`` atoms of every sample, with the kinds of atoms and of pairs among them.

    ``positions`` float64 (count, 3), whose centre is taken away; ``kinds`` maps a part's name to its known values
    (count,), or (count (count - 1) / 2,) for pairs.
    """

    positions: Tensor
    kinds: Mapping[str, Tensor]

    @property
    def count(self) -> int:
        """How many atoms are known."""
        return len(self.positions)

    @classmethod
    def of(cls, encoding: MoleculeEncoding, core: Molecule) -> "GivenAtoms":
        """A molecule's atoms as a run's core, all of them known; InputError for what the run does not know."""
        if core.positions is None:
            raise InputError(f"{core.source or 'the core'} has no positions in space, about which to grow")
        if encoding.given:
            raise InputError("this run draws conformers; a core is grown by one of the task generate")
        if len(core) >= encoding.largest:
            raise InputError(
                f"{core.source or 'the core'} has {len(core)} atoms, and this run's molecules have at most "
                f"{encoding.largest}: leave atoms out, hydrogens where something is to grow"
            )
        state, _ = encoding.encode([core])
        kinds = {name: state[name][0] for name in encoding.parts[1:]}
        return cls(state[POSITIONS][0].double(), kinds)


@dataclass(frozen=True, eq=False)
class GrowingSampler(Sampler):
    r"""A sampler that holds a core: RePaint, in the part of the positions that the core tells.

    The positions of a set whose centre is at zero do not say where a core lies in it; what is known is how its k atoms
    lie to one another, :math:`Ax_0=f`, A the projection that takes the centre of these k rows away. Of a noisy state
    :math:`Ax_t` is therefore known in law, :math:`\alpha f+\sigma A\epsilon`, and put in at every level; the centre of
    the core goes on being drawn, and that of the whole set stays at zero. Known kinds of atoms and pairs are noised by
    their own processes and put in likewise, and at the end all of them are met exactly. The core keeps the orientation
    that it has in its file.

    Every step is taken ``jumps`` times, with a step back into the noise between: with ever more jumps and ever smaller
    steps the law tends to the posterior given the core. With ``jumps`` = 1 it is plain replacement, in which the rest
    hears of the core late.

    Reference: Lugmayr et al., RePaint: inpainting using denoising diffusion probabilistic models (2022), algorithm 1;
    Schneuing et al., Structure-based drug design with equivariant diffusion models (2024), section 3.3, for cores and
    the centre of mass.
    """

    core: GivenAtoms
    jumps: int = 5
    stepper: Sampler = _ANCESTRAL
    order = 1
    spaces = frozenset({"joint"})

    def __post_init__(self) -> None:
        if self.jumps < 1:
            raise InputError(f"every step is taken once at least; seen jumps={self.jumps}")

    @property
    def calls_per_step(self) -> int | None:  # type: ignore[override]
        """The stepper's, each time."""
        calls = self.stepper.calls_per_step
        return None if calls is None else calls * self.jumps

    def check(self, denoiser: Denoiser) -> None:
        """Refuses a process without positions, or without a part that the core knows."""
        super().check(denoiser)
        parts = denoiser.process.parts
        if getattr(parts.get(POSITIONS), "space", "") != "centred":
            raise InputError("a core is held among centred positions; this process has none")
        if astray := sorted(set(self.core.kinds) ^ (set(parts) - {POSITIONS})):
            raise InputError(f"the core and the process do not have the same parts: {astray}")

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        seeds, process = state.step_seeds(), denoiser.process
        if state.step == 0:
            state = replace(state, x=self.held(process, state.x, t, seeds.at("first"), state.mask))
        jumps = 1 if s == 0 else self.jumps
        moved = state
        for number in range(jumps):
            begun = moved if number == 0 else replace(moved, seeds=state.seeds.at("jump", number), step=state.step)
            moved = self.stepper.step(denoiser, begun, t, s)
            address = seeds.at("known", number)
            moved = replace(moved, x=self.held(process, moved.x, s, address, state.mask))
            if number + 1 < jumps:
                back = process.transition(moved.x, s, t, address.at("back"), state.mask)
                moved = replace(moved, x=process.masked(back, state.mask) if state.mask is not None else back)
                moved = replace(moved, history=())
        return replace(moved, seeds=state.seeds)

    def held(self, process: JointProcess, x: Any, time: Tensor, seeds: Seeds, mask: Tensor | None) -> Any:
        """The state with what the core tells of it at this time."""
        found, count = dict(x), self.core.count
        found[POSITIONS] = self._placed(process.parts[POSITIONS], x[POSITIONS], time, seeds.at(POSITIONS), mask)
        masks = process.mask_of(mask)
        for name, known in self.core.kinds.items():
            size = x[POSITIONS].shape[1]
            places = torch.arange(size, device=x[name].device) < count
            if x[name].shape[1] != size:
                places = triangle((places[:, None] & places)[None])[0]
            whole = x[name].clone()
            whole[:, places] = known.to(whole)
            if time > 0:
                part = process.parts[name]
                clean = torch.where(places, whole, torch.zeros_like(whole))  # in the space, whatever is masked
                noisy = part.noise(clean, time, seeds.at(name), masks[name])
                whole = torch.where(places, noisy, x[name])
            found[name] = whole
        return found

    def _placed(self, process: Any, x: Tensor, time: Tensor, seeds: Seeds, mask: Tensor | None) -> Tensor:
        """Positions with the core's rows about their own centre as they are known at this time."""
        count = self.core.count
        known = self.core.positions.to(x)
        known = known - known.mean(0)
        rows = x[:, :count]
        centre = rows.mean(1, keepdim=True)
        if time == 0:
            told = known.expand_as(rows)
        else:
            alpha, sigma = process.coefficients(time, x)
            noise = seeds.normal_like(rows)
            told = alpha * known + sigma * (noise - noise.mean(1, keepdim=True))
        found = x.clone()
        found[:, :count] = centre + told
        return apply_mask(found, mask)
