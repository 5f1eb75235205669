"""The peers' posterior samplers, as they are published, handed the exact belief of a problem.

Each runs with its own recommended settings. Where a library leaves a strength to its user, a few are tried and the best
for the problem is told, which is more than a user could do.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.posterior_cases import Problem

Draw = Callable[[Problem, int, int], Tensor]  # (problem, count, calls) -> samples (count, d)
PEERS = ("azula", "deepinv")
_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def peer_methods(library: str) -> Mapping[str, Draw]:
    """All posterior samplers of an installed library, by name; ImportError if it is absent."""
    return {"azula": _azula_methods, "deepinv": _deepinv_methods}[library]()


def peer_version(library: str) -> str:
    """The installed version; PackageNotFoundError (an ImportError) if it is absent."""
    return version(library)


# azula: samplers and denoisers on its VP schedule, whose data has unit deviation as ours has ------------------------


def _azula_methods() -> Mapping[str, Draw]:
    guidance = importlib.import_module("azula.guidance")
    base, noise, samplers, covariance = (
        importlib.import_module(f"azula.{name}") for name in ("denoise", "noise", "sample", "linalg.covariance")
    )

    class Exact(base.Denoiser):
        def __init__(self, problem: Problem) -> None:
            super().__init__()
            self.problem, self.schedule = problem, noise.VPSchedule()

        def forward(self, x_t: Tensor, t: Tensor, **kwargs: Any) -> Any:
            alpha, sigma = self.schedule(t)
            return base.DiracPosterior(mean=self.problem.denoise(x_t / alpha, sigma / alpha))

    def start(problem: Problem, count: int, sampler: Any) -> Tensor:
        return sampler(sampler.init((count, problem.dimension)).double())

    def operator(problem: Problem) -> Callable[[Tensor], Tensor]:
        return lambda x: x[..., : len(problem.singular)] * problem.singular

    def inverse(problem: Problem) -> Callable[[Tensor], Tensor]:
        rest = problem.dimension - len(problem.singular)
        return lambda y: torch.nn.functional.pad(y / problem.singular, (0, rest))

    def dps(strength: float) -> Draw:
        def draw(problem: Problem, count: int, calls: int) -> Tensor:
            made = guidance.DPSSampler(
                Exact(problem), problem.reading, operator(problem), zeta=strength, steps=calls, silent=True
            )
            return start(problem, count, made)

        return draw

    def pgdm(problem: Problem, count: int, calls: int) -> Tensor:
        made = guidance.PGDMSampler(
            Exact(problem), problem.reading, operator(problem), inverse(problem), eta=1.0, steps=calls, silent=True
        )
        return start(problem, count, made)

    def within(make: Callable[[Problem], Any]) -> Draw:
        def draw(problem: Problem, count: int, calls: int) -> Tensor:
            return start(problem, count, samplers.DDPMSampler(make(problem), steps=calls, silent=True))

        return draw

    def tds(problem: Problem, count: int, calls: int) -> Tensor:
        def twist(x: Tensor, sigma: Tensor) -> Tensor:
            # the user's to supply: the noise, widened by what is left of data of unit deviation
            wide = problem.noise**2 + problem.singular.square() * sigma**2 / (1 + sigma**2)
            return -((problem.reading - operator(problem)(x)).square() / wide + wide.log()) / 2

        return start(problem, count, guidance.TDSSampler(Exact(problem), twist, steps=calls, silent=True))

    def mmps(problem: Problem) -> Any:
        noisy = covariance.IsotropicCovariance(torch.tensor(problem.noise**2, dtype=torch.float64))
        return guidance.MMPSDenoiser(Exact(problem), problem.reading, operator(problem), noisy)

    def tmpd(problem: Problem) -> Any:
        return guidance.TMPDenoiser(Exact(problem), problem.reading, operator(problem), problem.noise**2)

    def diffpir(problem: Problem) -> Any:
        return guidance.DiffPIRDenoiser(Exact(problem), problem.reading, operator(problem), problem.noise**2)

    return {
        **{f"DPS, strength {strength:g}": dps(strength) for strength in _STRENGTHS},
        "PiGDM": pgdm,
        "TMPD": within(tmpd),
        "MMPS": within(mmps),
        "DiffPIR": within(diffpir),
        "TDS": tds,
    }


# deepinv: pictures with levels from 0 to 1, of one row here ----------------------------------------------------------

_SPAN = 0.15  # of a unit of ours in its levels: unit deviation then lies within 0 and 1


def _deepinv_methods() -> Mapping[str, Draw]:
    _without_torchvision()
    deepinv = importlib.import_module("deepinv")
    sampling = importlib.import_module("deepinv.sampling")

    class Exact(nn.Module):
        def __init__(self, problem: Problem) -> None:
            super().__init__()
            self.problem = problem

        def forward(self, x: Tensor, sigma: Any, *args: Any, **kwargs: Any) -> Tensor:
            level = torch.as_tensor(sigma).detach().double().reshape(-1)[:1] / _SPAN
            mean = self.problem.denoise((x.flatten(1).double() - 0.5) / _SPAN, level)
            return (0.5 + _SPAN * mean).to(x.dtype).reshape(x.shape)

    def physics(problem: Problem) -> tuple[Any, Tensor]:
        factors = torch.zeros(1, 1, 1, problem.dimension)
        factors[..., : len(problem.singular)] = problem.singular
        made = deepinv.physics.DecomposablePhysics(
            mask=factors,
            img_size=(1, 1, problem.dimension),
            noise_model=deepinv.physics.GaussianNoise(problem.noise * _SPAN),
        )
        reading = torch.zeros_like(factors)
        reading[..., : len(problem.singular)] = _SPAN * problem.reading + 0.5 * problem.singular
        return made, reading

    def run(problem: Problem, count: int, made: Any) -> Tensor:
        operator, reading = physics(problem)
        with torch.no_grad():
            drawn = made(reading.expand(count, -1, -1, -1).contiguous(), operator)
        return (drawn.flatten(1).double() - 0.5) / _SPAN

    def dps(strength: float) -> Draw:
        return lambda problem, count, calls: run(
            problem, count, sampling.DPS(Exact(problem), num_steps=calls, weight=strength)
        )

    def guided(fidelity: str) -> Draw:
        def draw(problem: Problem, count: int, calls: int) -> Tensor:
            made = sampling.PosteriorDiffusion(
                data_fidelity=getattr(sampling, fidelity)(),
                denoiser=Exact(problem),
                sde=sampling.VariancePreservingDiffusion(alpha=1.0),
                solver=sampling.DDPMSolver(timesteps=torch.linspace(1, 0, calls, dtype=torch.float64)),
            )
            return run(problem, count, made)

        return draw

    def ddrm(problem: Problem, count: int, calls: int) -> Tensor:
        return run(problem, count, sampling.DDRM(Exact(problem), sigmas=np.linspace(1, 0, calls)))

    def diffpir(problem: Problem, count: int, calls: int) -> Tensor:
        fidelity = deepinv.optim.data_fidelity.L2()
        made = sampling.DiffPIR(Exact(problem), fidelity, sigma=problem.noise * _SPAN, max_iter=calls)
        return run(problem, count, made)

    return {
        **{f"DPS, strength {strength:g}": dps(strength) for strength in _STRENGTHS},
        "PiGDM": guided("PiGDMDataFidelity"),
        "MMPS": guided("MomentMatchingDataFidelity"),
        "DDRM": ddrm,
        "DiffPIR": diffpir,
    }


class _Nothing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules called torchvision, in which every name is an empty class: deepinv imports it and does without here."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        mine = name.partition(".")[0] == "torchvision"
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if mine else None

    def create_module(self, spec: Any) -> types.ModuleType:
        class Hollow(types.ModuleType):
            __path__: ClassVar[list[str]] = []

            def __getattr__(self, name: str) -> Any:
                if name.startswith("__"):
                    raise AttributeError(name)
                return type(name, (), {})

        return Hollow(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to run."""


def _without_torchvision() -> None:
    if importlib.util.find_spec("torchvision") is None:
        sys.meta_path.append(_Nothing())
