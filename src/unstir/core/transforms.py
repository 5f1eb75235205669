r"""Invertible transforms of data: the positive, the bounded and the compositional made free of bounds, and back.

A transform takes data x to coordinates y on which Gaussian noise may be added, and samples back; what comes back has
the bounds that the data has. It knows its Jacobian, so that a log-density of y becomes one of x,
:math:`\log p(x) = \log p(y) + \log|\det dy/dx|`, and a record of plain values from which ``transform_of`` makes it
again. Domains use transforms as (parts of) their encodings.

Reference: Box and Cox, An analysis of transformations (1964); Aitchison, The statistical analysis of compositional
data (1986), chapter 6; Egozcue et al., Isometric logratio transformations for compositional data analysis (2003).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from unstir.core.errors import InputError, suggest, unknown


@dataclass(frozen=True)
class Transform(ABC):
    """An invertible map of states, batch first; subclasses are frozen dataclasses of plain values."""

    name: ClassVar[str]

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Coordinates of data. Raises InputError for data outside the transform's domain."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """Data of coordinates, whatever these are."""

    @abstractmethod
    def log_abs_det(self, x: Tensor) -> Tensor:
        """log|det dy/dx| in nats at data x, (batch,)."""

    def record(self) -> dict[str, Any]:
        """Plain values from which ``transform_of`` makes this transform again."""
        return {"name": self.name, **{field.name: getattr(self, field.name) for field in fields(self)}}


@dataclass(frozen=True)
class Log(Transform):
    """y = log(x), for positive data that varies by factors."""

    name = "log"

    def forward(self, x: Tensor) -> Tensor:
        return _inside(x, x > 0, "positive").log()

    def inverse(self, y: Tensor) -> Tensor:
        return y.exp()

    def log_abs_det(self, x: Tensor) -> Tensor:
        return _summed(-x.log())


@dataclass(frozen=True)
class InverseSoftplus(Transform):
    """y = log(exp(x) - 1), for positive data: a logarithm for small x, x itself for large."""

    name = "inverse-softplus"

    def forward(self, x: Tensor) -> Tensor:
        x = _inside(x, x > 0, "positive")
        return x + (-torch.expm1(-x)).log()

    def inverse(self, y: Tensor) -> Tensor:
        return F.softplus(y, threshold=40.0)

    def log_abs_det(self, x: Tensor) -> Tensor:
        return _summed(-(-torch.expm1(-x)).log())


@dataclass(frozen=True)
class BoxCox(Transform):
    r""":math:`y = (x^\lambda - 1)/\lambda` for positive data, with a stated exponent; the logarithm where it is zero.

    The coordinates end at :math:`-1/\lambda`; the inverse takes what lies beyond to that end: zero, or for a negative
    exponent the largest number.
    """

    exponent: float = 0.5
    name = "box-cox"

    def __post_init__(self) -> None:
        if not math.isfinite(self.exponent):
            raise InputError(f"the exponent of a Box-Cox transform is a finite number; seen {self.exponent}")

    def forward(self, x: Tensor) -> Tensor:
        logs = _inside(x, x > 0, "positive").log()
        return torch.expm1(self.exponent * logs) / self.exponent if self.exponent else logs

    def inverse(self, y: Tensor) -> Tensor:
        if not self.exponent:
            return y.exp()
        limits = torch.finfo(y.dtype)
        # log1p at an end is infinite: that end itself is x = 0 or the largest x
        logs = torch.log1p((self.exponent * y).clamp(min=-1)) / self.exponent
        return logs.exp().clamp(max=limits.max)

    def log_abs_det(self, x: Tensor) -> Tensor:
        return _summed((self.exponent - 1) * x.log())


@dataclass(frozen=True)
class Logit(Transform):
    """y = log((x - low) / (high - x)), for data within an open interval; ends are numbers, or one for each column."""

    low: float | Sequence[float] = 0.0
    high: float | Sequence[float] = 1.0
    name = "logit"

    def __post_init__(self) -> None:
        low, high = torch.tensor(self.low), torch.tensor(self.high)
        if low.ndim and high.ndim and low.shape != high.shape:
            raise InputError(f"as many lower as upper ends are needed; seen {len(low)} and {len(high)}")
        if not bool(((high - low).isfinite() & (high > low)).all()):
            raise InputError(f"an interval needs finite ends, low < high; seen {self.low} and {self.high}")

    def forward(self, x: Tensor) -> Tensor:
        low, high = self._ends(x)
        x = _inside(x, (x > low) & (x < high), f"between {self.low} and {self.high}, without these ends")
        return (x - low).log() - (high - x).log()

    def inverse(self, y: Tensor) -> Tensor:
        low, high = self._ends(y)
        # from the nearer end, so that neither is rounded away
        return torch.where(y < 0, low + (high - low) * y.sigmoid(), high - (high - low) * (-y).sigmoid())

    def log_abs_det(self, x: Tensor) -> Tensor:
        low, high = self._ends(x)
        return _summed((high - low).log() - (x - low).log() - (high - x).log())

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return _numbers(self.low, like, "ends"), _numbers(self.high, like, "ends")


@dataclass(frozen=True)
class Affine(Transform):
    """y = (x - shift) / scale: standardisation; numbers, or one for each element of the last axis."""

    shift: float | Sequence[float] = 0.0
    scale: float | Sequence[float] = 1.0
    name = "affine"

    def __post_init__(self) -> None:
        shift, scale = torch.tensor(self.shift), torch.tensor(self.scale)
        if not bool(shift.isfinite().all() and scale.isfinite().all() and (scale > 0).all()):
            raise InputError(f"a scale is positive, a shift finite; seen {self.scale} and {self.shift}")

    def forward(self, x: Tensor) -> Tensor:
        return (x - _numbers(self.shift, x, "shifts")) / _numbers(self.scale, x, "scales")

    def inverse(self, y: Tensor) -> Tensor:
        return _numbers(self.shift, y, "shifts") + _numbers(self.scale, y, "scales") * y

    def log_abs_det(self, x: Tensor) -> Tensor:
        return _summed((-_numbers(self.scale, x, "scales").log()).expand_as(x))


@dataclass(frozen=True)
class LogRatio(Transform):
    r"""Compositions (batch, ..., k), positive parts that sum to one, as k - 1 log-ratios.

    ``kind`` is ``isometric``, :math:`y = V^T\log x` with orthonormal contrasts V (Helmert's), in which all parts count
    alike up to a rotation; or ``additive``, :math:`y_i = \log x_i/x_k`. Densities of x are against the volume of its
    first k - 1 parts.
    """

    kind: str = "isometric"
    name = "log-ratio"

    def __post_init__(self) -> None:
        if self.kind not in ("isometric", "additive"):
            raise unknown("kind of log-ratio", self.kind, ("isometric", "additive"))

    def forward(self, x: Tensor) -> Tensor:
        # what sums are of rounded parts; percents, say, are seen at once
        near = (x.sum(-1, keepdim=True) - 1).abs() <= 1e3 * torch.finfo(x.dtype).eps * x.shape[-1]
        logs = _inside(x, (x > 0) & near, "compositions: positive parts that sum to one along the last axis").log()
        return logs @ contrasts(x.shape[-1], x) if self.kind == "isometric" else logs[..., :-1] - logs[..., -1:]

    def inverse(self, y: Tensor) -> Tensor:
        if self.kind == "isometric":
            return (y @ contrasts(y.shape[-1] + 1, y).T).softmax(-1)
        return F.pad(y, (0, 1)).softmax(-1)

    def log_abs_det(self, x: Tensor) -> Tensor:
        count = x.shape[-1]
        each = -x.log().sum(-1) - (math.log(count) / 2 if self.kind == "isometric" else 0.0)
        return each.flatten(1).sum(1) if each.ndim > 1 else each


@dataclass(frozen=True)
class Composed(Transform):
    """One transform after the other, from data to coordinates."""

    parts: Sequence[Transform]
    name = "composed"

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part.forward(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part.inverse(y)
        return y

    def log_abs_det(self, x: Tensor) -> Tensor:
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for part in self.parts:
            total = total + part.log_abs_det(x)
            x = part.forward(x)
        return total

    def record(self) -> dict[str, Any]:
        """The records of all parts, in their order."""
        return {"name": self.name, "parts": [part.record() for part in self.parts]}


TRANSFORMS: Mapping[str, type[Transform]] = {
    made.name: made for made in (Affine, BoxCox, Composed, InverseSoftplus, Log, LogRatio, Logit)
}


def transform_of(record: str | Mapping[str, Any]) -> Transform:
    """The transform that a record, or a recipe's ``name`` or ``{name: ..., option: value}``, tells.

    Raises InputError for names and options that are not known.
    """
    options = {"name": record} if isinstance(record, str) else dict(record)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in TRANSFORMS:
        raise unknown("transform", str(name), TRANSFORMS)
    allowed = [field.name for field in fields(TRANSFORMS[name])]
    for option in options:
        if option not in allowed:
            raise InputError(f"the transform {name!r} has no option {option!r}; {suggest(option, allowed)}")
    if name == "composed":
        return Composed(tuple(transform_of(part) for part in options.get("parts", ())))
    return TRANSFORMS[name](**options)


def contrasts(count: int, like: Tensor) -> Tensor:
    """Helmert's orthonormal contrasts of ``count`` parts, (count, count - 1): orthogonal to one another and 1."""
    if count < 2:
        raise InputError(f"a composition has 2 parts at least; seen {count}")
    order = torch.arange(1, count, dtype=torch.float64)
    rows = torch.arange(count, dtype=torch.float64)[:, None]
    table = torch.where(rows < order, 1.0, torch.where(rows == order, -order, 0.0)) / (order * (order + 1)).sqrt()
    return table.to(device=like.device, dtype=like.dtype)


def _inside(x: Tensor, allowed: Tensor, domain: str) -> Tensor:
    if not bool(allowed.all()):
        wrong = x[(~allowed).expand_as(x)]
        raise InputError(
            f"data for this transform must be {domain}; {len(wrong)} of {x.numel()} values are not, the first "
            f"{wrong[0].item():g}: leave them out, replace what is below detection, or take another transform"
        )
    return x


def _numbers(values: float | Sequence[float], like: Tensor, what: str) -> Tensor:
    numbers = torch.tensor(values, dtype=like.dtype, device=like.device)
    if numbers.ndim and (like.ndim < 2 or like.shape[-1] != len(numbers)):
        raise InputError(f"{len(numbers)} {what} need a last axis of {len(numbers)}; seen {tuple(like.shape)}")
    return numbers


def _summed(each: Tensor) -> Tensor:
    return each.flatten(1).sum(1) if each.ndim > 1 else each
