"""How text is judged: what held-out text costs, and what is in the samples."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from unstir.core.errors import InputError
from unstir.domains.base import Judged, Judgement
from unstir.domains.text import figures
from unstir.domains.text.costs import TextOptions, cost_of_text, text_of
from unstir.domains.text.data import TextData, windows
from unstir.domains.text.ngrams import NGramModel
from unstir.domains.text.sampled import measures_of_samples


def judge_text(judged: Judged) -> Judgement:
    """Held-out text's cost beside other means', and the samples beside held-out windows; with figures."""
    options = TextOptions.of(judged.options)
    data = cast(TextData, judged.data)
    encoding = data.encoding
    beyond = _held_out(judged, data)
    real = windows(beyond, encoding.length, options.windows)
    grams = NGramModel(data.codes, encoding.classes, options.order)
    cost = cost_of_text(judged, data, options, real, beyond, grams)
    measured, entropies = measures_of_samples(judged, data, real, grams)
    states, times = _trajectory(judged)
    shown = (
        figures.sample_texts(encoding, judged.drawn, real[len(real) // 2 :]),
        figures.cost_chart(cost.value, cost.interval, cost.baselines),
        figures.film_strip(encoding, states, times),
        figures.entropy_chart(entropies, f"{grams.order}-grams"),
    )
    folded = float((beyond == encoding.classes - 1).mean())
    remarks = (
        f"Held out: the last {len(beyond):,} characters of the text, in {len(real)} windows of {encoding.length} side "
        f"by side; trained on {len(data.codes):,}. Rare characters count as one class for all alike "
        f"({100 * folded:.2g} % of what is held out).",
        "Model and autoregressive rival know no more than the window; the grams and xz read on across windows, which "
        "is to their advantage.",
        cost.note,
    )
    return Judgement((cost, *measured), shown, remarks)


def _held_out(judged: Judged, data: TextData) -> np.ndarray:
    """Held-out text in the classes of the training text: the recipe's own, or the end of what was read."""
    if isinstance(judged.held_out, TextData):
        text = text_of(judged.held_out.encoding, judged.held_out.codes)
        beyond = data.encoding.encode(text)
    else:
        beyond = data.held_out
    length = data.encoding.length
    if len(beyond) < 2 * length:
        raise InputError(
            f"text is judged on what was held out: {len(beyond)} characters make no two windows of {length}; name more "
            "as evaluation.held_out={path: FILE}"
        )
    return np.asarray(beyond, np.int64)


def _trajectory(judged: Judged) -> tuple[list[Tensor], list[float]]:
    """The first sample's states on its way, each int64 (n,), and their times."""
    states: list[Tensor] = []
    times: list[float] = []

    def keep(state: Any, t: Tensor, s: Tensor) -> None:
        if not states and judged.denoiser.process.absorbing:
            states.append(torch.full_like(state.x[0], judged.denoiser.process.mask_class).cpu())
            times.append(float(t))
        states.append(state.x[0].cpu())
        times.append(float(s))

    judged.draw(1, seed=judged.seed, callback=keep)
    return states, times
