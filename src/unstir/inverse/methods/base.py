"""What a method is: a way to draw from the law of clean data given a measurement of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.inverse.measurement import Measurement
from unstir.samplers.base import Sampler, SamplerState

ANY_LAW, GAUSSIAN_LAWS, NO_LAW = "any law", "Gaussian laws", "no law"


class Method(ABC):
    """A way to draw from p(x_0 | y); subclasses are frozen dataclasses whose fields all have defaults.

    It becomes a denoiser and a sampler, which ``samplers.sample`` runs as any other: a *guiding* method is a denoiser
    around the denoiser and takes any sampler; a *stepping* method is a sampler of its own around the plain denoiser.
    ``exact_for`` says of which data laws the draws are exact in the limit of many steps (and particles), under a
    linear measurement with normal noise: ANY_LAW, GAUSSIAN_LAWS or NO_LAW. A draw does not depend on those beside it,
    but for particles of one population, whose number is part of the method.
    """

    exact_for: ClassVar[str]
    spaces: ClassVar[frozenset[str]]
    needs: ClassVar[frozenset[str]] = frozenset()
    """Of the measurement: "linear" operator, "differentiable" operator, "gaussian" noise, "positive" noise
    (a deviation above zero), "mask" (elements seen as they are)."""

    steps: ClassVar[int] = 100
    """The sampler's steps where none are said."""

    @abstractmethod
    def pair(self, denoiser: Denoiser, measurement: Measurement) -> tuple[Denoiser, Sampler]:
        """What ``samplers.sample`` is to run."""

    def batch(self, wanted: int) -> int:
        """The batch to run in, near the one wanted: a method of many particles needs them side by side."""
        return wanted

    def diagnostics(self, state: SamplerState) -> Mapping[str, Tensor]:
        """What a batch's last state tells beside its samples: effective sample size, evidence, ..."""
        return {}

    def check(self, denoiser: Denoiser, measurement: Measurement) -> None:
        """Refuses a space or a measurement that this method cannot serve, naming methods that can."""
        space = denoiser.process.space
        name = type(self).__name__
        if "any" not in self.spaces and space not in self.spaces:
            raise InputError(f"{name} serves {sorted(self.spaces)}, not the space {space!r}; {_others(space)}")
        told = traits(measurement)
        if lacking := sorted(self.needs - told):
            raise InputError(
                f"{name} needs a measurement that is {' and '.join(lacking)}; this one is "
                f"{' and '.join(sorted(told)) or 'none of these'}; {_others(space, told)}"
            )

    @classmethod
    def examples(cls) -> Mapping[str, "Method"]:
        """Members whose claims are measured: the one without options, unless overridden."""
        return {"default": cls()}


def traits(measurement: Measurement) -> frozenset[str]:
    """What a measurement has that methods may need."""
    from unstir.inverse.noises.gaussian import GaussianNoise
    from unstir.inverse.operators.mask import MaskOperator

    operator, noise = measurement.operator, measurement.noise
    exact = isinstance(noise, GaussianNoise) and noise.deviation == 0
    told = {
        "linear": operator.linear,
        "differentiable": operator.differentiable,
        "gaussian": isinstance(noise, GaussianNoise),
        "positive": not exact,
        "mask": isinstance(operator, MaskOperator),
    }
    return frozenset(name for name, true in told.items() if true)


def methods_for(space: str, told: frozenset[str] | None = None) -> list[str]:
    """The names of the methods that serve a space, and a measurement with these traits if they are given."""
    from unstir.core.catalogue import entries

    made: dict[str, Any] = {name: build("methods", name) for name in entries("methods")}
    return [
        name
        for name, method in made.items()
        if ("any" in method.spaces or space in method.spaces) and (told is None or method.needs <= told)
    ]


def _others(space: str, told: frozenset[str] | None = None) -> str:
    return f"methods that do: {', '.join(methods_for(space, told)) or 'none'}"
