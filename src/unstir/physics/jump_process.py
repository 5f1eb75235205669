"""Jump processes by sums of non-negative terms only, so that nothing can cancel. Nothing here is public.

Matrices are A of dP/dt = A P: columns sum to zero, or to minus the rate of leaving.

Reference: Jensen 1953, "Markoff chains as an aid in the study of Markoff processes" (uniformization); Berman, Plemmons
1979, "Nonnegative Matrices in the Mathematical Sciences", chapter 6 (M-matrices).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from unstir.core.errors import InputError

_CHUNK = 400.0  # jumps a piece of time may bring: exp(-400) is still far from the smallest number


def evolve(matrix: Any, start: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
    """exp(matrix * duration) @ start, for a matrix (n, n), sparse or not, with non-negative elements off its diagonal.

    The Poisson sum is cut where what is left out is below rounding. ``start`` is (n,) or (n, m).
    """
    rate = float(-matrix.diagonal().min())
    if duration == 0 or rate <= 0:
        return start.copy()
    pieces = max(1, int(np.ceil(rate * duration / _CHUNK)))
    mean = rate * duration / pieces
    # by Chernoff's bound less than 1e-16 lies beyond
    weights = stats.poisson.pmf(np.arange(int(mean + 9 * np.sqrt(mean) + 20)), mean)
    state = start
    for _ in range(pieces):
        term, total = state, weights[0] * state
        for weight in weights[1:]:
            term = np.maximum(term + (matrix @ term) / rate, 0.0)  # 1 - q/rate may round below zero
            total = total + weight * term
        state = total / weights.sum()
    return state


def stationary_law(matrix: Any) -> NDArray[np.float64]:
    """The probabilities P with A P = 0, for a sparse A; the one closed class may have transient states beside it.

    One class's block without its likeliest state is an M-matrix, whose LU factors have signs that never cancel.
    """
    matrix = matrix.copy()
    matrix.eliminate_zeros()  # a rate of zero leads nowhere
    count, parts = connected_components(matrix, directed=True, connection="strong")
    rows, columns = matrix.tocoo().coords
    leaving = np.unique(parts[columns][parts[rows] != parts[columns]])
    closed = np.setdiff1d(np.arange(count), leaving)
    if len(closed) > 1:
        raise InputError(
            f"there are {len(closed)} pieces that cannot be left, each with a stationary law of its own; "
            "look at each alone"
        )
    kept = np.flatnonzero(parts == closed[0])
    inner = matrix[kept][:, kept]
    # far ahead in time the law is roughly known; with its likeliest state fixed none of the others overflows
    rough = factorised(inner, 1e8 / max(float(-inner.diagonal().min()), 1e-300)).solve(np.ones(len(kept)))
    top = int(np.argmax(rough))
    others = np.delete(np.arange(len(kept)), top)
    found = np.ones(len(kept))
    if len(others):
        found[others] = factorised(inner[others][:, others], None).solve(inner[others][:, [top]].toarray().ravel())
    law = np.zeros(matrix.shape[0])
    law[kept] = found / found.sum()
    return law


def first_passage_in_line(
    right: NDArray[np.float64], left: NDArray[np.float64], leaving: NDArray[np.float64], gain: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The solution of right_i (f_i+1 - f_i) + left_i (f_i-1 - f_i) - leaving_i f_i = -gain_i, of states in a line.

    States are taken out one by one, and the rates of what is left only grow: nothing is subtracted, so that escape
    times of 1e30 have all their digits. ``right`` of the last and ``left`` of the first are not looked at.
    """
    size = len(gain)
    leaving, gain, total = leaving.copy(), gain.copy(), np.zeros(size)
    for state in range(size):
        if state:
            share = left[state] / total[state - 1]
            leaving[state] += share * leaving[state - 1]
            gain[state] += share * gain[state - 1]
        total[state] = leaving[state] + (right[state] if state < size - 1 else 0.0)
        if total[state] == 0:
            raise InputError("from some states nothing leads to an exit; check that all are connected")
    found = gain / total
    for state in range(size - 2, -1, -1):
        found[state] += right[state] * found[state + 1] / total[state]
    return found


def factorised(matrix: Any, step: float | None) -> Any:
    """LU factors of the M-matrix 1 - step A, or of -A where ``step`` is None.

    Pivots on the diagonal keep the solution for a right side without negative elements free of cancellation.
    """
    one = sparse.eye_array(matrix.shape[0], format="csc")
    system = -matrix if step is None else one - step * matrix
    options = {"Equil": False, "SymmetricMode": True}
    try:
        return splu(sparse.csc_matrix(system), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=options)
    except RuntimeError as error:
        raise InputError("from some cells nothing leads away, so the equations have no one solution") from error
