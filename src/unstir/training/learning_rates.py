r"""The learning rate over the training.

Each schedule rises linearly from 0 to ``peak`` over the first ``warm_up`` steps and then follows its own
curve; it is called with the progress in [0, 1] (steps done over all steps) and the number of steps done.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

from unstir.core.errors import InputError

__all__ = ["Constant", "Cosine", "InverseSquareRoot", "Linear"]


@dataclass(frozen=True)
class _LearningRate:
    peak: int | float = 1e-3
    warm_up: int | float = 0

    def __post_init__(self) -> None:
        if not _is_number(self.peak) or not 0 < self.peak < math.inf:
            raise InputError(f"the learning rate's peak must be a positive number, e.g. 0.001; seen {self.peak!r}")
        if not _is_number(self.warm_up) or not 0 <= self.warm_up < math.inf:
            raise InputError(f"warm_up, a number of steps, must not be negative; seen {self.warm_up!r}")

    def __call__(self, progress: int | float, step: int) -> float:
        """The learning rate of the step that comes after ``step`` steps."""
        rise = min(1.0, (step + 1) / self.warm_up) if self.warm_up else 1.0
        return self.peak * rise * self.factor(progress, step)

    @abstractmethod
    def factor(self, progress: int | float, step: int) -> int | float:
        """The schedule's own curve, as a part of the peak."""


@dataclass(frozen=True)
class Constant(_LearningRate):
    """The peak throughout, after the warm-up.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), appendix F.
    """

    def factor(self, progress: int | float, step: int) -> int | float:
        return 1.0


@dataclass(frozen=True)
class Cosine(_LearningRate):
    """Half a cosine from the peak down to ``final`` times the peak.

    Reference: Loshchilov and Hutter, SGDR: stochastic gradient descent with warm restarts (2017), eq. 5.
    """

    final: int | float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_final(self.final)

    def factor(self, progress: int | float, step: int) -> int | float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Linear(_LearningRate):
    """A straight line from the peak down to ``final`` times the peak.

    Reference: Defazio et al., Optimal linear decay learning rate schedules and further refinements (2023).
    """

    final: int | float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_final(self.final)

    def factor(self, progress: int | float, step: int) -> int | float:
        return 1 + (self.final - 1) * progress


@dataclass(frozen=True)
class InverseSquareRoot(_LearningRate):
    """The peak for the first ``reference`` steps, then falling as one over the root of the steps.

    It needs no total, so a run may go on for longer without having been another run all along.

    Reference: Karras et al., Analyzing and improving the training dynamics of diffusion models (2024), eq. 67.
    """

    reference: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if not _is_number(self.reference) or self.reference < 1:
            raise InputError(f"reference, a number of steps, must be at least 1; seen {self.reference!r}")

    def factor(self, progress: int | float, step: int) -> int | float:
        return 1 / math.sqrt(max(1.0, (step + 1) / self.reference))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_final(final: object) -> None:
    if not _is_number(final) or not 0 <= final <= 1:  # type: ignore[operator]
        raise InputError(f"final, the last learning rate as a part of the peak, must lie in [0, 1]; seen {final!r}")
