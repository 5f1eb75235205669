"""Matrices of rates that have a name, and the rates behind a matrix of transitions."""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, suggest, unknown
from unstir.processes.generators import as_generator

_SURE = 1e-9  # how far rounding may carry a matrix from what it should be


def neighbour_rates(classes: int) -> Tensor:
    """Jumps to the class before and the class after, none beyond the ends: ordered classes, as levels of a pixel.

    Its law at any time is the discretised Gaussian of a random walk between two walls.

    Reference: Austin et al., Structured denoising diffusion models in discrete state-spaces (2021), appendix A.2.3.
    """
    steps = torch.diag(torch.ones(classes - 1, dtype=torch.float64), 1)
    return _scaled(steps + steps.T)


def ring_rates(classes: int) -> Tensor:
    """Jumps to both neighbours on a ring, where the last class is followed by the first: hours, or wind directions."""
    steps = torch.roll(torch.eye(classes, dtype=torch.float64), 1, 1)
    return _scaled(steps + steps.T)


def gaussian_rates(classes: int, deviation: float | int | None = None) -> Tensor:
    """Jumps among ordered classes of about normal size, with this ``deviation`` (an eighth of the classes by default).

    Reference: Campbell et al., A continuous time framework for discrete denoising models (2022), appendix E.
    """
    width = classes / 8 if deviation is None else deviation
    if not 0 < width < math.inf:
        raise InputError(f"the deviation of jumps among classes must be positive; seen {deviation}")
    place = torch.arange(classes, dtype=torch.float64)
    return _scaled((-((place[:, None] - place) / width).square() / 2).exp())


NAMED: Mapping[str, Callable[..., Tensor]] = {
    "gaussian": gaussian_rates,
    "neighbours": neighbour_rates,
    "ring": ring_rates,
}


def rates_of(given: Any, classes: int) -> Tensor:
    """The generator that a recipe or a user means, float64 (classes, classes).

    ``given`` is a name of ``NAMED``; a mapping of the ``name`` and options; a matrix of rates, whose rows sum to zero;
    or one of transition probabilities, whose rows sum to one: one step of it a unit of the clock.

    Raises InputError for anything else, and for a chain that cannot be or does not forget where it started.
    """
    if isinstance(given, str):
        return NAMED[given](classes)
    if isinstance(given, Mapping):
        return _named(dict(given), classes)
    try:
        matrix = torch.as_tensor(given, dtype=torch.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"rates are a name or a matrix of {classes} x {classes} numbers; seen {given!r}") from error
    stochastic = matrix.shape == (classes, classes) and bool(((matrix.sum(1) - 1).abs() < 1e-6).all())
    return as_generator(generator_of(matrix) if stochastic else matrix, classes)


def generator_of(transition: Tensor) -> Tensor:
    """The rates Q with exp(Q) = P, for a matrix P of transition probabilities: its principal logarithm.

    Raises InputError where there is none: many a P, such as one that moves by one place only, is no chain in
    continuous time looked at now and then.

    Reference: Elfving, Zur Theorie der Markoffschen Ketten (1937); Higham, Functions of matrices (2008), section 2.3.
    """
    from scipy.linalg import expm, logm

    law = np.asarray(transition, dtype=np.float64)
    if not np.isfinite(law).all() or law.min() < 0:
        raise InputError(f"probabilities are finite and not negative; seen {law.tolist()}")
    law = law / law.sum(1, keepdims=True)
    if np.abs(np.linalg.eigvals(law)).min() < _SURE:
        raise _no_generator("is singular, so that it has no logarithm")
    found = logm(law)
    if np.abs(np.imag(found)).max() > _SURE:
        raise _no_generator("has no real logarithm")
    rates = np.real(found)
    off = rates - np.diag(np.diag(rates))
    start, end = np.unravel_index(off.argmin(), off.shape)
    if off[start, end] < -_SURE * max(1.0, np.abs(rates).max()):
        raise _no_generator(f"has a logarithm with the rate {off[start, end]:.3g} from the class {start} to {end}")
    off = np.clip(off, 0, None)
    rates = off - np.diag(off.sum(1))
    if np.abs(expm(rates) - law).max() > 1e-7:
        raise _no_generator("has a logarithm that rounding spoils")
    return torch.from_numpy(rates)


def slowest_rate(generator: Tensor) -> float:
    """The rate at which the last memory of the start fades: the spectral gap of the generator."""
    decays = -np.linalg.eigvals(generator.cpu().numpy()).real
    return float(np.sort(decays)[1])


def _scaled(jumps: Tensor) -> Tensor:
    """Rates in proportion to ``jumps``, whose slowest mode fades as exp(-tau), as under uniform noise."""
    off = jumps - jumps.diagonal().diag()
    off = off / slowest_rate(off - off.sum(1).diag())
    return off - off.sum(1).diag()


def _named(options: dict[str, Any], classes: int) -> Tensor:
    name = options.pop("name", None)
    if name not in NAMED:
        raise unknown("matrix of rates with options", str(name), NAMED)
    allowed = [key for key in inspect.signature(NAMED[name]).parameters if key != "classes"]
    for option in options:
        if option not in allowed:
            raise InputError(f"the rates {name!r} have no option {option!r}; {suggest(option, allowed)}")
    return NAMED[name](classes, **options)


def _no_generator(reason: str) -> InputError:
    return InputError(
        f"this transition matrix {reason}: no chain in continuous time makes it in one unit of the clock. Take its "
        "rates instead, the matrix less the identity: it is then applied at random times, once a unit in the mean"
    )
