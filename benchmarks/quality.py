"""Quality after an equal training budget on the 8x8 digits: unstir beside its peers, floors and baselines.

``python -m benchmarks.quality`` trains each installed library's own recipe for 300 seconds of processor time on
one thread (``--clock wall --threads 2`` counts wall-clock time on two), draws 1,000 samples with each of its
samplers, measures them with ``unstir.metrics``, and writes ``benchmarks/results/quality.md`` and ``.json``. All
1,797 digits are training set and reference at once, as for every candidate. Candidates may be trained in several
calls (``--only azula``): results of earlier calls with the same settings are kept.
"""

import argparse
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers_quality import PEERS, installed
from benchmarks.quality_training import BY_CLASS, CLOCKS, OURS, Budget, Drawn, Trained, train_ours, train_peer
from unstir.core.seeds import Seeds
from unstir.metrics.base import SampleSet
from unstir.metrics.evaluate import Result, evaluate
from unstir.metrics.features import FeatureNetwork, train_classifier
from unstir.run.parts import read_data, training_conditions
from unstir.run.recipe import load

RESULTS = Path(__file__).parent / "results"
JUDGE_SEED = 20261122  # of the classifier in whose features all are judged; no candidate's seed
COLUMNS = {
    "frechet": "Fréchet",
    "kernel": "kernel",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "two-sample": "two-sample AUC",
    "class-histogram": "class variation",
    "missing-classes": "missing classes",
    "memorisation": "nearest ratio",
    "copied": "copied",
}
COMPARED = ("frechet", "kernel", "precision", "recall", "density", "coverage", "two-sample")
BASELINES = {
    "copies": "real digits, drawn with replacement",
    "jitter-0.1": "the same with noise of 0.1",
    "jitter-0.3": "the same with noise of 0.3",
    "gaussian": "one Gaussian",
    "gaussian-per-class": "a Gaussian per class",
}
FLOOR = "noise floor"
Scores = dict[str, float]


@dataclass(frozen=True)
class Task:
    """The data, the judge, and how many samples are judged."""

    pictures: Tensor
    labels: Tensor
    judge: FeatureNetwork
    reference: SampleSet
    count: int

    @classmethod
    def make(cls, count: int, judge_steps: int) -> "Task":
        """Reads the digits and trains the judge."""
        data = read_data(load("digits"))
        pictures, condition = data.batch(np.arange(len(data)))
        judge = train_classifier(pictures, condition["label"], JUDGE_SEED, bounds=(-1.0, 1.0), steps=judge_steps)
        return cls(pictures, condition["label"], judge, judge.describe(pictures, condition["label"]), count)

    def asked(self, seed: int) -> Tensor:
        """The classes to be drawn, one a sample: those that unstir's own runs ask for."""
        return training_conditions(read_data(load("digits")), Seeds.range(seed, self.count))["label"]

    def scores(self, drawn: Drawn, seed: int, replicates: int) -> dict[str, Any]:
        """All columns of one set of samples, with 95 % intervals, and the seconds its sampling took."""
        samples = self.judge.describe(drawn.pictures, drawn.labels)
        metrics = [*COLUMNS, *(["class-agreement"] if drawn.labels is not None else [])]
        results = evaluate(
            samples,
            self.reference,
            metrics=metrics,
            seed=seed,
            baselines=False,
            replicates=replicates,
            floor_replicates=1,
        )
        return {
            "sampling_seconds": round(drawn.seconds, 1),
            "metrics": {found.metric: _kept(found) for found in results},
        }

    def stand_ins(self, seed: int) -> dict[str, Scores]:
        """Noise floors, and the columns of every baseline."""
        picked = self.reference.take(torch.arange(self.count) % len(self.reference))
        results = evaluate(
            picked, self.reference, metrics=list(COLUMNS), seed=seed, extractor=self.judge.describe, replicates=2
        )
        rows = {text: {found.metric: found.baselines[name] for found in results} for name, text in BASELINES.items()}
        return {FLOOR: {found.metric: found.floor["value"] for found in results}, **rows}


def _kept(found: Result) -> dict[str, Any]:
    return {"value": found.value, "interval": list(found.interval)}


def compare(
    names: Iterable[str], budget: Budget, task: Task, replicates: int, known: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Trains and scores the candidates, ours first: the peers get no less time than ours have spent.

    Yields, after each of them, all that are known so far.
    """
    candidates = dict(known)
    for name in sorted(names, key=lambda name: name not in OURS):
        print(f"training: {name}", flush=True)
        if name in OURS:
            trained = train_ours(name, budget, task.count)
        else:
            longest = max((candidates[ours]["seconds"] for ours in OURS if ours in candidates), default=0.0)
            allowed = replace(budget, seconds=max(budget.seconds, longest))
            trained = train_peer(name, allowed, task.pictures, task.labels, task.asked(budget.seed))
        scores = {sampler: task.scores(drawn, budget.seed, replicates) for sampler, drawn in trained.drawn.items()}
        candidates[name] = _record(trained, scores)
        for sampler, found in scores.items():
            line = ", ".join(f"{key} {value['value']:.3f}" for key, value in found["metrics"].items())
            print(f"{name} ({sampler}): {line}", flush=True)
        yield {name: candidates[name] for name in (*OURS, *PEERS) if name in candidates}


def _record(trained: Trained, samplers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "recipe": trained.description,
        "parameters": trained.parameters,
        "seconds": round(trained.seconds, 1),
        "steps": trained.steps,
        "pictures_seen": trained.pictures_seen,
        "samplers": dict(samplers),
    }


def best(candidates: Mapping[str, Any], metric: str, names: Iterable[str]) -> float | None:
    """The best value that any sampler of these candidates reaches."""
    values = [
        scores["metrics"][metric]["value"]
        for name in names
        if name in candidates
        for scores in candidates[name]["samplers"].values()
    ]
    return min(values, key=lambda value: -_goodness(metric, value)) if values else None


def _goodness(metric: str, value: float) -> float:
    """Larger is better. Below 0 the unbiased kernel distance, and above 1 the density, say no more than their ideal."""
    if metric in ("frechet", "kernel"):
        return -max(value, 0.0)
    if metric == "two-sample":
        return -abs(value - 0.5)
    return min(value, 1.0)


def verdicts(candidates: Mapping[str, Any], stand_ins: Mapping[str, Scores]) -> list[str]:
    """Ours against the best figure of any peer and against a Gaussian per class, column by column.

    A model that is not told the classes is compared with its like, one that is told them with all peers.
    """
    lines = []
    for ours in (name for name in OURS if name in candidates):
        rivals = [name for name in PEERS if ours == BY_CLASS or not PEERS[name].by_class]
        for sampler, scores in candidates[ours]["samplers"].items():
            found = {metric: entry["value"] for metric, entry in scores["metrics"].items()}
            gaussian = stand_ins[BASELINES["gaussian-per-class"]]
            behind = [COLUMNS[key] for key in COMPARED if _goodness(key, found[key]) <= _goodness(key, gaussian[key])]
            text = f"- **{ours}** ({sampler}): behind a Gaussian per class in {_listed(behind)}"
            peers = {key: best(candidates, key, rivals) for key in COMPARED}
            if all(value is not None for value in peers.values()):
                behind = [COLUMNS[key] for key in COMPARED if _goodness(key, found[key]) <= _goodness(key, peers[key])]
                text += f"; behind the best peer's best in {_listed(behind)}"
                text += (
                    f"; Fréchet distance {found['frechet']:.3f} against the peers' {peers['frechet']:.3f}, "
                    f"{found['frechet'] / peers['frechet']:.2f} of it (noise floor {stand_ins[FLOOR]['frechet']:.3f})"
                    f"; kernel distance {found['kernel']:.3f} against {peers['kernel']:.3f}"
                )
            lines.append(text + ".")
    return lines


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "no column"


def markdown(report: Mapping[str, Any]) -> str:
    """The page: what was trained, the scores, and how ours compare."""
    settings, candidates = report["settings"], report["candidates"]
    columns = list(COLUMNS)
    training = [
        [
            name,
            found["recipe"],
            f"{found['parameters'] / 1e6:.2f} M",
            found["seconds"],
            found["steps"],
            found["pictures_seen"],
        ]
        for name, found in candidates.items()
    ]
    rows = [[name, "", "", *_figures(scores, columns)] for name, scores in report["stand_ins"].items()]
    for name, found in candidates.items():
        for sampler, scores in found["samplers"].items():
            values = {metric: entry["value"] for metric, entry in scores["metrics"].items()}
            rows.append([name, sampler, f"{scores['sampling_seconds']:.0f}", *_figures(values, columns)])
    return "\n".join(
        [
            "# Quality after an equal training budget: 8x8 digits",
            "",
            f"{settings['budget']:g} s of {settings['clock']} time on {settings['threads']} thread(s), seed "
            f"{settings['seed']}; {settings['count']} samples a row; {report['versions']}. All {report['pictures']} "
            f"digits are training set and reference. Features: {report['judge']}.",
            "",
            "Ideal is 0 for Fréchet and kernel distance, class variation (total variation of the class histogram, by "
            "the same classifier), missing classes and copied; 1 for precision, recall, density and coverage; 0.5 for "
            "the two-sample test. Nearest ratio is a sample's distance to its nearest training picture over that "
            "between training pictures, medians of pixel distances: well below 1 means copying, which is why a Fréchet "
            "distance never stands alone here. The noise floor is real against real. Intervals of 95 % are in "
            "`quality.json`. Made by `python -m benchmarks.quality`.",
            "",
            *_table(["candidate", "recipe", "parameters", "seconds", "steps", "pictures seen"], training),
            "",
            *_table(["samples", "sampler", "sampling s", *COLUMNS.values()], rows),
            "",
            *verdicts(candidates, report["stand_ins"]),
            *([f"- Not installed, hence left out: {', '.join(report['missing'])}."] if report["missing"] else []),
            "",
        ]
    )


def _figures(scores: Mapping[str, float], columns: Iterable[str]) -> list[str]:
    return [f"{scores[key]:.0f}" if key == "missing-classes" else f"{scores[key]:.3f}" for key in columns]


def _table(header: list[str], rows: list[list[Any]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows)]


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("torch", "unstir", "diffusers", "denoising-diffusion-pytorch", "azula"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def run(
    names: list[str], budget: Budget, count: int, folder: Path, replicates: int = 200, judge_steps: int = 900
) -> dict[str, Any]:
    """The whole comparison; writes ``quality.json`` and ``quality.md`` into ``folder`` and returns the former."""
    torch.set_num_threads(budget.threads)
    missing = [name for name in names if name in PEERS and not installed(name)]
    settings = {
        "budget": budget.seconds,
        **{key: value for key, value in asdict(budget).items() if key != "seconds"},
        "count": count,
        "replicates": replicates,
        "judge_steps": judge_steps,
    }
    known = _known(folder / "quality.json", settings)
    task = Task.make(count, judge_steps)
    report = {
        "settings": settings,
        "versions": _versions(),
        "pictures": len(task.pictures),
        "judge": task.judge.description,
        "judge_sha256": task.judge.digest,
        "stand_ins": task.stand_ins(budget.seed),
        "candidates": known,
        "missing": missing,
    }
    # written after each candidate, since the whole takes the better part of an hour
    for candidates in compare([name for name in names if name not in missing], budget, task, replicates, known):
        report["candidates"] = candidates
        _write(report, folder)
    _write(report, folder)
    return report


def _write(report: Mapping[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "quality.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "quality.md").write_text(markdown(report), encoding="utf-8")


def _known(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Candidates of earlier calls, if these had the same settings."""
    if not path.exists():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    return before["candidates"] if before["settings"] == settings else {}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*OURS, *PEERS], default=[*OURS, *PEERS], metavar="NAME")
    parser.add_argument("--budget", type=float, default=300.0, help="seconds of training (default 300)")
    parser.add_argument("--clock", choices=CLOCKS, default="processor")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000, help="samples of each sampler (default 1000)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    given = parser.parse_args()
    budget = Budget(given.budget, given.clock, given.threads, given.seed)
    run(given.only, budget, given.count, given.results)
    print(given.results / "quality.md")


if __name__ == "__main__":
    main()
