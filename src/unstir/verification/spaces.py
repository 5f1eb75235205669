"""What checks need to know of the spaces that data may live in: examples, features, points, transition laws.

The transition laws are written a second time here, by other means than in ``processes``: SciPy's matrix
exponential for tokens, a plain sum over windings for the torus.
"""

import itertools
import math
from typing import Any

import numpy as np
import torch
from scipy import linalg, stats
from torch import Tensor

from unstir.core.state import map_state
from unstir.exact.atoms import AtomsDenoiser
from unstir.exact.base import ExactDenoiser
from unstir.exact.categorical import TokenChainDenoiser
from unstir.exact.joint import JointMixtureDenoiser
from unstir.exact.mixture import MixtureDenoiser
from unstir.exact.wrapped import WrappedMixtureDenoiser
from unstir.processes.gaussian import GaussianProcess
from unstir.verification.base import Measured, NotMeasured
from unstir.verification.statistics import probable


def other(process: Any) -> NotMeasured:
    """For a space of which nothing is known here."""
    return NotMeasured(f"nothing is known here of the space {process.space!r}")


def numbers(process: Any, state: Any) -> np.ndarray:
    """A state's features in one row, float64 (batch, d)."""
    return process.features(state).double().flatten(1).numpy()


def mean_numbers(process: Any, mean: Any, features: np.ndarray) -> np.ndarray:
    """What a belief's mean says of the mean ``features`` (batch, d); a direction takes their length for granted."""
    if process.space == "joint":
        parts, start = [], 0
        for name, part in process.parts.items():
            width = _width(part, mean[name])
            parts.append(mean_numbers(part, mean[name], features[:, start : start + width]))
            start += width
        return np.concatenate(parts, 1)
    if process.space == "tokens":
        padded = torch.nn.functional.pad(mean, (0, process.states - process.classes))
        return padded.flatten(1).numpy()
    directions = numbers(process, mean)
    if process.space == "torus":
        length = np.hypot(features[:, ::2], features[:, 1::2])
        return directions * np.repeat(length, 2, 1)
    return directions


def _width(process: Any, mean: Tensor) -> int:
    elements = mean[0].numel()
    if process.space == "torus":
        return 2 * elements
    return elements // process.classes * process.states if process.space == "tokens" else elements


def points(law: Any, noisy: bool, fineness: int = 64) -> tuple[Any, Tensor]:
    """Points that fill a law's space, and the logarithm of the volume of each.

    All sequences of tokens; the middles of even cells of the torus, where the sum of a smooth function is exact
    to all digits; of the line from -8 to 8.
    """
    process = law.process
    if process.space == "joint":
        parts = {name: points(laws[0], noisy, fineness) for name, laws in law.laws.items()}
        chosen = torch.cartesian_prod(*(torch.arange(len(volume)) for _, volume in parts.values()))
        columns = dict(zip(parts, chosen.T, strict=True))
        state = {name: part[columns[name]] for name, (part, _) in parts.items()}
        return state, torch.stack([volume[columns[name]] for name, (_, volume) in parts.items()]).sum(0)
    elements = math.prod(law.shape)
    if process.space == "tokens":
        axis = torch.arange(process.states if noisy else process.classes)
        step = 1.0
    elif process.space == "torus":
        axis, step = (torch.arange(fineness, dtype=torch.float64) + 0.5) / fineness, 1 / fineness
    else:
        axis, step = torch.linspace(-8, 8, 2 * fineness, dtype=torch.float64), 16 / (2 * fineness - 1)
    grid = torch.tensor(list(itertools.product(axis.tolist(), repeat=elements)), dtype=axis.dtype)
    grid = grid.reshape(-1, *law.shape)
    volume = torch.full((len(grid),), elements * math.log(step), dtype=torch.float64)
    if process.space == "torus":
        periods = process.periods(grid)
        return grid * periods, volume + periods.log().expand(law.shape).sum()
    return grid, volume


def cells(process: Any, state: Any) -> np.ndarray:
    """The number of the coarse cell that each state falls into."""
    if process.space == "joint":
        parts = [cells(part, state[name]) for name, part in process.parts.items()]
        total = parts[0]
        for part in parts[1:]:
            total = total * 10_000 + part
        return total
    flat = state.flatten(1)
    if process.space == "torus":
        base, places = 8, (8 * state / process.periods(state)).long().clamp(max=7).flatten(1)
    elif process.space == "tokens":
        base, places = process.states, flat
    else:
        edges = torch.arange(-2, 3, dtype=torch.float64)
        base, places = 6, torch.bucketize(flat, edges)
    return (places * base ** torch.arange(places.shape[1])).sum(1).numpy()


def log_transition(process: Any, xt: Any, x0: Any, t: float) -> Tensor:
    """log q(x_t | x_0) in nats, summed over all elements, of states that broadcast along the batch."""
    if process.space == "joint":
        parts = [log_transition(part, xt[name], x0[name], t) for name, part in process.parts.items()]
        return torch.stack(parts).sum(0)
    if process.space == "tokens":
        with np.errstate(divide="ignore"):
            matrix = torch.from_numpy(np.log(token_matrix(process, t)))
        logs = matrix[x0, xt]
    elif process.space == "torus":
        sigma, periods = process.schedule.sigma(t), process.periods(xt)
        reach = int((8 * sigma / periods.min()).ceil()) + 1
        away = (xt - x0)[..., None] + torch.arange(-reach, reach + 1) * periods[..., None]
        logs = torch.from_numpy(stats.norm.logpdf(away.numpy(), scale=sigma.item())).logsumexp(-1)
    else:
        alpha, sigma = process.schedule.alpha(t), process.schedule.sigma(t)
        logs = torch.from_numpy(stats.norm.logpdf(xt.numpy(), (alpha * x0).numpy(), sigma.item()))
    return logs.flatten(1).sum(1)


def token_matrix(process: Any, t: float, s: float = 0.0) -> np.ndarray:
    """q(x_t | x_s) by the exponential of the rates; the clock is log(1 + exp(-log-SNR))."""
    start, end = (math.log1p(math.exp(-process.schedule.log_snr(time).item())) if time else 0.0 for time in (s, t))
    if not isinstance(process.rates, str):
        rates = np.array(process.rates)
    else:
        rates = -np.eye(process.states)
        if process.rates == "absorbing":
            rates[:, -1] += 1
        else:
            rates += 1 / process.states
    return np.clip(linalg.expm(rates * (end - start)), 0, None)


def law_of(process: Any, variant: int = 0) -> ExactDenoiser:
    """A law on the process's space whose belief is known exactly; two elements a sample, two variants."""
    if process.space == "joint":
        parts = {name: [law_of(part, index) for index in (0, 1)] for name, part in process.parts.items()}
        law = JointMixtureDenoiser([0.4, 0.6], parts, clock=process.clock)
        law.process = process  # the very one that is measured, not its like
        return law
    # the variants lie apart, so that the parts of a joint law tell much of one another
    places = torch.tensor([[0.7, 0.6], [0.85, 0.8]] if variant else [[0.2, 0.3], [0.4, 0.1]], dtype=torch.float64)
    if process.space == "euclidean" and isinstance(process, GaussianProcess):
        variances = torch.tensor([0.09, 0.3], dtype=torch.float64)
        return MixtureDenoiser(torch.tensor([0.7, 0.3]), 4 * places - 2, variances, process)
    if process.space == "torus":
        periods = process.periods(places)
        return WrappedMixtureDenoiser([0.6, 0.4], places * periods, 0.1 * periods.expand(2, 2), process)
    if process.space == "tokens":
        classes = torch.arange(process.classes)
        initial = 1.0 + 12 * (classes == variant)
        steps = 1.0 + 4 * ((classes[:, None] + 1 + variant) % process.classes == classes)
        return TokenChainDenoiser(initial / initial.sum(), steps / steps.sum(1, keepdim=True), process, 2)
    return AtomsDenoiser(process, process.example_data(5 + 2 * variant))


def same_moments(quantity: str, first: np.ndarray, second: np.ndarray) -> Measured:
    """Two independent sets of features (n, d) have the same means of all features and of all their products.

    Beside a test of distributions, this one sees how the features hang together. Normal two-sample tests, Bonferroni
    over all.
    """
    above = np.triu_indices(first.shape[1])
    first, second = (np.concatenate((f, f[:, above[0]] * f[:, above[1]]), 1) for f in (first, second))
    error = np.sqrt(first.var(0) / len(first) + second.var(0) / len(second))
    away = np.abs(first.mean(0) - second.mean(0))
    # what hardly varies is compared as it stands: rounding must not look like a difference
    distances = np.where(away > 1e-12 * np.abs(first).max(0), away / np.maximum(error, 1e-300), 0.0)
    chance = float(np.minimum(1.0, 2 * len(distances) * stats.norm.sf(distances.max())))
    return probable(quantity, chance, f"{distances.max():.1f} standard errors at most, of {len(distances)} moments")


def rows(state: Any, index: Any) -> Any:
    """Some samples of a state."""
    return map_state(lambda part: part[index], state)
