"""Steering by any function of the clean data: draws from the law p(x) G(x)/Z, in any space."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from unstir.denoisers.base import Denoiser
from unstir.inverse.methods.twisted import TwistedMethod
from unstir.inverse.methods.twists import Potential
from unstir.inverse.solving import Solution, drawn


def steer(
    denoiser: Denoiser,
    log_potential: Callable[[Any], Tensor],
    shape: Any,
    count: int = 128,
    *,
    differentiable: bool = True,
    method: TwistedMethod | None = None,
    steps: int = 100,
    batch: int = 128,
    **options: Any,
) -> Solution:
    r"""Draws ``count`` samples of the law in proportion to :math:`p(x_0)\,G(x_0)`, exact as the particles grow.

    ``log_potential(x0)`` tells log G in nats, (batch,), of clean states of ``shape``: a reward, minus an energy, a
    log-likelihood; a sample's value depends on that sample alone. ``differentiable`` says whether its gradient may pull
    on Gaussian processes; without one the particles are only weighed. ``method`` holds particles, threshold and so on;
    the other ``options`` are those of ``samplers.sample``. ``log_evidence`` of the diagnostics is log E[G(x_0)].

    Raises InputError for a potential that does not tell one number a sample, NonFiniteError where it is minus infinity
    for all particles.

    Reference: Singhal et al., A general framework for inference-time scaling and steering of diffusion models (2025),
    section 3; Del Moral, Feynman-Kac formulae (2004), chapter 2.
    """
    method = TwistedMethod() if method is None else method
    sampler = method.sampler(denoiser, Potential(log_potential, differentiable))
    return drawn(denoiser, sampler, shape, count, sampler.told, steps=steps, batch=method.batch(batch), **options)
