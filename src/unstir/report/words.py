"""What measures, baselines and parts of a recipe are called in print."""

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
}
_BASELINES = {
    "gaussian": "one Gaussian",
    "gaussian-per-class": "Gaussian per class",
    "copies": "training copies",
    "held-out": "held-out data",
}


def title_of(metric: str) -> str:
    """The name of a measure, as a heading."""
    return _MEASURES.get(metric) or metric.replace("-", " ").replace("_", " ").capitalize()


def inside_sentence(metric: str) -> str:
    """The name of a measure within a sentence: a proper name keeps its capital."""
    title = title_of(metric)
    return title if title.startswith(("Fréchet", "Wasserstein")) else title[0].lower() + title[1:]


def titled(baseline: str) -> str:
    """The name of a baseline."""
    return _BASELINES.get(baseline) or baseline.replace("-", " ")


def is_real(baseline: str) -> bool:
    """Whether a baseline is data itself (copied, or held out), and so no rival of a model."""
    return baseline in ("copies", "held-out")
