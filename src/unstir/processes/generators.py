"""Continuous-time Markov chains on a few states: rates, and the transition matrices that they generate."""

from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError

_SQUARINGS = 40  # "for ever" is 2^40 expected jumps


def as_generator(rates: Any, states: int) -> Tensor:
    """The matrix of rates, float64 (states, states): row i holds the rates from i, and sums to zero.

    Raises InputError for another shape, a negative rate off the diagonal, rows that do not sum to zero, or a
    chain that does not forget where it started.
    """
    matrix = torch.as_tensor(rates, dtype=torch.float64)
    if matrix.shape != (states, states):
        raise InputError(f"{states} classes need {states} x {states} rates; seen the shape {tuple(matrix.shape)}")
    scale = matrix.abs().max().item()
    off = matrix - matrix.diagonal().diag()
    if not 0 < scale < torch.inf or bool((off < 0).any()) or bool((matrix.sum(1).abs() > 1e-9 * scale).any()):
        raise InputError(
            "rates are finite and not all zero, not negative off the diagonal, and every row sums to zero; "
            f"seen {matrix.tolist()}"
        )
    matrix = off - off.sum(1).diag()
    forgotten = transition_matrix(matrix, torch.tensor(torch.inf, dtype=torch.float64))
    if bool((forgotten.max(0).values - forgotten.min(0).values > 1e-6).any()):
        raise InputError(
            "this chain never forgets where it started: its states fall into groups that do not lead to each other"
        )
    return matrix


def transition_matrix(generator: Tensor, clock: Tensor) -> Tensor:
    """exp(Q tau), of shape (*clock.shape, k, k), its smallest entries with full relative precision too.

    By uniformisation: the Poisson mixture of powers of a non-negative matrix, so that nothing cancels, squared
    as often as the time needs.

    Reference: Jensen, Markoff chains as an aid in the study of Markoff processes (1953).
    """
    states = len(generator)
    fastest = -generator.diagonal().min()
    jumps = (clock * fastest).clamp(max=2.0**_SQUARINGS)
    squarings = int((jumps.max().clamp(min=0.5) * 2).log2().ceil()) if jumps.numel() else 0
    jumps = (jumps * 2.0**-squarings)[..., None, None]
    identity = torch.eye(states, dtype=torch.float64, device=generator.device)
    moved = generator / fastest + identity
    term = summed = identity.expand(*clock.shape, states, states)
    for power in range(1, 20 + states):  # so far that every state that can be reached is
        term = term @ moved * (jumps / power)
        summed = summed + term
    # the squaring doubles the relative error of a row's sum, which is known to be one
    law = summed / summed.sum(-1, keepdim=True)
    for _ in range(squarings):
        law = law @ law
        law = law / law.sum(-1, keepdim=True)
    return law
