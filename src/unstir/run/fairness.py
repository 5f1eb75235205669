r"""Fair samples of a table: one column's decisions made independent of a protected one, and what that costs.

The law with parity that is nearest to the data and keeps its groups and its overall rate is the data's own,
reweighted by :math:`r = p(a)p(d)/p(a,d)`. A denoiser of a table knows :math:`E[r(x_0)|x_t]` exactly, since r looks at a
few columns of categories only: that is the likelihood that ``ClassifierGuidance`` asks for, and it leads there, sample
by sample.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unstir.core.catalogue import build, find
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import concatenate, take
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.domains.measuring import floor_of
from unstir.domains.tables.encoding import TableEncoding
from unstir.domains.tables.statistics import Associations, ColumnDistances, TreesTwoSample, sample_set, sizes_of
from unstir.guidance.classifier import ClassifierGuidance
from unstir.metrics.base import SampleSet
from unstir.metrics.fairness import demographic_parity_gap, equalised_odds_gap, parity_cost
from unstir.metrics.resampling import bootstrap_counts, centred_interval
from unstir.run.folder import write_text
from unstir.run.guiding import GUIDES, Asked, draw_guided, guide_of
from unstir.run.sampling import TrainedRun
from unstir.run.sweeping import digest_of, swept
from unstir.samplers.base import sample

FAIR_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
WAYS = ("reweighing", "batch")
REDUCED, LOST = 0.8, 0.1
FAIR_RULE = (
    "The smallest strength that takes at least 80 % of the gap away and costs less than 10 % of the fidelity; where "
    "there is none, the smallest gap among those that cost less than 10 %."
)
_SMOOTHING = 0.5  # of a row: a cell that is empty by chance still has a weight
_REPLICATES = 200
_FLOORS = 6
_PILOT = 8000
_LATEST = 1 - 1e-6


class Rule:
    """Which columns of a table a fairness rule looks at, by the parts of the state that hold them.

    ``columns`` are the protected column, the one that is given (equalised odds; none for demographic parity) and the
    outcome, in this order. An outcome of more than two levels says which one is a yes: ``decision=granted``.
    """

    def __init__(self, encoding: Any, protected: str | None, outcome: str | None, given: str | None = None) -> None:
        if not isinstance(encoding, TableEncoding):
            raise InputError("fairness of a run is known for tables; for other data use FairnessGuidance in Python")
        if protected is None or outcome is None:
            raise InputError("fairness needs two columns: --protected COLUMN --outcome COLUMN")
        outcome, _, yes = outcome.partition("=")
        names = [protected, *([given] if given else []), outcome]
        if len(set(names)) < len(names):
            raise InputError(f"the columns of a fairness rule are different ones; seen {names}")
        parts = {column.name: part for part, column in encoding.parts.items()}
        for name in names:
            if name not in {column.name for column in encoding.columns}:
                raise unknown("column of the table", name, [column.name for column in encoding.columns])
            if name not in parts:
                raise InputError(f"{name!r} holds numbers; fairness needs columns of categories: {', '.join(parts)}")
        levels = encoding.parts[parts[outcome]].levels
        if yes and yes not in levels:
            raise unknown(f"level of {outcome!r}:", yes, levels)
        if not yes and len(levels) > 2:
            raise InputError(f"say which level of {outcome!r} is a yes: --outcome {outcome}={levels[0]}")
        self.names, self.parts = names, [parts[name] for name in names]
        self.sizes = [len(encoding.parts[part].levels) for part in self.parts]
        self.groups = encoding.parts[self.parts[0]].levels
        self.yes = levels.index(yes) if yes else len(levels) - 1
        if given and self.sizes[1] != 2:
            raise InputError(f"equalised odds need a given column of two levels; {given!r} has {self.sizes[1]}")

    def codes(self, state: Mapping[str, Tensor]) -> Tensor:
        """The class numbers of the rule's columns, int64 (n, columns)."""
        return torch.cat([state[part].cpu() for part in self.parts], 1)

    def shares(self, state: Mapping[str, Tensor]) -> Tensor:
        """The shares of all combinations, float64 (*sizes)."""
        counts = torch.full(tuple(self.sizes), _SMOOTHING, dtype=torch.float64)
        codes = self.codes(state)
        counts.index_put_(tuple(codes.T), torch.ones(len(codes), dtype=torch.float64), accumulate=True)
        return counts / counts.sum()

    def ratios(self, shares: Tensor, strength: float = 1.0) -> Tensor:
        """What each combination is multiplied with, (*sizes): parity at strength 1, the law as it is at 0.

        (q(d)/p(d|a))^s, with q the rate over all groups (among those with the same given value), normalised within the
        group so that the groups keep their shares at every strength.
        """
        conditional = shares / shares.sum(-1, keepdim=True)
        common = shares.sum(0, keepdim=True)
        common = common / common.sum(-1, keepdim=True)
        powers = (common / conditional) ** strength
        return powers / (conditional * powers).sum(-1, keepdim=True)

    def gap(self, codes: Tensor) -> Tensor:
        """The gap of rows of codes (n, columns): of demographic parity, or of equalised odds where one is given."""
        decisions = (codes[..., -1] == self.yes).double()
        if len(self.parts) == 2:
            return demographic_parity_gap(decisions, codes[..., 0])
        return equalised_odds_gap(decisions, codes[..., 0], codes[..., 1].double())


class ExpectedRatio:
    r"""log E[r(x_0)|x_t] by the denoiser's own beliefs: a likelihood for ``ClassifierGuidance``.

    :math:`\sum_a p(a|x_t)\sum_d p(d|x_t, a)\,r(a, d)`: under masking the belief given a further column is the one that
    the denoiser has with that column shown, so that the sum is exact, and differentiable in the numbers.

    Raises InputError for columns that are not noised by masking.
    """

    def __init__(self, denoiser: Denoiser, rule: Rule, ratios: Tensor) -> None:
        processes = denoiser.process.parts
        if any(not getattr(processes[part], "absorbing", False) for part in rule.parts):
            raise InputError(
                "reweighing needs columns that are noised by masking (rates: absorbing), a table's default"
            )
        self.denoiser, self.rule, self.ratios = denoiser, rule, ratios

    def __call__(self, xt: Any, t: Tensor) -> Tensor:
        """In nats, float64 (batch,)."""
        # at time 1 everything is hidden, and no law knows a state in which something is shown: the limit is meant
        return self._expected(xt, t.clamp(max=_LATEST), 0, ()).log()

    def _expected(self, xt: Any, t: Tensor, place: int, shown: tuple[Tensor, ...]) -> Tensor:
        part, size, count = self.rule.parts[place], self.rule.sizes[place], len(next(iter(xt.values())))
        belief: Any = self.denoiser(xt, t)
        chances = belief.part(part).mean[:, 0, :size].double()
        if place == len(self.rule.parts) - 1:
            return (chances * self.ratios.to(chances.device)[shown]).sum(1)
        level = torch.arange(size, device=chances.device).repeat_interleave(count)
        told = {name: torch.cat([values] * size) for name, values in xt.items()}
        told[part] = level[:, None]
        before = tuple(values.repeat(size) for values in shown)
        at = t.repeat(size) if t.ndim else t
        inner = self._expected(told, at, place + 1, (*before, level))
        return (chances * inner.reshape(size, count).T).sum(1)


def fair_guide(
    run: TrainedRun, protected: str | None, outcome: str | None, given: str | None = None, way: str = "reweighing"
) -> Callable[[float], Denoiser]:
    """The run's denoiser made fair, by strength: 0 leaves it as it is, 1 is parity by ``reweighing``.

    With ``way`` "batch" it is ``FairnessGuidance``: the gap of a batch, by its gradient, with any strength from 0 on.
    """
    if way not in WAYS:
        raise unknown("way to fairness", way, WAYS)
    rule, denoiser = Rule(run.encoding, protected, outcome, given), run.denoiser()
    if way == "batch":
        return _by_batch(run, rule, denoiser)
    shares = _shares_of_model(run, rule, denoiser)

    def at(strength: float) -> Denoiser:
        if strength == 0:
            return denoiser
        return ClassifierGuidance(denoiser, ExpectedRatio(denoiser, rule, rule.ratios(shares, strength)))

    return at


def _shares_of_model(run: TrainedRun, rule: Rule, denoiser: LearnedDenoiser) -> Tensor:
    """The shares of all combinations among the model's own samples, drawn once and kept in the run's folder.

    The model's and not the data's: a model that has learned less of a bias than there is would be bent the other way.
    """
    # refuses what it cannot serve before anything is drawn
    ExpectedRatio(denoiser, rule, torch.ones(tuple(rule.sizes)))
    words = re.sub(r"[^\w.-]", "_", "-".join([*rule.names, run.weights_digest(denoiser)[:10]]))
    path = run.folder.path / GUIDES / f"shares-{words}.json"
    if not path.is_file():
        options, seeds = run.recipe.sampling, Seeds.range(run.recipe.seed, _PILOT, device=run.device).at("pilot")
        sampler = build("samplers", options.sampler)
        # in larger batches than the recipe's: these samples are counted and never seen
        drawn = sample(denoiser, sampler, run.shape, seeds=seeds, steps=options.steps, grid=options.grid, batch=2000)
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps({"columns": rule.names, "shares": rule.shares(drawn).tolist()}) + "\n")
    return torch.tensor(json.loads(path.read_text(encoding="utf-8"))["shares"], dtype=torch.float64)


def _by_batch(run: TrainedRun, rule: Rule, denoiser: Denoiser) -> Callable[[float], Denoiser]:
    guide = find("guidance", "fairness").load()
    extra: dict[str, Any] = {}
    if len(rule.parts) == 3:
        extra = {"gap": "equalised-odds", "outcome": lambda x0: x0[rule.parts[1]][..., 0, 1]}

    def at(strength: float) -> Denoiser:
        return guide(
            denoiser,
            lambda x0: x0[rule.parts[-1]][..., 0, rule.yes],
            lambda x0: x0[rule.parts[0]][..., 0, :],
            strength=strength,
            rows=run.recipe.sampling.batch,
            **extra,
        )

    return at


def sweep_fairness(
    run: TrainedRun,
    asked: Asked,
    strengths: Sequence[float] = FAIR_STRENGTHS,
    *,
    count: int = 2000,
    seed: int | None = None,
    progress: bool = True,
) -> tuple[dict[str, Any], Path]:
    """The gap against the loss of fidelity, by strength; what it found, and the folder that keeps it.

    Fidelity is 2 (1 - AUC) of boosted trees that try to tell samples from data within each group (1: they cannot), mean
    over the groups; the data is reweighted to parity, else what is asked for would itself be counted as an error of
    KL(target‖bias) nats. Its loss is measured from that of the unguided samples against the data as it is.
    """
    from tqdm import tqdm

    seed = run.recipe.seed if seed is None else seed
    guided = guide_of(run, asked)
    rule = Rule(run.encoding, asked.protected, asked.outcome, asked.given)
    told = {"run": run.folder.path.name, "guide": asked.record(), "count": count, "seed": seed}
    told["weights"] = run.weights_digest(run.denoiser())
    folder = run.folder.path / GUIDES / "sweeps" / f"{asked.name}-{digest_of(told)}"
    judge = FairJudge(run, rule, seed)

    def draw(strength: float) -> Any:
        with tqdm(total=count, desc=f"strength {strength:g}", unit="samples", disable=not progress) as bar:
            return draw_guided(run, guided, strength, count, seed=seed, progress=bar.update)[0]

    told |= {"columns": rule.names, "groups": list(rule.groups), "data_gap": judge.data_gap, "cost": judge.cost}
    return swept(draw, judge, sorted({0.0, *map(float, strengths)}), told, folder, fairest, FAIR_RULE), folder


class FairJudge:
    """Gap and fidelity of a table's samples."""

    def __init__(self, run: TrainedRun, rule: Rule, seed: int) -> None:
        self.encoding, self.rule, self.seed = run.encoding, rule, seed
        self._floors: dict[tuple[str, tuple[str, int]], float] = {}
        data: Any = run.data
        self.state = data.state if data.held_out is None else concatenate([data.state, data.held_out.state])
        codes = rule.codes(self.state)
        self.data_gap = rule.gap(codes).item()
        shares = rule.shares(self.state)
        ratios = rule.ratios(shares)
        self.cost = float((shares * ratios * ratios.log()).sum())
        if len(rule.parts) == 2:  # the same by the data's own cells
            self.cost = parity_cost(codes[:, 1], codes[:, 0])
        # thinned and not drawn with replacement: a row that is there twice would be found out by the trees
        weights = ratios[tuple(codes.T)]
        kept = Seeds.range(seed, len(codes)).at("parity").uniform() < weights / weights.max()
        order = torch.from_numpy(Seeds.range(seed, 1).at("parity", "order").generator().permutation(len(codes)))
        self.rows: dict[str, list[Tensor]] = {"parity": [], "data": []}
        for group in range(rule.sizes[0]):
            own = order[codes[order, 0] == group]
            fair = own[kept[own]]
            if len(fair) < 20:
                raise InputError(f"{len(fair)} rows of {rule.groups[group]!r} are too few to judge by; 20 are needed")
            self.rows["parity"].append(fair)
            self.rows["data"].append(own[: len(fair)])

    def __call__(self, drawn: Any) -> list[dict[str, Any]]:
        codes = self.rule.codes(drawn)
        found = [self._gap(codes)]
        for reference in ("parity", "data"):
            each: list[list[Any]] = []
            for group, rows in enumerate(self.rows[reference]):
                mine = (codes[:, 0] == group).nonzero().flatten()
                if len(mine) < 20:
                    raise InputError(f"{len(mine)} samples of {self.rule.groups[group]!r}; draw more to judge by")
                encoding: Any = self.encoding
                samples = sample_set(encoding, take(drawn, mine))
                real = sample_set(encoding, take(self.state, rows))
                each.append(self._measured(samples, real, (reference, group)))
            for results in zip(*each, strict=True):
                found.append(_over_groups(results, reference, self.rule.groups))
        return found

    def _measured(self, samples: SampleSet, reference: SampleSet, place: tuple[str, int]) -> list[dict[str, Any]]:
        """Value, interval and floor of each measure; the floors, which are slow, are those of the first strength."""
        sizes, seeds = sizes_of(self.encoding), Seeds.range(self.seed, len(samples))  # type: ignore[arg-type]
        counts = bootstrap_counts(len(samples), _REPLICATES, seeds)
        metrics = {
            "trees-two-sample": TreesTwoSample(),
            "column-distances": ColumnDistances(sizes),
            "associations": Associations(sizes),
        }
        found = []
        for name, metric in metrics.items():
            if (name, place) not in self._floors:
                values = metric.floor(reference, len(samples), seeds, _FLOORS)
                self._floors[name, place] = sum(values) / len(values)
            measured = metric.measure(samples, reference, seeds)
            low, high = centred_interval(measured.value, measured.resampled(counts), metric.limits)
            floor = self._floors[name, place]
            found.append({"metric": name, "value": measured.value, "low": low, "high": high, "floor": floor})
        return found

    def _gap(self, codes: Tensor) -> dict[str, Any]:
        value = self.rule.gap(codes).item()
        seeds = Seeds.range(self.seed, len(codes)).at("gap")
        counts = bootstrap_counts(len(codes), _REPLICATES, seeds).long()
        replicates = torch.stack([self.rule.gap(codes.repeat_interleave(row, 0)) for row in counts])
        # the floor: decisions shuffled among the groups (of one given value)
        generator = seeds.at("floor").generator()
        floors = []
        for _ in range(50):
            order = torch.from_numpy(generator.permutation(len(codes)))
            if codes.shape[1] == 3:
                order = order[codes[order, 1].argsort(stable=True)]
                place = codes[:, 1].argsort(stable=True)
                mixed = codes.clone()
                mixed[place, -1] = codes[order, -1]
            else:
                mixed = torch.cat((codes[:, :-1], codes[order, -1:]), 1)
            floors.append(self.rule.gap(mixed).item())
        low, high = centred_interval(value, replicates, (0.0, 1.0))
        return {"metric": "gap", "value": value, "interval": [low, high], "floor": floor_of(floors), "better": "lower"}


def _over_groups(results: Sequence[Mapping[str, Any]], reference: str, groups: Sequence[str]) -> dict[str, Any]:
    """One measure's mean over the groups, each group's own beside it; the trees' as fidelity, 2 (1 - AUC)."""
    trees = results[0]["metric"] == "trees-two-sample"
    turned = [
        {key: 2 * (1 - result[key]) if trees else result[key] for key in ("value", "low", "high", "floor")}
        for result in results
    ]
    value, floor = (sum(each[key] for each in turned) / len(turned) for key in ("value", "floor"))
    # independent groups: their intervals' half-widths add up in squares
    half = sum(((each["high"] - each["low"]) / 2) ** 2 for each in turned) ** 0.5 / len(turned)
    name = "fidelity" if trees else results[0]["metric"]
    return {
        "metric": name if reference == "parity" else f"{name}-to-data",
        "value": value,
        "interval": [value - half, value + half],
        "floor": {"value": floor, "interval": [floor, floor]},
        "better": "higher" if trees else "lower",
        "details": {"groups": dict(zip(groups, [each["value"] for each in turned], strict=True))},
    }


def trade_off(points: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """For each strength: gap, the share of it that is gone, and the share of fidelity that it costs."""
    found = []
    first: dict[str, float] | None = None
    for point in points:
        by = {result["metric"]: result["value"] for result in point["results"]}
        first = first or by
        found.append(
            {
                "strength": float(point["strength"]),
                "gap": by["gap"],
                "reduction": 1 - by["gap"] / max(first["gap"], 1e-12),
                "loss": 1 - by["fidelity"] / max(first["fidelity-to-data"], 1e-12),
                "loss_against_data": 1 - by["fidelity-to-data"] / max(first["fidelity-to-data"], 1e-12),
            }
        )
    return found


def fairest(points: Sequence[Mapping[str, Any]]) -> tuple[float, str]:
    """The strength by ``FAIR_RULE``, and why."""
    curve = trade_off(points)
    cheap = [point for point in curve if point["loss"] < LOST]
    enough = [point for point in cheap if point["reduction"] >= REDUCED]
    if not cheap:
        chosen = min(curve, key=lambda point: point["loss"])
        return chosen["strength"], "every strength costs 10 % of the fidelity or more; this one costs least"
    chosen = enough[0] if enough else min(cheap, key=lambda point: point["gap"])
    return chosen["strength"], (
        f"the gap falls by {chosen['reduction']:.0%}, to {chosen['gap']:.3f}, for {max(chosen['loss'], 0.0):.1%} of "
        "the fidelity"
    )
