"""Fréchet distance between the Gaussians fitted to two sets of features."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet, check_pair

__all__ = ["Frechet", "FrechetInfinity"]

_BLOCK = 16_000_000
_WIDE = 512  # above this many features an eigenvalue problem a replicate takes a second or more
_FEW = 50


def frechet_distance(samples: Float[Tensor, "n d"], reference: Float[Tensor, "m e"]) -> float:
    """Squared Fréchet (Wasserstein-2) distance of the two fitted Gaussians; see :class:`Frechet`."""
    check_pair(samples, reference)
    return _distances(
        torch.ones(1, len(samples), dtype=torch.float64), samples.double(), _fit(reference.double())
    ).item()


@dataclass(frozen=True)
class Frechet(Metric):
    r"""Fréchet distance of Gaussians fitted to the features (FID, where these are Inception's).

    .. math:: |\mu_s - \mu_r|^2 + \operatorname{tr}\big(C_s + C_r - 2 (C_r^{1/2} C_s C_r^{1/2})^{1/2}\big)

    with covariances over n - 1; in squared units of the features. The trace of the last root is the sum of the
    roots of the eigenvalues of a symmetric matrix, so that singular covariances do no harm. It sees two
    moments only, grows by about O(1/n) for few samples, and a copy of the data wins it: read it beside its
    floor and beside the memorisation check. Above 512 features the interval comes from 50 replicates.

    Reference: Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium (2017), equation 6; Dowson and Landau, The Fréchet distance between multivariate normal
    distributions (1982).
    """

    unit: ClassVar[str] = "feature units squared"

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError where the feature lengths differ."""
        rows, fitted = _prepare(samples, reference)
        value = _distances(torch.ones(1, len(rows), dtype=torch.float64), rows, fitted).item()
        wide = rows.shape[1] > _WIDE
        note = [f"interval from {_FEW} replicates"] if wide else []
        if len(rows) < 2 * rows.shape[1]:
            note.append(f"{len(rows)} samples are few for {rows.shape[1]} features: strongly biased upwards")

        def resampled(counts: Tensor) -> Tensor:
            return _distances(counts[:_FEW] if wide else counts, rows, fitted)

        return Measurement(value, resampled, note="; ".join(note))


@dataclass(frozen=True)
class FrechetInfinity(Metric):
    r"""Fréchet distance extrapolated to no end of samples, free of the bias of few.

    The distance of random subsets of N samples is nearly linear in 1/N; this is the intercept of the
    least-squares line through ``sizes`` values of N, evenly spaced in 1/N from a quarter of the samples to
    all of them, with ``subsets`` subsets each. The reference's own finite size remains. Negative values are
    noise about zero. The interval is that of the distance itself, moved to the intercept.

    Reference: Chong and Forsyth, Effectively unbiased FID and Inception score and where to find them
    (2020).
    """

    sizes: int = 8
    subsets: int = 8
    unit: ClassVar[str] = "feature units squared"
    limits: ClassVar[tuple[float, float]] = (-float("inf"), float("inf"))

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        """Raises InputError for fewer than four samples a feature."""
        rows, fitted = _prepare(samples, reference)
        count, width = rows.shape
        if count < 4 * width:
            raise InputError(
                f"frechet-infinity needs at least four samples a feature ({4 * width} here), seen {count}; "
                "draw more, or use 'kernel', which has no bias"
            )
        generator = seeds.at("frechet-infinity").generator()
        inverse = np.linspace(1 / count, 4 / count, self.sizes)
        chosen = np.repeat(np.round(1 / inverse).astype(int), self.subsets)
        counts = torch.zeros(len(chosen), count, dtype=torch.float64)
        for row, size in zip(counts, chosen, strict=True):
            row[torch.from_numpy(generator.permutation(count)[:size])] = 1
        distances = _distances(counts, rows, fitted)
        slope, intercept = np.polyfit(1 / chosen, distances.numpy(), 1)
        note = f"{slope / count:.3g} of the distance at {count} samples is the bias of their number"
        return Measurement(float(intercept), lambda drawn: _distances(drawn, rows, fitted), note=note)


def _prepare(samples: SampleSet, reference: SampleSet) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    rows, real = samples.space("features"), reference.space("features")
    check_pair(rows, real)
    return rows, reference.remember("fitted Gaussian", lambda: _fit(real))


def _fit(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, trace and symmetric root of the covariance."""
    mean = rows.mean(0)
    centred = rows - mean
    covariance = centred.T @ centred / (len(rows) - 1)
    values, vectors = torch.linalg.eigh(covariance)
    return mean, covariance.trace(), vectors * values.clamp(min=0).sqrt() @ vectors.T


def _distances(counts: Tensor, rows: Tensor, fitted: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The distance for each row of ``counts`` (replicates, n): how often each sample counts."""
    real_mean, real_trace, real_root = fitted
    # both sets moved by the reference's mean: second moments then cancel little
    shifted = rows - real_mean
    rooted = shifted @ real_root
    size = max(1, _BLOCK // shifted.numel())
    return torch.cat([_part(part, shifted, rooted, real_trace, real_root) for part in counts.split(size)])


def _part(counts: Tensor, shifted: Tensor, rooted: Tensor, real_trace: Tensor, real_root: Tensor) -> Tensor:
    number = counts.sum(1)
    mean = counts @ shifted / number[:, None]
    squares = counts @ shifted.square().sum(1)
    square = mean.square().sum(1)
    trace = (squares - number * square) / (number - 1)
    weighted = counts[:, :, None].sqrt() * rooted
    rooted_mean = mean @ real_root
    outer = number[:, None, None] * rooted_mean[:, :, None] * rooted_mean[:, None, :]
    inner = (weighted.transpose(1, 2) @ weighted - outer) / (number - 1)[:, None, None]
    cross = torch.linalg.eigvalsh(inner).clamp(min=0).sqrt().sum(1)
    return (square + trace + real_trace - 2 * cross).clamp(min=0)
