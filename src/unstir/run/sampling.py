"""The verb `sample`: from a trained run to samples in the field's own format."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.catalogue import build
from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.variances import VarianceTable, measure_variances, with_variance
from unstir.domains.base import EncodedData, Encoding
from unstir.run.drawing import Order, draw_in_blocks
from unstir.run.folder import RunFolder
from unstir.run.parts import domain_of, make_denoiser, read_data, shape_of, training_conditions
from unstir.run.recipe import Recipe
from unstir.samplers.base import Callback, Sampler, sample
from unstir.samplers.calibrated import CalibratedSampler
from unstir.samplers.calibration import calibrate
from unstir.training.checkpoints import load_average

CALIBRATED = "calibrated"
FEW_STEPS = 20  # up to which a sampler made for the model is taken where none is named
_PILOT = 64  # trajectories of its pilot run
_VARIANCE_ROWS = 512  # of the data, on which the belief's variances are measured
_CALLS = 800  # of the denoiser for each of them, about


class TrainedRun:
    """A run that is ready to be sampled from: its recipe, denoiser, encoding and, when asked for, its data."""

    def __init__(self, folder: RunFolder, device: str | torch.device = "cpu") -> None:
        self.folder = folder
        self.recipe: Recipe = folder.recipe()
        if self.recipe.training.threads:
            torch.set_num_threads(self.recipe.training.threads)
        told = folder.read_json("conditions.json")
        self.shape = shape_of(told["shape"])
        self.conditions: Mapping[str, Mapping[str, Any]] = told["conditions"]
        self.domain = domain_of(self.recipe)
        self.encoding: Encoding = self.domain.restore(folder.read_json("encoding.json"))
        self.device = torch.device(device)
        self._data: EncodedData | None = None

    @property
    def data(self) -> EncodedData:
        """The training data, read again; an error if it is no longer what the run was trained on."""
        if self._data is None:
            data = read_data(self.recipe)
            trained_on = self.folder.read_json("provenance.json")["data"]["sha256"]
            if data.digest != trained_on:
                raise InputError(
                    f"{data.name} is not the data that {self.folder.path} was trained on (SHA-256 {data.digest[:12]}…, "
                    f"then {trained_on[:12]}…); put the old data back, or train anew"
                )
            self._data = data
        return self._data

    @property
    def labelled_data(self) -> EncodedData:
        """The training data with its labels, even where the run keeps them from the network."""
        data = self.data
        return data if self.recipe.conditional else domain_of(self.recipe).read(self.recipe.data)

    @property
    def conditional(self) -> bool:
        """Whether samples need to be told anything."""
        return bool(set(self.conditions) - {"augment"})

    @staticmethod
    def weights_digest(denoiser: LearnedDenoiser) -> str:
        """SHA-256 of the weights, to tell to which of them a result belongs."""
        digest = hashlib.sha256()
        for name, tensor in sorted(denoiser.state_dict().items()):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def denoiser(self, average: float | None = None) -> LearnedDenoiser:
        """The trained denoiser with its averaged weights, in evaluation mode."""
        denoiser = make_denoiser(self.recipe, self.shape, self.conditions)
        length = self.recipe.sampling.average if average is None else average
        denoiser.load_state_dict(load_average(self.folder.path, length))
        return denoiser.eval().requires_grad_(False).to(self.device)

    def draw(
        self,
        denoiser: LearnedDenoiser,
        seeds: Seeds,
        condition: Mapping[str, Tensor] | None = None,
        sampler: Any = None,
        grid: Any = None,
        steps: int | None = None,
        callback: Callback | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> Any:
        """Encoded samples by the recipe's sampler or the one given, under the data's conditions or those given.

        Where ``steps`` are few and nothing else is said, and for the sampler "calibrated", it is one made for this
        denoiser and these steps (see ``calibrated``).
        """
        options = self.recipe.sampling
        steps = options.steps if steps is None else steps
        if steps < 1:
            raise InputError(f"a sampler takes at least 1 step; seen {steps}")
        made: Sampler
        few = steps < min(options.steps, FEW_STEPS + 1) and denoiser.process.space == "euclidean"
        if sampler == CALIBRATED or (sampler is None and grid is None and few):
            if grid is not None:
                raise InputError(f"the sampler {CALIBRATED!r} brings its own times; leave the grid out")
            made, grid = self.calibrated(denoiser, steps), None
        else:
            made = sampler if isinstance(sampler, Sampler) else build("samplers", sampler or options.sampler)
            grid = grid or options.grid
        told: Denoiser = denoiser
        if made.needs_variance and getattr(denoiser, "variance", "none") == "none":
            if made.needs_variance == "learned":
                raise InputError(
                    f"{self.folder.path} has learned no variance; train with denoiser.variance=learned, or take the "
                    "sampler analytic-dpm, which measures it"
                )
            told = self.with_variances(denoiser)
        condition = self.filled(condition, seeds)
        seeds = seeds.to(self.device)
        start = None
        if "source" in condition:  # a bridge's: where trajectories begin, beside what the network may be told
            start = condition["source"].to(self.device)
            condition = {name: values for name, values in condition.items() if name in self.conditions}
        return sample(
            told,
            made,
            self.shape,
            seeds=seeds,
            condition={name: values.to(self.device) for name, values in condition.items()},
            start=start,
            steps=steps,
            grid=grid,
            batch=options.batch,
            callback=callback,
            progress=progress,
        )

    def with_variances(self, denoiser: LearnedDenoiser) -> Denoiser:
        """The denoiser with its belief's variances, measured on the data once and kept in the run's folder.

        What Analytic-DPM needs of a network that tells a mean alone.
        """
        name = f"{CALIBRATED}/variances-{self.weights_digest(denoiser)[:12]}.json"
        if not (self.folder.path / name).exists():
            rows = np.arange(min(len(self.data), _VARIANCE_ROWS))
            state, condition = self.data.batch(rows)
            if not isinstance(state, Tensor):
                raise InputError(f"variances are measured on one tensor; the data has the parts {sorted(state)}")
            known = set(self.conditions) - {"augment"}
            condition = {key: values.to(self.device) for key, values in condition.items() if key in known}
            table = measure_variances(denoiser, state.to(self.device), condition=condition)
            (self.folder.path / CALIBRATED).mkdir(exist_ok=True)
            self.folder.write_json(name, table.as_dict())
        return with_variance(denoiser, VarianceTable.from_dict(self.folder.read_json(name)))

    def calibrated(self, denoiser: LearnedDenoiser, calls: int) -> CalibratedSampler:
        """A sampler made for this denoiser and so many calls; kept in the run's folder, and made where it is missing.

        The noise levels lie within those of the recipe's grid, so that the network is asked for none that it is not
        meant for.
        """
        digest = self.weights_digest(denoiser)
        path = self.folder.path / CALIBRATED / f"calls-{calls:03d}-{digest[:12]}.safetensors"
        if path.exists():
            return CalibratedSampler.load(path)
        limits = {
            name: value for name, value in self.recipe.sampling.grid.items() if name in ("sigma_min", "sigma_max")
        }
        condition: dict[str, Tensor] = {}
        if self.conditional:
            condition = training_conditions(self.data, Seeds.range(self.recipe.seed, _PILOT).at(CALIBRATED))
        from tqdm import tqdm

        search = max(8, _CALLS // max(calls, 1))
        with tqdm(desc=f"calibrating {calls} calls, once", unit="", total=search + _PILOT) as bar:
            made = calibrate(
                denoiser,
                self.shape,
                calls,
                samples=_PILOT,
                seed=self.recipe.seed,
                condition=condition,
                search=search,
                batch=self.recipe.sampling.batch,
                progress=lambda what, done, whole: bar.update(_PILOT if what == "pilot" else 1),
                **limits,
            )
        path.parent.mkdir(exist_ok=True)
        made.save(path)
        return made

    def filled(self, condition: Mapping[str, Tensor] | None, seeds: Seeds) -> dict[str, Tensor]:
        """Those conditions, or rows of them as the data has them; the size of sets is always told."""
        if condition is None:
            return training_conditions(self.data, seeds) if self.conditional else {}
        if "mask" in self.conditions and "mask" not in condition:
            return {"mask": training_conditions(self.data, seeds)["mask"], **condition}
        return dict(condition)

    def wanted_condition(self, wanted: Mapping[str, Any], seeds: Seeds) -> dict[str, Tensor] | None:
        """A condition in the user's words, ``{"label": 3}``, a row for each of the seeds; None if nothing is wanted."""
        if wanted and self.domain.ask is not None:
            return self.domain.ask(self.encoding, wanted, seeds)
        return self.constant_condition(wanted, len(seeds))

    def constant_condition(self, wanted: Mapping[str, Any], count: int) -> dict[str, Tensor] | None:
        """A condition given by the user, the same for all samples: ``{"label": 3}``; None if nothing is wanted."""
        if not wanted:
            return None
        known = {name: kind for name, kind in self.conditions.items() if name != "augment"}
        return {name: self._condition(name, value, known, count) for name, value in wanted.items()}

    def _condition(self, name: str, value: Any, known: Mapping[str, Mapping[str, Any]], count: int) -> Tensor:
        if name not in known:
            if not known:
                raise InputError(f"{self.folder.path} was trained without conditions; it cannot be told {name!r}")
            raise unknown("condition", name, known)
        kind = known[name]
        try:
            tensor = torch.as_tensor(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"the condition {name!r} must be numbers; seen {value!r}") from error
        if "classes" in kind:
            if tensor.ndim or tensor.is_floating_point() or not 0 <= int(tensor) < kind["classes"]:
                raise InputError(
                    f"the condition {name!r} is a class number from 0 to {kind['classes'] - 1}; seen {value!r}"
                )
        elif "size" in kind and tensor.shape != (kind["size"],):
            raise InputError(f"the condition {name!r} is a list of {kind['size']} numbers; seen {value!r}")
        else:
            tensor = tensor.float()
        return tensor.expand(count, *tensor.shape)


def sample_run(
    run: TrainedRun,
    count: int,
    *,
    first: int = 0,
    seed: int | None = None,
    out: Path | None = None,
    condition: Mapping[str, Any] | None = None,
    sampler: Any = None,
    grid: Any = None,
    steps: int | None = None,
    average: float | None = None,
    workers: int = 1,
    progress: bool = True,
) -> list[Path]:
    """Draws samples ``first`` to ``first + count - 1`` of the seed and writes them; returns the files.

    A part of the samples can be made on each of many machines: sample n is the same wherever it is made, and by however
    many ``workers`` (processes) on this one. Interrupted and asked for again, it goes on from the last batch.
    """
    if count < 1 or first < 0:
        raise InputError(f"at least 1 sample, numbered from 0, is needed; seen count {count} and first {first}")
    from tqdm import tqdm

    seeds = Seeds.range(run.recipe.seed if seed is None else seed, count, start=first)
    bound = run.filled(run.wanted_condition(condition or {}, seeds), seeds)
    order = Order(run.folder.path, str(run.device), seeds.seed, sampler, grid, steps, average)
    with tqdm(total=count, desc="sampling", unit="samples", disable=not progress) as bar:
        denoiser = run.denoiser(average)
        drawn, forget = draw_in_blocks(run, denoiser, seeds, bound, order, workers=workers, progress=bar.update)
    # a folder named after all that was asked for: asking again writes the same files again
    wanted = [f"seed-{seeds.seed}", f"{first:06d}-{first + count - 1:06d}"]
    wanted += [f"{name}-{value}" for name, value in (condition or {}).items()]
    wanted += [str(part) for part in (sampler, grid, steps, average) if part is not None]
    own = run.folder.samples / "_".join(wanted)
    files = run.domain.save(run.encoding, drawn, out or own, bound, first=first, overwrite=out is None)
    forget()
    return files
