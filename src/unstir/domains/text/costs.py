"""What held-out text costs under the model and by other means, in bits per character."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError, unknown
from unstir.core.seeds import Seeds
from unstir.denoisers.base import Denoiser
from unstir.domains.base import Judged
from unstir.domains.text.autoregressive import train_autoregressive
from unstir.domains.text.baselines import mean_interval, unigram_bits, xz_bits
from unstir.domains.text.data import TextData
from unstir.domains.text.encoding import TextEncoding
from unstir.domains.text.ngrams import NGramModel
from unstir.likelihood.token_bound import token_bound
from unstir.metrics.evaluate import Result
from unstir.training.options import TrainingOptions

_AT_ONCE = 64
LOG_2 = float(np.log(2.0))


@dataclass(frozen=True)
class TextOptions:
    """What a recipe's ``evaluation.options`` may say for text.

    ``windows``: of the held-out text, at most (null: all); ``levels`` and ``draws`` of the bound's estimate; ``order``
    of the model by the last characters; ``autoregressive``: the training options of the left-to-right rival (and its
    ``depth``), or null for none.
    """

    windows: int | None = 300
    levels: int = 16
    draws: int = 2
    order: int = 5
    autoregressive: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "TextOptions":
        """From plain values; unknown keys and useless numbers are InputErrors."""
        allowed = cls.__dataclass_fields__
        for key, value in given.items():
            if key not in allowed:
                raise unknown("key of the recipe's section 'evaluation.options'", str(key), allowed)
            if key == "autoregressive" and not (value is None or isinstance(value, Mapping)):
                raise InputError(f"evaluation.options.autoregressive: training options are needed; seen {value!r}")
            if value is not None and key == "autoregressive":
                TrainingOptions.of({option: each for option, each in value.items() if option != "depth"})
            least = {"windows": 2, "draws": 1, "levels": 1, "order": 1}.get(key)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if least is not None and not (whole and value >= least) and not (key == "windows" and value is None):
                raise InputError(f"evaluation.options.{key}: a whole number of at least {least}; seen {value!r}")
        return cls(**given)


def bound_bits(denoiser: Denoiser, codes: Tensor, seed: int, levels: int, draws: int) -> tuple[np.ndarray, float]:
    """The bound of each window in bits per character, float64 (windows,), and what chance there is in their mean."""
    seeds, told, errors = Seeds.range(seed, len(codes)).at("bits per character"), [], []
    for rows in torch.arange(len(codes)).split(_AT_ONCE):
        bound = token_bound(denoiser, codes[rows], seeds[rows], levels, draws=draws)
        told.append(bound.bits_per_dimension)
        errors.append(bound.standard_error)
    chance = torch.cat(errors).square().sum().sqrt().item() / len(codes) / codes.shape[1] / LOG_2
    return torch.cat(told).numpy(), chance


def text_of(encoding: TextEncoding, codes: np.ndarray) -> str:
    """The text of classes int (n,)."""
    return encoding.decode(torch.from_numpy(codes[None].astype(np.int64)))[0]


def cost_of_text(
    judged: Judged, data: TextData, options: TextOptions, real: Tensor, beyond: np.ndarray, grams: NGramModel
) -> Result:
    """The bound on the windows ``real`` of the held-out text ``beyond``; the other means are its baselines."""
    began = time.perf_counter()
    device = next(judged.denoiser.parameters()).device
    training, classes = data.codes, grams.classes
    bits, chance = bound_bits(judged.denoiser, real.to(device), judged.seed, options.levels, options.draws)
    before, text = (text_of(data.encoding, part) for part in (training, beyond))
    baselines = {
        "uniform": float(np.log2(classes)),
        "unigram": float(unigram_bits(beyond, training, classes).mean()),
        f"{grams.order}-grams": float(-grams.log_probabilities(beyond).mean() / LOG_2),
        "xz": xz_bits(text, before),
    }
    weights = sum(weight.numel() for weight in judged.denoiser.parameters())
    details: dict[str, Any] = {
        "weights": weights,
        "chance": chance,
        "xz_alone": xz_bits(text),
        "windows": bits.tolist(),
    }
    note = "an upper bound by masked diffusion; the interval is over windows of held-out text"
    if options.autoregressive is not None:
        rival = train_autoregressive(data, weights, options.autoregressive, judged.seed, device)
        told = -rival.log_probabilities(real.to(device)).mean(1).cpu().numpy() / LOG_2
        baselines["autoregressive"] = float(told.mean())
        details["autoregressive"] = {
            "interval": mean_interval(told),
            "weights": sum(weight.numel() for weight in rival.parameters()),
            **options.autoregressive,
        }
        low, high = mean_interval(bits - told)
        steps, batch = (options.autoregressive.get(key, "the default") for key in ("steps", "batch"))
        note += (
            f". The autoregressive rival has {details['autoregressive']['weights']:,} weights to this run's "
            f"{weights:,}, and was trained in {steps} steps of {batch} windows; window by window the difference is "
            f"{low:.3f} to {high:.3f} bits"
        )
    return Result(
        metric="bits-per-character",
        value=float(bits.mean()),
        interval=mean_interval(bits),
        floor={},
        baselines=baselines,
        ideal=0.0,
        better="lower",
        unit="bits",
        n_samples=len(bits),
        n_reference=len(data),
        seconds=round(time.perf_counter() - began, 3),
        features="characters",
        note=f"{note[0].upper()}{note[1:]}.",
        details=details,
    )
