"""Resampling: weighted particles become particles of one weight, without bias.

Of N particles with shares w_i, sum w_i = 1, one is drawn N_i times with E[N_i] = N w_i, by every scheme here.
"""

import torch
from torch import Tensor

from unstir.core.errors import NonFiniteError
from unstir.core.seeds import Seeds

SCHEMES = ("systematic", "stratified", "multinomial")


def effective_sample_size(log_weights: Tensor) -> Tensor:
    r""":math:`(\sum_i w_i)^2/\sum_i w_i^2`, float64 (populations,), between 1 and the N of (populations, N).

    Zero where all weights vanish.

    Reference: Kong, Liu, Wong, Sequential imputations and Bayesian missing data problems (1994).
    """
    largest = log_weights.amax(1, keepdim=True)
    weights = (log_weights - largest.clamp(min=torch.finfo(torch.float64).min)).exp()
    return weights.sum(1).square() / weights.square().sum(1).clamp(min=torch.finfo(torch.float64).tiny)


def ancestors(log_weights: Tensor, seeds: Seeds, scheme: str = "systematic") -> Tensor:
    r"""Who goes on, int64 (populations, N): the numbers of the particles drawn, in rising order within a population.

    ``log_weights`` (populations, N) need not be normalised; minus infinity is never drawn. ``seeds`` are the particles'
    own, (populations N,). The distribution function is inverted at N places: :math:`(i + u)/N` with one u of the
    population's first particle (``systematic``: N_i is N w_i rounded down or up), :math:`(i + u_i)/N`
    (``stratified``), or N independent ones (``multinomial``).

    Raises NonFiniteError where all weights of a population vanish, or one is not a number.

    Reference: Douc, Cappé, Moulines, Comparison of resampling schemes for particle filtering (2005).
    """
    check_weights(log_weights)
    populations, count = log_weights.shape
    edges = (log_weights - log_weights.amax(1, keepdim=True)).exp().cumsum(1)
    strata = torch.arange(count, device=log_weights.device, dtype=torch.float64)
    if scheme == "systematic":
        places = (strata + seeds[::count].uniform()[:, None].to(strata.device)) / count
    else:
        drawn = seeds.uniform().reshape(populations, count).to(strata.device)
        places = (strata + drawn) / count if scheme == "stratified" else drawn.sort(1).values
    # below the last edge even after rounding, and strictly beyond an edge: what has no width is never hit
    reached = torch.minimum(places * edges[:, -1:], edges[:, -1:] * (1 - 2**-53))
    return torch.searchsorted(edges, reached, right=True)


def check_weights(log_weights: Tensor) -> None:
    """Refuses populations (populations, N) in which nobody has a weight."""
    largest = log_weights.amax(1)
    if not bool(largest.isfinite().all()):
        lost = int((~largest.isfinite()).nonzero()[0, 0])
        raise NonFiniteError(
            f"all {log_weights.shape[1]} particles of population {lost} have lost their weight (the largest logarithm "
            f"is {largest[lost].item()}): nothing that was drawn fits the measurement. Take more particles or steps, "
            "allow for more noise in the measurement, or check its unit and that the prior's law knows such data"
        )
