"""Style: what the statistics of a picture's features say of its texture and colours, wherever they stand in it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.metrics.pictures import RandomFeatures

_REACH = 1.5  # to which values are squashed, gently: encoded pictures lie within 1


class StyleEnergy:
    r"""How far a picture's feature statistics are from those of one or a few style pictures: ``energy(x0)``, (batch,).

    Of each level of ``RandomFeatures`` the mean and the Gram matrix over places,
    :math:`G=\frac1{hw}\sum_p f_pf_p^T`, are compared with the style's own (averaged over its pictures, of any sizes):
    :math:`E=\sum_l\left(\frac{\|G_l-\bar G_l\|_F^2}{\|\bar G_l\|_F^2}
    +\frac{\|m_l-\bar m_l\|^2}{\|\bar m_l\|^2}\right)/(2L)`, so that 0 is the style itself and 1 about as far as a blank
    picture. Layout is lost on purpose: a picture shifted or cut anew has nearly the same energy.
    Differentiable; a picture's energy depends on it alone. For guidance: ``EnergyGuidance(denoiser, energy, ...)``.

    ``pictures`` are tensors (channels, height, width) in [-1, 1].

    Raises InputError for no picture, or pictures of different numbers of channels.

    Reference: Gatys, Ecker, Bethge, Image style transfer using convolutional neural networks (2016), eq. 3 to 5;
    Ustyuzhaninov et al., Texture synthesis using shallow convolutional networks with random filters (2016).
    """

    def __init__(self, pictures: Sequence[Tensor], seed: int = 0) -> None:
        if not len(pictures) or any(picture.ndim != 3 for picture in pictures):
            raise InputError("a style is told by one or more pictures (channels, height, width)")
        channels = {len(picture) for picture in pictures}
        if len(channels) > 1:
            raise InputError(f"pictures of one style have one number of channels; seen {sorted(channels)}")
        self.features = RandomFeatures(channels.pop(), seed=seed)
        told = [self._statistics(picture[None].double()) for picture in pictures]
        levels = min(len(levels) for levels in told)
        self.targets = [
            tuple(torch.stack([levels[level][part] for levels in told]).mean(0)[0] for part in (0, 1))
            for level in range(levels)
        ]

    def __call__(self, x0: Tensor) -> Tensor:
        """The energy of each picture, float64 (batch,)."""
        total = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        found = self._statistics(x0.double())
        levels = min(len(found), len(self.targets))
        for (mean, gram), (wanted_mean, wanted_gram) in zip(found[:levels], self.targets[:levels], strict=True):
            wanted_mean, wanted_gram = wanted_mean.to(x0.device), wanted_gram.to(x0.device)
            total = total + (mean - wanted_mean).square().sum(1) / wanted_mean.square().sum()
            total = total + (gram - wanted_gram).square().sum((1, 2)) / wanted_gram.square().sum()
        return total / (2 * levels)

    def _statistics(self, pictures: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Mean (batch, width) and Gram matrix (batch, width, width) of each level's features."""
        found = []
        # far out of range a picture would be pulled back by the fourth power of its distance, and thrown beyond
        for level in self.features(_REACH * (pictures / _REACH).tanh()):
            flat = level.flatten(2)
            found.append((flat.mean(2), flat @ flat.transpose(1, 2) / flat.shape[2]))
        return found
