r"""Crystals of a given space group: drawn in what the symmetry leaves free, so that every sample has it exactly."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.denoisers.posteriors import PointPosterior, Posterior
from unstir.domains.crystals.encoding import CrystalEncoding
from unstir.domains.crystals.tasks.wyckoff import Template
from unstir.processes import wrapped_normal
from unstir.processes.joint import JointProcess, time_of
from unstir.processes.wrapped import WrappedProcess
from unstir.samplers.base import Sampler, sample
from unstir.samplers.joint import JointSampler

_WIDEST = 2.0  # periods, in units of the largest noise, of which the start is uniform to 1.4 %


class SymmetricSites(Denoiser):
    r"""A belief about crystals, confined to those that have the orbits of ``template``: states are what is free.

    The state's parts are ``fractional`` (batch, f), the free coordinates u of all orbits times
    :math:`\sqrt{\sum_i |A_i|^2}`, their length in the space of all sites; ``lattice`` (batch, k), along orthonormal
    directions of the cells that the group leaves as they are; and ``elements`` (batch, orbits), where the template
    names none. A part without freedom is not there. Noise of the whole state, projected onto the symmetric ones, is
    noise of these numbers by the same schedules, so that an exact belief about symmetric crystals stays exact, where

    - noise does not reach round the cell: beyond, sites that go round it by themselves leave the whole belief less
      sure than the symmetric one would be;
    - free coordinates of one orbit are orthogonal (not two of one plane in hexagonal axes, whose noise is told as
      independent);
    - no such length exceeds twice the process's largest sigma: it is cut off there, for at time 1 noise must cover it;
    - elements are masked (rates: absorbing), not exchanged.

    The denoiser is asked at the whole crystal. Of its draws each orbit takes what one operation of the group, drawn at
    random, says of what is free, and of its means the mean over the operations: turning the draw changes neither law.
    ``expand`` makes whole crystals of drawn states.

    Raises InputError for other processes, cells of other than conventional axes, and elements that a run with exchanged
    ones cannot hold.

    Reference: Jiao et al., Space group constrained crystal generation (2024), sections 4.1 and 4.2, whose noise is that
    of one site of each orbit.
    """

    def __init__(self, denoiser: Denoiser, template: Template, encoding: CrystalEncoding) -> None:
        super().__init__()
        whole = denoiser.process
        if not isinstance(whole, JointProcess) or not {"fractional", "lattice"} <= set(whole.parts):
            raise InputError("symmetric sites need a joint process with the parts fractional and lattice")
        if not isinstance(whole.parts["fractional"], WrappedProcess):
            raise InputError(
                "symmetric sites know wrapped noise alone on fractional coordinates; this run has "
                f"{type(whole.parts['fractional']).__name__}"
            )
        self.denoiser, self.template, self.encoding = denoiser, template, encoding
        self.known = bool((template.numbers > 0).all())
        self._check_elements(whole)
        self._lengths(whole.parts["fractional"].schedule.sigma(1.0).item())
        self._lattice()
        parts: dict[str, Any] = {}
        for name, process in whole.parts.items():
            if name == "fractional":
                if template.free:
                    parts[name] = WrappedProcess(process.schedule, tuple(self.periods.tolist()))
            elif name != "elements" or not self.known:
                parts[name] = process
        self.process = JointProcess(parts, whole.clock if whole.clock in parts else None)

    @property
    def shape(self) -> dict[str, tuple[int, ...]]:
        """The shape of one state."""
        sizes = {
            "fractional": self.template.free,
            "lattice": self.axes.shape[1],
            "elements": len(self.template.orbits),
        }
        return {name: (sizes[name],) for name in self.process.parts}

    def given(self, condition: Mapping[str, Tensor]) -> Denoiser:
        """As with any denoiser; the mask and the sites' elements are the template's own affair."""
        return super().given({name: rows for name, rows in condition.items() if name not in ("mask", "elements")})

    def forward(self, xt: Any, t: Any, drop: Tensor | None = None, **condition: Tensor) -> "SymmetricPosterior":
        """The belief about what is free."""
        rows = batch_size(xt)
        alpha = self.denoiser.process.parts["lattice"].schedule.alpha(time_of(t, "lattice"))
        if self.known and "elements" in self.denoiser.process.parts and getattr(self.denoiser, "times", "") == "apart":
            # a belief that knows times apart is told that these are clean; another one sees that they are not masked
            t = {name: time_of(t, name) * (name != "elements") for name in self.denoiser.process.parts}
        belief = self.denoiser(self.expand(xt, alpha), t, drop, **self.told(rows, xt["lattice"].device), **condition)
        return SymmetricPosterior(belief, self)

    def told(self, rows: int, device: Any = None) -> dict[str, Tensor]:
        """The conditions that the template says: the mask, and the elements where these are told."""
        mask = torch.ones(rows, len(self.template), dtype=torch.bool, device=device)
        if self.encoding.task != "predict":
            return {"mask": mask}
        classes = torch.from_numpy(self._classes()).to(mask.device).expand(rows, -1)
        return {"mask": mask, "elements": self.encoding.one_hot(classes, mask)}

    def expand(self, x: Mapping[str, Tensor], alpha: Tensor | float = 1.0) -> dict[str, Tensor]:
        """Whole states, of all sites; ``alpha`` is the share of the clean lattice in a noisy one."""
        lattice = x["lattice"]
        rows = len(lattice)
        free = torch.zeros(rows, 0, dtype=torch.float64)
        if "fractional" in x:
            free = x["fractional"].double().cpu() / self.periods
        places = torch.from_numpy(self.template.places(free.numpy())).to(lattice)
        origin, axes = (part.to(lattice.device) for part in (self.origin, self.axes))
        found = {
            "fractional": torch.where(places >= 1, 0.0, places),  # what the state's precision rounds up to one
            "lattice": (torch.as_tensor(alpha).to(origin) * origin + lattice.double() @ axes.T).to(lattice),
        }
        if "elements" in x:
            found["elements"] = x["elements"][:, torch.from_numpy(self.template.owners)]
        elif "elements" in self.denoiser.process.parts:
            found["elements"] = torch.from_numpy(self._classes()).to(lattice.device).repeat(rows, 1)
        return found

    def reduce(self, whole: Mapping[str, Tensor], chosen: Tensor | None = None) -> dict[str, Tensor]:
        """What is free of whole states: of each orbit as the operation ``chosen`` (batch, orbits) tells, or their mean.

        Elements, (batch, n), or their probabilities (batch, n, classes), come along.
        """
        lattice = whole["lattice"]
        found: dict[str, Tensor] = {
            "lattice": ((lattice.double() - self.origin.to(lattice.device)) @ self.axes.to(lattice.device)).to(lattice)
        }
        free, kinds, start = [], [], 0
        for place, orbit in enumerate(self.template.orbits):
            own = slice(start, start + len(orbit))
            start += len(orbit)
            picked = None if chosen is None else chosen[:, place]
            if orbit.free and "fractional" in self.process.parts:
                x = whole["fractional"][:, own].double()[:, torch.from_numpy(orbit.sites)]
                backward = torch.from_numpy(orbit.backward).to(x)
                told = torch.einsum("gfc,bgc->bgf", backward, x) + torch.from_numpy(orbit.offsets).to(x)
                turns = torch.polar(torch.ones_like(told), 2 * torch.pi * told).mean(1).angle() / (2 * torch.pi)
                free.append(turns if picked is None else _picked(told, picked))
            if "elements" in self.process.parts:
                rows = whole["elements"][:, own]
                sites = torch.from_numpy(orbit.sites)
                kinds.append(rows.mean(1) if picked is None else _picked(rows, sites.to(picked.device)[picked]))
        if free:
            periods = self.periods.to(lattice.device)
            wrapped = wrapped_normal.wrap(torch.cat(free, 1) * periods, periods)
            found["fractional"] = wrapped_normal.wrap(wrapped.to(whole["fractional"].dtype), periods)
        if kinds:
            found["elements"] = torch.stack(kinds, 1)
        return {name: found[name] for name in self.process.parts}

    def draw_operations(self, seeds: Seeds) -> Tensor:
        """An operation of the group for each orbit, int64 (batch, orbits)."""
        return seeds.integers(0, len(self.template.rotations), (len(self.template.orbits),))

    def _classes(self) -> np.ndarray:
        table = {int(number): place for place, number in enumerate(self.encoding.numbers)}
        return np.array([table[int(number)] for number in self.template.numbers], dtype=np.int64)

    def _check_elements(self, whole: JointProcess) -> None:
        numbers = set(self.template.numbers.tolist())
        if not self.known and (self.encoding.task == "predict" or len(numbers) > 1):
            raise InputError("name an element for each orbit of the template (`Template.with_elements`)")
        if not self.known:
            return
        if missing := sorted(numbers - set(self.encoding.numbers.tolist())):
            raise InputError(
                f"atomic numbers {missing} are not among the elements of this run: {', '.join(self.encoding.elements)}"
            )
        kinds = whole.parts.get("elements")
        if kinds is not None and not getattr(kinds, "absorbing", False):
            raise InputError(
                "this run exchanges elements and cannot be told some: leave the template's elements out, or train with "
                "`data.task=predict` or masked elements (rates: absorbing)"
            )

    def _lengths(self, sigma: float) -> None:
        squares = [np.square(orbit.directions).sum((0, 1)) for orbit in self.template.orbits]
        lengths = np.sqrt(np.concatenate(squares, dtype=np.float64)) if squares else np.zeros(0)
        self.periods = torch.from_numpy(np.minimum(lengths, _WIDEST * sigma))

    def _lattice(self) -> None:
        """The symmetric cells in the encoding's own units: orthonormal axes, and the point nearest to zero."""
        point, directions = self.template.lattice_space()
        centre = np.array([self.encoding.centre] * 3 + [0.0] * 3)
        centre[:3] += np.log(len(self.template)) / 3  # which the encoding takes away
        spread = np.repeat(self.encoding.spreads, 3)
        axes = np.linalg.qr(directions / spread[:, None])[0]
        origin = (point - centre) / spread
        self.axes, self.origin = torch.from_numpy(axes), torch.from_numpy(origin - axes @ (axes.T @ origin))


@dataclass(frozen=True)
class SymmetricPosterior(Posterior):
    """A belief about whole crystals, read for what is free; see ``SymmetricSites``."""

    mean: Any = field(init=False)
    belief: Any
    sites: SymmetricSites

    def __post_init__(self) -> None:
        whole = self.belief.mean
        # what is no state, as the mean features of some exact laws, is handed on as it is
        object.__setattr__(self, "mean", self.sites.reduce(whole) if isinstance(whole, Mapping) else whole)

    def part(self, name: str) -> Posterior:
        """The belief's mean about one part; its draws are those of all parts together."""
        if name == "elements":
            return CategoricalPosterior(self.mean[name].double().log())
        return PointPosterior(self.mean[name])

    def sample(self, seeds: Seeds) -> Any:
        """A draw of what is free."""
        chosen = self.sites.draw_operations(seeds.at("operation"))
        return self.sites.reduce(self.belief.sample(seeds), chosen.to(self.sites.axes.device))

    def log_prob(self, x0: Any) -> Tensor:
        """The whole belief's log-density at the whole crystal, in nats; not normed among symmetric ones."""
        return self.belief.log_prob(self.sites.expand(x0))


def draw_symmetric(
    denoiser: Denoiser,
    encoding: CrystalEncoding,
    template: Template,
    seeds: Seeds,
    sampler: Sampler,
    *,
    steps: int = 100,
    grid: Any = None,
    condition: Mapping[str, Tensor] | None = None,
    batch: int = 64,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Crystals of the template's space group and orbits: whole states, and the conditions to decode them by.

    ``encoding.decode(*draw_symmetric(...))`` gives the crystals. A sampler of several parts is used for those that
    have freedom; one that serves no joint state, and so cannot have been the run's, is refused.
    """
    sites = SymmetricSites(denoiser, template, encoding)
    told = {name: rows for name, rows in (condition or {}).items() if name not in ("mask", "elements")}
    if isinstance(sampler, JointSampler):
        sampler = JointSampler({name: part for name, part in sampler.parts.items() if name in sites.process.parts})
    drawn = sample(sites, sampler, sites.shape, seeds=seeds, steps=steps, grid=grid, condition=told, batch=batch)
    return sites.expand(drawn), {**told, **sites.told(len(seeds))}


def without_elements(template: Template) -> Template:
    """The same orbits, whose elements are yet to be found."""
    return replace(template, orbits=tuple(replace(orbit, number=0) for orbit in template.orbits))


def _picked(rows: Tensor, chosen: Tensor) -> Tensor:
    """Of (batch, m, ...) the row of each sample's own number."""
    return rows[torch.arange(len(rows), device=rows.device), chosen.to(rows.device)]
