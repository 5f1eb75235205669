"""States and noise in the form that exact laws compute with."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.core.errors import InputError


def flat_noise(
    xt: Tensor, alpha: Tensor | float | int, sigma: Tensor | float | int, shape: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The state (batch, *shape) as float64 (batch, d); alpha and sigma, () or (batch,), as (1, 1) or (batch, 1).

    Where sigma is infinite the state is set to zero: pure noise tells nothing, however large it is.
    """
    if not xt.ndim or tuple(xt.shape[1:]) != tuple(shape):
        raise InputError(f"samples of the shape {tuple(shape)} are known here; seen a batch {tuple(xt.shape)}")
    pair = [torch.as_tensor(value, dtype=torch.float64, device=xt.device) for value in (alpha, sigma)]
    for value in pair:
        if value.ndim > 1 or (value.ndim and len(value) not in (1, len(xt))):
            raise InputError(f"a time is a number, or one a sample: {len(xt)}; seen the shape {tuple(value.shape)}")
    alpha, sigma = (value.reshape(-1, 1) for value in torch.broadcast_tensors(*pair))
    x = xt.double().reshape(len(xt), -1)
    if not bool((sigma < torch.inf).all()):
        x = torch.where(sigma < torch.inf, x, 0.0)
    return x, alpha, sigma
