"""Training on one picture, or a few: small crops of it at addressed places, and the files that hold a single one."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unstir.core.errors import InputError, NotInstalledError, suggest, unknown
from unstir.core.seeds import Seeds
from unstir.domains.images.encoding import find_layout
from unstir.formats.base import Rows, Samples
from unstir.formats.picture_files import CHANNELS, PictureRows, inspect_files

SAMPLE_PICTURES = "skimage:"  # the prefix of scikit-image's own
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_FLIPS = ("horizontal", "vertical", "both")


@dataclass(frozen=True)
class Crops:
    """How a picture becomes a set of small ones: ``data.crops`` of a recipe.

    size: pixels of a crop's side. count: how many crops there are; crop n is the same whoever asks, at a place drawn
    at the address (``seed``, n). flip: horizontal, vertical or both, each with probability a half; quarter_turns:
    turned by 0 to 3 right angles as well. Both are for textures without an up and down.

    Raises InputError for options that are out of range or not known.

    Reference: Nikankin, Haim, Irani, SinFusion: training diffusion models on a single image or video (2023), section
    4, for learning one picture from its crops.
    """

    size: int = 32
    count: int = 4096
    flip: str | None = None
    quarter_turns: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "count"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"data.crops.{name} is a whole number from 1; seen {value!r}")
        if self.flip is not None and self.flip not in _FLIPS:
            raise unknown("flip of crops", str(self.flip), _FLIPS)

    @classmethod
    def of(cls, options: Any) -> "Crops":
        """From a recipe's ``data.crops``: options, or the size alone."""
        given: Any = {"size": options} if isinstance(options, int) and not isinstance(options, bool) else options
        if not isinstance(given, Mapping):
            raise InputError(
                f"`data.crops: {options!r}`: a size, or options such as {{size: 32, count: 4096}}, is needed"
            )
        known = [field.name for field in fields(cls)]
        for option in given:
            if option not in known:
                raise InputError(f"unknown option of data.crops {option!r}; {suggest(str(option), known)}")
        return cls(**given)

    def taken_from(self, samples: Samples) -> Samples:
        """The crops of the pictures of ``samples``, in their place; labels stay with the crops of their pictures.

        Raises InputError for pictures smaller than a crop.
        """
        layout, (_, height, width) = find_layout(samples.shape, samples.attributes.get("layout"), samples.source)
        if self.size > min(height, width):
            raise InputError(
                f"{samples.source}: crops of {self.size} pixels do not fit in pictures of {height} by {width}; "
                f"say data.crops.size={min(height, width)} or less"
            )
        pictures, _, _, _ = self.places(np.arange(self.count), len(samples), height, width)
        labels = None if samples.labels is None else samples.labels[pictures]
        attributes = {**samples.attributes, "layout": layout}
        rows = CropRows(samples.values, self, layout, (height, width))
        return replace(samples, values=rows, labels=labels, row_names=None, attributes=attributes)

    def places(
        self, rows: np.ndarray, pictures: int, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of the crops ``rows``: which picture, top, left, and three uniform numbers for flips and turns (n, 3)."""
        seeds = Seeds(self.seed, torch.from_numpy(np.asarray(rows, dtype=np.int64))).at("crops")
        drawn = seeds.uniform((6,)).numpy()
        limits = np.array([pictures, height - self.size + 1, width - self.size + 1])
        which, top, left = (drawn[:, :3] * limits).astype(np.int64).T
        return which, top, left, drawn[:, 3:]


class CropRows:
    """The crops as rows, cut out when asked for: what ``formats.base.Rows`` wants."""

    def __init__(self, pictures: Rows, crops: Crops, layout: str, size: tuple[int, int]) -> None:
        self._pictures, self._crops, self._size = pictures, crops, size
        self._axes = tuple(layout.index(axis) for axis in "hw")  # within one picture
        shape = list(pictures.shape[1:])
        for axis in self._axes:
            shape[axis] = crops.size
        self.shape: tuple[int, ...] = (crops.count, *shape)
        self.dtype: np.dtype[Any] = np.dtype(pictures.dtype)
        self._whole: np.ndarray | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        numbers = np.asarray(rows)
        which, top, left, coins = self._crops.places(numbers, len(self._pictures), *self._size)
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        for row in range(len(numbers)):
            cut: list[slice] = [slice(None)] * (len(self.shape) - 1)
            for axis, first in zip(self._axes, (top[row], left[row]), strict=True):
                cut[axis] = slice(first, first + self._crops.size)
            found[row] = self._turned(self._picture(int(which[row]))[tuple(cut)], coins[row])
        return found

    def _picture(self, number: int) -> np.ndarray:
        if len(self._pictures) > 1:
            return self._pictures[np.array([number])][0]
        if self._whole is None:  # one picture is decoded once, not for every crop of it
            self._whole = self._pictures[np.array([0])][0]
        return self._whole

    def _turned(self, crop: np.ndarray, coins: np.ndarray) -> np.ndarray:
        tall, wide = self._axes
        if self._crops.flip in ("horizontal", "both") and coins[0] < 0.5:
            crop = np.flip(crop, wide)
        if self._crops.flip in ("vertical", "both") and coins[1] < 0.5:
            crop = np.flip(crop, tall)
        return np.rot90(crop, int(4 * coins[2]), (tall, wide)) if self._crops.quarter_turns else crop


def is_single_picture(path: Any) -> bool:
    """Whether a recipe's ``data.path`` is one picture file, or one of scikit-image's sample pictures."""
    text = str(path)
    return text.startswith(SAMPLE_PICTURES) or (text.lower().endswith(ENDINGS) and Path(text).expanduser().is_file())


def single_picture(path: str | Path, size: Any = None, mode: str | None = None) -> Samples:
    """One picture as a set of one: a file, or ``skimage:NAME`` for those that ship with scikit-image.

    size: [height, width] or one number, resized (antialiased) to cover it and cropped about the centre, as for a folder
    of pictures. mode: ``grey``, ``rgb`` or ``rgba``.

    Raises InputError for a file that is no picture, NotInstalledError where scikit-image is needed and missing.
    """
    if mode is not None and mode not in CHANNELS:
        raise unknown("mode of pictures", mode, CHANNELS)
    file = sample_picture(str(path)) if str(path).startswith(SAMPLE_PICTURES) else Path(path).expanduser()
    kinds, problems = inspect_files([file])
    if problems:
        raise InputError(f"{path}: cannot be read as a picture ({problems[0]})")
    wanted = (size, size) if isinstance(size, int) else tuple(size) if size is not None else None
    if wanted is not None and (len(wanted) != 2 or not all(isinstance(side, int) and side > 0 for side in wanted)):
        raise InputError(f"size {size!r}: one number of pixels, or [height, width]")
    kind = kinds[0]
    chosen = mode or kind.mode
    rows = PictureRows([file], [file.name], str(path), chosen, kind.dtype, wanted or (kind.height, kind.width))
    return Samples(rows, str(path), attributes={"layout": "hw" if chosen == "grey" else "hwc"})


def sample_picture(name: str) -> Path:
    """The file of ``skimage:NAME``; only what lies in the package, nothing is fetched."""
    try:
        import skimage.data
    except ImportError:
        raise NotInstalledError("scikit-image", "restoration", f"the sample picture {name!r}") from None
    place = Path(str(skimage.data.__file__)).parent
    known = {file.stem: file for file in sorted(place.iterdir()) if file.suffix in (".png", ".jpg")}
    wanted = name.removeprefix(SAMPLE_PICTURES)
    if wanted not in known:
        raise unknown("sample picture of scikit-image", wanted, known)
    return known[wanted]
