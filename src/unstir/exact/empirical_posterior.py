"""Belief spread over finitely many points, computed a chunk of points at a time."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unstir.core.seeds import Seeds
from unstir.denoisers.posteriors import Posterior
from unstir.exact.gaussian_components import floored

_EPS = torch.finfo(torch.float64).eps
_EXACT_ENOUGH = 1e-11  # nats of a log-weight
_NEGLIGIBLE = 50.0  # nats below the largest: less than half a unit in the last place
_PAIRS = 1 << 22  # numbers that are held at once for differences


@dataclass(frozen=True)
class Points:
    """Points (n, d) of any floating dtype, ``chunk`` of which are converted and compared at a time."""

    values: Tensor
    chunk: int

    def to(self, device: torch.device | str) -> "Points":
        """The same on another device."""
        return Points(self.values.to(device), self.chunk)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Places and float64 values."""
        for start in range(0, len(self.values), self.chunk):
            places = slice(start, start + self.chunk)
            yield places, self.values[places].double()

    def seen(self, x: Tensor, alpha: Tensor, sigma: Tensor, log_weights: Tensor) -> "SeenPoints":
        """The points through noise."""
        return SeenPoints(self, x, alpha, sigma, log_weights)

    def log_likelihood(self, operator: Tensor, observation: Tensor, covariance: Tensor) -> Tensor:
        """log N(y; A x_i, R), (n,); in directions without noise 0 where the point gives y, else -inf."""
        variance, axes = torch.linalg.eigh(covariance)
        exact = variance <= variance.amax() * len(variance) * _EPS
        found = []
        for _, points in self.chunks():
            away = (observation - points @ operator.T) @ axes
            reach = observation.abs().amax() + (points.abs() @ operator.abs().T).amax(1, keepdim=True)
            off = (exact & (away.abs() > 1e-11 * reach)).any(1)
            terms = -(away.square() / variance + (2 * math.pi * variance).log()) / 2
            found.append(torch.where(exact, 0.0, terms).sum(1).masked_fill(off, -math.inf))
        return torch.cat(found)


class SeenPoints:
    """Points seen through noise from states x (batch, d): joint log-weights, chunk by chunk, and their sums."""

    def __init__(self, law: Points, x: Tensor, alpha: Tensor, sigma: Tensor, log_weights: Tensor) -> None:
        self.law, self.x, self.alpha, self.sigma, self.log_weights = law, x, alpha, sigma, log_weights
        self.noise = floored(sigma.square())

    def summed(self) -> tuple[Tensor, Tensor]:
        """The logarithm of the sum of all joint weights (batch,), and the mean (batch, d)."""
        largest = self.x.new_full((len(self.x), 1), -math.inf)
        total, mean = torch.zeros_like(largest), torch.zeros_like(self.x)
        for joint, points in self.joints():
            risen = torch.maximum(largest, joint.detach().amax(1, keepdim=True))
            # nothing possible yet: no share, and no difference of infinities
            anchor = risen.masked_fill(risen == -math.inf, 0.0)
            shares, kept = (joint - anchor).exp(), (largest - anchor).exp()
            total = total * kept + shares.sum(1, keepdim=True)
            mean = mean * kept + shares @ points
            largest = risen
        return (total.log() + largest)[:, 0], mean / total

    def joints(self) -> Iterator[tuple[Tensor, Tensor]]:
        """For each chunk log w_i - |x - alpha x_i|^2/(2 sigma^2), (batch, chunk), and the points.

        The matrix product's rounding is bounded; where it could be felt, differences are taken for the pairs that
        can still count.
        """
        largest = self.x.new_full((len(self.x), 1), -math.inf)
        own = self.x.square().sum(1, keepdim=True)
        for places, points in self.law.chunks():
            lengths = points.square().sum(1)
            squares = own - 2 * self.alpha * (self.x @ points.T) + self.alpha.square() * lengths
            scale = own + self.alpha.square() * lengths.amax()
            rounding = (8 * _EPS * scale / self.noise).detach()
            weights = self.log_weights[:, places]
            joint = weights - squares.clamp(min=0) / (2 * self.noise)
            if bool((rounding > _EXACT_ENOUGH).any()):
                joint, largest = self._refined(joint, points, weights, largest, rounding)
            yield joint, points

    def _refined(
        self, joint: Tensor, points: Tensor, weights: Tensor, largest: Tensor, rounding: Tensor
    ) -> tuple[Tensor, Tensor]:
        largest = torch.maximum(largest, joint.detach().amax(1, keepdim=True))
        rows, columns = (joint.detach() >= largest - 2 * rounding - _NEGLIGIBLE).nonzero(as_tuple=True)
        noise = self.noise.expand(len(self.x), 1)[rows, 0]
        alpha = self.alpha.expand(len(self.x), 1)[rows]
        squares = [
            (self.x[row] - factor * points[column]).square().sum(1)
            for row, column, factor in zip(
                *(part.split(max(1, _PAIRS // points.shape[1])) for part in (rows, columns, alpha)), strict=True
            )
        ]
        exact = weights.expand(len(self.x), -1)[rows, columns] - torch.cat(squares) / (2 * noise)
        # what was sorted out is far below the largest, whatever its last digits
        kept = torch.full_like(joint, -math.inf).index_put((rows, columns), exact)
        return kept, largest

    def log_density(self, total: Tensor) -> Tensor:
        """log p_t(x) from the log of the sum."""
        size = self.x.shape[1]
        clean = (self.noise < 1e-150)[:, 0]
        density = total - size / 2 * (2 * math.pi * self.noise).log()[:, 0]
        return torch.where(clean, torch.where(total < -1e100, -math.inf, total), density)


@dataclass(frozen=True)
class EmpiricalPosterior(Posterior):
    """Shares of finitely many points for each sample; what is beyond the mean takes another pass over the points.

    ``log_prob`` is of probability (the counting measure), -inf off the points.
    """

    mean: Tensor
    total: Tensor  # (batch,): log of the sum of the joint weights
    seen: SeenPoints = field(repr=False)

    @property
    def variance(self) -> Tensor:
        """The variance of each element, of the state's shape."""
        found = torch.zeros_like(self.seen.x)
        for shares, away in self._spread():
            found = found + (away.square() * shares).sum(1)
        return found.reshape(self.mean.shape).to(self.mean.dtype)

    def covariance(self) -> Tensor:
        """The covariance of the elements of each sample, (batch, d, d)."""
        batch, size = self.seen.x.shape
        found = self.seen.x.new_zeros(batch, size, size)
        for shares, away in self._spread():
            found = found + (away * shares).mT @ away
        return found.to(self.mean.dtype)

    def sample(self, seeds: Seeds) -> Tensor:
        """A point for each sample."""
        uniform = seeds.to(self.mean.device).at("component").uniform()[:, None]
        below = torch.zeros(len(uniform), dtype=torch.long, device=self.mean.device)
        reached, last = torch.zeros_like(uniform), torch.zeros_like(below)
        start = 0
        for shares, points in self._shares():
            edges = reached + shares.cumsum(1)
            below = below + (uniform > edges).sum(1)
            some = torch.where(shares > 0, torch.arange(len(points), device=below.device) + start, -1)
            last = torch.maximum(last, some.amax(1))
            reached, start = edges[:, -1:], start + len(points)
        # rounding may leave the last edge short of one
        chosen = torch.minimum(below, last)
        return self.seen.law.values[chosen].reshape(self.mean.shape).to(self.mean.dtype)

    def log_prob(self, x0: Tensor) -> Tensor:
        """The log-probability of each sample, (batch,)."""
        flat = x0.reshape(len(x0), -1)
        found = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
        for shares, points in self._shares():
            same = torch.ones_like(shares, dtype=torch.bool)
            for element in range(flat.shape[1]):  # an element at a time: (batch, chunk, d) may not fit
                same &= flat[:, element, None] == points[:, element].to(flat.dtype)
                if not bool(same.any()):
                    break
            found = found + (shares * same).sum(1)
        return found.log().to(x0.dtype)

    def _spread(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Shares (batch, some, 1) of points, and how far these lie from the mean, (batch, some, d)."""
        centre = self.seen.summed()[1]  # not ``mean``, which may have been rounded to the state's dtype
        step = max(1, _PAIRS // max(1, centre.numel()))
        for shares, points in self._shares():
            for start in range(0, len(points), step):
                chosen = slice(start, start + step)
                yield shares[:, chosen, None], points[chosen] - centre[:, None]

    def _shares(self) -> Iterator[tuple[Tensor, Tensor]]:
        for joint, points in self.seen.joints():
            yield (joint - self.total[:, None]).exp(), points
