"""Whether a method's uncertainty can be believed: its draws beside truths that are known.

Truths are drawn from a prior, measured, and sought again by the method. Whatever the prior, the operator and the noise,
a truth is to the draws of its own posterior as one of them: its rank among them, by any number that can be computed of
a sample, is uniform. So are its places in balls about any point, and sets of the level 0.8 hold four truths in five.

References: Talts, Betancourt, Simpson, Vehtari, Gelman, Validating Bayesian inference algorithms with simulation-based
calibration (2018); Modrák et al., Simulation-based calibration checking for Bayesian computation: the choice of test
quantities shapes sensitivity (2023); Lemos, Coogan, Hezaveh, Perreault-Levasseur, Sampling-based accuracy testing of
posterior estimators for general inference (TARP, 2023).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size, concatenate, map_state, take
from unstir.denoisers.base import Denoiser
from unstir.inverse.kept import kept_lines, open_lines
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import Method, traits
from unstir.inverse.noises.base import MeasurementNoise
from unstir.inverse.operators.base import Operator
from unstir.inverse.ranks import (
    LEVELS,
    Coverage,
    Uniformity,
    central,
    crps,
    energy_score,
    expected_coverage,
    histogram,
    interval_coverage,
    ranks_among,
    set_coverage,
    shares_of,
    uniformity,
)
from unstir.inverse.solving import solve
from unstir.samplers.base import sample

OWN = "the model's own samples"
_ELEMENTS = 8  # of a sample, up to which each has ranks of its own
_FEWEST = 10  # draws that have a set of the level 0.95
_SIGNIFICANT = 0.01
Statistic = Callable[[Any, Measurement], Tensor]
"""Of samples (n, ...) and what was measured: one number of each, (n,)."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was found for each problem; a row of ``records`` holds ranks, scores and shares, as plain values.

    ``of`` says what the truths were. For draws of the law that the truths come from (the law itself, or the model's own
    samples) a miscalibration is the method's; for held-out data it is that of method and model together.
    """

    of: str
    draws: int
    seed: int
    records: list[dict[str, Any]]
    sets: tuple[str, ...]
    """Statistics whose smallest values make the sets: ``ball``, ``tarp`` and those that were given."""

    @property
    def problems(self) -> int:
        """How many."""
        return len(self.records)

    @cached_property
    def ranks(self) -> dict[str, np.ndarray]:
        """By statistic, int64 (problems,), each from 0 to ``draws``."""
        return {name: np.array([record["ranks"][name] for record in self.records]) for name in self.records[0]["ranks"]}

    def shares(self, name: str) -> np.ndarray:
        """The ranks of a statistic on (0, 1), where they are uniform to the end if all is right."""
        return shares_of(self.ranks[name], self.draws, self._jitter(name))

    def uniformity(self, name: str) -> Uniformity:
        """The two tests of a statistic's ranks."""
        return uniformity(self.ranks[name], self.draws, self._jitter(name))

    def _jitter(self, name: str) -> np.ndarray:
        numbers = torch.tensor([record["problem"] for record in self.records])
        return Seeds(self.seed, numbers).at("calibration", "jitter", name).uniform().numpy()

    @property
    def p_value(self) -> float:
        """Of all statistics together (Bonferroni): uniform, or larger, where all is right."""
        return min(1.0, len(self.ranks) * min(self.uniformity(name).p_value for name in self.ranks))

    def coverage(self, name: str, level: float) -> Coverage:
        """Of a statistic's central intervals, or of sets (``ball``, ``tarp``, ...); ``elements`` for those of all."""
        if name == "elements":
            return self._element_coverage(level)
        if name not in self.ranks:
            raise InputError(f"ranks of {name!r} were not taken; there are elements, {', '.join(self.ranks)}")
        covered = set_coverage if name in self.sets else interval_coverage
        return covered(self.ranks[name], self.draws, level)

    def _element_coverage(self, level: float) -> Coverage:
        """Of the central intervals of every element, averaged; its error by the spread from problem to problem."""
        if level not in LEVELS:
            raise InputError(f"intervals of every element are kept for the levels {LEVELS}; seen {level}")
        inside = np.array([record["inside"][LEVELS.index(level)] for record in self.records])
        error = float(inside.std(ddof=1) / math.sqrt(len(inside))) if len(inside) > 1 else math.inf
        nominal = central(self.draws, level)[2]
        return Coverage(level, nominal, float(inside.mean()), error)

    def mean(self, name: str) -> tuple[float, float]:
        """``energy_score``, ``crps``, ``squared_error`` or ``variance`` over the problems, with its standard error."""
        values = np.array([record[name] for record in self.records])
        return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.inf

    @property
    def spread_to_error(self) -> float:
        """Root of the draws' mean variance over the mean squared error of their mean: one where all is right."""
        error = self.mean("squared_error")[0]
        expected = (1 + 1 / self.draws) * self.mean("variance")[0]
        return math.sqrt(expected / error) if error > 0 else math.inf if expected else 1.0

    @property
    def leaning(self) -> str:
        """``too sure``, ``not sure enough`` or ``to one side``: which departure stands out most, found or not.

        By the mean of shares, and for intervals also by their variance, each in its standard errors.
        """
        found = []
        for name in self.ranks:
            shares = self.shares(name) - 0.5
            root = math.sqrt(len(shares))
            side = float(shares.mean()) * root * math.sqrt(12)
            if name == "log-likelihood":  # draws that fit the reading better than the truth does are too sure of it
                found.append((abs(side), "not sure enough" if side > 0 else "too sure"))
                continue
            if name in self.sets:
                found.append((abs(side), "too sure" if side > 0 else "not sure enough"))
                continue
            wide = float((shares**2).mean() - 1 / 12) * root * math.sqrt(180)
            found += [(abs(side), "to one side"), (abs(wide), "too sure" if wide > 0 else "not sure enough")]
        return max(found)[1]

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        chance = self.p_value
        told = f"{self.problems} problems, truths from {self.of}"
        if chance >= _SIGNIFICANT:
            return f"no miscalibration found ({told}; p = {chance:.2g})"
        return f"miscalibrated, {self.leaning} (p = {chance:.2g}; {told})"

    def as_dict(self) -> dict[str, Any]:
        """Plain values: verdict, tests and histograms by statistic, coverage by level, curves and scores."""
        by_name = {}
        for name in self.ranks:
            test, (counts, expected) = self.uniformity(name), histogram(self.ranks[name], self.draws)
            by_name[name] = {
                "set": name in self.sets,
                "chi_square_p": test.chi_square,
                "kolmogorov_p": test.kolmogorov,
                "histogram": counts.tolist(),
                "expected": expected.tolist(),
            }
        curves = {name: expected_coverage(self.ranks[name], self.draws) for name in self.sets}
        return {
            "verdict": self.verdict,
            "p_value": self.p_value,
            "truths": self.of,
            "problems": self.problems,
            "draws": self.draws,
            "seed": self.seed,
            "statistics": by_name,
            "coverage": [
                {"of": name, **{key: getattr(found, key) for key in ("level", "nominal", "measured", "error")}}
                for name in ("elements", *self.sets)
                for found in (self.coverage(name, level) for level in LEVELS)
            ],
            "curves": {name: {"level": x.tolist(), "covered": y.tolist()} for name, (x, y) in curves.items()},
            "scores": {
                name: dict(zip(("mean", "error"), self.mean(name), strict=True))
                for name in ("energy_score", "crps", "squared_error", "variance")
            },
            "spread_to_error": self.spread_to_error,
        }


def calibrate_posterior(
    denoiser: Denoiser,
    truths: Any,
    operator: Operator,
    noise: MeasurementNoise,
    method: str | Mapping[str, Any] | Method = "twisted",
    problems: int = 500,
    draws: int = 119,
    *,
    of: str = "the prior",
    statistics: Mapping[str, Statistic] | None = None,
    sets: Mapping[str, Statistic] | None = None,
    populations: int = 1,
    condition: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    path: Path | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[int], object] | None = None,
    **how: Any,
) -> Calibration:
    """Measures and seeks again each of ``problems`` truths, and tells how they lie among the draws.

    ``truths`` are clean samples, one a problem (held-out data, say), or a function of ``Seeds`` that draws them:
    ``law.draw``, or ``own_samples(denoiser, ...)``; ``of`` says in words which. ``draws`` + 1 divisible by 40 cuts out
    the levels 50, 80 and 95 % exactly. ``statistics`` by name give ranks of their own beside every element (up to
    eight; then random projections), the norm and the log-likelihood; ``sets`` likewise sets of the smallest values, as
    ``densest(law)``, beside balls about the mean (``ball``) and about the truth of another problem (``tarp``).

    A method of particles, whose draws hang together within a population, gives ``draws`` rows chosen at random from
    ``populations`` populations. ``condition`` has one row a problem. ``how`` goes to ``solve`` (``steps``, ``grid``).

    With ``path`` each problem is kept as a line of JSON, and an interrupted call goes on where it stopped; ``about`` is
    kept beside, and a file of other settings is refused. A problem is the same however many there are.

    Raises InputError for fewer than two problems or ten draws, and for truths that are too few.
    """
    made: Method = method if isinstance(method, Method) else build("methods", method)
    if problems < 2 or draws < _FEWEST:
        raise InputError(
            f"at least 2 problems and {_FEWEST} draws of each are needed, for sets of 95 %; seen {problems} and {draws}"
        )
    seeds = Seeds.range(seed, problems).at("calibration")
    x0 = truths(seeds.at("truth")) if callable(truths) else truths
    if batch_size(x0) < problems:
        raise InputError(f"{problems} problems need as many truths; there are {batch_size(x0)}")
    size = made.batch(1)
    populations = 1 if size == 1 else max(populations, math.ceil(draws / size))
    asked = {"statistics": dict(statistics or {}), "sets": dict(sets or {})}
    settings = {
        "of": of,
        "draws": draws,
        "seed": seed,
        "populations": populations,
        "method": repr(made),
        "operator": type(operator).__name__,
        "measured": [f"{value:.4g}" for value in operator(take(x0, slice(1)))[0].flatten()[:16].tolist()],
        "noise": repr(noise),
        "statistics": sorted(asked["statistics"]),
        "sets": sorted(asked["sets"]),
        "how": {key: repr(value) for key, value in sorted(how.items())},
        "about": dict(about or {}),
    }
    lines = kept_lines(path, settings)
    done: dict[int, dict[str, Any]] = {line["problem"]: line for line in lines if line["problem"] < problems}
    if progress:
        progress(len(done))
    names = ("ball", "tarp", *asked["sets"])
    with open_lines(path, settings) as keep:
        for number in range(problems):
            if number in done:
                continue
            one = slice(number, number + 1)
            truth, own = take(x0, one), seeds[one]
            measurement = Measurement.simulated(operator, truth, noise, own.at("reading"))
            told = {name: values[one].expand(draws, *values.shape[1:]) for name, values in (condition or {}).items()}
            solution = solve(
                denoiser,
                measurement,
                made,
                seeds=Seeds(seed, _rows(own, draws, size, populations)).at("calibration", "draws", number),
                condition=told,
                batch=draws if size == 1 else size * populations,
                dtype=dtype,
                **how,
            )
            # a truth that was drawn before this one, whatever comes after: given it and all before, the rank is uniform
            centre = take(x0, slice(number - 1, number) if number else slice(1, 2))
            done[number] = _record(denoiser, measurement, solution.samples, truth, centre, own, asked)
            keep(done[number])
            if progress:
                progress(1)
    return Calibration(of, draws, seed, [done[number] for number in range(problems)], names)


def own_samples(denoiser: Denoiser, sampler: Any, shape: Any, **how: Any) -> Callable[[Seeds], Any]:
    """The model's own samples as truths: what then is miscalibrated is the method, whatever the model has learned.

    ``how`` goes to ``samplers.sample``: ``steps``, ``grid``, ``condition`` (a row a problem), ...
    """
    return lambda seeds: sample(denoiser, sampler, shape, seeds=seeds, **how)


def densest(law: Any, **condition: Tensor) -> Statistic:
    """The posterior's densest sets, for a law whose density is known: minus log p(x) p(y | x)."""
    return lambda x, measurement: -(law.log_density(x, 0.0, **condition) + measurement.log_likelihood(x))


def _rows(own: Seeds, draws: int, size: int, populations: int) -> Tensor:
    """The numbers of the draws: all of them, or rows at random from each population."""
    if size == 1:
        return torch.arange(draws)
    generator = own.at("rows", int(own.samples[0])).generator()
    parts = np.array_split(np.arange(draws), populations)
    rows = [place * size + generator.permutation(size)[: len(part)] for place, part in enumerate(parts)]
    return torch.from_numpy(np.sort(np.concatenate(rows)))


def _record(
    denoiser: Denoiser,
    measurement: Measurement,
    drawn: Any,
    truth: Any,
    centre: Any,
    own: Seeds,
    asked: Mapping[str, Mapping[str, Statistic]],
) -> dict[str, Any]:
    """One problem's ranks and scores; the truth is the last row of all that is computed."""
    process = denoiser.process
    both = concatenate([drawn, _as(truth, drawn)])
    flat, from_here = (process.features(part).flatten(1).double() for part in (both, _as(centre, drawn)))
    values: dict[str, Tensor] = {}
    if flat.shape[1] <= _ELEMENTS:
        values |= {f"element {place}": flat[:, place] for place in range(flat.shape[1])}
    else:
        directions = Seeds.range(own.seed, 1).at("calibration", "directions").normal((_ELEMENTS, flat.shape[1]))[0]
        along = flat @ torch.nn.functional.normalize(directions.to(flat), dim=1).T
        values |= {f"projection {place}": along[:, place] for place in range(_ELEMENTS)}
    if flat.shape[1] > 1 and process.space != "tokens":  # one-hot codes all have one norm
        values["norm"] = flat.norm(dim=1)
    if (likelihood := _likelihood(measurement, both)) is not None:
        values["log-likelihood"] = likelihood
    # about the mean of draws and truth together: as symmetric in them as their law is
    values["ball"] = (flat - flat.mean(0)).norm(dim=1)
    values["tarp"] = (flat - from_here).norm(dim=1)
    for group in asked.values():
        values |= {name: statistic(both, measurement).double() for name, statistic in group.items()}
    table = torch.stack(list(values.values()), 1)
    toss = own.at("toss").uniform((table.shape[1] + flat.shape[1],))[0].to(flat.device)
    ranks = ranks_among(table[-1], table[:-1], toss[: table.shape[1]])
    count, by_element = len(flat) - 1, ranks_among(flat[-1], flat[:-1], toss[table.shape[1] :])
    inside = []
    for level in LEVELS:
        first, last, _ = central(count, level)
        inside.append(float(((by_element >= first) & (by_element <= last)).double().mean()))
    return {
        "problem": int(own.samples[0]),
        "ranks": dict(zip(values, ranks.tolist(), strict=True)),
        "inside": inside,
        "energy_score": energy_score(flat[:-1], flat[-1]),
        "crps": crps(flat[:-1], flat[-1]),
        "squared_error": float((flat[:-1].mean(0) - flat[-1]).square().mean()),
        "variance": float(flat[:-1].var(0).mean()),
    }


def _likelihood(measurement: Measurement, both: Any) -> Tensor | None:
    """The log-likelihood of draws and truth, where there is one."""
    return measurement.log_likelihood(both).detach() if "positive" in traits(measurement) else None


def _as(state: Any, like: Any) -> Any:
    """The state in the dtype and on the device of another."""
    return map_state(lambda part, other: part.to(other), state, like)
