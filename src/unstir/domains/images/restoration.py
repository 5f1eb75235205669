"""What restored pictures before there were learned priors: the baselines, and the repair of old paintings.

``classical`` answers the same measurement that ``inverse.solve`` is given, by scikit-image's methods: biharmonic
inpainting, total variation and wavelets against noise, bicubic enlargement, Richardson and Lucy against blur.
``cracks`` and ``Fading`` find what time has done to a painting, for inpainting to undo.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.inverse.operators.base import Operator
from unstir.inverse.operators.blur import BlurOperator
from unstir.inverse.operators.downsample import DownsampleOperator
from unstir.inverse.operators.grey import GreyOperator
from unstir.inverse.operators.mask import MaskOperator

_LUCY_ROUNDS = 20
_CRACK_DEVIATIONS = 4.0
_QUANTILES = (0.02, 0.5, 0.98)
_STRETCHED = (-0.95, 0.0, 0.95)  # where the tones go if no reference says better
_FLATTEST, _STEEPEST = 0.2, 5.0  # exponents of a believable tone curve


def classical(operator: Operator, reading: Tensor, deviation: float = 0.0, name: str | None = None) -> Tensor:
    """The picture (channels, height, width) that a classical method makes of a reading of ``operator``.

    ``deviation`` is that of the noise; ``name`` one of ``classical_methods(operator)``, the first by default: bicubic
    for down-sampling, biharmonic for hidden places, total-variation for noise alone, richardson-lucy for blur,
    repeated-grey for grey. Float64, in the range [-1, 1].

    Raises InputError for an operator that none of them serves, NotInstalledError without scikit-image.
    """
    methods = classical_methods(operator)
    if name is not None and name not in methods:
        raise unknown("classical method for this operator", name, methods)
    if tuple(reading.shape) != tuple(operator.measured_shape):
        raise InputError(f"a reading of shape {operator.measured_shape} is needed; seen {tuple(reading.shape)}")
    method = methods[name or next(iter(methods))]
    made = method(operator, reading.detach().cpu().double(), float(deviation))
    return torch.from_numpy(np.ascontiguousarray(made)).clamp(-1, 1).reshape(operator.shape)


def classical_methods(operator: Operator) -> Mapping[str, Callable[[Any, Tensor, float], np.ndarray]]:
    """The classical methods that serve an operator, by name, the usual one first."""
    if len(operator.shape) != 3:
        raise InputError(f"classical methods restore pictures (channels, height, width); seen shape {operator.shape}")
    if isinstance(operator, MaskOperator):
        if bool(operator.seen.all()):
            return {"total-variation": _total_variation, "wavelet": _wavelet}
        return {"biharmonic": _biharmonic}
    if isinstance(operator, DownsampleOperator):
        return {"bicubic": _bicubic}
    if isinstance(operator, BlurOperator):
        return {"richardson-lucy": _richardson_lucy}
    if isinstance(operator, GreyOperator):
        return {"repeated-grey": _repeated_grey}
    raise InputError(
        f"no classical method is known for {type(operator).__name__}; known are those for mask, downsample, blur, grey"
    )


def denoise_total_variation(picture: np.ndarray, weight: float) -> np.ndarray:
    """Rudin's, Osher's and Fatemi's denoising of (channels, height, width), by Chambolle's algorithm.

    Reference: Chambolle, An algorithm for total variation minimization and applications (2004).
    """
    restoration = _skimage("restoration")
    return restoration.denoise_tv_chambolle(picture, weight=weight, channel_axis=0)


def denoise_wavelet(picture: np.ndarray, deviation: float | None) -> np.ndarray:
    """Soft thresholds of wavelet coefficients (BayesShrink) of (channels, height, width); None estimates the noise.

    Reference: Chang, Yu, Vetterli, Adaptive wavelet thresholding for image denoising and compression (2000).
    """
    restoration = _skimage("restoration")
    try:
        import pywt
    except ImportError:
        raise NotInstalledError("PyWavelets", "restoration", "denoising by wavelets") from None
    # as many levels as the picture's size bears; more would wrap around and warn
    levels = max(1, pywt.dwt_max_level(min(picture.shape[1:]), "db1") - 1)
    shares = (picture + 1) / 2
    sigma = None if deviation is None else deviation / 2
    made = restoration.denoise_wavelet(
        shares, sigma=sigma, wavelet="db1", wavelet_levels=levels, channel_axis=0, rescale_sigma=False
    )
    return 2 * made - 1


def cracks(picture: Tensor, width: int = 3, dark: bool = True, light: bool = True) -> Tensor:
    """Where a painting (channels, height, width) is cracked or scratched: boolean (height, width).

    Lines thinner than ``width`` pixels stand out of the top-hat transform of the brightness (black for dark cracks,
    white for light scratches): what an opening with a disc of that width takes away. Kept is what lies above four
    robust standard deviations of the transform, and a pixel around it.

    Raises InputError for a width that is not positive, or nothing to look for.

    Reference: Giakoumis, Nikolaidis, Pitas, Digital image processing techniques for the detection and removal of cracks
    in digitized paintings (2006), section II.
    """
    if width < 1 or not (dark or light):
        raise InputError(
            f"cracks have a width of 1 pixel or more, and are dark or light; seen {width}, {dark}, {light}"
        )
    morphology = _skimage("morphology")
    brightness = picture.detach().cpu().double().mean(0).numpy()
    disc = morphology.disk(width)
    found = np.zeros(brightness.shape, bool)
    for wanted, transform in ((dark, morphology.black_tophat), (light, morphology.white_tophat)):
        if wanted:
            hat = transform(brightness, disc)
            middle = np.median(hat)
            spread = 1.4826 * np.median(np.abs(hat - middle))
            found |= hat > middle + max(_CRACK_DEVIATIONS * spread, 0.1)
    found = morphology.dilation(found, morphology.disk(1))
    return torch.from_numpy(found)


@dataclass(frozen=True)
class Fading:
    r"""How a painting has lost its tones: :math:`w=a+b\left(\frac{v-l}{h-l}\right)^g` gives them back, by channel.

    ``low``, ``high`` are the 2 and 98 % quantiles of what is left, ``exponent`` g moves the median to where it was, and
    a, b (``floor``, ``reach``) say what the range was.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    exponent: tuple[float, ...]
    floor: tuple[float, ...]
    reach: tuple[float, ...]

    @classmethod
    def of(cls, picture: Tensor, reference: Tensor | None = None) -> "Fading":
        """From the picture (channels, height, width) and what such pictures are like (n, channels, height, width).

        Without a reference the tones are taken to have filled the range, with their median in its middle.
        """
        told = []
        for channel, values in enumerate(picture.detach().cpu().double().flatten(1)):
            low, middle, high = values.quantile(torch.tensor(_QUANTILES, dtype=torch.float64)).tolist()
            wanted = _STRETCHED
            if reference is not None:
                known = reference[:, channel].detach().cpu().double().flatten()[:1_000_000]
                wanted = tuple(known.quantile(torch.tensor(_QUANTILES, dtype=torch.float64)).tolist())
            if not high > low or not wanted[2] > wanted[0]:
                told.append((low, low + 1.0, 1.0, low, 1.0))  # one tone alone says nothing of a curve
                continue
            share, target = ((m - a) / (b - a) for a, m, b in ((low, middle, high), wanted))
            inside = 1e-3 < share < 1 - 1e-3 and 1e-3 < target < 1 - 1e-3
            exponent = math.log(target) / math.log(share) if inside else 1.0
            exponent = min(max(exponent, _FLATTEST), _STEEPEST)
            told.append((low, high, exponent, wanted[0], wanted[2] - wanted[0]))
        return cls(*(tuple(column) for column in zip(*told, strict=True)))

    def undone(self, picture: Tensor) -> Tensor:
        """The picture with its tones given back, within [-1, 1]."""
        columns = (self.low, self.high, self.exponent, self.floor, self.reach)
        low, high, exponent, floor, reach = (
            torch.tensor(column, dtype=picture.dtype)[:, None, None] for column in columns
        )
        share = ((picture - low) / (high - low)).clamp(min=0.0)
        return (floor + reach * share**exponent).clamp(-1, 1)


def _skimage(module: str) -> Any:
    try:
        import importlib

        return importlib.import_module(f"skimage.{module}")
    except ImportError:
        raise NotInstalledError("scikit-image", "restoration", "classical restoration of pictures") from None


def _total_variation(operator: MaskOperator, reading: Tensor, deviation: float) -> np.ndarray:
    return denoise_total_variation(operator.adjoint(reading[None])[0].numpy(), weight=deviation)


def _wavelet(operator: MaskOperator, reading: Tensor, deviation: float) -> np.ndarray:
    return denoise_wavelet(operator.adjoint(reading[None])[0].numpy(), deviation or None)


def _biharmonic(operator: MaskOperator, reading: Tensor, deviation: float) -> np.ndarray:
    """Reference: Damelin, Hoang, On surface completion and image inpainting by biharmonic functions (2018)."""
    restoration = _skimage("restoration")
    known = operator.adjoint(reading[None])[0].numpy()
    hidden = (~operator.seen).numpy()
    parts = [
        restoration.inpaint_biharmonic(plane, where) if where.any() else plane
        for plane, where in zip((known + 1) / 2, hidden, strict=True)
    ]
    return 2 * np.stack(parts) - 1


def _bicubic(operator: DownsampleOperator, reading: Tensor, deviation: float) -> np.ndarray:
    transform = _skimage("transform")
    return np.stack(
        [
            transform.resize(plane, operator.shape[1:], order=3, mode="edge", anti_aliasing=False)
            for plane in reading.numpy()
        ]
    )


def _richardson_lucy(operator: BlurOperator, reading: Tensor, deviation: float) -> np.ndarray:
    """Reference: Lucy, An iterative technique for the rectification of observed distributions (1974)."""
    restoration = _skimage("restoration")
    kernel = operator.weights.numpy()
    mode: Any = {"periodic": "wrap", "reflect": "symmetric", "zero": "constant"}[operator.boundary]
    made = []
    for plane in (reading.numpy() + 1) / 2:
        pads = [(side, side) for side in kernel.shape]
        wide = np.pad(plane, pads, mode=mode).clip(1e-6)
        whole = restoration.richardson_lucy(wide, kernel, num_iter=_LUCY_ROUNDS, clip=False)
        made.append(whole[tuple(slice(first, -last) for first, last in pads)])
    return 2 * np.stack(made) - 1


def _repeated_grey(operator: GreyOperator, reading: Tensor, deviation: float) -> np.ndarray:
    return np.broadcast_to(reading.numpy(), operator.shape).copy()
