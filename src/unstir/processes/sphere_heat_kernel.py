r"""The heat kernel of the sphere :math:`S^2` at all noise levels, and exact draws of the product of two.

Brownian motion on the sphere (generator :math:`\tfrac12\Delta`, unit radius) is Brownian motion of the rotations
applied to a point. Densities refer to the uniform law, of total mass one, and depend on the angle
:math:`\theta \in [0, \pi]` alone. Of all rotations that bring the one point to the other, turned by :math:`\psi`
about it, the kernel is the average of the isotropic Gaussian f on SO(3):

.. math::
    p(\theta) = \sum_{l\ge0} (2l+1) e^{-l(l+1)\sigma^2/2} P_l(\cos\theta)
    = \frac1\pi \int_0^\pi f(\omega)\,d\psi, \qquad \cos\tfrac\omega2 = \cos\tfrac\theta2\,\cos\tfrac\psi2.

The Legendre series loses all digits where p is small; the integral is of positive terms, smooth and periodic or
falling off like a normal density, so that the trapezoidal rule keeps full relative precision everywhere.

Reference: Mijatovic, Mramor, Uribe Bravo, A note on the exact simulation of spherical Brownian motion (2020), for
another way to draw; the average over a fibre is the projection of the heat kernel from SO(3) to SO(3)/SO(2).
"""

import math

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.processes import isotropic_gaussian, quaternions
from unstir.processes.isotropic_gaussian import UNIFORM, WIDE, log_sinc_half, windings
from unstir.processes.isotropic_gaussian_draws import draw_product as draw_rotations
from unstir.processes.isotropic_gaussian_draws import until_accepted

_NODES = 16
_REACH = 80.0  # half of it in nats is where the integral is cut off
_NARROWEST = 1e-150
_FLATTEST = math.log(math.pi / 2)  # of -log sinc, at the angle pi


def log_density(angle: Tensor, deviation: Tensor) -> Tensor:
    """log p in nats; the deviation, in radians, broadcasts and may be infinite. Float64, differentiable in both."""
    omega, logs, width, _ = _fibre(angle, deviation)
    terms = isotropic_gaussian.log_density(omega, deviation.to(angle.device)[..., None]) + logs
    return torch.logsumexp(terms, -1) + width.log()


def score(angle: Tensor, deviation: Tensor) -> Tensor:
    """The derivative of ``log_density`` in the angle, with full relative precision."""
    omega, logs, _, slope = _fibre(angle, deviation)
    spread = deviation.to(angle.device)[..., None]
    shares = (isotropic_gaussian.log_density(omega, spread) + logs).softmax(-1)
    return (shares * isotropic_gaussian.score(omega, spread) * slope).sum(-1)


def _fibre(angle: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nodes omega (..., n), logarithms of their weights (n,), the share of the circle, and d omega / d theta."""
    theta, sigma = torch.broadcast_tensors(angle.double().clamp(max=math.pi), deviation.to(angle.device).double())
    half, spread = theta / 2, sigma.detach().clamp(_NARROWEST, UNIFORM).square() * _REACH
    # beyond this turn the integrand is below e^-40 of its peak; taken from sines, lest digits be lost
    added = spread / ((theta.detach().square() + spread).sqrt() + theta.detach())
    edge = theta.detach() + added
    squared = (added / 2).sin() * (half.detach() + edge / 2).sin() / half.detach().cos().square()
    whole = edge >= math.pi
    turn = torch.where(whole, math.pi, 2 * torch.asin(squared.where(~whole, 0).clamp(0, 1).sqrt()))
    place = torch.arange(_NODES + 1, device=theta.device, dtype=torch.float64) / _NODES
    psi = place * turn[..., None] / 2
    logs = torch.full_like(place, -math.log(_NODES))
    logs[0], logs[-1] = logs[0] - math.log(2), logs[-1] - math.log(2)
    cosine, sine = half.cos()[..., None], half.sin()[..., None]
    across = quaternions.length(torch.stack((sine.expand(psi.shape), cosine * psi.sin()), -1))
    omega = 2 * torch.atan2(across, cosine * psi.cos())
    return omega, logs, turn / math.pi, sine * psi.cos() / across


def frame(x: Tensor) -> Tensor:
    """A rotation, as a quaternion (..., 4), that brings the third axis to the unit vectors x (..., 3)."""
    x = x.double()
    return quaternions.from_matrix(torch.stack((*quaternions.beside(x), x), -1))


def draw_product(
    first: Tensor, first_deviation: Tensor, second: Tensor, second_deviation: Tensor, seeds: Seeds
) -> Tensor:
    """Draws in proportion to the product of two heat kernels about unit vectors (batch, ..., 3), float64.

    Deviations broadcast to (batch, ...), zero for a point and infinite for uniform. A rotation that brings the first
    point to the second is drawn by its weight, and then what lies between on SO(3).
    """
    a, b = frame(first), frame(second)
    elements = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1], first_deviation.shape)
    a, b = a.expand(*elements, 4), b.expand(*elements, 4)
    v, w = (deviation.to(a.device).double().expand(elements) for deviation in (first_deviation, second_deviation))
    way = quaternions.multiply(quaternions.inverse(a), b)
    straight = quaternions.length(way[..., (0, 3)])
    theta = 2 * torch.atan2(quaternions.length(way[..., 1:3]), straight)
    offset = 2 * torch.atan2(way[..., 3], way[..., 0])
    total = (v.square() + w.square()).sqrt().clamp(max=UNIFORM)
    turn = _draw_turn(theta, total, seeds.at("fibre")) - offset
    nothing = torch.zeros_like(turn)
    about = torch.stack(((turn / 2).cos(), nothing, nothing, (turn / 2).sin()), -1)
    drawn = draw_rotations(a, v, quaternions.multiply(b, about), w, seeds.at("between"))
    x, y, z, t = drawn[..., 1], drawn[..., 2], drawn[..., 3], drawn[..., 0]
    return torch.stack((2 * (x * z + t * y), 2 * (y * z - t * x), 1 - 2 * (x * x + y * y)), -1)


def _draw_turn(theta: Tensor, sigma: Tensor, seeds: Seeds) -> Tensor:
    """Draws of psi in proportion to f(omega), of the shape (batch, ...).

    Narrow laws lie below a von Mises density, whose logarithm is the tangent of theirs in sin^2(psi/2); it is drawn by
    rejection itself, from the angular central Gaussian.

    Reference: Kent, Ganeiber, Mardia, A new unified approach for the simulation of a wide class of directional
    distributions (2018), section 3.
    """
    flat, spread = (part.expand(theta.shape).reshape(len(theta), -1) for part in (theta, sigma))
    angles, sigmas = flat.flatten(), spread.flatten()

    def propose(chosen: Tensor, normals: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        theta, sigma = angles[chosen], sigmas[chosen]
        half = (theta / 2).clamp(min=1e-100)
        slope = 2 * half / half.tan() / sigma.square() - (_FLATTEST + log_sinc_half(theta))
        rate = torch.where(sigma < WIDE, slope.clamp(min=0), 0.0)
        width = 1 + 1 / ((rate.square() + 1).sqrt() + rate)
        shape = 1 + 2 * rate / width
        pair = quaternions.normalised(torch.stack((normals[:, 0], normals[:, 1] / shape.sqrt()), -1))
        cosine, sine = pair.unbind(-1)
        away = torch.stack((half.sin(), half.cos() * sine), -1)
        omega = 2 * torch.atan2(quaternions.length(away), half.cos() * cosine.abs())
        # to the bound of the angular central Gaussian, and from the von Mises density to the law
        log_chance = torch.log1p(2 * rate / width * sine.square()) + (2 - width) / 2 - (2 / width).log()
        # sin^2(omega/2) - sin^2(theta/2), from which the difference of the angles keeps its digits for the least noise
        squares = (half.cos() * sine).square()
        further = 2 * torch.asin((squares / ((omega + theta) / 2).sin().clamp(min=1e-300)).clamp(max=1))
        narrow = -further * (omega + theta) / (2 * sigma.square()) + log_sinc_half(theta) - log_sinc_half(omega)
        narrow = narrow + windings(omega, sigma.clamp(max=WIDE)).log() - (-slope).clamp(min=0) - math.log(2)
        wide = isotropic_gaussian.log_density(omega, sigma) - isotropic_gaussian.log_density(theta, sigma)
        turn = 2 * torch.atan2(sine, cosine)
        return turn[:, None], log_chance + torch.where(sigma < WIDE, narrow, wide)

    known = (angles.isfinite() & (sigmas > 0)).reshape(flat.shape)
    return until_accepted(propose, torch.zeros_like(flat)[..., None], known, seeds).reshape(theta.shape)
