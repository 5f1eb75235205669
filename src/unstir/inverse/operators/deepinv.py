"""Physics objects of deepinv, taken by their methods: the package itself is not needed.

Reference: Tachella et al., DeepInverse: a Python package for solving imaging inverse problems (2025).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.inverse.noises.base import MeasurementNoise
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.noises.poisson import PoissonNoise
from unstir.inverse.operators.base import LinearOperator, Operator
from unstir.inverse.operators.function import transposed
from unstir.inverse.operators.shapes import sample_shape


@dataclass(frozen=True, eq=False)
class PhysicsOperator(Operator):
    """The map ``physics.A``; made by ``from_physics``."""

    shape: tuple[int, ...]
    physics: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", sample_shape(self.shape, "a physics object"))
        found = self(torch.zeros(1, *self.shape))
        if not isinstance(found, Tensor) or found.is_complex() or len(found) != 1:
            seen = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"a physics object's A must return one real tensor, a row a sample; seen {seen}")
        object.__setattr__(self, "_measured", tuple(found.shape[1:]))

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self._measured  # type: ignore[attr-defined]

    def __call__(self, x0: Tensor) -> Tensor:
        found = self.physics.A(x0)
        return found.to(x0.dtype) if isinstance(found, Tensor) and not found.is_complex() else found

    @classmethod
    def examples(cls) -> Mapping[str, "PhysicsOperator"]:
        """None: they are other people's."""
        return {}


@dataclass(frozen=True, eq=False)
class LinearPhysicsOperator(PhysicsOperator, LinearOperator):
    """One with an adjoint, by ``physics.A_adjoint``, and a pseudo-inverse, by ``physics.A_dagger`` where it has one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            y = torch.randn(1, *self.measured_shape)
        wanted, found = transposed(self, self.shape, y), self.adjoint(y)
        if found.shape != wanted.shape or (found - wanted).abs().max() > 1e-3 * wanted.abs().max():
            raise InputError(
                "A_adjoint of this physics object is not the transpose of its A; take it as a function of your own: "
                "FunctionOperator(shape, physics.A)"
            )

    def adjoint(self, measured: Tensor) -> Tensor:
        return self.physics.A_adjoint(measured).to(measured.dtype)

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        if not callable(getattr(self.physics, "A_dagger", None)):
            return super().pseudo_inverse(measured)
        return self.physics.A_dagger(measured).to(measured.dtype)


def from_physics(physics: Any, shape: Sequence[int]) -> Operator:
    """An operator of a deepinv ``Physics`` object, for samples of ``shape``.

    By its methods alone: ``A(x)``, and for a linear one ``A_adjoint(y)`` and maybe ``A_dagger(y)``, on tensors with the
    batch first. Raises InputError for an object without A, for complex or several measured values, and where A_adjoint
    is not the transpose.
    """
    if not callable(getattr(physics, "A", None)):
        raise InputError(
            f"a physics object has a method A(x), and A_adjoint(y) if it is linear; seen {type(physics).__name__}"
        )
    linear = callable(getattr(physics, "A_adjoint", None))
    return (LinearPhysicsOperator if linear else PhysicsOperator)(tuple(shape), physics)


def noise_of_physics(physics: Any) -> MeasurementNoise:
    """The noise of a deepinv ``Physics`` object, by the attributes of its ``noise_model``.

    Normal noise where there is a ``sigma`` alone, Poisson noise where there is a ``gain`` alone (deepinv's gain is a
    reading's value for one count: ours is the inverse). Raises InputError for others.
    """
    model = getattr(physics, "noise_model", None)
    sigma, gain = (_number(model, name) for name in ("sigma", "gain"))
    if gain is None and sigma is not None:
        return GaussianNoise(sigma)
    if sigma is None and gain is not None and gain > 0 and getattr(model, "normalize", True):
        return PoissonNoise(1 / gain)
    raise InputError(
        "the noise of a physics object is known where its noise_model has one number sigma (normal) or gain (Poisson, "
        f"normalised); seen {type(model).__name__}: say the noise yourself"
    )


def _number(model: Any, name: str) -> float | None:
    value = getattr(model, name, None)
    try:
        number = None if value is None else float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if number is None or math.isfinite(number) else None
