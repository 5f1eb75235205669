"""Operators made of others: one after the other, several of one sample, one on a part of a joint state."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError, suggest
from unstir.inverse.operators.base import LinearOperator, Operator
from unstir.inverse.operators.shapes import sample_shape

__all__ = ["ComposedOperator", "PartOperator", "StackedOperator"]


@dataclass(frozen=True, eq=False)
class ComposedOperator(Operator):
    """One operator after the other: the second measures what the first one gives, and so on.

    ``parts`` are operators, or names and options of the catalogue ("blur", {name: downsample, factor: 4}), the shape
    of each being the measured shape of the one before. Linear, with an adjoint, if all are; differentiable if all are.
    """

    shape: Any
    parts: Sequence[Any] = ()

    def __post_init__(self) -> None:
        made: list[Operator] = []
        for part in _some(self.parts):
            made.append(_made(part, made[-1].measured_shape if made else self.shape))
        _settle(self, made, _LinearComposed)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.parts[-1].measured_shape

    def __call__(self, x0: Any) -> Tensor:
        for part in self.parts:
            x0 = part(x0)
        return x0

    @classmethod
    def examples(cls) -> Mapping[str, "ComposedOperator"]:
        """Linear ones, and one that is not."""
        return {
            "blurred and small": cls(
                (2, 6, 6), ({"name": "blur", "deviation": 0.7}, {"name": "downsample", "factor": 3})
            ),
            "grey, a part of it": cls((3, 4, 4), ("grey", {"name": "box", "hidden": 0.5})),
            "blurred and clipped": cls((5,), ({"name": "blur", "boundary": "zero"}, {"name": "clip", "low": -0.2})),
        }


class _LinearComposed(ComposedOperator, LinearOperator):
    def adjoint(self, measured: Tensor) -> Tensor:
        for part in reversed(self.parts):
            measured = part.adjoint(measured)
        return measured


@dataclass(frozen=True, eq=False)
class StackedOperator(Operator):
    """Several measurements of one sample, flattened and put end to end: (values,).

    ``parts`` are operators on samples of ``shape``, or names and options of the catalogue. Linear, with an adjoint, if
    all are; differentiable if all are.
    """

    shape: Any
    parts: Sequence[Any] = ()

    def __post_init__(self) -> None:
        _settle(self, [_made(part, self.shape) for part in _some(self.parts)], _LinearStacked)

    @cached_property
    def sizes(self) -> list[int]:
        """The numbers of values that the parts measure."""
        return [math.prod(part.measured_shape) for part in self.parts]

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return (sum(self.sizes),)

    def __call__(self, x0: Any) -> Tensor:
        return torch.cat([part(x0).flatten(1) for part in self.parts], 1)

    def split(self, measured: Tensor) -> list[Tensor]:
        """The measured values (batch, values) of each part, in the shape of its own."""
        pairs = zip(self.parts, measured.split(self.sizes, 1), strict=True)
        return [values.reshape(-1, *part.measured_shape) for part, values in pairs]

    @classmethod
    def examples(cls) -> Mapping[str, "StackedOperator"]:
        """Linear ones, and one that is not."""
        return {
            "grey and coarse": cls((3, 4, 4), ("grey", {"name": "downsample", "factor": 2})),
            "sensors and magnitudes": cls((5,), ({"name": "sensors", "count": 2}, "phase")),
        }


class _LinearStacked(StackedOperator, LinearOperator):
    def adjoint(self, measured: Tensor) -> Tensor:
        pairs = zip(self.parts, self.split(measured), strict=True)
        return torch.stack([part.adjoint(values) for part, values in pairs]).sum(0)


@dataclass(frozen=True, eq=False)
class PartOperator(Operator):
    """An operator on one named part of a joint state; the other parts are not measured.

    ``shape`` names the shapes of all parts, ``part`` the one that is measured, ``operator`` how: an operator on samples
    of that part's shape, or a name and options of the catalogue. Differentiable in that part if the operator is.
    """

    shape: Any
    part: str = ""
    operator: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.shape, Mapping):
            raise InputError(f"a joint state has named shapes, {{name: shape}}; seen {self.shape!r}")
        if self.part not in self.shape:
            raise InputError(f"no part is called {self.part!r}; {suggest(str(self.part), map(str, self.shape))}")
        made = _made(self.operator, self.shape[self.part])
        object.__setattr__(self, "operator", made)
        object.__setattr__(self, "differentiable", made.differentiable)

    @property
    def measured_shape(self) -> tuple[int, ...]:
        return self.operator.measured_shape

    def __call__(self, x0: Mapping[str, Tensor]) -> Tensor:
        return self.operator(x0[self.part])

    @classmethod
    def examples(cls) -> Mapping[str, "PartOperator"]:
        """A part of numbers, and one of tokens."""
        shapes = {"place": (2, 3), "kind": (3,)}
        return {
            "where": cls(shapes, "place", {"name": "columns", "every": 2}),
            "what": cls(shapes, "kind", {"name": "lookup", "table": [0.5, -1.0, 2.0]}),
        }


def _made(part: Any, shape: Any) -> Operator:
    made = part if isinstance(part, Operator) else build("operators", part, shape=shape)
    if not isinstance(made.shape, Mapping) and tuple(made.shape) != sample_shape(shape, "what is measured"):
        raise InputError(
            f"{type(made).__name__} measures samples of shape {tuple(made.shape)}; here they have {tuple(shape)}"
        )
    return made


def _some(parts: Any) -> Sequence[Any]:
    if not isinstance(parts, Sequence) or isinstance(parts, str) or not parts:
        raise InputError(f"a list of operators, or of their names and options, is needed; seen {parts!r}")
    return parts


def _settle(whole: Any, made: list[Operator], linear: type) -> None:
    """Keeps the parts made, and what they have in common."""
    object.__setattr__(whole, "parts", tuple(made))
    object.__setattr__(whole, "differentiable", all(part.differentiable for part in made))
    if all(isinstance(part, LinearOperator) for part in made):
        # linear by its class, so that methods find an adjoint and nothing needs to be asked twice
        object.__setattr__(whole, "__class__", linear)
