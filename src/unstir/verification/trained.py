"""A trained denoiser measured: is what it learned a score at all, and as sure as it should be?"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.run.folder import RunFolder
from unstir.run.parts import domain_of, training_conditions
from unstir.run.sampling import TrainedRun
from unstir.verification import runner
from unstir.verification.base import Effort
from unstir.verification.checks.denoisers import Trained
from unstir.verification.findings import Finding, to_plain

_ROWS = 2048


def verify_denoiser(
    denoiser: Denoiser,
    clean: Tensor,
    condition: Mapping[str, Tensor] | None = None,
    draw: Callable[[Seeds], Any] | None = None,
    effort: Effort | None = None,
    name: str = "denoiser",
    progress: Callable[[int], object] | None = None,
) -> list[Finding]:
    """Measures any denoiser under the Gaussian process against clean data, shape (n, *shape), best held out.

    ``condition`` has one row for each of ``clean``; ``draw(seeds)`` samples, if that is to be measured too.
    """
    if getattr(denoiser.process, "space", None) != "euclidean":
        raise InputError(f"these checks need a Euclidean space; seen {getattr(denoiser.process, 'space', None)!r}")
    if len(clean) < 32:
        raise InputError(f"at least 32 rows of clean data are needed; seen {len(clean)}")
    subject = Trained(denoiser, clean, condition or {}, draw)
    found = []
    for check in runner.checks_for("denoisers", name).values():
        finding = runner.measure(check, subject, effort or Effort())
        if finding.status:
            found.append(replace(finding, entry=name, subject=name))
        if progress:
            progress(1)
    return found


def verify_run(folder: RunFolder, effort: Effort, keep: Path, progress: bool = True) -> dict[str, Any]:
    """The record of a run's denoiser, measured on the recipe's held-out data, or on the training data without any."""
    from tqdm import tqdm

    begun = time.perf_counter()
    run = TrainedRun(folder)
    clean, condition, told = _data(run)
    denoiser = run.denoiser()

    def draw(seeds: Seeds) -> Any:
        given = training_conditions(run.data, seeds) if run.conditional else {}
        return run.draw(denoiser, seeds, given, steps=4)

    total = len(runner.checks_for("denoisers", ""))
    with tqdm(total=total, desc="verifying", unit="claims", disable=not progress) as bar:
        findings = verify_denoiser(denoiser, clean, condition, draw, effort, told, bar.update)
    record = {
        **runner.circumstances_of([], effort),
        "run": run.recipe.name or folder.path.name,
        "seconds": round(time.perf_counter() - begun, 2),
        "complete": True,
        "findings": [to_plain(finding) for finding in findings],
    }
    runner.write(keep, record)
    return record


def _data(run: TrainedRun) -> tuple[Tensor, dict[str, Tensor], str]:
    """Rows of the held-out data with the conditions that the network knows, and how to call them."""
    wanted = run.recipe.evaluation.held_out
    data = domain_of(run.recipe).read(wanted) if wanted else run.data
    if tuple(data.shape) != run.shape:
        raise InputError(f"evaluation.held_out: samples of shape {data.shape}, but the run was trained on {run.shape}")
    rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), _ROWS)).astype(int))
    state, condition = data.batch(rows)
    if not isinstance(state, torch.Tensor):
        raise InputError(f"these checks need states of one tensor; seen the parts {sorted(state)}")
    known = {name: values for name, values in condition.items() if name in run.conditions and name != "augment"}
    return state, known, "held-out data" if wanted else "training data"
