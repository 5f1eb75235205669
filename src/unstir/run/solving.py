"""The verb `solve`: draws of what is behind a measurement, what they tell, and whether to believe it."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build, resolve
from unstir.core.errors import InputError, NotInstalledError, unknown
from unstir.core.seeds import Seeds
from unstir.core.state import map_state
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.domains.base import Encoding
from unstir.domains.images.encoding import ImageEncoding
from unstir.domains.images.restoration import classical, classical_methods
from unstir.inverse.calibration import OWN, calibrate_posterior
from unstir.inverse.measurement import Measurement
from unstir.inverse.methods.base import Method
from unstir.inverse.noises.gaussian import GaussianNoise
from unstir.inverse.operators.base import LinearOperator
from unstir.inverse.ranks import LEVELS
from unstir.inverse.solving import Solution, solve
from unstir.metrics.pictures import psnr, ssim
from unstir.run.folder import RunFolder, write_arrays
from unstir.run.provenance import circumstances
from unstir.run.readings import Problem, noise_of, operator_of, own_data, problem_of
from unstir.run.sampling import TrainedRun

TRUTHS = ("model", "data")
_SHOWN = 16  # draws that the page shows
_CALIBRATION_DRAWS = 39  # the fewest that cut out 50, 80 and 95 % exactly
_SSIM_WINDOW = 7
_ROUNDING = 1e-5  # of encoded numbers: what was measured exactly is met to single precision
_LINEAR_SPACES = ("euclidean", "centred", "spectral", "heavy-tailed")  # where a mean of samples means something


def solve_run(
    run: TrainedRun,
    operator: Mapping[str, Any],
    noise: Mapping[str, Any],
    method: Mapping[str, Any],
    *,
    data: Path | None = None,
    of: int = 0,
    degraded: bool = False,
    count: int = 64,
    steps: int | None = None,
    grid: Any = None,
    seed: int | None = None,
    condition: Mapping[str, Any] | None = None,
    out: Path | None = None,
    calibrate: int | None = None,
    calibrate_on: str = "model",
    progress: bool = True,
) -> Path:
    """Solves one inverse problem with a run's model as the prior, and returns the folder of what came of it.

    The measured sample is row ``of`` of the run's held-out data (or training data), or of the file ``data``; with
    ``degraded`` the file is the reading itself. The folder holds the draws in the field's own format (``samples/``),
    ``solution.json`` (all settings, diagnostics, what is known beside the truth), and for numbers ``posterior.npz``:
    mean, deviation, intervals, reading and truth, of pictures in the data's own units and else as encoded.

    ``calibrate`` says on how many further problems the method's uncertainty is tried, with truths from the ``model``
    (its own samples: what is then found is the method's) or from the ``data`` (method and model together).
    """
    if calibrate_on not in TRUTHS:
        raise unknown("source of truths", calibrate_on, TRUTHS)
    if count < 2:
        raise InputError(f"at least 2 draws are needed, to tell a deviation; seen {count}")
    seed = run.recipe.seed if seed is None else seed
    denoiser = run.denoiser()
    known = _condition(run, condition or {})
    told = {
        "operator": {**operator},
        "noise": resolve("noises", noise),
        "method": resolve("methods", method),
    }
    made: Method = build("methods", method)
    seen_through = operator_of(operator, run.shape)
    noise_encoded = noise_of(noise, run.encoding, seen_through)
    problem = problem_of(run, seen_through, noise_encoded, data, of, degraded, seed)
    chosen_grid = grid if grid is not None else run.recipe.sampling.grid
    how = {"steps": made.steps if steps is None else steps, "grid": chosen_grid}
    solution = _solve(denoiser, problem.measurement, made, count, seed, known, how, progress)
    folder = out or run.folder.path / "solutions" / _name(told, data, of, seed, condition)
    folder.mkdir(parents=True, exist_ok=True)
    _write_draws(run, solution, known, folder)
    record = {
        **circumstances(),
        **told,
        "run": run.recipe.name or run.folder.path.name,
        "weights": TrainedRun.weights_digest(denoiser),
        "encoding": run.encoding.record(),
        "noise_encoded": repr(noise_encoded),
        "source": problem.source,
        "simulated": problem.truth is not None,
        "seed": seed,
        "count": count,
        **how,
        "condition": dict(condition or {}),
        "reading_shape": list(problem.measurement.reading.shape),
        "diagnostics": {name: _listed(values) for name, values in solution.diagnostics.items()},
    }
    record["domain"] = run.domain.name
    if _has_moments(denoiser, solution):
        arrays = _arrays(run.encoding, problem, solution)
        write_arrays(folder / "posterior.npz", arrays)
        record["units"] = "the data's own" if isinstance(run.encoding, ImageEncoding) else "as encoded"
        record["beside_the_truth"] = _beside(run.encoding, problem, solution)
        if isinstance(run.encoding, ImageEncoding):
            run.domain.write(run.encoding, solution.mean[None].float(), folder / "mean", overwrite=True)
    results = RunFolder(folder)
    results.write_json("solution.json", record)
    if calibrate is not None:
        binding = {"weights": record["weights"], "condition": record["condition"], "operator": repr(told["operator"])}
        found = _calibrated(
            run,
            denoiser,
            problem.measurement,
            made,
            calibrate,
            calibrate_on,
            known,
            seed,
            how,
            folder,
            binding,
            progress,
        )
        results.write_json("solution.json", {**record, "calibration": found})
    return folder


def _solve(
    denoiser: LearnedDenoiser,
    measurement: Measurement,
    method: Method,
    count: int,
    seed: int,
    known: Mapping[str, Tensor],
    how: Mapping[str, Any],
    progress: bool,
) -> Solution:
    from tqdm import tqdm

    with tqdm(total=count, desc="solving", unit="samples", disable=not progress) as bar:
        return solve(
            denoiser,
            measurement,
            method,
            seeds=Seeds.range(seed, count).at("solve"),
            condition={name: value.expand(count, *value.shape[1:]) for name, value in known.items()},
            progress=bar.update,
            **how,
        )


def _condition(run: TrainedRun, wanted: Mapping[str, Any]) -> dict[str, Tensor]:
    """What the network is told, a batch of one; nothing, where it has learned to do without."""
    bound = run.constant_condition(wanted, 1) or {}
    if run.conditional and not bound and not run.recipe.training.drop_condition:
        names = sorted(set(run.conditions) - {"augment"})
        raise InputError(
            f"{run.folder.path} has not learned to do without its conditions (training.drop_condition is 0); "
            f"say --condition {names[0]}=..."
        )
    return {name: value.to(run.device) for name, value in bound.items()}


def _name(told: Mapping[str, Any], data: Path | None, of: int, seed: int, condition: Mapping[str, Any] | None) -> str:
    words = [told["operator"]["name"], told["method"]["name"], f"{data.stem}-{of}" if data else f"row-{of}"]
    return "_".join([*words, f"seed-{seed}", *(f"{name}-{value}" for name, value in (condition or {}).items())])


def _write_draws(run: TrainedRun, solution: Solution, known: Mapping[str, Tensor], folder: Path) -> None:
    samples = map_state(lambda part: part.cpu(), solution.samples)
    condition = {name: value.cpu().expand(len(samples), *value.shape[1:]) for name, value in known.items()}
    run.domain.save(run.encoding, samples, folder / "samples", condition, overwrite=True)


def _has_moments(denoiser: LearnedDenoiser, solution: Solution) -> bool:
    samples = solution.samples
    return isinstance(samples, Tensor) and samples.is_floating_point() and denoiser.process.space in _LINEAR_SPACES


def _arrays(encoding: Encoding, problem: Problem, solution: Solution) -> dict[str, np.ndarray]:
    """The posterior as arrays: of pictures in the data's own units, else as encoded."""
    scale, offset = _units(encoding)
    arrays = {"mean": solution.mean * scale + offset, "deviation": solution.deviation * scale}
    for level in LEVELS:
        low, high = solution.interval(level)
        arrays |= {f"low_{100 * level:.0f}": low * scale + offset, f"high_{100 * level:.0f}": high * scale + offset}
    arrays["draws"] = solution.samples[:_SHOWN].double() * scale + offset
    measurement = problem.measurement
    arrays["reading"] = measurement.reading.double()
    if isinstance(measurement.operator, LinearOperator):
        reading = measurement.reading[None].double()
        ones = measurement.operator(torch.ones(1, *measurement.operator.shape, dtype=torch.float64))
        arrays["reading"] = (reading * scale + offset * ones)[0]
        arrays["projected"] = measurement.operator.adjoint(reading)[0] * scale + offset
    if problem.truth is not None:
        arrays["truth"] = problem.truth[0].double() * scale + offset
    return {name: values.cpu().numpy() for name, values in arrays.items()}


def _units(encoding: Encoding) -> tuple[float, float]:
    """What an encoded number is multiplied with, and what is then added, to be in the data's own units."""
    if not isinstance(encoding, ImageEncoding):
        return 1.0, 0.0
    half = (encoding.high - encoding.low) / 2
    return half, encoding.low + half


def _beside(encoding: Encoding, problem: Problem, solution: Solution) -> dict[str, Any] | None:
    """What can be said where the truth is known: how much of it the intervals hold, and how near the mean comes."""
    if problem.truth is None:
        return None
    truth, found = problem.truth[0].double().cpu(), []
    for level in LEVELS:
        low, high = (end.cpu() for end in solution.interval(level))
        found.append(
            {
                "level": level,
                "covered": float(((truth >= low - _ROUNDING) & (truth <= high + _ROUNDING)).double().mean()),
            }
        )
    seen = isinstance(encoding, ImageEncoding)
    pictures = {"mean of the draws": solution.mean.cpu(), "one draw": solution.samples[0].double().cpu()}
    if seen:
        pictures |= _classical(problem.measurement)
    restored = {name: _restored(picture.double(), truth, seen) for name, picture in pictures.items()}
    return {"intervals": found, "restored": restored}


def _restored(picture: Tensor, truth: Tensor, pictures: bool) -> dict[str, float]:
    """Root mean square error; of pictures, from 0 to 1, also PSNR (200 dB at most), and SSIM of those not too small."""
    error = float((picture - truth).square().mean().sqrt())
    if not pictures:
        return {"rmse": error}
    found = {"rmse": error / 2, "psnr": min(200.0, float(psnr(picture[None], truth[None])))}
    if min(truth.shape[1:]) >= _SSIM_WINDOW:
        found["ssim"] = float(ssim(picture[None], truth[None]))
    return found


def _classical(measurement: Measurement) -> dict[str, Tensor]:
    """Classical restorations of the same reading, where there are some and their packages are installed."""
    noise, found = measurement.noise, {}
    deviation = noise.deviation if isinstance(noise, GaussianNoise) else 0.0
    try:
        names = list(classical_methods(measurement.operator))
        for name in names:
            found[name] = classical(measurement.operator, measurement.reading.cpu(), deviation, name)
    except (InputError, NotInstalledError):  # no classical method serves this operator, or none is here
        return found
    return found


def _calibrated(
    run: TrainedRun,
    denoiser: LearnedDenoiser,
    measurement: Measurement,
    method: Method,
    problems: int,
    on: str,
    known: Mapping[str, Tensor],
    seed: int,
    how: Mapping[str, Any],
    folder: Path,
    binding: Mapping[str, Any],
    progress: bool,
) -> dict[str, Any]:
    from tqdm import tqdm

    truths: Any = lambda seeds: _own_samples(run, denoiser, known, seeds)  # noqa: E731
    of = OWN
    if on == "data":
        truths, of = _rows_of(run, problems, seed)
    with tqdm(total=problems, desc="calibrating", unit="problems", disable=not progress) as bar:
        found = calibrate_posterior(
            denoiser,
            truths,
            measurement.operator,
            measurement.noise,
            method,
            problems,
            _CALIBRATION_DRAWS,
            of=of,
            condition={name: value.expand(problems, *value.shape[1:]) for name, value in known.items()},
            seed=seed,
            path=folder / f"calibration-{on}.jsonl",
            about=binding,
            progress=bar.update,
            **how,
        )
    return found.as_dict()


def _own_samples(run: TrainedRun, denoiser: LearnedDenoiser, known: Mapping[str, Tensor], seeds: Seeds) -> Any:
    bound = {name: value.expand(len(seeds), *value.shape[1:]) for name, value in known.items()}
    return run.draw(denoiser, seeds, bound)


def _rows_of(run: TrainedRun, problems: int, seed: int) -> tuple[Any, str]:
    data, what = own_data(run)
    if len(data) < problems:
        raise InputError(f"{problems} problems need as many rows of data; there are {len(data)}")
    chosen = Seeds.range(seed, 1).at("solve", "rows").generator().permutation(len(data))[:problems]
    return data.batch(chosen)[0], what


def _listed(values: Tensor) -> Any:
    """Plain numbers; what is not finite as None."""
    if values.ndim:
        return [_listed(value) for value in values]
    number = values.item()
    return number if not isinstance(number, float) or math.isfinite(number) else None
