r"""An average of any length, chosen after the training.

Snapshots of tracked power-function averages span a space; the wanted average is approximated by the
combination of snapshots whose profile is nearest in the square mean. A profile with power :math:`\gamma`
that ends at t is the density :math:`p(\tau)=(\gamma+1)\tau^\gamma/t^{\gamma+1}` on [0, t], so two of them have

.. math:: \langle p_a, p_b\rangle = \int_0^m p_a p_b\,d\tau
    = \frac{(\gamma_a+1)(\gamma_b+1)}{(\gamma_a+\gamma_b+1)\,m}
      \Big(\frac{m}{t_a}\Big)^{\gamma_a+1}\Big(\frac{m}{t_b}\Big)^{\gamma_b+1},\qquad m=\min(t_a,t_b).

The coefficients are made to sum to one, so that weights at rest are reproduced exactly.

Reference: Karras et al., Analyzing and improving the training dynamics of diffusion models (2024), section 3.2
and appendix C.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from unstir.training.profiles import PowerProfile

Ended = tuple[PowerProfile, float]  # a profile, and the step at which it ends


def inner_product(first: Ended, second: Ended) -> float:
    """The integral of the product of two profiles."""
    (a, t_a), (b, t_b) = (first[0].gamma, first[1]), (second[0].gamma, second[1])
    m = min(t_a, t_b)
    return (a + 1) * (b + 1) / ((a + b + 1) * m) * (m / t_a) ** (a + 1) * (m / t_b) ** (b + 1)


def coefficients(tracked: Sequence[Ended], wanted: Ended) -> np.ndarray:
    """The factors of the tracked averages whose sum is nearest to the wanted one; float64, sum 1."""
    norms = np.sqrt([inner_product(item, item) for item in tracked])
    gram = np.array([[inner_product(a, b) for b in tracked] for a in tracked]) / norms[:, None] / norms
    target = np.array([inner_product(item, wanted) for item in tracked]) / norms
    # least squares under the constraint that the coefficients, here times the norms, sum to one
    row = norms.min() / norms
    system = np.block([[gram, row[:, None]], [row, np.zeros((1, 1))]])
    solution = np.linalg.lstsq(system, np.append(target, norms.min()), rcond=1e-13)[0][:-1] / norms
    return solution / solution.sum()


def relative_error(tracked: Sequence[Ended], factors: np.ndarray, wanted: Ended) -> float:
    """The distance of the combined profile from the wanted one, over the latter's norm."""
    gram = np.array([[inner_product(a, b) for b in tracked] for a in tracked])
    cross = np.array([inner_product(item, wanted) for item in tracked])
    square = factors @ gram @ factors - 2 * factors @ cross + inner_product(wanted, wanted)
    return float(np.sqrt(max(square, 0.0) / inner_product(wanted, wanted)))


def combine(factors: np.ndarray, read: Sequence[Callable[[], Mapping[str, Tensor]]]) -> dict[str, Tensor]:
    """The weighted sum of tensors that are read one set after the other; summed in float64.

    Tensors that are not of floating point are taken from the last set.
    """
    total: dict[str, Tensor] = {}
    last: Mapping[str, Tensor] = {}
    for factor, reader in zip(factors.tolist(), read, strict=True):
        last = reader()
        for name, tensor in last.items():
            if tensor.is_floating_point():
                total[name] = total.get(name, torch.zeros((), dtype=torch.float64)) + factor * tensor.double()
    return {name: total[name].to(tensor.dtype) if name in total else tensor for name, tensor in last.items()}
