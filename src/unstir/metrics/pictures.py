"""How near a restored picture is to the one it should be: PSNR, SSIM, and a distance of random features.

Plain functions of two batches (batch, channels, height, width), one figure a picture; no entries of the catalogue,
since they compare pictures in pairs and not laws.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds

_WIDTHS = (32, 64, 96)  # channels of the random network's levels, each at half the resolution of the one before
_PICTURE_RANGE = 2.0  # encoded pictures lie in [-1, 1]


def psnr(first: Tensor, second: Tensor, range: float = _PICTURE_RANGE) -> Tensor:
    r"""The peak signal-to-noise ratio :math:`10\log_{10}(R^2/\mathrm{MSE})` in decibels, float64 (batch,).

    ``range`` R is the width of the data's range. Infinite for equal pictures.
    """
    _check(first, second, range)
    error = (first.double() - second.double()).square().flatten(1).mean(1)
    return 10 * (2 * math.log10(range) - error.log10())


def ssim(
    first: Tensor, second: Tensor, range: float = _PICTURE_RANGE, window: int = 7, deviation: float | None = None
) -> Tensor:
    r"""The structural similarity, float64 (batch,): 1 for equal pictures, averaged over places and channels.

    Of each window :math:`\frac{(2m_xm_y+c_1)(2s_{xy}+c_2)}{(m_x^2+m_y^2+c_1)(s_x^2+s_y^2+c_2)}`, with c_1 = (0.01 R)^2
    and c_2 = (0.03 R)^2. Windows of ``window`` places a side lie wholly within the picture; they are even, with
    unbiased variances (scikit-image's default), or with a ``deviation`` Gaussian (the paper's: window 11, 1.5).

    Raises InputError for pictures smaller than the window.

    Reference: Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to structural similarity
    (2004), eq. 13.
    """
    _check(first, second, range)
    if window % 2 == 0 or window < 3 or min(first.shape[2:]) < window:
        raise InputError(
            f"SSIM takes an odd window from 3 to the picture's side, here {tuple(first.shape[2:])}; seen {window}"
        )
    places = torch.arange(window, dtype=torch.float64, device=first.device) - window // 2
    line = torch.ones_like(places) if deviation is None else (-places.square() / (2 * deviation**2)).exp()
    kernel = (line[:, None] * line / line.sum().square())[None, None]
    unbiased = window**2 / (window**2 - 1) if deviation is None else 1.0
    x, y = (pictures.double().flatten(0, 1)[:, None] for pictures in (first, second))

    def mean(values: Tensor) -> Tensor:
        return functional.conv2d(values, kernel)

    mean_x, mean_y = mean(x), mean(y)
    spread_x = unbiased * (mean(x * x) - mean_x.square())
    spread_y = unbiased * (mean(y * y) - mean_y.square())
    shared = unbiased * (mean(x * y) - mean_x * mean_y)
    small, smaller = (0.03 * range) ** 2, (0.01 * range) ** 2
    found = (2 * mean_x * mean_y + smaller) * (2 * shared + small)
    found = found / ((mean_x.square() + mean_y.square() + smaller) * (spread_x + spread_y + small))
    return found.reshape(*first.shape[:2], -1).mean((1, 2))


class RandomFeatures:
    """Features of pictures at several scales by convolutions whose weights are drawn once for all, and never trained.

    ``features(pictures)`` is a list of (batch, width, height, width) tensors, each level at half the resolution of the
    one before (a level that would have no place left is missing). Equal for equal ``channels`` and ``seed`` on every
    machine to rounding; differentiable.

    Reference: Ustyuzhaninov, Brendel, Gatys, Bethge, Texture synthesis using shallow convolutional networks with random
    filters (2016), for what random filters can tell of texture.
    """

    def __init__(self, channels: int, widths: Sequence[int] = _WIDTHS, kernel: int = 5, seed: int = 0) -> None:
        if channels < 1 or kernel % 2 == 0:
            raise InputError(f"features need 1 channel or more and an odd kernel; seen {channels} and {kernel}")
        self.channels, self.kernel = channels, kernel
        self.weights: list[Tensor] = []
        for level, (wide, narrow) in enumerate(zip(widths, (channels, *widths[:-1]), strict=True)):
            drawn = Seeds.range(seed, wide).at("picture features", level).normal((narrow, kernel, kernel))
            # filters without a mean see structure and not brightness; that is told by one that has it
            drawn = torch.cat((drawn[:-1] - drawn[:-1].mean((1, 2, 3), keepdim=True), drawn[-1:].abs()))
            self.weights.append(drawn / drawn.flatten(1).norm(dim=1)[:, None, None, None])

    def __call__(self, pictures: Tensor) -> list[Tensor]:
        if pictures.ndim != 4 or pictures.shape[1] != self.channels:
            raise InputError(f"features of {self.channels} channels; seen pictures of shape {tuple(pictures.shape)}")
        found: list[Tensor] = []
        values = pictures
        for weight in self.weights:
            if found:
                if min(values.shape[2:]) < 4:
                    break
                values = functional.avg_pool2d(values, 2)
            edge = self.kernel // 2
            mode = "reflect" if min(values.shape[2:]) > edge else "replicate"
            padded = functional.pad(values, (edge,) * 4, mode=mode)
            values = functional.elu(functional.conv2d(padded, weight.to(padded)))
            found.append(values)
        return found


def perceptual_distance(first: Tensor, second: Tensor, seed: int = 0) -> Tensor:
    """A distance like LPIPS on random features, float64 (batch,): the squared distance of unit feature vectors.

    Averaged over places and summed over scales. Untrained, so that it needs no weights and favours no kind of data; it
    follows what people see less well than trained features do. Comparable only with itself.

    Reference: Zhang, Isola, Efros, Shechtman, Wang, The unreasonable effectiveness of deep features as a perceptual
    metric (2018), eq. 1, and the random networks of its section 4.
    """
    _check(first, second, 1.0)
    features = RandomFeatures(first.shape[1], seed=seed)
    total = torch.zeros(len(first), dtype=torch.float64, device=first.device)
    for x, y in zip(features(first.double()), features(second.double()), strict=True):
        away = functional.normalize(x, dim=1, eps=1e-8) - functional.normalize(y, dim=1, eps=1e-8)
        total = total + away.square().sum(1).flatten(1).mean(1)
    return total


def _check(first: Tensor, second: Tensor, range: float) -> None:
    if first.ndim != 4 or first.shape != second.shape:
        raise InputError(
            "two batches of pictures (batch, channels, height, width) of one shape are compared; "
            f"seen {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if not range > 0:
        raise InputError(f"the width of the data's range must be positive; seen {range}")
