"""How well an asked property is met: what samples have beside what was asked, by a predictor that the model is not."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import take
from unstir.domains import charts
from unstir.domains.base import Figure, Judged
from unstir.domains.crystals.encoding import CrystalEncoding, Scaling
from unstir.domains.crystals.tasks.conditions import NUMBERS, compositions, density, volume_per_atom
from unstir.domains.matter.elements import features, symbol_of
from unstir.domains.matter.structures import Crystal
from unstir.domains.measuring import mean_interval
from unstir.metrics.evaluate import Result

Predictor = Callable[[Sequence[Crystal]], np.ndarray]
"""From crystals to a property in its own unit, float64 (crystals,)."""
_MOST = 1000
_FEWEST = 10
_TREES = 300


def property_errors(judged: Judged, name: str) -> tuple[Result, Figure]:
    """The mean absolute error of an asked property, beside models that were not asked; with a figure.

    The samples were drawn under values as the data has them. What they have is computed for ``density`` and
    ``volume_per_atom``, and else foretold by ``fitted_predictor``, which errs itself, by the floor: its error on
    held-out crystals. The rivals are the same model drawn from without being told the property: ``unconditional`` under
    masks, and elements where those are told, in another order than the values, ``others-told`` under all of the
    samples' other conditions; and ``constant``, the best that one value for all can do.

    Raises InputError for a property that the run was not told, and for fewer than ten samples.

    Reference: Zeni et al., A generative model for inorganic materials design (2025), section on property guidance.
    """
    began = time.perf_counter()
    data: Any = judged.data
    encoding: CrystalEncoding = data.encoding
    scaling = _scaling(encoding, name)
    if name not in judged.condition:
        raise InputError(
            f"`evaluation.options.steer: {name}`: the samples were drawn without being told it; leave `conditional` on"
        )
    count = min(_MOST, len(judged.condition[name]))
    if count < _FEWEST:
        raise InputError(
            f"`evaluation.options.steer: {name}`: {count} samples are too few to measure an error; draw {_FEWEST} or "
            "more (`sampling.count`)"
        )
    asked = scaling.decode(judged.condition[name][:count])
    predict = predictor_of(name, data.structures)
    told = {who: values[:count] for who, values in judged.condition.items()}
    found = {"samples": predict(encoding.decode(take(judged.drawn, slice(count)), told))}
    order = Seeds.range(judged.seed, 1).at("crystals", "unconditional").generator().permutation(count)
    own = {who: values[order] for who, values in told.items() if who in ("mask", "elements")}
    rest = {who: values for who, values in told.items() if who != name}
    for place, (rival, condition) in enumerate({"unconditional": own, "others-told": rest}.items(), 1):
        if rival == "others-told" and set(rest) == set(own):
            continue
        drawn = judged.draw(count, seed=judged.seed + place, condition=condition)
        found[rival] = predict(encoding.decode(drawn, condition))
    errors = {who: np.abs(values - asked) for who, values in found.items()}
    value, interval = mean_interval(errors["samples"])
    rivals = {who: float(values.mean()) for who, values in errors.items() if who != "samples"}
    rivals["constant"] = float(np.abs(asked - np.median(asked)).mean())
    ratio = value / rivals["unconditional"] if rivals["unconditional"] > 0 else float("nan")
    result = Result(
        metric=f"asked-{name}",
        value=value,
        interval=interval,
        floor=_floor(name, data, predict),
        baselines=rivals,
        ideal=0.0,
        better="lower",
        unit="of the property",
        n_samples=count,
        n_reference=len(data),
        seconds=round(time.perf_counter() - began, 3),
        features="the crystals themselves" if name in NUMBERS else "boosted trees on composition, density and contacts",
        note=f"mean absolute error of the asked value; {ratio:.2f} of the unconditional model's",
        details={"ratio": ratio},
    )
    return result, _figure(name, asked, found, ratio)


def predictor_of(name: str, crystals: Sequence[Crystal]) -> Predictor:
    """What computes a number of ``conditions``; for a column of the data trees that are fitted to these crystals."""
    if name in NUMBERS and name not in crystals[0].properties:
        compute = NUMBERS[name]
        return lambda others: np.array([compute(crystal) for crystal in others])
    return fitted_predictor(crystals, np.array([crystal.properties[name] for crystal in crystals]))


def fitted_predictor(crystals: Sequence[Crystal], values: np.ndarray, seed: int = 0) -> Predictor:
    """Gradient-boosted trees on ``described``, fitted to crystals and their values.

    Reference: Ward et al., A general-purpose machine learning framework for predicting properties of inorganic
    materials (2016), for statistics of the elements' properties; Friedman, Greedy function approximation: a gradient
    boosting machine (2001).
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    numbers = np.unique(np.concatenate([crystal.numbers for crystal in crystals]))
    symbols = [symbol_of(int(number)) for number in numbers]
    trees = HistGradientBoostingRegressor(random_state=seed, max_iter=_TREES, learning_rate=0.08)
    trees.fit(described(crystals, symbols), values)

    def predict(others: Sequence[Crystal]) -> np.ndarray:
        return np.asarray(trees.predict(described(others, symbols)), dtype=np.float64)

    return predict


def described(crystals: Sequence[Crystal], symbols: Sequence[str]) -> np.ndarray:
    """Numbers of each crystal that no choice of cell, origin or order of atoms changes, float64 (crystals, k).

    The share of each of the ``symbols``; mean, deviation, least and largest of the elements' ``features``; density,
    volume per atom, least and mean distance to a nearest atom in units of the edge of a cube that an atom has. Sites
    whose element is yet unknown count as none of them.
    """
    from scipy.spatial.distance import cdist

    rows = []
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), -1).reshape(-1, 3)
    known = set(symbols)
    for crystal in crystals:
        sure = crystal.numbers[crystal.numbers > 0]
        inside = np.array([number for number in sure.tolist() if symbol_of(number) in known], dtype=np.int64)
        shares = compositions([inside], symbols)[0].numpy() if len(inside) else np.zeros(len(symbols))
        told = features(sure if len(sure) else np.zeros(1, dtype=np.int64))
        images = (crystal.fractional + steps[:, None]).reshape(-1, 3) @ crystal.cell
        apart = cdist(crystal.positions, images)
        nearest = np.where(apart > 1e-6, apart, np.inf).min(1)
        edge = (crystal.volume / len(crystal)) ** (1 / 3)
        weight = density(crystal) if len(sure) == len(crystal) else 0.0
        more = (weight, volume_per_atom(crystal), nearest.min() / edge, nearest.mean() / edge)
        rows.append(np.concatenate((shares, told.mean(0), told.std(0), told.min(0), told.max(0), more)))
    return np.array(rows, dtype=np.float64)


def _scaling(encoding: CrystalEncoding, name: str) -> Scaling:
    scalings = {scaling.name: scaling for scaling in encoding.properties}
    computed: Mapping[str, Any] = encoding.told.get("scalings", {})
    if name in scalings:
        return scalings[name]
    if name in computed:
        return Scaling(name, *computed[name])
    raise unknown("property to steer by (`evaluation.options.steer`):", name, (*scalings, *computed))


def _floor(name: str, data: Any, predict: Predictor) -> dict[str, Any]:
    """The predictor's own error on crystals that neither it nor the model has seen; none for what is computed."""
    held_out = data.held_out
    if name in NUMBERS or held_out is None or len(held_out) < _FEWEST:
        return {"value": 0.0, "interval": (0.0, 0.0)}
    true = np.array([crystal.properties[name] for crystal in held_out.structures])
    value, interval = mean_interval(np.abs(predict(held_out.structures) - true))
    return {"value": value, "interval": interval}


def _figure(name: str, asked: np.ndarray, found: Mapping[str, np.ndarray], ratio: float) -> Figure:
    figure, axes = charts.panels(1, 2, 2.9, 2.8)
    ends = [float(asked.min()), float(asked.max())]
    told = (("samples", charts.SAMPLES, "asked for"), ("unconditional", charts.DATA, "not asked for"))
    for each, (who, colour, title) in zip(axes[0], told, strict=True):
        charts.cloud(each, asked, found[who], colour, 4.0)
        each.plot(ends, ends, color=charts.INK, linewidth=0.8)
        charts.label(each, title, f"{name}, asked", f"{name}, found")
    return Figure(
        f"asked-{name}",
        f"{name}, asked and found",
        "Every point a sample: the value that was asked for, and the value that it has. Left the model that was told, "
        "right the same model untold.",
        f"Points should lie on the line; the error on the left is {ratio:.2f} of the one on the right.",
        charts.svg(figure, f"asked-{name}"),
    )
