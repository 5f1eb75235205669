"""Denoising diffusion restoration: each direction of the operator steps by how well it was measured."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import NO_LAW, Method
from unstir.inverse.methods.guided import check_share
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.base import Decomposition, LinearOperator
from unstir.samplers.base import Sampler, SamplerState

__all__ = ["DDRMMethod"]


@dataclass(frozen=True)
class DDRMMethod(Method):
    r"""DDRM: in the operator's singular directions the reading takes the place of the belief where it is sharper.

    Of :math:`A=USV^T`, direction i is read as :math:`\bar y_i=(U^Ty)_i/s_i` with the deviation :math:`\sigma_y/s_i`.
    In the units of the data, :math:`\sigma` for :math:`\sigma_s/\alpha_s`, the next state is in direction i

    - not measured: :math:`\hat x+\sigma(\sqrt{1-\eta^2}\,\hat\epsilon+\eta z)`, as DDIM's;
    - noisier than the state, :math:`\sigma<\sigma_y/s_i`: the same with :math:`(\bar y_i-\hat x)s_i/\sigma_y` for the
      noise :math:`\hat\epsilon`;
    - else normal about :math:`(1-\eta_b)\hat x+\eta_b\bar y_i` of variance :math:`\sigma^2-\eta_b^2\sigma_y^2/s_i^2`.

    The denoiser is called once a step, and never passed through backwards. The first state is drawn about ``eta_b`` of
    the reading too. What an exact measurement says is kept exactly; the draws are exact only where the
    measurement is, the data's directions are independent, eta is 0, and in the limit of many steps. ``eta`` above zero
    renews noise at each step, however many there are: the more of them, the narrower come out normal data, and the more
    often do draws find the mode that fits (published are 20 steps).

    Raises InputError for options out of range, and padded sets.

    Reference: Kawar, Elad, Ermon, Song, Denoising diffusion restoration models (2022), eq. 7 and 8.
    """

    eta: float | int = 0.85
    eta_b: float | int = 1.0

    exact_for = NO_LAW
    spaces = frozenset({"euclidean"})
    needs = frozenset({"linear", "gaussian"})

    def __post_init__(self) -> None:
        check_share("eta", self.eta)
        check_share("eta_b", self.eta_b)

    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        return denoiser, DDRMSampler(measurement, float(self.eta), float(self.eta_b))


class Reading(NamedTuple):
    """By direction of a sample, float64 (d,): singular values, U^T y, which are measured, y/s and its deviation."""

    values: Tensor
    read: Tensor
    known: Tensor
    target: Tensor
    width: Tensor


@dataclass(frozen=True, eq=False)
class DDRMSampler(Sampler):
    """The steps of ``DDRMMethod``, around the plain denoiser."""

    measurement: Measurement
    eta: float
    eta_b: float
    order = 1
    spaces = frozenset({"euclidean"})

    @cached_property
    def parts(self) -> Decomposition:
        """The operator's directions."""
        operator = self.measurement.operator
        if not isinstance(operator, LinearOperator) or not isinstance(self.measurement.noise, GaussianNoise):
            raise InputError("DDRM needs a linear operator and normal noise")
        return operator.decomposition

    @cached_property
    def deviation(self) -> float:
        """Of the noise of measuring."""
        return float(getattr(self.measurement.noise, "deviation", 0.0))

    @cached_property
    def reading(self) -> Reading:
        """What was read, by direction."""
        values = torch.zeros(math.prod(self.measurement.operator.shape), dtype=torch.float64)
        read, count = values.clone(), len(self.parts.values)
        values[:count] = self.parts.values
        read[:count] = self.parts.measured_to_modes(self.measurement.reading.cpu().double()[None])[0, :count]
        known = values > values.max() * 1e-7
        inverse = torch.where(known, 1 / torch.where(known, values, 1.0), 0.0)
        return Reading(values, read, known, inverse * read, torch.where(known, self.deviation * inverse, 0.0))

    def step(self, denoiser: Denoiser, state: SamplerState, t: Tensor, s: Tensor) -> SamplerState:
        if state.mask is not None:
            raise InputError("DDRM mixes the elements of a sample, and does not know padded sets; take mmps")
        schedule, device = denoiser.process.schedule, state.tensor.device
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (
            (schedule.alpha(time).to(device), schedule.sigma(time).to(device)) for time in (t, s)
        )
        values, read, known, _, width = (part.to(device) for part in self.reading)
        x, modes = state.tensor, self.parts.samples_to_modes(state.tensor.double())
        if state.step == 0:
            held = self._held(alpha_t, sigma_t, torch.zeros_like(modes), modes / sigma_t)
            modes = torch.where(known & (sigma_t >= alpha_t * width), held, modes)
            x = self.parts.modes_to_samples(modes).to(x.dtype)
        mean = denoiser(x, t).mean
        clean = self.parts.samples_to_modes(mean.double())
        fresh = state.noise_like(x, float(schedule.log_snr(t)) / 2, float(schedule.log_snr(s)) / 2)
        fresh = self.parts.samples_to_modes(fresh.double())
        old = (modes - alpha_t * clean) / sigma_t
        if self.deviation > 0:
            old = torch.where(known, (read - values * clean) / self.deviation, old)
        free = alpha_s * clean + sigma_s * (math.sqrt(1 - self.eta**2) * old + self.eta * fresh)
        sharp = known & (sigma_s >= alpha_s * width)
        modes = torch.where(sharp, self._held(alpha_s, sigma_s, clean, fresh), free)
        return state.advance(self.parts.modes_to_samples(modes).to(x.dtype), mean)

    def _held(self, alpha: Tensor, sigma: Tensor, clean: Tensor, noise: Tensor) -> Tensor:
        """The directions that were measured more sharply than the state will be, about their reading."""
        target, width = self.reading.target.to(clean.device), self.reading.width.to(clean.device)
        spread = (sigma.square() - (alpha * self.eta_b * width).square()).clamp(min=0).sqrt()
        return alpha * ((1 - self.eta_b) * clean + self.eta_b * target) + spread * noise
