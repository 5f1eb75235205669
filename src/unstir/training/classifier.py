r"""A classifier or regressor that knows noise: :math:`p(y|x_t, t)`, trained by the loop that trains denoisers.

To ``training.loop`` the classifier is a denoiser whose belief is about the target y in place of the clean state, so
that checkpoints, averages, resuming and signals are those of any training.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor, nn

from unstir.core.catalogue import build
from unstir.core.errors import InputError
from unstir.core.seeds import Seeds
from unstir.core.state import batch_size
from unstir.denoisers.base import Denoiser
from unstir.denoisers.discrete import CategoricalPosterior
from unstir.denoisers.learned.base import LearnedDenoiser
from unstir.denoisers.posteriors import GaussianPosterior, Posterior
from unstir.processes.bridge import BridgeProcess
from unstir.processes.schedules.base import Schedule
from unstir.training.data import Data
from unstir.training.loop import TrainingResult, train
from unstir.training.options import TrainingOptions

_SPREAD = 10.0  # a told variance lies within e^-10 and e^10 of the target's own
_AT_ONCE = 500
_BINS = 10
_QUIETEST, _LOUDEST = 12.0, -12.0  # log-SNR beyond which nothing changes any more


class NoiseAwareClassifier(Denoiser):
    r"""What a network says of a target y, seeing a noisy state and its noise level.

    A class, (batch,) of whole numbers: :math:`\log p(y|x_t) = \log p(y) + F_y(x_t, t)`, normalised, so that it starts
    as the prior and is one where only noise is left. Numbers, (batch, d): independent Gaussians whose means and
    variances are told, in the target's own unit.

    ``shell`` is the learned denoiser whose way of laying out states is used (it needs no network of its own);
    ``network`` a specification of the catalogue. A perceptron sees the state flattened; of any other architecture the
    first channels are averaged over the places. ``priors`` are the classes' probabilities, or ``centre`` and ``scale``
    of the numbers, (d,) each. ``target`` is what ``log_likelihood`` calls y.

    Raises InputError for a bridge, whose noise depends on a source.

    Reference: Dhariwal, Nichol, Diffusion models beat GANs on image synthesis (2021), section 4.1.
    """

    prior_logs: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        shell: LearnedDenoiser,
        shape: Any,
        network: Mapping[str, Any],
        target: str,
        priors: Sequence[float] | None = None,
        centre: Sequence[float] = (),
        scale: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if isinstance(shell.process, BridgeProcess):
            raise InputError("a noise-aware classifier needs noise that depends on the data alone; a bridge's does not")
        if (priors is None) == (not len(centre)) or len(centre) != len(scale):
            raise InputError("give the classes' priors, or centre and scale of each number, and not both")
        shell.network = None
        self.shell, self.process, self.target = shell, Stirred(shell.process), target
        self.classes = 0 if priors is None else len(priors)
        if priors is not None and (self.classes < 2 or min(priors) <= 0):
            raise InputError(f"a classifier needs two classes at least, each with a positive share; seen {priors}")
        shares = torch.tensor(priors or [1.0], dtype=torch.float64)
        self.register_buffer("prior_logs", (shares / shares.sum()).log())
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.numbers = self.classes or 2 * len(centre)
        self.flat = network.get("name") == "mlp"
        size, _ = shell.network_size(shape)
        size = (math.prod(size),) if self.flat else tuple(size)
        channels = size[0] if self.flat or self._channels_first else size[-1]
        outputs = math.ceil(self.numbers / channels)
        self.network: nn.Module = build("networks", network, shape=size, conditions={}, outputs=outputs)

    @property
    def _channels_first(self) -> bool:
        return self.shell.layout == "as-it-is"

    def belief(self, xt: Any, t: Tensor, mask: Tensor | None = None) -> Posterior:
        """The belief about the target, of shape (batch, 1) for classes and (batch, d) for numbers; float64."""
        told, level, _ = self.shell.told(xt, t)
        told = told.flatten(1) if self.flat else told
        output = self.network(told, level, None, **({} if mask is None or self.flat else {"mask": mask}))
        if not self.flat and output.ndim > 2:
            output = output.flatten(2).mean(2) if self._channels_first else output.flatten(1, -2).mean(1)
        output = output[:, : self.numbers].double()
        if self.classes:
            return CategoricalPosterior((self.prior_logs + output).log_softmax(-1)[:, None])
        mean, spread = output.chunk(2, 1)
        variance = self.scale.square() * (_SPREAD * (spread / _SPREAD).tanh()).exp()
        return GaussianPosterior(self.centre + self.scale * mean, variance)

    def forward(self, xt: Any, t: Tensor, drop: Tensor | None = None, **condition: Tensor) -> "AboutTarget":
        """The belief as the training loop asks for it."""
        return AboutTarget(self.belief(xt, t, condition.get("mask")))

    def log_likelihood(self, xt: Any, t: Tensor, **told: Tensor) -> Tensor:
        """log p(y|x_t) in nats, float64 (batch,), for y told under the target's name: what ``ClassifierGuidance`` asks.

        Raises InputError for another name, or a class that there is not.
        """
        if set(told) != {self.target}:
            raise InputError(f"this classifier is told {self.target!r} and nothing else; seen {sorted(told)}")
        y = told[self.target]
        return self.belief(xt, t).log_prob(y.reshape(len(y), -1) if self.classes else y.reshape(len(y), -1).double())


@dataclass(frozen=True)
class AboutTarget(Posterior):
    """A belief about the target that belongs to a state; its loss is taken at pairs of state and target."""

    mean: Any = field(init=False)
    belief: Posterior

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", self.belief.mean)

    def sample(self, seeds: Seeds) -> Tensor:
        return self.belief.sample(seeds)

    def log_prob(self, x0: Any) -> Tensor:
        return self.belief.log_prob(x0["target"])

    def loss(self, x0: Any, mask: Tensor | None = None) -> Tensor:
        """The target's negative log-likelihood in nats."""
        return self.belief.loss(x0["target"])


@dataclass(frozen=True)
class Stirred:
    """A process as the loop calls it for pairs of a state and its target: the state is stirred, the target left out."""

    inner: Any

    @property
    def schedule(self) -> Schedule:
        """That of the states."""
        return self.inner.schedule

    def noise(self, x0: Any, t: Tensor, seeds: Seeds, mask: Tensor | None = None) -> Any:
        """A draw of x_t given the state."""
        return self.inner.noise(x0["state"], t, seeds, mask)


class Targeted:
    """Some ``rows`` of data, each with its target: ``target_of(state, condition)`` gives it, one row a sample.

    Of the data's conditions only a mask is passed on.
    """

    def __init__(
        self, data: Data, rows: np.ndarray, target_of: Callable[[Any, Mapping[str, Tensor]], Tensor], target: str
    ) -> None:
        self.data, self.rows, self.target_of, self.target = data, np.asarray(rows), target_of, target
        self.name, self.shape = f"{data.name}, {target}", data.shape
        self.conditions: Mapping[str, Mapping[str, Any]] = {}

    @property
    def digest(self) -> str:
        """SHA-256 of the data's own, of the rows and of the target's name."""
        return hashlib.sha256(f"{self.data.digest} {self.target} ".encode() + self.rows.tobytes()).hexdigest()

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: np.ndarray, seeds: Seeds | None = None) -> tuple[Any, dict[str, Tensor]]:
        """The states at these rows with their targets, augmented by the addresses if these are given."""
        state, condition = self.data.batch(self.rows[rows], seeds)
        target = self.target_of(state, condition)
        kept = {name: values for name, values in condition.items() if name == "mask"}
        return {"state": state, "target": target.reshape(len(target), -1)}, kept


def divide(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows to train on and those to judge by, drawn by the seed.

    Raises InputError unless ten rows at least are left on either side.
    """
    held_out = round(count * share)
    if min(held_out, count - held_out) < 10:
        raise InputError(
            f"of {count} rows {held_out} would be kept apart to judge by; ten at least are needed on either side"
        )
    order = Seeds.range(seed, 1).at("classifier", "held out").generator().permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def train_noise_aware(
    classifier: NoiseAwareClassifier,
    data: Targeted,
    folder: Path | str,
    *,
    levels: tuple[float, float],
    steps: int = 2000,
    batch: int = 128,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.05,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = True,
) -> TrainingResult:
    """Trains the classifier in ``folder``, or goes on with a training that was interrupted there; see ``loop.train``.

    The noise levels are spread evenly over log-SNR, from the second of ``levels`` to the first (highest first, as
    ``levels_between`` gives them). On return it holds its averaged weights and is in evaluation mode.
    """
    highest, lowest = levels
    options = TrainingOptions.of(
        {
            "steps": steps,
            "batch": min(batch, len(data)),
            "learning_rate": {"name": "cosine", "peak": learning_rate, "warm_up": min(100, max(1, steps // 10))},
            "weight_decay": weight_decay,
            "weighting": "clean",
            "noise_levels": {"name": "uniform-log-snr", "lowest": lowest, "highest": highest},
            "ema": {"name": "power", "lengths": [0.1], "snapshots": 0},
            "drop_condition": 0.0,
            "precision": "float32",
            "threads": threads,
            "keep": 1,
        }
    )
    return train(classifier, data, options, folder, seed=seed, progress=progress)


def levels_between(schedule: Schedule, times: Tensor) -> tuple[float, float]:
    """The highest and the lowest log-SNR that falling ``times`` meet before time 0, kept within -12 and 12."""
    met = schedule.log_snr(times[times > 0].double()).clamp(_LOUDEST, _QUIETEST)
    highest, lowest = met.max().item(), met.min().item()
    return (highest, lowest) if highest > lowest else (highest + 1.0, lowest - 1.0)


@torch.no_grad()
def judge_by_level(
    classifier: NoiseAwareClassifier, data: Targeted, levels: Sequence[float], seed: int = 0
) -> list[dict[str, float]]:
    """How good and how honest the classifier is on rows that it has not seen, at each log-SNR of ``levels``.

    For classes the share of right answers (``accuracy``), of the commonest class (``baseline``), and the expected
    calibration error; for numbers the share of variance told (R^2, as ``accuracy``; ``baseline`` 0), and by how much
    the shares within the 50, 80 and 95 % intervals miss these, on average. ``nats`` is the mean negative
    log-likelihood.

    Reference: Guo, Pleiss, Sun, Weinberger, On calibration of modern neural networks (2017), eq. 3.
    """
    found = []
    for number, level in enumerate(levels):
        schedule = classifier.process.schedule
        t = schedule.time(torch.tensor(level, dtype=torch.float64))
        means, variances, targets, nats = [], [], [], []
        for start in range(0, len(data), _AT_ONCE):
            rows = np.arange(start, min(start + _AT_ONCE, len(data)))
            pair, condition = data.batch(rows)
            seeds = Seeds.range(seed, len(rows), start).at("classifier", "judged", number)
            xt = classifier.process.noise(pair, t.expand(batch_size(pair["state"])), seeds, condition.get("mask"))
            belief = classifier.belief(xt, t, condition.get("mask"))
            targets.append(pair["target"])
            nats.append(-belief.log_prob(pair["target"]))
            means.append(belief.mean)
            variances.append(getattr(belief, "variance", belief.mean))
        mean, target = torch.cat(means), torch.cat(targets)
        told = (
            _judged_classes(mean[:, 0], target[:, 0])
            if classifier.classes
            else _judged_numbers(mean, torch.cat(variances), target.double())
        )
        sigma = math.exp(-level / 2)
        found.append({"log_snr": float(level), "sigma": sigma, **told, "nats": torch.cat(nats).mean().item()})
    return found


def _judged_classes(chances: Tensor, target: Tensor) -> dict[str, float]:
    confidence, answer = chances.max(1)
    right = (answer == target).double()
    commonest = torch.bincount(target).max().item() / len(target)
    return {
        "accuracy": right.mean().item(),
        "baseline": commonest,
        "calibration_error": expected_calibration_error(confidence, right),
    }


def expected_calibration_error(confidence: Tensor, right: Tensor, bins: int = _BINS) -> float:
    """Mean of |share of right answers - mean confidence| over equal bins of confidence, weighted by their rows."""
    place = (confidence * bins).long().clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, (right - confidence).double())
    return gap.abs().sum().item() / len(right)


def _judged_numbers(mean: Tensor, variance: Tensor, target: Tensor) -> dict[str, float]:
    left = (target - mean).square().sum(0)
    whole = (target - target.mean(0)).square().sum(0).clamp(min=1e-12)
    away = (target - mean).abs() / variance.sqrt()
    missed = [abs((away <= ndtri((1 + level) / 2)).double().mean().item() - level) for level in (0.5, 0.8, 0.95)]
    return {
        "accuracy": (1 - left / whole).mean().item(),
        "baseline": 0.0,
        "calibration_error": sum(missed) / len(missed),
    }
