"""Gaussians given a linear measurement of them."""

import math

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.exact.axis_components import AxisComponents
from unstir.exact.dense_components import DenseComponents
from unstir.exact.gaussian_components import FLOOR, Components, floored
from unstir.exact.low_rank_components import LowRankComponents

_EPS = torch.finfo(torch.float64).eps
_LARGEST_DENSE = 8192  # elements; above, factors of covariance matrices no longer fit in memory


def observe(
    components: Components, log_weights: Tensor, operator: Tensor, observation: Tensor, noise: Tensor | float | int
) -> tuple[Components, Tensor, Tensor]:
    """Components and their log-weights (k,) given y = A x_0 + e, and log p(y).

    An exact measurement (noise zero) may be redundant; log p(y) is then taken on the values that y can have.
    """
    size = components.means.shape[2]
    operator, observation, covariance = measurement(operator, observation, noise, size, log_weights.device)
    single = _coordinates(operator, covariance)
    if single is not None and not isinstance(components, DenseComponents):
        given, evidence, nulls = _observe_coordinates(components, *single, operator, observation, covariance)
    else:
        given, evidence, nulls = _observe_any(components, operator, observation, covariance)
    joint = log_weights + evidence
    total = joint.logsumexp(0)
    if not bool(total > -1e100):
        raise InputError(
            "the observation is impossible under this law: no component can give it; check it or its noise"
        )
    # as of densities: where a value of y has a probability, the others have none
    on_support = nulls[joint.argmax()] * math.log(2 * math.pi * FLOOR) / 2
    return given, joint - total, total + on_support


def measurement(
    operator: Tensor, observation: Tensor, noise: Tensor | float | int, size: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """A (m, d), y (m,) and the noise's covariance (m, m), float64 and checked."""
    operator, observation, noise = (
        torch.as_tensor(part, dtype=torch.float64, device=device) for part in (operator, observation, noise)
    )
    if operator.ndim != 2 or operator.shape[1] != size or not len(operator) or observation.shape != operator.shape[:1]:
        raise InputError(
            f"an operator (m, {size}), m >= 1, and an observation (m,) are needed; "
            f"seen {tuple(operator.shape)} and {tuple(observation.shape)}"
        )
    rows = len(operator)
    if not bool(operator.isfinite().all() & observation.isfinite().all() & noise.isfinite().all()):
        raise InputError("operator, observation and noise must be finite; leave out what was not measured")
    if noise.ndim <= 1 and noise.shape in ((), (rows,)):
        if bool((noise < 0).any()):
            raise InputError(f"a standard deviation is not negative; seen {noise.min().item():.3g}")
        return operator, observation, torch.diag(noise.expand(rows).square())
    if noise.shape != (rows, rows) or not torch.allclose(noise, noise.mT):
        raise InputError(
            f"noise is a standard deviation, () or ({rows},), or a symmetric covariance ({rows}, {rows}); "
            f"seen shape {tuple(noise.shape)}"
        )
    if torch.linalg.eigvalsh(noise).amin() < -1e-8 * noise.abs().amax():
        raise InputError("a covariance of noise has no negative eigenvalues")
    return operator, observation, noise


def _coordinates(operator: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor] | None:
    """Where the rows measure different single elements with independent noise: those, and their factors."""
    used = operator != 0
    if bool((used.sum(1) != 1).any()) or bool((covariance - torch.diag(covariance.diagonal())).any()):
        return None
    place = used.double().argmax(1)
    if len(place.unique()) < len(place):
        return None
    return place, operator.gather(1, place[:, None])[:, 0]


def _observe_coordinates(
    components: Components, place: Tensor, factor: Tensor, operator: Tensor, observation: Tensor, covariance: Tensor
) -> tuple[Components, Tensor, Tensor]:
    """Measured elements are elements seen through noise, and the others through noise that hides all."""
    size = operator.shape[1]
    x, alpha, noise = (
        torch.full((1, size), value, dtype=torch.float64, device=place.device) for value in (0.0, 0.0, 1.0)
    )
    x[0, place], alpha[0, place], noise[0, place] = observation, factor, covariance.diagonal()
    noisy = components.noisy(x, alpha, floored(noise))
    log_densities = noisy.log_densities[0] + (size - len(place)) / 2 * math.log(2 * math.pi)
    nulls = torch.zeros_like(log_densities) if noisy.nulls is None else noisy.nulls[0].double()
    found = noisy.posterior()
    if isinstance(found, LowRankComponents):
        return found, log_densities, nulls
    # a width of which only rounding is left is none
    values = torch.where(found.variances()[0] > FLOOR * 1e20, found.variances()[0], 0.0)
    return AxisComponents.of(found.means[0], values), log_densities, nulls


def _observe_any(
    components: Components, operator: Tensor, observation: Tensor, covariance: Tensor
) -> tuple[Components, Tensor, Tensor]:
    r"""The square-root form of the update: no covariance is subtracted, so a noise of zero costs no digits.

    With C = L L^T and R = N N^T, an orthogonal matrix makes (N, AL; 0, L) triangular, (S, 0; K, L'): S S^T is the
    covariance of y, K S^-1 the gain, L' L'^T what is left.

    Reference: Kaminski, Bryson, Schmidt, Discrete square root filtering (1971); Golub, Van Loan, Matrix
    computations, section 5.2.
    """
    rows, size = operator.shape
    if size > _LARGEST_DENSE:
        raise InputError(
            f"a measurement that mixes elements needs covariance matrices, for at most {_LARGEST_DENSE} elements; "
            f"seen {size}. Measure single elements (one non-zero in each row), or a law of fewer elements"
        )
    root = _root(components)
    count, width = len(root), root.shape[2]
    values, vectors = torch.linalg.eigh(covariance)
    noise_root = (vectors * values.clamp(min=0).sqrt()).expand(count, rows, rows)
    seen = operator @ root
    below = torch.zeros(count, size, rows, dtype=root.dtype, device=root.device)
    before = torch.cat((torch.cat((noise_root, seen), 2), torch.cat((below, root), 2)), 1)
    after = torch.linalg.qr(before.mT, mode="r").R.mT
    if after.shape[2] < rows + size:
        after = torch.nn.functional.pad(after, (0, rows + size - after.shape[2]))
    told, gain, left = after[:, :rows, :rows], after[:, rows:, :rows], after[:, rows:, rows:]

    outer, deviations, inner = torch.linalg.svd(told)
    scale = (covariance.diagonal().amax() + (operator @ root).square().sum(2).amax()).sqrt()
    exact = deviations <= scale * _EPS * 16 * (rows + width)
    means = components.means[0]
    away = ((observation - means @ operator.T)[:, None] @ outer)[:, 0]
    size_of_away = observation.abs().amax() + (means.abs() @ operator.abs().T).amax(1, keepdim=True)
    rounding = exact & (away.abs() <= 1e-11 * (size_of_away + 1e-300))
    away = away.masked_fill(rounding, 0.0)
    variance = torch.where(exact, FLOOR, deviations.square())
    evidence = -(away.square() / variance + (2 * math.pi * variance).log()).sum(1) / 2
    step = (torch.where(exact, 0.0, away / deviations)[:, None] @ inner)[:, 0]
    updated = means + (gain @ step[..., None])[..., 0]
    basis, spread, _ = torch.linalg.svd(left)
    spread = torch.where(spread > root.flatten(1).norm(dim=1, keepdim=True) * _EPS * 16 * size, spread, 0.0)
    return DenseComponents.of(updated, spread.square(), basis), evidence, exact.sum(1).double()


def _root(components: Components) -> Tensor:
    """L (k, d, .) with C = L L^T."""
    if isinstance(components, DenseComponents):
        return components.basis * components.values[0].sqrt()[:, None]
    if isinstance(components, LowRankComponents):
        return torch.cat((torch.diag_embed(components.values[0].sqrt()), components.factors[0]), 2)
    return torch.diag_embed(components.variances()[0].sqrt())
