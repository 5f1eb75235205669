r"""How wide the belief about the clean data is: measured by noise level, and given to a denoiser that knows no width.

With x_0 drawn from a Gaussian belief of the right variance, the process's bridge is DDPM's reverse step with the
optimal variance. Averaged over the states, that variance is known from the denoiser's mean alone,

.. math::
    v(\lambda) = \frac{1}{d} E\|x_0 - E[x_0|x_t]\|^2
               = \frac{\sigma^2}{\alpha^2}\Big(1 - \frac{1}{d} E\|\hat\epsilon(x_t)\|^2\Big),

because :math:`\hat\epsilon - \epsilon = \tfrac{\alpha}{\sigma}(x_0 - \hat x_0)` and :math:`\hat\epsilon =
E[\epsilon|x_t]` is the projection of :math:`\epsilon`, so that :math:`E\|\epsilon\|^2 = d` is
:math:`E\|\hat\epsilon\|^2 + E\|\epsilon - \hat\epsilon\|^2`. The second form trusts the mean; the first also counts
the errors of a trained one, and is what suits it best.

Reference: Bao, Li, Zhu, Zhang, Analytic-DPM (2022), theorem 1 and its corollary; Bao et al., Estimating the optimal
covariance with imperfect mean in diffusion probabilistic models (2022), theorem 2.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import apply_mask, expand, mean_per_sample
from unstir.denoisers.base import Denoiser, evaluating
from unstir.denoisers.posteriors import GaussianPosterior

METHODS = ("error", "score")
_LEVELS, _LOWEST, _HIGHEST = 41, 1e-3, 1e2  # noise levels in units of the data's deviation


def linear_variance(log_snr: Tensor | float, deviation: Tensor | float) -> Tensor:
    r"""The variance that the best linear estimate leaves: :math:`s^2\sigma^2/(\alpha^2s^2+\sigma^2)`, float64.

    It is what is left of normal data of deviation s, and a bound, on average, for any other data of that deviation.
    An infinite log-SNR or deviation is taken to its limit.
    """
    deviation = torch.as_tensor(deviation, dtype=torch.float64)
    return (deviation.pow(-2) + torch.as_tensor(log_snr, dtype=torch.float64).exp()).reciprocal()


@dataclass(frozen=True, eq=False)
class VarianceTable:
    """The belief's variance by noise level, in the square of the data's unit; all float64.

    ``log_snr`` (levels,) rises; ``variances`` (levels, *shape) with ``shape`` that of one sample, or () where all
    elements share one; ``errors`` their standard errors. Between the levels the share of ``linear_variance`` of the
    data's ``deviation`` is interpolated monotonically (Fritsch and Carlson), and beyond them it stays: so the
    variance goes to zero with the noise, and to that of the data where nothing else is left. For normal data
    the share is one everywhere, and the table exact between its levels too.

    Raises InputError for shapes that do not agree, levels that do not rise, or negative variances.
    """

    log_snr: Tensor
    variances: Tensor
    errors: Tensor
    deviation: float
    method: str = "error"

    def __post_init__(self) -> None:
        for name in ("log_snr", "variances", "errors"):
            object.__setattr__(self, name, torch.as_tensor(getattr(self, name), dtype=torch.float64).detach().cpu())
        levels = self.log_snr
        if levels.ndim != 1 or len(levels) < 2 or not bool(levels.isfinite().all() and (levels.diff() > 0).all()):
            raise InputError(f"a table of variances needs at least 2 rising, finite log-SNR; seen {levels.tolist()}")
        if self.variances.shape[:1] != levels.shape or self.errors.shape != self.variances.shape:
            raise InputError(
                f"a table of variances needs one for each of its {len(levels)} levels, and an error for each variance; "
                f"seen the shapes {tuple(self.variances.shape)} and {tuple(self.errors.shape)}"
            )
        if not bool((self.variances.isfinite() & (self.variances >= 0)).all()):
            raise InputError("the variances of a table are finite and at least 0")
        if not 0 < self.deviation < math.inf:
            raise InputError(f"the data's deviation must be positive; seen {self.deviation}")
        if self.method not in METHODS:
            raise unknown("method of measuring variances", self.method, METHODS)

    @classmethod
    def of_normal(cls, deviation: float = 1.0) -> "VarianceTable":
        """The table of normal data whose elements are independent and have this deviation."""
        levels = torch.tensor([-20.0, 20.0], dtype=torch.float64)
        return cls(levels, linear_variance(levels, deviation), torch.zeros(2), deviation)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample; () where all elements share one variance."""
        return tuple(self.variances.shape[1:])

    def __call__(self, log_snr: Tensor | float) -> Tensor:
        """The variance at log-SNR of shape () or (batch,), infinite ones too: that shape and then the table's."""
        log_snr = torch.as_tensor(log_snr, dtype=torch.float64)
        inside = log_snr.clamp(float(self.log_snr[0]), float(self.log_snr[-1]))
        share = torch.as_tensor(self._shares(inside.cpu().numpy()), dtype=torch.float64, device=log_snr.device)
        return expand(linear_variance(log_snr, self.deviation), share) * share

    def check_shape(self, state: Tensor) -> None:
        """Refuses states (batch, *shape) of another shape than the table's."""
        if self.shape not in ((), tuple(state.shape[1:])):
            raise InputError(f"the table's variances are of the shape {self.shape}, a sample {tuple(state.shape[1:])}")

    @cached_property
    def _shares(self) -> Any:
        from scipy.interpolate import PchipInterpolator

        shares = self.variances / expand(linear_variance(self.log_snr, self.deviation), self.variances)
        return PchipInterpolator(self.log_snr.numpy(), shares.numpy(), axis=0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON takes them."""
        tensors = {name: getattr(self, name).tolist() for name in ("log_snr", "variances", "errors")}
        return {**tensors, "deviation": self.deviation, "method": self.method}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VarianceTable":
        """The table that ``as_dict`` told of."""
        names = ("log_snr", "variances", "errors", "deviation", "method")
        if missing := [name for name in names if name not in values]:
            raise InputError(f"a table of variances needs {', '.join(names)}; {missing[0]!r} is missing")
        try:
            levels, variances, errors = (torch.tensor(values[name], dtype=torch.float64) for name in names[:3])
            return cls(levels, variances, errors, float(values["deviation"]), values["method"])
        except (TypeError, ValueError) as error:
            raise InputError(f"this is no table of variances: {error}") from error


@torch.no_grad()
def measure_variances(
    denoiser: Denoiser,
    data: Tensor,
    levels: Tensor | None = None,
    seeds: Seeds | None = None,
    *,
    condition: Mapping[str, Tensor] | None = None,
    per_element: bool = False,
    method: str = "error",
    batch: int = 256,
) -> VarianceTable:
    """The belief's variance at each noise level, from the denoiser's mean on clean data with fresh noise.

    ``data`` (n, *shape) are clean samples, best held out, ``condition`` one row for each. ``levels`` are log-SNR, by
    default 41 of noise from 1/1000 to 100 times the data's deviation, or to where the schedule ends. Row i of the
    data has the noise of the address ``seeds[i]`` at every level, so that the curve is smooth. ``per_element`` tells
    the elements of a sample apart. ``method``: ``error``, the mean squared error of the mean, or ``score``, from
    the norm of the noise that it tells (Analytic-DPM's own, kept within its bounds, 0 and ``linear_variance``).
    Takes n calls of one row a level, in batches of ``batch`` rows.

    Raises InputError for a process on another space, fewer than 2 rows, data all the same, or levels that the
    schedule does not reach.
    """
    seeds = Seeds.range(0, len(data)) if seeds is None else seeds
    if method not in METHODS:
        raise unknown("method of measuring variances", method, METHODS)
    _check_space(denoiser)
    if len(data) < 2 or len(seeds) != len(data) or batch < 1:
        raise InputError(
            "at least 2 rows of data, an address for each and a batch of at least 1 are needed; "
            f"seen {len(data)} rows, {len(seeds)} addresses and batch {batch}"
        )
    if "mask" in (condition or {}):
        raise InputError("variances are measured on samples of one shape; the condition 'mask' cannot be given")
    deviation = data.double().std(0, correction=0).square().mean().sqrt().item()
    if not 0 < deviation < math.inf:
        raise InputError(f"the data must be finite and its rows differ; seen the deviation {deviation}")
    schedule = denoiser.process.schedule
    levels = _levels(schedule, deviation) if levels is None else _reached(schedule, levels)
    found = []
    with evaluating(denoiser):
        for level in levels:
            rows = _at_level(denoiser, data, level, seeds, condition or {}, method, batch, per_element)
            found.append((rows.mean(0), rows.std(0) / math.sqrt(len(data))))
    variances, errors = (torch.stack(values).cpu() for values in zip(*found, strict=True))
    if method == "score":
        bounds = expand(linear_variance(levels, deviation), variances)
        variances = torch.minimum(variances.clamp(min=0), bounds)
    return VarianceTable(levels, variances, errors, deviation, method)


class VarianceDenoiser(Denoiser):
    """Another's mean with the variances of a table: a Gaussian belief, whatever the other's was."""

    def __init__(self, denoiser: Denoiser, table: VarianceTable) -> None:
        super().__init__()
        _check_space(denoiser)
        self.denoiser, self.process, self.table = denoiser, denoiser.process, table

    def forward(self, xt: Tensor, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> GaussianPosterior:
        """Independent Gaussians about the other's mean; padded places have no width."""
        mean = self.denoiser(xt, t, drop, **condition).mean
        self.table.check_shape(mean)
        t = torch.as_tensor(t, dtype=torch.float64, device=mean.device).expand(len(mean))
        variance = expand(self.table(self.process.schedule.log_snr(t)), mean).expand_as(mean)
        return GaussianPosterior(mean, apply_mask(variance, condition.get("mask")))


def with_variance(denoiser: Denoiser, table: VarianceTable) -> VarianceDenoiser:
    """The denoiser with a Gaussian belief of the table's variances, for samplers and bounds that need a width."""
    return VarianceDenoiser(denoiser, table)


def variance_of(posterior: Any) -> Tensor:
    """The belief's variance of each element, of the state's shape; an error that says what to do if it has none."""
    variance = getattr(posterior, "variance", None)
    if not isinstance(variance, Tensor):
        raise InputError(
            f"this sampler needs a belief with a variance; seen {type(posterior).__name__}, which is a point. Measure "
            "one with unstir.denoisers.variances.measure_variances(denoiser, data) and give the sampler the table "
            "(analytic_dpm(table)) or the denoiser (with_variance(denoiser, table)); or train with the recipe's "
            "denoiser.variance=learned; or take ddpm or ddpm-upper, which need none"
        )
    return variance


def _at_level(
    denoiser: Denoiser,
    data: Tensor,
    level: Tensor,
    seeds: Seeds,
    condition: Mapping[str, Tensor],
    method: str,
    batch: int,
    per_element: bool,
) -> Tensor:
    """What is averaged over the rows, float64: of the data's shape, or (n,)."""
    t = denoiser.process.schedule.time(level)
    found = []
    for start in range(0, len(data), batch):
        rows = slice(start, start + batch)
        clean, own = data[rows], seeds[rows].at("noise")
        alpha, sigma = denoiser.process.coefficients(t, clean)
        noise = own.normal_like(clean)
        told = {name: values[rows] for name, values in condition.items()}
        away = clean.double() - denoiser(alpha * clean + sigma * noise, t, **told).mean.double()
        squared = away.square()
        # (sigma/alpha)^2 (eps^2 - told^2): eps^2 averages to one, and varies with the noise that is told
        score = -2 * (-level / 2).exp().to(away) * noise.double() * away - squared
        measured = squared if method == "error" else score
        found.append(measured if per_element else mean_per_sample(measured))
    return torch.cat(found)


def _levels(schedule: Any, deviation: float) -> Tensor:
    """Rising log-SNR, evenly spaced."""
    last = float(schedule.log_snr(torch.tensor(1.0, dtype=torch.float64)))
    lowest = max(-2 * math.log(_HIGHEST * deviation), last)
    return torch.linspace(lowest, -2 * math.log(_LOWEST * deviation), _LEVELS, dtype=torch.float64)


def _reached(schedule: Any, levels: Tensor) -> Tensor:
    levels = torch.as_tensor(levels, dtype=torch.float64)
    away = (schedule.log_snr(schedule.time(levels)) - levels).abs()
    if not bool((away <= 1e-6 * (1 + levels.abs())).all()):
        raise InputError(f"the schedule does not reach all of the log-SNR {levels.tolist()}")
    return levels


def _check_space(denoiser: Denoiser) -> None:
    if (space := denoiser.process.space) != "euclidean":
        raise InputError(f"a variance belongs to a belief on the Euclidean space; seen the space {space!r}")
