"""A single picture file in and out: pixels as a network sees them, opacity as a mask, and all that lies beside them."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.images.crops import SAMPLE_PICTURES, sample_picture
from unstir.domains.images.profile_writing import Keepsakes, write_png
from unstir.formats.picture_files import CHANNELS, picture_pixels

_MODES = {channels: mode for mode, channels in CHANNELS.items()}
_HALF = 0.5
_EXIF_TURNED = ("JPEG", "MPO", "WEBP")


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture, ready to be edited.

    ``values`` float32 (channels, height, width), black at -1 and white at 1; ``opacity`` float32 (height, width) from 0
    to 1, or None where the file has none; ``levels`` the pixels as they lay in the file, uint8 or uint16 (height,
    width, channels of the file); ``keepsakes`` what was beside them, ``depth`` the dtype of the levels.
    """

    values: Tensor
    opacity: Tensor | None
    levels: np.ndarray | None
    keepsakes: Keepsakes
    depth: str = "uint8"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def opaque(self) -> Tensor | None:
        """Where the picture is wholly opaque, boolean (height, width): what an edit through the opacity keeps."""
        return None if self.opacity is None else self.opacity >= 1

    def outpainted(self, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> tuple["Picture", Tensor]:
        """On a canvas that is larger by so many pixels, the edge's colours carried on; and where it was, boolean."""
        margins = (left, top, right, bottom)
        if any(isinstance(side, bool) or not isinstance(side, int) or side < 0 for side in margins) or not any(margins):
            raise InputError(f"a canvas grows by whole pixels, left, top, right, bottom, and by some; seen {margins}")
        pads = (left, right, top, bottom)
        values = torch.nn.functional.pad(self.values[None], pads, mode="replicate")[0]
        kept = torch.nn.functional.pad(torch.ones(self.size), pads).bool()
        opacity = None if self.opacity is None else torch.nn.functional.pad(self.opacity, pads, value=0.0)
        levels = None
        if self.levels is not None:
            levels = np.pad(self.levels, ((top, bottom), (left, right), (0, 0)), mode="edge")
        return replace(self, values=values, opacity=opacity, levels=levels), kept


def read_picture(path: str | Path, channels: int | None = None) -> Picture:
    """A picture file of 8 or 16 bits, PNG, JPEG, TIFF, WebP or BMP, or ``skimage:NAME``.

    ``channels`` is what the network takes: 1 grey, 3 colour, 4 colour and opacity; the file's own (without opacity) by
    default. Opacity is set apart unless there are 4, and colours are then as they lie in the file, not laid on white.

    Raises InputError for a file that is missing, no picture, or of other numbers than 8 or 16 bits.
    """
    file = sample_picture(str(path)) if str(path).startswith(SAMPLE_PICTURES) else Path(path).expanduser()
    if not file.is_file():
        raise InputError(f"{path}: there is no such picture file")
    try:
        levels = picture_pixels(file)
        with Image.open(io.BytesIO(file.read_bytes())) as image:
            turned = image.format in _EXIF_TURNED
            keepsakes = Keepsakes.of(image.info, turned)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as a picture ({' '.join(str(error).split())[:200]})") from None
    if levels.dtype not in (np.uint8, np.uint16):
        raise InputError(f"{path}: pictures of 8 or 16 bits are edited; this one has pixels of {levels.dtype}")
    greatest = float(np.iinfo(levels.dtype).max)
    shares = torch.from_numpy(np.moveaxis(levels.astype(np.float64) / greatest, -1, 0).copy())
    colour, opacity = (shares[:-1], shares[-1]) if len(shares) in (2, 4) else (shares, None)
    channels = channels or len(colour)
    if channels not in _MODES:
        raise InputError(f"pictures have 1, 3 or 4 channels; the network takes {channels}")
    if channels == 1 and len(colour) == 3:
        luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)  # ITU-R BT.601, as elsewhere
        colour = (luma[:, None, None] * colour).sum(0, keepdim=True)
    if channels >= 3 and len(colour) == 1:
        colour = colour.expand(3, *colour.shape[1:])
    if channels == 4:
        whole = torch.ones_like(colour[:1]) if opacity is None else opacity[None]
        colour = torch.cat((colour, whole))
    told = None if opacity is None else opacity.float()
    return Picture((2 * colour - 1).float().contiguous(), told, levels, keepsakes, levels.dtype.name)


def read_mask(path: str | Path, size: tuple[int, int]) -> Tensor:
    """A drawn mask: boolean (height, width), True where the file is light, which is what is to be made anew.

    Raises InputError for another size than the picture's, a mask that is all dark.
    """
    drawn = read_picture(path, 1)
    if drawn.size != size:
        raise InputError(f"{path}: a mask has the picture's size {size} (height, width); seen {drawn.size}")
    light = (drawn.values[0] + 1) / 2 >= _HALF
    if drawn.opacity is not None:
        light &= drawn.opacity >= _HALF
    if not bool(light.any()):
        raise InputError(f"{path}: the mask is all dark; draw white where the picture is to be made anew")
    return light


def write_picture(path: str | Path, values: Tensor, like: Picture, keep: Tensor | None = None) -> Path:
    """Writes ``values`` (channels, height, width) in [-1, 1] as a PNG with the keepsakes of ``like``.

    It has the depth of ``like``. Where ``keep`` (height, width) is true, the pixels are those of the file, exactly, if
    numbers of channels agree. Opacity is written as full where the picture was made anew.
    """
    greatest = float(np.iinfo(like.depth).max)
    shares = ((values.detach().cpu().double().clamp(-1, 1) + 1) / 2).numpy()
    levels = np.rint(np.moveaxis(shares, 0, -1) * greatest).astype(like.depth)
    if like.levels is not None and keep is not None and like.levels.shape[:2] == levels.shape[:2]:
        known = like.levels
        if known.shape[-1] in (2, 4) and levels.shape[-1] != 4:
            known = known[..., :-1]
        if known.shape[-1] in (1, levels.shape[-1]):
            levels = np.where(keep.cpu().numpy()[..., None], np.broadcast_to(known, levels.shape), levels)
    return write_png(path, levels[..., 0] if levels.shape[-1] == 1 else levels, like.keepsakes)
