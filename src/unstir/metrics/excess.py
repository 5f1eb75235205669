"""What too strong a guidance does to samples: they huddle together, leave the data's range, and lose its spectrum."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.metrics.base import Measurement, Metric, SampleSet
from unstir.metrics.resampling import weighted_mean

_MARGIN = 0.05  # of half the data's range: what lies further out is saturated


@dataclass(frozen=True)
class VarianceRatio(Metric):
    """Variance of the samples over the data's, in features, around the mean of each asked class.

    Reference: the total variance, trace of the covariance: Mardia, Kent, Bibby, Multivariate analysis (1979), 1.5.3.
    """

    ideal: ClassVar[float] = 1.0
    better: ClassVar[Literal["lower", "higher"]] = "higher"

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        ours, theirs = (_deviations(rows) for rows in (samples, reference))
        whole = theirs.mean()
        return Measurement((ours.mean() / whole).item(), lambda counts: weighted_mean(ours, counts) / whole)


@dataclass(frozen=True)
class Outside(Metric):
    """Share of elements beyond the data's range by more than a twentieth of its half: saturation.

    Reference: Saharia et al., Photorealistic text-to-image diffusion models with deep language understanding (2022),
    section 2.3.
    """

    low: float
    high: float
    limits: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        margin = _MARGIN * (self.high - self.low) / 2
        values = samples.values.flatten(1)
        share = ((values < self.low - margin) | (values > self.high + margin)).double().mean(1)
        return Measurement(share.mean().item(), lambda counts: weighted_mean(share, counts))


@dataclass(frozen=True)
class SpectrumRatio(Metric):
    """Power of the high over that of the low spatial frequencies, over the same of the data; 1 for equal spectra.

    High is above half of the Nyquist frequency along the diagonal of the axes, and the mean is left out.

    Reference: Durall, Keuper, Keuper, Watch your up-convolution: CNN based generative deep neural networks are failing
    to reproduce spectral distributions (2020), section 3.
    """

    ideal: ClassVar[float] = 1.0

    def measure(self, samples: SampleSet, reference: SampleSet, seeds: Seeds) -> Measurement:
        high, low = _powers(samples.values)
        real = [power.mean() for power in _powers(reference.values)]
        scale = real[1] / real[0].clamp(min=1e-300)

        def resampled(counts: Tensor) -> Tensor:
            return weighted_mean(high, counts) / weighted_mean(low, counts).clamp(min=1e-300) * scale

        return Measurement(resampled(torch.ones(1, len(high), dtype=torch.float64)).item(), resampled)


def _deviations(rows: SampleSet) -> Tensor:
    """Squared distance of each row from its class's mean, unbiased, (n,)."""
    features = rows.space("features")
    labels = torch.zeros(len(rows), dtype=torch.int64) if rows.labels is None else rows.labels
    found = torch.zeros(len(rows), dtype=torch.float64)
    for label in labels.unique():
        own = labels == label
        count = int(own.sum())
        squares = (features[own] - features[own].mean(0)).square().sum(1)
        found[own] = squares * (count / (count - 1) if count > 1 else 0.0)
    return found


def _powers(values: Tensor) -> tuple[Tensor, Tensor]:
    """Power of each sample at high and at low frequencies, (n,) each; channels are added up."""
    axes = list(range(2, values.ndim))
    power = torch.fft.fftn(values.double(), dim=axes).abs().square().sum(1).flatten(1)
    grid = torch.meshgrid(*(torch.fft.fftfreq(values.shape[axis]) for axis in axes), indexing="ij")
    radius = torch.stack([part.flatten() for part in grid]).square().sum(0).sqrt()
    high, low = radius > radius.max() / 2, (radius <= radius.max() / 2) & (radius > 0)
    return power[:, high].sum(1), power[:, low].sum(1)
