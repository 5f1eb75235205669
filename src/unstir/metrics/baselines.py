"""Stand-ins for a model, drawn from the data by the simplest means: what a metric must be read against."""

from collections.abc import Callable

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet

JITTERS = (0.1, 0.3)


def draw_baselines(reference: SampleSet, seeds: Seeds) -> dict[str, tuple[Tensor, Tensor | None]]:
    """All baselines of the reference by name: values of shape (len(seeds), *shape), and labels where these are known.

    ``gaussian``: one fitted to the data. ``gaussian-per-class``: one per label, where there are labels.
    ``jitter-0.1`` and ``jitter-0.3``: copies with noise of that part of half the data's range (of data in
    [-1, 1]: of that size). ``copies``: rows drawn with replacement. Sample i is a function of its address.
    """
    values, labels = reference.values, reference.labels
    rows = seeds.at("baseline", "rows").integers(0, len(values))
    picked = None if labels is None else labels[rows]
    drawn: dict[str, tuple[Tensor, Tensor | None]] = {"gaussian": (gaussian(values, seeds), None)}
    if labels is not None and picked is not None:
        drawn["gaussian-per-class"] = (gaussian_per_class(values, labels, picked, seeds), picked)
    for size in JITTERS:
        drawn[f"jitter-{size}"] = (jitter(values[rows], size * half_range(values), seeds), picked)
    drawn["copies"] = (values[rows], picked)
    return drawn


def describe_baselines(reference: SampleSet) -> dict[str, str]:
    """What each baseline is, in a line for a report; a jitter's size also in standard deviations of the data."""
    spread = reference.values.double().std().item()
    lines = {
        "gaussian": "a Gaussian with the data's mean and covariance",
        "gaussian-per-class": "a Gaussian for each class",
        "copies": "rows of the data, drawn with replacement",
        "held-out": "data of the same kind that the model has not seen",
    }
    for size in JITTERS:
        noise = size * half_range(reference.values)
        relative = f", {noise / spread:.2g} of the data's standard deviation" if spread else ""
        lines[f"jitter-{size}"] = f"rows of the data with noise of {noise:.3g}{relative}"
    return lines


def baseline_sets(
    reference: SampleSet, seeds: Seeds, extractor: Callable[..., SampleSet] | None
) -> dict[str, SampleSet]:
    """The baselines with their features; without an extractor these must be the flattened values."""
    flat = reference.values.flatten(1).double()
    plain = reference.features is not None and reference.probabilities is None and torch.equal(reference.features, flat)
    if extractor is None and not plain:
        raise InputError(
            "baselines need the features of new values: give evaluate(extractor=...) what made the features "
            "(e.g. FeatureNetwork.describe), or baselines=False"
        )
    describe = extractor or (lambda values, labels=None: SampleSet(values, labels=labels))
    return {name: describe(values, labels) for name, (values, labels) in draw_baselines(reference, seeds).items()}


def half_range(values: Tensor) -> float:
    """Half the distance from the smallest to the largest value: 1 for data in [-1, 1]."""
    return (values.max() - values.min()).item() / 2


def gaussian(values: Tensor, seeds: Seeds) -> Tensor:
    """Draws from the Gaussian with the data's mean and covariance, (len(seeds), *shape)."""
    noise = seeds.at("baseline", "gaussian").normal((values[0].numel(),), torch.float64)
    return _coloured(values, noise)


def gaussian_per_class(values: Tensor, labels: Tensor, asked: Tensor, seeds: Seeds) -> Tensor:
    """Draws from each asked class's own Gaussian, (len(seeds), *shape); a class of one row repeats it."""
    noise = seeds.at("baseline", "gaussian-per-class").normal((values[0].numel(),), torch.float64)
    drawn = torch.empty((len(seeds), *values.shape[1:]), dtype=values.dtype)
    for label in asked.unique().tolist():
        wanted = asked == label
        drawn[wanted] = _coloured(values[labels == label], noise[wanted])
    return drawn


def jitter(rows: Tensor, size: float, seeds: Seeds) -> Tensor:
    """The rows with independent Gaussian noise of standard deviation ``size``."""
    return rows + size * seeds.at("baseline", "jitter").normal_like(rows)


def _coloured(values: Tensor, noise: Tensor) -> Tensor:
    flat = values.flatten(1).double()
    mean = flat.mean(0)
    # rows of the centred data, mixed by independent weights, have their covariance; so does the root by SVD,
    # which is no larger than the smaller of the number of rows and of dimensions
    _, singular, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    scale = singular / max(len(flat) - 1, 1) ** 0.5
    drawn = mean + noise[:, : len(singular)] * scale @ directions
    return drawn.reshape(len(noise), *values.shape[1:]).to(values.dtype)
