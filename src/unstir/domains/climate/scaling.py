r"""Between the data's units and numbers of about unit scale, channel by channel; invertible, and kept with the run.

Each channel is bent by g, then centred and scaled, z = (g(x) - m) / d:

- ``standard``: g(x) = x;
- ``sqrt``, ``power``: g(x) = sign(x) |x|^p, p = 1/2 or the channel's ``exponent``;
- ``log``: g(x) = sign(x) log(1 + |x| / s) with the channel's ``scale`` s;
- ``quantile``: g leads the values' distribution to the normal one, piecewise linear between knots and beyond them with
  the slope of a normal law of the data's deviation;
- ``none``: z = x.

Where ``censored`` holds a number, decoding gives nothing below it: half the mass of rain lies on zero, which no
continuous draw would ever meet, so all that is drawn below zero is dry. Encoding cuts nothing.

Reference: Sloughter, Raftery, Gneiting, Fraley, Probabilistic quantitative precipitation forecasting using Bayesian
model averaging (2007), for power transforms of rain; Krzysztofowicz, Transformation and normalization of variates with
specified distributions (1997), for normal quantile transforms.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.domains.climate.layout import Quantity

METHODS = ("standard", "sqrt", "power", "log", "quantile", "none")
_OPTIONS = {
    "standard": ("per", "censored"),
    "sqrt": ("per", "censored"),
    "power": ("exponent", "per", "censored"),
    "log": ("scale", "per", "censored"),
    "quantile": ("knots", "censored"),
    "none": ("censored",),
}
_SAMPLE = 1 << 17  # values of a channel that are kept for what needs its distribution


@dataclass(frozen=True)
class Scaling:
    """One invertible map for each channel of (batch, channels, *axes); differentiable both ways, NaN stays NaN."""

    channels: tuple[Mapping[str, Any], ...]

    def encode(self, values: Tensor) -> Tensor:
        """Values in the data's units to about unit scale; of the same shape and dtype."""
        return self._each(values, _encoded)

    def decode(self, scaled: Tensor) -> Tensor:
        """Back to the data's units; nothing below a channel's ``censored``."""
        return self._each(scaled, _decoded)

    def record(self) -> list[dict[str, Any]]:
        """Plain values."""
        return [dict(each) for each in self.channels]

    def _each(self, values: Tensor, change: Any) -> Tensor:
        if values.ndim < 2 or values.shape[1] != len(self.channels):
            raise InputError(
                f"values (batch, {len(self.channels)} channels, ...) are needed; seen the shape {tuple(values.shape)}"
            )
        # what is missing must not reach the gradients of what is there
        missing = values.isnan()
        known = torch.where(missing, 0.0, values)
        found = torch.stack([change(known[:, place], each) for place, each in enumerate(self.channels)], 1)
        return torch.where(missing, torch.nan, found)


def methods_for(transform: Any, quantities: Sequence[Quantity]) -> list[dict[str, Any]]:
    """The checked method of each channel: what the option ``transform`` says.

    transform: one for all (``standard``, ``{"method": "power", "exponent": 0.33}``), or by the names of variables or
    channels (``{"rain": "sqrt", "t2m": {"method": "standard", "per": "place"}}``); those not named are ``standard``.

    Raises InputError for names that are none.
    """
    if isinstance(transform, Mapping) and "method" not in transform:
        known = {each.name for each in quantities} | {each.variable for each in quantities}
        for name in transform:
            if name not in known:
                raise unknown("variable in `data.transform`:", str(name), known)
        chosen = [transform.get(each.name, transform.get(each.variable, "standard")) for each in quantities]
    else:
        chosen = [transform] * len(quantities)
    return [_method(each) for each in chosen]


def fit_scaling(chunks: Iterable[np.ndarray], methods: Any) -> Scaling:
    """Fitted to arrays (n, channels, *axes) that together are the training part, read once each; NaN is missing.

    methods: one for all channels, or a list of one for each: a name, or a mapping with ``method`` and its options
    ``exponent``, ``scale``, ``knots``, ``per: place`` (mean and deviation of every place) and ``censored`` (a number,
    ``low`` for the least value of the training part, or None for no bound; zero by default where ``sqrt``, ``power``,
    ``log`` or ``quantile`` meets zeros but no negative value).

    Raises InputError for methods that are none, and for channels without values or without variation.
    """
    gathered: list[_Gathered] = []
    for number, chunk in enumerate(chunks):
        values = np.asarray(chunk, dtype=np.float64)
        if values.ndim < 2:
            raise InputError(f"arrays (n, channels, ...) are needed to fit a scaling; seen the shape {values.shape}")
        if not gathered:
            listed = list(methods) if isinstance(methods, Sequence) and not isinstance(methods, str) else None
            if listed is not None and len(listed) != values.shape[1]:
                raise InputError(f"{len(listed)} transform(s) for {values.shape[1]} channel(s): one, or one for each")
            gathered = [_Gathered(_method(each)) for each in listed or [methods] * values.shape[1]]
        for place, each in enumerate(gathered):
            each.add(values[:, place], Seeds.range(0, 1).at("climate", "scaling", number, place).generator())
    if not gathered:
        raise InputError("the training part holds no values: there is nothing to fit a scaling to")
    return Scaling(tuple(each.fitted(place) for place, each in enumerate(gathered)))


def _method(told: Any) -> dict[str, Any]:
    found = dict(told) if isinstance(told, Mapping) else {"method": told}
    method = found.get("method")
    if method not in METHODS:
        raise unknown("transform of a variable (data.transform):", str(method), METHODS)
    for option in found:
        # what `methods_for` has filled in is read again when a scaling is fitted
        if option not in ("method", *_OPTIONS[method]) and (method, option) != ("sqrt", "exponent"):
            raise unknown(f"option of the transform '{method}':", str(option), _OPTIONS[method])
    if method == "sqrt":
        found["exponent"] = 0.5
    for option, default in (("exponent", 1 / 3), ("scale", None), ("knots", 256)):
        if option in _OPTIONS[method] and found.setdefault(option, default) is not None:
            value = found[option]
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
                raise InputError(f"the transform '{method}': `{option}: {value!r}`: a positive number is needed")
    if found.get("per") not in (None, "place"):
        raise InputError(f"the transform '{method}': `per: {found['per']!r}`: allowed is place")
    bound = found.get("censored")
    if bound is not None and bound != "low" and (isinstance(bound, bool) or not isinstance(bound, int | float)):
        raise InputError(f"the transform '{method}': `censored: {bound!r}`: a number, 'low' or null is needed")
    return found


class _Gathered:
    """What is known of one channel after the chunks so far: moments of the bent values, and a sample of the values."""

    def __init__(self, method: dict[str, Any]) -> None:
        self.method, self.low, self.zeros, self.count = method, np.inf, False, 0
        self.rate, self.kept = 1.0, np.empty(0)
        self.moments: tuple[Any, Any, Any] = (0, 0.0, 0.0)
        # without a scale, the logarithm's moments wait for the sample
        self.exact = method["method"] not in ("quantile", "none") and method.get("scale", 1) is not None

    def add(self, values: np.ndarray, generator: np.random.Generator) -> None:
        if np.isinf(values).any():
            raise InputError("the training part holds infinite values; mend the file, or name them with `data.fill`")
        known = values[~np.isnan(values)]
        if len(known):
            self.low, self.count = min(self.low, float(known.min())), self.count + len(known)
            self.zeros = self.zeros or bool((known == 0).any())
        if self.exact:
            self._add_moments(values)
        if not self.exact or self.method.get("per"):
            self._add_sample(known, generator)

    def _add_moments(self, values: np.ndarray) -> None:
        bent = _bent(torch.from_numpy(values), self.method).numpy()
        axis = 0 if self.method.get("per") else None
        known = ~np.isnan(bent)
        count = known.sum(axis)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(count, np.where(known, bent, 0).sum(axis) / count, 0.0)
        square = (np.where(known, bent - mean, 0) ** 2).sum(axis)
        before, old, spread = self.moments
        total = before + count
        share = count / np.maximum(total, 1)
        # moments of the union (Chan, Golub, LeVeque, 1979), which lose no digits to large means
        self.moments = (total, old + (mean - old) * share, spread + square + (mean - old) ** 2 * before * share)

    def _add_sample(self, known: np.ndarray, generator: np.random.Generator) -> None:
        if self.rate < 1:
            known = known[generator.random(len(known)) < self.rate]
        self.kept = np.concatenate((self.kept, known))
        while len(self.kept) > _SAMPLE:
            self.kept = self.kept[generator.random(len(self.kept)) < 0.5]
            self.rate /= 2

    def fitted(self, place: int) -> dict[str, Any]:
        found = {key: value for key, value in self.method.items() if value is not None}
        if not self.count:
            raise InputError(f"channel {place}: the training part holds no value of it; leave the variable out")
        bends = self.method["method"] in ("sqrt", "power", "log", "quantile")
        if self.method.get("censored") == "low":
            found["censored"] = self.low
        elif "censored" not in self.method and bends and self.low == 0 and self.zeros:
            found["censored"] = 0.0
        if self.method["method"] == "quantile":
            found.pop("knots")
            found["values"], found["scores"] = _knots(self.kept, int(self.method["knots"]), place)
        elif self.method["method"] != "none":
            found["mean"], found["deviation"] = self._centre(found, place)
        return found

    def _centre(self, found: dict[str, Any], place: int) -> tuple[Any, Any]:
        if not self.exact:
            sizes = np.abs(self.kept[self.kept != 0])
            found["scale"] = float(np.median(sizes)) if len(sizes) else 1.0
            bent = _bent(torch.from_numpy(self.kept), found).numpy()
            self.moments = (len(bent), bent.mean(), ((bent - bent.mean()) ** 2).sum())
            found.pop("per", None)
        count, mean, spread = self.moments
        deviation = np.sqrt(spread / np.maximum(count, 1))
        typical = float(np.sqrt(np.sum(spread) / max(np.sum(count), 1)))
        if typical <= 1e-12 * max(1e-12, float(np.abs(mean).max())):
            raise InputError(
                f"channel {place}: all values of the training part are the same; leave the variable out of "
                "`data.variables`"
            )
        # places that never change (or have no value) are scaled as the others are
        deviation = np.where(deviation > 1e-6 * typical, deviation, typical)
        return np.asarray(mean).tolist(), deviation.tolist()


def _knots(sample: np.ndarray, most: int, place: int) -> tuple[list[float], list[float]]:
    from scipy.special import ndtri

    values, counts = np.unique(sample, return_counts=True)
    if len(values) < 2:
        raise InputError(
            f"channel {place}: all values of the training part are the same; leave the variable out of `data.variables`"
        )
    scores = ndtri((np.cumsum(counts) - counts / 2) / counts.sum())
    if len(values) > most:
        kept = np.searchsorted(scores, np.linspace(scores[0], scores[-1], most)).clip(0, len(scores) - 1)
        kept = np.unique(np.concatenate(([0], kept, [len(scores) - 1])))
        values, scores = values[kept], scores[kept]
    deviation = float(sample.std())
    values = np.concatenate(([values[0] - deviation], values, [values[-1] + deviation]))
    scores = np.concatenate(([scores[0] - 1], scores, [scores[-1] + 1]))
    return values.tolist(), scores.tolist()


def _encoded(values: Tensor, channel: Mapping[str, Any]) -> Tensor:
    if channel["method"] == "none":
        return values
    if channel["method"] == "quantile":
        return _along(values, channel["values"], channel["scores"])
    mean, deviation = values.new_tensor(channel["mean"]), values.new_tensor(channel["deviation"])
    return (_bent(values, channel) - mean) / deviation


def _decoded(scaled: Tensor, channel: Mapping[str, Any]) -> Tensor:
    if channel["method"] == "none":
        found = scaled
    elif channel["method"] == "quantile":
        found = _along(scaled, channel["scores"], channel["values"])
    else:
        mean, deviation = scaled.new_tensor(channel["mean"]), scaled.new_tensor(channel["deviation"])
        found = _straightened(scaled * deviation + mean, channel)
    return found if channel.get("censored") is None else found.clamp(min=channel["censored"])


def _bent(values: Tensor, channel: Mapping[str, Any]) -> Tensor:
    if channel["method"] == "log":
        return values.sign() * (values.abs() / channel["scale"]).log1p()
    if "exponent" not in channel:
        return values
    # at zero the slope of a root is infinite, and infinite times zero is what a gradient must not meet
    zero = values == 0
    return torch.where(zero, 0.0, values.sign() * torch.where(zero, 1.0, values.abs()) ** channel["exponent"])


def _straightened(values: Tensor, channel: Mapping[str, Any]) -> Tensor:
    if channel["method"] == "log":
        return values.sign() * values.abs().expm1() * channel["scale"]
    return values.sign() * values.abs() ** (1 / channel["exponent"]) if "exponent" in channel else values


def _along(x: Tensor, start: Sequence[float], end: Sequence[float]) -> Tensor:
    """The piecewise linear map through rising knots, carried on beyond them with the slopes of the last pieces."""
    first = torch.tensor(start, dtype=torch.float64, device=x.device)
    last = torch.tensor(end, dtype=torch.float64, device=x.device)
    wide = x.double()
    left = (torch.searchsorted(first, wide.detach().contiguous(), right=True) - 1).clamp(0, len(first) - 2)
    slope = (last[1:] - last[:-1]) / (first[1:] - first[:-1])
    return (last[left] + (wide - first[left]) * slope[left]).to(x.dtype)


def multiplied(scaling: Scaling, factors: Sequence[float] | np.ndarray) -> Scaling:
    """The scaling whose encoded numbers are those of ``scaling`` times a factor for each channel."""
    found = []
    for channel, factor in zip(scaling.channels, factors, strict=True):
        changed = dict(channel)
        if channel["method"] == "quantile":
            changed["scores"] = (np.asarray(channel["scores"]) * factor).tolist()
        elif channel["method"] == "none":
            changed |= {"method": "standard", "mean": 0.0, "deviation": float(1 / factor)}
        else:
            changed["deviation"] = (np.asarray(channel["deviation"]) / factor).tolist()
        found.append(changed)
    return Scaling(tuple(found))
