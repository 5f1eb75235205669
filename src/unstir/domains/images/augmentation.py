"""More pictures from the same pictures: flips, turns, shifts; and the way that does not leak into the samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds

_FLIPS = ("horizontal", "vertical", "both")
_EDGES = {"edge": "border", "mirror": "reflection"}


@dataclass(frozen=True)
class ToldAugmentation:
    r"""Affine changes whose parameters the network is told, so that its samples need not show them.

    Each change is made with probability ``p``, independently of the others: flips with probability a half; rotation
    by :math:`\theta` uniform in ±``rotation``; scaling by :math:`2^{s}`, :math:`s` normal with deviation ``scale``;
    stretching by :math:`2^{a}` along the direction :math:`\phi` and :math:`2^{-a}` across it, :math:`a` normal with
    deviation ``stretch``; shifts by normal fractions of the picture's side with deviation ``shift``. All but the
    flips are one resampling (bicubic). A deviation of 0 leaves its change out.

    Told (9 numbers, all zero for an unchanged picture): horizontal flip, vertical flip, :math:`\cos\theta - 1`,
    :math:`\sin\theta`, :math:`s`, :math:`a\cos 2\phi`, :math:`a\sin 2\phi`, horizontal and vertical shift.

    Reference: Karras, Aittala, Aila, Laine, Elucidating the design space of diffusion-based generative models
    (NeurIPS 2022), appendix F.2.
    """

    p: float | int = 0.12
    horizontal_flip: bool = True
    vertical_flip: bool = True
    rotation: float | int = math.pi
    scale: float | int = 0.2
    stretch: float | int = 0.2
    shift: float | int = 0.125
    edge: str = "edge"

    size = 9

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise InputError(f"told.p = {self.p}: a probability from 0 to 1 is needed")
        if self.edge not in _EDGES:
            raise unknown("filling at the edge", self.edge, _EDGES)

    def parameters(self, seeds: Seeds) -> Tensor:
        """What is told, float32 (batch, 9)."""
        # one draw of all the numbers: a call costs the same for fourteen as for one
        choices, coins, angles, quantiles = seeds.uniform((14,)).split([6, 2, 2, 4], 1)
        chosen, normal = choices < self.p, torch.special.ndtri(quantiles)
        angle, direction = (math.pi * (2 * angles - 1)).unbind(1)
        wanted = torch.tensor([self.horizontal_flip, self.vertical_flip])
        flips = (coins < 0.5) & chosen[:, :2] & wanted
        angle = angle * (self.rotation / math.pi) * chosen[:, 2]
        scale = normal[:, 0] * self.scale * chosen[:, 3]
        stretch = normal[:, 1] * self.stretch * chosen[:, 4]
        shifts = normal[:, 2:] * self.shift * chosen[:, 5:]
        told = [angle.cos() - 1, angle.sin(), scale, stretch * direction.cos(), stretch * direction.sin()]
        return torch.cat([flips, torch.stack(told, 1), shifts], 1).float() + 0.0  # no negative zeros

    def apply(self, pictures: Tensor, told: Tensor) -> Tensor:
        """Pictures (batch, channels, height, width), changed as ``told`` says."""
        for column, axis in ((0, -1), (1, -2)):
            pictures = _where(told[:, column].bool(), pictures.flip(axis), pictures)
        moved = told[:, 2:].ne(0).any(1).nonzero()[:, 0]
        if len(moved):
            grid = _sampling_grid(told[moved], *pictures.shape[-2:])
            padding = _EDGES[self.edge]
            resampled = grid_sample(pictures[moved], grid, mode="bicubic", padding_mode=padding, align_corners=False)
            # bicubic interpolation overshoots at hard edges; the data's range is kept
            low, high = pictures[moved].amin((1, 2, 3), keepdim=True), pictures[moved].amax((1, 2, 3), keepdim=True)
            pictures = pictures.index_copy(0, moved, resampled.clamp(low, high))
        return pictures


def _sampling_grid(told: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel of the result is read from, (batch, height, width, 2) in ``grid_sample``'s coordinates.

    Written out in elementwise operations: a matrix product may round differently in another batch.
    """
    cosine, sine, scale, along, across, right, down = told.double()[:, 2:, None, None].unbind(1)
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - width / 2)[None, None, :] - right * width
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - height / 2)[None, :, None] - down * height
    x, y = (cosine + 1) * x + sine * y, (cosine + 1) * y - sine * x
    # the inverse of 2^s exp(ln 2 A), A = [[along, across], [across, -along]] symmetric without trace
    amount = torch.hypot(along, across) * math.log(2)
    mix = torch.where(amount > 0, torch.sinh(amount) / amount.clamp(min=1e-300), 1.0) * math.log(2)
    even, shrink = torch.cosh(amount), torch.exp2(-scale)
    x, y = (
        shrink * ((even - mix * along) * x - mix * across * y),
        shrink * ((even + mix * along) * y - mix * across * x),
    )
    return torch.stack((x * (2 / width), y * (2 / height)), -1).float()


@dataclass(frozen=True)
class Augmentation:
    """Changes of pictures in training, with draws addressed by seed and sample number.

    flip: ``"horizontal"``, ``"vertical"`` or ``"both"``: each with probability a half.
    quarter_turns: rotation by 0, 90, 180 or 270 degrees, each equally likely; square pictures only.
    shift: up to so many pixels up or down and left or right (a padded crop); the edge's values fill the gap.
    told: a ``ToldAugmentation``. The first three are right where the changed picture is as likely as the
        unchanged one; where it is not, only ``told`` keeps the samples true.
    """

    flip: str | None = None
    quarter_turns: bool = False
    shift: int = 0
    told: ToldAugmentation | None = None

    @classmethod
    def of(cls, options: Any, shape: tuple[int, int, int]) -> "Augmentation":
        """From a recipe's options, for pictures of that (channels, height, width)."""
        if not isinstance(options, Mapping | None):
            raise InputError(f"`data.augment: {options!r}`: options are needed, such as {{flip: horizontal, shift: 1}}")
        options = dict(options or {})
        told = options.pop("told", None)
        _check_options(options, cls, "augmentation")
        if told is not None and told is not False:
            how: dict[str, Any] = dict(told) if isinstance(told, Mapping) else {} if told is True else {"p": told}
            _check_options(how, ToldAugmentation, "option of the told augmentation")
            options["told"] = ToldAugmentation(**how)
        chosen = cls(**options)
        if chosen.flip is not None and chosen.flip not in _FLIPS:
            raise unknown("flip", str(chosen.flip), _FLIPS)
        if not 0 <= chosen.shift < min(shape[1:]):
            raise InputError(f"shift = {chosen.shift}: 0 to {min(shape[1:]) - 1} pixels for pictures of {shape[1:]}")
        if chosen.quarter_turns and shape[1] != shape[2]:
            raise InputError(f"quarter turns need square pictures; these have {shape[1]} by {shape[2]} pixels")
        return chosen

    @property
    def told_size(self) -> int:
        """Numbers told to the network for each sample; 0 if none are."""
        return self.told.size if self.told is not None else 0

    def __call__(self, pictures: Tensor, seeds: Seeds) -> tuple[Tensor, Tensor | None]:
        """The changed pictures, and what the network is told of the change, float32 (batch, told_size) or None."""
        if self.flip or self.quarter_turns or self.shift:
            coins, turns, shifts = seeds.at("plain").uniform((5,)).split([2, 1, 2], 1)
            for column, name, axis in ((0, "horizontal", -1), (1, "vertical", -2)):
                if self.flip in (name, "both"):
                    pictures = _where(coins[:, column] < 0.5, pictures.flip(axis), pictures)
            if self.quarter_turns:
                turned = torch.stack([pictures.rot90(quarters, (-2, -1)) for quarters in range(4)])
                pictures = turned[(4 * turns[:, 0]).long(), torch.arange(len(pictures))]
            if self.shift:
                pictures = _shifted(pictures, ((2 * self.shift + 1) * shifts).long() - self.shift)
        if self.told is None:
            return pictures, None
        told = self.told.parameters(seeds.at("told"))
        return self.told.apply(pictures, told), told


def _where(chosen: Tensor, changed: Tensor, pictures: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], changed, pictures)


def _shifted(pictures: Tensor, offsets: Tensor) -> Tensor:
    """Each picture moved by its (rows, columns); the edge's values fill the gap."""
    height, width = pictures.shape[-2:]
    rows = (torch.arange(height) - offsets[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width) - offsets[:, 1:]).clamp(0, width - 1)
    batch = torch.arange(len(pictures))[:, None, None]
    moved = pictures.movedim(1, -1)[batch, rows[:, :, None], columns[:, None, :]]
    return moved.movedim(-1, 1).contiguous()


def _check_options(options: Mapping[str, Any], kind: type, what: str) -> None:
    allowed: dict[str, Any] = {option.name: option.type for option in fields(kind)}
    for option, value in options.items():
        if option not in allowed:
            raise unknown(what, option, allowed)
        if not isinstance(value, allowed[option]):
            needed = getattr(allowed[option], "__name__", str(allowed[option]))
            raise InputError(f"{what} {option!r}: {value!r} is not of type {needed}")
