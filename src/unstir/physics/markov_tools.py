"""What chains in discrete and in continuous time share. Nothing here is public.

Reference: Grassmann, Taksar, Heyman 1985, "Regenerative analysis and steady state distributions for Markov chains".
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.physics.jump_process import factorised, stationary_law

Array = NDArray[np.float64]
_MANY = 3000


def square(given: Any, what: str) -> Any:
    """The matrix in float64, dense (n, n) or CSR, finite."""
    matrix: Any = sparse.csr_array(given, dtype=np.float64) if sparse.issparse(given) else np.asarray(given, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.shape[0] == 0:
        raise InputError(f"{what}: a square matrix is needed; seen the shape {matrix.shape}")
    if not np.isfinite(matrix.data if sparse.issparse(matrix) else matrix).all():
        raise InputError(f"{what}: seen an element that is not finite; all must be")
    return matrix


def jumps(matrix: Any) -> Any:
    """The elements off the diagonal, CSR without zeros."""
    found = sparse.csr_array(matrix)
    found = found - sparse.diags_array(found.diagonal(), format="csr")
    found.eliminate_zeros()
    return found


def stationary(matrix: Any) -> Array:
    """The stationary law of jump probabilities or rates (rows to columns; the diagonal is not looked at), (n,).

    Dense matrices by the elimination of Grassmann, Taksar and Heyman, sparse ones by a sparse LU; neither
    subtracts, so that every element is right to many digits, however small.
    """
    moving = jumps(matrix)
    if sparse.issparse(matrix):
        return stationary_law(sparse.csc_array(moving.T - sparse.diags_array(moving.sum(axis=1))))
    groups = [group for group, closed in classes(moving) if closed]
    if len(groups) > 1:
        raise InputError(
            f"there are {len(groups)} sets of states that cannot be left, each with a stationary law of its own; "
            "see `communicating_classes`"
        )
    kept = groups[0]
    left = moving[kept][:, kept].toarray()
    for last in range(len(kept) - 1, 0, -1):
        left[:last, last] /= left[last, :last].sum()
        left[:last, :last] += np.outer(left[:last, last], left[last, :last])
    found = np.zeros(len(kept))
    found[0] = 1.0
    for state in range(1, len(kept)):
        found[state] = found[:state] @ left[:state, state]
        if found[state] > 1e100:
            found /= found[state]
    law = np.zeros(moving.shape[0])
    law[kept] = found / found.sum()
    return law


def classes(moving: Any) -> list[tuple[NDArray[np.int64], bool]]:
    """The communicating classes, each sorted, in the order of their first states; and whether each is closed."""
    count, parts = connected_components(moving, directed=True, connection="strong")
    rows, columns = moving.nonzero()
    open_ones = set(parts[rows][parts[rows] != parts[columns]].tolist())
    groups = [(np.flatnonzero(parts == part), part not in open_ones) for part in range(count)]
    return sorted(groups, key=lambda pair: int(pair[0][0]))


def period(matrix: Any, state: int) -> int:
    """The greatest common divisor of the lengths of all ways from a state back to it; 0 if there is none."""
    graph: Any = sparse.csr_array(matrix)
    graph.eliminate_zeros()
    _, parts = connected_components(graph, directed=True, connection="strong")
    group = np.flatnonzero(parts == parts[state])
    inner: Any = graph[group][:, group]
    start = int(np.searchsorted(group, state))
    order, before = breadth_first_order(inner, start)
    level = np.zeros(len(group), dtype=np.int64)
    for place in order[1:]:
        level[place] = level[before[place]] + 1
    rows, columns = inner.nonzero()
    return math.gcd(*(level[rows] + 1 - level[columns]).tolist())


def mean_times(moving: Any, target: NDArray[np.int64]) -> Array:
    """The solution of sum_j w_ij (h_j - h_i) = -1 off the target and h = 0 on it; infinite where it may be missed."""
    size = moving.shape[0]
    arriving = reaching(moving, target)
    # whether the target may be missed is a matter of the graph alone: on the way to it, or to where it is lost
    stopped = np.ones(size)
    stopped[target] = 0.0
    lost = np.setdiff1d(np.arange(size), arriving)
    astray = reaching(sparse.diags_array(stopped, format="csr") @ moving, lost)
    inner = np.setdiff1d(arriving, np.concatenate((target, astray)))
    times = np.full(size, np.inf)
    times[target] = 0.0
    times[inner] = _absorbed(moving, inner, np.ones(len(inner)))
    return times


def hitting(moving: Any, target: NDArray[np.int64]) -> Array:
    """The probability of ever reaching the target, (n,)."""
    found = np.zeros(moving.shape[0])
    found[target] = 1.0
    inner = np.setdiff1d(reaching(moving, target), target)
    found[inner] = _absorbed(moving, inner, moving[inner][:, target].sum(axis=1))
    return found


def _absorbed(moving: Any, inner: NDArray[np.int64], gain: Array) -> Array:
    """The solution of sum_j w_ij (f_j - f_i) = -gain_i on ``inner``, where f is zero elsewhere.

    States are taken out one by one as by Grassmann, Taksar and Heyman, without a subtraction; of many thousands,
    by a sparse LU.
    """
    inside = moving[inner][:, inner]
    lost = moving.sum(axis=1)[inner]
    if len(inner) > _MANY:
        return factorised(sparse.csc_array(inside - sparse.diags_array(lost)), None).solve(gain)
    left = inside.toarray()
    outside = np.ones(moving.shape[0])
    outside[inner] = 0.0
    leaving, gain, total = moving[inner] @ outside, gain.copy(), np.zeros(len(inner))
    for last in range(len(inner) - 1, -1, -1):
        total[last] = left[last, :last].sum() + leaving[last]
        share = left[:last, last] / total[last]
        left[:last, :last] += np.outer(share, left[last, :last])
        leaving[:last] += share * leaving[last]
        gain[:last] += share * gain[last]
    found = np.zeros(len(inner))
    for state in range(len(inner)):
        found[state] = (gain[state] + left[state, :state] @ found[:state]) / total[state]
    return found


def reaching(moving: Any, target: NDArray[np.int64]) -> NDArray[np.int64]:
    """The states from which some of the target can be reached, the target among them."""
    size = moving.shape[0]
    door = np.zeros((1, size))
    door[0, target] = 1.0
    backwards = sparse.block_array([[moving.T, None], [sparse.csr_array(door), sparse.csr_array((1, 1))]], format="csr")
    backwards.eliminate_zeros()
    return np.sort(breadth_first_order(backwards, size, return_predecessors=False)[1:]).astype(np.int64)


def initial_law(initial: Any, states: Sequence[Any] | None, size: int) -> Array:
    """A state, by number or name, or probabilities (n,), as probabilities."""
    if np.ndim(initial) == 0:
        law = np.zeros(size)
        law[numbers([initial], states, size)] = 1.0
        return law
    law = np.asarray(initial, dtype=np.float64)
    if law.shape != (size,) or not (law >= 0).all() or abs(law.sum() - 1) > 1e-9:
        raise InputError(f"initial: a state, or {size} probabilities that sum to one; seen {initial!r}")
    return law / law.sum()


def numbers(chosen: Any, states: Sequence[Any] | None, size: int) -> NDArray[np.int64]:
    """State numbers of one or several states given by number or name, sorted."""
    several = list(chosen) if np.ndim(chosen) or isinstance(chosen, list | tuple | set) else [chosen]
    found = []
    for state in several:
        if states is not None and state in states:
            found.append(list(states).index(state))
        elif isinstance(state, int | np.integer) and not isinstance(state, bool) and 0 <= state < size:
            found.append(int(state))
        else:
            known = map(str, states) if states is not None else (f"0 to {size - 1}",)
            raise unknown("state", str(state), known)
    if not found:
        raise InputError("at least one state is needed; seen none")
    return np.unique(np.array(found, dtype=np.int64))


class Drawing:
    """Draws of the next state from the rows of a CSR matrix of probabilities."""

    def __init__(self, matrix: Any, device: torch.device | str) -> None:
        rows = sparse.csr_array(matrix)
        rows.eliminate_zeros()
        self._starts = torch.as_tensor(rows.indptr.astype(np.int64), device=device)
        self._columns = torch.as_tensor(rows.indices.astype(np.int64), device=device)
        # all rows in one rising list: within row i it runs from i to i + 1, so one search serves every path
        running = [np.cumsum(rows.data[first:last]) for first, last in zip(rows.indptr, rows.indptr[1:], strict=False)]
        levels = [number + part / part[-1] for number, part in enumerate(running) if len(part)]
        self._levels = torch.as_tensor(np.concatenate(levels) if levels else np.zeros(0), device=device)

    def __call__(self, state: Tensor, uniform: Tensor) -> Tensor:
        """The next states, (paths,), from uniform numbers (paths,)."""
        place = torch.searchsorted(self._levels, state + uniform, right=True)
        place = torch.minimum(torch.maximum(place, self._starts[state]), self._starts[state + 1] - 1)
        return self._columns[place]


def first_states(initial: Any, states: Sequence[Any] | None, size: int, seeds: Seeds) -> Tensor:
    """The states at the start, (paths,): all one state, drawn from probabilities, or as an int64 tensor says."""
    if isinstance(initial, Tensor) and not initial.is_floating_point() and initial.ndim == 1:
        if len(initial) != len(seeds) or (len(initial) and not 0 <= int(initial.min()) <= int(initial.max()) < size):
            raise InputError(f"initial: {len(seeds)} state numbers below {size} are needed; seen {initial}")
        return initial.to(seeds.samples.device).long()
    law = initial_law(initial.cpu().numpy() if isinstance(initial, Tensor) else initial, states, size)
    uniform = seeds.at("start").uniform(())
    cumulative = torch.as_tensor(np.cumsum(law), device=uniform.device)
    allowed = int(np.flatnonzero(law)[-1])
    return torch.searchsorted(cumulative, uniform, right=True).clamp(max=allowed)


def check_names(states: Sequence[Any] | None, count: int) -> None:
    """States are without names, or each has one of its own."""
    if states is not None and len(set(states)) != count:
        raise InputError(f"states: {count} different names are needed; seen {list(states)}")
