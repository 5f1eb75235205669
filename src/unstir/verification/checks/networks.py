"""What every architecture keeps, whatever it is; measured on networks in which no weight is zero."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from unstir.core.state import concatenate, take
from unstir.verification.base import Effort, Measured, NotMeasured, claim
from unstir.verification.statistics import at_most
from unstir.verification.subjects import CONDITIONS

__all__ = [
    "network_company",
    "network_conditions",
    "network_derivatives",
    "network_drop",
    "network_gradient",
    "network_repeatability",
    "network_shape",
]

BATCH = 4


@claim("networks")
def network_shape(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """What comes out has the shape and precision of the state, and a fresh network answers zero."""
    for dtype in (torch.float32, torch.float64):
        own = copy.deepcopy(network).to(dtype).eval()
        x, noise, told = _inputs(own, dtype)
        with torch.no_grad():
            output = own(x, noise, **told)
        name = str(dtype).removeprefix("torch.")
        wrong = int(output.shape != x.shape) + int(output.dtype != dtype)
        yield at_most(f"outputs of another shape or precision, {name}", wrong, 0.0)
        yield at_most(f"size of a fresh network's answer, {name}", output.abs().max(), 0.0)


@claim("networks")
def network_company(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """Samples do not see each other: each one alone is as in a batch, to rounding in float64."""
    own = _stirred(network)
    x, noise, told = _inputs(own)
    with torch.no_grad():
        together = own(x, noise, **told)
        rows = [slice(row, row + 1) for row in range(BATCH)]
        alone = concatenate([own(x[row], noise[row], **take(told, row)) for row in rows])
    yield at_most("difference relative to the output", (together - alone).abs().max() / together.abs().max(), 1e-11)


@claim("networks")
def network_conditions(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """The state, the noise level and each condition change the answer."""
    own = _stirred(network)
    x, noise, told = _inputs(own)
    with torch.no_grad():
        output = own(x, noise, **told)
        size = output.abs().max()
        others = {
            "the state": own(1.1 * x, noise, **told),
            "the noise level": own(x, noise + 0.1, **told),
            **{name: own(x, noise, **{**told, name: _other(values)}) for name, values in told.items()},
        }
    for name, other in others.items():
        # in every sample: rounding alone would be some 1e-15
        least = (other - output).flatten(1).abs().amax(1).min() / size
        yield Measured(f"least change by {name}, relative to the output", float(least), low=1e-9)


@claim("networks")
def network_drop(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """A sample whose conditions are dropped is as one that was told nothing but its augmentation."""
    own = _stirred(network)
    x, noise, told = _inputs(own)
    drop = torch.tensor([True, False, True, False])
    with torch.no_grad():
        mixed = own(x, noise, drop=drop, **told)
        everything = own(x, noise, **told)
        nothing = own(x, noise, **{name: values for name, values in told.items() if name == "augment"})
    wanted = torch.where(drop.reshape(-1, *[1] * (x.ndim - 1)), nothing, everything)
    size = everything.abs().max()
    yield at_most("difference relative to the output", (mixed - wanted).abs().max() / size, 1e-11)
    apart = (everything - nothing).abs().max() / size
    yield Measured("change by all conditions together, relative to the output", float(apart), low=1e-9)


@claim("networks")
def network_gradient(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """The gradient of a loss is finite and reaches every parameter."""
    own = _stirred(network)
    x, noise, told = _inputs(own)
    own(x, noise, drop=torch.tensor([True, False, False, False]), **told).square().sum().backward()
    parameters = dict(own.named_parameters())
    missed = [name for name, value in parameters.items() if value.grad is None or not bool(value.grad.any())]
    broken = sum(value.grad is not None and not bool(value.grad.isfinite().all()) for value in parameters.values())
    yield at_most("parameters that it does not reach", len(missed), 0.0, note=", ".join(missed[:5]))
    yield at_most("parameters with a gradient that is not finite", broken, 0.0)


@claim("networks")
def network_derivatives(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """Its derivative by state and noise level is that of differences, along a random direction.

    Central differences of width h, taken twice as (4 D(h/2) - D(h))/3: an error of h^4, beside roundings over h.
    """
    own = _stirred(network)
    x, noise, told = _inputs(own)
    generator = torch.Generator().manual_seed(11)
    direction, weight = (torch.randn(x.shape, generator=generator, dtype=x.dtype) for _ in range(2))
    state, level = x.clone().requires_grad_(), noise.clone().requires_grad_()
    slopes = torch.autograd.grad((own(state, level, **told) * weight).sum(), (state, level))
    told_slope = ((slopes[0] * direction).sum() + slopes[1].sum()).item()

    def difference(h: float) -> float:
        ahead, behind = (own(x + step * direction, noise + step, **told) for step in (h, -h))
        return (((ahead - behind) * weight).sum() / (2 * h)).item()

    with torch.no_grad():
        seen = (4 * difference(5e-4) - difference(1e-3)) / 3
    scale = float(slopes[0].norm() * direction.norm() + slopes[1].norm() * math.sqrt(BATCH))
    yield at_most("error relative to the gradient", abs(told_slope - seen) / scale, 1e-6)


@claim("networks")
def network_repeatability(network: nn.Module, effort: Effort) -> Iterator[Measured]:
    """In evaluation the same question has the same answer to the bit, and one noise level may serve the whole batch."""
    own = _stirred(network).float()
    x, noise, told = _inputs(own, torch.float32)
    with torch.no_grad():
        first, second = own(x, noise, **told), own(x, noise, **told)
        one, each = own(x, torch.tensor(0.3)), own(x, torch.full((BATCH,), 0.3))
    yield at_most("numbers that differ the second time", (first != second).sum(), 0.0)
    yield at_most("numbers that differ with one level for all", (one != each).sum(), 0.0)


def _stirred(network: nn.Module) -> Any:
    """A copy in float64 and evaluation mode, noise of the weights' usual size added to each."""
    own = copy.deepcopy(network).double().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in own.parameters():
            width = parameter[0].numel() if parameter.ndim > 1 else 100
            parameter += torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) / math.sqrt(width)
    return own


def _inputs(network: Any, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """States, noise levels and one of each condition, for a batch."""
    shape = getattr(network, "shape", None)
    if shape is None:
        raise NotMeasured("it does not say for which `shape` of a sample it was made")
    generator = torch.Generator().manual_seed(7)

    def draw(*size: int) -> Tensor:
        return torch.randn(BATCH, *size, generator=generator, dtype=torch.float64).to(dtype)

    told: dict[str, Tensor] = {}
    for name, kind in CONDITIONS.items():
        if "classes" in kind:
            told[name] = torch.arange(BATCH) % kind["classes"]
        else:
            told[name] = draw(kind["size"]) if "size" in kind else draw(kind["channels"], *shape[1:])
    return draw(*shape), torch.linspace(-1.5, 1.5, BATCH, dtype=dtype), told


def _other(values: Tensor) -> Tensor:
    return values * 1.1 if values.is_floating_point() else values + 1
