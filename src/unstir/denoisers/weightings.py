r"""Weights of the loss by noise level.

The loss of a sample is :math:`w(\lambda)\,\|\hat x_0 - x_0\|^2` averaged over its elements; a
weighting gives w as a function of the log-SNR :math:`\lambda`. Those defined as a density over the
log-SNR are divided by the density with which levels are drawn, so that the expected loss is what
their papers state, whatever the noise levels met in training.

Tokens have no squared error: their loss is a cross-entropy or a score entropy, with weightings of their own.
"""

from dataclasses import dataclass

from torch import Tensor

__all__ = [
    "CleanWeighting",
    "EDMWeighting",
    "LikelihoodWeighting",
    "MaskedLikelihoodWeighting",
    "MinSNRWeighting",
    "NoiseWeighting",
    "P2Weighting",
    "ScoreEntropyWeighting",
    "SigmoidWeighting",
    "VWeighting",
]


@dataclass(frozen=True)
class CleanWeighting:
    """One at every level: the squared error of the clean data.

    Reference: Salimans and Ho, Progressive distillation (2022), section 4.
    """

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr * 0 + 1


@dataclass(frozen=True)
class NoiseWeighting:
    """The SNR: the squared error of the noise, DDPM's simple loss.

    Reference: Ho, Jain, Abbeel, Denoising diffusion probabilistic models (2020), eq. 14.
    """

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr.exp()


@dataclass(frozen=True)
class VWeighting:
    """SNR + 1: the squared error of v.

    Reference: Salimans and Ho, Progressive distillation (2022), section 4.
    """

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr.exp() + 1


@dataclass(frozen=True)
class EDMWeighting:
    """SNR + 1/sigma_data^2: the same effective loss at every level at the start of training.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion models (2022), table 1.
    """

    sigma_data: float = 1.0

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr.exp() + self.sigma_data**-2


@dataclass(frozen=True)
class MinSNRWeighting:
    """min(SNR, gamma): no level is allowed to dominate.

    Reference: Hang et al., Efficient diffusion training via min-SNR weighting (2023), eq. 9.
    """

    gamma: float = 5.0

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr.exp().clamp(max=self.gamma)


@dataclass(frozen=True)
class P2Weighting:
    """SNR / (k + SNR)^gamma: less weight on imperceptible detail.

    Reference: Choi et al., Perception prioritized training of diffusion models (2022), eq. 8.
    """

    gamma: float = 1.0
    k: float = 1.0

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr.exp() / (self.k + log_snr.exp()) ** self.gamma


@dataclass(frozen=True)
class SigmoidWeighting:
    """SNR * sigmoid(bias - log-SNR) per unit of log-SNR: a monotone weight, hence a bound on likelihood.

    Reference: Kingma and Gao, Understanding diffusion objectives as the ELBO with simple data augmentation
    (2023), section 4; Hoogeboom et al., Simpler diffusion (2024), section 3.
    """

    bias: float = -1.0

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr.exp() * (self.bias - log_snr).sigmoid() / density


@dataclass(frozen=True)
class LikelihoodWeighting:
    """SNR/2 per unit of log-SNR: the loss is the diffusion term of the ELBO, in nats per element.

    Reference: Kingma, Salimans, Poole, Ho, Variational diffusion models (2021), eq. 18.
    """

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr.exp() / 2 / density


@dataclass(frozen=True)
class MaskedLikelihoodWeighting:
    r"""sigmoid(log-SNR) per unit of it: the cross-entropy of masked tokens is the bound on -log p, in nats per token.

    With a share u of the tokens masked the bound is the integral of the cross-entropy over du/u, and
    :math:`u=\mathrm{sigmoid}(-\lambda)`. Tokens that are not masked count as known: their cross-entropy is zero.

    Reference: Sahoo et al., Simple and effective masked diffusion language models (2024), eq. 10; Shi et al.,
    Simplified and generalized masked diffusion for discrete data (2024), eq. 5.
    """

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return log_snr.sigmoid() / density


@dataclass(frozen=True)
class ScoreEntropyWeighting:
    r"""sigmoid(-log-SNR) per unit of it: the score entropy of tokens is the bound on -log p, in nats per token.

    Score entropy is in nats per unit of the clock :math:`\tau=-\log\mathrm{sigmoid}(\lambda)`, whose slope this is.

    Reference: Lou, Meng, Ermon, Discrete diffusion modeling by estimating the ratios of the data distribution (2024),
    theorem 3.6.
    """

    def __call__(self, log_snr: Tensor, density: Tensor) -> Tensor:
        return (-log_snr).sigmoid() / density
