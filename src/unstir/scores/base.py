"""Ensembles, probabilities and what came true, checked before they are scored."""

from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError


def real(values: Any) -> Tensor:
    """As a float64 tensor, from a tensor, an array or numbers."""
    return torch.as_tensor(values, dtype=torch.float64)


def paired(ensemble: Any, observed: Any) -> tuple[Tensor, Tensor]:
    """An ensemble (cases, members, *shape) and what came true (cases, *shape), float64; InputError for other shapes."""
    ensemble, observed = real(ensemble), real(observed)
    if ensemble.ndim < 2 or not ensemble.shape[1]:
        raise InputError(f"an ensemble has the shape (cases, members, ...) and a member; seen {tuple(ensemble.shape)}")
    wanted = (len(ensemble), *ensemble.shape[2:])
    if tuple(observed.shape) != wanted:
        raise InputError(
            f"an ensemble {tuple(ensemble.shape)}, (cases, members, ...), needs observations {wanted}, without "
            f"the members' axis; seen {tuple(observed.shape)}"
        )
    return ensemble, observed


def vectors(ensemble: Any, observed: Any) -> tuple[Tensor, Tensor]:
    """The same for scores of several numbers together: (cases, members, d) and (cases, d)."""
    ensemble, observed = paired(ensemble, observed)
    if ensemble.ndim != 3:
        raise InputError(
            f"numbers that are judged together stand in one axis, (cases, members, numbers); seen "
            f"{tuple(ensemble.shape)}: flatten the others"
        )
    return ensemble, observed


def chances(probability: Any, event: Any) -> tuple[Tensor, Tensor]:
    """Probabilities and whether it came true (0, 1, or NaN where that is not known), of one shape, float64."""
    probability, event = real(probability), real(event)
    if probability.shape != event.shape:
        raise InputError(
            f"a probability for each event is needed; seen the shapes {tuple(probability.shape)} and "
            f"{tuple(event.shape)}"
        )
    known = probability[~probability.isnan()]
    if ((known < 0) | (known > 1)).any():
        raise InputError(f"probabilities lie from 0 to 1; seen {float(known.min()):g} to {float(known.max()):g}")
    checked_event(event)
    return probability, event


def known_chances(probability: Any, event: Any) -> tuple[Tensor, Tensor]:
    """The same, flat, where both are known; InputError if that is nowhere."""
    probability, event = (each.flatten() for each in chances(probability, event))
    seen = ~(probability.isnan() | event.isnan())
    if not seen.any():
        raise InputError("no event is known together with its probability: there is nothing to verify")
    return probability[seen], event[seen]


def checked_event(event: Tensor) -> None:
    """InputError for anything but 0, 1 and NaN."""
    if not ((event == 0) | (event == 1) | event.isnan()).all():
        raise InputError("an event came true (1), did not (0), or is not known (NaN); seen other numbers")
