r"""Spacings of a sampler's time steps.

A grid is ``steps + 1`` falling times of a schedule from its noisy end to 0, float64. The last step
ends at time 0 exactly, where nothing of the noise is left, and no network call is spent there.
Noise levels are given as sigma/alpha, i.e. in the units of the data, so that one grid means the same
for every schedule.
"""

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.processes.schedules.base import Schedule

__all__ = ["karras", "log_snr_uniform", "quadratic", "straight_flow", "uniform"]


def uniform(schedule: Schedule, steps: int, sigma_max: float | None = None) -> Tensor:
    """Even times; the usual grid of DDPM and rectified flow.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020).
    """
    return _start(schedule, sigma_max) * _ramp(steps)


def quadratic(schedule: Schedule, steps: int, sigma_max: float | None = None) -> Tensor:
    """Times whose square roots are even: finer towards the data.

    Reference: Song, Meng, Ermon, Denoising diffusion implicit models (2021), appendix D.2.
    """
    return _start(schedule, sigma_max) * _ramp(steps).square()


def karras(
    schedule: Schedule, steps: int, sigma_min: float = 0.002, sigma_max: float | None = None, rho: float = 7.0
) -> Tensor:
    """Even steps of the noise level's 1/rho-th power from sigma_max to sigma_min, then to 0.

    Without ``sigma_max`` it starts at EDM's 80, or where the schedule ends if that comes first.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), eq. 5.
    """
    if rho <= 0:
        raise InputError(f"rho must be positive; seen {rho}")
    low, high = _range(schedule, sigma_min, sigma_max)
    roots = torch.lerp(_scalar(high ** (1 / rho)), _scalar(low ** (1 / rho)), _levels(steps))
    return _with_clean_end(schedule.time_at_sigma(roots**rho))


def log_snr_uniform(schedule: Schedule, steps: int, sigma_min: float = 0.002, sigma_max: float | None = None) -> Tensor:
    """Even steps of log-SNR from sigma_max to sigma_min, then to 0.

    Reference: Lu et al., DPM-Solver (2022), section 3.3.
    """
    low, high = _range(schedule, sigma_min, sigma_max)
    logs = torch.lerp(_scalar(high).log(), _scalar(low).log(), _levels(steps))
    return _with_clean_end(schedule.time_at_sigma(logs.exp()))


def straight_flow(schedule: Schedule, steps: int, scale: float = 0.5, sigma_max: float | None = None) -> Tensor:
    """Even steps of sigma/(sigma + scale), the clock of a straight flow for data of that scale, whatever the schedule.

    Dense where the noise is as large as the structure of the data: a ``scale`` of a third to one of the data's standard
    deviation does well at few steps. Without ``sigma_max`` it starts at 80, or where the schedule ends if that comes
    first.

    Reference: Liu, Gong, Liu, Flow straight and fast (2023), section 2, for the clock.
    """
    if scale <= 0:
        raise InputError(f"the scale must be positive; seen {scale}")
    _, high = _range(schedule, min(1e-9, _last(schedule) / 2), sigma_max)
    shares = _ramp(steps)[:-1] * (high / (high + scale))
    return _with_clean_end(schedule.time_at_sigma(scale * shares / (1 - shares)))


def _scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _ramp(steps: int) -> Tensor:
    if steps < 1:
        raise InputError(f"a sampler needs at least 1 step; seen {steps}")
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def _levels(steps: int) -> Tensor:
    """0 to 1 over the noisy times; the clean end comes after."""
    _ramp(steps)
    return torch.linspace(0, 1, steps, dtype=torch.float64)


def _start(schedule: Schedule, sigma_max: float | None) -> Tensor:
    if sigma_max is None:
        return _scalar(1.0)
    last = _last(schedule)
    if not 0 < sigma_max <= last * (1 + 1e-9):
        raise InputError(f"0 < sigma_max <= {last:.6g}, the schedule's own end, is needed; seen sigma_max {sigma_max}")
    return schedule.time_at_sigma(_scalar(sigma_max))


def _last(schedule: Schedule) -> float:
    """The schedule's largest noise level in units of the data."""
    return (-schedule.log_snr(_scalar(1.0)) / 2).exp().item()


def _range(schedule: Schedule, sigma_min: float, sigma_max: float | None) -> tuple[float, float]:
    last = _last(schedule)
    high = min(80.0, last) if sigma_max is None else sigma_max
    if not 0 < sigma_min < high or high > last * (1 + 1e-9):
        raise InputError(
            f"the noise levels must satisfy 0 < sigma_min < sigma_max <= {last:.6g}, the schedule's own end; "
            f"seen sigma_min {sigma_min} and sigma_max {high}"
        )
    return sigma_min, high


def _with_clean_end(times: Tensor) -> Tensor:
    return torch.cat((times, torch.zeros(1, dtype=torch.float64)))
