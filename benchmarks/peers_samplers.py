"""The peers' samplers, as they are published, on their own grids and on the common one.

Each library is handed the exact E[x_0 | y] in the convention that it works in. Nothing is tuned: "own" is what the
library takes by default or recommends; some have several such grids, and each is a sampler here.
"""

import importlib
import importlib.util
import math
import sys
import types
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.sampler_cases import (
    RHO,
    SIGMA_MAX,
    SIGMA_MIN,
    Case,
    CountedDenoiser,
    Denoise,
    Draw,
    Run,
    common_sigmas,
)

PEERS = ("diffusers", "k-diffusion", "azula")
Loop = Callable[[Tensor, int], Tensor]  # from noise and a number of steps to pictures, the network costing nothing


def peer_cases(library: str) -> list[Case]:
    """All samplers of an installed library; ImportError if it is absent."""
    return {"diffusers": _diffusers_cases, "k-diffusion": _k_diffusion_cases, "azula": _azula_cases}[library]()


def peer_loops(library: str) -> Mapping[str, Loop]:
    """The library's sampling loops around a network that returns its input, by the sampler's name."""
    return {"diffusers": _diffusers_loops, "k-diffusion": _k_diffusion_loops, "azula": _azula_loops}[library]()


def peer_version(library: str) -> str:
    """The installed version; PackageNotFoundError (an ImportError) if it is absent."""
    return version(library)


# diffusers: schedulers whose ``step`` is handed the network's output --------------------------------------------

_SIGMA_DATA = 0.5
_MULTISTEP = {  # name -> class, its options, whether it can end without noise, whether it is deterministic
    "DPMSolver++ 2M": ("DPMSolverMultistepScheduler", {"solver_order": 2}, True, True),
    "DPMSolver++ 3M": ("DPMSolverMultistepScheduler", {"solver_order": 3}, True, True),
    "UniPC 2": ("UniPCMultistepScheduler", {"solver_order": 2}, True, True),
    "UniPC 3": ("UniPCMultistepScheduler", {"solver_order": 3}, True, True),
    "DEIS 2": ("DEISMultistepScheduler", {"solver_order": 2}, False, True),
    "DEIS 3": ("DEISMultistepScheduler", {"solver_order": 3}, False, True),
    "SDE-DPMSolver++ 2M": (
        "DPMSolverMultistepScheduler",
        {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"},
        True,
        False,
    ),
    "SASolver": ("SASolverScheduler", {}, False, False),
}
_VARIANCE_EXPLODING = {
    "EDM Euler": ("EDMEulerScheduler", {}),
    "EDM DPMSolver++ 2M": ("EDMDPMSolverMultistepScheduler", {"solver_order": 2}),
    "EDM DPMSolver++ 3M": ("EDMDPMSolverMultistepScheduler", {"solver_order": 3}),
}
_Prepared = tuple[Any, list[tuple[float, float]], float | None]  # scheduler, (alpha, sigma/alpha) a call, last level


def _scheduler(name: str, **options: Any) -> Any:
    return getattr(importlib.import_module("diffusers"), name)(**options)


def _diffusers_cases() -> list[Case]:
    def case(name: str, grid: str, prepared: Callable[[int], _Prepared], deterministic: bool = True) -> Case:
        return Case("diffusers", name, grid, partial(_diffusers_draw, prepared), deterministic)

    importlib.import_module("diffusers")
    cases = [case(f"DDIM ({spacing})", "own", partial(_ddim, spacing)) for spacing in ("leading", "trailing")]
    cases.append(case("DDIM", "common", _ddim_on_common_grid))
    for name, (scheduler, options, ends_clean, deterministic) in _MULTISTEP.items():
        made = partial(_scheduler, scheduler, prediction_type="sample", **options)
        cases.append(case(name, "own", partial(_multistep, made), deterministic))
        cases.append(
            case(f"{name} karras", "own", partial(_multistep, partial(made, use_karras_sigmas=True)), deterministic)
        )
        cases.append(case(name, "common", partial(_multistep_on_common_grid, made, ends_clean), deterministic))
    cases.append(case("Heun", "own", partial(_heun, False, False)))
    cases.append(case("Heun karras", "own", partial(_heun, True, False)))
    cases.append(case("Heun", "common", partial(_heun, False, True)))
    for name, (scheduler, options) in _VARIANCE_EXPLODING.items():  # their own grid is the common one
        made = partial(_scheduler, scheduler, sigma_data=_SIGMA_DATA, **options)
        cases.append(case(name, "common", partial(_variance_exploding, made)))
    return cases


def _diffusers_draw(prepared: Callable[[int], _Prepared], denoise: CountedDenoiser, calls: float) -> Draw:
    def draw(noise: Tensor, seed: int) -> Run:
        scheduler, levels, last = prepared(int(calls))  # a scheduler remembers its trajectory: a new one for each
        torch.manual_seed(seed)
        start = float(scheduler.init_noise_sigma)
        x = start * noise
        for time, (alpha, sigma) in zip(scheduler.timesteps, levels, strict=True):
            scheduler.scale_model_input(x, time)  # some schedulers find their place in the grid here
            output = _as_output(scheduler, denoise(x.double() / alpha, sigma), x, sigma)
            x = scheduler.step(output, time, x).prev_sample
        if last is not None:
            x = denoise(x.double() * math.sqrt(1 + last**2), last)
        alpha, sigma = levels[0]
        return Run(x.double(), sigma, start / alpha)

    return draw


def _as_output(scheduler: Any, clean: Tensor, x: Tensor, sigma: float) -> Tensor:
    """What the network behind the scheduler would have returned, so that it finds this clean mean."""
    if not hasattr(scheduler, "precondition_outputs"):
        return clean  # the others are built for a network that predicts the clean data
    variance = sigma**2 + _SIGMA_DATA**2
    return (clean - x * _SIGMA_DATA**2 / variance) * math.sqrt(variance) / (sigma * _SIGMA_DATA)


def _preserving(sigmas: list[float]) -> list[tuple[float, float]]:
    return [(1 / math.sqrt(1 + sigma**2), sigma) for sigma in sigmas]


def _multistep(made: Callable[[], Any], calls: int) -> _Prepared:
    scheduler = made()
    scheduler.set_timesteps(calls)
    return scheduler, _preserving(scheduler.sigmas[:calls].tolist()), None


def _multistep_on_common_grid(made: Callable[[], Any], ends_clean: bool, calls: int) -> _Prepared:
    """The scheduler's noise levels are replaced; one that cannot end at 0 leaves the last call to denoising."""
    sigmas = common_sigmas(calls)
    steps = calls if ends_clean else calls - 1
    scheduler = made()
    trained = (1 / scheduler.alphas_cumprod - 1).sqrt().log()
    scheduler.set_timesteps(steps)
    scheduler.sigmas = sigmas[: steps + 1].float()
    scheduler.timesteps = torch.stack([(trained - sigma.log()).abs().argmin() for sigma in sigmas[:steps]])
    last = None if ends_clean else sigmas[calls - 1].item()
    return scheduler, _preserving(scheduler.sigmas[:steps].tolist()), last


def _ddim(spacing: str, calls: int) -> _Prepared:
    scheduler = _scheduler("DDIMScheduler", clip_sample=False, prediction_type="sample", timestep_spacing=spacing)
    scheduler.set_timesteps(calls)
    return scheduler, _ddim_levels(scheduler), None


def _ddim_on_common_grid(calls: int) -> _Prepared:
    """DDIM looks its levels up in the table it was trained with: the common grid becomes that table."""
    kept = 1 / (1 + common_sigmas(calls)[:-1].flip(0).square())
    betas = 1 - kept / torch.cat((torch.ones(1, dtype=torch.float64), kept[:-1]))
    options = {"num_train_timesteps": calls, "trained_betas": betas.numpy()}
    scheduler = _scheduler("DDIMScheduler", clip_sample=False, prediction_type="sample", **options)
    scheduler.set_timesteps(calls)
    return scheduler, _ddim_levels(scheduler), None


def _ddim_levels(scheduler: Any) -> list[tuple[float, float]]:
    kept = scheduler.alphas_cumprod.double()[scheduler.timesteps].tolist()
    return [(math.sqrt(value), math.sqrt(1 / value - 1)) for value in kept]


def _variance_exploding(made: Callable[[], Any], calls: int) -> _Prepared:
    scheduler = made()
    scheduler.set_timesteps(calls)
    return scheduler, [(1.0, sigma) for sigma in scheduler.sigmas[:-1].tolist()], None


def _heun(karras: bool, common: bool, calls: int) -> _Prepared:
    levels = (calls + 1) // 2
    scheduler = _scheduler("HeunDiscreteScheduler", use_karras_sigmas=karras, prediction_type="sample")
    scheduler.set_timesteps(levels)
    if common:
        sigmas = common_sigmas(levels).float()
        scheduler.sigmas = torch.cat((sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]))
    return scheduler, [(1.0, sigma) for sigma in scheduler.sigmas[:-1].tolist()], None


def _diffusers_loops() -> Mapping[str, Loop]:
    def loop(name: str, options: Mapping[str, Any], noise: Tensor, steps: int) -> Tensor:
        scheduler = _scheduler(name, **options)
        scheduler.set_timesteps(steps)
        x = noise * scheduler.init_noise_sigma
        with torch.no_grad():
            for time in scheduler.timesteps:
                x = scheduler.step(scheduler.scale_model_input(x, time), time, x).prev_sample
        return x

    importlib.import_module("diffusers")
    sde = {"algorithm_type": "sde-dpmsolver++"}
    schedulers: dict[str, tuple[str, Mapping[str, Any]]] = {
        "DDIM": ("DDIMScheduler", {}),
        "DDPM": ("DDPMScheduler", {}),
        "EDM Euler": ("EDMEulerScheduler", {}),
        "Heun": ("HeunDiscreteScheduler", {}),
        "DPMSolver++ 2M": ("DPMSolverMultistepScheduler", {}),
        "SDE-DPMSolver++ 2M": ("DPMSolverMultistepScheduler", sde),
        "UniPC 2": ("UniPCMultistepScheduler", {}),
        "DEIS 2": ("DEISMultistepScheduler", {}),
    }
    return {name: partial(loop, *scheduler) for name, scheduler in schedulers.items()}


# k-diffusion: functions of a denoiser and falling noise levels ---------------------------------------------------

_CONFIGURED = 0.01, 80.0  # sigma_min and sigma_max of the configurations that it ships
_ONE_CALL = {  # name -> whether it is deterministic
    "euler": True,
    "lms": True,
    "dpmpp_2m": True,
    "euler_ancestral": False,
    "dpmpp_2m_sde": False,
    "dpmpp_3m_sde": False,
}
_TWO_CALLS = ("heun", "dpm_2")


def _sampling() -> Any:
    """Its module of samplers alone: the package imports vision libraries that no sampler needs."""
    if "k_diffusion.sampling" not in sys.modules:
        found = importlib.util.find_spec("k_diffusion")
        if found is None or found.submodule_search_locations is None:
            raise ImportError("k-diffusion is not installed")
        package, utilities = types.ModuleType("k_diffusion"), types.ModuleType("k_diffusion.utils")
        package.__path__ = list(found.submodule_search_locations)
        vars(utilities)["append_dims"] = lambda x, dims: x.reshape(x.shape + (1,) * (dims - x.ndim))
        vars(package)["utils"] = utilities
        sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utilities}
    return importlib.import_module("k_diffusion.sampling")


def _k_diffusion_cases() -> list[Case]:
    sampling = _sampling()
    cases = []
    for name in (*_ONE_CALL, *_TWO_CALLS):
        # its advice for the third-order SDE sampler is the exponential grid
        spacing = "exponential" if name == "dpmpp_3m_sde" else "karras"
        own = getattr(sampling, f"get_sigmas_{spacing}")
        grids = {"own": lambda levels, own=own: own(levels, *_CONFIGURED).double(), "common": common_sigmas}
        for grid, sigmas in grids.items():
            prepare = partial(_k_diffusion_draw, name, sigmas)
            cases.append(Case("k-diffusion", name, grid, prepare, _ONE_CALL.get(name, True)))
    tolerances = (0.5, 0.2, 0.05, 0.01, 0.002)
    return [*cases, Case("k-diffusion", "dpm_adaptive", "adaptive", _k_diffusion_adaptive, budgets=tolerances)]


def _model(denoise: Denoise) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x, sigma: denoise(x, sigma[0].item())


def _k_diffusion_draw(name: str, sigmas: Callable[[int], Tensor], denoise: CountedDenoiser, calls: float) -> Draw:
    levels = sigmas((int(calls) + 1) // 2 if name in _TWO_CALLS else int(calls))
    start = levels[0].item()

    def draw(noise: Tensor, seed: int) -> Run:
        torch.manual_seed(seed)
        sampler = getattr(_sampling(), f"sample_{name}")
        return Run(sampler(_model(denoise), start * noise, levels, disable=True), start, start)

    return draw


def _k_diffusion_adaptive(denoise: CountedDenoiser, tolerance: float) -> Draw:
    def draw(noise: Tensor, seed: int) -> Run:
        sampler = partial(_sampling().sample_dpm_adaptive, disable=True, rtol=tolerance, atol=0.156 * tolerance)
        return Run(sampler(_model(denoise), SIGMA_MAX * noise, SIGMA_MIN, SIGMA_MAX), SIGMA_MAX, SIGMA_MAX)

    return draw


def _k_diffusion_loops() -> Mapping[str, Loop]:
    def loop(name: str, noise: Tensor, steps: int) -> Tensor:
        sigmas = _sampling().get_sigmas_karras(steps, SIGMA_MIN, SIGMA_MAX)
        return getattr(_sampling(), f"sample_{name}")(lambda x, sigma: x, noise, sigmas, disable=True)

    _sampling()
    names = ("euler", "euler_ancestral", "heun", "lms", "dpmpp_2m", "dpmpp_2m_sde")
    return {name: partial(loop, name) for name in names}


# azula: samplers of denoisers with a schedule --------------------------------------------------------------------

_AZULA = {  # name -> class, its options, calls a step, whether it is deterministic
    "DDPM": ("DDPMSampler", {}, 1, False),
    "DDIM": ("DDIMSampler", {}, 1, True),
    "Heun": ("HeunSampler", {}, 2, True),
    "Ito": ("ItoSampler", {}, 1, False),
    **{
        f"{kind}{order}": (f"{kind}Sampler", {"order": order}, 1, True)
        for kind in ("zAB", "vAB", "zEAB", "xEAB")
        for order in (2, 3)
    },
    "REAB2": ("REABSampler", {"order": 2}, 1, True),
    "PC": ("PCSampler", {}, 2, False),
}
_ON_STRAIGHT_LINES = ("DDIM", "vAB2", "vAB3", "xEAB2")


def _azula_sampler(name: str) -> Callable[..., Any]:
    kind, options, _, _ = _AZULA[name]
    return partial(getattr(importlib.import_module("azula.sample"), kind), silent=True, **options)


def _azula_cases() -> list[Case]:
    noise = importlib.import_module("azula.noise")

    class CommonSchedule(noise.Schedule):
        """The common noise levels at even times."""

        def __call__(self, t: Tensor) -> tuple[Tensor, Tensor]:
            low, high = SIGMA_MIN ** (1 / RHO), SIGMA_MAX ** (1 / RHO)
            return torch.ones_like(t), torch.lerp(torch.full_like(t, low), torch.full_like(t, high), t) ** RHO

    cases = []
    for name, (_, _, calls_per_step, deterministic) in _AZULA.items():
        draw = partial(_azula_draw, name, calls_per_step)
        cases.append(Case("azula", name, "own", partial(draw, noise.VPSchedule(), False), deterministic))
        cases.append(Case("azula", name, "common", partial(draw, CommonSchedule(), True), deterministic))
        if name in _ON_STRAIGHT_LINES:
            straight = partial(draw, noise.RectifiedSchedule(), False)
            cases.append(Case("azula", f"{name} rectified", "own", straight, deterministic))
    return cases


def _azula_draw(
    name: str, calls_per_step: int, schedule: Any, common: bool, denoise: CountedDenoiser, calls: float
) -> Draw:
    """It ends where its schedule ends; on the common grid that is not clean, and one call is kept for denoising."""
    azula = importlib.import_module("azula.denoise")

    class ExactDenoiser(azula.Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = schedule

        def forward(self, x_t: Tensor, t: Tensor) -> Any:
            alpha, sigma = schedule(t)
            return azula.DiracPosterior(denoise(x_t / alpha, (sigma / alpha).item()))

    steps = (int(calls) - common) // calls_per_step
    sampler = _azula_sampler(name)(ExactDenoiser(), steps=steps, dtype=torch.float64)
    alpha, sigma = (value.item() for value in schedule(sampler.timesteps[0]))
    scale = math.hypot(alpha, sigma)  # as its own ``init`` has it

    def draw(noise: Tensor, seed: int) -> Run:
        torch.manual_seed(seed)
        samples = sampler(scale * noise)
        return Run(denoise(samples, SIGMA_MIN) if common else samples, sigma / alpha, scale / alpha)

    return draw


class _Free(nn.Module):
    """A network that costs nothing, with the parameter that azula asks for its data type."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        return x_t


def _azula_loops() -> Mapping[str, Loop]:
    schedule = importlib.import_module("azula.noise").VPSchedule()
    denoiser = importlib.import_module("azula.denoise").KarrasDenoiser(_Free(), schedule).eval()

    def loop(name: str, noise: Tensor, steps: int) -> Tensor:
        return _azula_sampler(name)(denoiser, steps=steps)(noise)

    return {name: partial(loop, name) for name in ("DDIM", "DDPM", "Heun", "zAB2", "vAB2", "xEAB2", "REAB2")}


def k_diffusion_log_density(denoise: Denoise, x: Tensor, sigma_min: float, tolerance: float, seed: int) -> Tensor:
    """Its estimate of log p(x) in nats, (n,): one probe for the trace, one step size for the batch."""
    torch.manual_seed(seed)
    model = _model(denoise)
    return _sampling().log_likelihood(model, x, sigma_min, SIGMA_MAX, atol=tolerance, rtol=tolerance)[0]
