"""What measures, baselines and parts of a recipe are called in print."""

from collections.abc import Mapping
from typing import Any

_MEASURES = {
    "frechet": "Fréchet distance",
    "frechet-infinity": "Fréchet distance, N → ∞",
    "kernel": "Kernel distance",
    "sliced-wasserstein": "Sliced Wasserstein",
    "two-sample": "Two-sample test",
    "class-histogram": "Class imbalance",
    "missing-classes": "Missing classes",
    "class-agreement": "Class agreement",
    "memorisation": "Distance to training set",
    "copied": "Copied samples",
    "crps": "CRPS",
    "rmse": "RMSE of the mean",
    "brier": "Brier score",
    "roc": "ROC area",
    "ranks": "Rank histogram",
    "spread-skill": "Spread over error",
}
BETTER = {
    "lower": ("↓", "lower is better"),
    "higher": ("↑", "higher is better"),
    "nearest": ("→", "nearest to the ideal is best"),
}
_BASELINES = {
    "gaussian": "one Gaussian",
    "gaussian-per-class": "Gaussian per class",
    "copies": "training copies",
    "held-out": "held-out data",
    "enkf": "EnKF",
}


def title_of(metric: str) -> str:
    """The name of a measure, as a heading."""
    return _MEASURES.get(metric) or metric.replace("-", " ").replace("_", " ").capitalize()


def inside_sentence(metric: str) -> str:
    """The name of a measure within a sentence: a proper name keeps its capital."""
    title = title_of(metric)
    proper = title.startswith(("Fréchet", "Wasserstein", "Brier")) or title[:2].isupper()
    return title if proper else title[0].lower() + title[1:]


def titled(baseline: str) -> str:
    """The name of a baseline."""
    return _BASELINES.get(baseline) or baseline.replace("-", " ")


def is_real(baseline: str) -> bool:
    """Whether a baseline is data itself (copied, or held out), and so no rival of a model."""
    return baseline in ("copies", "held-out")


def floor_of(floor: Mapping[str, Any]) -> str:
    """What stood in the samples' place: real data, unless the floor says otherwise (an exact law)."""
    return str(floor.get("of") or "real data")
