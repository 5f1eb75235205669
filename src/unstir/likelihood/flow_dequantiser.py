r"""A learned law of the place in the cell: a conditional flow from the uniform law, and its fit.

Each layer maps some of the places :math:`u\in[0,1]` to others by a rising spline, :math:`u\to f(u)`, whose knots
are told by a network that sees the integers and the remaining places; :math:`-\log q = \sum\log f'`. Freshly made,
all splines are the identity and the law is uniform, so that the fit starts from the plain bound.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from unstir.core.errors import InputError, NonFiniteError
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask
from unstir.likelihood.bits import sum_per_sample
from unstir.likelihood.dequantisation import Cells, Dequantised, LogDensity, count

_FREQUENCIES = (1, 2, 4)
_INPUTS = 2 + 2 * len(_FREQUENCIES)
_NARROWEST = 1e-3  # bin of a spline, and flattest slope at a knot: the inverse stays finite


class FlowDequantiser(nn.Module):
    """q(u|v) for integers v of one ``shape``: ``layers`` layers of splines of ``bins`` pieces, networks ``width`` wide.

    Pictures (channels, height, width) have convolutions, everything else a perceptron over all elements. The first
    layer moves every element by what it knows of the integers alone; those after it by turns the even and the odd
    ones, by the others too, so that the places in neighbouring cells may depend on one another.

    Reference: Ho, Chen, Srinivas, Duan, Abbeel, Flow++ (2019), section 3.1; Durkan, Bekasov, Murray, Papamakarios,
    Neural spline flows (2019).
    """

    def __init__(
        self, cells: Cells, shape: tuple[int, ...], layers: int = 3, width: int = 64, bins: int = 8, seed: int = 0
    ) -> None:
        super().__init__()
        if layers < 1 or width < 1 or bins < 1 or not math.prod(shape):
            raise InputError(
                f"1 layer, unit, bin and element at least are needed; seen {layers}, {width}, {bins} and shape {shape}"
            )
        self.cells, self.shape = cells, tuple(shape)
        checker = torch.arange(math.prod(shape)).reshape(shape) % 2
        if len(shape) == 3:
            rows, columns = torch.arange(shape[1])[:, None], torch.arange(shape[2])
            checker = ((rows + columns) % 2).expand(shape)
        nothing = torch.zeros(shape)
        layers = layers if math.prod(shape) > 1 else 1
        kept = [nothing, *((checker + layer).remainder(2).float() for layer in range(layers - 1))]
        self.register_buffer("kept", torch.stack(kept))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = nn.ModuleList(_network(self.shape, width, 3 * bins + 1) for _ in kept)

    def draw(self, integers: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Dequantised:
        """See ``dequantisation.Dequantiser``; differentiable in the weights."""
        if tuple(integers.shape[1:]) != self.shape:
            raise InputError(f"fitted to samples of the shape {self.shape}; seen {tuple(integers.shape[1:])}")
        u = seeds.to(integers.device).uniform(self.shape)
        log_volume = torch.zeros_like(u)
        seen = self._features(integers)
        for kept, network in zip(self.kept, self.networks, strict=True):
            known = apply_mask((2 * u.float() - 1) * kept, mask)
            bent, log_slope = rational_quadratic(u, network(torch.cat((known[:, None], seen), 1)).double())
            u = torch.where(kept == 1, u, bent)
            log_volume = log_volume + torch.where(kept == 1, 0.0, log_slope)
        state = apply_mask(self.cells.encode(integers, u), mask)
        return Dequantised(state, self.cells.log_step * count(integers, mask) + sum_per_sample(log_volume, mask))

    def _features(self, integers: Tensor) -> Tensor:
        """What the networks are told of the integers, (batch, features, *shape): waves that tell neighbours apart."""
        clean = 2 * (self.cells.checked(integers).float() + 0.5) / self.cells.levels - 1
        waves = [wave(math.pi * frequency * clean) for frequency in _FREQUENCIES for wave in (torch.sin, torch.cos)]
        return torch.stack((clean, *waves), 1)


def rational_quadratic(u: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """A rising spline of [0, 1] onto itself and the log of its slope, both of the shape of ``u``.

    ``free`` has 3 k + 1 numbers more along axis 1, for k pieces: of their widths, of their heights, and of the slopes
    at the knots. Where all are zero it is the identity.

    Reference: Durkan, Bekasov, Murray, Papamakarios, Neural spline flows (2019), eq. 4 and 5.
    """
    free = free.movedim(1, -1)
    pieces = free.shape[-1] // 3
    sizes = free[..., : 2 * pieces].unflatten(-1, (2, pieces)).softmax(-1)
    sizes = _NARROWEST + (1 - pieces * _NARROWEST) * sizes
    knots = nn.functional.pad(sizes.cumsum(-1), (1, 0))
    slopes = _NARROWEST + (1 - _NARROWEST) * softplus(free[..., 2 * pieces :] + math.log(math.e - 1))
    piece = (u[..., None] >= knots[..., 0, 1:-1]).sum(-1, keepdim=True)

    def of(values: Tensor, shift: int = 0) -> Tensor:
        return values.gather(-1, piece + shift)[..., 0]

    width, height = of(sizes[..., 0, :]), of(sizes[..., 1, :])
    left, right, mean = of(slopes), of(slopes, 1), height / width
    share = ((u - of(knots[..., 0, :])) / width).clamp(0, 1)
    both = share * (1 - share)
    below = mean + (left + right - 2 * mean) * both
    reached = of(knots[..., 1, :]) + height * (mean * share.square() + left * both) / below
    slope = mean.square() * (right * share.square() + 2 * mean * both + left * (1 - share).square()) / below.square()
    return reached, slope.log()


def fit_dequantiser(
    log_density: LogDensity,
    integers: Tensor,
    cells: Cells,
    seeds: Seeds,
    *,
    steps: int = 1000,
    batch: int = 256,
    learning_rate: float | int = 1e-2,
    layers: int = 3,
    width: int = 64,
    bins: int = 8,
    mask: Tensor | None = None,
    progress: Callable[[int], object] | None = None,
) -> FlowDequantiser:
    """The flow that raises the dequantised bound of a fixed ``log_density`` on these ``integers`` (n, *shape).

    ``log_density`` maps states to nats (batch,), is differentiable in them, and is not changed. ``steps`` of Adam,
    ``batch`` samples each, at a ``learning_rate`` that falls to zero as a cosine. ``mask`` (n, k) as elsewhere; for a
    model with conditions or masks let ``log_density`` be of the whole batch, ``batch`` = n. Draws come from ``seeds``,
    of which only the seed and purpose count. ``progress(1)`` is called after each step.
    """
    cells.checked(integers)
    if steps < 1 or batch < 1 or not len(integers):
        raise InputError(f"1 step, 1 sample at least are needed; seen {steps}, {min(batch, len(integers))}")
    flow = FlowDequantiser(cells, tuple(integers.shape[1:]), layers, width, bins, seeds.seed).to(integers.device)
    optimizer = torch.optim.Adam(flow.parameters(), lr=float(learning_rate))
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    whole = batch >= len(integers)
    for step in range(steps):
        own = Seeds.range(seeds.seed, min(batch, len(integers))).at(*seeds.purpose, "fit", step)
        rows = own.samples if whole else own.at("rows").integers(0, len(integers))
        rows = rows.to(integers.device)
        drawn = flow.draw(integers[rows], own.at("place"), None if mask is None else mask[rows])
        loss = -(log_density(drawn.state).double() + drawn.log_weight).mean() / max(1, math.prod(flow.shape))
        if not bool(loss.isfinite()):
            raise NonFiniteError(f"the bound of the dequantiser is not finite in step {step}; lower the learning rate")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        rates.step()
        if progress:
            progress(1)
    return flow.eval()


class _Perceptron(nn.Module):
    """From (batch, inputs, *shape) to (batch, free, *shape), over all elements; zero at first."""

    def __init__(self, shape: tuple[int, ...], width: int, free: int) -> None:
        super().__init__()
        size, self.free = math.prod(shape), free
        self.body = nn.Sequential(nn.Linear(_INPUTS * size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.last = _silent(nn.Linear(width, free * size))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x.flatten(1))).reshape(len(x), self.free, *x.shape[2:])


class _Convolutions(nn.Module):
    """The same for pictures, (batch, inputs, channels, height, width)."""

    def __init__(self, channels: int, width: int, free: int) -> None:
        super().__init__()
        self.free = free
        self.body = nn.Sequential(
            nn.Conv2d(_INPUTS * channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
        )
        self.last = _silent(nn.Conv2d(width, free * channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x.flatten(1, 2))).reshape(len(x), self.free, *x.shape[2:])


def _network(shape: tuple[int, ...], width: int, free: int) -> nn.Module:
    return _Convolutions(shape[0], width, free) if len(shape) == 3 else _Perceptron(shape, width, free)


def _silent(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
