"""The sweep of a guide's strength: what it gains in obedience, and what it costs in truth.

For each strength the same sample numbers are drawn and measured, each measure beside its noise floor. Finished
strengths are kept in ``strength-W.json``, so that a sweep goes on where it stopped; ``sweep.json`` holds them all, with
the strength that the rule recommends.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.domains.measuring import measured
from unstir.domains.tables.encoding import TableEncoding
from unstir.domains.tables.statistics import sample_set
from unstir.exact.base import ExactDenoiser
from unstir.metrics.base import Metric, SampleSet
from unstir.metrics.excess import Outside, SpectrumRatio, VarianceRatio
from unstir.metrics.features import load_features, random_features, save_features, train_classifier
from unstir.run.folder import write_arrays, write_text
from unstir.run.guiding import GUIDES, Asked, draw_guided, guide_of, target_of
from unstir.run.sampling import TrainedRun
from unstir.samplers.base import Sampler, sample

STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
COVERED = 0.9  # of the coverage at strength 0
_SHOWN = 16
_REFERENCE = 5000
RULE = (
    "Of the strengths whose fidelity (Fréchet distance) lies within the 95 % interval of the best one, and whose "
    "coverage is at least 90 % of that at the smallest strength, the one that is obeyed most; of those that are obeyed "
    "as well within the interval, the smallest."
)


def sweep(
    at: Callable[[float], Denoiser],
    law: ExactDenoiser,
    shape: Any,
    *,
    condition: Mapping[str, Tensor] | None = None,
    strengths: Sequence[float] = STRENGTHS,
    sampler: Sampler | None = None,
    grid: Any = None,
    count: int = 1000,
    steps: int = 50,
    seed: int = 0,
    folder: Path | str | None = None,
    replicates: int = 200,
) -> dict[str, Any]:
    """Measures guides around a law that is known: every strength against exact draws of the law given the condition.

    ``at(strength)`` is the guide; ``condition`` has ``count`` rows, one a sample. Beside what a run is measured by
    there is the sliced Wasserstein distance to the exact conditional, whose floor is that of exact draws. Returns (and,
    with a ``folder``, keeps there as well) what ``sweep.json`` of a run says.
    """
    told = dict(condition or {})
    reference = law.draw(Seeds.range(seed, 4 * count).at("exact"), **{k: v.repeat(4) for k, v in told.items()})
    label = told.get("label")

    def described(values: Tensor, labels: Tensor | None) -> SampleSet:
        return SampleSet(values.double(), labels=labels, probabilities=_chances(law, values, label))

    real = described(reference, None if label is None else label.repeat(4))
    metrics: dict[str, Metric] = {"sliced-wasserstein": build("metrics", "sliced-wasserstein"), **_common(real)}

    def draw(strength: float) -> Tensor:
        way = sampler or build("samplers", "heun")
        return sample(
            at(strength), way, shape, count, steps=steps, grid=grid, seed=seed, condition=told, batch=count,
            dtype=torch.float64,
        )  # fmt: skip

    def judge(drawn: Tensor) -> list[dict[str, Any]]:
        results = measured(metrics, described(drawn, label), real, {}, seed=seed, replicates=replicates)
        return [result.to_json() for result in results]

    told_as = {"law": type(law).__name__, "count": count, "steps": steps, "seed": seed}
    return swept(draw, judge, strengths, told_as, None if folder is None else Path(folder))


def _chances(law: ExactDenoiser, values: Tensor, label: Tensor | None) -> Tensor | None:
    """p(label|x) of every label up to the largest asked for, by the law's own densities, (n, labels)."""
    labels = getattr(law, "labels", None)
    if label is None or labels is None:
        return None
    logs = torch.full((len(values), int(labels.max()) + 1), -math.inf, dtype=torch.float64)
    for number in labels.unique().tolist():
        own = torch.full((len(values),), number)
        share = law.weights[labels == number].sum().log()  # type: ignore[attr-defined]
        logs[:, number] = law.log_density(values.double(), 0.0, label=own) + share
    return logs.softmax(1)


def sweep_run(
    run: TrainedRun,
    asked: Asked,
    strengths: Sequence[float] = STRENGTHS,
    *,
    count: int = 500,
    seed: int | None = None,
    replicates: int = 200,
    progress: bool = True,
) -> tuple[dict[str, Any], Path]:
    """Draws and measures a run's samples at each strength; what it found, and the folder that keeps it."""
    from tqdm import tqdm

    seed = run.recipe.seed if seed is None else seed
    guided = guide_of(run, asked)
    told = {"run": run.folder.path.name, "guide": asked.record(), "count": count, "seed": seed}
    told["weights"] = run.weights_digest(run.denoiser())
    folder = run.folder.path / GUIDES / "sweeps" / f"{asked.name}-{digest_of(told)}"
    judge = RunJudge(run, guided.label, seed, replicates)

    def draw(strength: float) -> Any:
        with tqdm(total=count, desc=f"strength {strength:g}", unit="samples", disable=not progress) as bar:
            drawn, rows = draw_guided(run, guided, strength, count, seed=seed, progress=bar.update)
        judge.rows = rows
        return drawn

    return swept(draw, judge, strengths, {**told, "classifier": judge.classifier_told}, folder), folder


class RunJudge:
    """What the samples of a run are measured by: features, an independent classifier, range and spectrum."""

    def __init__(self, run: TrainedRun, label: str | None, seed: int, replicates: int) -> None:
        self.run, self.label, self.seed, self.replicates = run, label, seed, replicates
        self.rows: Mapping[str, Tensor] = {}
        self.classifier_told: dict[str, Any] = {}
        self.table = isinstance(run.encoding, TableEncoding)
        self._classifier: Any = None
        self._state: Any = None
        self.reference = self._reference()

    def __call__(self, drawn: Any) -> list[dict[str, Any]]:
        labels = self.rows.get(self.label) if self.label else None
        samples = self._described(drawn, labels)
        reference = self.reference if labels is None else _among(self.reference, labels)
        samples, reference = _joined(samples, reference)
        found = measured(_common(reference), samples, reference, {}, seed=self.seed, replicates=self.replicates)
        raw = self._plain()
        if raw is not None:
            mine = SampleSet(self._values(drawn))
            metrics: dict[str, Metric] = {"outside": Outside(raw.min().item(), raw.max().item())}
            if raw.ndim > 2:
                metrics["spectrum"] = SpectrumRatio()
            rows = raw if labels is None else raw[torch.isin(self.reference.labels, labels)]  # type: ignore[arg-type]
            found += measured(metrics, mine, SampleSet(rows), {}, seed=self.seed, replicates=self.replicates)
        return [result.to_json() for result in found]

    def _values(self, state: Any) -> Tensor:
        """The numbers of a state whose range means something."""
        values = state["continuous"] if isinstance(state, Mapping) else state
        return values.detach().cpu()

    def _plain(self) -> Tensor | None:
        state = self._state
        if isinstance(state, Mapping):
            return self._values(state) if "continuous" in state else None
        return self._values(state) if state.is_floating_point() else None

    def _reference(self) -> SampleSet:
        data = self.run.labelled_data
        rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), _REFERENCE)).round().astype(int))
        self._state, condition = data.batch(rows)
        labels = None
        if self.label is not None:
            labels = target_of(self.run, self.label).read(self._state, condition)
            if labels.ndim > 1 or labels.is_floating_point():
                raise InputError(
                    f"a sweep measures how samples of a class compare with the data of that class; {self.label!r} is a "
                    "number: take guide_of and draw_guided of unstir.run.guiding, and a measure of your own"
                )
        if not self.table:
            if isinstance(self._state, Mapping):
                raise InputError("a sweep measures one tensor or a table as yet; seen a state of several parts")
            self._features = self._network(labels)
            if labels is not None:
                self._train(labels)
        else:
            self.classifier_told = {"kind": "the column itself", "accuracy": 1.0} if labels is not None else {}
        return self._described(self._state, labels)

    def _network(self, labels: Tensor | None) -> Any:
        known = labels if labels is not None and len(labels.unique()) > 1 else None
        name = "features-random" if known is None else f"features-{self.label}"
        path = self.run.folder.path / GUIDES / f"{name}.safetensors"
        if path.exists():
            return load_features(path)
        values, seed = self._state.float(), self.run.recipe.seed
        bounds = (-1.0, 1.0) if self.run.domain.judge is None else None  # pictures are clamped when they are written
        if known is None:
            made = random_features(values, seed, bounds=bounds)
        else:
            made = train_classifier(values, known, seed, bounds=bounds)
        path.parent.mkdir(exist_ok=True)
        save_features(made, path)
        return made

    def _train(self, labels: Tensor) -> None:
        """The independent judge of obedience: multinomial logistic regression, on clean data alone."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        values = self._state.flatten(1).double().numpy()
        order = Seeds.range(self.seed, 1).at("sweep", "classifier").generator().permutation(len(values))
        apart, kept = np.split(order, [len(order) // 5])
        made: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)).fit(
            values[kept], labels[kept].numpy()
        )
        right = float((made.predict(values[apart]) == labels[apart].numpy()).mean())
        self._classifier = made
        self.classifier_told = {"kind": "logistic regression on clean data", "accuracy": right, "held_out": len(apart)}

    def _described(self, state: Any, labels: Tensor | None) -> SampleSet:
        if self.table:
            rows = sample_set(self.run.encoding, state)  # type: ignore[arg-type]
            if labels is None or self.label is None:
                return rows
            target = target_of(self.run, self.label)
            seen = torch.nn.functional.one_hot(target.read(state, {}), target.classes).double()
            return SampleSet(rows.values, rows.features, labels, seen, rows.source)
        told = self._features.describe(state.float())
        chances = None
        if self._classifier is not None:
            found = self._classifier.predict_proba(state.detach().cpu().flatten(1).double().numpy())
            classes = torch.from_numpy(self._classifier.classes_)
            chances = torch.zeros(len(found), int(classes.max()) + 1, dtype=torch.float64)
            chances[:, classes] = torch.from_numpy(found)
        return SampleSet(told.values, told.features, labels, chances, told.source)


def _common(reference: SampleSet) -> dict[str, Metric]:
    names = ["frechet", "precision", "coverage", "recall"]
    found: dict[str, Metric] = {name: build("metrics", name) for name in names}
    found["variance-ratio"] = VarianceRatio()
    if reference.labels is not None and reference.probabilities is not None:
        found["class-agreement"] = build("metrics", "class-agreement")
    return found


def _among(reference: SampleSet, labels: Tensor) -> SampleSet:
    """The rows of the data that are of a label asked for."""
    if reference.labels is None:
        return reference
    rows = torch.isin(reference.labels, labels.cpu()).nonzero().flatten()
    if len(rows) < 12:
        raise InputError(f"the data has {len(rows)} rows of the condition that is asked for; a sweep needs 12 at least")
    return reference.take(rows)


def _joined(samples: SampleSet, reference: SampleSet) -> tuple[SampleSet, SampleSet]:
    """Features and the code of the asked class side by side where several are asked for: distances of joint laws.

    Two different classes are as far apart as two rows are on average.

    Reference: DeVries et al., On the evaluation of conditional GANs (2019), section 3.
    """
    if samples.labels is None or reference.labels is None or len(samples.labels.unique()) < 2:
        return samples, reference
    size = (_total_variance(reference.space("features"))).sqrt()
    classes = int(max(samples.labels.max(), reference.labels.max())) + 1

    def joined(rows: SampleSet) -> SampleSet:
        assert rows.labels is not None
        code = size * torch.nn.functional.one_hot(rows.labels, classes).double()
        features = torch.cat((rows.space("features"), code), 1)
        return SampleSet(rows.values, features, rows.labels, rows.probabilities, f"{rows.source}, and the class")

    return joined(samples), joined(reference)


def _total_variance(features: Tensor) -> Tensor:
    return features.var(0).sum()


def swept(
    draw: Callable[[float], Any],
    judge: Callable[[Any], list[dict[str, Any]]],
    strengths: Sequence[float],
    told: Mapping[str, Any],
    folder: Path | None,
    recommend: Callable[[Sequence[Mapping[str, Any]]], tuple[float, str]] | None = None,
    rule: str = RULE,
) -> dict[str, Any]:
    """Draws and judges what has not been done yet, and recommends by a rule; see ``sweep``."""
    strengths = checked_strengths(strengths)
    points = []
    for strength in strengths:
        path = None if folder is None else folder / f"strength-{strength:g}.json"
        if path is not None and path.is_file():
            points.append(json.loads(path.read_text(encoding="utf-8")))
            continue
        drawn = draw(strength)
        # as JSON has it, so that what is read again is the same
        point = json.loads(json.dumps({"strength": strength, "results": judge(drawn)}, allow_nan=False))
        if path is not None and folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            if isinstance(drawn, Tensor):
                write_arrays(folder / f"strength-{strength:g}.npz", {"samples": drawn[:_SHOWN].detach().cpu().numpy()})
            write_text(path, json.dumps(point, indent=1, allow_nan=False) + "\n")
        points.append(point)
    chosen, why = (recommend or recommended)(points)
    found = {**told, "points": points, "recommended": chosen, "why": why, "rule": rule}
    if folder is not None:
        write_text(folder / "sweep.json", json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    return found


def checked_strengths(strengths: Sequence[float]) -> list[float]:
    """The strengths in rising order, each once; InputError for fewer than two, or numbers that are not finite."""
    numbers = sorted(set(map(float, strengths)))
    if len(numbers) < 2 or not all(map(math.isfinite, numbers)):
        raise InputError(f"a sweep goes over two different finite strengths at least; seen {list(strengths)}")
    return numbers


def recommended(points: Sequence[Mapping[str, Any]]) -> tuple[float, str]:
    """The strength by the rule ``RULE``, and why, in a sentence; points as ``sweep.json`` holds them, rising."""
    found = [(float(point["strength"]), {result["metric"]: result for result in point["results"]}) for point in points]
    best = min((by["frechet"] for _, by in found), key=lambda result: result["value"])
    limit, floor = best["interval"][1], COVERED * found[0][1]["coverage"]["value"]
    true = [(w, by) for w, by in found if by["frechet"]["value"] <= limit and by["coverage"]["value"] >= floor]
    if not true:
        best_w = min(found, key=lambda point: point[1]["frechet"]["value"])[0]
        return best_w, "no strength keeps fidelity and coverage together; this one has the best fidelity"
    if "class-agreement" not in true[0][1]:
        w = min(true, key=lambda point: point[1]["frechet"]["value"])[0]
        return w, "the best fidelity among those that keep the coverage (there is no class to be obeyed)"
    most = max(by["class-agreement"]["value"] for _, by in true)
    chosen, by = next((w, by) for w, by in true if by["class-agreement"]["interval"][1] >= most)
    return chosen, (
        f"obeyed in {by['class-agreement']['value']:.1%} of samples, with a Fréchet distance of "
        f"{by['frechet']['value']:.3g} (best {best['value']:.3g}) and a coverage of {by['coverage']['value']:.3g}"
    )


def digest_of(told: Mapping[str, Any]) -> str:
    """A short name for what a sweep is told."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:10]
