"""A run folder as `unstir run` leaves it, of scikit-learn's digits with noise in the place of a model's samples."""

import json

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_digits

RECIPE = {
    "name": "digits",
    "domain": "images",
    "data": {"path": "digits"},
    "process": {"name": "gaussian", "schedule": {"name": "edm", "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0}},
    "denoiser": {"parameterisation": "edm", "sigma_data": 0.6},
    "network": {"name": "unet", "widths": [64, 128], "blocks": 2, "attention": [0, 1], "patch": 1},
    "conditional": True,
    "training": {
        "steps": 6000,
        "batch": 256,
        "weighting": {"name": "edm"},
        "noise_levels": {"name": "log-normal", "mean": -0.6, "deviation": 1.0},
        "clip": 1.0,
        "compile": "auto",
    },
    "sampling": {"sampler": {"name": "heun"}, "grid": {"name": "karras"}, "steps": 18, "count": 1000, "average": None},
    "evaluation": {"calls": [3, 5, 9, 17, 35, 71]},
    "seed": 0,
}
PROVENANCE = {
    "unstir": "0.1.0",
    "commit": "0123456789ab",
    "python": "3.11.7",
    "packages": {"torch": "2.13.0", "numpy": "2.2.0"},
    "machine": {"system": "Linux 6.1", "processor": "A processor", "cores": 2, "threads": 2, "accelerator": None},
    "data": {"name": "digits", "sha256": "9f" * 32, "rows": 1797},
    "seed": 0,
    "command": "unstir run digits",
    "started": "2026-01-31T12:00:00+00:00",
}
ENCODING = {
    "low": 0.0,
    "high": 16.0,
    "dtype": "uint8",
    "layout": "hw",
    "shape": [1, 8, 8],
    "bounded": True,
    "label_names": [],
}
UNITS = "feature units squared"


def a_result(metric, value, interval, floor, baselines, better="lower", ideal=0.0, unit="1", **details):
    spread = 0.08 * abs(floor)
    return {
        "metric": metric,
        "value": value,
        "interval": interval,
        "floor": {"value": floor, "interval": [floor - spread, floor + spread]},
        "baselines": dict(
            zip(("gaussian", "gaussian-per-class", "jitter-0.3", "copies", "held-out"), baselines, strict=True)
        ),
        "ideal": ideal,
        "better": better,
        "unit": unit,
        "n_samples": 1000,
        "n_reference": 1797,
        "seconds": 0.5,
        "note": "",
        "details": details,
    }


def the_results():
    data = [0.1] * 10
    own = [0.11, 0.09, 0.105, 0.095, 0.1, 0.12, 0.08, 0.1, 0.1, 0.1]
    return [
        a_result("frechet", 0.305, [0.28, 0.34], 0.15, [4.2, 0.9, 1.4, 0.15, 0.19], unit=UNITS),
        a_result("kernel", 0.011, [0.008, 0.014], 0.0004, [0.35, 0.055, 0.09, -0.0002, 0.001]),
        a_result("precision", 0.86, [0.84, 0.88], 0.96, [0.45, 0.88, 0.7, 0.97, 0.95], "higher", 1.0),
        a_result("recall", 0.95, [0.93, 0.96], 0.97, [0.9, 0.9, 0.97, 0.97, 0.96], "higher", 1.0),
        a_result("density", 0.88, [0.84, 0.92], 1.0, [0.3, 0.85, 0.5, 1.01, 0.98], "higher", 1.0),
        a_result("coverage", 0.87, [0.85, 0.89], 0.93, [0.4, 0.8, 0.7, 0.92, 0.91], "higher", 1.0),
        a_result("two-sample", 0.58, [0.56, 0.6], 0.5, [0.95, 0.7, 0.8, 0.48, 0.51], ideal=0.5),
        a_result(
            "class-histogram",
            0.04,
            [0.03, 0.06],
            0.03,
            [0.3, 0.05, 0.04, 0.03, 0.03],
            shares=own,
            reference_shares=data,
        ),
        a_result("missing-classes", 0.0, [0.0, 0.0], 0.0, [1.0, 0.0, 0.0, 0.0, 0.0], unit="classes", missing=[]),
        a_result("memorisation", 1.03, [1.01, 1.05], 1.0, [1.9, 1.2, 0.9, 0.0, 1.02], "higher", 1.0),
    ]


def the_metrics():
    calls = (3, 5, 9, 17, 35, 71)
    curve = [
        {
            "sampler": sampler,
            "steps": steps,
            "calls": n,
            "count": 500,
            "frechet": 0.3 + a / n**1.6,
            "kernel": 0.01 + a / n**2,
            "coverage": 0.88 - 0.1 * a / n,
        }
        for sampler, a in (("heun", 24.0), ("ddim", 6.0))
        for steps, n in zip((2, 3, 5, 9, 18, 36), calls, strict=True)
    ]
    for point in curve:
        point["coverage"] = max(0.05, point["coverage"])
    samples = {
        "count": 1000,
        "seed": 1,
        "sampler": {"name": "heun"},
        "steps": 18,
        "calls": 35,
        "grid": {"name": "karras"},
        "conditional": True,
    }
    features = {
        "kind": "classifier trained on the same data",
        "sha256": "ab" * 32,
        "accuracy": 0.986,
    }
    return {
        "samples": samples,
        "results": the_results(),
        "quality_by_calls": curve,
        "classes": [str(digit) for digit in range(10)],
        "features": features,
    }


def the_progress(lines=240):
    draws = np.random.default_rng(3)
    for place in range(1, lines + 1):
        step = 25 * place
        level = 0.24 + 0.9 * np.exp(-step / 500)
        centres = np.arange(-7, 9, 2)
        yield {
            "step": step,
            "samples": 256 * step,
            "seconds": 0.05 * step,
            "loss": level * (1 + 0.08 * draws.standard_normal()),
            "learning_rate": 2e-3 * min(1, step / 200) * (1 - step / (25 * lines + 25)),
            "gradient_norm": 0.4 + 0.3 * np.exp(-step / 800) + 0.04 * draws.standard_normal(),
            "samples_per_second": 5100 + 120 * draws.standard_normal(),
            "by_log_snr": [[float(c), level * (0.4 + 1.1 * np.exp(-((c - 1) ** 2) / 9)), 32] for c in centres],
        }


def the_arrays():
    draws = np.random.default_rng(5)
    pictures, labels = load_digits(return_X_y=True)
    data = (pictures / 8 - 1).reshape(-1, 1, 8, 8)

    def noisy(states, sigma):
        return (states + sigma * draws.standard_normal(states.shape)) / np.sqrt(1 + sigma**2)

    sigmas = np.array([80, 30, 12, 5, 2, 1, 0.5, 0.2, 0.08, 0.02, 0.0])
    clean, mean = data[40:44], data.mean(0)
    trust = (1 / (1 + 0.8 * sigmas**2))[:, None, None, None, None]
    distances = np.linalg.norm((data[:8, None] - data[None]).reshape(8, len(data), -1), axis=2)
    nearest = distances.argsort(axis=1)[:, :3]
    arrays = {
        "samples": noisy(data[:64], 0.1),
        "by_class": np.stack([noisy(data[labels == digit][:8], 0.1) for digit in range(10)]),
        "forward": np.stack([noisy(clean, sigma) for sigma in sigmas[::-1]]),
        "forward_sigma": sigmas[::-1],
        "reverse": np.stack([noisy(clean, sigma) for sigma in sigmas]),
        "reverse_mean": trust * clean + (1 - trust) * mean,
        "reverse_sigma": sigmas,
        "neighbour_samples": noisy(data[:8], 0.1),
        "neighbour_training": data[nearest],
        "neighbour_distance": np.take_along_axis(distances, nearest, 1) + 1.1,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def make_run(folder):
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False), encoding="utf-8")
    for name, values in (("provenance", PROVENANCE), ("metrics", the_metrics()), ("encoding", ENCODING)):
        (folder / f"{name}.json").write_text(json.dumps(values), encoding="utf-8")
    (folder / "progress.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in the_progress()), encoding="utf-8"
    )
    np.savez_compressed(folder / "evaluation.npz", **the_arrays())
    return folder


@pytest.fixture
def run_folder(tmp_path):
    return make_run(tmp_path / "runs" / "digits")


_DRAWN = {}


@pytest.fixture
def drawn_once(monkeypatch):
    """For tests that look at the page around the charts: each chart is drawn by the first test that needs it."""
    from unstir.report import course, measures
    from unstir.report.svg import inline_svg

    def remembered(figure, identifier, description):
        if (identifier, description) not in _DRAWN:
            _DRAWN[identifier, description] = inline_svg(figure, identifier, description)
        return _DRAWN[identifier, description]

    for module in (course, measures):
        monkeypatch.setattr(module, "inline_svg", remembered)


@pytest.fixture(scope="session")
def whole_page(tmp_path_factory):
    """The text of the report on the whole run."""
    from unstir.report import write

    return write(make_run(tmp_path_factory.mktemp("work") / "runs" / "digits")).read_text(encoding="utf-8")
