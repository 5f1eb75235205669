"""Claims of operators: what they measure, their adjoints, decompositions, inverses and gradients."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.core.state import map_state, take
from unstir.inverse.operators.base import LinearOperator, Operator
from unstir.inverse.operators.tokens import CountOperator, LookupOperator
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most

__all__ = [
    "decompositions_reproduce_their_operator",
    "linear_operators_are_linear_and_have_their_adjoint",
    "operators_have_the_gradient_they_declare",
    "operators_measure_each_sample_alone",
    "pseudo_inverses_are_moore_penrose",
]

EXACT = 1e-12


def clean_for(operator: Operator, seeds: Seeds) -> Any:
    """Standard normal samples that an operator measures, or tokens where it asks for these; float64."""
    if isinstance(operator.shape, Mapping):
        inner = {operator.part: operator.operator}  # type: ignore[attr-defined]
        parts = {name: (name, shape) for name, shape in operator.shape.items()}
        return map_state(lambda part: _one(inner.get(part[0]), part[1], seeds.at(part[0])), parts)
    return _one(operator, operator.shape, seeds)


def _one(operator: Operator | None, shape: Any, seeds: Seeds) -> Tensor:
    if isinstance(operator, CountOperator | LookupOperator):
        return seeds.integers(0, len(getattr(operator, "table", range(3))), shape)
    return seeds.normal(shape, torch.float64)


def _linear(operator: Operator) -> LinearOperator:
    if not isinstance(operator, LinearOperator):
        raise NotMeasured("it is not linear", silent=True)
    return operator


def _largest(tensor: Tensor) -> Tensor:
    return tensor.abs().max() if tensor.numel() else torch.tensor(0.0)


@claim("operators")
def operators_measure_each_sample_alone(operator: Operator, effort: Effort) -> Iterator[Measured]:
    """The measured values have the shape and dtype that are told, and each sample's are its own."""
    x0 = clean_for(operator, effort.seeds(7, "operators", "alone"))
    together = operator(x0)
    alone = torch.cat([operator(take(x0, slice(row, row + 1))) for row in range(7)])
    scale = _largest(together).clamp(min=1.0)
    yield at_most("largest difference, alone or in a batch", _largest(together - alone) / scale, EXACT)
    wrong = int(tuple(together.shape) != (7, *operator.measured_shape))
    yield at_most("shapes other than the one told", wrong, 0, f"{tuple(together.shape[1:])}")
    single = map_state(lambda part: part.float() if part.is_floating_point() else part, x0)
    kept = map_state(lambda part: part.dtype if part.is_floating_point() else torch.float64, single)
    wanted = kept[operator.part] if isinstance(kept, dict) else kept  # type: ignore[attr-defined]
    found = operator(single)
    others = int(found.dtype != wanted) + int(together.dtype != torch.float64)
    yield at_most("dtypes other than the sample's", others, 0)
    if operator.differentiable:
        yield at_most("largest error in single precision", _largest(found.double() - together) / scale, 2e-5)


@claim("operators")
def linear_operators_are_linear_and_have_their_adjoint(operator: Operator, effort: Effort) -> Iterator[Measured]:
    """Sums and multiples pass through a linear operator, and <Ax, y> = <x, A'y>; differentiable in y."""
    linear = _linear(operator)
    seeds = effort.seeds(effort.of(8, 64), "operators", "linear")
    x, other = seeds.normal((2, *linear.shape), torch.float64).unbind(1)
    y = seeds.at("measured").normal(linear.measured_shape, torch.float64)
    image = linear(x)
    scale = _largest(image)
    away = linear(2 * x - 3 * other) - 2 * image + 3 * linear(other)
    yield at_most("largest departure from a sum, relative", _largest(away) / scale, EXACT)
    back = linear.adjoint(y)
    lengths = image.flatten(1).norm(dim=1) * y.flatten(1).norm(dim=1)
    inner = (image * y).flatten(1).sum(1) - (x * back).flatten(1).sum(1)
    yield at_most("difference of the inner products, relative", (inner.abs() / lengths).max(), EXACT)
    given = y.clone().requires_grad_()
    (slope,) = torch.autograd.grad(linear.adjoint(given), given, x)
    yield at_most("error of the adjoint's own gradient, relative", _largest(slope - image) / scale, EXACT)


@claim("operators")
def decompositions_reproduce_their_operator(operator: Operator, effort: Effort) -> Iterator[Measured]:
    """Modes of samples and of measured values are orthonormal, and between them A is its singular values."""
    linear = _linear(operator)
    parts, size, rows = linear.decomposition, math.prod(linear.shape), math.prod(linear.measured_shape)
    modes = torch.eye(size, dtype=torch.float64)
    samples = parts.modes_to_samples(modes)
    yield at_most("departure of the samples' modes from orthonormal", _largest(_gram(samples) - modes), EXACT)
    yield at_most("error of the way there and back", _largest(parts.samples_to_modes(samples) - modes), EXACT)
    whole = torch.eye(rows, dtype=torch.float64)
    measured = parts.measured_to_modes(whole.reshape(rows, *linear.measured_shape))
    yield at_most("departure of the measured modes from orthonormal", _largest(_gram(measured) - whole), EXACT)
    wanted = torch.zeros(size, rows, dtype=torch.float64)
    rank = min(size, rows)
    wanted[torch.arange(rank), torch.arange(rank)] = parts.values
    found = parts.measured_to_modes(linear(samples))
    yield at_most("error of A between the modes", _largest(found - wanted) / _largest(wanted), EXACT)
    yield at_most("singular values below zero", int((parts.values < 0).sum()), 0)


@claim("operators")
def pseudo_inverses_are_moore_penrose(operator: Operator, effort: Effort) -> Iterator[Measured]:
    """The pseudo-inverse is that of the matrix, by an independent routine."""
    linear = _linear(operator)
    y = effort.seeds(4, "operators", "inverse").normal(linear.measured_shape, torch.float64)
    inverse = torch.linalg.pinv(linear.matrix, rtol=1e-7)
    wanted = (y.flatten(1) @ inverse.T).reshape(-1, *linear.shape)
    away = _largest(linear.pseudo_inverse(y) - wanted) / _largest(wanted)
    condition = torch.linalg.matrix_norm(linear.matrix, 2) * torch.linalg.matrix_norm(inverse, 2)
    bound = EXACT * max(1.0, condition.item())
    yield at_most("largest error, relative", away, bound, f"condition number {condition:.3g}")


@claim("operators")
def operators_have_the_gradient_they_declare(operator: Operator, effort: Effort) -> Iterator[Measured]:
    """Differentiable operators have the slope of finite differences; others declare that they have none."""
    seeds = effort.seeds(effort.of(4, 32), "operators", "gradient")
    x0 = clean_for(operator, seeds)
    part = operator.part if isinstance(x0, dict) else None  # type: ignore[attr-defined]
    own = x0 if part is None else x0[part]
    if not own.is_floating_point():
        yield at_most("slopes claimed of tokens", int(operator.differentiable), 0)
        return

    def seen(values: Tensor) -> Tensor:
        return operator(values if part is None else {**x0, part: values})

    y = seeds.at("measured").normal(operator.measured_shape, torch.float64)
    given = own.clone().requires_grad_()
    image = seen(given)
    slope = torch.zeros_like(own)
    if image.requires_grad:
        (slope,) = torch.autograd.grad(image, given, y, materialize_grads=True)
    if not operator.differentiable:
        yield at_most("largest slope of what is said to have none", _largest(slope), 0.0)
        return
    way, step = seeds.at("way").normal(own.shape[1:], torch.float64), 1e-6
    steep = ((seen(own + step * way) - seen(own - step * way)) / (2 * step) * y).flatten(1).sum(1)
    told = (slope * way).flatten(1).sum(1)
    scale = (slope.flatten(1).norm(dim=1) * way.flatten(1).norm(dim=1)).max()
    yield Measured("largest slope", _largest(slope).item(), low=1e-6)
    yield at_most("difference from finite differences, relative", _largest(steep - told) / scale, 1e-7)


def _gram(vectors: Tensor) -> Tensor:
    return vectors.flatten(1) @ vectors.flatten(1).T
