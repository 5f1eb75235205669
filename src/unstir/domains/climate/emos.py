r"""Classical post-processing: a (censored) normal law whose location and scale follow the ensemble, of least CRPS.

With predictors a and b of a case, standardised over the training part,

.. math:: z \sim N(\mu, \sigma^2), \quad \mu = \alpha_0 + \alpha\cdot a, \quad \log\sigma = \beta_0 + \beta\cdot b,
          \quad y = \max(z, \ell).

The latent z may lie below the bound l (no rain), which collects its mass; l = -inf is the plain normal law. On a
square-root scale with l = 0 this is the censored regression of rain.

Reference: Gneiting, Raftery, Westveld, Goldman, Calibrated probabilistic forecasting using ensemble model output
statistics and minimum CRPS estimation (2005); Messner, Mayr, Wilks, Zeileis, Extending extended logistic regression:
extended versus separate versus ordered versus censored (2014), for the censored law.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unstir.core.errors import InputError

_ROOT_PI = math.sqrt(math.pi)
_FAR = 30.0  # standard deviations, beyond which a bound does not matter
_STEPS = 60  # of L-BFGS
_NARROWEST = 1e-6


def normal_crps(location: Tensor, scale: Tensor, observed: Tensor, low: Tensor | float = -math.inf) -> Tensor:
    r"""CRPS of max(N(location, scale^2), low) at ``observed`` >= low, in its units; all shapes broadcast.

    With z and l in standard deviations it is :math:`\sigma\,[A(z) + A(-z) - A(l)]`, where
    :math:`A(x) = x\Phi(x)^2 + 2\varphi(x)\Phi(x) - \Phi(\sqrt2 x)/\sqrt\pi` is an antiderivative of :math:`\Phi^2`.

    Reference: Jordan, Krueger, Lerch, Evaluating probabilistic forecasts with scoringRules (2019), appendix A.
    """
    z = (observed - location) / scale
    low = torch.as_tensor(low, dtype=location.dtype, device=location.device)
    # no bound at all must leave finite gradients behind
    bound = (torch.maximum(low, (location - _FAR * scale).detach()) - location) / scale
    return scale * (_antiderivative(z) + _antiderivative(-z) - _antiderivative(bound))


def _antiderivative(x: Tensor) -> Tensor:
    phi, density = torch.special.ndtr(x), (-0.5 * x.square()).exp() / math.sqrt(2 * math.pi)
    return x * phi.square() + 2 * density * phi - torch.special.ndtr(math.sqrt(2) * x) / _ROOT_PI


@dataclass(frozen=True)
class Emos:
    """Laws for ``places`` that are fitted each on their own: the channels, leads and grid points of a state.

    ``location`` (places, 1 + p) and ``scale`` (places, 1 + q): constant and coefficients of the standardised
    predictors, whose means and deviations are ``location_norm`` (2, places, p) and ``scale_norm`` (2, places, q);
    ``low`` (places,): the bounds, -inf for none. All float64.
    """

    location: Tensor
    scale: Tensor
    location_norm: Tensor
    scale_norm: Tensor
    low: Tensor

    def law(self, predictors: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the latent law, each (n, places); predictors (n, places, p), spreads (n, places, q)."""
        if predictors.shape[1:] != self.location_norm.shape[1:] or spreads.shape[1:] != self.scale_norm.shape[1:]:
            raise InputError(
                f"this EMOS was fitted to predictors (n, {', '.join(map(str, self.location_norm.shape[1:]))}) and "
                f"(n, {', '.join(map(str, self.scale_norm.shape[1:]))}); seen {tuple(predictors.shape)} and "
                f"{tuple(spreads.shape)}"
            )
        a = (predictors.double() - self.location_norm[0]) / self.location_norm[1]
        b = (spreads.double() - self.scale_norm[0]) / self.scale_norm[1]
        return _law(self.location, self.scale, a, b)

    def quantiles(self, law: tuple[Tensor, Tensor], levels: Tensor) -> Tensor:
        """The quantiles of the censored law at the levels (members, n, places) or (members, 1, 1), of that shape."""
        location, scale = law
        return torch.maximum(location + scale * torch.special.ndtri(levels), self.low)

    def latent(self, law: tuple[Tensor, Tensor], observed: Tensor, levels: Tensor) -> Tensor:
        """Observations (n, places) with those at the bound replaced by draws of the latent law below it.

        levels: uniform on (0, 1), of the same shape. What lies above the bound stays as it is.
        """
        location, scale = law
        below = torch.special.ndtr(((self.low - location) / scale).clamp(-_FAR, _FAR))
        drawn = location + scale * torch.special.ndtri((levels * below).clamp(min=1e-12))
        return torch.where(observed <= self.low, torch.minimum(drawn, self.low), observed)

    def record(self) -> dict[str, Any]:
        """Plain values, fit for JSON: a bound of -inf becomes None."""
        found = {name: getattr(self, name).tolist() for name in ("location", "scale", "location_norm", "scale_norm")}
        return {**found, "low": [None if low == -math.inf else low for low in self.low.tolist()]}

    @staticmethod
    def restored(record: Mapping[str, Any]) -> "Emos":
        """What ``record()`` came from."""
        told = {name: torch.tensor(values, dtype=torch.float64) for name, values in record.items() if name != "low"}
        for name, coefficients in (("location_norm", "location"), ("scale_norm", "scale")):
            # a list of nothing has lost how many places it was for
            places, width = told[coefficients].shape
            told[name] = told[name].reshape(2, places, width - 1)
        low = [-math.inf if bound is None else bound for bound in record["low"]]
        return Emos(**told, low=torch.tensor(low, dtype=torch.float64))


def _law(location: Tensor, scale: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    # a scale that runs away for an ensemble wider than any before would be no forecast: e^8 is far beyond
    logarithm = (scale[:, 0] + (b * scale[:, 1:]).sum(-1)).clamp(-12.0, 8.0)
    return location[:, 0] + (a * location[:, 1:]).sum(-1), logarithm.exp()


def fit_emos(
    predictors: Tensor, spreads: Tensor, observed: Tensor, low: Tensor | None = None, penalty: float = 0.0
) -> Emos:
    r"""The laws of least mean CRPS, all places at once by L-BFGS from a regression.

    predictors: (n, places, p); spreads: (n, places, q); observed: (n, places), NaN where missing; low: (places,) or
    None for no bound. ``penalty`` times the sum of the squared coefficients (constants apart), in standard deviations
    of what is observed, is added to the mean CRPS in the same unit.

    Raises InputError for shapes that do not go together, and for places with fewer observations than coefficients.
    """
    places = observed.shape[1]
    for name, values in (("predictors", predictors), ("spreads", spreads)):
        if values.ndim != 3 or values.shape[:2] != observed.shape:
            raise InputError(
                f"{name} (n, places, k) for observations {tuple(observed.shape)}: seen {tuple(values.shape)}"
            )
    known = ~observed.isnan()
    least = predictors.shape[-1] + spreads.shape[-1] + 2
    if int(known.sum(0).min()) < least:
        raise InputError(
            f"EMOS has {least} coefficients for each place; one has only {int(known.sum(0).min())} observation(s) in "
            "the training part: give it more times, or fewer predictors"
        )
    low = torch.full((places,), -math.inf, dtype=torch.float64) if low is None else low.double()
    y = torch.where(known, observed.double(), 0.0)
    total = known.sum(0).double()
    a, location_norm = _standardised(predictors.double())
    b, scale_norm = _standardised(spreads.double())
    centre = y.sum(0) / total
    unit = (torch.where(known, y - centre, 0.0).square().sum(0) / total).sqrt().clamp(min=_NARROWEST)

    location, scale = _start(a, b, torch.where(known, (y - centre) / unit, 0.0), known.double(), total)
    location, scale = location.contiguous().requires_grad_(), scale.requires_grad_()
    target, bound = (y - centre) / unit, (low - centre) / unit
    optimiser = torch.optim.LBFGS(
        [location, scale], max_iter=_STEPS, tolerance_change=1e-7, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        scores = normal_crps(*_law(location, scale, a, b), target, bound)
        loss = (torch.where(known, scores, 0.0).sum(0) / total).sum()
        loss = loss + penalty * (location[:, 1:].square().sum() + scale[:, 1:].square().sum())
        loss.backward()
        return loss

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, whatever the machine is doing: the fit is the same to the bit
    try:
        with torch.enable_grad():
            optimiser.step(closure)
    finally:
        torch.set_num_threads(threads)
    location, scale = location.detach(), scale.detach()
    if not bool(location.isfinite().all() and scale.isfinite().all()):
        raise InputError("EMOS found no finite coefficients; look for infinite or constant predictors in the ensemble")
    location = location * unit[:, None]
    location[:, 0] += centre
    scale[:, 0] += unit.log()
    return Emos(location, scale, location_norm, scale_norm, low)


def _standardised(values: Tensor) -> tuple[Tensor, Tensor]:
    if not bool(values.isfinite().all()):
        raise InputError("EMOS needs finite predictors; seen a missing or infinite value: leave such times out")
    mean = values.mean(0)
    deviation = (values - mean).square().mean(0).sqrt()
    norm = torch.stack((mean, torch.where(deviation > 1e-9 * (1 + mean.abs()), deviation, torch.ones_like(deviation))))
    return (values - norm[0]) / norm[1], norm


def _start(a: Tensor, b: Tensor, y: Tensor, known: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Least squares of the location, a little ridged, and the constant spread of what it leaves."""
    design = torch.cat((torch.ones_like(a[..., :1]), a), -1).transpose(0, 1)  # (places, n, 1 + p)
    weighted = design * known.T[..., None]
    gram = weighted.transpose(1, 2) @ design / total[:, None, None]
    gram = gram + 1e-3 * torch.eye(gram.shape[-1], dtype=gram.dtype)
    right = (weighted * y.T[..., None]).sum(1) / total[:, None]
    location = torch.linalg.solve(gram, right)
    left = known * (y - (design @ location[..., None])[..., 0].T)
    scale = torch.zeros(len(location), 1 + b.shape[-1], dtype=torch.float64)
    scale[:, 0] = (left.square().sum(0) / total).sqrt().clamp(min=1e-3).log()
    return location, scale
