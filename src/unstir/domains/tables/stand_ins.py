"""What a model of tables must beat: columns that know nothing of each other, and a Gaussian copula."""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.core.state import map_state
from unstir.domains.tables.encoding import TableEncoding


def independent(state: Mapping[str, Tensor], seeds: Seeds) -> dict[str, Tensor]:
    """Every column drawn from its own rows, independently of the others."""

    def drawn(part: Tensor, place: Seeds) -> Tensor:
        return part.gather(0, place.integers(0, len(part), (part.shape[1],)))

    return {name: drawn(part, seeds.at("independent", name)) for name, part in state.items()}


def copies(state: Mapping[str, Tensor], seeds: Seeds) -> dict[str, Tensor]:
    """Rows drawn with replacement."""
    rows = seeds.at("copies").integers(0, len(next(iter(state.values()))))
    return map_state(lambda part: part[rows], dict(state))


def gaussian_copula(encoding: TableEncoding, state: Mapping[str, Tensor], seeds: Seeds) -> dict[str, Tensor]:
    """Columns with the rows' own marginal laws, tied by a Gaussian copula.

    Every column is brought to normal scores by its ranks (categories too, in the order of their levels, equal values at
    the middle of their ranks); draws of the normal law with the scores' correlations go back through the ranks.

    Reference: Nelsen, An introduction to copulas (2006), section 2; Patki, Wedge, Veeramachaneni, The synthetic data
    vault (2016).
    """
    columns = {
        column.name: np.asarray(values, dtype=np.float64)
        for column, values in zip(encoding.columns, _ordered(encoding, state), strict=True)
    }
    scores = np.stack([_normal_scores(values) for values in columns.values()], 1)
    correlation = np.corrcoef(scores.T) if scores.shape[1] > 1 else np.ones((1, 1))
    root = np.linalg.cholesky(correlation + 1e-9 * np.eye(len(correlation)))
    noise = seeds.at("copula").normal((len(correlation),), torch.float64).numpy()
    shares = ndtr(noise @ root.T)
    drawn = {
        name: np.sort(values)[np.minimum((shares[:, place] * len(values)).astype(int), len(values) - 1)]
        for place, (name, values) in enumerate(columns.items())
    }
    found: dict[str, Tensor] = {}
    if encoding.numeric:
        numbers = np.stack([drawn[column.name] for column in encoding.numeric], 1)
        found["continuous"] = torch.from_numpy(numbers).float()
    for name, column in encoding.parts.items():
        found[name] = torch.from_numpy(drawn[column.name]).long()[:, None]
    return found


def _ordered(encoding: TableEncoding, state: Mapping[str, Tensor]) -> list[np.ndarray]:
    encoded = encoding.by_column(state)
    return [encoded[column.name] for column in encoding.columns]


def _normal_scores(values: np.ndarray) -> np.ndarray:
    ordered = np.sort(values)
    below, upto = np.searchsorted(ordered, values), np.searchsorted(ordered, values, side="right")
    return ndtri((below + upto) / 2 / len(values))
