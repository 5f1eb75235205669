"""Pictures larger than the network was trained on: overlapping windows, each believed about by itself."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.denoisers.base import Denoiser
from unstir.denoisers.posteriors import GaussianPosterior, PointPosterior, Posterior


class TiledDenoiser(Denoiser):
    r"""A denoiser for grids of any size, by weighted means of another's beliefs about overlapping windows.

    States are (batch, channels, height, width). A window of ``window`` = (height, width) places stands every
    ``stride`` places (half a window by default), the last one at the edge; the belief about a place is
    :math:`\sum_w k_w \hat x_w / \sum_w k_w` over the windows that see it, with weights k that fall towards a window's
    border as :math:`\sin^2` does; the variance of Gaussian beliefs is averaged alike. It is exact where no
    place tells of another, as in white noise, and otherwise it is what windows can tell: texture, not composition.

    With ``seamless`` the windows wrap around, as on a torus: pictures tile the plane, and one moved in a circle by
    multiples of the stride is believed about as the one that was not. Height and width must then be multiples of the
    stride. At most ``tiles`` windows are looked at in one call of the network, whatever the picture's size.

    A condition of the state's height and width is cut into the same windows; all others are told to each of them. A
    state of one window is handed to the other denoiser as it is.

    Raises InputError for options out of range, a space other than Euclidean, a state smaller than a window, a bound
    ``mask``.

    Reference: Bar-Tal, Yariv, Lipman, Dekel, MultiDiffusion: fusing diffusion paths for controlled image generation
    (2023), eq. 5.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        window: Sequence[int],
        stride: int | Sequence[int] | None = None,
        seamless: bool = False,
        tiles: int = 64,
    ) -> None:
        super().__init__()
        self.denoiser, self.process = denoiser, denoiser.process
        if self.process.space != "euclidean":
            raise InputError(f"tiles are of grids under Gaussian noise; seen the space {self.process.space!r}")
        self.window = _pair("window", window)
        half = [max(1, side // 2) for side in self.window]
        self.stride = _pair(
            "stride", half if stride is None else (stride, stride) if isinstance(stride, int) else stride
        )
        if any(step > side for step, side in zip(self.stride, self.window, strict=True)):
            raise InputError(
                f"a stride of {self.stride} leaves gaps between windows of {self.window}; take a smaller one"
            )
        if tiles < 1:
            raise InputError(f"at least 1 window is looked at in a call; seen tiles = {tiles}")
        self.seamless, self.tiles = seamless, tiles

    @property
    def mask(self) -> Tensor | None:
        """None: nothing is padded in a grid."""
        return None

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> Posterior:
        """The belief about the whole; float64 times of shape () or (batch,)."""
        if not isinstance(xt, Tensor) or xt.ndim != 4:
            raise InputError("tiles are of states (batch, channels, height, width)")
        size = (xt.shape[2], xt.shape[3])
        if size == self.window and not self.seamless:
            return self.denoiser(xt, t, drop, **condition)
        rows, columns = (self._places(length, axis) for axis, length in enumerate(size))
        kernel = _weights(self.window).to(xt)
        total, variance, weight = torch.zeros_like(xt), torch.zeros_like(xt), xt.new_zeros(size)
        for top in rows:
            for left in columns:
                weight[top[:, None], left] += kernel
        # samples within windows: a call holds as few different windows as it can
        work = [(top, left, sample) for top in rows for left in columns for sample in range(len(xt))]
        wide = False
        for begin in range(0, len(work), self.tiles):
            part = work[begin : begin + self.tiles]
            belief = self._believed(part, xt, t, drop, condition)
            wide = isinstance(belief, GaussianPosterior)
            for number, (top, left, sample) in enumerate(part):
                places = (sample, slice(None), top[:, None], left)
                total[places] += kernel * belief.mean[number]
                if isinstance(belief, GaussianPosterior):
                    variance[places] += kernel * belief.variance[number]
        return GaussianPosterior(total / weight, variance / weight) if wide else PointPosterior(total / weight)

    def _believed(
        self,
        work: list[tuple[Tensor, Tensor, int]],
        xt: Tensor,
        t: Tensor,
        drop: Tensor | None,
        condition: dict[str, Tensor],
    ) -> Posterior:
        """The belief about some windows of some samples."""

        def cut(tensor: Tensor) -> Tensor:
            return torch.stack([tensor[sample][:, top[:, None], left] for top, left, sample in work])

        owners = torch.tensor([sample for _, _, sample in work], device=xt.device)
        t = torch.as_tensor(t, dtype=torch.float64, device=xt.device)
        told = {
            name: cut(values) if values.ndim == 4 and values.shape[2:] == xt.shape[2:] else values[owners]
            for name, values in condition.items()
        }
        return self.denoiser(cut(xt), t[owners] if t.ndim else t, None if drop is None else drop[owners], **told)

    def _places(self, length: int, axis: int) -> list[Tensor]:
        """The indices of each window along one axis."""
        side, step = self.window[axis], self.stride[axis]
        if length < side:
            raise InputError(f"a picture of {length} places along an axis is smaller than the window's {side}")
        inside = torch.arange(side)
        if self.seamless:
            if length % step:
                raise InputError(
                    f"seamless pictures have sides that are multiples of the stride {step}; seen {length}: "
                    f"take {length - length % step} or {length - length % step + step}"
                )
            return [(inside + first) % length for first in range(0, length, step)]
        firsts = [*range(0, length - side, step), length - side]
        return [inside + first for first in firsts]


def _weights(window: tuple[int, int]) -> Tensor:
    """sin^2 along both axes, float64 (height, width): positive everywhere, least at the border."""
    parts = [(math.pi * (torch.arange(side, dtype=torch.float64) + 0.5) / side).sin().square() for side in window]
    return parts[0][:, None] * parts[1]


def _pair(name: str, given: Sequence[int]) -> tuple[int, int]:
    found = tuple(given)
    if len(found) != 2 or not all(isinstance(side, int) and side > 0 for side in found):
        raise InputError(f"the {name} of tiles is (height, width), of at least 1 place each; seen {given}")
    return found[0], found[1]
